"""Mappings that a user writes as a table in the settings file, without any code.

    [[mappings]]
    ros_type = "acme_msgs/msg/Engine"
    ontology = "Temperature"
    [mappings.fields]
    header = "header"
    value = { source = "oil.celsius", offset = 273.15 }

The keys of `fields` are paths into the model, the values paths into the message (see `origins`),
with a factor and an offset if need be, or constants, or the parts of a time. `[]` behind a name
makes a list of parts, one for each element of a sequence in the message. A tag that is no model of
the platform's makes a new one, whose columns have the types of the fields they come from.
"""

from collections.abc import Mapping as Table
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from bridge.errors import ConfigError
from bridge.mapping.columns import as_numpy, lists, nullable, struct
from bridge.mapping.origins import (
    CALENDAR,
    TIME_PARTS,
    Origin,
    Path,
    Scalar,
    column,
    enter,
    new_column_type,
    parse_path,
    type_at,
)
from bridge.mapping.pieces import Columns
from bridge.mapping.source import Source
from bridge.mapping.table import Mapping
from bridge.ontology import MODELS, TIMESTAMP_COLUMN, Model

TABLE_KEYS = frozenset({"ros_type", "ontology", "fields"})
ORIGIN_KEYS = frozenset({"source", "factor", "offset", "constant", "time"})


@dataclass(frozen=True, slots=True)
class Each:
    """A list of parts, one for each element of a sequence of messages.

    Attributes:
        source: Path to the sequence.
        parts: What each part is made of.
    """

    source: Path
    parts: "Tree"


Tree = dict[str, "Origin | Each | Tree"]


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
        _check_lists(columns, f"{key}.fields")
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
            return _grown(self.columns, fields, source, self.tag if known else "")

        return Mapping(self.ros_type, model, build, observes=True)


def _normal(ros_type: str) -> str:
    package, _, name = ros_type.partition("/")
    return ros_type if "/" in name else f"{package}/msg/{name}"


def _plant(tree: Tree, path: str, origin: Origin, key: str) -> None:
    """Put an origin where its path in the model leads."""
    name, _, rest = path.partition(".")
    name, is_list = name.removesuffix("[]"), name.endswith("[]")
    if not name or "[" in name or (is_list and not rest):
        raise _wrong(key, "is no path into a model")
    if not rest:
        if name in tree:
            raise _wrong(key, "is given twice")
        tree[name] = origin
        return
    branch = tree.setdefault(name, Each((), {}) if is_list else {})
    if isinstance(branch, Origin) or isinstance(branch, Each) != is_list:
        raise _wrong(key, f"lies inside {name}, which is given as a whole or as something else")
    if isinstance(branch, dict):
        _plant(branch, rest, origin, key)
        return
    if origin.time:
        raise _wrong(key, "cannot be a time, inside a list")
    if origin.source:
        at = next((at for at, step in enumerate(origin.source) if step.each), None)
        if at is None:
            raise _wrong(key, "is for each element of a list, and its source names none with []")
        sequence = (*origin.source[:at], replace(origin.source[at], each=False))
        if branch.source not in ((), sequence):
            raise _wrong(key, "takes another sequence than the columns beside it")
        tree[name] = branch = Each(sequence, branch.parts)
        origin = replace(origin, source=origin.source[at + 1 :])
    _plant(branch.parts, rest, origin, key)


def _origin(value: Any, key: str) -> Origin:
    if isinstance(value, str):
        value = {"source": value}
    if not isinstance(value, Table):
        raise _wrong(key, "is neither a path nor a table with source, constant or time")
    _refuse_unknown(value, ORIGIN_KEYS, key)
    if "constant" in value:
        if len(value) > 1 or not isinstance(value["constant"], Scalar):
            raise _wrong(key, "has a constant that is no number, text or bool, or something beside")
        return Origin(value=value["constant"])
    if "time" in value:
        if len(value) > 1:
            raise _wrong(key, "has a time and something beside")
        return Origin(time=_time_parts(value["time"], f"{key}.time"))
    numbers = {name: value.get(name, default) for name, default in (("factor", 1), ("offset", 0))}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _wrong(f"{key}.{name}", "is no number")
    return Origin(
        source=_path(value.get("source"), key),
        factor=float(numbers["factor"]),
        offset=float(numbers["offset"]),
    )


def _path(value: Any, key: str) -> Path:
    path = parse_path(value) if isinstance(value, str) else None
    if path is None:
        raise _wrong(key, "has no source path")
    return path


def _time_parts(value: Any, key: str) -> tuple[tuple[str, Path], ...]:
    if not isinstance(value, Table) or not value:
        raise _wrong(key, "is no table of parts")
    _refuse_unknown(value, TIME_PARTS, key)
    parts = tuple((part, _path(path, f"{key}.{part}")) for part, path in value.items())
    if CALENDAR & value.keys() and "year" not in value:
        raise _wrong(key, "is a date without a year")
    if any(step.each for _, path in parts for step in path):
        raise _wrong(key, "takes one of a sequence, not each")
    return parts


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
        if isinstance(branch, Each):
            if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
                raise _wrong(f"{key}.{name}", f"is no list of parts, it is {kind}")
            _check(branch.parts, tuple(kind.value_type), f"{key}.{name}[]")
        elif isinstance(branch, dict):
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


def _check_lists(tree: Tree, key: str) -> None:
    for name, branch in tree.items():
        if isinstance(branch, Each):
            if not branch.source:
                raise _wrong(f"{key}.{name}[]", "has constants only; its length is unknown")
            _check_lists(branch.parts, f"{key}.{name}[]")
        elif isinstance(branch, dict):
            _check_lists(branch, f"{key}.{name}")


def _new_fields(tree: Tree, arrow_type: pa.StructType, msgtype: str) -> tuple[pa.Field, ...]:
    """Give the columns of a model that the platform does not know."""
    fields: list[pa.Field] = []
    for name, branch in tree.items():
        if isinstance(branch, dict):
            kind: pa.DataType = pa.struct(_new_fields(branch, arrow_type, msgtype))
        elif isinstance(branch, Each):
            *before, last = branch.source
            items = type_at(arrow_type, (*before, replace(last, each=True)), msgtype).value_type
            kind = pa.list_(pa.struct(_new_fields(branch.parts, items, msgtype)))
        else:
            kind = new_column_type(branch, arrow_type, msgtype)
        fields.append(pa.field(name, kind))
    return tuple(fields)


def _grown(tree: Tree, fields: tuple[pa.Field, ...], source: Source, tag: str) -> Columns:
    columns: Columns = {}
    for field in fields:
        branch = tree.get(field.name)
        if isinstance(branch, dict):
            parts = _grown(branch, tuple(field.type), source, tag)
            columns[field.name] = struct(field.type, parts, source.rows)
        elif isinstance(branch, Each):
            items, offsets = enter(source, branch.source[:-1]).items(branch.source[-1].name)
            parts = _grown(branch.parts, tuple(field.type.value_type), items, tag)
            values = struct(field.type.value_type, parts, items.rows)
            columns[field.name] = lists(field.type, offsets, values)
        elif branch is not None:
            columns[field.name] = column(branch, field, source, tag)
    if {"covariance", "covariance_type"} <= columns.keys():
        # What kind an unknown covariance is of says nothing.
        known = as_numpy(columns["covariance"].is_valid())
        columns["covariance_type"] = nullable(columns["covariance_type"], known)
    return columns


def _refuse_unknown(table: Table[str, Any], known: frozenset[str], key: str) -> None:
    for name in table:
        if name not in known:
            raise _wrong(f"{key}.{name}", f"is unknown; possible: {', '.join(sorted(known))}")


def _wrong(key: str, complaint: str) -> ConfigError:
    return ConfigError(
        f"custom mapping: {key} {complaint}", key=key, hint="see custom mappings in docs/mapping.md"
    )
