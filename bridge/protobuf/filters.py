"""Filters of queries: as JSON, `{"sequence": {"name": {"$eq": "run"}}}`, and as messages.

G3b takes messages, G3a the JSON itself, in the same fields. A condition is one operator with its
operand; what a list holds decides how it travels, so it holds values of one kind.
"""

from collections.abc import Mapping
from typing import Any

from bridge.protobuf.messages import MalformedError, kind, parse

_OPERATORS = (
    "", "$eq", "$neq", "$lt", "$leq", "$gt", "$geq", "$between", "$outside", "$in", "$match",
    "$ex", "$nex",
)  # fmt: skip
"""The operators by their numbers; 0 is none."""

_WITHOUT_OPERAND = frozenset({"$ex", "$nex"})
_USER_METADATA = "user_metadata"
_INT64 = range(-(2**63), 2**63)


def write_filter(asked: Mapping[str, Any]) -> bytes:
    """Encode the filter of a query; empty for none.

    Raises:
        ValueError: A message cannot say that.
    """
    message = kind("Filter")()
    for section in ("sequence", "topic"):
        for name, condition in (asked.get(section) or {}).items():
            part = getattr(message, section)
            if name != _USER_METADATA:
                _write(getattr(part, name), condition, name)
                continue
            for key, on_key in condition.items():
                _write(part.user_metadata[key], on_key, key)
    if asked.get("ontology"):
        _write_predicates(message.ontology, asked["ontology"])
    body: bytes = message.SerializeToString()
    return body


def write_ontology(asked: Mapping[str, Any]) -> bytes:
    """Encode conditions on data alone.

    Raises:
        ValueError: A message cannot say that.
    """
    message = kind("OntologyFilter")()
    _write_predicates(message, asked)
    body: bytes = message.SerializeToString()
    return body


def read_filter(body: bytes) -> dict[str, Any]:
    """Decode the filter of a query.

    Raises:
        MalformedError: It is none.
    """
    message = parse("Filter", body)
    asked: dict[str, Any] = {}
    for section in ("sequence", "topic"):
        if not message.HasField(section):
            continue
        part = getattr(message, section)
        asked[section] = {
            field.name: _read(getattr(part, field.name), f"{section}.{field.name}")
            for field in part.DESCRIPTOR.fields
            if field.name != _USER_METADATA and part.HasField(field.name)
        }
        asked[section][_USER_METADATA] = {
            key: _read(condition, f"{section}.{_USER_METADATA}.{key}")
            for key, condition in part.user_metadata.items()
        }
    if message.HasField("ontology"):
        asked["ontology"] = _read_predicates(message.ontology)
    return asked


def read_ontology(body: bytes) -> dict[str, Any]:
    """Decode conditions on data alone.

    Raises:
        MalformedError: They are none.
    """
    return _read_predicates(parse("OntologyFilter", body))


def _write_predicates(message: Any, asked: Mapping[str, Any]) -> None:
    for field, condition in asked.items():
        predicate = message.exprs.add(field=field)
        _write(predicate.condition, condition, field)


def _read_predicates(message: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for predicate in message.exprs:
        if not predicate.HasField("condition"):
            raise MalformedError(f"field `{predicate.field}` has no condition")
        asked[predicate.field] = _read(predicate.condition, predicate.field)
    return asked


def _write(message: Any, condition: Mapping[str, Any], name: str) -> None:
    ((operator, operand),) = condition.items()
    message.op = _OPERATORS.index(operator)
    if operator in _WITHOUT_OPERAND:
        return
    if isinstance(operand, list):
        of = _kind_of(operand, name)
        getattr(message.value, f"{of}_array").values.extend(operand)
    else:
        setattr(message.value, _kind_of([operand], name), operand)


def _read(message: Any, name: str) -> dict[str, Any]:
    if not 0 < message.op < len(_OPERATORS):
        raise MalformedError(f"field `{name}` has unknown operator `{message.op}`")
    of = message.value.WhichOneof("kind")
    operand: Any = None if of is None else getattr(message.value, of)
    return {_OPERATORS[message.op]: list(operand.values) if hasattr(operand, "values") else operand}


def _kind_of(values: list[Any], name: str) -> str:
    """Name the kind of value that all of a list are; numbers of both kinds are floats.

    Raises:
        ValueError: There is none.
    """
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "boolean"
    if kinds == {str}:
        return "text"
    if kinds == {int}:
        if not all(value in _INT64 for value in values):
            raise ValueError(f"{name}: numbers of more than 64 bits cannot be compared with")
        return "integer"
    if kinds and kinds <= {int, float}:
        return "float"
    fault = "holds values of several kinds" if kinds else "is empty"
    raise ValueError(f"{name}: the list to compare with {fault}")
