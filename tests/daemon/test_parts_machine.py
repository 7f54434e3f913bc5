"""Parts under random recorders, cleaners, kills, renames and losses, against a model of parts.

The tracker, the journal, the ingest and the platform are real; a step of the test stands for a
worker, and other people act while it works. The model keeps which messages were ever recorded and
where they are. Whatever happens in whatever order:

* no message is on the platform twice;
* each message is on the platform or its source is still there, never neither, unless somebody other
  than the bridge removed it;
* when all comes to rest, what is in the folder is on the platform.
"""

import functools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
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
from bridge.definitions import DefinitionSources
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
from tests.daemon.test_parts import MESSAGES, split_bytes, times_of
from tests.daemon.test_splits import metadata
from tests.daemon.watch.desk import Desk

FOLDERS = ("left", "right")
DRIVES = ("left/drive", "left/night", "right/drive")
STALE_S = 400.0
CENTURY_NS = 3 * 10**18

HOW: dict[str, Callable[[Path, Path], object]] = {
    "rename": os.rename,
    "copy": shutil.copy2,
    "link": os.link,
}

drives = st.sampled_from(DRIVES)
picks = st.integers(0, 20)


@functools.cache
def made(number: int, extension: str) -> bytes:
    """Make a split once for all stories."""
    with tempfile.TemporaryDirectory() as folder:
        return split_bytes(number, extension, Path(folder))


@functools.cache
def compressed(content: bytes) -> bytes:
    """Compress a file as `ros2 bag record --compression-mode file` does."""
    packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return packed


class KilledError(TransientError):
    """The worker dies here."""


class Events(NoEvents):
    """Keeps the upload as the listener does, and dies at the n-th news of it.

    At the first news somebody does something to the folder or the platform.
    """

    def __init__(
        self, journal: Journal, entry: Entry, dies_at: int, meanwhile: Callable[[], None] | None
    ) -> None:
        self.journal = journal
        self.entry = entry
        self.left = dies_at
        self.meanwhile = meanwhile

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.journal.note(self.entry.id, upload=upload)
        acts, self.meanwhile = self.meanwhile, None
        if acts is not None:
            acts()
        self.left -= 1
        if self.left == 0:
            raise KilledError("killed")


class PartsMachine(RuleBasedStateMachine):
    """Random recorders, cleaners, people and platforms."""

    unit = "recording"
    extension = "mcap"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="parts-machine-"))
        self.watched = self.root / "watched"
        for folder in FOLDERS:
            (self.watched / folder).mkdir(parents=True)
        self.server = EmbeddedServer(self.root / "platform").__enter__()
        self.client = MosaicoClient.connect("127.0.0.1", self.server.port)
        self.journal = Journal.own(self.root / "state")
        self.desk = Desk(self.watched, self.journal)
        self.desk.choices = {
            "ingest.unit": self.unit,
            "folders": {folder: {"path": str(self.watched / folder)} for folder in FOLDERS},
        }
        self.desk.restart()
        # The model: the content of each split, those that somebody else removed for ever, and
        # those of which the platform has lost something.
        self.contents: dict[bytes, int] = {}
        self.gone: set[int] = set()
        self.lost: set[int] = set()

    # -- recorders and people ---------------------------------------------------------------------

    def new_split(self) -> bytes:
        number = len(set(self.contents.values()))
        content = made(number, self.extension)
        self.contents[content] = number
        return content

    def files(self, place: str = "") -> list[Path]:
        """List the storage files in a place, plain and compressed."""
        ends = (f".{self.extension}", ".zstd")
        return sorted(
            path for path in (self.watched / place).rglob("*") if path.name.endswith(ends)
        )

    def picked(self, number: int) -> Path | None:
        files = self.files()
        return files[number % len(files)] if files else None

    @rule(drive=drives, lyrical=st.booleans(), reuses=st.booleans())
    def record(self, drive: str, *, lyrical: bool, reuses: bool) -> None:
        """A recorder closes the next split in its folder, or counts from 0 again."""
        folder = self.watched / drive
        folder.mkdir(exist_ok=True)
        taken = len(self.files(drive))
        number = taken if reuses else len(self.contents)
        date = f"2026_06_01-10_{len(self.contents) // 60:02}_{len(self.contents) % 60:02}"
        name = f"{taken}_{folder.name}_{date}" if lyrical else f"{folder.name}_{number}"
        path = folder / f"{name}.{self.extension}"
        if not path.exists():
            path.write_bytes(self.new_split())

    @rule(folder=st.sampled_from(FOLDERS), slowly=st.booleans())
    def record_alone(self, folder: str, *, slowly: bool) -> None:
        """A logger closes a file that it names by the clock; a slow one is looked at meanwhile."""
        name = f"log_20240102_{100000 + len(self.contents)}.{self.extension}"
        content = self.new_split()
        if slowly:
            (self.watched / folder / name).write_bytes(content[: len(content) // 2])
            self.desk.look()
        (self.watched / folder / name).write_bytes(content)

    @rule(drive=drives, skip=st.integers(0, 1))
    def describe(self, drive: str, skip: int) -> None:
        """A recorder writes metadata.yaml, perhaps before all files are there."""
        folder = self.watched / drive
        if folder.is_dir():
            names = [path.name for path in self.files(drive)]
            (folder / "metadata.yaml").write_text(metadata(names[: len(names) - skip]))

    @rule(folder=st.sampled_from(FOLDERS))
    def describe_root(self, folder: str) -> None:
        """Somebody drops a metadata.yaml into a watched folder itself."""
        names = [path.name for path in self.files(folder) if path.parent.name == folder]
        (self.watched / folder / "metadata.yaml").write_text(metadata(names))

    @rule(drive=drives)
    def clean(self, drive: str) -> None:
        """A cleaner deletes the oldest file, sent or not."""
        files = self.files(drive)
        if files:
            self.remove(files[0])

    def remove(self, path: Path) -> None:
        number = self.contents[path.read_bytes()]
        path.unlink()
        self.miss(number)

    def miss(self, number: int) -> None:
        """Take note that somebody else than the bridge may have removed the last copy."""
        if number not in self.sources() and not self.is_on_platform(number):
            self.gone.add(number)

    @rule(
        number=picks, how=st.sampled_from(["rename", "copy", "link"]), to=st.sampled_from(FOLDERS)
    )
    def move(self, number: int, how: str, to: str) -> None:
        """Somebody renames a file, or puts a copy or a link of it elsewhere."""
        path = self.picked(number)
        if path is not None:
            ending = path.name[path.name.index(f".{self.extension}") :]
            target = self.watched / to / f"moved_{len(self.contents)}_{number}{ending}"
            if target == path or target.exists():
                return
            HOW[how](path, target)

    @rule(one=picks, other=picks)
    def put_over(self, one: int, other: int) -> None:
        """Somebody moves a file over another one."""
        path, target = (self.picked(each) for each in (one, other))
        if path is None or target is None or path.suffix != target.suffix:
            return
        # A split waits until it is compressed; that something else is beside it shows only then.
        if self.unit == "recording" or not Path(f"{target}.zstd").exists():
            number = self.contents[target.read_bytes()]
            path.replace(target)
            self.miss(number)

    @rule(number=picks)
    def touch(self, number: int) -> None:
        """Somebody changes a file's times and nothing else."""
        path = self.picked(number)
        if path is not None:
            os.utime(path, ns=(10**18, 10**18 + number))

    @rule(number=picks, drive=drives, alone=st.booleans())
    def restore(self, number: int, drive: str, *, alone: bool) -> None:
        """Somebody puts one file of a backup back."""
        numbers = sorted(set(self.contents.values()))
        if not numbers:
            return
        number = numbers[number % len(numbers)]
        folder = self.watched / drive
        folder.mkdir(exist_ok=True)
        name = f"backup_{number}" if alone else f"{folder.name}_{number}"
        path = folder / f"{name}.{self.extension}"
        if not path.exists():
            path.write_bytes(made(number, self.extension))

    @rule(number=picks, removes=st.booleans())
    def compress(self, number: int, *, removes: bool) -> None:
        """A recorder or a person compresses a file, and removes the plain one or not yet."""
        path = self.picked(number)
        if path is not None and path.suffix != ".zstd":
            plain = path.read_bytes()
            packed = compressed(plain)
            self.contents[packed] = self.contents[plain]
            target = path.with_name(path.name + ".zstd")
            if not target.exists():
                target.write_bytes(packed)
            if removes:
                path.unlink()

    @rule(drive=drives)
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

    @rule()
    def set_clock_back(self) -> None:
        """Somebody corrects a clock that was ahead by years."""
        self.desk.clock.wall -= CENTURY_NS // 100

    @rule(
        number=st.integers(0, 3),
        dies_at=st.sampled_from([0, 0, 0, 1, 2, 3]),
        act=st.sampled_from(["", "", "clean", "rename", "move", "over", "lose", "compress"]),
        drive=drives,
    )
    def work(self, number: int, dies_at: int, act: str, drive: str) -> None:
        """A worker takes a recording, and perhaps dies of it; somebody may act meanwhile."""
        acts: dict[str, Callable[[], None]] = {
            "clean": lambda: self.clean(drive),
            "rename": lambda: self.rename_folder(drive),
            "move": lambda: self.move(number, "rename", "right"),
            "over": lambda: self.put_over(number, number + 1),
            "lose": lambda: self.lose_sequence(-1),
            "compress": lambda: self.compress(number, removes=True),
        }
        queue = [
            entry
            for state in QUEUED
            for entry in self.journal.queue(state, limit=9)
            if self.desk.tracker.unchanged(entry)
        ]
        if number < len(queue):
            self.send(queue[number], dies_at, acts.get(act))

    def send(
        self, entry: Entry, dies_at: int = 0, meanwhile: Callable[[], None] | None = None
    ) -> None:
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
                    sequence_name="{stem}_{id}",
                    definitions=DefinitionSources(distro="humble"),
                ),
                events=Events(self.journal, entry, dies_at, meanwhile),
                upload=entry.upload,
                remembered=known,
            )
        except TransientError as error:
            self.journal.move(entry.id, State.READY, f"killed, or {error.message}")
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
        self.reopen(None)

    @rule()
    def save_journal(self) -> None:
        """Somebody makes a snapshot of the journal's disk."""
        self.journal.close()
        shutil.rmtree(self.root / "snapshot", ignore_errors=True)
        shutil.copytree(self.root / "state", self.root / "snapshot")
        self.reopen(self.root / "state")

    @precondition(lambda self: (self.root / "snapshot").exists())
    @rule()
    def roll_journal_back(self) -> None:
        """Somebody goes back to the snapshot."""
        self.reopen(self.root / "snapshot")

    def reopen(self, source: Path | None) -> None:
        """Start again with the journal as it is in a folder, or without one."""
        self.journal.close()
        if source != self.root / "state":
            shutil.rmtree(self.root / "state")
        if source not in {None, self.root / "state"}:
            shutil.copytree(source, self.root / "state")
        self.journal = self.desk.journal = Journal.own(self.root / "state")
        self.journal.recover()
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
        return {self.contents[path.read_bytes()] for path in self.files()}

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
            left = {
                path.name: self.contents[path.read_bytes()]
                for path in self.files()
                if not all(there[stamp] for stamp in times_of(self.contents[path.read_bytes()]))
            }
            missing = {name: one for name, one in left.items() if one not in self.lost}
            assert not missing, f"not sent: {missing}; {self.told()}"
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


class SqliteMachine(PartsMachine):
    """The same with `.db3`."""

    extension = "db3"


class BagMachine(PartsMachine):
    """The same with `.bag`, whose splits need no folder of their own."""

    extension = "bag"


class SqliteSplitMachine(SplitMachine):
    """The same with both."""

    extension = "db3"


class BagSplitMachine(SplitMachine):
    """The same with both."""

    extension = "bag"


MACHINES = (
    PartsMachine, SplitMachine, SqliteMachine, BagMachine, SqliteSplitMachine, BagSplitMachine,
)  # fmt: skip


BRIEF = settings(
    max_examples=2,
    stateful_step_count=14,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(BRIEF, max_examples=60, stateful_step_count=40)

for machine in MACHINES:
    machine.TestCase.settings = BRIEF
TestParts = PartsMachine.TestCase
TestSplits = SplitMachine.TestCase
TestBags = BagMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", MACHINES)
def test_parts_hold_for_long(machine: type[PartsMachine]) -> None:
    """The same, many more and longer stories."""
    run_state_machine_as_test(machine, settings=LONG)
