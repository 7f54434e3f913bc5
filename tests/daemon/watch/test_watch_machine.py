"""The watcher under random actions against a simple model: hypothesis looks for a way to break it.

The model knows nothing of the journal. It keeps what was ever sent and which files stand where, by
their content. Whatever happens in whatever order, three things hold:

* nothing is sent twice that was not taken off the platform in between;
* only what stood in a folder is sent, unless it was being written or left out by the settings;
* when all comes to rest, everything that stands there is on the platform, is a copy or the rest of
  what is, or was left out; and of a place whose content is replaced only the last is there.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.open_files import Writer
from tests.daemon.watch.desk import Desk, whole

FOLDERS = ("left", "right")
# Lone files, and splits of a recording in a folder of its own.
NAMES = ("a.mcap", "b.mcap", "drive/drive_0.mcap", "drive/drive_1.mcap", "drive/drive_2.mcap")
TEXTS = ("one", "two", "three")
STALE_S = 400.0

places = st.builds(lambda folder, name: f"{folder}/{name}", st.sampled_from(FOLDERS),
                   st.sampled_from(NAMES))  # fmt: skip
texts = st.sampled_from(TEXTS)


class WatchMachine(RuleBasedStateMachine):
    """Random people, recorders and cleaners at two folders, one of which takes splits alone."""

    unit = "recording"
    on_change = "new"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="watch-machine-"))
        for folder in FOLDERS:
            (self.root / "watched" / folder).mkdir(parents=True)
        self.journal = Journal.own(self.root / "state")
        self.desk = Desk(self.root / "watched", self.journal)
        self.ignored = False
        self.configure()
        self.desk.restart()
        # The model: fingerprints on the platform now, and in the order in which they were sent.
        self.platform: set[str] = set()
        self.sent: list[str] = []

    def configure(self) -> None:
        ignore = ["*a.mcap"] if self.ignored else []
        self.desk.choices = {
            "ingest.unit": self.unit,
            "watch.on_change": self.on_change,
            "folders": {
                folder: {
                    "path": str(self.desk.folder / folder),
                    "watch": {"ignore": ignore if folder == "left" else []},
                }
                for folder in FOLDERS
            },
        }

    def path(self, place: str) -> Path:
        path = self.desk.folder / place
        path.parent.mkdir(exist_ok=True)
        return path

    # -- people, recorders, cleaners -------------------------------------------------------------

    @rule(place=places, text=texts)
    def write(self, place: str, text: str) -> None:
        """A recorder closes a file, new or in place of another."""
        # Of different length for each place in a recording, as real splits are.
        self.path(place).write_bytes(whole(text + place[-6] * 2))
        self.desk.writers.pop(str(self.path(place)), None)

    @rule(place=places, text=texts, size=st.integers(9, 40), held=st.booleans())
    def begin(self, place: str, text: str, size: int, *, held: bool) -> None:
        """A recorder has written a part, and goes on or was killed."""
        self.path(place).write_bytes(whole(text)[:size])
        self.desk.writers[str(self.path(place))] = Writer.SOMEBODY if held else Writer.UNKNOWN

    @rule(place=places)
    def delete(self, place: str) -> None:
        """A cleaner removes a file."""
        self.path(place).unlink(missing_ok=True)
        self.desk.writers.pop(str(self.path(place)), None)

    @rule(source=places, other=places, link=st.booleans())
    def copy(self, source: str, other: str, *, link: bool) -> None:
        """Somebody copies or links a file to another place."""
        if source != other and self.path(source).exists():
            self.delete(other)
            (os.link if link else shutil.copy2)(self.path(source), self.path(other))

    @rule(source=places, other=places)
    def rename(self, source: str, other: str) -> None:
        """Somebody moves a file to another place."""
        if self.path(source).exists():
            self.path(source).rename(self.path(other))
            self.desk.writers.pop(str(self.path(other)), None)
            if source != other and (who := self.desk.writers.pop(str(self.path(source)), None)):
                self.desk.writers[str(self.path(other))] = who

    @rule(place=places)
    def touch(self, place: str) -> None:
        """Somebody changes the times of a file and nothing else."""
        if self.path(place).exists():
            os.utime(self.path(place))

    @rule(folder=st.sampled_from(FOLDERS), there=st.booleans())
    def describe(self, folder: str, *, there: bool) -> None:
        """A recorder writes metadata.yaml, or a cleaner removes it."""
        path = self.path(f"{folder}/drive/metadata.yaml")
        if there:
            path.write_text("rosbag2_bagfile_information: {}\n")
        else:
            path.unlink(missing_ok=True)

    # -- the bridge ------------------------------------------------------------------------------

    @rule(after_s=st.sampled_from([0.0, 1.0, 10.0, STALE_S]))
    def look(self, after_s: float) -> None:
        """Time passes and the folders are looked at."""
        self.desk.look(after_s=after_s)

    @rule(number=st.integers(0, 3))
    def send(self, number: int) -> None:
        """A worker sends a recording that waits, if it still looks as it did."""
        queue = self.journal.queue(State.READY, limit=4)
        if number < len(queue) and self.desk.tracker.unchanged(queue[number]):
            self.deliver(queue[number])

    def deliver(self, entry: Entry) -> None:
        assert entry.fingerprint not in self.platform, f"{entry.path} is sent twice"
        assert not self.is_held(entry), f"{entry.path} was still being written"
        self.journal.move(entry.id, State.SENDING, "")
        self.journal.move(entry.id, State.FINALISED, "", sequence=entry.fingerprint)
        self.sent.append(entry.fingerprint)
        self.platform.add(entry.fingerprint)
        older = self.journal.predecessor(entry)
        if self.on_change == "replace" and older is not None:
            self.platform.discard(older.fingerprint)
            self.journal.move(older.id, State.SUPERSEDED, "")

    def is_held(self, entry: Entry) -> bool:
        # What the worker is told to send: another split may have been begun beside it since.
        found = self.desk.tracker.found(entry)
        assert found is not None
        files = found.recording.files
        return any(self.desk.writers.get(str(file.path)) is Writer.SOMEBODY for file in files)

    @rule()
    def restart(self) -> None:
        """The bridge ends and starts again."""
        self.desk.restart()

    @precondition(lambda self: not self.desk.tracker.more_to_enter)
    @rule()
    def toggle_ignore(self) -> None:
        """A reload leaves some files of one folder out, or takes them in again."""
        self.ignored = not self.ignored
        self.configure()
        self.desk.live.adopt(self.desk.settings)

    # -- what always holds, and what holds in the end --------------------------------------------

    @invariant()
    def journal_and_platform_agree(self) -> None:
        """What the journal calls finalised is exactly what was sent and not replaced."""
        finalised = {entry.fingerprint for entry in self.journal.recordings(
            states={State.FINALISED})}  # fmt: skip
        assert finalised == self.platform

    def settle(self) -> None:
        self.desk.writers.clear()
        for _ in range(4):
            self.desk.look(after_s=STALE_S)
            for entry in self.journal.queue(State.READY, limit=99):
                if self.desk.tracker.unchanged(entry):
                    self.deliver(entry)

    def teardown(self) -> None:
        try:
            self.settle()
            assert self.journal.queue(State.READY, limit=9) == []
            provisional = {State.DISCOVERED, State.SETTLING}
            assert self.journal.recordings(states=provisional) == []
            found = {
                path: seen
                for watched in self.desk.watched_folders
                for path, seen in watched.found.items()
            }
            for path in found:
                entry = self.journal.at(path)
                assert entry is not None, f"{path} stands there unknown"
                assert self.is_accounted_for(entry), f"{path} is {entry.state}: {entry.reason}"
        finally:
            self.journal.close()
            shutil.rmtree(self.root)

    def is_accounted_for(self, entry: Entry) -> bool:
        if entry.state is State.IGNORED and entry.duplicate_of is not None:
            first = self.journal.get(entry.duplicate_of)
            return first is not None and first.fingerprint in self.platform
        if entry.state is State.IGNORED:
            rest = "what is left of" in entry.reason or "splits were sent" in entry.reason
            changed = self.on_change == "ignore" and "changed after" in entry.reason
            return rest or changed
        return entry.fingerprint in self.platform


class SplitMachine(WatchMachine):
    """The same with splits as units."""

    unit = "split"


class ReplaceMachine(WatchMachine):
    """The same where newer content replaces older."""

    on_change = "replace"


class IgnoreMachine(WatchMachine):
    """The same where what was sent is left alone when it changes."""

    on_change = "ignore"


BRIEF = settings(
    max_examples=6,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(BRIEF, max_examples=400, stateful_step_count=120)

for machine in (WatchMachine, SplitMachine, ReplaceMachine, IgnoreMachine):
    machine.TestCase.settings = BRIEF
TestWatch = WatchMachine.TestCase
TestSplits = SplitMachine.TestCase
TestReplace = ReplaceMachine.TestCase
TestIgnore = IgnoreMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [WatchMachine, SplitMachine, ReplaceMachine, IgnoreMachine])
def test_watcher_holds_for_long(machine: type[WatchMachine]) -> None:
    """The same, many more and longer stories."""
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415 - only here

    run_state_machine_as_test(machine, settings=LONG)
