"""`inspect` tells what would become of a recording, damaged or not, without sending anything."""

from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType

from tests.bags.mcap.mcap_files import Seen, place_messages, sample, write_with_library
from tests.cli.conftest import Command


def looked_at(command: Command, path: Path, *options: str) -> tuple[int, Any]:
    done = command("inspect", path, "--json", *options)
    return done.code, done.json


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A recording of many plain chunks with checksums, closed properly."""
    path = tmp_path / "drive.mcap"
    write_with_library(path, sample(300), chunk_size=2048, compression=CompressionType.NONE)
    return path


def altered(path: Path) -> list[Seen]:
    """Alter a byte in the middle; give the messages of the other chunks."""
    data = bytearray(path.read_bytes())
    placed = place_messages(bytes(data))
    hit = placed[len(placed) // 2]
    data[hit.end - 1] ^= 1
    path.write_bytes(data)
    return [each.seen for each in placed if each.chunk != hit.chunk]


def test_damage_inside_is_found_and_what_would_be_recovered_is_counted(
    closed: Path, command: Command
) -> None:
    """The file has its proper end, so only reading it tells."""
    rest = altered(closed)
    code, seen = looked_at(command, closed)
    (loss,) = seen["losses"]

    assert code == 3
    assert seen["healthy"]
    assert loss["reason"].startswith("the chunk's checksum is wrong")
    assert seen["found"]["messages"] == 300
    assert seen["found"]["unverifiable"] == 300 - len(rest) > 0
    assert seen["found"]["lost_bytes"] == 0
    assert sum(topic["messages"] for topic in seen["topics"]) == 300
    assert "salvage would recover 300 messages" in command("inspect", closed).out


def test_quick_look_reads_no_message(closed: Path, command: Command) -> None:
    """Counts are those that the file claims, and damage inside stays unseen."""
    altered(closed)
    code, seen = looked_at(command, closed, "--quick")

    assert (code, seen["found"], seen["losses"]) == (0, None, [])
    assert sum(topic["messages"] for topic in seen["topics"]) == 300


def test_cut_recording_shows_what_salvage_recovers(closed: Path, command: Command) -> None:
    """What stands before the cut is counted, topic by topic."""
    placed = place_messages(closed.read_bytes())
    cut = placed[200].end
    closed.write_bytes(closed.read_bytes()[:cut])
    code, seen = looked_at(command, closed)

    assert (code, seen["healthy"]) == (3, False)
    assert seen["found"]["messages"] == 201
    assert seen["losses"]


def test_what_no_checksum_vouches_for_is_said(tmp_path: Path, command: Command) -> None:
    """Recorders write no checksums by default; then nobody can tell altered messages."""
    path = tmp_path / "drive.mcap"
    strings = [Seen("/a", number, b"\0\1\0\0" + b"\2\0\0\0" + b"a\0") for number in range(20)]
    write_with_library(path, strings, enable_crcs=False)
    code, seen = looked_at(command, path)

    assert code == 0
    assert seen["found"]["unverifiable"] == 20
    assert "unverifiable: 20 messages" in command("inspect", path).out
