"""Latched messages that a recorder repeats at the start of a split: recognised, kept or dropped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from bridge.bags import ReadLimits, load_recording, open_recording
from tests.bags.mcap import mcap_files as made

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
    path: Path, repeated: Literal["keep", "drop"]
) -> tuple[dict[str, list[tuple[int, bytes]]], dict[str, int], int]:
    """Read all messages by topic; and what was skipped, and how many repeats were kept."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    limits = ReadLimits(repeated_latched=repeated)
    with open_recording(load_recording(path), limits=limits) as reader:
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
