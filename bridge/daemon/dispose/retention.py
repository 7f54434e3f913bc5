"""Which of the sources that may go at all go now: by age, by number, by free space.

Nothing here touches files or the journal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.config import DisposalSettings
from bridge.daemon.dispose.remover import ROOM_SHARE
from bridge.units import DAY_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """A source that may be disposed of.

    Attributes:
        entry_id: The recording's number.
        sent_ns: When it was finalised, wall clock.
        size_bytes: The size of its files.
    """

    entry_id: int
    sent_ns: int
    size_bytes: int


def due(
    sources: Sequence[Retained], settings: DisposalSettings, *, now_ns: int
) -> tuple[list[int], list[int]]:
    """Choose what goes now, and what may go before its time if room is needed.

    A source goes when it is neither young enough nor among the last ones to be kept. A clock that
    is wrong by years at worst keeps too much, or lets go what is safe on the platform anyway.

    Args:
        sources: All that may go.
        settings: What to keep for how long.
        now_ns: The time, wall clock.

    Returns:
        Numbers of the recordings that go, and of the others; oldest first.
    """
    oldest_first = sorted(sources, key=lambda source: (source.sent_ns, source.entry_id))
    counted = len(oldest_first) - settings.retain_count
    young_ns = now_ns - int(settings.retain_days * DAY_NS)
    gone: list[int] = []
    kept: list[int] = []
    for position, source in enumerate(oldest_first):
        over = position < counted and source.sent_ns <= young_ns
        (gone if over else kept).append(source.entry_id)
    return gone, kept


@dataclass(slots=True)
class Room:
    """Remembers a deletion that made no room: until it does, nothing more is deleted for room.

    Hard links, files that somebody holds open, snapshots: deleting the next recording would lose
    it for nothing, too. Shared by everything that deletes for room on a disk.

    Attributes:
        free_bytes: Free space after that deletion; None while deletions make room.
        expected_bytes: What it should have freed.
    """

    free_bytes: int | None = None
    expected_bytes: int = 0

    def failed(self, *, free_bytes: int, expected_bytes: int) -> None:
        """Take note of a deletion that made no room."""
        self.free_bytes, self.expected_bytes = free_bytes, expected_bytes

    def may_delete(self, *, free_bytes: int) -> bool:
        """Say whether deleting makes room, as far as is known; the room may have come since."""
        if self.free_bytes is None:
            return True
        if free_bytes - self.free_bytes >= ROOM_SHARE * self.expected_bytes:
            self.free_bytes = None
        return self.free_bytes is None
