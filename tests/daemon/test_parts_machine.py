"""Parts under random recorders, cleaners, kills, renames and losses, against a model of parts.

The tracker, the journal, the ingest and the platform are real; a step of the test stands for a
worker. The model keeps which messages were ever recorded and where they are. Whatever happens in
whatever order:

* no message is on the platform twice;
* each message is on the platform or its source is still there, never neither, unless somebody other
  than the bridge removed it;
* when all comes to rest, what is in the folder is on the platform.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from bridge.bags import load_seen
from bridge.client import MosaicoClient
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import QUEUED, State
from bridge.daemon.work.dispatcher import remembered
from bridge.embedded import EmbeddedServer
from bridge.errors import RecordingError, TransientError
from bridge.ingest import (
    Identity,
    IngestOptions,
    NoEvents,
    OpenUpload,
    VerificationLevel,
    contents_of,
    held_whole,
    ingest,
)
from tests.daemon.test_parts import MESSAGES, mcap_split, times_of
from tests.daemon.test_splits import metadata
from tests.daemon.watch.desk import Desk

DRIVES = ("drive", "night")
STALE_S = 400.0


class KilledError(TransientError):
    """The worker dies here."""


class Events(NoEvents):
    """Keeps the upload as the listener does, and dies at the n-th news of it."""

    def __init__(self, journal: Journal, entry: Entry, dies_at: int) -> None:
        self.journal = journal
        self.entry = entry
        self.left = dies_at

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.journal.note(self.entry.id, upload=upload)
        self.left -= 1
        if self.left == 0:
            raise KilledError("killed")


class PartsMachine(RuleBasedStateMachine):
    """Random recorders, cleaners, people and platforms."""

    unit = "recording"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="parts-machine-"))
        self.watched = self.root / "watched"
        self.watched.mkdir()
        self.server = EmbeddedServer(self.root / "platform").__enter__()
        self.client = MosaicoClient.connect("127.0.0.1", self.server.port)
        self.journal = Journal.own(self.root / "state")
        self.desk = Desk(self.watched, self.journal)
        self.desk.choices["ingest.unit"] = self.unit
        self.desk.restart()
        # The model: the content of each split, those that somebody else removed for ever, and
        # those of which the platform has lost something.
        self.contents: dict[bytes, int] = {}
        self.gone: set[int] = set()
        self.lost: set[int] = set()

    # -- recorders and people ---------------------------------------------------------------------

    def new_split(self) -> bytes:
        number = len(self.contents)
        content = mcap_split(number)
        self.contents[content] = number
        return content

    @rule(drive=st.sampled_from(DRIVES), lyrical=st.booleans())
    def record(self, drive: str, *, lyrical: bool) -> None:
        """A recorder closes the next split in its folder."""
        folder = self.watched / drive
        folder.mkdir(exist_ok=True)
        taken = len(list(folder.glob("*.mcap")))
        number = len(self.contents)
        date = f"2026_06_01-10_{number // 60:02}_{number % 60:02}"
        name = f"{taken}_{drive}_{date}" if lyrical else f"{drive}_{number}"
        (folder / f"{name}.mcap").write_bytes(self.new_split())

    @rule()
    def record_alone(self) -> None:
        """A logger closes a file that it names by the clock."""
        name = f"log_20240102_{100000 + len(self.contents)}.mcap"
        (self.watched / name).write_bytes(self.new_split())

    @rule(drive=st.sampled_from(DRIVES), skip=st.integers(0, 1))
    def describe(self, drive: str, skip: int) -> None:
        """A recorder writes metadata.yaml, perhaps before all files are there."""
        folder = self.watched / drive
        if folder.is_dir():
            names = sorted(path.name for path in folder.glob("*.mcap"))
            (folder / "metadata.yaml").write_text(metadata(names[: len(names) - skip]))

    @rule()
    def describe_root(self) -> None:
        """Somebody drops a metadata.yaml into the watched folder itself."""
        names = sorted(path.name for path in self.watched.glob("*.mcap"))
        (self.watched / "metadata.yaml").write_text(metadata(names))

    @rule(drive=st.sampled_from(DRIVES))
    def clean(self, drive: str) -> None:
        """A cleaner deletes the oldest file, sent or not."""
        files = sorted((self.watched / drive).glob("*.mcap"))
        if files:
            self.remove(files[0])

    def remove(self, path: Path) -> None:
        number = self.contents[path.read_bytes()]
        path.unlink()
        if number not in self.sources() and not self.is_on_platform(number):
            self.gone.add(number)

    @rule(number=st.integers(0, 20), copy=st.booleans())
    def move(self, number: int, *, copy: bool) -> None:
        """Somebody renames a file, or puts a copy of it beside it."""
        files = sorted(self.watched.rglob("*.mcap"))
        if files:
            path = files[number % len(files)]
            target = self.watched / f"moved_{len(self.contents)}_{number}.mcap"
            if copy:
                shutil.copy2(path, target)
            else:
                path.rename(target)

    @rule(drive=st.sampled_from(DRIVES))
    def rename_folder(self, drive: str) -> None:
        """Somebody renames a recording's folder."""
        target = self.watched / f"{drive}_old"
        if (self.watched / drive).is_dir() and not target.exists():
            (self.watched / drive).rename(target)

    # -- the platform -----------------------------------------------------------------------------

    @rule(number=st.integers(0, 20))
    def lose_sequence(self, number: int) -> None:
        """The platform loses a sequence."""
        names = self.client.list_sequences()
        if names:
            before = self.counted()
            self.client.sequence_delete(names[number % len(names)])
            lost = {one for one in self.contents.values() if before[times_of(one)[0]]} - {
                one for one in self.contents.values() if self.is_on_platform(one)
            }
            self.lost |= lost
            self.gone |= lost - self.sources()

    # -- the bridge -------------------------------------------------------------------------------

    @rule(after_s=st.sampled_from([1.0, 10.0, STALE_S]))
    def look(self, after_s: float) -> None:
        """Time passes and the folder is looked at."""
        self.desk.look(after_s=after_s)

    @rule(number=st.integers(0, 3), dies_at=st.sampled_from([0, 0, 0, 1, 2, 3]))
    def work(self, number: int, dies_at: int) -> None:
        """A worker takes a recording, and perhaps dies of it."""
        queue = [
            entry
            for state in QUEUED
            for entry in self.journal.queue(state, limit=9)
            if self.desk.tracker.unchanged(entry)
        ]
        if number < len(queue):
            self.send(queue[number], dies_at)

    def send(self, entry: Entry, dies_at: int = 0) -> None:
        found = self.desk.tracker.found(entry)
        assert found is not None
        known = remembered(self.journal, entry)
        entry = self.journal.move(entry.id, State.SENDING, "")
        try:
            report = ingest(
                load_seen(found.recording),
                client=self.client,
                options=IngestOptions(
                    identity=Identity(instance="test", resumes=True, final=False),
                    sequence_name="{stem}",
                ),
                events=Events(self.journal, entry, dies_at),
                upload=entry.upload,
                remembered=known,
            )
        except KilledError:
            self.journal.move(entry.id, State.READY, "killed")
            return
        except RecordingError as error:
            self.journal.move(entry.id, State.QUARANTINED, error.message)
            return
        state = State.FINALISED if report.complete else State.PARTIAL
        with self.journal.transaction():
            self.journal.keep_report(entry.id, report.as_json())
            self.journal.move(entry.id, state, "", sequence=report.sequence, upload=None)

    @rule(dies_after=st.integers(0, 3))
    def dispose(self, dies_after: int) -> None:
        """Sources go that the platform holds whole, as it says now; a kill may come between."""
        for entry in self.journal.recordings(states={State.FINALISED}):
            found, report = self.desk.tracker.found(entry), self.journal.report(entry.id)
            if found is None or report is None or not self.desk.tracker.unchanged(entry):
                continue
            contents = contents_of(report)
            answers = held_whole(self.client, contents)
            held = {part for content in contents for part in content.parts}
            here = {part.identity for part in self.journal.parts(entry.id)}
            if not held >= here or not all(
                answer.proves(VerificationLevel.CLOSED) for answer in answers.values()
            ):
                continue
            for count, file in enumerate(found.recording.files):
                if dies_after and count == dies_after:
                    return
                file.path.unlink()
            self.journal.move(entry.id, State.DISPOSED, "")
        self.check()

    @rule()
    def restart(self) -> None:
        """The bridge ends and starts again."""
        self.desk.restart()

    @precondition(lambda self: len(self.contents) > 0)
    @rule()
    def lose_journal(self) -> None:
        """The journal's disk is lost."""
        self.journal.close()
        shutil.rmtree(self.root / "state")
        self.journal = self.desk.journal = Journal.own(self.root / "state")
        self.desk.restart()

    # -- what holds -------------------------------------------------------------------------------

    def counted(self) -> Counter[int]:
        found: Counter[int] = Counter()
        self.client.clear_sequence_handlers_cache()
        for name in self.client.list_sequences():
            handler = self.client.sequence_handler(name)
            if handler is not None and handler.is_locked:
                for topic in handler.topics:
                    for batch in handler.topic_handler(topic).batches():
                        found.update(batch.column("timestamp_ns").to_pylist())
        return found

    def is_on_platform(self, number: int) -> bool:
        there = self.counted()
        return all(there[stamp] for stamp in times_of(number))

    def sources(self) -> set[int]:
        return {self.contents[path.read_bytes()] for path in self.watched.rglob("*.mcap")}

    def check(self) -> None:
        there, sources = self.counted(), self.sources()
        twice = {stamp: count for stamp, count in there.items() if count > 1}
        assert not twice, f"sent twice: {twice}"
        for number in set(self.contents.values()) - self.gone:
            held = sum(there[stamp] for stamp in times_of(number))
            assert held == MESSAGES or number in sources, f"split {number} is nowhere"

    def teardown(self) -> None:
        try:
            for _ in range(4):
                self.desk.look(after_s=STALE_S)
                for state in QUEUED:
                    for entry in self.journal.queue(state, limit=99):
                        if self.desk.tracker.unchanged(entry):
                            self.send(entry)
            self.check()
            there = self.counted()
            for number in self.sources() - self.lost:
                assert all(there[stamp] == 1 for stamp in times_of(number)), self.told()
        finally:
            self.journal.close()
            self.client.close()
            self.server.__exit__(None, None, None)
            shutil.rmtree(self.root)

    def told(self) -> str:
        return "; ".join(
            f"{one.path.name} {one.state} {one.reason}" for one in self.journal.recordings()
        )


class SplitMachine(PartsMachine):
    """The same with splits as units."""

    unit = "split"


BRIEF = settings(
    max_examples=2,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(BRIEF, max_examples=60, stateful_step_count=40)

for machine in (PartsMachine, SplitMachine):
    machine.TestCase.settings = BRIEF
TestParts = PartsMachine.TestCase
TestSplits = SplitMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [PartsMachine, SplitMachine])
def test_parts_hold_for_long(machine: type[PartsMachine]) -> None:
    """The same, many more and longer stories."""
    run_state_machine_as_test(machine, settings=LONG)
