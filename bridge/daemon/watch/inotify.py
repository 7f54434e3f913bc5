"""File system events: they wake the loop and say which files were just closed, nothing more.

The scan is the truth. Events get lost (overflow, watch limits, network mounts, a root that is
made again), so all that depends on them is how soon the next scan comes.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

CLOSED_PATHS_MAX = 100_000
STOP_TIMEOUT_S = 5.0
FDINFO = Path("/proc/self/fdinfo")


class FolderEvents(FileSystemEventHandler):
    """Watches one folder; `refresh` sets it up and keeps it going. Close it when done.

    Args:
        folder: The folder.
        recursive: Watch subfolders too.
        wake: Called from the watching thread when something happened; must only set a flag.
    """

    def __init__(self, folder: Path, *, recursive: bool, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._recursive = recursive
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._root: tuple[int, int] | None = None
        self._guard = threading.Lock()
        # Filled by the watching thread, emptied by the loop's; guarded by `_guard`.
        self._closed: set[Path] = set()
        self.problem = "not started"

    @property
    def works(self) -> bool:
        """Whether events can be expected to arrive."""
        return self._observer is not None and not self.problem

    def refresh(self) -> None:
        """Start watching, or start again where the folder is another or a thread has died."""
        root = _identity(self._folder)
        if self._observer is not None and root == self._root and _alive(self._observer):
            return
        self.close()
        if root is None:
            self.problem = f"folder {self._folder} is not there"
            return
        try:
            # Making it may fail, too: where no instance of inotify is left.
            observer = Observer()
            observer.schedule(
                self,
                str(self._folder),
                recursive=self._recursive,
                event_filter=[
                    DirCreatedEvent,
                    DirMovedEvent,
                    FileClosedEvent,
                    FileCreatedEvent,
                    FileDeletedEvent,
                    FileMovedEvent,
                ],
            )
            observer.start()
        except (OSError, RuntimeError) as error:
            # Typically the limit of watches or instances; the scan goes on without.
            self.problem = f"no events, only the periodic scan: {error}"
            return
        self._observer = observer
        self._root = root
        self.problem = ""

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the loop; called by the watching thread."""
        if isinstance(event, FileClosedEvent):
            with self._guard:
                if len(self._closed) < CLOSED_PATHS_MAX:
                    self._closed.add(Path(os.fsdecode(event.src_path)))
        self._wake()

    def closed(self) -> set[Path]:
        """Give, once, the files that a writer has closed since the last call."""
        with self._guard:
            closed, self._closed = self._closed, set()
        return closed

    def close(self) -> None:
        """Stop watching; idempotent."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(STOP_TIMEOUT_S)
        self.problem = "not started"


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return (facts.st_dev, facts.st_ino)


def _alive(observer: BaseObserver) -> bool:
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)


def held_watches() -> int | None:
    """Count the inotify watches of this process; None where the kernel does not show them.

    The library passes over folders for which no watch is left, without a word. The kernel shows
    every watch of an inotify file in `/proc/<pid>/fdinfo` (proc(5)).

    Cost: one small file for each open file, one line for each watch.
    """
    count = 0
    try:
        for path in FDINFO.iterdir():
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                continue
            count += sum(line.startswith(b"inotify wd:") for line in lines)
    except OSError:
        return None
    return count
