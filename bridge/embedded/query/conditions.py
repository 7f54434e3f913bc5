"""Conditions of queries: the operators, what they take, and their truth for a single value."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bridge.embedded.refusals import Refusal, Status
from bridge.ontology import Operator

PATTERN_BYTES_MAX = 256
LIST_OPERAND_MAX = 1024
INTEGER_MAX = 2**64 - 1

Scalar: TypeAlias = str | bool | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One operator with its operands.

    Attributes:
        operator: The comparison.
        operands: One value for most, two for the ranges, any number for `$in`, none for existence;
            for `$match` the regular expression that the pattern means.
        compares_lists: Whether the operands are the elements of one list to compare with.
    """

    operator: Operator
    operands: tuple[Scalar, ...]
    compares_lists: bool = False


_WILDCARDS = {"*": "(?s:.*)", "?": "(?s:.)", "#": "[0-9]"}


def glob(pattern: str) -> str:
    """Turn a glob of `* ? # [...]` into a regular expression; Python and RE2 read it alike.

    Raises:
        ValueError: The glob is empty or too long.
    """
    if not pattern:
        raise ValueError("it is empty")
    if len(pattern.encode()) > PATTERN_BYTES_MAX:
        raise ValueError(f"it has more than {PATTERN_BYTES_MAX} bytes")
    pieces = re.findall(r"\[[^\]]+\]|(?s:.)", pattern)
    return "".join(
        piece if len(piece) > 1 else _WILDCARDS.get(piece, re.escape(piece)) for piece in pieces
    )


@dataclass(frozen=True, slots=True)
class FieldKind:
    """What may be asked of a field.

    Attributes:
        operators: The operators it has.
        operand: The types an operand may have.
        has_lists: Whether it may be compared with a whole list.
        is_strict: Whether an empty `$in` and an order of truth values are refused.
        pattern: Turns the text of a `$match` into a regular expression for the whole value.
    """

    operators: frozenset[Operator]
    operand: tuple[type, ...]
    has_lists: bool = False
    is_strict: bool = False
    pattern: Callable[[str], str] = glob


TEXT = FieldKind(frozenset(Operator), (str,))
PLAIN_TEXT = FieldKind(
    frozenset(
        {
            Operator.EQ,
            Operator.NEQ,
            Operator.IN,
            Operator.MATCH,
            Operator.EX,
            Operator.NEX,
        }
    ),
    (str,),
    is_strict=True,
)
TIME = FieldKind(frozenset(Operator) - {Operator.MATCH, Operator.IN}, (int,))
VALUE = FieldKind(frozenset(Operator), (str, bool, int, float))
COLUMN = FieldKind(frozenset(Operator), (str, bool, int, float), has_lists=True)


_ORDER = frozenset({Operator.LT, Operator.LEQ, Operator.GT, Operator.GEQ})


def parse_condition(name: str, value: Any, kind: FieldKind) -> Condition | None:
    """Read a condition, `{"<operator>": <operand>}`.

    Args:
        name: The field, for the message of a refusal.
        value: What the request says.
        kind: What may be asked of the field.

    Returns:
        The condition, or None for an empty `$in`, which asks nothing.

    Raises:
        Refusal: INVALID_ARGUMENT for anything that is no condition on such a field.
    """
    if not isinstance(value, dict) or len(value) != 1:
        raise _bad(name, "needs exactly one operator")
    ((spelling, operand),) = value.items()
    try:
        wanted = Operator(spelling)
    except ValueError:
        raise _bad(name, f"has unknown operator `{spelling}`") from None
    if wanted not in kind.operators:
        raise _bad(name, "has unsupported operation")
    compares_lists = (
        kind.has_lists and isinstance(operand, list) and wanted in {Operator.EQ, Operator.NEQ}
    )
    operands = _operands(name, wanted, operand, kind)
    if kind.is_strict and wanted is Operator.IN and not operands:
        raise _bad(name, "has an empty list")
    if kind.is_strict and wanted in _ORDER and any(isinstance(each, bool) for each in operands):
        raise _bad(name, "has unsupported operation")
    if wanted is Operator.IN and not operands:
        return None
    return Condition(operator=wanted, operands=operands, compares_lists=compares_lists)


def _operands(name: str, wanted: Operator, operand: Any, kind: FieldKind) -> tuple[Scalar, ...]:
    match wanted:
        case Operator.EX | Operator.NEX:
            return ()
        case Operator.MATCH:
            return (_pattern(name, operand, kind),)
        case Operator.BETWEEN | Operator.OUTSIDE:
            return _range(name, operand, kind)
        case Operator.IN:
            return _list(name, operand, kind)
        case Operator.EQ | Operator.NEQ if kind.has_lists and isinstance(operand, list):
            if len(operand) > LIST_OPERAND_MAX:
                raise _bad(name, f"compares with more than {LIST_OPERAND_MAX} elements")
            return _list(name, operand, kind)
    return _list(name, [operand], kind)


_TRUTHS: Mapping[Operator, Callable[[Any, Sequence[Any]], bool]] = {
    Operator.EQ: lambda value, operands: value == operands[0],
    Operator.NEQ: lambda value, operands: value != operands[0],
    Operator.LT: lambda value, operands: value < operands[0],
    Operator.LEQ: lambda value, operands: value <= operands[0],
    Operator.GT: lambda value, operands: value > operands[0],
    Operator.GEQ: lambda value, operands: value >= operands[0],
    Operator.BETWEEN: lambda value, operands: operands[0] <= value <= operands[1],
    Operator.OUTSIDE: lambda value, operands: value < operands[0] or value > operands[1],
    Operator.IN: lambda value, operands: value in operands,
    Operator.MATCH: lambda value, operands: re.fullmatch(operands[0], value) is not None,
}


def holds(condition: Condition, value: Scalar | None) -> bool:
    """Tell whether a condition is true of a value; only `$nex` is true of a missing one.

    A value of another kind than the operands meets no condition.
    """
    if value is None or condition.operator in {Operator.EX, Operator.NEX}:
        return (value is None) == (condition.operator is Operator.NEX)
    operands = comparable_operands(condition, lambda operand: are_alike(value, operand))
    return bool(operands) and _TRUTHS[condition.operator](value, operands)


def comparable_operands(condition: Condition, fits: Callable[[Scalar], bool]) -> tuple[Scalar, ...]:
    """Give the operands that fit what they are compared with; none if one is missing for it.

    Only `$in` can do without some of its operands.
    """
    fitting = tuple(operand for operand in condition.operands if fits(operand))
    if condition.operator is not Operator.IN and len(fitting) < len(condition.operands):
        return ()
    return fitting


def are_alike(left: object, right: object) -> bool:
    """Tell whether two values can be compared: texts, truth values, or numbers."""
    kinds = {_family(left), _family(right)}
    return len(kinds) == 1 and kinds != {""}


def _family(value: object) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else ""


def _list(name: str, values: Any, kind: FieldKind) -> tuple[Scalar, ...]:
    if not isinstance(values, list):
        raise _bad(name, "has wrong type")
    for value in values:
        is_truth = isinstance(value, bool)
        is_wide = isinstance(value, int) and abs(value) > INTEGER_MAX
        if (
            not isinstance(value, kind.operand)
            or (is_truth and bool not in kind.operand)
            or is_wide
        ):
            raise _bad(name, "has wrong type")
    return tuple(values)


def _range(name: str, operand: Any, kind: FieldKind) -> tuple[Scalar, ...]:
    if not isinstance(operand, list) or len(operand) != 2:  # noqa: PLR2004 - low and high
        raise _bad(name, "needs a range of two values")
    low, high = _list(name, operand, kind)
    if isinstance(low, bool) or not are_alike(low, high):
        raise _bad(name, "has wrong type")
    if low > high:  # type: ignore[operator]
        raise _bad(name, "has a range whose ends are the wrong way round")
    return low, high


def _pattern(name: str, operand: Any, kind: FieldKind) -> str:
    if not isinstance(operand, str):
        raise _bad(name, "has wrong type")
    try:
        regex = kind.pattern(operand)
        re.compile(regex)
    except (ValueError, re.error) as error:
        raise _bad(name, f"has a bad pattern: {error}") from None
    return regex


def _bad(name: str, what: str) -> Refusal:
    return Refusal(
        Status.INVALID_ARGUMENT, f"Bad request: operation error :: field `{name}` {what}."
    )
