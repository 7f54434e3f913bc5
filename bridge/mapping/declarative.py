"""Mappings that a user writes as a table in the settings file, without any code.

    [[mappings]]
    ros_type = "acme_msgs/msg/Engine"
    ontology = "Temperature"
    [mappings.fields]
    header = "header"
    value = { source = "oil.celsius", offset = 273.15 }

The keys of `fields` are paths into the model, the values paths into the message, with a factor
and an offset if need be, or constants. A tag that is no model of the platform's makes a new one,
whose columns have the types of the fields they come from.
"""

from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bridge.errors import ConfigError, DefinitionError
from bridge.mapping.columns import as_numpy, constant, struct
from bridge.mapping.pieces import (
    Columns,
    header_struct,
    motion,
    pose,
    quaternion,
    stamp,
    vector3,
)
from bridge.mapping.source import Source
from bridge.mapping.table import Mapping
from bridge.ontology import (
    MODELS,
    TIMESTAMP_COLUMN,
    Header,
    Model,
    Pose,
    Quaternion,
    Time,
    Vector3d,
    Velocity,
)

TABLE_KEYS = frozenset({"ros_type", "ontology", "fields"})
ORIGIN_KEYS = frozenset({"source", "factor", "offset", "constant"})

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

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the values of one column come from.

    Attributes:
        source: Path into the message, or empty for a constant.
        factor: What numbers are multiplied by.
        offset: What is added to them then.
        value: The constant, where it is one.
    """

    source: tuple[str, ...] = ()
    factor: float = 1.0
    offset: float = 0.0
    value: Scalar | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether numbers change on the way."""
        return (self.factor, self.offset) != (1.0, 0.0)


Tree = dict[str, "Origin | Tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclarativeMapping:
    """A mapping written as a table.

    Attributes:
        ros_type: The ROS type, as `pkg/msg/Name`.
        tag: The tag of the model.
        columns: What each column is made of, as deep as the model is.
    """

    ros_type: str
    tag: str
    columns: Tree

    @classmethod
    def from_table(cls, table: Table[str, Any], *, key: str = "mappings") -> "DeclarativeMapping":
        """Read a mapping from the settings.

        Args:
            table: `ros_type`, `ontology` and `fields`.
            key: Its key in the settings, for errors.

        Raises:
            ConfigError: A key is unknown, missing or of the wrong type, or the platform's model
                of that tag has no such column or needs one more.
        """
        _refuse_unknown(table, TABLE_KEYS, key)
        for name in ("ros_type", "ontology"):
            if not isinstance(table.get(name), str) or not table[name]:
                raise _wrong(f"{key}.{name}", "is missing or no text")
        fields = table.get("fields")
        if not isinstance(fields, Table) or not fields:
            raise _wrong(f"{key}.fields", "is missing or no table")
        columns: Tree = {}
        for path, origin in fields.items():
            _plant(columns, path, _origin(origin, f"{key}.fields.{path}"), f"{key}.fields.{path}")
        model = MODELS.get(table["ontology"])
        if model is not None:
            _check(columns, model.fields, f"{key}.fields")
        elif TIMESTAMP_COLUMN in columns:
            raise _wrong(f"{key}.fields.{TIMESTAMP_COLUMN}", "is the record time and always there")
        return cls(ros_type=_normal(table["ros_type"]), tag=table["ontology"], columns=columns)

    def bind(self, arrow_type: pa.StructType) -> Mapping:
        """Make the mapping for messages of a type.

        Args:
            arrow_type: The decoded fields.

        Raises:
            DefinitionError: The type has no such field.
        """
        known = MODELS.get(self.tag)
        fields = known.fields if known else _new_fields(self.columns, arrow_type, self.ros_type)
        model = known or Model(tag=self.tag, fields=fields)

        def build(source: Source) -> Columns:
            return _grown(self.columns, fields, source)

        return Mapping(self.ros_type, model, build)


def _normal(ros_type: str) -> str:
    package, _, name = ros_type.partition("/")
    return ros_type if "/" in name else f"{package}/msg/{name}"


def _plant(tree: Tree, path: str, origin: Origin, key: str) -> None:
    *steps, last = path.split(".")
    for step in steps:
        branch = tree.setdefault(step, {})
        if isinstance(branch, Origin):
            raise _wrong(key, f"lies inside {step}, which is given as a whole")
        tree = branch
    if not all((*steps, last)) or last in tree:
        raise _wrong(key, "is given twice, or has an empty part")
    tree[last] = origin


def _origin(value: Any, key: str) -> Origin:
    if isinstance(value, str):
        value = {"source": value}
    if not isinstance(value, Table):
        raise _wrong(key, "is neither a path nor a table with source or constant")
    _refuse_unknown(value, ORIGIN_KEYS, key)
    if "constant" in value:
        if len(value) > 1 or not isinstance(value["constant"], Scalar):
            raise _wrong(key, "has a constant that is no number, text or bool, or something beside")
        return Origin(value=value["constant"])
    source = value.get("source")
    if not isinstance(source, str) or not all(source.split(".")):
        raise _wrong(key, "has no source path")
    numbers = {name: value.get(name, default) for name, default in (("factor", 1), ("offset", 0))}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _wrong(f"{key}.{name}", "is no number")
    return Origin(
        source=tuple(source.split(".")),
        factor=float(numbers["factor"]),
        offset=float(numbers["offset"]),
    )


def _check(tree: Tree, fields: tuple[pa.Field, ...], key: str) -> None:
    """Compare the columns that are given with those the model has.

    Raises:
        ConfigError: One is not of the model, or a required one is not given.
    """
    by_name = {field.name: field for field in fields}
    for name, branch in tree.items():
        if name not in by_name:
            raise _wrong(f"{key}.{name}", f"is not of the model, which has {', '.join(by_name)}")
        kind = by_name[name].type
        if isinstance(branch, dict):
            if not pa.types.is_struct(kind):
                raise _wrong(f"{key}.{name}", f"has no parts, it is {kind}")
            _check(branch, tuple(kind), f"{key}.{name}")
        elif branch.value is not None:
            try:
                pa.scalar(branch.value, kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise _wrong(f"{key}.{name}", f"cannot hold {branch.value!r}") from error
    missing = [field.name for field in fields if not field.nullable and field.name not in tree]
    if missing:
        raise _wrong(key, f"lacks {', '.join(missing)}, which every row must have")


def _new_fields(tree: Tree, arrow_type: pa.StructType, msgtype: str) -> tuple[pa.Field, ...]:
    """Give the columns of a model that the platform does not know."""
    fields: list[pa.Field] = []
    for name, branch in tree.items():
        if isinstance(branch, dict):
            kind = pa.struct(_new_fields(branch, arrow_type, msgtype))
        elif branch.value is not None:
            kind = pa.scalar(branch.value).type
        else:
            found: pa.DataType = arrow_type
            for step in branch.source:
                index = found.get_field_index(step) if pa.types.is_struct(found) else -1
                if index < 0:
                    raise DefinitionError(
                        f"there is no field {'.'.join(branch.source)} in {msgtype}",
                        msgtype=msgtype,
                    )
                found = found.field(index).type
            kind = new_column_type(found, is_scaled=branch.is_scaled)
        fields.append(pa.field(name, kind))
    return tuple(fields)


def _grown(tree: Tree, fields: tuple[pa.Field, ...], source: Source) -> Columns:
    columns: Columns = {}
    for field in fields:
        branch = tree.get(field.name)
        if isinstance(branch, dict):
            parts = _grown(branch, tuple(field.type), source)
            columns[field.name] = struct(field.type, parts, source.rows)
        elif branch is not None:
            columns[field.name] = _column(branch, field, source)
    return columns


def _column(origin: Origin, field: pa.Field, source: Source) -> pa.Array:
    if origin.value is not None:
        return constant(origin.value, field.type, source.rows)
    for step in origin.source[:-1]:
        source = source[step]
    name = origin.source[-1]
    if origin.is_scaled:
        return scaled(source, name, field.type, origin.factor, origin.offset)
    return converted(source, name, field.type)


def _refuse_unknown(table: Table[str, Any], known: frozenset[str], key: str) -> None:
    for name in table:
        if name not in known:
            raise _wrong(f"{key}.{name}", f"is unknown; possible: {', '.join(sorted(known))}")


def _wrong(key: str, complaint: str) -> ConfigError:
    return ConfigError(
        f"custom mapping: {key} {complaint}", key=key, hint="see custom mappings in docs/mapping.md"
    )


# A user may ask for what the built-in mappings never do, such as a double into a whole number:
# messages whose value does not survive it are dropped and counted, the others go through.


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
