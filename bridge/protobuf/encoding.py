"""What a client sends and gets in protobuf, as `bridge.client` wants it of an encoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bridge.protobuf.actions import (
    decode_answer,
    decode_facts,
    encode_put,
    encode_request,
    encode_resource,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtobufEncoding:
    """The encoding of a connection to a server of the protobuf generation.

    Attributes:
        typed_filters: Whether filters are messages (G3b) rather than JSON (G3a).
    """

    typed_filters: bool = True

    def request(self, action: str, request: Mapping[str, Any]) -> bytes:
        """Encode the request of an action.

        Raises:
            ValueError, TypeError: A value cannot be sent.
        """
        return encode_request(action, request, typed_filters=self.typed_filters)

    def answer(self, action: str, body: bytes) -> Any:
        """Decode an answer of an action.

        Raises:
            ValueError: It is none.
        """
        return decode_answer(action, body)

    def resource(self, locator: str, start_ns: int | None, end_ns: int | None) -> bytes:
        """Encode the command that asks about a resource and a window of it."""
        return encode_resource(locator, start_ns, end_ns)

    def put(self, locator: str, topic_uuid: str) -> bytes:
        """Encode the command that a put starts with."""
        return encode_put(locator, topic_uuid)

    def facts(self, about: Literal["sequence", "topic"], body: bytes) -> dict[str, Any]:
        """Decode the description of a sequence or topic.

        Raises:
            ValueError: It is none.
        """
        return decode_facts(about, body)
