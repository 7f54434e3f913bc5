"""What an ontology model is: a tag, an Arrow struct and a serialisation format.

The structs that models are made of are here too: time, header, vectors, poses and their like. Each
is a tuple of Arrow fields in wire order. A piece that is also a topic-level model of its own gets
its tag in `models.py`. Two pieces of the platform that differ only in name (Point3d and Vector3d,
Velocity and Acceleration) are one tuple here.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property

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
    # The documented client API spells them like this.
    Default = DEFAULT
    Ragged = RAGGED
    Image = IMAGE


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

    @cached_property
    def text_columns(self) -> tuple[int, ...]:
        """Which columns of `schema` are texts, or hold some."""
        return tuple(number for number, kind in enumerate(self.schema.types) if has_text(kind))

    @property
    def Q(self) -> ModelProxy:  # noqa: N802 -- what the platform's documentation calls it
        """The columns of the model, to put query conditions on: `IMU.Q.acceleration.x.gt(5.0)`."""
        return ModelProxy(self.tag, self.schema)


Fields = tuple[pa.Field, ...]


@cache
def has_text(kind: pa.DataType) -> bool:
    """Whether values of a type are texts, or hold some; to look it up takes microseconds."""
    if is_text(kind):
        return True
    if pa.types.is_dictionary(kind):
        return has_text(kind.value_type)
    return any(has_text(kind.field(index).type) for index in range(kind.num_fields))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are texts, however they are stored."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def required(name: str, value_type: pa.DataType) -> pa.Field:
    """Declare a column that every row has."""
    return pa.field(name, value_type, nullable=False)


def optional(name: str, value_type: pa.DataType) -> pa.Field:
    """Declare a column that may be null."""
    return pa.field(name, value_type)


STAMP: Fields = (required("seconds", pa.int32()), required("nanoseconds", pa.uint32()))
"""Time and Duration: whole seconds and 0 <= nanoseconds < 1e9."""

HEADER: Fields = (
    optional("timestamp", pa.struct(STAMP)),
    optional("frame_id", pa.string()),
    optional("sample_counter", pa.uint64()),
)

HEADER_COLUMN = optional("header", pa.struct(HEADER))

COVARIANT: Fields = (
    HEADER_COLUMN,
    optional("covariance", pa.list_(pa.float64())),
    optional("covariance_type", pa.int16()),
)
"""What every model with a covariance matrix starts with; row-major, 9 or 36 values."""

VARIANT: Fields = (
    optional("variance", pa.float64()),
    optional("variance_type", pa.int16()),
    HEADER_COLUMN,
)
"""What every model with a scalar variance starts with; the header comes third here."""

VECTOR2: Fields = (*COVARIANT, optional("x", pa.float64()), optional("y", pa.float64()))

VECTOR3: Fields = (*VECTOR2, optional("z", pa.float64()))

VECTOR4: Fields = (*VECTOR3, optional("w", pa.float64()))

POSE: Fields = (
    *COVARIANT,
    required("position", pa.struct(VECTOR3)),
    required("orientation", pa.struct(VECTOR4)),
)

MOTION: Fields = (
    *COVARIANT,
    optional("linear", pa.struct(VECTOR3)),
    optional("angular", pa.struct(VECTOR3)),
)
"""Velocity and Acceleration; at least one of the two vectors is present."""

TRANSFORM: Fields = (
    *COVARIANT,
    required("translation", pa.struct(VECTOR3)),
    required("rotation", pa.struct(VECTOR4)),
    optional("target_frame_id", pa.string()),
)

REGION: Fields = (
    required("offset", pa.struct(VECTOR2)),
    required("height", pa.uint32()),
    required("width", pa.uint32()),
    optional("do_rectify", pa.bool_()),
)

GPS_STATUS: Fields = (
    required("status", pa.int8()),
    required("service", pa.uint16()),
    optional("satellites", pa.int8()),
    optional("hdop", pa.float64()),
    optional("vdop", pa.float64()),
)

MAP_METADATA: Fields = (
    required("map_load_time", pa.struct(STAMP)),
    required("resolution", pa.float32()),
    required("width", pa.uint32()),
    required("height", pa.uint32()),
    required("origin", pa.struct(POSE)),
)

POINT_FIELD: Fields = (
    required("name", pa.string()),
    required("offset", pa.uint32()),
    required("datatype", pa.int64()),
    required("count", pa.uint32()),
)
