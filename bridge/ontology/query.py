"""Conditions on data and metadata, written as `IMU.Q.acceleration.x.gt(5.0)`.

A proxy knows the Arrow type of the field it is for, so that a misspelt field or an operator
that makes no sense for it is an error where it is written, not an empty answer from the server.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa

from bridge.errors import UsageError
from bridge.units import SECOND_NS


class QueryError(UsageError, ValueError):
    """A query that no server could answer, or not this one."""


class Operator(StrEnum):
    """What a condition compares by; the values are those of the wire."""

    EQ = "$eq"
    NEQ = "$neq"
    LT = "$lt"
    LEQ = "$leq"
    GT = "$gt"
    GEQ = "$geq"
    BETWEEN = "$between"
    OUTSIDE = "$outside"
    IN = "$in"
    MATCH = "$match"
    EX = "$ex"
    NEX = "$nex"


class Subject(StrEnum):
    """What a condition is about; the values are the sections of a query on the wire."""

    SEQUENCE = "sequence"
    TOPIC = "topic"
    ONTOLOGY = "ontology"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison.

    Attributes:
        subject: What it is about.
        path: The field: `name`, `user_metadata.<dotted key>`, `<tag>.<dotted column>`.
        operator: How it compares.
        value: What with: a bool, int, float, str, or a tuple of them; None for `ex` and `nex`.
        contains: For `MATCH` on a name: whether the value is a part of the text to be looked for
            rather than a pattern.
    """

    subject: Subject
    path: str
    operator: Operator
    value: Any = None
    contains: bool = False


_ORDER = frozenset(
    {
        Operator.LT,
        Operator.LEQ,
        Operator.GT,
        Operator.GEQ,
        Operator.BETWEEN,
        Operator.OUTSIDE,
    }
)
_EQUALITY = frozenset({Operator.EQ, Operator.NEQ, Operator.EX, Operator.NEX})

BOOLEAN_OPERATORS = _EQUALITY
NUMBER_OPERATORS = _EQUALITY | _ORDER | {Operator.IN}
TEXT_OPERATORS = NUMBER_OPERATORS | {Operator.MATCH}
ANY_OPERATORS = frozenset(Operator)


class Comparable:
    """A field that conditions can be put on."""

    def __init__(
        self, subject: Subject, path: str, operators: frozenset[Operator] = ANY_OPERATORS
    ) -> None:
        self._subject = subject
        self._path = path
        self._operators = operators

    def eq(self, value: object) -> Condition:
        """Equal to *value*."""
        return self._condition(Operator.EQ, plain_value(value))

    def neq(self, value: object) -> Condition:
        """Not equal to *value*."""
        return self._condition(Operator.NEQ, plain_value(value))

    def lt(self, value: object) -> Condition:
        """Less than *value*."""
        return self._condition(Operator.LT, plain_value(value))

    def leq(self, value: object) -> Condition:
        """Less than or equal to *value*."""
        return self._condition(Operator.LEQ, plain_value(value))

    def gt(self, value: object) -> Condition:
        """Greater than *value*."""
        return self._condition(Operator.GT, plain_value(value))

    def geq(self, value: object) -> Condition:
        """Greater than or equal to *value*."""
        return self._condition(Operator.GEQ, plain_value(value))

    def between(self, *bounds: object) -> Condition:
        """Within two bounds, both included; given as two values or one pair."""
        return self._condition(Operator.BETWEEN, self._pair(bounds))

    def outside(self, *bounds: object) -> Condition:
        """Below the first or above the second of two bounds."""
        return self._condition(Operator.OUTSIDE, self._pair(bounds))

    def in_(self, *values: object) -> Condition:
        """Equal to one of *values*, given one by one or as one list."""
        return self._condition(Operator.IN, tuple(plain_value(value) for value in _spread(values)))

    def match(self, pattern: str) -> Condition:
        """Text that matches *pattern*, in the terms of the server's revision.

        From G2c on the pattern is a glob over the whole text (`*`, `?`, `#` for a digit, `[...]`);
        before, it is a part of the text in which `%` and `_` are wildcards.
        """
        if not pattern:
            raise QueryError(f"{self._path}: an empty pattern matches nothing")
        return self._condition(Operator.MATCH, str(pattern))

    def ex(self) -> Condition:
        """Is there, and is not null."""
        return self._condition(Operator.EX, None)

    def nex(self) -> Condition:
        """Is not there, or is null."""
        return self._condition(Operator.NEX, None)

    def _condition(self, operator: Operator, value: object) -> Condition:
        if operator not in self._operators:
            raise QueryError(f"{self._path} cannot be compared by {operator.value}")
        return Condition(subject=self._subject, path=self._path, operator=operator, value=value)

    def _pair(self, bounds: tuple[object, ...]) -> tuple[Any, ...]:
        pair = tuple(plain_value(bound) for bound in _spread(bounds))
        if len(pair) != len(("low", "high")):
            raise QueryError(f"{self._path}: two bounds are needed, got {len(pair)}")
        if isinstance(pair[0], str) is not isinstance(pair[1], str) or pair[0] > pair[1]:
            raise QueryError(f"{self._path}: the bounds {pair[0]!r}, {pair[1]!r} are no range")
        return pair


# The platform's documentation still shows these names of its earlier models.
_OLDER_NAMES = {"stamp": "timestamp", "sec": "seconds", "nanosec": "nanoseconds"}


class FieldProxy(Comparable):
    """A field of a model; attributes are the fields inside it.

    Lists are entered by `[i]` (an element), `any()` (at least one) or `all()` (every element).
    """

    def __init__(self, path: str, data_type: pa.DataType) -> None:
        super().__init__(Subject.ONTOLOGY, path, _operators_of(data_type))
        self._type = data_type

    def __getattr__(self, name: str) -> "FieldProxy":
        if pa.types.is_struct(self._type):
            names = {field.name: field for field in self._type}
            known = name if name in names else _OLDER_NAMES.get(name, name)
            if known in names:
                return FieldProxy(f"{self._path}.{known}", names[known].type)
        else:
            names = {}
        raise AttributeError(f"{self._path} has no field {name!r}; it has {', '.join(names)}")

    def __getitem__(self, index: int) -> "FieldProxy":
        if index < 0:
            raise QueryError(f"{self._path}: list positions count from 0")
        return self._element(str(index))

    def any(self) -> "FieldProxy":
        """At least one element of the list."""
        return self._element("?")

    def all(self) -> "FieldProxy":
        """Every element of the list."""
        return self._element("!")

    def _element(self, which: str) -> "FieldProxy":
        if not is_list(self._type):
            raise QueryError(f"{self._path} is not a list")
        return FieldProxy(f"{self._path}[{which}]", self._type.value_type)

    def __repr__(self) -> str:
        return f"{self._path}: {self._type}"


class ModelProxy:
    """All columns of a model, `timestamp_ns` included, as attributes."""

    def __init__(self, tag: str, schema: pa.Schema) -> None:
        self._tag = tag
        self._schema = schema

    def __getattr__(self, name: str) -> FieldProxy:
        if name.startswith("__") or name not in self._schema.names:
            columns = ", ".join(self._schema.names)
            raise AttributeError(f"{self._tag} has no column {name!r}; it has {columns}")
        return FieldProxy(f"{self._tag}.{name}", self._schema.field(name).type)

    def __repr__(self) -> str:
        return f"{self._tag}.Q"


def plain_value(value: object) -> Any:
    """Give a value as the wire knows it: bool, int, float or str.

    Datetimes become nanoseconds since the epoch, numpy scalars what they hold.

    Raises:
        QueryError: The value is something else, or not finite.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise QueryError(f"{value} has no time zone")
        elapsed = value - datetime(1970, 1, 1, tzinfo=UTC)
        whole_s = elapsed.days * 86_400 + elapsed.seconds
        return whole_s * SECOND_NS + elapsed.microseconds * 1000
    unwrapped = value.item() if hasattr(value, "item") else value
    if isinstance(unwrapped, list | tuple):
        return tuple(plain_value(element) for element in unwrapped)
    if not isinstance(unwrapped, bool | int | float | str):
        raise QueryError(f"a query cannot compare with {value!r}")
    if isinstance(unwrapped, float) and not math.isfinite(unwrapped):
        raise QueryError(f"a query cannot compare with {value!r}")
    return unwrapped


def _spread(values: tuple[object, ...]) -> Iterable[object]:
    """Take one list for the values in it."""
    if len(values) == 1 and isinstance(values[0], list | tuple | set | frozenset):
        return values[0]
    return values


def is_list(data_type: pa.DataType) -> bool:
    """Whether values of a type are lists, of any or of one length."""
    return bool(
        pa.types.is_list(data_type)
        or pa.types.is_large_list(data_type)
        or pa.types.is_fixed_size_list(data_type)
    )


def _operators_of(data_type: pa.DataType) -> frozenset[Operator]:
    if pa.types.is_boolean(data_type):
        return BOOLEAN_OPERATORS
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        return TEXT_OPERATORS
    if pa.types.is_struct(data_type):
        return frozenset({Operator.EX, Operator.NEX})
    if is_list(data_type) or pa.types.is_binary(data_type):
        return _EQUALITY
    return NUMBER_OPERATORS
