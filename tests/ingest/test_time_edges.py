"""Record times at every edge arrive as they were recorded, whatever the container."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rosbags import rosbag1
from rosbags.typesys import Stores, get_typestore

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, VerificationLevel, ingest
from tests.bags.mcap import mcap_files as made
from tests.bags.sqlite.sqlite_files import create, insert

CHUNK_MESSAGES = 10
TEXT = b"\x04\x00\x00\x00abc\x00"
NOW_NS = 1_760_000_000_000_000_000
LATEST_NS = 2**63 - 1
# ROS 1 has unsigned 32 bit seconds.
LATEST_ROS1_NS = (2**32 - 1) * 10**9 + 999_999_999

TIMES_NS: dict[str, list[int]] = {
    "one message": [NOW_NS],
    "zero": [0],
    "equal over chunks": [NOW_NS] * (3 * CHUNK_MESSAGES),
    "first and last of chunks touch": [
        NOW_NS + chunk * 1000 + edge
        for chunk in range(3)
        for edge in [0, *[500] * (CHUNK_MESSAGES - 2), 1000]
    ],
    "first and last of chunks stick out": [
        NOW_NS + offset
        for chunk in range(3)
        for offset in [-(10**9) - chunk, *range(CHUNK_MESSAGES - 2), 10**9 + chunk]
    ],
    "backwards": [NOW_NS - number for number in range(3 * CHUNK_MESSAGES)],
    "jumps by decades": [NOW_NS, 5, NOW_NS + 1, 0, 2 * NOW_NS, NOW_NS + 2],
    "as late as can be": [0, LATEST_NS - 1, LATEST_NS],
}


def as_mcap(path: Path, times_ns: list[int]) -> Path:
    """Chunks of just so many messages, with checksums, which the library cannot be told."""
    path = path.with_suffix(".mcap")
    body = made.schema(1) + made.channel(1, 1, "/t")
    for start in range(0, len(times_ns), CHUNK_MESSAGES):
        chunk = times_ns[start : start + CHUNK_MESSAGES]
        messages = [made.message(1, time_ns, b"\x00\x01\x00\x00" + TEXT) for time_ns in chunk]
        body += made.chunk(b"".join(messages), crc=None)
    path.write_bytes(made.finished(body))
    return path


def as_db3(path: Path, times_ns: list[int]) -> Path:
    path = path.with_suffix(".db3")
    connection = sqlite3.connect(path)
    create(connection, 4, ["/t"])
    insert(connection, [(1, time_ns, b"\x00\x01\x00\x00" + TEXT) for time_ns in times_ns])
    connection.commit()
    connection.close()
    return path


def as_bag(path: Path, times_ns: list[int]) -> Path:
    path = path.with_suffix(".bag")
    store = get_typestore(Stores.ROS1_NOETIC)
    with rosbag1.Writer(path) as writer:
        connection = writer.add_connection("/t", "std_msgs/msg/String", typestore=store)
        for time_ns in times_ns:
            writer.write(connection, time_ns, TEXT)
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosaicoClient]:
    with (
        EmbeddedServer(tmp_path_factory.mktemp("platform")) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as connected,
    ):
        yield connected


@pytest.mark.parametrize("name", TIMES_NS)
@pytest.mark.parametrize("write", [as_mcap, as_db3, as_bag])
def test_every_record_time_arrives(
    client: MosaicoClient, tmp_path: Path, write: Callable[[Path, list[int]], Path], name: str
) -> None:
    """Times come as often as they were recorded; the range is that of all of them."""
    times_ns = TIMES_NS[name]
    if write is as_bag:
        times_ns = [min(time_ns, LATEST_ROS1_NS) for time_ns in times_ns]
    path = write(tmp_path / "drive", times_ns)
    options = IngestOptions(
        identity=Identity(instance="test"),
        sequence_name=f"{write.__name__}_{name.replace(' ', '_')}",
        verification=VerificationLevel.READBACK,
    )
    report = ingest(load_recording(path), client=client, options=options)
    (topic,) = report.topics
    handler = client.sequence_handler(report.sequence)
    assert handler is not None
    arrived = Counter(row["timestamp_ns"] for row in handler.topic_handler("/t").rows())

    assert arrived == Counter(times_ns)
    assert (topic.start_ns, topic.end_ns) == (min(times_ns), max(times_ns))
    assert report.complete
