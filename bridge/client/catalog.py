"""What a server reports about its resources, in one form for all protocol revisions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import flight

from bridge.client.connection import Connection
from bridge.client.encoding import json_object
from bridge.client.revisions import Revision
from bridge.client.text import split_locator
from bridge.errors import NotFoundError, ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time window, half open: `start_ns <= time < end_ns`; None is unbounded."""

    start_ns: int | None = None
    end_ns: int | None = None


WHOLE = Window()

_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much data there is; None where the revision does not report it or there is none.

    Attributes:
        row_count: Rows.
        start_ns: First record time, int64 nanoseconds.
        end_ns: Last record time, inclusive.
    """

    row_count: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """One topic as the server sees it.

    Attributes:
        locator: `sequence/topic/path`.
        ontology_tag: The tag it was created with; empty where not asked for.
        serialization_format: `default`, `ragged` or `image`; empty where not asked for.
        user_metadata: What the writer attached.
        created_ns: When it was created, nanoseconds since the epoch.
        completed_ns: When its upload ended, or None.
        locked: Whether its upload has ended cleanly.
        data: The whole topic.
        window: The part in the window that was asked for, where the revision reports it separately.
        size_bytes: Stored bytes, or None.
        chunks: Stored chunks, or None.
        schema: The columns as stored; None where not asked for.
        ticket: What reads it, as Flight wants it.
    """

    locator: str
    ontology_tag: str = ""
    serialization_format: str = ""
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    created_ns: int | None = None
    completed_ns: int | None = None
    locked: bool = False
    data: Extent = field(default_factory=Extent)
    window: Extent | None = None
    size_bytes: int | None = None
    chunks: int | None = None
    schema: pa.Schema | None = None
    ticket: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """One upload session of a sequence (G2 only).

    Attributes:
        locator: `sequence:ULID`; the session's uuid on G2a.
        created_ns: When it was opened.
        completed_ns: When it was finalised, or None.
        locked: Whether it was finalised.
        topics: The locators of its topics.
    """

    locator: str
    created_ns: int | None = None
    completed_ns: int | None = None
    locked: bool = False
    topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFacts:
    """One sequence as the server sees it.

    Attributes:
        name: Its name.
        user_metadata: What the writer attached.
        created_ns: When it was created.
        locked: Whether nothing in it is still being written.
        size_bytes: Stored bytes, or None.
        sessions: Its sessions; empty on G1.
        topics: Its topics, by locator.
    """

    name: str
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    created_ns: int | None = None
    locked: bool = False
    size_bytes: int | None = None
    sessions: tuple[SessionFacts, ...] = ()
    topics: tuple[TopicFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The right to write to a sequence: a session on G2, the sequence's key on G1.

    Attributes:
        sequence: The sequence written to.
        uuid: The write token; the server reports it only once.
        locator: What distinguishes it from another that has the name later: the session's locator,
            on G1 when the sequence was created. Empty where that is not known, and on G2a, whose
            sessions have but the uuid.
    """

    sequence: str
    uuid: str
    locator: str = ""


class Dialect(Protocol):
    """The calls of one generation of the protocol; knows its JSON, its callers know none.

    Every method raises `ServerError` and its kinds.
    """

    @property
    def revision(self) -> Revision:
        """Which revision exactly is spoken."""

    def sequence_create(self, name: str, metadata: Mapping[str, Any]) -> Upload:
        """Create a sequence and open it for writing."""

    def sequence_delete(self, name: str) -> None:
        """Delete a sequence with everything in it."""

    def sequence_names(self) -> list[str]:
        """Name all sequences."""

    def sequence_facts(self, name: str, window: Window) -> SequenceFacts:
        """Describe a sequence and, without tags and schemas, its topics."""

    def upload_check(self, upload: Upload) -> None:
        """See that an upload can go on: it exists and is not finalised.

        Raises:
            NotFoundError: It is gone, whatever has the sequence's name now.
            PreconditionError: It is finalised.
        """

    def upload_finalize(self, upload: Upload) -> None:
        """Commit what was written."""

    def upload_delete(self, upload: Upload) -> None:
        """Remove what was written; on G1 the sequence with it, later ones leave it without."""

    def upload_topics(self, upload: Upload) -> tuple[TopicFacts, ...]:
        """Describe the topics created in an upload, with row counts where they can be known.

        Raises:
            NotFoundError: It is gone, whatever has the sequence's name now.
        """

    def topic_create(
        self,
        upload: Upload,
        locator: str,
        *,
        ontology_tag: str,
        serialization_format: str,
        metadata: Mapping[str, Any],
    ) -> str:
        """Create a topic and give its write token."""

    def topic_delete(self, locator: str) -> None:
        """Delete a topic with its data."""

    def topic_put_descriptor(self, locator: str, token: str) -> Any:
        """Give the descriptor that a put stream to the topic starts with."""

    def topic_facts(self, locator: str, window: Window) -> TopicFacts:
        """Describe a topic whole, with its ticket for the window."""

    def notify(self, locator: str, message: str) -> None:
        """Attach an error notification to a sequence or topic."""

    def notifications(self, locator: str) -> Sequence[Mapping[str, Any]]:
        """List the notifications of a sequence or topic as the server words them."""

    def notifications_clear(self, locator: str) -> None:
        """Remove the notifications of a sequence or topic."""

    def query(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Evaluate a query and give its items."""

    def clusters(self, action: str, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Call one of the actions that give temporal clusters."""


def is_another(connection: Connection, name: str) -> NotFoundError:
    """Give the error for a sequence that is gone while another has its name."""
    return NotFoundError(
        f"{name}: the sequence is gone, and another has its name",
        address=connection.options.address,
        resource=name,
    )


def window_command(connection: Connection, locator: str, window: Window) -> Any:
    """Give the descriptor that asks about a resource, and a window of it, by command."""
    command = connection.encoding.resource(locator, window.start_ns, window.end_ns)
    return flight.FlightDescriptor.for_command(command)


def schema_facts(schema: pa.Schema | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the properties and the user metadata that revisions before G2d keep in a schema.

    Values that are no JSON objects count as absent.
    """
    metadata = (schema.metadata if schema is not None else None) or {}
    properties, user_metadata = (
        _object_or_none(metadata.get(key, b""))
        for key in (b"mosaico:properties", b"mosaico:user_metadata")
    )
    return properties, user_metadata


def _object_or_none(text: bytes) -> dict[str, Any]:
    try:
        return json_object(text)
    except ValueError:
        return {}


class NotifyType(StrEnum):
    """The kinds of notification; the platform has only one."""

    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """One notification.

    Attributes:
        sequence_name: The sequence concerned.
        topic_name: The topic concerned, with its leading slash, or None.
        notify_type: Its kind.
        message: What happened.
        created_datetime: When it was created, in UTC; some revisions only give the minute.
    """

    sequence_name: str
    topic_name: str | None
    notify_type: NotifyType
    message: str
    created_datetime: datetime


def parse_notification(answer: Mapping[str, Any]) -> Notified:
    """Read one entry of a notification list.

    Args:
        answer: `name` (a locator), `type`, `msg` and `created_datetime` as the server gave them.

    Raises:
        ProtocolError: The entry is no notification.
    """
    sequence, topic = split_locator(str(answer.get("name", "")))
    try:
        return Notified(
            sequence_name=sequence,
            topic_name=topic or None,
            notify_type=NotifyType(str(answer.get("type"))),
            message=str(answer.get("msg", "")),
            created_datetime=parse_datetime(str(answer.get("created_datetime", ""))),
        )
    except ValueError as error:
        raise ProtocolError(
            f"{sequence}{topic}: not a notification: {error}", resource=f"{sequence}{topic}"
        ) from error


def parse_datetime(text: str) -> datetime:
    """Read `YYYY-MM-DD HH:MM[:SS[.fraction]] UTC` of any precision; finer than 1 us is cut.

    The forms of RFC 3339 and RFC 2822 are read, too, for how G3 writes dates is not known.

    Raises:
        ValueError: The text is something else.
    """
    if re.match(r"[A-Z][a-z]{2}, ", text):
        return parsedate_to_datetime(text).astimezone(UTC)
    bare = text.removesuffix(" UTC").strip()
    bare = re.sub(r" (?=[+-]\d\d:?\d\d$)", "", bare)
    bare = re.sub(r"(\.\d{6})\d+", r"\1", bare)
    parsed = datetime.fromisoformat(bare)
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Turn the view types that servers send for strings and binaries into what was written."""
    return pa.schema([field.with_type(_VIEWS.get(field.type, field.type)) for field in schema])
