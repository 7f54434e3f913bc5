"""The rules for locators, uuids and metadata keys, as the session generation enforces them."""

import re
import secrets
import time
import uuid

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import SequenceRecord, TopicRecord
from bridge.embedded.refusals import Refusal, Status, not_found
from bridge.embedded.wire import Json

_FORBIDDEN = frozenset("!\"'*£$%&. :")
_METADATA_KEY = re.compile(r"(?!.*--)[A-Za-z0-9_\- ]+")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def is_sequence(text: str) -> bool:
    """Tell whether a text is a valid sequence locator."""
    return bool(text) and text.isascii() and not _FORBIDDEN & set(text) and "/" not in text


def is_topic(text: str) -> bool:
    """Tell whether a text is a valid topic locator, `<sequence>/<path>`."""
    steps = text.split("/")
    return len(steps) > 1 and all(is_sequence(step) for step in steps)


def is_session(text: str) -> bool:
    """Tell whether a text has the form of a session locator, `<sequence>:<ULID>`."""
    sequence, colon, ulid = text.partition(":")
    return bool(colon) and is_sequence(sequence) and re.fullmatch("[0-9A-Z]{26}", ulid) is not None


def require_sequence(text: str) -> str:
    """Give back a valid sequence locator.

    Raises:
        Refusal: INVALID_ARGUMENT for anything else.
    """
    if not is_sequence(text):
        raise Refusal(Status.INVALID_ARGUMENT, f"{text} is not a valid locator.")
    return text


def require_topic(text: str) -> str:
    """Give back a valid topic locator.

    Raises:
        Refusal: INVALID_ARGUMENT for anything else.
    """
    if not is_topic(text):
        raise Refusal(Status.INVALID_ARGUMENT, f"{text} is not a valid locator.")
    return text


def require_uuid(text: str) -> str:
    """Give a uuid in its canonical form, lower case with hyphens.

    Raises:
        Refusal: INVALID_ARGUMENT for a text that is no uuid.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Refusal(Status.INVALID_ARGUMENT, f"{text} is not a valid UUID.") from None


def require_metadata(value: Json) -> Json:
    """Give back metadata whose keys, at every level, are ones the platform can query.

    Raises:
        Refusal: INVALID_ARGUMENT for a key with other characters, or with two hyphens in a row.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _METADATA_KEY.fullmatch(key):
                raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: invalid json key: {key}.")
            require_metadata(inner)
    elif isinstance(value, list):
        for inner in value:
            require_metadata(inner)
    return value


def new_uuid() -> str:
    """Make a random uuid, lower case with hyphens."""
    return str(uuid.uuid4())


def new_ulid() -> str:
    """Make a ULID: 48 bits of milliseconds and 80 random bits, as 26 letters that sort by time."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def find_sequence(archive: Archive, locator: str) -> SequenceRecord:
    """Find a sequence.

    Raises:
        Refusal: INVALID_ARGUMENT for a bad locator, NOT_FOUND for an unknown one.
    """
    sequence = archive.catalogue.sequence(locator=require_sequence(locator))
    if sequence is None:
        raise not_found(locator)
    return sequence


def find_topic(archive: Archive, locator: str) -> TopicRecord:
    """Find a topic.

    Raises:
        Refusal: INVALID_ARGUMENT for a bad locator, NOT_FOUND for an unknown one.
    """
    topic = archive.catalogue.topic(require_topic(locator))
    if topic is None:
        raise not_found(locator)
    return topic
