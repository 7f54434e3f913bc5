"""`inspect` tells what would become of a recording, damaged or not, without sending anything."""

from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType, Writer

from bridge.cli import write_drive
from bridge.embedded import EmbeddedServer
from tests.bags.mcap.mcap_files import (
    Seen,
    channel,
    finished,
    message,
    place_messages,
    sample,
    schema,
    statistics,
    write_with_library,
)
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


def test_mapping_shows_where_each_field_goes(tmp_path: Path, command: Command) -> None:
    """Each field of each topic has its columns; what a mapping leaves out is named."""
    write_drive(tmp_path, name="drive", start_ns=1_700_000_000 * 10**9, duration_s=0.3, splits=1)
    config = tmp_path / "bridge.toml"
    config.write_text(
        '[[mappings]]\nros_type = "sensor_msgs/msg/Imu"\nontology = "Turning"\n'
        '[mappings.fields]\n"rate.z" = "angular_velocity.z"\n'
    )
    code, seen = looked_at(command, tmp_path / "drive", "--mapping", "--config", str(config))
    topics = {topic["msgtype"]: topic for topic in seen["topics"]}
    fields = topics["sensor_msgs/msg/Imu"]["fields"]

    assert code == 0
    assert fields["angular_velocity.z"] == ["rate.z"]
    assert fields["orientation.w"] == []
    assert topics["sensor_msgs/msg/Imu"]["noted"]["left_out"].keys() >= {"orientation", "header"}
    odometry = topics["nav_msgs/msg/Odometry"]["fields"]
    assert odometry["child_frame_id"] == ["target_frame_id"]
    shown = command("inspect", tmp_path / "drive", "--mapping", "--config", config).out
    assert "rate.z" in shown
    assert "left out of" in shown


STRING = b"\0\1\0\0\2\0\0\0a\0"


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ({"/a": ("ros2msg", STRING)}, 0),
        ({"/a": ("ros2msg", STRING), "/b": ("protobuf", b"x")}, 3),
        ({"/a": ("ros2msg", STRING), "/b": ("ros2msg", b"\0\1\0\0\xff")}, 3),
        ({"/b": ("protobuf", b"x")}, 65),
        ({"/b": ("ros2msg", b"\0\1\0\0\xff")}, 65),
        ({}, 65),
    ],
    ids=["whole", "foreign beside", "undecodable beside", "only foreign", "undecodable", "empty"],
)
def test_exit_code_says_how_much_would_arrive(
    tmp_path: Path, command: Command, topics: dict[str, tuple[str, bytes]], expected: int
) -> None:
    """What an ingest would say, and does say: 0 for all, 3 for a part, 65 for nothing."""
    body = b""
    for number, (topic, (encoding, data)) in enumerate(topics.items(), start=1):
        body += schema(number, encoding=encoding) + channel(
            number, number, topic, "cdr" if encoding == "ros2msg" else encoding
        )
        body += message(number, number, data)
    path = tmp_path / "drive.mcap"
    path.write_bytes(finished(body))
    code, seen = looked_at(command, path)

    assert code == expected
    assert seen["found"]["arriving"] == ("/a" in topics)
    assert command("inspect", path).code == expected
    with EmbeddedServer(tmp_path / "platform") as server:
        config = tmp_path / "bridge.toml"
        config.write_text(
            f'[server]\nhost = "127.0.0.1"\nport = {server.port}\n'
            f'[state]\nfolder = "{tmp_path / "state"}"\n'
        )
        assert command("ingest", path, "--config", config).code == expected


def test_wrong_claim_is_shown_and_costs_nothing(tmp_path: Path, command: Command) -> None:
    """The statistics count messages that there never were; all that are there would arrive."""
    declared = schema(1) + channel(1, 1, "/a")
    path = tmp_path / "drive.mcap"
    path.write_bytes(finished(declared + message(1, 1, STRING), declared + statistics({1: 7})))
    code, seen = looked_at(command, path)
    claim = "the file counts 7 messages on /a, 1 were found"

    assert (code, seen["healthy"], seen["losses"]) == (0, True, [])
    assert seen["contradictions"] == {claim: 1}
    assert claim in command("inspect", path).out


def test_topics_without_a_definition_have_one_remedy(tmp_path: Path, command: Command) -> None:
    """What is missing is said of each topic; what to do about it once, here and by `ingest`."""
    path = tmp_path / "lacking.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        for number in range(9):
            kind = writer.register_schema(f"mine/msg/T{number}", "ros2msg", b"")
            topic = writer.register_channel(f"/topic{number}", "cdr", kind)
            writer.add_message(topic, log_time=1, publish_time=1, data=b"\0\1\0\0\1\0\0\0")
        kind = writer.register_schema("std_msgs/msg/Bool", "ros2msg", b"bool data")
        topic = writer.register_channel("/fine", "cdr", kind)
        writer.add_message(topic, log_time=1, publish_time=1, data=b"\0\1\0\0\1")
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say what it returns
    looked = command("inspect", path)
    sent = command("ingest", path, "--embedded", "--state", tmp_path / "state")

    for done in (looked, sent):
        assert done.code == 3
        assert done.out.count("definitions.folders") == 1
        assert "not sent: 9 topics" in done.out
        for number in range(9):
            assert f"no definition of mine/msg/T{number} was found" in done.out


def test_listed_file_that_is_missing_makes_it_a_part(closed: Path, command: Command) -> None:
    """As an ingest says it, with and without a look at the messages."""
    folder = closed.parent / "lacking"
    folder.mkdir()
    closed.rename(folder / "lacking_0.mcap")
    (folder / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 4\n"
        "  relative_file_paths: [lacking_0.mcap, lacking_1.mcap]\n"
    )
    for options in ([], ["--quick"]):
        code, seen = looked_at(command, folder, *options)
        assert code == 3
        assert seen["missing"] == [
            "lacking_1.mcap: metadata.yaml lists it, and it is not there",
        ]
