"""One watched folder: where it is, which settings hold in it, what the last scan saw.

A path belongs to at most one of them, for the settings refuse folders inside each other.
"""

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bridge.config import LiveSettings, Settings
from bridge.daemon.watch.aside import Aside
from bridge.daemon.watch.scan import Found, Scanner, ignored, place
from bridge.errors import RecordingError
from bridge.files import mount_points, replace_file

MOUNTS_FILE = "mounts.json"

SCAN_PATIENCE_S = 0.5
"""So long a scan waits for a look at the folder; one that takes longer is taken at a later scan."""

SILENCE_S = 120.0
"""After so long without an answer the disk is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of one look at a folder.

    Attributes:
        found: The recordings; None where nobody could look.
        changed: Whether anything is other than at the look before.
        problem: Why nobody could look, or could not see all of it.
        took_s: How long it took.
        unread: Whether files that say what belongs together are still being read.
    """

    found: dict[Path, Found] | None
    changed: bool
    problem: RecordingError | None
    took_s: float
    unread: bool = False


class WatchedFolder:
    """A watched folder; used from the loop's thread only.

    It is listed in a thread beside that, as a slow disk, or a file server that does not answer,
    must not hold the loop up.

    Args:
        name: Its name in the settings; empty for a single one.
        live: The settings in force; folder and depth stay what they were at the start.

    Attributes:
        name: As given.
        folder: The folder, absolute.
        found: What the last scan that could read the folder saw, by path.
        changed: Whether the last scan saw anything other than the one before, or had other
            settings.
        problem: Why the last scan could not, or not see all of it; None where it could.
        pending: Whether the last scan left before the look at the folder had come to its end; then
            nothing may be concluded from what is missing.
        unread: Whether the last look left a folder as it was, as its evidence is still being read.
        scans: Looks that came to their end so far.
        took_s: How long the last of them took.
    """

    def __init__(self, name: str, live: LiveSettings) -> None:
        self.name = name
        self._live = live
        self._scanned_with = self.settings
        self.folder = self.settings.watch.folder.absolute()
        self.found: dict[Path, Found] = {}
        self.changed = True
        self.problem: RecordingError | None = None
        self.pending = False
        self.unread = False
        self.scans = 0
        self.took_s = 0.0
        self._looks: Aside[None, Look] = Aside()
        self._asked_s = 0.0
        self._reloaded = False
        self._mounts = KnownMounts(self.folder, self.settings.state.folder / MOUNTS_FILE)
        self._scanner = self._make_scanner()

    @property
    def settings(self) -> Settings:
        """All settings, as they hold in the folder now."""
        return self._live.inside(self.name)

    def scan(self, *, patience_s: float = SCAN_PATIENCE_S) -> None:
        """Look at the folder; where it cannot be read, what was seen before stays.

        Where a disk is not mounted any more that was before, what is missing is not gone.

        Args:
            patience_s: How long to wait for the look. One that is not over then is not waited for
                again: the next scans ask whether it is.
        """
        self._reloaded |= self._follow_settings()
        if not self.pending:
            self._asked_s = time.monotonic()
            self._looks.ask(None, partial(_look, self._scanner, self._mounts))
        answers = self._looks.answers(wait_s=0.0 if self.pending else patience_s)
        self.pending = not answers
        if self.pending:
            self._wait_on()
        else:
            self._take(answers[None])

    def _wait_on(self) -> None:
        self.changed = False
        waited_s = time.monotonic() - self._asked_s
        if waited_s > SILENCE_S and self.problem is None:
            self.problem = RecordingError(
                f"the folder has not been listed for {waited_s:.0f} s",
                path=self.folder,
                hint="its disk or file server is slow or does not answer; see the kernel's log",
            )

    def _take(self, look: Look) -> None:
        self.scans += 1
        self.took_s, self.unread = look.took_s, look.unread
        before, self.problem = self.problem, look.problem
        if look.found is None:
            self.changed = before is None or self._reloaded
        else:
            self.changed = look.changed or before is not None or self._reloaded
            if self.changed:
                self.found = look.found
        self._reloaded = False

    @property
    def folders(self) -> int:
        """How many folders the last scan looked into."""
        return self._scanner.folders

    def holds(self, path: Path) -> bool:
        """Say whether a path is in the folder."""
        return path.is_relative_to(self.folder)

    def leaves_out(self, path: Path) -> bool:
        """Say whether the settings exclude a path in the folder, whatever is there."""
        watch = self.settings.watch
        too_deep = not watch.recursive and path.parent != self.folder
        return too_deep or ignored(path.relative_to(self.folder), watch.ignore)

    def priority(self, path: Path) -> int:
        """Give a recording's place by the settings' patterns: 0 where none matches, else below."""
        first = self.settings.watch.first
        return place(path.relative_to(self.folder), first) - len(first)

    def _follow_settings(self) -> bool:
        """Tell whether other settings are in force than at the last scan."""
        before, now = self._scanned_with, self.settings
        if before is now:
            return False
        self._scanned_with = now
        if (before.watch.ignore, before.ingest.unit) != (now.watch.ignore, now.ingest.unit):
            self._scanner = self._make_scanner()
        return True

    def _make_scanner(self) -> Scanner:
        watch = self.settings.watch
        return Scanner(
            self.folder,
            recursive=watch.recursive,
            ignore=watch.ignore,
            by_split=self.settings.ingest.unit == "split",
        )


def _look(scanner: Scanner, mounts: "KnownMounts") -> Look:
    began_s = time.monotonic()
    found, changed = None, False
    try:
        found = scanner.scan()
        changed, problem = scanner.changed, mounts.problem()
    except RecordingError as error:
        problem = error
    took_s = time.monotonic() - began_s
    unread = found is not None and scanner.unread
    return Look(found=found, changed=changed, problem=problem, took_s=took_s, unread=unread)


class KnownMounts:
    """Remembers what was mounted above or below a folder, also over restarts.

    The empty folder that an unmounted disk leaves looks as if everything had been deleted.

    Args:
        folder: The folder.
        file: Where they are kept; one file for all watched folders.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder = folder
        self._file = file
        self._known: frozenset[Path] | None = None

    def problem(self) -> RecordingError | None:
        """Say what is not mounted any more, and remember what is; call it after a look."""
        folder = self._folder.resolve()
        mounted = mount_points()
        if not mounted:
            return None
        above = max(
            (point for point in mounted if folder.is_relative_to(point)),
            key=lambda point: len(point.parts),
        )
        # The root is always there.
        relevant = {above} - {Path("/")} | {one for one in mounted if one.is_relative_to(folder)}
        if self._known is None:
            self._known = self._read()
        if not relevant <= self._known:
            self._known |= relevant
            self._write(self._known)
        missing = sorted(self._known - mounted)
        if not missing:
            return None
        return RecordingError(
            f"nothing is mounted on {missing[0]} any more",
            path=missing[0],
            hint=f"mount it; if it is not to come back, delete {self._file} and restart the bridge",
        )

    def _read(self) -> frozenset[Path]:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            plain = json.loads(self._file.read_text(encoding="utf-8"))
            return frozenset(Path(point) for point in plain.get(str(self._folder), []))
        return frozenset()

    def _write(self, known: frozenset[Path]) -> None:
        plain: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            plain = dict(json.loads(self._file.read_text(encoding="utf-8")))
        plain[str(self._folder)] = sorted(map(str, known))
        if self._file.parent.is_dir():
            # Its disk may be full; then only a restart forgets.
            with contextlib.suppress(OSError):
                replace_file(self._file, json.dumps(plain, indent=2) + "\n")


def watched_folders_of(live: LiveSettings) -> tuple[WatchedFolder, ...]:
    """Give the watched folders of the settings."""
    return tuple(WatchedFolder(name, live) for name in live.now.watched)


def watched_folder_of(path: Path, watched_folders: Iterable[WatchedFolder]) -> WatchedFolder | None:
    """Give the watched folder that a path is in, or None."""
    return next((watched for watched in watched_folders if watched.holds(path)), None)
