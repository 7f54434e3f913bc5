"""The embedded server in one revision alone, or the same archive in the keyed dialect.

They judge our client: each refuses what a real server of its revision does not understand, where
the embedded server itself answers in two encodings.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.session.dialect import Action, Answers, Dialect, session_dialect
from bridge.embedded.wire import JSON_ONLY, PROTOBUF_ONLY
from tests.contract import protobuf
from tests.servers.keyed.dialect import KEYED

Revision = Literal["G2d", "G1.2", "G3a", "G3b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtobufDialect(Dialect):
    """G3 with filters in one form only.

    Attributes:
        json_filters: Whether that is JSON (G3a) rather than a message (G3b).
    """

    json_filters: bool

    def answers(self, archive: Archive, name: str, known: Action, body: bytes) -> Answers:
        """Refuse filters of the other form as their parsers do, and answer the rest."""
        filters = [content for content in filters_of(name, body) if content]
        if any(content.startswith(b"{") is not self.json_filters for content in filters):
            fault = "deserialization" if self.json_filters else "decode"
            raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: body {fault} error.")
        return Dialect.answers(self, archive, name, known, body)


def filters_of(action: str, body: bytes) -> list[bytes]:
    """Give the filters in a request that is a message; what is none is for others to refuse."""
    try:
        if action == "query":
            return [content for number, content in protobuf.split(body) if number == 1]
        if action == "topic_filter_clusterize":
            return [content for number, content in protobuf.split(body) if number == 3]
        if action == "topic_filter_intersect":
            topics = [content for number, content in protobuf.split(body) if number == 1]
            return [one for topic in topics for one in filters_of("topic_filter_clusterize", topic)]
    except (AssertionError, IndexError):
        pass
    return []


def protobuf_dialect(*, json_filters: bool) -> Dialect:
    """Give the dialect of G3 alone."""
    spoken = session_dialect(PROTOBUF_ONLY)
    parts = {one.name: getattr(spoken, one.name) for one in fields(Dialect)}
    return ProtobufDialect(**parts, json_filters=json_filters)


class KeyedEmbeddedServer(EmbeddedServer):
    """Speaks G1.2, which has neither API keys nor TLS."""

    dialect = KEYED


class JsonEmbeddedServer(EmbeddedServer):
    """Speaks G2d and refuses G3, as servers up to 0.7 do."""

    dialect: ClassVar[Dialect] = session_dialect(JSON_ONLY)


class ProtobufEmbeddedServer(EmbeddedServer):
    """Speaks G3b and nothing else."""

    dialect: ClassVar[Dialect] = protobuf_dialect(json_filters=False)


class OlderProtobufEmbeddedServer(EmbeddedServer):
    """Speaks G3a and nothing else."""

    dialect: ClassVar[Dialect] = protobuf_dialect(json_filters=True)


SERVERS: dict[str, type[EmbeddedServer]] = {
    "G2d": EmbeddedServer,
    "G1.2": KeyedEmbeddedServer,
    "G3a": OlderProtobufEmbeddedServer,
    "G3b": ProtobufEmbeddedServer,
}


def embedded_server(folder: Path, revision: Revision = "G2d") -> EmbeddedServer:
    """Make a server of a revision over a folder."""
    return SERVERS[revision](folder)
