"""The platform's models: a tag, an Arrow struct and a serialisation format each."""

from bridge.ontology.model import ENVELOPE, TIMESTAMP_COLUMN, Model, SerializationFormat

__all__ = ["ENVELOPE", "TIMESTAMP_COLUMN", "Model", "SerializationFormat"]
