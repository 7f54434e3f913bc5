"""Where the values of a column come from, for mappings that a user wrote.

A source is a path into the message: names with dots between them, `[2]` or `[-1]` behind a name for
one element of an array or sequence, `[]` for each element of a sequence. A user may ask for what
the built-in mappings never do, such as a double into a whole number: messages whose value does not
survive it, or whose sequence is too short, are dropped and counted, the others go through.
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.errors import DefinitionError
from bridge.mapping.cameras import codecs
from bridge.mapping.columns import (
    Mask,
    as_numpy,
    constant,
    list_offsets,
    list_values,
    lists,
    nullable,
    struct,
    zeros,
)
from bridge.mapping.pieces import (
    covariance,
    header_struct,
    motion,
    pose,
    quaternion,
    stamp,
    vector3,
)
from bridge.mapping.source import Source
from bridge.ontology import Header, Pose, Quaternion, Time, Vector3d, Velocity
from bridge.units import SECOND_NS

HEADER_FIELDS = {"stamp", "frame_id"}

MESSAGES = {
    Header.struct: header_struct,
    Time.struct: stamp,
    Vector3d.struct: vector3,
    Quaternion.struct: quaternion,
    Pose.struct: pose,
    Velocity.struct: motion,
}
"""Parts of models that whole ROS messages can become."""

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": SECOND_NS}
CALENDAR = frozenset({"year", "month", "day", "hour", "minute", "second"})
MONTHS, DAYS_MAX = 12, 31
TIME_PARTS = frozenset(PER_SECOND) | CALENDAR
"""What a time can be built of: counts of a unit, which add up, and the parts of a UTC date."""

Scalar = bool | int | float | str

_STEP = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<index>-?\d*)\])?")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    Attributes:
        name: The field.
        index: Which of its elements, from the end where it is negative; None for none of them.
        each: Whether all of its elements, one by one.
    """

    name: str
    index: int | None = None
    each: bool = False


Path = tuple[Step, ...]


def parse_path(text: str) -> Path | None:
    """Read a path; None where it is none."""
    steps: list[Step] = []
    for part in text.split("."):
        found = _STEP.fullmatch(part)
        if found is None or found["index"] == "-":
            return None
        index = found["index"]
        steps.append(Step(found["name"], int(index) if index else None, index == ""))
    return tuple(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the values of one column come from.

    Attributes:
        source: Path into the message; empty for a constant and a time.
        factor: What numbers are multiplied by.
        offset: What is added to them then.
        value: The constant, where it is one.
        time: Paths by the parts that they are of a time, where it is one.
    """

    source: Path = ()
    factor: float = 1.0
    offset: float = 0.0
    value: Scalar | None = None
    time: tuple[tuple[str, Path], ...] = ()

    @property
    def is_scaled(self) -> bool:
        """Whether numbers change on the way."""
        return (self.factor, self.offset) != (1.0, 0.0)


def type_at(arrow_type: pa.DataType, path: Path, msgtype: str) -> pa.DataType:
    """Give the type of what a path leads to.

    Raises:
        DefinitionError: It leads nowhere.
    """
    found, wrapped = arrow_type, 0
    for step in path:
        index = found.get_field_index(step.name) if pa.types.is_struct(found) else -1
        found = found.field(index).type if index >= 0 else pa.null()
        if step.index is not None or step.each:
            wrapped += step.each
            found = found.value_type if _is_list(found) else pa.null()
        if pa.types.is_null(found):
            names = ".".join(step.name for step in path)
            raise DefinitionError(f"there is no field {names} in {msgtype}", msgtype=msgtype)
    for _ in range(wrapped):
        found = pa.list_(found)
    return found


def new_column_type(origin: Origin, arrow_type: pa.StructType, msgtype: str) -> pa.DataType:
    """Choose the type of a column that no model prescribes.

    A header becomes the platform's header, scaled numbers become doubles, everything else stays.

    Raises:
        DefinitionError: There is no such field.
    """
    if origin.value is not None:
        return pa.scalar(origin.value).type
    if origin.time:
        for _, path in origin.time:
            type_at(arrow_type, path, msgtype)
        return Time.struct
    found = type_at(arrow_type, origin.source, msgtype)
    if pa.types.is_struct(found) and {field.name for field in found} >= HEADER_FIELDS:
        return Header.struct
    if not origin.is_scaled:
        return found
    return pa.list_(pa.float64()) if _is_list(found) else pa.float64()


def column(origin: Origin, field: pa.Field, source: Source, tag: str) -> pa.Array:
    """Make a column.

    Args:
        origin: Where its values come from.
        field: The column, as the model of that tag has it.
        source: The messages.
        tag: The platform's model; its rules hold here as for the built-in mappings: an unknown
            covariance is null, a codec has the platform's name. Empty for a model of the user's.

    Raises:
        DefinitionError: A field is missing, or nothing of its type can become the column's.
    """
    if origin.value is not None:
        return constant(origin.value, field.type, source.rows)
    if origin.time:
        return _time(origin, field, source)
    for at, step in enumerate(origin.source[:-1]):
        if step.each:
            return _of_each(origin, at, field, source, tag)
        source = _enter(source, step)
    last = origin.source[-1]
    if last.each:
        raise _unfit(source, last.name, "ends with [], which needs a field behind it")
    if last.index is not None:
        return _element(source, last.name, last.index, field.type, origin)
    if origin.is_scaled:
        return _scaled(source, last.name, field.type, origin)
    return _by_rule(source, last.name, field, tag)


def _by_rule(source: Source, name: str, field: pa.Field, tag: str) -> pa.Array:
    """Make a column by the rules of its model, or as it is."""
    if tag == "CompressedImage" and field.name == "format":
        return codecs(source, name)
    if tag and field.name == "covariance":
        return _covariance(source, name, field.type)
    array = _converted(source, name, field.type)
    if tag and field.name == "variance":
        return nullable(array, as_numpy(array) > 0)
    return array


def _of_each(origin: Origin, at: int, field: pa.Field, source: Source, tag: str) -> pa.ListArray:
    """Make a column of lists: a value for each element of a sequence of messages."""
    if not pa.types.is_list(field.type):
        raise _unfit(source, origin.source[at].name, f"gives lists, and the column is {field.type}")
    items, offsets = source.items(origin.source[at].name)
    rest = Origin(source=origin.source[at + 1 :], factor=origin.factor, offset=origin.offset)
    values = column(rest, pa.field("item", field.type.value_type), items, tag)
    return lists(field.type, offsets, values)


def enter(source: Source, path: Path) -> Source:
    """Go into nested messages, and elements of sequences.

    Raises:
        DefinitionError: There is no such field, or it is no message.
    """
    for step in path:
        source = _enter(source, step)
    return source


def _enter(source: Source, step: Step) -> Source:
    if step.index is None:
        return source[step.name]
    picked = _pick(source, step.name, step.index)
    if not pa.types.is_struct(picked.type):
        raise _unfit(source, step.name, "has no messages as elements")
    return source.within(picked, f"{step.name}[{step.index}]")


def _pick(source: Source, name: str, index: int) -> pa.Array:
    """Give one element of each row's array or sequence; rows that have no such element go."""
    array = source.field(name)
    if not _is_list(array.type):
        raise _unfit(source, name, f"is {array.type}, not a sequence")
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        if not -size <= index < size:
            raise _unfit(source, name, f"has {size} elements, not one at {index}")
        at = np.arange(source.rows, dtype=np.int64) * size + index % size
        return array.flatten().take(pa.array(at))
    offsets = list_offsets(array).astype(np.int64)
    at = (offsets[1:] if index < 0 else offsets[:-1]) + index
    short: Mask = (at < offsets[:-1]) | (at >= offsets[1:])
    source.reject(short, f"{name} has no element {index}")
    values = list_values(array)
    if short.any():
        # Rows that go need some value until they are gone.
        values = pa.concat_arrays([values, zeros(values.type, 1)])
        at = np.where(short, len(values) - 1, at)
    return values.take(pa.array(at))


def _converted(source: Source, name: str, column_type: pa.DataType) -> pa.Array:
    field_type = source.field(name).type
    if field_type != column_type:
        if column_type in MESSAGES and pa.types.is_struct(field_type):
            return MESSAGES[column_type](source[name])
        if column_type == pa.binary():
            return source.binary(name)
        if _is_number(field_type) and _is_number(column_type):
            return _fitted(source, name, as_numpy(source.field(name)), column_type)
    return source.column(name, column_type)


def _element(
    source: Source, name: str, index: int, column_type: pa.DataType, origin: Origin
) -> pa.Array:
    values = _pick(source, name, index)
    if pa.types.is_struct(values.type) and column_type in MESSAGES:
        return MESSAGES[column_type](source.within(values, f"{name}[{index}]"))
    if _is_number(values.type) and _is_number(column_type):
        numbers = as_numpy(values)
        if origin.is_scaled:
            numbers = numbers.astype(np.float64) * origin.factor + origin.offset
        return _fitted(source, f"{name}[{index}]", numbers, column_type)
    if values.type != column_type or origin.is_scaled:
        raise _unfit(source, name, f"has elements of {values.type}, the column is {column_type}")
    return values


def _scaled(source: Source, name: str, column_type: pa.DataType, origin: Origin) -> pa.Array:
    """Give numbers, or lists of them, times a factor plus an offset, computed in doubles."""
    array = source.field(name)
    if _is_list(array.type) and pa.types.is_list(column_type):
        inner = column_type.value_type
        if _is_number(array.type.value_type) and pa.types.is_floating(inner):
            numbers = as_numpy(array.flatten()).astype(np.float64) * origin.factor + origin.offset
            values = pa.array(numbers.astype(inner.to_pandas_dtype()))
            return lists(column_type, _boundaries(array), values)
    if not (_is_number(array.type) and _is_number(column_type)):
        raise _unfit(
            source,
            name,
            f"is {array.type} and the column {column_type}; only numbers can have a factor or an "
            "offset",
        )
    numbers = as_numpy(array).astype(np.float64) * origin.factor + origin.offset
    return _fitted(source, name, numbers, column_type)


def _covariance(source: Source, name: str, column_type: pa.DataType) -> pa.Array:
    """Give a covariance; null where no element is positive, as everywhere."""
    kind = source.field(name).type
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float64():
        return covariance(source, name, kind.list_size)
    array = _converted(source, name, column_type)
    values = list_values(array)
    offsets = list_offsets(array)
    positive = np.concatenate([[0], np.cumsum(as_numpy(values) > 0)])
    return lists(column_type, offsets, values, valid=np.diff(positive[offsets]) > 0)


def _time(origin: Origin, field: pa.Field, source: Source) -> pa.StructArray:
    """Build a time of its parts; what is none is null where the column may be, else goes."""
    if field.type != Time.struct:
        raise _unfit(source, origin.time[0][1][-1].name, f"gives a time, not {field.type}")
    seconds = np.zeros(source.rows, np.int64)
    nanoseconds = np.zeros(source.rows, np.int64)
    good = np.ones(source.rows, np.bool_)
    date: dict[str, NDArray[np.int64]] = {}
    for part, path in origin.time:
        numbers = _numbers(source, path)
        if part in CALENDAR:
            date[part] = numbers.astype(np.int64)
            continue
        per_s = PER_SECOND[part]
        if numbers.dtype.kind == "f":
            good &= np.isfinite(numbers)
            exact = np.where(good, numbers, 0).astype(np.float64) / per_s
            whole = np.floor(exact)
            seconds += whole.astype(np.int64)
            nanoseconds += np.rint((exact - whole) * SECOND_NS).astype(np.int64)
        else:
            seconds += (numbers // per_s).astype(np.int64)
            nanoseconds += (numbers % per_s).astype(np.int64) * (SECOND_NS // per_s)
    if date:
        good &= _is_date(date)
        seconds += np.where(good, _seconds_of(date), 0)
    seconds += nanoseconds // SECOND_NS
    limits = np.iinfo(np.int32)
    good &= (seconds >= limits.min) & (seconds <= limits.max)
    if not field.nullable:
        source.reject(~good, "parts that are no time")
    columns = {
        "seconds": pa.array(np.where(good, seconds, 0).astype(np.int32)),
        "nanoseconds": pa.array((nanoseconds % SECOND_NS).astype(np.uint32)),
    }
    return struct(Time.struct, columns, source.rows, valid=good if field.nullable else None)


def _is_date(date: dict[str, NDArray[np.int64]]) -> Mask:
    ones = np.ones_like(date["year"])
    month, day = date.get("month", ones), date.get("day", ones)
    good: Mask = (
        (date["year"] > 0) & (month > 0) & (month <= MONTHS) & (day > 0) & (day <= DAYS_MAX)
    )
    return good


def _seconds_of(date: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Give a UTC date and time in seconds since 1970."""
    months = (date["year"] - 1970) * 12 + date.get("month", 1) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    hours = (days + date.get("day", 1) - 1) * 24 + date.get("hour", 0)
    return np.asarray((hours * 60 + date.get("minute", 0)) * 60 + date.get("second", 0), np.int64)


def _numbers(source: Source, path: Path) -> np.ndarray:
    source = enter(source, path[:-1])
    name, index = path[-1].name, path[-1].index
    array = source.field(name) if index is None else _pick(source, name, index)
    if not _is_number(array.type):
        raise _unfit(source, name, f"is {array.type}, not a number")
    return as_numpy(array)


def _fitted(source: Source, name: str, numbers: np.ndarray, column_type: pa.DataType) -> pa.Array:
    with np.errstate(invalid="ignore", over="ignore"):
        fitted = numbers.astype(column_type.to_pandas_dtype())
        if pa.types.is_integer(column_type):
            survives = fitted.astype(numbers.dtype) == numbers
            # A cast that wraps around, such as -1 to unsigned and back, is caught by the sign.
            survives &= (fitted < 0) == (numbers < 0)
            source.reject(~survives, f"{name} does not fit into {column_type}")
    return pa.array(fitted, column_type)


def _boundaries(array: pa.Array) -> NDArray[np.int32]:
    if pa.types.is_fixed_size_list(array.type):
        return np.arange(len(array) + 1, dtype=np.int32) * np.int32(array.type.list_size)
    return list_offsets(array)


def _is_number(value_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(value_type) or pa.types.is_floating(value_type))


def _is_list(value_type: pa.DataType) -> bool:
    return bool(pa.types.is_list(value_type) or pa.types.is_fixed_size_list(value_type))


def _unfit(source: Source, name: str, complaint: str) -> DefinitionError:
    msgtype = source.path.split(".", maxsplit=1)[0]
    return DefinitionError(f"field {name} of {source.path} {complaint}", msgtype=msgtype)
