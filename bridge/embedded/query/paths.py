"""Paths of content queries, `<tag>.<column>.<field>`, with steps into lists, and their values.

The path is walked over Arrow arrays, never row by row. A step into a list evaluates the rest of the
path on the flattened elements and folds the truth back to the rows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from bridge.embedded.query.conditions import Condition, Scalar, comparable_operands
from bridge.embedded.wire import INT64_MAX, INT64_MIN
from bridge.ontology import Operator, is_list


@dataclass(frozen=True, slots=True)
class Field:
    """Goes to the field of a struct, or to a column."""

    name: str


@dataclass(frozen=True, slots=True)
class AnyElement:
    """Goes into a list; true when it is of at least one element."""


@dataclass(frozen=True, slots=True)
class AllElements:
    """Goes into a list; true when it is of every element, so also of none."""


@dataclass(frozen=True, slots=True)
class Element:
    """Goes to one element of a list, counted from zero."""

    index: int


Step: TypeAlias = Field | AnyElement | AllElements | Element

_WIDE_INTEGER = pa.decimal128(20, 0)
_STEP = re.compile(r"(?P<name>[^\[\]]*)(?P<quantifiers>(\[(\?|!|\d{1,9})\])*)")


def parse_path(text: str) -> tuple[Step, ...] | None:
    """Read a path without its tag; None when it is none."""
    steps: list[Step] = []
    for part in text.split("."):
        found = _STEP.fullmatch(part)
        if found is None or not found["name"]:
            return None
        steps.append(Field(found["name"]))
        for mark in re.findall(r"\[([^\]]+)\]", found["quantifiers"]):
            match mark:
                case "?":
                    steps.append(AnyElement())
                case "!":
                    steps.append(AllElements())
                case _:
                    steps.append(Element(int(mark)))
    return tuple(steps)


def plain_prefix(steps: Sequence[Step]) -> str:
    """Name, dotted, the columns to read for a path: as far as it goes without a list."""
    names = []
    for step in steps:
        if not isinstance(step, Field):
            break
        names.append(step.name)
    return ".".join(names)


def truth(values: pa.Array, steps: Sequence[Step], condition: Condition) -> pa.Array:
    """Evaluate a condition at the end of a path, for every row.

    Returns:
        Booleans without nulls, as many as there are values. A path that the values do not have is
        false everywhere.
    """
    if not steps:
        return _compare(values, condition).fill_null(fill_value=False)
    step, rest = steps[0], steps[1:]
    if isinstance(step, Field):
        if not pa.types.is_struct(values.type) or values.type.get_field_index(step.name) < 0:
            return _nowhere(values)
        return truth(pc.struct_field(values, step.name), rest, condition)
    if not is_list(values.type):
        return _nowhere(values)
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    if isinstance(step, Element):
        values = pc.list_slice(values, step.index, step.index + 1)
    inner = truth(pc.list_flatten(values), rest, condition)
    parents = pc.list_parent_indices(values)
    rows = pa.array(range(len(values)), parents.type)
    if isinstance(step, AllElements):
        failed = pc.is_in(rows, parents.filter(pc.invert(inner)))
        return pc.and_(values.is_valid(), pc.invert(failed))
    return pc.is_in(rows, parents.filter(inner))


def _nowhere(values: pa.Array) -> pa.Array:
    return pa.repeat(pa.scalar(value=False), len(values))


def _compare(values: pa.Array, condition: Condition) -> pa.Array:
    if condition.operator is Operator.EX:
        return values.is_valid()
    if condition.operator is Operator.NEX:
        return values.is_null()
    if condition.compares_lists:
        return _compare_lists(values, condition)
    values = _comparable(values)
    operands = comparable_operands(condition, lambda operand: _fits(values.type, operand))
    if not operands:
        return _nowhere(values)
    return _KERNELS[condition.operator](values, [_scalar(operand) for operand in operands])


def _scalar(operand: Scalar) -> pa.Scalar:
    if isinstance(operand, int) and not INT64_MIN <= operand <= INT64_MAX:
        return pa.scalar(Decimal(operand), _WIDE_INTEGER)
    return pa.scalar(operand)


_KERNELS: Mapping[Operator, Callable[[pa.Array, Sequence[Any]], pa.Array]] = {
    Operator.EQ: lambda values, operands: pc.equal(values, operands[0]),
    Operator.NEQ: lambda values, operands: pc.not_equal(values, operands[0]),
    Operator.LT: lambda values, operands: pc.less(values, operands[0]),
    Operator.LEQ: lambda values, operands: pc.less_equal(values, operands[0]),
    Operator.GT: lambda values, operands: pc.greater(values, operands[0]),
    Operator.GEQ: lambda values, operands: pc.greater_equal(values, operands[0]),
    Operator.BETWEEN: lambda values, operands: pc.and_(
        pc.greater_equal(values, operands[0]), pc.less_equal(values, operands[1])
    ),
    Operator.OUTSIDE: lambda values, operands: pc.or_(
        pc.less(values, operands[0]), pc.greater(values, operands[1])
    ),
    Operator.IN: lambda values, operands: reduce(
        pc.or_, [pc.equal(values, operand) for operand in operands]
    ),
    Operator.MATCH: lambda values, operands: pc.match_substring_regex(
        values, rf"\A(?:{operands[0]})\z"
    ),
}


def _comparable(values: pa.Array) -> pa.Array:
    """Bring values into one of the forms that operands have: text, truth, number."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _comparable(values.dictionary_decode())
    if (
        pa.types.is_large_string(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_string_view(kind)
    ):
        return values.cast(pa.string())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if pa.types.is_uint64(kind):
        # Beside a signed operand Arrow would make them signed, and fail on the large ones.
        return values.cast(_WIDE_INTEGER)
    return values


def _fits(kind: pa.DataType, operand: object) -> bool:
    if isinstance(operand, bool):
        return bool(pa.types.is_boolean(kind))
    if isinstance(operand, str):
        return bool(pa.types.is_string(kind))
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _compare_lists(values: pa.Array, condition: Condition) -> pa.Array:
    """Compare whole lists with one list, element by element."""
    if not is_list(values.type):
        return _nowhere(values)
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    same = pc.equal(pc.list_value_length(values), len(condition.operands))
    for index, operand in enumerate(condition.operands):
        element = Condition(operator=Operator.EQ, operands=(operand,))
        same = pc.and_(same, truth(values, (Element(index),), element))
    return same if condition.operator is Operator.EQ else pc.invert(same)
