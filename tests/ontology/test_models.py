"""The models against the vendor's own: same tags, same structs, same formats."""

import mosaicolabs.bridges.ros  # registers the models that only the ROS bridge uses
import mosaicolabs.models.futures  # noqa: F401 - registers the cloud, scan and grid models
import pyarrow as pa
import pytest
from mosaicolabs.models.core.message import Message
from mosaicolabs.models.core.serializable import _SCHEMA_REGISTRY as VENDOR

from bridge import ontology
from bridge.ontology import ENVELOPE, MODELS, Model

NOT_A_MODEL = {"Unmodeled"}  # the vendor's stand-in for schemas it does not know


def test_catalogue_holds_every_model_of_the_platform() -> None:
    """Our catalogue and the vendor's registry name the same tags."""
    assert set(MODELS) == set(VENDOR) - NOT_A_MODEL


@pytest.mark.parametrize("tag", sorted(MODELS))
def test_schema_equals_the_vendors(tag: str) -> None:
    """Types, order and nullability of a model's columns are the vendor's, at every depth."""
    vendor = Message._get_schema(VENDOR[tag])

    assert MODELS[tag].schema.equals(vendor, check_metadata=False), (
        f"\n{MODELS[tag].schema}\n{vendor.remove_metadata()}"
    )


@pytest.mark.parametrize("tag", sorted(MODELS))
def test_serialization_format_equals_the_vendors(tag: str) -> None:
    """Images are stored as images, everything else as the default."""
    assert MODELS[tag].serialization_format.value == VENDOR[tag].__serialization_format__.value


def test_every_model_is_public_under_its_tag() -> None:
    """`bridge.ontology.IMU` is the model whose tag is IMU, and so on for all."""
    public = {name: value for name, value in vars(ontology).items() if isinstance(value, Model)}

    assert public == MODELS
    assert set(public) <= set(ontology.__all__)


def test_schema_starts_with_the_envelope_and_carries_no_metadata() -> None:
    """The first column is the record time, and nothing but the columns is in a schema."""
    for model in MODELS.values():
        assert model.schema.field(0).equals(ENVELOPE)
        assert model.schema.metadata is None
        assert all(field.metadata is None for field in model.schema)
        assert model.schema.field(0).type == pa.int64()
