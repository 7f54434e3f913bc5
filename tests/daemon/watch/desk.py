"""A tracker over a real folder and journal, with clocks and writers under control."""

from pathlib import Path
from typing import Any

from bridge.config import LiveSettings, Settings, load_settings
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.open_files import Writer
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import watched_folders_of

MCAP_MAGIC = b"\x89MCAP0\r\n"
FOOTER = b"\x02" + (20).to_bytes(8, "little") + bytes(20)


def whole(text: str) -> bytes:
    """Make the least that has the proper end of an MCAP file."""
    return MCAP_MAGIC + text.encode() + FOOTER + MCAP_MAGIC


class HandClock:
    """Clocks that go when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall = 10**18

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        self.wall += 1
        return self.wall


class Desk:
    """A tracker over a real folder and journal, with clocks and writers under control."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder = folder
        self.journal = journal
        self.clock = HandClock()
        self.writers: dict[str, Writer] = {}
        self.forgotten: list[Entry] = []
        self.choices: dict[str, Any] = {"watch.folder": folder}
        self.restart()

    @property
    def settings(self) -> Settings:
        fixed = {"watch.settle_s": 5.0, "watch.stale_s": 300.0}
        return load_settings(overrides={**fixed, **self.choices})

    def restart(self) -> None:
        self.live = LiveSettings(self.settings)
        self.watched_folders = watched_folders_of(self.live)
        self.tracker = Tracker(
            self.journal,
            self.watched_folders,
            clock=self.clock,
            check_writer=lambda path: self.writers.get(
                str(path), self.writers.get(path.name, Writer.NOBODY)
            ),
            on_forget=self.forgotten.append,
        )

    def put(self, name: str, content: bytes | None = None) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole(name) if content is None else content)
        return path

    def look(self, *, after_s: float = 1.0, closed: set[Path] | None = None) -> int:
        """Let time pass, scan, and judge everything."""
        self.clock.now_s += after_s
        self.tracker.scan(closed or set())
        while self.tracker.pending or self.tracker.unread:
            self.tracker.scan(closed or set())
        while self.tracker.judge(budget_s=10.0):
            continue
        return sum(len(watched.found) for watched in self.watched_folders)

    def states(self) -> dict[str, str]:
        return {entry.path.name: str(entry.state) for entry in self.journal.recordings()}

    def entry(self, name: str) -> Entry:
        (found,) = [entry for entry in self.journal.recordings() if entry.path.name == name]
        return found

    def send(self, name: str) -> Entry:
        """Pretend that a worker has sent a recording."""
        entry = self.entry(name)
        self.journal.move(entry.id, State.SENDING, "")
        return self.journal.move(entry.id, State.FINALISED, "")
