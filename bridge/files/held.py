"""Files that are opened once and stay what they were while several passes read them.

A file that is read again by its path may be another by then: replaced by rename, deleted, or in a
folder that was swapped for a link. While files are held, `open_regular` opens what is held.
"""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bridge.errors import RecordingChangedError, RecordingError, RecordingVanishedError
from bridge.files.folders import OpenFolder
from bridge.files.opening import HELD, allow_open_files, open_regular

_guard = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    descriptor: int
    looks: tuple[int, int, int, int]


class HeldFiles:
    """Holds files; a context manager.

    A file that is not there, or cannot be opened, stays so for readers: each gets the same error.

    Args:
        files: The files.
        start: A folder above all of them; below it no link is followed. None where only the last
            step must be no link.

    Raises:
        UnreadableStorageError: The disk does not give one of them now.
    """

    def __init__(self, files: Iterable[Path], *, start: Path | None = None) -> None:
        self._files = list(files)
        self._start = start
        self._held: dict[Path, _Held | RecordingError] = {}
        self._folders: dict[Path, OpenFolder] = {}

    def __enter__(self) -> Self:
        allow_open_files(len(self._files))
        try:
            for path in self._files:
                try:
                    self._hold(path)
                except RecordingError as error:
                    self._held[path] = error
        except BaseException:
            self._close()
            raise
        with _guard:
            for path, held in self._held.items():
                HELD.setdefault(path, []).append(_entry(held))
        return self

    def check(self) -> None:
        """Require that what is held looks as it did when it was opened.

        A file that was deleted or replaced meanwhile is still what it was.

        Raises:
            RecordingChangedError: Something was written.
        """
        for path, held in self._held.items():
            if isinstance(held, _Held) and _looks(held.descriptor) != held.looks:
                raise RecordingChangedError("the file was written while it was sent", path=path)

    def _hold(self, path: Path) -> None:
        if self._start is None:
            descriptor = open_regular(path)
        else:
            descriptor = open_regular(path, folder=self._folder(path.parent))
        self._held[path] = _Held(descriptor=descriptor, looks=_looks(descriptor))

    def _folder(self, path: Path) -> OpenFolder:
        assert self._start is not None
        if path not in self._folders:
            try:
                self._folders[path] = OpenFolder.open(self._start, path.relative_to(self._start))
            except OSError as error:
                raise RecordingVanishedError(
                    f"its folder cannot be opened: {error.strerror}", path=path
                ) from error
        return self._folders[path]

    def _close(self) -> None:
        for held in self._held.values():
            if isinstance(held, _Held):
                os.close(held.descriptor)
        for folder in self._folders.values():
            folder.close()
        self._held.clear()
        self._folders.clear()

    def __exit__(self, *_: object) -> None:
        with _guard:
            for path, held in self._held.items():
                HELD[path].remove(_entry(held))
                if not HELD[path]:
                    del HELD[path]
        self._close()


def _entry(held: _Held | RecordingError) -> int | RecordingError:
    return held.descriptor if isinstance(held, _Held) else held


def _looks(descriptor: int) -> tuple[int, int, int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
