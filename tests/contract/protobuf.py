"""The protobuf generation's bytes, written and read by hand from its tables of numbers.

Judges `bridge.protobuf`, so it shares nothing with it: no library, no generated code. Requests and
answers are given and taken as JSON has them in G2d.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FORMATS = ("", "default", "ragged", "image")
OPERATORS = (
    "", "$eq", "$neq", "$lt", "$leq", "$gt", "$geq", "$between", "$outside", "$in", "$match",
    "$ex", "$nex",
)  # fmt: skip

# A message: by field its number and its kind. A kind is text, json, int, uint, bool, format, the
# fields of a message inside, or a list of one kind; `?` after int: sent although it is zero.
Fields = Mapping[str, tuple[int, Any]]

RANGE: Fields = {"start_ns": (1, "int?"), "end_ns": (2, "int?")}
LOCATOR: Fields = {"locator": (1, "text")}
NOTIFICATION: Fields = {
    "locator": (1, "text"),
    "notification_type": (2, "text"),
    "msg": (3, "text"),
}
CLUSTERS: Fields = {
    "locator": (1, "text"),
    "clustering_dt_ns": (2, "uint"),
    "ontology": (3, "ontology"),
    "timestamp_range": (4, RANGE),
}
REQUESTS: Mapping[str, Fields] = {
    "info": {},
    "sequence_create": {"locator": (1, "text"), "user_metadata": (2, "json")},
    "sequence_delete": LOCATOR,
    "sequence_notification_create": NOTIFICATION,
    "sequence_notification_list": LOCATOR,
    "sequence_notification_purge": LOCATOR,
    "session_create": LOCATOR,
    "session_finalize": {"session_uuid": (1, "text")},
    "session_delete": LOCATOR,
    "topic_create": {
        "locator": (1, "text"),
        "session_uuid": (2, "text"),
        "serialization_format": (3, "format"),
        "ontology_tag": (4, "text"),
        "user_metadata": (5, "json"),
    },
    "topic_delete": LOCATOR,
    "topic_notification_create": NOTIFICATION,
    "topic_notification_list": LOCATOR,
    "topic_notification_purge": LOCATOR,
    "query": {"query": (1, "filter")},
    "topic_filter_clusterize": CLUSTERS,
    "topic_filter_intersect": {"topics": (1, [CLUSTERS]), "intersect_dt_ns": (2, "uint")},
}
NOTIFICATIONS: Fields = {
    "notifications": (
        1,
        [
            {
                "name": (1, "text"),
                "notification_type": (2, "text"),
                "msg": (3, "text"),
                "created_datetime": (4, "text"),
            }
        ],
    )
}
CLUSTER: Fields = {"ts": (1, RANGE), "id": (2, "uint")}
ANSWERS: Mapping[str, Fields] = {
    "info": {
        "version": (1, "text"),
        "semver": (
            2,
            {
                "major": (1, "uint"),
                "minor": (2, "uint"),
                "patch": (3, "uint"),
                "pre": (4, "text"),
            },
        ),
        "config": (
            3,
            {
                "grpc_max_decode_message_size": (1, "uint"),
                "grpc_max_encode_message_size": (2, "uint"),
                "grpc_target_encode_message_size": (3, "uint"),
            },
        ),
    },
    "session_create": {"uuid": (1, "text"), "locator": (2, "text")},
    "topic_create": {"uuid": (1, "text")},
    "sequence_notification_list": NOTIFICATIONS,
    "topic_notification_list": NOTIFICATIONS,
    "query": {
        "items": (
            1,
            [
                {
                    "sequence": (1, "text"),
                    "topics": (2, [{"locator": (1, "text"), "ontology_tag": (2, "text")}]),
                }
            ],
        )
    },
    "topic_filter_clusterize": CLUSTER,
    "topic_filter_intersect": CLUSTER,
}
COMMANDS: Mapping[str, Fields] = {
    "resource": {"resource_locator": (1, "text"), "timestamp_range": (2, RANGE)},
    "put": {"resource_locator": (1, "text"), "topic_uuid": (2, "text")},
}
DATA: Fields = {
    "interval": (1, RANGE),
    "total_row_count": (2, "uint"),
    "total_bytes": (3, "uint"),
    "total_chunks_count": (4, "uint"),
}
FACTS: Mapping[str, Fields] = {
    "sequence": {
        "created_at_ns": (1, "int"),
        "resource_locator": (2, "text"),
        "sessions": (
            3,
            [
                {
                    "locator": (1, "text"),
                    "created_at_ns": (2, "int"),
                    "completed_at_ns": (3, "int?"),
                    "topics": (4, ["text"]),
                    "locked": (5, "bool"),
                }
            ],
        ),
        "user_metadata": (4, "json"),
    },
    "topic": {
        "created_at_ns": (1, "int"),
        "completed_at_ns": (2, "int?"),
        "locked": (3, "bool"),
        "resource_locator": (4, "text"),
        "ontology_tag": (5, "text"),
        "serialization_format": (6, "format"),
        "user_metadata": (7, "json"),
        "data_info": (8, DATA),
        "time_window_info": (9, {"interval": (1, RANGE), "row_count": (2, "uint")}),
        "session_locator": (10, "text"),
    },
}


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | LENGTH) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def encode(fields: Fields, values: Mapping[str, Any], *, filters: str = "typed") -> bytes:
    """Encode a message; a value that is None, or has no field, is not sent."""
    encoded = b""
    for name, (number, kind) in fields.items():
        value = values.get(name)
        if isinstance(kind, list):
            parts = [_field(number, kind[0], each, filters) for each in value or ()]
        else:
            parts = [] if value is None else [_field(number, kind, value, filters)]
        encoded += b"".join(parts)
    return encoded


def _field(number: int, kind: Any, value: Any, filters: str) -> bytes:
    if kind in {"int", "uint", "bool", "int?"} if isinstance(kind, str) else False:
        return number_field(number, value) if value or kind == "int?" else b""
    if kind == "format":
        return number_field(number, FORMATS.index(value)) if value else b""
    if kind == "text" and not value:
        return b""
    as_json = kind == "json" or (filters == "json" and kind in ("filter", "ontology"))
    content = (
        json.dumps(value).encode()
        if as_json
        else value.encode()
        if kind == "text"
        else typed_filter(value)
        if kind == "filter"
        else typed_ontology(value)
        if kind == "ontology"
        else encode(kind, value, filters=filters)
    )
    return field(number, content)


def typed_filter(asked: Mapping[str, Any]) -> bytes:
    numbers = {
        "sequence": {"name": 1, "created_at_ns": 2, "user_metadata": 3},
        "topic": {
            "name": 1, "created_at_ns": 2, "ontology_tag": 3, "serialization_format": 4,
            "user_metadata": 5,
        },
    }  # fmt: skip
    encoded = b""
    for section_number, section in enumerate(("sequence", "topic"), start=1):
        if section not in asked:
            continue
        content = b""
        for name, condition in asked[section].items():
            number = numbers[section][name]
            if name == "user_metadata":
                for key, inner in condition.items():
                    content += field(number, field(1, key.encode()) + field(2, typed(inner)))
            else:
                content += field(number, typed(condition))
        encoded += field(section_number, content)
    if "ontology" in asked:
        encoded += field(3, typed_ontology(asked["ontology"]))
    return encoded


def typed_ontology(asked: Mapping[str, Any]) -> bytes:
    return b"".join(
        field(1, field(1, path.encode()) + field(3, typed(condition)))
        for path, condition in asked.items()
    )


def typed(condition: Mapping[str, Any]) -> bytes:
    """Encode a condition; an operator that does not exist has the number 99."""
    ((operator, operand),) = condition.items()
    op = OPERATORS.index(operator) if operator in OPERATORS else 99
    encoded = number_field(1, op)
    if operand is None:
        return encoded
    return encoded + field(2, typed_value(operand))


def typed_value(operand: Any) -> bytes:
    kinds = {type(each) for each in (operand if isinstance(operand, list) else [operand])}
    numbers: dict[frozenset[type], int] = {
        frozenset({bool}): 4,
        frozenset({str}): 3,
        frozenset({int}): 1,
        frozenset(): 1,
    }
    kind = numbers.get(frozenset(kinds), 2)
    if isinstance(operand, list):
        if kind == 3:
            return field(7, b"".join(field(1, each.encode()) for each in operand))
        packed = b"".join(
            struct.pack("<d", each) if kind == 2 else varint(int(each)) for each in operand
        )
        return field(kind + 4, field(1, packed))
    if kind == 2:
        return varint(2 << 3 | FIXED64) + struct.pack("<d", operand)
    return field(3, operand.encode()) if kind == 3 else number_field(kind, int(operand))


def split(body: bytes) -> list[tuple[int, Any]]:
    """Split a message into its fields, by number, in the order in which they come."""
    found: list[tuple[int, Any]] = []
    at = 0

    def read_varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(body):
        tag = read_varint()
        if tag & 7 == VARINT:
            found.append((tag >> 3, read_varint()))
            continue
        assert tag & 7 == LENGTH, f"field {tag >> 3} has the wire type {tag & 7}"
        size = read_varint()
        assert at + size <= len(body), "the message is cut"
        found.append((tag >> 3, body[at : at + size]))
        at += size
    return found


def decode(fields: Fields, body: bytes) -> dict[str, Any]:
    """Decode a message; what was not sent is None, or the default where presence is not told."""
    found = split(body)
    known = {number for number, _ in fields.values()}
    assert {number for number, _ in found} <= known, "a field that the message does not have"
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers), "the fields are not in order"
    values: dict[str, Any] = {}
    for name, (number, kind) in fields.items():
        sent = [value for each, value in found if each == number]
        if isinstance(kind, list):
            values[name] = [_value(kind[0], value) for value in sent]
        elif sent:
            (only,) = sent
            assert only or kind == "int?" or not isinstance(kind, str), f"{name}: a default is sent"
            values[name] = _value(kind, only)
        else:
            defaults = {"text": "", "int": 0, "uint": 0, "bool": False, "format": ""}
            values[name] = defaults.get(kind) if isinstance(kind, str) else None
    return values


def _value(kind: Any, raw: Any) -> Any:
    if not isinstance(kind, str):
        return decode(kind, raw)
    return _READERS[kind](raw)


def _json(raw: bytes) -> Any:
    value = json.loads(raw)
    assert raw.decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def _signed(raw: int) -> int:
    return raw - 2**64 if raw >= 2**63 else raw


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "text": bytes.decode,
    "json": _json,
    "int": _signed,
    "int?": _signed,
    "uint": int,
    "bool": bool,
    "format": FORMATS.__getitem__,
}
