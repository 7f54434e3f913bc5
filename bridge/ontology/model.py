"""What an ontology model is: a tag, an Arrow struct and a serialisation format."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import pyarrow as pa

from bridge.ontology.query import ModelProxy

TIMESTAMP_COLUMN = "timestamp_ns"

ENVELOPE = pa.field(TIMESTAMP_COLUMN, pa.int64(), nullable=False)
"""The one column the platform demands of every topic: record time, int64 nanoseconds."""


class SerializationFormat(StrEnum):
    """How the platform stores a topic; the values are those of the wire."""

    DEFAULT = "default"
    RAGGED = "ragged"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One kind of data the platform knows.

    Attributes:
        tag: The ontology tag, as sent on the wire.
        fields: The payload columns after the envelope, in wire order.
        serialization_format: How the platform stores it.
    """

    tag: str
    fields: tuple[pa.Field, ...] = field(repr=False)
    serialization_format: SerializationFormat = SerializationFormat.DEFAULT

    @cached_property
    def struct(self) -> pa.StructType:
        """The payload columns as one struct, for models that others contain."""
        return pa.struct(self.fields)

    @cached_property
    def schema(self) -> pa.Schema:
        """The schema of a topic of this model: the envelope, then the payload columns."""
        return pa.schema([ENVELOPE, *self.fields])

    @property
    def Q(self) -> ModelProxy:  # noqa: N802 -- what the platform's documentation calls it
        """The columns of the model, to put query conditions on: `IMU.Q.acceleration.x.gt(5.0)`."""
        return ModelProxy(self.tag, self.schema)
