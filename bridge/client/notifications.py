"""What the platform has to say about a sequence or topic."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from bridge.client.text import split_locator
from bridge.errors import ProtocolError


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
