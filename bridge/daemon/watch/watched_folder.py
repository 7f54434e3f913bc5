"""One watched folder: where it is, which settings hold in it, what the last scan saw.

A path belongs to at most one of them, for the settings refuse folders inside each other.
"""

from collections.abc import Iterable
from pathlib import Path

from bridge.config import Settings
from bridge.daemon.watch.scan import Found, Scanner, ignored, place
from bridge.errors import RecordingError


class WatchedFolder:
    """A watched folder; used from the loop's thread only.

    Args:
        name: Its name in the settings; empty for a single one.
        settings: All settings, as they hold in it.

    Attributes:
        name: As given.
        settings: As given, or as adopted since.
        folder: The folder, absolute.
        found: What the last scan that could read the folder saw, by path.
        changed: Whether the last scan saw anything other than the one before.
        problem: Why the last scan could not; None where it could.
        scans: Scans so far.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.folder = settings.watch.folder.absolute()
        self.found: dict[Path, Found] = {}
        self.changed = True
        self.problem: RecordingError | None = None
        self.scans = 0
        self._scanner = self._make_scanner()

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from now on; folder and depth stay what they are."""
        before, self.settings = self.settings, settings
        if (before.watch.ignore, before.ingest.unit) != (settings.watch.ignore, self._unit):
            self._scanner = self._make_scanner()

    def scan(self) -> None:
        """Look at the folder; where it cannot be read, what was seen before stays."""
        self.scans += 1
        before = self.problem
        try:
            found = self._scanner.scan()
        except RecordingError as error:
            self.problem = error
            self.changed = before is None
        else:
            self.problem = None
            self.changed = self._scanner.changed or before is not None
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

    @property
    def _unit(self) -> str:
        return self.settings.ingest.unit

    def _make_scanner(self) -> Scanner:
        watch = self.settings.watch
        return Scanner(
            self.folder,
            recursive=watch.recursive,
            ignore=watch.ignore,
            by_split=self._unit == "split",
        )


def watched_folders_of(settings: Settings) -> tuple[WatchedFolder, ...]:
    """Give the watched folders of the settings."""
    return tuple(WatchedFolder(name, each) for name, each in settings.watched.items())


def watched_folder_of(path: Path, watched_folders: Iterable[WatchedFolder]) -> WatchedFolder | None:
    """Give the watched folder that a path is in, or None."""
    return next((watched for watched in watched_folders if watched.holds(path)), None)
