"""JSON on the wire: strict decoding of requests, and the envelope of responses.

And which of the two encodings a body is in; protobuf itself is the business of `bridge.protobuf`.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from bridge.units import SECOND_NS

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

FORMATS = frozenset({"default", "ragged", "image"})
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Encoding(StrEnum):
    """How requests and answers are written."""

    JSON = "json"
    PROTOBUF = "protobuf"


JSON_ONLY = frozenset({Encoding.JSON})
PROTOBUF_ONLY = frozenset({Encoding.PROTOBUF})
EITHER = JSON_ONLY | PROTOBUF_ONLY

# The tag that a request begins with: of field 1, 2 or 3, a length or a number. No JSON text begins
# with one but after a line feed, which no client sends.
_PROTOBUF_STARTS = b"\x0a\x10\x12\x18\x1a"


def encoding_of(
    body: bytes, spoken: frozenset[Encoding], *, may_be_empty: bool = False
) -> Encoding:
    """Tell by its first byte how a body is written.

    Args:
        body: A body of an action, a command or a ticket.
        spoken: What the server understands; a single encoding is taken for granted.
        may_be_empty: Whether nothing at all is a request, which it can be in protobuf only.
    """
    if len(spoken) == 1:
        (only,) = spoken
        return only
    is_protobuf = body[0] in _PROTOBUF_STARTS if body else may_be_empty
    return Encoding.PROTOBUF if is_protobuf else Encoding.JSON


class MalformedError(Exception):
    """A text is no JSON object, or not the one that is wanted; the message says why."""


class NulError(Exception):
    """A text holds U+0000, which the platform's database refuses."""


class Format(str):
    """Stands in a request's shape for the name of a serialization format."""

    __slots__ = ()


Shape: TypeAlias = Mapping[str, type | None]
"""The required fields of a request: their Python type, or None where any JSON value will do."""


def decode(text: bytes, shape: Shape) -> dict[str, Any]:
    """Decode a JSON object and check its required fields; unknown fields pass.

    Args:
        text: UTF-8 JSON.
        shape: The fields that must be there.

    Raises:
        MalformedError: Not JSON by the standard, not an object, or a field missing or mistyped.
        NulError: A text in it holds U+0000.
    """
    try:
        value = parse(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    fields = decode_fields(value, shape)
    if has_nul(fields):
        raise NulError
    return fields


def parse(text: bytes) -> Json:
    """Parse JSON by the standard.

    Raises:
        ValueError, RecursionError: It is none.
    """
    value: Json = json.loads(text.decode(), parse_constant=_refuse_constant)
    # Half a surrogate pair is an escape Python lets pass but UTF-8 cannot carry.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def has_nul(value: Any) -> bool:
    """Whether a text in a JSON value holds U+0000."""
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(has_nul(part) for pair in value.items() for part in pair)
        case list():
            return any(map(has_nul, value))
        case _:
            return False


def decode_fields(value: Any, shape: Shape) -> dict[str, Any]:
    """Check that a JSON value is an object with the required fields.

    Raises:
        MalformedError: It is no object, or a field is missing or mistyped.
    """
    if not isinstance(value, dict):
        raise MalformedError("expected an object")
    for name, kind in shape.items():
        if name not in value:
            raise MalformedError(f"missing field `{name}`")
        _check(name, value[name], kind)
    return value


def optional_int64(request: Mapping[str, Any], name: str) -> int | None:
    """Read an optional integer field; absent and null are the same.

    Raises:
        MalformedError: The field holds something else.
    """
    value = request.get(name)
    if value is not None:
        _check(name, value, int)
    return value


def _check(name: str, value: Any, kind: type | None) -> None:
    if kind is Format:
        if value not in FORMATS:
            raise MalformedError(f"unknown variant `{value}` in field `{name}`")
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedError(f"field `{name}` is not an integer")
        if not INT64_MIN <= value <= INT64_MAX:
            raise MalformedError(f"field `{name}` does not fit 64 bits")
    elif kind is not None and not isinstance(value, kind):
        raise MalformedError(f"field `{name}` has the wrong type")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def encode(value: Json) -> bytes:
    """Encode a JSON value as the platform does: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def envelope(action: str, response: Json) -> bytes:
    """Wrap the response of an action."""
    return encode({"action": action, "response": response})


def utc_text(time_ns: int) -> str:
    """Write a time as the platform does in notifications: `2026-01-29 10:30:00.123456789 UTC`.

    The fraction has 3, 6 or 9 digits, and is absent when it is zero.
    """
    seconds, fraction_ns = divmod(time_ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    digits = f"{fraction_ns:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits} UTC" if digits else f"{text} UTC"


def interval(first_ns: int | None, last_ns: int | None) -> Json:
    """Write an inclusive time interval; null when there is nothing in it."""
    if first_ns is None or last_ns is None:
        return None
    return {"start_ns": first_ns, "end_ns": last_ns}
