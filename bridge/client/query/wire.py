"""Queries on the wire: each revision's spelling, and what it cannot evaluate."""

import re
from typing import Any

from bridge.client.query.parts import Query, QueryOntologyCatalog
from bridge.client.revisions import Revision
from bridge.ontology import Condition, Operator, QueryError, Subject

_USER_METADATA = "user_metadata"
_CREATED = "created_timestamp"

_EXISTENCE = frozenset({Operator.EX, Operator.NEX})
_RANGE = frozenset({Operator.LT, Operator.LEQ, Operator.GT, Operator.GEQ, Operator.BETWEEN})
_WIDE_RANGE = _RANGE | {Operator.OUTSIDE}
_EQUALITY = frozenset({Operator.EQ, Operator.NEQ})

# What the revisions before G2c evaluate; they answer anything else with an error.
_NARROW_NAME = _EQUALITY | _EXISTENCE | {Operator.IN, Operator.MATCH}
_NARROW_TIME = _EQUALITY | _EXISTENCE | _RANGE
_NARROW_METADATA = _EQUALITY | _EXISTENCE | _RANGE
_NARROW_DATA = frozenset({Operator.EQ}) | _RANGE
_WIDE_TIME = _EQUALITY | _EXISTENCE | _WIDE_RANGE

_GLOB_SIGNS = re.compile(r"[*?#\[]")
_LIKE_SIGNS = re.compile(r"[\\%_]")
_PATTERN_BYTES_MAX = 256


def encode_query(query: Query, revision: Revision) -> dict[str, Any]:
    """Spell a query for a revision.

    Raises:
        QueryError: The revision cannot evaluate a condition.
    """
    request: dict[str, Any] = {}
    for part in query.parts:
        section = request.setdefault(part.subject.value, {})
        for condition in part.conditions:
            _check(condition, revision)
            _place(section, condition, revision)
        if isinstance(part, QueryOntologyCatalog) and part.include_timestamp_range:
            if not revision.query_ranges:
                raise QueryError(
                    f"{revision.name} does not report time ranges in queries",
                    hint="ask for temporal clusters instead" if revision.clusters else "",
                )
            section["include_timestamp_range"] = True
    return request


def encode_conditions(conditions: tuple[Condition, ...], revision: Revision) -> dict[str, Any]:
    """Spell conditions on data alone, as temporal clusters take them."""
    section: dict[str, Any] = {}
    for condition in conditions:
        if condition.subject is not Subject.ONTOLOGY:
            raise QueryError(f"{condition.path} is no column of data")
        _check(condition, revision)
        _place(section, condition, revision)
    return section


def _check(condition: Condition, revision: Revision) -> None:
    """Refuse what the server would refuse, with a better reason."""
    allowed = _allowed(condition, revision)
    wide_only = "[" in condition.path and condition.subject is Subject.ONTOLOGY
    text_order = (
        condition.operator in _WIDE_RANGE
        and isinstance(_first(condition.value), str)
        and not revision.wide_operators
    )
    if (
        condition.operator not in allowed
        or text_order
        or (wide_only and not revision.wide_operators)
    ):
        raise QueryError(
            f"{revision.name} cannot compare {condition.path} by {condition.operator.value}"
        )


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value


def _allowed(condition: Condition, revision: Revision) -> frozenset[Operator]:
    if condition.path == _CREATED:
        return _WIDE_TIME if revision.wide_operators else _NARROW_TIME
    if revision.wide_operators:
        return frozenset(Operator)
    if condition.subject is Subject.ONTOLOGY:
        return _NARROW_DATA
    return _NARROW_METADATA if condition.path.startswith(_USER_METADATA) else _NARROW_NAME


def _place(section: dict[str, Any], condition: Condition, revision: Revision) -> None:
    """Put a condition where its revision wants it."""
    operand = {condition.operator.value: _operand(condition, revision)}
    if condition.subject is Subject.ONTOLOGY:
        section[condition.path] = operand
    elif condition.path.startswith(f"{_USER_METADATA}."):
        key = condition.path.removeprefix(f"{_USER_METADATA}.")
        section.setdefault(_USER_METADATA, {})[key] = operand
    elif condition.path == "name":
        section[revision.query_name] = operand
    elif condition.path == _CREATED:
        section[revision.query_created] = operand
    else:
        section[condition.path] = operand


def _operand(condition: Condition, revision: Revision) -> Any:
    if condition.contains:
        return _containing(condition.value, revision)
    if condition.path == _CREATED:
        return _in_unit(condition.value, revision.query_created_unit_ns)
    return list(condition.value) if isinstance(condition.value, tuple) else condition.value


def _in_unit(value: Any, unit_ns: int) -> Any:
    if isinstance(value, tuple):
        return [_in_unit(element, unit_ns) for element in value]
    return value // unit_ns if isinstance(value, int) else value


def _containing(part: str, revision: Revision) -> str:
    """Give the pattern for "has this text in it", with what would be a wildcard made literal."""
    if not revision.glob_match:
        return _LIKE_SIGNS.sub(r"\\\g<0>", part)
    literal = _GLOB_SIGNS.sub(r"[\g<0>]", part)
    pattern = f"*{literal}*"
    if len(pattern.encode()) > _PATTERN_BYTES_MAX:
        raise QueryError(f"the text to look for is too long: {part[:40]!r}...")
    return pattern
