"""Our client and the unmodified vendor SDK on one server: each reads what the other wrote.

The script that drives the SDK is that of the embedded server's tests. Run against a sequence of
its own it fixes what is to be seen; run against ours it must see the same.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from bridge.client import (
    MosaicoClient,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    SequenceWriter,
)
from bridge.embedded import EmbeddedServer
from bridge.ontology import GPS, IMU, Image, String
from tests.client.conftest import ROOT

SCRIPT = ROOT / "tests" / "embedded" / "vendor_sdk.py"
ROWS = 1000


def vendor(port: int, phase: str) -> Any:
    done = subprocess.run(
        [sys.executable, SCRIPT, str(port), phase],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write_drive(writer: SequenceWriter) -> None:
    """Write what the SDK's script writes: columns for the IMU, rows for the rest."""
    imu = writer.topic_create("/imu/front", {"rate": 100}, IMU)
    gps = writer.topic_create("/gps", {}, GPS)
    camera = writer.topic_create("/camera", {}, Image)
    words = writer.topic_create("/words", {}, String)
    imu.write_batch(
        pa.RecordBatch.from_pylist(
            [
                {
                    "timestamp_ns": 1000 + row,
                    "acceleration": {"x": row / 10, "y": -1.0, "z": 9.81},
                    "angular_velocity": {"x": 0.0, "y": 0.0, "z": float(row)},
                }
                for row in range(ROWS)
            ],
            schema=IMU.schema,
        )
    )
    for row in range(10):
        position = {"x": 8.5, "y": 47.3, "z": 400.0 + row}
        gps.push({"timestamp_ns": 1000 + 100 * row, "position": position})
        words.push({"timestamp_ns": 1005 + 100 * row, "data": f"word {row}"})
    camera.push(
        {
            "timestamp_ns": 1500,
            "data": bytes(range(12)),
            "format": "raw",
            "stride": 4,
            "height": 3,
            "width": 4,
            "encoding": "mono8",
            "is_bigendian": False,
        }
    )


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server into which the SDK has written."""
    with EmbeddedServer(tmp_path_factory.mktemp("theirs")) as server:
        vendor(server.port, "write")
        yield server


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server into which our client has written the same."""
    with (
        EmbeddedServer(tmp_path_factory.mktemp("ours")) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        metadata = {"driver": {"id": "d1"}, "rain": False}
        with client.sequence_create("drive-1", metadata) as writer:
            write_drive(writer)
        yield server


def test_sdk_reads_ours_as_its_own(ours: EmbeddedServer, theirs: EmbeddedServer) -> None:
    """Typed messages, windows, merged streams and facts: the SDK sees no difference."""
    of_ours, of_theirs = vendor(ours.port, "read"), vendor(theirs.port, "read")
    assert of_ours.pop("bytes") > 0
    assert of_theirs.pop("bytes") > 0
    assert of_ours == of_theirs
    assert of_ours["imu"][-1] == [1999, 99.9]


def test_sdk_finds_ours_as_its_own(ours: EmbeddedServer, theirs: EmbeddedServer) -> None:
    """The SDK's queries and clusters find in our data what they find in its own."""
    assert vendor(ours.port, "query") == vendor(theirs.port, "query")


def test_we_read_theirs(theirs: EmbeddedServer, ours: EmbeddedServer) -> None:
    """What the SDK wrote and what we wrote reads back as equal tables, topic by topic."""
    with (
        MosaicoClient.connect("127.0.0.1", theirs.port) as their_client,
        MosaicoClient.connect("127.0.0.1", ours.port) as our_client,
    ):
        their, our = (each.sequence_handler("drive-1") for each in (their_client, our_client))
        assert their is not None
        assert our is not None
        assert their.topics == our.topics == ["/camera", "/gps", "/imu/front", "/words"]
        assert their.user_metadata == our.user_metadata
        for name in their.topics:
            left, right = their.topic_handler(name), our.topic_handler(name)
            if name != "/camera":  # the SDK compresses pixels, we wrote them raw
                assert left.table().to_pylist() == right.table().to_pylist()
            assert left.schema.remove_metadata().equals(right.schema)
            assert left.serialization_format == right.serialization_format
        order = [(topic, row["timestamp_ns"]) for topic, row in their.rows()]
        assert order == [(topic, row["timestamp_ns"]) for topic, row in our.rows()]
        assert len(order) == ROWS + 21


def test_we_find_theirs(theirs: EmbeddedServer) -> None:
    """Our queries find what the SDK wrote, "contains" included, which its own builder lacks."""
    with MosaicoClient.connect("127.0.0.1", theirs.port) as client:
        queries = {
            "contains": QuerySequence().with_name_match("rive"),
            "topic": QueryTopic().with_name("/gps"),
            "content": QueryOntologyCatalog(IMU.Q.acceleration.x.gt(99.0)),
            "nothing": QueryOntologyCatalog(IMU.Q.acceleration.x.gt(1e6)),
        }
        found = {
            label: [[topic.name for topic in item.topics] for item in client.query(part) or ()]
            for label, part in queries.items()
        }
        assert found == {
            "contains": [["/camera", "/gps", "/imu/front", "/words"]],
            "topic": [["/gps"]],
            "content": [["/imu/front"]],
            "nothing": [],
        }
        clusters = client.clusters("drive-1", "imu/front", IMU.Q.acceleration.x.gt(99.0), gap_ns=10)
        assert [(cluster.start_ns, cluster.end_ns) for cluster in clusters] == [(1991, 1999)]


def test_sdk_hears_our_notifications(ours: EmbeddedServer) -> None:
    """What we attach to a sequence and to a topic the SDK lists, with its texts."""
    with MosaicoClient.connect("127.0.0.1", ours.port) as client:
        client.sequence_notify("drive-1", "on the sequence ☂")
        client.topic_notify("drive-1", "/gps", "on the topic")
        assert vendor(ours.port, "listen") == [
            ["drive-1", None, "error", "on the sequence ☂"],
            ["drive-1", "/gps", "error", "on the topic"],
        ]
        client.clear_sequence_notify("drive-1")
        client.clear_topic_notify("drive-1", "/gps")
    assert vendor(ours.port, "listen") == []


def test_we_hear_the_sdks_notifications(theirs: EmbeddedServer) -> None:
    """What the SDK reports when its user's code fails we list, sequence and topic apart."""
    listed = vendor(theirs.port, "complain")
    with MosaicoClient.connect("127.0.0.1", theirs.port) as client:
        heard = client.list_sequence_notify("broken") + client.list_topic_notify("broken", "/words")
        client.sequence_delete("broken")
    assert heard
    assert listed == [
        [each.sequence_name, each.topic_name, each.notify_type.value, each.message]
        for each in heard
    ]
    assert {each.topic_name for each in heard} == {None, "/words"}
