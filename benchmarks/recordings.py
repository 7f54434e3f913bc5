"""Writes recordings with the `mcap` library and rosbags, not with anything of ours."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
from mcap.writer import CompressionType, IndexType, Writer
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore

from benchmarks.cases import Stream
from benchmarks.messages import START_NS, STORE

ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)
TRANSFORMS = "tf2_msgs/msg/TFMessage"  # not among the stock types of ROS 1 there
ROS1_STORE.register({TRANSFORMS: STORE.fielddefs[TRANSFORMS]})

CHUNK_BYTES = 768 << 10
"""As rosbag2 writes them."""

DISTINCT_BYTES = 4 << 20
"""Messages repeat after so many bytes: well beyond a chunk, so that repetition helps no codec."""

COPY_BYTES = 8 << 20


def write_mcap(
    path: Path,
    streams: Sequence[Stream],
    seconds: float,
    *,
    compression: str = "none",
    indexed: bool = True,
) -> None:
    """Write a lone `.mcap`; without index it is what a killed recorder leaves, but for the end.

    Args:
        path: The file.
        streams: Its topics.
        seconds: How much of them, in record time.
        compression: Of chunks: `none`, `lz4` or `zstd`.
        indexed: Whether to write the indexes and the summary.
    """
    with path.open("wb") as file:
        writer = Writer(
            file,
            chunk_size=CHUNK_BYTES,
            compression=CompressionType[compression.upper()],
            index_types=IndexType.ALL if indexed else IndexType.NONE,
            use_statistics=indexed,
            use_summary_offsets=indexed,
            repeat_channels=indexed,
            repeat_schemas=indexed,
        )
        writer.start(profile="ros2", library="benchmark")
        channels = []
        for each in streams:
            text, _ = STORE.generate_msgdef(each.msgtype, ros_version=2)
            schema = writer.register_schema(each.msgtype, "ros2msg", text.encode())
            channels.append(writer.register_channel(each.topic, "cdr", schema))
        for time_ns, which, payload in _messages(streams, seconds):
            writer.add_message(channels[which], time_ns, payload, time_ns)
        writer.finish()  # type: ignore[no-untyped-call]


def write_db3(folder: Path, streams: Sequence[Stream], seconds: float) -> None:
    """Write a rosbag2 folder with one `.db3`."""
    plugin = rosbag2.StoragePlugin.SQLITE3
    with rosbag2.Writer(folder, version=9, storage_plugin=plugin) as writer:
        connections = [
            writer.add_connection(each.topic, each.msgtype, typestore=STORE) for each in streams
        ]
        for time_ns, which, payload in _messages(streams, seconds):
            writer.write(connections[which], time_ns, payload)


def write_bag(
    path: Path, streams: Sequence[Stream], seconds: float, *, compression: str = "none"
) -> None:
    """Write a ROS 1 `.bag`, its chunks compressed by `none`, `bz2` or `lz4`."""
    writer = rosbag1.Writer(path)
    if compression != "none":
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
    with writer:
        connections = [
            writer.add_connection(each.topic, each.msgtype, typestore=ROS1_STORE)
            for each in streams
        ]
        for time_ns, which, payload in _messages(streams, seconds, ros1=True):
            writer.write(connections[which], time_ns, payload)


def write_compressed(source: Path, target: Path) -> None:
    """Compress a whole file by zstd."""
    with (
        source.open("rb") as plain,
        pa.CompressedOutputStream(str(target), "zstd") as packed,
    ):
        while part := plain.read(COPY_BYTES):
            packed.write(part)


def size_of(recording: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if recording.is_file():
        return recording.stat().st_size
    return sum(file.stat().st_size for file in recording.iterdir())


def _messages(
    streams: Sequence[Stream], seconds: float, *, ros1: bool = False
) -> Iterator[tuple[int, int, bytes]]:
    """Yield time, number of the stream and payload, in order of time."""
    return heapq.merge(
        *(
            _of_one(which, each, each.count(seconds), ros1=ros1)
            for which, each in enumerate(streams)
        ),
        key=lambda message: message[:2],
    )


def _of_one(
    which: int, each: Stream, count: int, *, ros1: bool
) -> Iterable[tuple[int, int, bytes]]:
    payloads = distinct(each, count)
    if ros1:
        payloads = tuple(bytes(STORE.cdr_to_ros1(payload, each.msgtype)) for payload in payloads)
    for number in range(count):
        yield START_NS + number * each.step_ns, which, payloads[number % len(payloads)]


@lru_cache(maxsize=64)
def distinct(each: Stream, count: int) -> tuple[bytes, ...]:
    """Make the CDR payloads of a topic until they would repeat; the same for every format."""
    payloads: list[bytes] = []
    total_bytes = 0
    while len(payloads) < count and total_bytes < DISTINCT_BYTES:
        message = each.make(len(payloads))
        payloads.append(bytes(STORE.serialize_cdr(message, each.msgtype)))
        total_bytes += len(payloads[-1])
    return tuple(payloads)
