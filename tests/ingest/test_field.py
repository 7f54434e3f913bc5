"""Inputs rebuilt from public bug reports: what has to arrive is read back from the platform.

The reports' own files are read where they are present; `tests/bags` makes twins and siblings of
each, which need nothing.
"""

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, IngestReport, ingest
from tests.bags.mcap import test_claims as mcap_claims
from tests.bags.mcap.mcap_files import channel, finished, message, schema
from tests.bags.sqlite.sqlite_files import create, insert

FIELD = Path(__file__).parents[3] / "shared" / "field"
OPTIONS = IngestOptions(identity=Identity(instance="test"))

CONTAINERS = {
    "counts_absent/a.mcap": {"/s": 1},
    "padded_chunk/plain.mcap": {"/s": 1},
    "padded_chunk/lz4.mcap": {"/s": 1},
    "padded_chunk/zstd.mcap": {"/s": 1},
    "bag_hole/hole.bag": {"/s": 2},
}
"""The cases about containers, with the rows of each topic."""


def arrived(path: Path, platform: Path) -> tuple[dict[str, int], IngestReport]:
    """Ingest a file into a new platform, and count the rows of every topic that it gives back."""
    with (
        EmbeddedServer(platform) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=OPTIONS)
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        rows = {name: sum(1 for _ in handler.topic_handler(name).rows()) for name in handler.topics}
        return rows, report


@pytest.mark.parametrize("case", CONTAINERS)
def test_report_from_the_field_arrives_whole(case: str, tmp_path: Path) -> None:
    """What `cases.json` says, or what rosbag reads where it says nothing."""
    if not FIELD.exists():
        pytest.skip(f"no field cases at {FIELD}")
    told = json.loads((FIELD / "cases.json").read_text()).get(case, {}).get("topics")
    rows, report = arrived(FIELD / case, tmp_path / "platform")

    assert rows == CONTAINERS[case]
    assert told is None or rows == told
    assert report.complete


@pytest.mark.parametrize(
    "name", ["counts of zero", "counts too high", "padding behind lz4", "chunk of another opcode"]
)
def test_wrong_claim_is_neither_damage_nor_partial(name: str, tmp_path: Path) -> None:
    """Every message arrives, and the report names the claim."""
    data, claim = mcap_claims.FILES[name]
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES)}
    assert report.complete
    assert claim in "; ".join(report.contradictions)
    assert report.as_json()["contradictions"] == report.contradictions


def test_channel_that_a_summary_lacks_arrives(tmp_path: Path) -> None:
    """It shows while the file is read; what was sent by then is replaced."""
    data, _ = mcap_claims.FILES["channel that the summary lacks"]
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES), "/b": 1}
    assert report.complete


def test_channel_that_a_summary_calls_otherwise_arrives(tmp_path: Path) -> None:
    """Nothing would arrive by the summary's word, and the data have another."""
    data, _ = mcap_claims.FILES["channel that the summary calls otherwise"]
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES)}
    assert report.complete


def test_foreign_channels_are_named_and_counted_one_by_one(tmp_path: Path) -> None:
    """Protobuf and JSON beside ROS: the report says of each what it is and what was left out."""
    body = (
        schema(1)
        + schema(2, "foxglove.SceneUpdate", "protobuf", b"\x0a\x03abc")
        + schema(3, "foxglove.Log", "jsonschema", b"{}")
        + channel(1, 1, "/chatter")
        + channel(2, 2, "/scene", "protobuf")
        + channel(3, 3, "/log", "json")
        + channel(4, 0, "/raw", "cbor")
        + channel(5, 1, "/unnamed", "")
    )
    string = b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00"
    for number, (channel_id, count) in enumerate([(1, 3), (2, 5), (3, 2), (4, 1), (5, 4)]):
        body += b"".join(message(channel_id, 1 + number * 10 + at, string) for at in range(count))
    path = tmp_path / "drive.mcap"
    path.write_bytes(finished(body))
    rows, report = arrived(path, tmp_path / "platform")
    left_out = {
        (topic.name, topic.msgtype): topic.messages_skipped
        for topic in report.topics
        if topic.reason
    }

    assert rows == {"/chatter": 3, "/unnamed": 4}
    assert left_out == {
        ("/scene", "foxglove.SceneUpdate"): {"message encoding 'protobuf' is not of ROS": 5},
        ("/log", "foxglove.Log"): {"message encoding 'json' is not of ROS": 2},
        ("/raw", ""): {"message encoding 'cbor' is not of ROS": 1},
    }
    assert not report.complete


def test_counts_of_a_metadata_file_are_no_claim_that_counts(tmp_path: Path) -> None:
    """A recorder that deletes its oldest splits keeps their messages in the sums."""
    data, _ = mcap_claims.FILES["footer that points nowhere"]
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "drive_3.mcap").write_bytes(data)
    (folder / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n"
        "  duration:\n    nanoseconds: 5\n  starting_time:\n    nanoseconds_since_epoch: 9\n"
        "  message_count: 99999\n  topics_with_message_count:\n"
        "    - topic_metadata:\n        name: /a\n        type: std_msgs/msg/String\n"
        "      message_count: 0\n"
        "  compression_format: ''\n  compression_mode: ''\n"
        "  relative_file_paths:\n    - drive_3.mcap\n"
        "  files:\n    - path: drive_3.mcap\n      message_count: 77\n"
        "  custom_data: ~\n  ros_distro: lyrical\n"
    )
    rows, report = arrived(folder, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES)}
    assert report.complete
    assert not report.contradictions


@pytest.mark.parametrize("spare", [b"garbage", bytes(10_000)], ids=["garbage", "zeros"])
@pytest.mark.parametrize("name", ["drive.mcap.zstd", "drive.db3.zstd"])
def test_bytes_behind_a_compressed_file_are_no_damage(
    tmp_path: Path, name: str, spare: bytes
) -> None:
    """The content is whole; what follows it is named."""
    plain = tmp_path / "plain"
    if "mcap" in name:
        plain.write_bytes(mcap_claims.whole())
    else:
        connection = sqlite3.connect(plain)
        create(connection, 4)
        string = mcap_claims.payload(1)
        insert(connection, [(1, time, string) for time in mcap_claims.TIMES])
        connection.commit()
        connection.close()
    path = tmp_path / name
    path.write_bytes(pa.compress(plain.read_bytes(), codec="zstd", asbytes=True) + spare)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES)}
    assert not report.losses
    assert report.complete
    assert "behind the content" in "; ".join(report.contradictions)
