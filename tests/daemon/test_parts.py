"""Each message on the platform once, whatever recorders, cleaners and kills do to the folder.

Real daemons, real workers and a real server; what arrived is counted by reading it back, message by
message: every message of these recordings has a time of its own.
"""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from bridge.client import MosaicoClient
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.requests import resend
from bridge.daemon.journal.states import State
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.session import dialect
from tests.daemon.small_disks import fill, small_disk
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MESSAGES = 5
# In every run one format and unit; the others, and the stories that are their kin, in the long one.
SLOW = pytest.mark.slow
FORMATS = ["mcap", pytest.param("db3", marks=SLOW), pytest.param("bag", marks=SLOW)]
PAYLOAD = b"\0\1\0\0" + (2).to_bytes(4, "little") + b"x\0"
DATE = "2026_06_01-10"


def times_of(number: int) -> list[int]:
    """Give the record times of a split's messages; no two splits share one."""
    return [1_700_000_000_000_000_000 + 1_000_000_000 * number + index for index in range(MESSAGES)]


def mcap_split(number: int) -> bytes:
    stream = BytesIO()
    writer = McapWriter(stream)
    writer.start(profile="ros2", library=f"split {number}")
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/chatter", "cdr", schema)
    for stamp in times_of(number):
        writer.add_message(channel, log_time=stamp, publish_time=stamp, data=PAYLOAD)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


def db3_split(number: int, folder: Path) -> bytes:
    path = folder / f"draft_{number}.db3"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
            "INSERT INTO schema VALUES (3, 'humble');"
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
            "INSERT INTO topics VALUES (1, '/chatter', 'std_msgs/msg/String', 'cdr', '');"
        )
        database.executemany(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)",
            [(stamp, PAYLOAD) for stamp in times_of(number)],
        )
        database.commit()
    return path.read_bytes()


def bag_split(number: int, folder: Path) -> bytes:
    path = folder / f"draft_{number}.bag"
    path.unlink(missing_ok=True)
    store = get_typestore(Stores.ROS1_NOETIC)
    string = store.types["std_msgs/msg/String"]
    payload = store.serialize_ros1(string(data="x"), "std_msgs/msg/String")
    with BagWriter(path) as writer:
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=store)
        for stamp in times_of(number):
            writer.write(connection, stamp, payload)
    return path.read_bytes()


def split_bytes(number: int, extension: str, folder: Path) -> bytes:
    """Make a split of a format with messages of its own."""
    if extension == "mcap":
        return mcap_split(number)
    return (db3_split if extension == "db3" else bag_split)(number, folder)


def on_platform(port: int) -> Counter[int]:
    """Count how often each message is on the platform, by its time, in what is finished."""
    found: Counter[int] = Counter()
    with MosaicoClient.connect("127.0.0.1", port) as client:
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            assert handler is not None
            if not handler.is_locked:
                continue
            for topic in handler.topics:
                for batch in handler.topic_handler(topic).batches():
                    found.update(batch.column("timestamp_ns").to_pylist())
    return found


def once(*numbers: int) -> Counter[int]:
    """Give the messages of splits, each once."""
    return Counter(stamp for number in numbers for stamp in times_of(number))


class Field:
    """A bridge with a platform, and a recorder's habits."""

    def __init__(self, bridge: "Bridge", port: int, extension: str) -> None:
        self.bridge = bridge
        self.port = port
        self.extension = extension

    def put(self, number: int, name: str) -> Path:
        """A split appears, closed, in one go."""
        content = split_bytes(number, self.extension, self.bridge.folder)
        return self.bridge.drop(f"{name}.{self.extension}", content)

    def describe(self, folder: str, *names: str) -> Path:
        """A metadata.yaml appears that lists files."""
        listed = [f"{name}.{self.extension}" for name in names]
        return self.bridge.drop(f"{folder}/metadata.yaml", metadata(listed).encode())

    def run(self) -> None:
        """One daemon looks at everything and ends."""
        self.bridge.daemon().run_once()

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Daemons look at everything, one after the other, until something is true."""

        def ran() -> bool:
            self.run()
            return condition()

        self.bridge.wait_for(ran)

    def arrived(self, *numbers: int) -> bool:
        return on_platform(self.port) == once(*numbers)

    def states(self) -> Counter[str]:
        return Counter(str(entry.state) for entry in self.bridge.entries().values())

    def lose_sequences(self) -> None:
        """The platform loses all that it has."""
        with MosaicoClient.connect("127.0.0.1", self.port) as client:
            for name in client.list_sequences():
                client.sequence_delete(name)

    def lose_journal(self) -> None:
        for path in self.bridge.state.glob("journal.db*"):
            path.unlink()


@pytest.fixture
def server(bridge: "Bridge") -> Iterator[int]:
    with bridge.platform() as running:
        bridge.overrides |= {"watch.settle_s": 0.2, "watch.stale_s": 0.2}
        yield running.port


@pytest.fixture(params=FORMATS)
def field(request: pytest.FixtureRequest, bridge: "Bridge", server: int) -> Field:
    return Field(bridge, server, request.param)


@pytest.fixture
def mcap_field(bridge: "Bridge", server: int) -> Field:
    return Field(bridge, server, "mcap")


UNITS = pytest.mark.parametrize("unit", ["recording", pytest.param("split", marks=SLOW)])


@UNITS
def test_lyrical_splits_with_metadata_at_the_end(field: Field, unit: str) -> None:
    """Split by split, metadata.yaml last: each message once, and the group known as one."""
    field.bridge.overrides["ingest.unit"] = unit
    names = [f"{n}_drive_{DATE}_{n + 10}_40" for n in range(3)]
    for number, name in enumerate(names):
        field.put(number, f"drive/{name}")
        if number != 1:
            field.run()
    field.describe("drive", *names)
    field.run()

    assert field.arrived(0, 1, 2)


@SLOW
def test_lone_files_named_by_date_and_clock(field: Field) -> None:
    """Each is a recording of its own, also while the next one is always open."""
    for number in range(3):
        field.put(number, f"drive_20240102_10111{number}")
        with (field.bridge.watched / f"drive_20240102_10112{number}.{field.extension}").open("wb"):
            field.run()
        assert field.arrived(*range(number + 1))
    assert field.states()["finalised"] == 3


@UNITS
@pytest.mark.parametrize(
    "field",
    ["bag", pytest.param("mcap", marks=SLOW), pytest.param("db3", marks=SLOW)],
    indirect=True,
)
def test_lone_splits_that_arrive_between_two_looks(field: Field, unit: str) -> None:
    """What was sent stays sent; each look sends the new ones only."""
    field.bridge.overrides["ingest.unit"] = unit
    for number in range(4):
        field.put(number, f"drive_{number}")
        field.run()
        assert field.arrived(*range(number + 1))
    if field.extension == "bag" and unit == "recording":
        with Journal.read(field.bridge.state) as journal:
            entry = journal.at(field.bridge.watched / "drive_0.bag")
        assert entry is not None
        assert "3 of 4 parts were sent before, as" in entry.reason


@SLOW
def test_recorder_of_ros1_in_the_watched_folder_goes_up_once(bridge: "Bridge", server: int) -> None:
    """While the next split is `.active` nothing goes; then all of it, as one sequence."""
    field = Field(bridge, server, "bag")
    bridge.overrides["watch.stale_s"] = 60.0
    with bridge.running():
        for number in range(3):
            active = bridge.watched / f"drive_{number}.bag.active"
            with active.open("wb") as writing:
                writing.write(bag_split(number, bridge.folder))
                writing.flush()
                os.fsync(writing.fileno())
                bridge.wait_for(lambda: any("drive_0" in name for name in bridge.entries()))
                assert on_platform(server) == Counter()
            active.rename(active.with_suffix(""))
        bridge.wait_for(lambda: field.arrived(0, 1, 2))
    with MosaicoClient.connect("127.0.0.1", server) as client:
        assert len(client.list_sequences()) == 1
    assert set(bridge.entries()) == {"drive_0.bag"}


@UNITS
def test_bag_whose_recorder_was_killed_is_salvaged(
    bridge: "Bridge", server: int, unit: str
) -> None:
    """A `.bag.active` that nobody writes any more is taken once it is stale, as far as it goes."""
    field = Field(bridge, server, "bag")
    bridge.overrides["ingest.unit"] = unit
    field.put(0, "drive_0")
    torn = bag_split(1, bridge.folder)
    bridge.drop("drive_1.bag.active", torn[: len(torn) - 40])
    with bridge.running():
        bridge.wait_for(lambda: bridge.entries() and not field.states().keys() & UNSETTLED)
    there = on_platform(server)

    assert set(there.values()) == {1}
    assert there == once(0, 1)
    assert State.PARTIAL in {entry.state for entry in bridge.entries().values()}


UNSETTLED = {"discovered", "settling", "ready", "sending", "verified", "waiting"}


@UNITS
@pytest.mark.parametrize(
    "lost", [pytest.param(False, marks=SLOW), True], ids=["journal", "journal lost"]
)
def test_cleaner_deletes_the_oldest_splits(field: Field, unit: str, *, lost: bool) -> None:
    """The rest is known as sent, with the journal and without it."""
    field.bridge.overrides["ingest.unit"] = unit
    names = [f"drive_{number}" for number in range(4)]
    for number, name in enumerate(names):
        field.put(number, f"drive/{name}")
    field.describe("drive", *names)
    field.run()
    for name in names[:2]:
        (field.bridge.watched / "drive" / f"{name}.{field.extension}").unlink()
        if lost:
            field.lose_journal()
        field.run()

    assert field.arrived(0, 1, 2, 3)
    assert not field.states().keys() & {"ignored", "quarantined", "rejected", *UNSETTLED}


@SLOW
def test_metadata_dropped_into_the_root(field: Field) -> None:
    """It joins nothing there: what was sent stays what it is, and the folder stays."""
    names = ("a", "b", "c")
    for number, name in enumerate(names):
        field.put(number, name)
    field.run()
    field.bridge.overrides |= {"disposal.mode": "delete"}
    field.bridge.drop("metadata.yaml", metadata([f"{n}.{field.extension}" for n in names]).encode())
    field.run()

    assert field.arrived(0, 1, 2)
    assert field.bridge.watched.is_dir()


@pytest.mark.parametrize(
    "content",
    [
        None,
        pytest.param(b"", marks=SLOW),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", marks=SLOW),
    ],
    ids=["missing", "empty", "pointer"],
)
def test_listed_split_that_is_missing_makes_it_partial(field: Field, content: bytes | None) -> None:
    """Missing, empty or a pointer: what is there goes up, the rest is told, nothing is deleted."""
    field.bridge.overrides |= {"disposal.mode": "delete"}
    field.put(0, "drive/drive_0")
    described = field.describe("drive", "drive_0", "drive_1")
    if content is not None:
        field.bridge.drop(f"drive/drive_1.{field.extension}", content)
    field.run()
    field.run_until(lambda: field.arrived(0))

    entry = field.bridge.entries()["drive"]
    assert entry.state is State.PARTIAL
    assert f"drive_1.{field.extension}: " in entry.reason
    assert described.exists()
    # Once the file is there whole, it is sent, and nothing else.
    field.put(1, "drive/drive_1")
    field.run()
    assert field.arrived(0, 1)


@UNITS
def test_lost_journal_is_rebuilt_from_the_platform(field: Field, unit: str) -> None:
    """Regrouped, renamed and moved meanwhile: nothing is sent again, what is new is."""
    field.bridge.overrides["ingest.unit"] = unit
    for number in range(3):
        field.put(number, f"drive/drive_{number}")
    field.describe("drive", *(f"drive_{number}" for number in range(3)))
    field.run()
    field.lose_journal()
    watched = field.bridge.watched
    (watched / "drive").rename(watched / "renamed")
    name = f"drive_1.{field.extension}"
    (watched / "renamed" / name).rename(watched / f"x.{field.extension}")
    field.put(3, "renamed/drive_3")
    field.describe("renamed", "drive_0", "drive_2", "drive_3")
    field.run()

    assert field.arrived(0, 1, 2, 3)


def test_failed_question_with_lost_journal_sends_nothing(
    mcap_field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the platform cannot say whether it has a part, the recording waits."""
    field = mcap_field
    field.put(0, "drive_0")
    field.run()
    field.lose_journal()
    (field.bridge.watched / "drive_0.mcap").rename(field.bridge.watched / "other.mcap")
    answers = dict(dialect.ACTIONS)

    def fail(*_: object) -> Iterator[Any]:
        raise Refusal(Status.INTERNAL, "Internal error: database failure.")

    with monkeypatch.context() as patched:
        patched.setitem(dialect.ACTIONS, "query", replace(answers["query"], run=fail))
        with field.bridge.running():
            entry = field.bridge.await_state("other.mcap", State.WAITING)
            assert "database failure" in entry.reason
            assert field.arrived(0)
    field.run()
    assert field.arrived(0)
    assert field.bridge.entries()["other.mcap"].state is State.FINALISED


@SLOW
@UNITS
def test_ingest_on_the_command_line_obeys_the_same_rule(field: Field, unit: str) -> None:
    """Over splits, twice, and beside what the daemon has sent: each message once."""
    bridge = field.bridge
    paths = [field.put(number, f"drive_{number}") for number in range(4)]
    field.bridge.overrides["ingest.unit"] = unit
    command = [
        sys.executable, "-m", "bridge", "ingest", *map(str, paths), "--json",
        "--host", "127.0.0.1", "--port", str(field.port), "--state", str(bridge.folder / "other"),
    ]  # fmt: skip
    environment = {**os.environ, "MOSAICO_BRIDGE_INGEST__UNIT": unit}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert field.arrived(0, 1, 2, 3)
    field.run()
    assert field.arrived(0, 1, 2, 3)


@SLOW
@UNITS
@pytest.mark.parametrize("lost", [False, True], ids=["journal", "journal lost"])
def test_what_was_sent_is_compressed_and_decompressed(
    field: Field, unit: str, *, lost: bool
) -> None:
    """The messages are the same, and so is the part: nothing is sent again, in both directions."""
    field.bridge.overrides["ingest.unit"] = unit
    plain = [field.put(number, f"drive/drive_{number}") for number in range(2)]
    field.describe("drive", "drive_0", "drive_1")
    field.run()
    later = field.bridge.drop(
        f"late.{field.extension}.zstd",
        pa.compress(split_bytes(2, field.extension, field.bridge.folder), "zstd", asbytes=True),
    )
    for path in plain:
        packed = pa.compress(path.read_bytes(), codec="zstd", asbytes=True)
        field.bridge.drop(f"drive/{path.name}.zstd", packed)
        path.unlink()
    if lost:
        field.lose_journal()
    field.run()
    assert field.arrived(0, 1, 2)
    later.unlink()
    field.put(2, "late")
    if lost:
        field.lose_journal()
    field.run()

    assert field.arrived(0, 1, 2)
    assert not field.states().keys() & {"partial", "quarantined", "rejected", *UNSETTLED}


@SLOW
def test_name_shared_with_a_compressed_file_of_another_day(field: Field) -> None:
    """Today's file and yesterday's compressed one have one name: both go up."""
    yesterday = split_bytes(0, field.extension, field.bridge.folder)
    packed = pa.compress(yesterday, codec="zstd", asbytes=True)
    field.bridge.drop(f"drive.{field.extension}.zstd", packed)
    field.put(1, "drive")
    field.run()

    assert field.arrived(0, 1)


@SLOW
def test_file_that_is_there_twice_in_one_recording_is_sent_once(mcap_field: Field) -> None:
    """A copy of a split under the name of another split adds nothing."""
    for number, name in enumerate(["drive_0", "drive_1", "drive_2"]):
        mcap_field.put(number % 2, f"drive/{name}")
    mcap_field.describe("drive", "drive_0", "drive_1", "drive_2")
    mcap_field.run()

    assert mcap_field.arrived(0, 1)


def test_name_that_is_used_again_replaces_nothing(field: Field) -> None:
    """`replace` is for content that changed, not for names: the first drive's sequence stays."""
    field.bridge.overrides |= {
        "watch.on_change": "replace",
        "disposal.mode": "delete",
        "disposal.verification": "closed",
    }
    path = field.put(0, "drive")
    field.run()
    field.run_until(lambda: not path.exists())
    field.put(1, "drive")
    field.run()

    assert field.arrived(0, 1)


@SLOW
def test_other_drive_under_the_name_of_one_that_was_taken_away(field: Field) -> None:
    """A person moves the first drive away between two looks; the next is another recording."""
    field.bridge.overrides |= {"watch.on_change": "replace"}
    field.put(0, "drive")
    field.run()
    field.put(1, "drive")
    field.run()

    assert field.arrived(0, 1)


@SLOW
@UNITS
def test_archive_that_fills_up_between_two_moves(field: Field, tmp_path: Path, unit: str) -> None:
    """A second disk without room for the last: nothing is sent again, and all follows later."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    names = [f"drive_{number}" for number in range(3)]
    paths = [field.put(number, f"drive/{name}") for number, name in enumerate(names)]
    field.describe("drive", *names)
    field.run()
    pages = max(path.stat().st_size for path in paths) // 4096 + 1
    with small_disk(tmp_path / "archive", size_bytes=1 << 20) as archive:
        bridge.overrides |= {"disposal.mode": "move", "disposal.archive_folder": str(archive)}
        filler = fill(archive, leave_bytes=2 * pages * 4096)
        field.run()
        here = sorted(path.stem for path in bridge.watched.rglob(f"*.{field.extension}"))
        # Some were moved or copied, and no file is in neither place.
        assert list(archive.rglob(f"*{names[0]}*"))
        assert here
        assert field.arrived(0, 1, 2)
        filler.unlink()
        field.run_until(lambda: not (bridge.watched / "drive").exists())
        moved = sorted(path.name for path in archive.rglob(f"*.{field.extension}"))

    assert moved == [f"{name}.{field.extension}" for name in names]
    assert field.arrived(0, 1, 2)


@SLOW
@UNITS
def test_what_comes_back_is_asked_for(field: Field, unit: str) -> None:
    """A backup copy that is put back because the platform lost the sequence is sent again."""
    bridge = field.bridge
    bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": unit}
    path = field.put(0, "drive")
    field.run()
    field.run_until(lambda: not path.exists())
    field.lose_sequences()
    field.put(0, "drive")
    field.run_until(lambda: field.arrived(0))


@SLOW
@UNITS
@pytest.mark.parametrize("choices", [{}, {"disposal.retain_count": 1}], ids=["all", "retained"])
def test_source_that_the_platform_has_lost_is_sent_again(
    field: Field, unit: str, choices: dict[str, int]
) -> None:
    """Proof is asked for when it is used: what is not there any more does not go, but up again."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    names = [f"drive_{number}" for number in range(3)]
    for number, name in enumerate(names):
        field.put(number, f"drive/{name}")
    field.describe("drive", *names)
    field.put(3, "late")
    field.run()
    field.lose_sequences()
    assert field.arrived()
    bridge.overrides |= {"disposal.mode": "delete", **choices}
    late = bridge.watched / f"late.{field.extension}"
    field.run_until(lambda: not (bridge.watched / "drive").exists())

    # One that is retained was not asked for.
    field.run_until(lambda: field.arrived(0, 1, 2, 3) or (field.arrived(0, 1, 2) and late.exists()))


@SLOW
def test_parts_shared_by_two_in_the_queue_are_sent_once(mcap_field: Field) -> None:
    """A copy of one split beside the whole recording: whichever comes first, the other asks."""
    field = mcap_field
    for number in range(2):
        field.put(number, f"drive/drive_{number}")
    field.describe("drive", "drive_0", "drive_1")
    field.put(1, "copy")
    field.bridge.overrides["workers.count"] = 2
    field.run()
    assert field.arrived(0, 1)
    with Journal.read(field.bridge.state) as journal:
        assert {entry.state for entry in journal.recordings()} == {State.FINALISED}


@pytest.mark.timeout(60)
def test_metadata_that_keeps_a_parser_busy_costs_nothing_else(mcap_field: Field) -> None:
    """499 bytes of nested merge keys: their recording goes without hints, the others as always."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 15)]
    bomb = "\n".join(lines)[:499]
    mcap_field.put(0, "drive/drive_0")
    mcap_field.bridge.drop("drive/metadata.yaml", bomb.encode())
    mcap_field.put(1, "other")
    mcap_field.run()

    assert mcap_field.arrived(0, 1)


@SLOW
def test_rest_of_what_the_platform_has_lost_is_sent_on_request(mcap_field: Field) -> None:
    """A cleaner took the oldest splits, the platform lost the sequence: what is left goes up."""
    field, bridge = mcap_field, mcap_field.bridge
    names = [f"drive_{number}" for number in range(3)]
    for number, name in enumerate(names):
        field.put(number, f"drive/{name}")
    field.describe("drive", *names)
    field.run()
    (bridge.watched / "drive" / "drive_0.mcap").unlink()
    field.run()
    with MosaicoClient.connect("127.0.0.1", field.port) as client:
        client.sequence_delete(bridge.entries()["drive"].sequence)
    resend(bridge.state, [bridge.entries()["drive"].id])
    field.run()

    assert field.arrived(1, 2)
