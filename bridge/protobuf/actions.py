"""The bytes of actions, commands and descriptions, from and to the JSON of G2d.

There is no envelope: the action's name decides which messages its bodies are.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bridge.protobuf.filters import read_filter, read_ontology, write_filter, write_ontology
from bridge.protobuf.messages import (
    NotJsonError,
    NotProtobufError,
    any_format,
    fill,
    kind,
    known_format,
    parse,
    read,
)

_NOTHING = ""
"""Stands for the answer that has no bytes."""

_MESSAGES: Mapping[str, tuple[str, str]] = {
    "info": ("Empty", "ServerInfo"),
    "sequence_create": ("SequenceCreate", _NOTHING),
    "sequence_delete": ("ResourceLocator", _NOTHING),
    "sequence_notification_create": ("NotificationCreate", _NOTHING),
    "sequence_notification_list": ("ResourceLocator", "NotificationList"),
    "sequence_notification_purge": ("ResourceLocator", _NOTHING),
    "session_create": ("ResourceLocator", "SessionCreate"),
    "session_finalize": ("SessionUuid", _NOTHING),
    "session_delete": ("ResourceLocator", _NOTHING),
    "topic_create": ("TopicCreate", "ResourceUuid"),
    "topic_delete": ("ResourceLocator", _NOTHING),
    "topic_notification_create": ("NotificationCreate", _NOTHING),
    "topic_notification_list": ("ResourceLocator", "NotificationList"),
    "topic_notification_purge": ("ResourceLocator", _NOTHING),
    "query": ("QueryRequest", "QueryResponse"),
    "topic_filter_clusterize": ("TopicClusterizeParams", "TopicFilterClusterize"),
    "topic_filter_intersect": ("TopicFilterIntersect", "TopicFilterClusterize"),
}
"""What each action takes and gives."""

_FACTS = {"sequence": "SequenceAppMetadata", "topic": "TopicAppMetadata"}

_JSON_STARTS = b"{"

ParseJson = Callable[[bytes], Any]


def encode_request(action: str, request: Mapping[str, Any], *, typed_filters: bool = True) -> bytes:
    """Encode the request of an action.

    Args:
        action: Its name.
        request: Its parameters, as in JSON.
        typed_filters: Whether filters are messages (G3b) rather than JSON (G3a).

    Raises:
        ValueError, TypeError: A value does not fit its field, or is no JSON where it has to be.
    """
    writers: dict[str, Callable[[Any], bytes]] = {"user_metadata": _to_json}
    if typed_filters:
        writers |= {"ontology": write_ontology, "filter": write_filter}
    values = {"filter": request} if action == "query" else request
    return _encode(
        _MESSAGES[action][0], values, lambda name, value: writers.get(name, _to_json)(value)
    )


def decode_request(
    action: str, body: bytes, *, parse_json: ParseJson = json.loads
) -> dict[str, Any]:
    """Decode the request of an action; filters may be messages or JSON.

    Args:
        action: Its name.
        body: What was sent.
        parse_json: Reads the fields that hold JSON; raises `ValueError` for what is none.

    Raises:
        NotProtobufError: The body is not the action's message.
        NotJsonError: A field of JSON holds something else.
        MalformedError: It asks for what does not exist, in words for the caller.
    """
    readers = {"ontology": read_ontology, "filter": read_filter}

    def from_bytes(name: str, content: bytes) -> Any:
        if name in readers and not content.startswith(_JSON_STARTS):
            return readers[name](content)
        return _from_json(content, parse_json)

    request = _MESSAGES[action][0]
    values = read(parse(request, body), from_bytes=from_bytes, format_name=known_format)
    return values["filter"] or {} if action == "query" else values


def encode_answer(action: str, answer: Any) -> bytes:
    """Encode an answer of an action: a mapping, or None where there is nothing to say."""
    message = _MESSAGES[action][1]
    return _encode(message, answer, _only_json) if message else b""


def decode_answer(action: str, body: bytes) -> dict[str, Any] | None:
    """Decode an answer of an action; no bytes may be an answer without anything in it.

    Raises:
        MalformedError: It is none.
    """
    message = _MESSAGES[action][1]
    if not message:
        return None
    try:
        return _decode(message, body)
    except NotProtobufError:
        # In JSON a line feed ends each answer of these; nobody has seen whether it does here.
        if not action.startswith("topic_filter_") or not body.endswith(b"\n"):
            raise
        return _decode(message, body[:-1])


def encode_resource(locator: str, start_ns: int | None, end_ns: int | None) -> bytes:
    """Encode a command that asks about a resource, or a ticket, with a window of it."""
    window = {"start_ns": start_ns, "end_ns": end_ns}
    is_open = start_ns is None and end_ns is None
    values = {"resource_locator": locator, "timestamp_range": None if is_open else window}
    return _encode("Resource", values, _only_json)


def decode_resource(body: bytes) -> tuple[str, int | None, int | None]:
    """Decode what `encode_resource` gives: the locator, and the bounds of the window.

    Raises:
        NotProtobufError: It is something else.
    """
    values = _decode("Resource", body)
    window = values["timestamp_range"] or {}
    return values["resource_locator"], window.get("start_ns"), window.get("end_ns")


def encode_put(locator: str, topic_uuid: str) -> bytes:
    """Encode the command that a put starts with."""
    return _encode("DoPut", {"resource_locator": locator, "topic_uuid": topic_uuid}, _only_json)


def decode_put(body: bytes) -> dict[str, str]:
    """Decode the command that a put starts with.

    Raises:
        NotProtobufError: It is something else.
    """
    return _decode("DoPut", body)


def encode_facts(about: Literal["sequence", "topic"], facts: Mapping[str, Any]) -> bytes:
    """Encode the description of a sequence or topic."""
    return _encode(_FACTS[about], facts, _only_json)


def decode_facts(about: Literal["sequence", "topic"], body: bytes) -> dict[str, Any]:
    """Decode the description of a sequence or topic.

    Raises:
        MalformedError: It is none.
    """
    return _decode(_FACTS[about], body)


def _encode(
    message: str, values: Mapping[str, Any], to_bytes: Callable[[str, Any], bytes]
) -> bytes:
    body: bytes = fill(kind(message)(), values, to_bytes=to_bytes).SerializeToString()
    return body


def _decode(message: str, body: bytes) -> dict[str, Any]:
    return read(
        parse(message, body),
        from_bytes=lambda _, content: _from_json(content, json.loads),
        format_name=any_format,
    )


def _only_json(_name: str, value: Any) -> bytes:
    return _to_json(value)


def _to_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace")


def _from_json(content: bytes, parse_json: ParseJson) -> Any:
    """Read a field of JSON; without content there is nothing."""
    if not content:
        return None
    try:
        return parse_json(content)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(f"a field is not JSON: {error}") from None
