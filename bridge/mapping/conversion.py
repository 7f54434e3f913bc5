"""How a message's field becomes a column of a given type, for mappings that a user wrote.

A user may ask for what the built-in mappings never do, such as a double into a whole number:
messages whose value does not survive it are dropped and counted, the others go through.
"""

import numpy as np
import pyarrow as pa

from bridge.errors import DefinitionError
from bridge.mapping.columns import as_numpy
from bridge.mapping.pieces import (
    header_struct,
    motion,
    pose,
    quaternion,
    stamp,
    vector3,
)
from bridge.mapping.source import Source
from bridge.ontology import Header, Pose, Quaternion, Time, Vector3d, Velocity

MESSAGES = {
    Header.struct: header_struct,
    Time.struct: stamp,
    Vector3d.struct: vector3,
    Quaternion.struct: quaternion,
    Pose.struct: pose,
    Velocity.struct: motion,
}
"""Parts of models that whole ROS messages can become."""

HEADER_FIELDS = {"stamp", "frame_id"}


def new_column_type(field_type: pa.DataType, *, is_scaled: bool) -> pa.DataType:
    """Choose the type of a column that no model prescribes.

    A header becomes the platform's header, scaled numbers become doubles, everything else stays.
    """
    if pa.types.is_struct(field_type) and {field.name for field in field_type} >= HEADER_FIELDS:
        return Header.struct
    return pa.float64() if is_scaled else field_type


def converted(source: Source, name: str, column_type: pa.DataType) -> pa.Array:
    """Give a field as a column of a type.

    Raises:
        DefinitionError: The field is missing, or nothing of its type can become the column's.
    """
    field_type = source.field(name).type
    if field_type != column_type:
        if column_type in MESSAGES and pa.types.is_struct(field_type):
            return MESSAGES[column_type](source[name])
        if column_type == pa.binary():
            return source.binary(name)
        if _is_number(field_type) and _is_number(column_type):
            return _fitted(source, name, as_numpy(source.field(name)), column_type)
    return source.column(name, column_type)


def scaled(
    source: Source, name: str, column_type: pa.DataType, factor: float, offset: float
) -> pa.Array:
    """Give a field of numbers times a factor plus an offset, computed in doubles.

    Raises:
        DefinitionError: The field is missing, or it or the column holds no numbers.
    """
    field_type = source.field(name).type
    if not (_is_number(field_type) and _is_number(column_type)):
        raise DefinitionError(
            f"field {name} of {source.path} is {field_type} and the column {column_type}; only "
            "numbers can have a factor or an offset",
            msgtype=source.path.split(".", maxsplit=1)[0],
        )
    numbers = as_numpy(source.field(name)).astype(np.float64) * factor + offset
    return _fitted(source, name, numbers, column_type)


def _fitted(source: Source, name: str, numbers: np.ndarray, column_type: pa.DataType) -> pa.Array:
    with np.errstate(invalid="ignore", over="ignore"):
        fitted = numbers.astype(column_type.to_pandas_dtype())
        if pa.types.is_integer(column_type):
            survives = fitted.astype(numbers.dtype) == numbers
            # A cast that wraps around, such as -1 to unsigned and back, is caught by the sign.
            survives &= (fitted < 0) == (numbers < 0)
            source.reject(~survives, f"{name} does not fit into {column_type}")
    return pa.array(fitted, column_type)


def _is_number(value_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(value_type) or pa.types.is_floating(value_type))
