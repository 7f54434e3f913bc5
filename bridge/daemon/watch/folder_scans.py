"""Scans the watched folders when asked, keeps their events coming, and reports how it went."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.daemon.events.status import WatchStatus
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Failure
from bridge.daemon.watch.inotify import FolderEvents, held_watches
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import WatchedFolder

# A new folder gets its watch a moment after it is there, so a single scan proves nothing.
SHORT_SCANS = 2

# Looks that nobody asked for take at most this share of the time, but come at least that often.
LOOKING_SHARE_MAX = 0.002
INTERVAL_MAX_S = 60.0


class FolderScans:
    """All watched folders together; used from the loop's thread only. Close it when done.

    Args:
        watched_folders: The watched folders.
        tracker: Takes note of what is there.
        clock: Where the time comes from.
        wake: Called from the watching threads when something happened; must only set a flag.
    """

    def __init__(
        self,
        watched_folders: Sequence[WatchedFolder],
        *,
        tracker: Tracker,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._watchers = {
            watched: FolderEvents(
                watched.folder, recursive=watched.settings.watch.recursive, wake=wake
            )
            for watched in watched_folders
        }
        self._folders = 0
        self._closed: set[Path] = set()
        # Scans in a row in which folders were without a watch.
        self._short = 0
        self.statuses: tuple[WatchStatus, ...] = tuple(
            WatchStatus(name=watched.name, folder=watched.folder) for watched in watched_folders
        )

    @property
    def status(self) -> WatchStatus:
        """All folders as one: what is wrong with one is wrong with the whole."""
        if len(self.statuses) == 1:
            return self.statuses[0]
        first = self.statuses[0]
        problems = [f"{each.name}: {each.problem}" for each in self.statuses if each.problem]
        return WatchStatus(
            folder=first.folder,
            readable=all(each.readable for each in self.statuses),
            events=all(each.events for each in self.statuses),
            problem="; ".join(problems),
            scans=min(each.scans for each in self.statuses),
            last_scan_ns=first.last_scan_ns,
            last_scan_s=sum(each.last_scan_s for each in self.statuses),
            recordings=sum(each.recordings for each in self.statuses),
        )

    @property
    def interval_s(self) -> float:
        """Time to the next look that nobody asks for: the shortest of all folders'.

        Where events arrive, a look over many recordings comes less often, because it only finds
        what an event was lost for: a parked vehicle runs on its battery.
        """
        least_s = min(watched.settings.watch.rescan_interval_s for watched in self._watchers)
        if not self.status.events:
            return least_s
        return max(least_s, min(self.status.last_scan_s / LOOKING_SHARE_MAX, INTERVAL_MAX_S))

    @property
    def settle_s(self) -> float:
        """The longest quiet time for which a closed recording has to wait."""
        return max(watched.settings.watch.settle_s for watched in self._watchers)

    def refresh(self) -> None:
        """Have events come, where they do not yet or not any more."""
        for watcher in self._watchers.values():
            watcher.refresh()

    def scan(self) -> list[tuple[str, Failure | None]]:
        """Look at all folders.

        Returns:
            Of each folder its name, and why it could not be read, if it could not.

        Raises:
            JournalError: What was seen cannot be written; the next scan sees it again.
        """
        began_s = self._clock.monotonic_s()
        before = self._folders
        # Watch first, then look: what appears in between is seen by one of the two.
        self.refresh()
        self._closed |= {path for watcher in self._watchers.values() for path in watcher.closed()}
        self._tracker.scan(self._closed)
        if not self._tracker.pending:
            # What is still being looked at may be what was closed.
            self._closed.clear()
        self._folders = sum(watched.folders for watched in self._watchers)
        if self._folders != before or self._short:
            self._count_watches(self._folders)
        took_s = max(
            self._clock.monotonic_s() - began_s, sum(watched.took_s for watched in self._watchers)
        )
        self.statuses = tuple(
            WatchStatus(
                name=watched.name,
                folder=watched.folder,
                readable=watched.problem is None,
                events=watcher.works and self._short < SHORT_SCANS,
                problem=self._problem(watched, watcher),
                scans=watched.scans,
                last_scan_ns=self._clock.wall_ns(),
                last_scan_s=took_s,
                recordings=len(watched.found),
            )
            for watched, watcher in self._watchers.items()
        )
        return [
            (
                watched.name,
                None if watched.problem is None else Failure.of(watched.problem),
            )
            for watched in self._watchers
        ]

    def _count_watches(self, folders: int) -> None:
        """Take note whether every folder has its watch."""
        held = held_watches()
        works = all(watcher.works for watcher in self._watchers.values())
        self._short = self._short + 1 if works and held is not None and held < folders else 0

    def _problem(self, watched: WatchedFolder, watcher: FolderEvents) -> str:
        if watched.problem is not None:
            return watched.problem.message
        if watcher.works and self._short >= SHORT_SCANS:
            return (
                "events from some folders only, the rest by the periodic scan: the kernel has no "
                "watches left (fs.inotify.max_user_watches)"
            )
        return watcher.problem

    def close(self) -> None:
        """Stop the events; idempotent."""
        for watcher in self._watchers.values():
            watcher.close()
