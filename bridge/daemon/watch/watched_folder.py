"""One watched folder: where it is, which settings hold in it, what the last scan saw.

A path belongs to at most one of them, for the settings refuse folders inside each other.
"""

from collections.abc import Iterable
from pathlib import Path

from bridge.config import LiveSettings, Settings
from bridge.daemon.watch.scan import Found, Scanner, ignored, place
from bridge.errors import RecordingError


class WatchedFolder:
    """A watched folder; used from the loop's thread only.

    Args:
        name: Its name in the settings; empty for a single one.
        live: The settings in force; folder and depth stay what they were at the start.

    Attributes:
        name: As given.
        folder: The folder, absolute.
        found: What the last scan that could read the folder saw, by path.
        changed: Whether the last scan saw anything other than the one before, or had other
            settings.
        problem: Why the last scan could not; None where it could.
        scans: Scans so far.
    """

    def __init__(self, name: str, live: LiveSettings) -> None:
        self.name = name
        self._live = live
        self._scanned_with = self.settings
        self.folder = self.settings.watch.folder.absolute()
        self.found: dict[Path, Found] = {}
        self.changed = True
        self.problem: RecordingError | None = None
        self.scans = 0
        self._scanner = self._make_scanner()

    @property
    def settings(self) -> Settings:
        """All settings, as they hold in the folder now."""
        return self._live.inside(self.name)

    def scan(self) -> None:
        """Look at the folder; where it cannot be read, what was seen before stays."""
        self.scans += 1
        reloaded = self._follow_settings()
        before = self.problem
        try:
            found = self._scanner.scan()
        except RecordingError as error:
            self.problem = error
            self.changed = before is None or reloaded
        else:
            self.problem = None
            self.changed = self._scanner.changed or before is not None or reloaded
            if self.changed:
                self.found = found

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


def watched_folders_of(live: LiveSettings) -> tuple[WatchedFolder, ...]:
    """Give the watched folders of the settings."""
    return tuple(WatchedFolder(name, live) for name in live.now.watched)


def watched_folder_of(path: Path, watched_folders: Iterable[WatchedFolder]) -> WatchedFolder | None:
    """Give the watched folder that a path is in, or None."""
    return next((watched for watched in watched_folders if watched.holds(path)), None)
