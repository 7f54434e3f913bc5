"""Which of the sources that may go at all go now: by age, by number, by free space.

Pure functions; nothing here touches files or the journal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.config import DisposalSettings
from bridge.units import DAY_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source that may be disposed of.

    Attributes:
        entry_id: The recording's number.
        sent_ns: When it was finalised, wall clock.
        size_bytes: What room its removal makes.
    """

    entry_id: int
    sent_ns: int
    size_bytes: int


def due(
    sources: Sequence[Source], settings: DisposalSettings, *, now_ns: int, free_bytes: int
) -> list[int]:
    """Choose what goes now.

    A source goes when it is neither young enough nor among the last ones to be kept. With too
    little free space the oldest of the others go too, until there is enough. A clock that is
    wrong by years at worst keeps too much, or lets go what is safe on the platform anyway.

    Args:
        sources: All that may go.
        settings: What to keep for how long.
        now_ns: The time, wall clock.
        free_bytes: Free space on the watched folder's file system.

    Returns:
        Numbers of the recordings, oldest first.
    """
    oldest_first = sorted(sources, key=lambda source: (source.sent_ns, source.entry_id))
    counted = len(oldest_first) - settings.retain_count
    young_ns = now_ns - int(settings.retain_days * DAY_NS)
    gone: list[int] = []
    kept: list[Source] = []
    for position, source in enumerate(oldest_first):
        if position < counted and source.sent_ns <= young_ns:
            gone.append(source.entry_id)
            free_bytes += source.size_bytes
        else:
            kept.append(source)
    if free_bytes < settings.free_min_bytes:
        target_bytes = max(settings.free_min_bytes, settings.free_target_bytes)
        gone += making_room(kept, free_bytes=free_bytes, target_bytes=target_bytes)
    return gone


def making_room(sources: Sequence[Source], *, free_bytes: int, target_bytes: int) -> list[int]:
    """Choose the first of some sources, as many as have to go for so much free space."""
    gone = []
    for source in sources:
        if free_bytes >= target_bytes:
            break
        gone.append(source.entry_id)
        free_bytes += source.size_bytes
    return gone
