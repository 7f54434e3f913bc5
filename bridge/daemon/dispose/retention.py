"""Which of the sources that may go at all go now: by age, by number, by free space.

Nothing here touches recordings or the journal.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.config import DisposalSettings
from bridge.daemon.dispose.remover import ROOM_SHARE
from bridge.files import replace_file
from bridge.units import DAY_NS

ROOM_FILE = "room.json"


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


class Room:
    """Remembers a deletion that made no room: until it does, nothing more is deleted for room.

    Hard links, files that somebody holds open, snapshots: deleting the next recording would lose
    it for nothing, too. Shared by everything that deletes for room on a disk, and kept over
    restarts, since each would cost another recording.

    Args:
        folder: The watched folder.
        file: Where it is kept; one file for all watched folders.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder = str(folder)
        self._file = file
        # Free space after that deletion, and what it should have freed; None while they make room.
        self._failed: tuple[int, int] | None = None
        with contextlib.suppress(TypeError, ValueError, KeyError):
            free_bytes, expected_bytes = self._read()[self._folder]
            self._failed = (int(free_bytes), int(expected_bytes))

    def failed(self, *, free_bytes: int, expected_bytes: int) -> None:
        """Take note of a deletion that made no room."""
        self._failed = (free_bytes, expected_bytes)
        self._write()

    def may_delete(self, *, free_bytes: int) -> bool:
        """Say whether deleting makes room, as far as is known; the room may have come since."""
        if self._failed is None:
            return True
        before_bytes, expected_bytes = self._failed
        if free_bytes - before_bytes >= ROOM_SHARE * expected_bytes:
            self._failed = None
            self._write()
        return self._failed is None

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def _write(self) -> None:
        plain = self._read()
        plain.pop(self._folder, None)
        if self._failed is not None:
            plain[self._folder] = self._failed
        # Its disk may be full; then only a restart forgets.
        with contextlib.suppress(OSError):
            replace_file(self._file, json.dumps(plain, indent=2) + "\n")
