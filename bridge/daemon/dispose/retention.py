"""Which of the sources that may go at all go now: by age, by number, by free space.

Nothing here touches recordings or the journal.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from bridge.config import DisposalSettings
from bridge.daemon.dispose.remover import ROOM_SEEN_BYTES, ROOM_SHARE, SMALL_HIDDEN_MAX
from bridge.files import replace_file
from bridge.units import DAY_NS

ROOM_FILE = "room.json"
# Free space that has changed by no more for so long shows that nobody writes; logs may.
STILL_S = 10.0
STILL_BYTES = 64 << 10
# So many deletions in a row whose room others may have taken; then it is taken for none.
DOUBTS_MAX = 3


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A deletion that made no room.

    Attributes:
        free_bytes: Free space after it, or the least since.
        expected_bytes: What it should have freed.
        doubts: How many such deletions in a row others may have hidden, by writing; 0 where none
            did.
    """

    free_bytes: int
    expected_bytes: int
    doubts: int = 0


class Room:
    """Remembers a deletion that made no room: until it does, nothing more is deleted for room.

    Hard links, files that somebody holds open, snapshots: deleting the next recording would lose
    it for nothing, too. Shared by everything that deletes for room on a disk, and kept over
    restarts, since each would cost another recording.

    Room has come where free space rises from its lowest; beside others that write, by more than
    they take and give back. Where a recorder wrote while room was looked for, it may have been
    there and was taken; such a recorder fills the disk and then stands still, so that no room would
    ever be seen. So once free space has not changed for a while one more recording may go, which
    shows it: at most `DOUBTS_MAX` in a row, more of small ones.

    Args:
        folder: The watched folder.
        file: Where it is kept; one file for all watched folders.
        clock_s: The time, monotonic.
    """

    def __init__(
        self, folder: Path, file: Path, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = str(folder)
        self._file = file
        self._clock_s = clock_s
        # None while deletions make room.
        self._failure: _Failure | None = None
        # Free space when it was last seen to change, and when that was.
        self._still: tuple[int, float] | None = None
        with contextlib.suppress(TypeError, ValueError, KeyError):
            free_bytes, expected_bytes, *doubts = map(int, self._read()[self._folder])
            self._failure = _Failure(
                free_bytes=free_bytes, expected_bytes=expected_bytes, doubts=sum(doubts)
            )

    def free_bytes(self) -> int:
        """Measure free space, with what is kept for root.

        A recorder of root's fills that, too, and what is deleted adds to it first.
        """
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return sys.maxsize
        return disk.f_bfree * disk.f_frsize

    def failed(self, *, free_bytes: int, expected_bytes: int, crowded: bool = False) -> None:
        """Take note of a deletion that made no room.

        Args:
            free_bytes: Free space after it.
            expected_bytes: What it should have freed.
            crowded: Whether others wrote so much meanwhile that they may have hidden it.
        """
        before = self._failure.doubts if self._failure is not None else 0
        self._failure = _Failure(
            free_bytes=free_bytes,
            expected_bytes=expected_bytes,
            doubts=before + 1 if crowded else 0,
        )
        self._still = None
        self._write()

    def made(self) -> None:
        """Take note of a deletion that made room, even if others have taken it since."""
        if self._failure is not None:
            self._failure = None
            self._write()

    def may_delete(self) -> bool:
        """Say whether deleting makes room, as far as is known; the room may have come since."""
        failure = self._failure
        if failure is None:
            return True
        free_bytes = self.free_bytes()
        if free_bytes == sys.maxsize:
            return False  # nobody can look
        wanted_bytes = ROOM_SHARE * failure.expected_bytes
        if failure.doubts:
            # Somebody writes, and what they take and give back is no room that has come.
            wanted_bytes = max(wanted_bytes, ROOM_SEEN_BYTES)
        if free_bytes - failure.free_bytes >= wanted_bytes:
            self.made()
            return True
        if free_bytes < failure.free_bytes:
            self._failure = replace(failure, free_bytes=free_bytes)
        small = failure.expected_bytes < ROOM_SEEN_BYTES
        doubts_max = SMALL_HIDDEN_MAX if small else DOUBTS_MAX
        return 0 < failure.doubts < doubts_max and self._is_still(free_bytes)

    def _is_still(self, free_bytes: int) -> bool:
        """Say whether free space has not changed for long."""
        now_s = self._clock_s()
        if self._still is None or abs(free_bytes - self._still[0]) > STILL_BYTES:
            self._still = free_bytes, now_s
        return now_s - self._still[1] >= STILL_S

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def _write(self) -> None:
        plain = self._read()
        plain.pop(self._folder, None)
        if self._failure is not None:
            plain[self._folder] = astuple(self._failure)
        # Its disk may be full; then only a restart forgets.
        with contextlib.suppress(OSError):
            replace_file(self._file, json.dumps(plain, indent=2) + "\n")
