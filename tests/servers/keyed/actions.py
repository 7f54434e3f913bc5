"""The actions of the keyed generation, revision G1.2.

Both generations share one catalogue. A keyed sequence has one session, whose uuid is the
sequence's key; a sequence counts as locked once it has sessions and all of them are finalized.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import SequenceRecord, SessionRecord, TopicRecord, TopicState
from bridge.embedded.names import new_ulid, new_uuid
from bridge.embedded.wire import Json, utc_text
from tests.servers.keyed.refusals import (
    locked,
    no_rows,
    parse_key,
    refuse,
    require_key,
    sequence_is_locked,
)

Request = Mapping[str, Any]

_DELETED = str.maketrans("", "", " !\"'*$%&.")


def cleaned(name: str) -> str:
    """Sanitise a name the way this revision does, silently: `/a b.c£` becomes `abc?`."""
    without_slashes = name.replace(" ", "").lstrip("/")
    ascii_only = "".join(letter if letter.isascii() else "?" for letter in without_slashes)
    return ascii_only.translate(_DELETED)


def sequence_create(archive: Archive, request: Request) -> Iterator[Json]:
    """Create a sequence and tell its key.

    Raises:
        Refusal: The name is taken.
    """
    name = cleaned(request["name"])
    key = new_uuid()
    with archive.catalogue.transaction():
        if archive.catalogue.sequence(locator=name) is not None:
            raise refuse(f"sequence `{name}` already exists")
        archive.catalogue.add_sequence(
            uuid=key, locator=name, user_metadata=json.dumps(request["user_metadata"])
        )
        archive.catalogue.add_session(
            find_sequence(archive, name), uuid=key, locator=f"{name}:{new_ulid()}"
        )
    yield {"key": key}


def sequence_delete(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a sequence that is not locked.

    Raises:
        Refusal: It is unknown or locked.
    """
    sequence = find_sequence(archive, request["name"])
    if is_locked(archive, sequence):
        raise sequence_is_locked()
    archive.delete(sequence)
    yield None


def sequence_abort(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a sequence that is not locked, given its key.

    Raises:
        Refusal: It is unknown or locked, or the key is not its own.
    """
    sequence = find_sequence(archive, request["name"])
    if is_locked(archive, sequence):
        raise sequence_is_locked()
    require_key(request["key"], sequence.uuid)
    archive.delete(sequence)
    yield None


def sequence_finalize(archive: Archive, request: Request) -> Iterator[Json]:
    """Lock a sequence, all of whose topics must be locked.

    Raises:
        Refusal: It is unknown, locked already or not whole, or the key is not its own.
    """
    with archive.catalogue.transaction():
        sequence = find_sequence(archive, request["name"])
        require_key(request["key"], sequence.uuid)
        if is_locked(archive, sequence):
            raise locked("sequence")
        topics = archive.catalogue.topics(sequence)
        if any(topic.state is not TopicState.FINALIZED for topic in topics):
            raise refuse(
                "facade error :: topic unlocked, unable to perform the requested operation over"
                " an unlocked topic"
            )
        for session in archive.catalogue.sessions(sequence):
            archive.catalogue.complete_session(session)
    yield None


def sequence_system_info(archive: Archive, request: Request) -> Iterator[Json]:
    """Tell the size, lock and date of a sequence.

    Raises:
        Refusal: It is unknown.
    """
    sequence = find_sequence(archive, request["name"])
    yield {
        "total_size_bytes": sum(topic.size_bytes for topic in archive.catalogue.topics(sequence)),
        "is_locked": is_locked(archive, sequence),
        "created_datetime": utc_text(sequence.created_ns),
    }


def topic_create(archive: Archive, request: Request) -> Iterator[Json]:
    """Create a topic in a sequence that is not locked, and tell its key.

    Raises:
        Refusal: The first check that fails, in the platform's order.
    """
    name = cleaned(request["name"])
    key = new_uuid()
    with archive.catalogue.transaction():
        if archive.catalogue.topic(name) is not None:
            raise refuse(f"topic `{name}` already exists")
        sequence = archive.catalogue.sequence(uuid=parse_key(request["sequence_key"]))
        if sequence is None:
            raise no_rows()
        if is_locked(archive, sequence):
            raise locked("sequence")
        if not name.startswith(sequence.locator):
            raise refuse("facade error :: unauthorized")
        archive.catalogue.add_topic(
            _open_session(archive, sequence),
            uuid=key,
            locator=name,
            ontology_tag=request["ontology_tag"],
            serialization_format=request["serialization_format"],
            user_metadata=json.dumps(request["user_metadata"]),
        )
    yield {"key": key}


def topic_delete(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a topic that is not locked.

    Raises:
        Refusal: It is unknown or locked.
    """
    topic = find_topic(archive, request["name"])
    if topic.state is TopicState.FINALIZED:
        raise sequence_is_locked()
    archive.delete(topic)
    yield None


def topic_system_info(archive: Archive, request: Request) -> Iterator[Json]:
    """Tell the chunks, size, lock and date of a topic.

    Raises:
        Refusal: It is unknown.
    """
    topic = find_topic(archive, request["name"])
    yield {
        "chunks_number": topic.chunks,
        "total_size_bytes": topic.size_bytes,
        "is_locked": topic.state is TopicState.FINALIZED,
        "created_datetime": utc_text(topic.created_ns),
    }


def notify_sequence(archive: Archive, request: Request) -> Iterator[Json]:
    """Attach a notification to a sequence.

    Raises:
        Refusal: The sequence or the type is unknown.
    """
    return _notify(archive, find_sequence(archive, request["name"]), request)


def notify_topic(archive: Archive, request: Request) -> Iterator[Json]:
    """Attach a notification to a topic.

    Raises:
        Refusal: The topic or the type is unknown.
    """
    return _notify(archive, find_topic(archive, request["name"]), request)


def sequence_notifications(archive: Archive, request: Request) -> Iterator[Json]:
    """List the notifications of a sequence; of an unknown one there are none."""
    sequence = archive.catalogue.sequence(locator=cleaned(request["name"]))
    return _notifications(archive, sequence)


def topic_notifications(archive: Archive, request: Request) -> Iterator[Json]:
    """List the notifications of a topic; of an unknown one there are none."""
    return _notifications(archive, archive.catalogue.topic(cleaned(request["name"])))


def purge_sequence(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete the notifications of a sequence, if there is one."""
    sequence = archive.catalogue.sequence(locator=cleaned(request["name"]))
    if sequence is not None:
        archive.catalogue.delete_notifications(sequence)
    yield None


def purge_topic(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete the notifications of a topic, if there is one."""
    topic = archive.catalogue.topic(cleaned(request["name"]))
    if topic is not None:
        archive.catalogue.delete_notifications(topic)
    yield None


def find_sequence(archive: Archive, name: str) -> SequenceRecord:
    """Find a sequence.

    Raises:
        Refusal: It is unknown.
    """
    sequence = archive.catalogue.sequence(locator=cleaned(name))
    if sequence is None:
        raise no_rows()
    return sequence


def find_topic(archive: Archive, name: str) -> TopicRecord:
    """Find a topic.

    Raises:
        Refusal: It is unknown.
    """
    topic = archive.catalogue.topic(cleaned(name))
    if topic is None:
        raise no_rows()
    return topic


def is_locked(archive: Archive, sequence: SequenceRecord) -> bool:
    """Tell whether a sequence is finalized."""
    sessions = archive.catalogue.sessions(sequence)
    return bool(sessions) and all(session.completed_ns is not None for session in sessions)


def _open_session(archive: Archive, sequence: SequenceRecord) -> SessionRecord:
    """Give the session that new topics belong to; one without any was made by the other dialect."""
    for session in archive.catalogue.sessions(sequence):
        if session.completed_ns is None:
            return session
    archive.catalogue.add_session(
        sequence, uuid=new_uuid(), locator=f"{sequence.locator}:{new_ulid()}"
    )
    return archive.catalogue.sessions(sequence)[-1]


def _notify(archive: Archive, on: SequenceRecord | TopicRecord, request: Request) -> Iterator[Json]:
    kind = request["notify_type"]
    if kind != "error":
        raise refuse(f"io error :: unkwnown notify type `{kind}`")  # spelt as on the wire
    archive.catalogue.add_notification(on, kind=kind, message=request["msg"])
    yield None


def _notifications(archive: Archive, on: SequenceRecord | TopicRecord | None) -> Iterator[Json]:
    found = [] if on is None else archive.catalogue.notifications(on)
    yield {
        "notifies": [
            {
                "name": on.locator if on is not None else "",
                "notify_type": notification.kind,
                "msg": notification.message,
                "created_datetime": utc_text(notification.created_ns),
            }
            for notification in found
        ]
    }
