"""The actions of the session generation, in revisions G2d and G3."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import SequenceRecord, SessionRecord, TopicRecord, TopicState
from bridge.embedded.names import (
    find_sequence,
    find_topic,
    is_session,
    new_ulid,
    new_uuid,
    require_metadata,
    require_sequence,
    require_topic,
    require_uuid,
)
from bridge.embedded.refusals import (
    Refusal,
    Status,
    never_put,
    not_found,
    still_uploading,
)
from bridge.embedded.wire import Json, utc_text

PLATFORM_VERSION = (0, 7, 0)
"""The release whose protocol this is; clients choose their dialect by it."""

NEXT_VERSION = (0, 8, 0)
"""The release that the protobuf generation is expected with."""

ENCODE_BYTES_MAX = 536_870_912
ENCODE_BYTES_TARGET = 26_214_400

Request = Mapping[str, Any]


def info(archive: Archive, _: Request) -> Iterator[Json]:
    """Give the version and the limits that clients go by."""
    yield _info(archive, PLATFORM_VERSION, "")


def info_protobuf(archive: Archive, _: Request) -> Iterator[Json]:
    """Give the same as `info`, with the version that the next generation is developed under."""
    yield _info(archive, NEXT_VERSION, "dev")


def _info(archive: Archive, version: tuple[int, int, int], pre: str) -> Json:
    major, minor, patch = version
    return {
        "version": f"{major}.{minor}.{patch}" + (f"-{pre}" if pre else ""),
        "semver": {"major": major, "minor": minor, "patch": patch, "pre": pre},
        "config": {
            "grpc_max_decode_message_size": archive.message_bytes_max,
            "grpc_max_encode_message_size": ENCODE_BYTES_MAX,
            "grpc_target_encode_message_size": ENCODE_BYTES_TARGET,
        },
    }


def sequence_create(archive: Archive, request: Request) -> Iterator[Json]:
    """Create a sequence.

    Raises:
        Refusal: INVALID_ARGUMENT for a bad locator or metadata key, ALREADY_EXISTS.
    """
    locator = require_sequence(request["locator"])
    metadata = require_metadata(request["user_metadata"])
    with archive.catalogue.transaction():
        if archive.catalogue.sequence(locator=locator) is not None:
            raise Refusal(Status.ALREADY_EXISTS, f"{locator} already exists.")
        archive.catalogue.add_sequence(
            uuid=new_uuid(), locator=locator, user_metadata=json.dumps(metadata)
        )
    yield None


def sequence_delete(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a sequence in whatever state, with all that is in it.

    Raises:
        Refusal: NOT_FOUND.
    """
    archive.delete(find_sequence(archive, request["locator"]))
    yield None


def session_create(archive: Archive, request: Request) -> Iterator[Json]:
    """Open a session on a sequence; only this answer has its uuid.

    Raises:
        Refusal: NOT_FOUND.
    """
    uuid = new_uuid()
    with archive.catalogue.transaction():
        sequence = find_sequence(archive, request["locator"])
        locator = f"{sequence.locator}:{new_ulid()}"
        archive.catalogue.add_session(sequence, uuid=uuid, locator=locator)
    yield {"uuid": uuid, "locator": locator}


def session_finalize(archive: Archive, request: Request) -> Iterator[Json]:
    """Lock a session, all of whose topics must have been put.

    Raises:
        Refusal: NOT_FOUND, or FAILED_PRECONDITION for a session that is finalized, empty or not
            yet whole.
    """
    uuid = require_uuid(request["session_uuid"])
    with archive.catalogue.transaction():
        session = _open_session(archive, uuid)
        topics = archive.catalogue.topics(session)
        if not topics:
            raise Refusal(Status.FAILED_PRECONDITION, f"Session `{session.locator} is empty.`.")
        for topic in topics:
            if topic.state is TopicState.EMPTY:
                raise never_put(topic.locator)
            if topic.state is TopicState.UPLOADING:
                raise still_uploading(topic.locator)
        archive.catalogue.complete_session(session)
    yield None


def session_delete(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a session in whatever state, with its topics.

    Raises:
        Refusal: INVALID_ARGUMENT for a bad locator, NOT_FOUND.
    """
    locator = request["locator"]
    if not is_session(locator):
        raise Refusal(Status.INVALID_ARGUMENT, f"{locator} is not a valid locator.")
    session = archive.catalogue.session(locator=locator)
    if session is None:
        raise not_found(locator)
    archive.delete(session)
    yield None


def topic_create(archive: Archive, request: Request) -> Iterator[Json]:
    """Create a topic in an open session; only this answer has its uuid.

    The order of the checks is the platform's.

    Raises:
        Refusal: The first check that fails.
    """
    metadata = require_metadata(request["user_metadata"])
    session_uuid = require_uuid(request["session_uuid"])
    locator = require_topic(request["locator"])
    uuid = new_uuid()
    with archive.catalogue.transaction():
        session = _open_session(archive, session_uuid)
        if session.locator.partition(":")[0] != locator.partition("/")[0]:
            raise Refusal(
                Status.PERMISSION_DENIED,
                "Unauthorized: provided topic locator and session do not share the same sequence.",
            )
        if archive.catalogue.topic(locator) is not None:
            raise Refusal(Status.ALREADY_EXISTS, f"{locator} already exists.")
        archive.catalogue.add_topic(
            session,
            uuid=uuid,
            locator=locator,
            ontology_tag=request["ontology_tag"],
            serialization_format=request["serialization_format"],
            user_metadata=json.dumps(metadata),
        )
    yield {"uuid": uuid}


def topic_delete(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete a topic in whatever state.

    Raises:
        Refusal: NOT_FOUND.
    """
    archive.delete(find_topic(archive, request["locator"]))
    yield None


def notify_sequence(archive: Archive, request: Request) -> Iterator[Json]:
    """Attach a notification to a sequence.

    Raises:
        Refusal: NOT_FOUND, or INVALID_ARGUMENT for another kind than `error`.
    """
    return _notify(archive, find_sequence(archive, request["locator"]), request)


def notify_topic(archive: Archive, request: Request) -> Iterator[Json]:
    """Attach a notification to a topic.

    Raises:
        Refusal: NOT_FOUND, or INVALID_ARGUMENT for another kind than `error`.
    """
    return _notify(archive, find_topic(archive, request["locator"]), request)


def sequence_notifications(archive: Archive, request: Request) -> Iterator[Json]:
    """List the notifications of a sequence, without those of its topics.

    Raises:
        Refusal: NOT_FOUND.
    """
    return _notifications(archive, find_sequence(archive, request["locator"]))


def topic_notifications(archive: Archive, request: Request) -> Iterator[Json]:
    """List the notifications of a topic.

    Raises:
        Refusal: NOT_FOUND.
    """
    return _notifications(archive, find_topic(archive, request["locator"]))


def purge_sequence(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete the notifications of a sequence, without those of its topics.

    Raises:
        Refusal: NOT_FOUND.
    """
    archive.catalogue.delete_notifications(find_sequence(archive, request["locator"]))
    yield None


def purge_topic(archive: Archive, request: Request) -> Iterator[Json]:
    """Delete the notifications of a topic.

    Raises:
        Refusal: NOT_FOUND.
    """
    archive.catalogue.delete_notifications(find_topic(archive, request["locator"]))
    yield None


def _notify(archive: Archive, on: SequenceRecord | TopicRecord, request: Request) -> Iterator[Json]:
    kind = request["notification_type"]
    if kind != "error":
        raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: invalid notification type `{kind}`.")
    archive.catalogue.add_notification(on, kind=kind, message=request["msg"])
    yield None


def _notifications(archive: Archive, on: SequenceRecord | TopicRecord) -> Iterator[Json]:
    yield {
        "notifications": [
            {
                "name": on.locator,
                "notification_type": notification.kind,
                "msg": notification.message,
                "created_datetime": utc_text(notification.created_ns),
            }
            for notification in archive.catalogue.notifications(on)
        ]
    }


def _open_session(archive: Archive, uuid: str) -> SessionRecord:
    session = archive.catalogue.session(uuid=uuid)
    if session is None:
        raise not_found(uuid)
    if session.completed_ns is not None:
        raise Refusal(Status.FAILED_PRECONDITION, f"Session `{session.locator}` already finalized.")
    return session
