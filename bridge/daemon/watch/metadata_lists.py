"""Which files the `metadata.yaml` of each folder lists, read beside the loop.

A scan goes by names alone, but which of them belong together is said in a file that may hold
anything. Reading that is waited for a moment, as it usually takes no longer; a scan that finds it
unread leaves the folder as it was, and the next one finds it.
"""

import os
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from bridge.bags import METADATA_FILE, listed_names
from bridge.daemon.watch.aside import Aside

PATIENCE_S = 0.2
"""So long one scan waits for all lists together."""

Stamp = tuple[int, int, int, int]


class ListUnreadError(Exception):
    """A folder's list is still being read; no error for anybody but the scan."""


class MetadataLists:
    """Remembers the lists of folders; used from one thread, the loop's."""

    def __init__(self) -> None:
        self._aside: Aside[tuple[Path, Stamp], Sequence[str]] = Aside()
        self._known: dict[Path, tuple[Stamp, Sequence[str]]] = {}
        self._asked: set[tuple[Path, Stamp]] = set()
        self._end_s = 0.0

    def begin(self) -> None:
        """Start a scan, which may wait for a moment."""
        self._end_s = time.monotonic() + PATIENCE_S

    def keep(self, folders: Collection[Path]) -> None:
        """Forget all folders but these."""
        for folder in self._known.keys() - set(folders):
            del self._known[folder]

    def listed_in(self, folder: Path) -> Sequence[str]:
        """Give the files that the `metadata.yaml` of a folder lists; none where it is unusable.

        Raises:
            ListUnreadError: It is still being read.
        """
        stamp = _stamp(folder / METADATA_FILE)
        key = (folder, stamp)
        if key not in self._asked and self._known.get(folder, (None, ()))[0] != stamp:
            self._asked.add(key)
            self._aside.ask(key, partial(_names, folder))
        while key in self._asked:
            left_s = self._end_s - time.monotonic()
            for (read, then), names in self._aside.answers(wait_s=max(0.0, left_s)).items():
                self._asked.discard((read, then))
                self._known[read] = (then, names)
            if left_s <= 0 and key in self._asked:
                raise ListUnreadError
        return self._known[folder][1]


def _names(folder: Path) -> Sequence[str]:
    return listed_names(folder)


def _stamp(path: Path) -> Stamp:
    try:
        facts = os.lstat(path)
    except OSError:
        return (0, 0, 0, 0)
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
