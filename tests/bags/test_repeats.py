"""Latched messages that a recorder repeats at the start of a split: recognised, kept or dropped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.bags import ReadLimits, RecordingReader, load_recording, load_split, open_recording
from bridge.model import Recording
from tests.bags.mcap import mcap_files as made
from tests.bags.rosbag1.rosbag1_files import connection, make

LATCHED = {
    "names": "- history: keep_last\n  depth: 1\n  reliability: reliable\n"
    "  durability: transient_local\n",
    "numbers": "- history: 1\n  depth: 1\n  durability: 1\n  deadline:\n    sec: 0\n",
}
VOLATILE = "- history: 1\n  depth: 10\n  durability: 2\n"

Row = tuple[str, int, bytes]

FIRST: list[Row] = [
    ("/map", 1, b"map a"),
    ("/odom", 5, b"odom"),
    ("/map", 6, b"map b"),
    ("/odom", 10, b"odom"),
]
# The recorder gives what it repeats the time of the last message before the split.
SECOND: list[Row] = [
    ("/map", 10, b"map a"),
    ("/map", 10, b"map b"),
    ("/odom", 12, b"odom"),
    ("/map", 13, b"map b"),
    ("/odom", 20, b"odom"),
]
THIRD: list[Row] = [("/map", 20, b"map b"), ("/map", 21, b"map c"), ("/odom", 22, b"odom")]


def write(folder: Path, splits: Sequence[Sequence[Row]], qos: str) -> Path:
    """Write splits with a latched and a common topic."""
    folder.mkdir()
    declared = (
        made.schema(1)
        + made.channel(1, 1, "/map", metadata={"offered_qos_profiles": qos})
        + made.channel(2, 1, "/odom", metadata={"offered_qos_profiles": VOLATILE})
    )
    ids = {"/map": 1, "/odom": 2}
    for number, rows in enumerate(splits):
        body = declared + b"".join(made.message(ids[name], at, data) for name, at, data in rows)
        (folder / f"{folder.name}_{number}.mcap").write_bytes(made.finished(body))
    return folder


def read(
    path: Path | Recording, repeated: Literal["keep", "drop"]
) -> tuple[dict[str, list[tuple[int, bytes]]], dict[str, int], int]:
    """Read all messages by topic; and what was skipped, and how many repeats were kept."""
    limits = ReadLimits(repeated_latched=repeated)
    recording = path if isinstance(path, Recording) else load_recording(path)
    return read_whole(open_recording(recording, limits=limits))


def read_whole(
    opened: RecordingReader,
) -> tuple[dict[str, list[tuple[int, bytes]]], dict[str, int], int]:
    """Read all messages, as `read`, and close."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    with opened as reader:
        for block in reader.blocks():
            rows = zip(block.log_times_ns, block.starts, block.ends, strict=True)
            found.setdefault(reader.topics[block.topic].name, []).extend(
                (int(at), block.data[start:end].tobytes()) for at, start, end in rows
            )
        skipped = {
            f"{reader.topics[topic].name} {reason}": count
            for (topic, reason), count in reader.tally.skipped.items()
        }
        (kept,) = [count for kind, count in reader.tally.extras.items() if "repeated" in kind] or [
            0
        ]
        assert reader.healthy
        return found, skipped, kept


@pytest.mark.parametrize("qos", LATCHED.values(), ids=list(LATCHED))
def test_repeats_are_dropped_where_that_is_wanted(tmp_path: Path, qos: str) -> None:
    """What was published once arrives once; what was published again later stays."""
    path = write(tmp_path / "drive", [FIRST, SECOND, THIRD], qos)
    found, skipped, kept = read(path, "drop")

    assert found["/map"] == [(1, b"map a"), (6, b"map b"), (13, b"map b"), (21, b"map c")]
    assert [at for at, _ in found["/odom"]] == [5, 10, 12, 20, 22]
    assert skipped == {"/map repeated_latched": 3}
    assert kept == 0


def test_repeats_are_kept_and_counted_by_default(tmp_path: Path) -> None:
    """Nothing that is in the files is left out unless somebody says so."""
    path = write(tmp_path / "drive", [FIRST, SECOND, THIRD], LATCHED["names"])
    found, skipped, kept = read(path, "keep")

    assert len(found["/map"]) == 7
    assert (skipped, kept) == ({}, 3)


def test_topics_that_are_not_latched_repeat_themselves(tmp_path: Path) -> None:
    """The same bytes at the same time are messages of their own there."""
    path = write(tmp_path / "drive", [FIRST, SECOND, THIRD], VOLATILE)
    found, skipped, _ = read(path, "drop")

    assert len(found["/map"]) == 7
    assert not skipped


def test_what_the_first_split_repeats_is_the_only_copy(tmp_path: Path) -> None:
    """The recorder deletes its oldest splits; what opens the oldest that is left is kept."""
    path = write(tmp_path / "drive", [FIRST, SECOND, THIRD], LATCHED["names"])
    (path / "drive_0.mcap").unlink()
    found, skipped, _ = read(path, "drop")

    assert found["/map"][:2] == [(10, b"map a"), (10, b"map b")]
    assert skipped == {"/map repeated_latched": 1}


def test_message_behind_the_split_is_no_repeat(tmp_path: Path) -> None:
    """A publisher that says the same again, at a time of its own, is recorded as it was."""
    again: list[Row] = [("/map", 11, b"map b"), ("/odom", 12, b"odom")]
    path = write(tmp_path / "drive", [FIRST, again], LATCHED["names"])
    found, skipped, _ = read(path, "drop")

    assert found["/map"][-1] == (11, b"map b")
    assert not skipped


@pytest.mark.parametrize("repeated", ["keep", "drop"])
def test_split_alone_is_compared_with_the_one_before(
    tmp_path: Path, repeated: Literal["keep", "drop"]
) -> None:
    """What the file before it in the folder holds is a repeat; where that is gone, nothing is."""
    path = write(tmp_path / "drive", [FIRST, SECOND, THIRD], LATCHED["names"])
    splits = [load_split(file) for file in sorted(path.iterdir())]
    seen = [read(split, repeated) for split in splits]
    counts = [len(found["/map"]) for found, _, _ in seen]

    assert counts == ([2, 3, 2] if repeated == "keep" else [2, 1, 1])
    assert [sum(skipped.values()) + kept for _, skipped, kept in seen] == [0, 2, 1]
    splits[0].path.unlink()
    found, skipped, kept = read(load_split(splits[1].path), repeated)
    assert (len(found["/map"]), skipped, kept) == (3, {}, 0)


def test_split_alone_behind_one_that_cannot_be_read_keeps_everything(tmp_path: Path) -> None:
    """Nothing is left out that is not known to be elsewhere."""
    path = write(tmp_path / "drive", [FIRST, SECOND], LATCHED["names"])
    (path / "drive_0.mcap").write_bytes(b"\x89MCAP0\r\n")
    found, skipped, kept = read(load_split(path / "drive_1.mcap"), "drop")

    assert (len(found["/map"]), skipped, kept) == (3, {}, 0)


# A kind of connection behind the topic: latched, or, as the recorder's copies, without publisher.
ROS1_FIRST: list[Row] = [
    ("/map L", 1, b"first"),
    ("/tf_static L", 2, b"static"),
    ("/imu P", 5, b"imu"),
    ("/map L", 6, b"second"),
    ("/imu P", 10, b"imu"),
]


def ros1(path: Path, rows: list[Row], *, per_chunk: int = 10, indexed: bool = True) -> None:
    """Write a bag as `rosbag record` does."""

    def declared(index: int, topic: str) -> bytes:
        name, _, kind = topic.partition(" ")
        publisher = "" if kind == "nameless" else "/driver"
        return connection(index, name, latching=kind == "L", publisher=publisher)

    bag = make(rows, per_chunk=per_chunk, indexed=indexed, declare=declared)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bag.data)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("per_chunk", [1, 2, 10])
@pytest.mark.parametrize("kind", ["nameless", "L"])
def test_repeats_of_ros1_have_the_time_of_the_split(
    tmp_path: Path, kind: str, per_chunk: int, *, indexed: bool
) -> None:
    """Of the publisher's first message or its last, on its connection or a nameless one."""
    second: list[Row] = [
        (f"/map {kind}", 20, b"first"),
        (f"/tf_static {kind}", 20, b"static"),
        ("/imu P", 18, b"imu"),
        ("/imu P", 21, b"imu"),
        ("/map L", 22, b"second"),
    ]
    path = tmp_path / "drive"
    ros1(path / "drive_0.bag", ROS1_FIRST)
    ros1(path / "drive_1.bag", second, per_chunk=per_chunk, indexed=indexed)
    limits = ReadLimits(repeated_latched="drop")
    for recording, left in (
        (load_recording(path), [b"first", b"second", b"second"]),
        (load_split(path / "drive_1.bag"), [b"second"]),
    ):
        with open_recording(recording, limits=limits) as reader:
            (topic,) = (each.index for each in reader.topics if each.name == "/map")
            found = [
                block.data[start:end].tobytes()
                for block in reader.blocks()
                if block.topic == topic
                for start, end in zip(block.starts, block.ends, strict=True)
            ]
            assert reader.tally.skipped.total() == 2
        assert found == left
    (path / "drive_0.bag").unlink()
    with open_recording(load_split(path / "drive_1.bag"), limits=limits) as reader:
        assert sum(len(block.starts) for block in reader.blocks()) == 5
        assert reader.tally.extras.total() == 2


@pytest.mark.parametrize(
    "second",
    {
        "later": [("/map L", 20, b"first"), ("/imu P", 21, b"imu")],
        "alone": [("/map L", 20, b"first")],
        "other first": [("/imu P", 19, b"imu"), ("/map L", 20, b"first"), ("/imu P", 20, b"imu")],
        "other bytes": [("/map L", 20, b"third"), ("/imu P", 19, b"imu")],
        "not latched": [("/imu P", 20, b"imu"), ("/imu P", 19, b"imu")],
        "no recorder": [("/imu nameless", 20, b"imu"), ("/map nameless", 19, b"first")],
    }.items(),
    ids=lambda case: case[0],
)
def test_messages_of_ros1_that_are_no_repeats(
    tmp_path: Path, second: tuple[str, list[Row]]
) -> None:
    """A latched message that its publisher sent at that moment, or that nothing vouches for."""
    path = tmp_path / "drive"
    ros1(path / "drive_0.bag", ROS1_FIRST)
    ros1(path / "drive_1.bag", second[1])
    with open_recording(load_recording(path), limits=ReadLimits(repeated_latched="drop")) as reader:
        count = sum(len(block.starts) for block in reader.blocks())
        assert count == len(ROS1_FIRST) + len(second[1])
        assert not reader.tally.skipped


def test_split_before_is_read_once_for_all_passes(tmp_path: Path) -> None:
    """Passes over a split after the first read nothing of the one before it, and find the same."""
    padded = [*FIRST, *(("/odom", 10, b"\0" * (1 << 20)) for _ in range(8))]
    drive = write(tmp_path / "drive", [padded, SECOND], LATCHED["names"])
    split = load_split(drive / "drive_1.mcap")

    def pass_over(reader: RecordingReader) -> tuple[Any, int]:
        before_bytes = bytes_read()
        return read_whole(reader), bytes_read() - before_bytes

    first = open_recording(split, limits=ReadLimits(repeated_latched="drop"))
    second = first.again()
    found, first_bytes = pass_over(first)
    assert pass_over(second)[0] == found
    third, third_bytes = pass_over(first.again())
    assert third == found
    assert found[1] == {"/map repeated_latched": 2}
    assert first_bytes > 8 << 20
    assert third_bytes < 1 << 20
    # Who opens it later looks again at what is there.
    write(tmp_path / "other", [[("/map", 1, b"map b"), ("/odom", 10, b"")]], LATCHED["names"])
    (tmp_path / "other" / "other_0.mcap").replace(drive / "drive_0.mcap")
    assert read(split, "drop") != found


def bytes_read() -> int:
    """Count the bytes that this process has read so far, by the kernel's account."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])
