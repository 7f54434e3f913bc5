"""How requests are written and answers read: as JSON here, as messages in `protobuf`."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from bridge.errors import UsageError

About = Literal["sequence", "topic"]


class Encoding(Protocol):
    """How requests and answers are written, all in the terms that they have as JSON in G2d.

    Reading raises `ValueError` for what is not the answer wanted, with words for people.
    """

    def request(self, action: str, request: Mapping[str, Any]) -> bytes:
        """Encode the request of an action; raises `ValueError` or `TypeError` where it cannot."""

    def answer(self, action: str, body: bytes) -> Any:
        """Decode an answer of an action; None where there is nothing to say."""

    def resource(self, locator: str, start_ns: int | None, end_ns: int | None) -> bytes:
        """Encode the command that asks about a resource and a window of it."""

    def put(self, locator: str, topic_uuid: str) -> bytes:
        """Encode the command that a put of the session generation starts with."""

    def facts(self, about: About, body: bytes) -> dict[str, Any]:
        """Decode the description of a sequence or topic."""


class JsonEncoding:
    """JSON, with answers in an envelope that names the action; up to G2d."""

    def request(self, _action: str, request: Mapping[str, Any]) -> bytes:
        """Encode the request of an action."""
        return to_json(request)

    def answer(self, action: str, body: bytes) -> Any:
        """Take the response out of an envelope; no body is none."""
        if not body.strip():
            return None
        envelope = json_object(body)
        kind = envelope.get("action")
        if kind == "empty":
            return None
        if kind != action:
            raise ValueError(f"the server answered {action} with {kind!r}")
        return envelope.get("response")

    def resource(self, locator: str, start_ns: int | None, end_ns: int | None) -> bytes:
        """Encode the command that asks about a resource and a window of it."""
        request: dict[str, Any] = {"resource_locator": locator}
        if start_ns is not None:
            request["timestamp_ns_start"] = start_ns
        if end_ns is not None:
            request["timestamp_ns_end"] = end_ns
        return to_json(request)

    def put(self, locator: str, topic_uuid: str) -> bytes:
        """Encode the command that a put of the session generation starts with."""
        return to_json({"resource_locator": locator, "topic_uuid": topic_uuid})

    def facts(self, _about: About, body: bytes) -> dict[str, Any]:
        """Decode the description of a sequence or topic."""
        return json_object(body)


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object that the server sent.

    Raises:
        ValueError: It is none.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ValueError("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("the server's answer is not a JSON object")  # noqa: TRY004 - of the server
    return value


def to_json(value: Any) -> bytes:
    """Encode a request.

    Raises:
        UsageError: The value cannot be JSON (NaN and infinities cannot).
    """
    try:
        return json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be sent as JSON: {error}") from error
