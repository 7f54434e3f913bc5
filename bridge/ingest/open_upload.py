"""Resuming an upload that broke off: what is remembered, what is kept, how the rest is grouped.

The caller of `ingest` keeps the `OpenUpload`. The platform does not continue a broken stream, and a
topic is whole only once its stream was closed. So after a break topics are sent in groups, each in
a pass of its own over the local file and each closed before the next starts; the next break costs
the group in work, not what came before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.client import TopicReceipt
    from bridge.ingest.report import TopicReport

# A group holds at most this share of the payload after the first break, the square of it after the
# second, and so on down to the last; so a recording is read at most some forty times.
GROUP_SHARE = 1 / 4
SHRINKS_MAX = 2
GROUP_BYTES_MIN = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """An upload that was started, or is about to start, and is not finished.

    Attributes:
        sequence: Its name on the platform.
        session_uuid: The right to go on with it (the sequence's key on G1); not to be shown. Empty
            where it is not known yet whether the platform has created the sequence.
        session: The session's locator, on G1 when the sequence was created; empty on G2a.
        tries: Attempts that got as far as sending, this one included.
        rows: Rows of each topic whose stream was sent to its end, by the platform's name of it.
            Only the platform knows whether they arrived.
        fingerprint: Identity of what is sent as it; empty in journals of before it was noted.
    """

    sequence: str
    session_uuid: str = field(default="", repr=False)
    session: str = ""
    tries: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def started(self) -> bool:
        """Whether it can be taken up; otherwise there may be remains, or nothing."""
        return bool(self.session_uuid)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "sequence": self.sequence,
            "session_uuid": self.session_uuid,
            "session": self.session,
            "tries": self.tries,
            "rows": dict(self.rows),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "OpenUpload":
        """Read one back from `as_json`."""
        return cls(
            sequence=str(plain["sequence"]),
            session_uuid=str(plain["session_uuid"]),
            session=str(plain["session"]),
            tries=int(plain["tries"]),
            rows={str(name): int(rows) for name, rows in plain["rows"].items()},
            fingerprint=str(plain.get("fingerprint", "")),
        )


def got_on(before: OpenUpload | None, now: OpenUpload | None) -> bool:
    """Return whether a try brought topics to their end that were not whole before it."""
    if now is None:
        return False
    return bool(now.rows.keys() - (before.rows.keys() if before is not None else set()))


def groups_of(sizes_bytes: Mapping[int, int], *, breaks: int) -> list[list[int]]:
    """Split topics into groups: small ones together, first; big ones one by one, after them.

    Args:
        sizes_bytes: Payload bytes by topic, of those that are still to be sent.
        breaks: How often sending broke off before; with none everything is one group.

    Returns:
        Topics by group, in the order in which they are to be sent.
    """
    if not breaks:
        return [sorted(sizes_bytes)] if sizes_bytes else []
    share: float = GROUP_SHARE ** min(breaks, SHRINKS_MAX)
    room_bytes = max(share * sum(sizes_bytes.values()), GROUP_BYTES_MIN)
    groups: list[list[int]] = []
    filled_bytes = 0.0
    for topic in sorted(sizes_bytes, key=lambda one: (sizes_bytes[one], one)):
        if not groups or filled_bytes + sizes_bytes[topic] > room_bytes:
            groups.append([])
            filled_bytes = 0.0
        groups[-1].append(topic)
        filled_bytes += sizes_bytes[topic]
    return groups


def is_whole(topic: "TopicReport", receipt: "TopicReceipt", remembered_rows: int | None) -> bool:
    """Return whether the platform holds all rows that this recording yields of a topic.

    Args:
        topic: The account of a rehearsal.
        receipt: What the platform says.
        remembered_rows: What was sent when the topic's stream was ended; None where that is
            unknown. It counts only where the platform reports no row count.
    """
    rows = topic.messages_sent
    known = receipt.row_count if receipt.row_count is not None else remembered_rows
    return known == rows and receipt.holds(rows, topic.start_ns, topic.end_ns)
