"""Every container by every compression, index, number of splits and damage, message for message.

What a file holds is told by a walk over it that is neither the reader's nor the code that wrote it:
record by record for MCAP and ROS 1, plain SQL for sqlite3, and the `mcap` library for what rosbags
wrote as MCAP.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from mcap.writer import CompressionType, IndexType
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore

from bridge.bags import load_recording, open_recording
from bridge.errors import RecordingError
from tests.bags.mcap.mcap_files import (
    Seen,
    place_messages,
    read_with_library,
    sample,
    write_with_library,
)
from tests.bags.rosbag1 import rosbag1_files
from tests.bags.sqlite import sqlite_files

Write = Callable[[Path, Sequence[Seen]], None]
Judge = Callable[[Path], list[Seen]]

MESSAGES_PER_SPLIT = 120
TOPICS = ["/topic0", "/topic1", "/topic2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a file is written, who judges it, and whether it can hold compressed messages."""

    suffix: str
    write: Write
    judge: Judge
    ros1: bool = False


def by_rosbags(path: Path, messages: Sequence[Seen], *, plugin: rosbag2.StoragePlugin) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = path.with_suffix(".written")
    with rosbag2.Writer(folder, version=9, storage_plugin=plugin) as writer:
        of = {
            topic: writer.add_connection(topic, "std_msgs/msg/String", typestore=store)
            for topic in TOPICS
        }
        for message in messages:
            writer.write(of[message.topic], message.log_time, message.data)
    next(folder.glob(f"*{path.suffix}")).rename(path)
    (folder / "metadata.yaml").unlink()
    folder.rmdir()


def by_rosbags_as_ros1(path: Path, messages: Sequence[Seen], *, compression: str) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = rosbag1.Writer(path)
    if compression:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression])
    with writer:
        of = {
            topic: writer.add_connection(topic, "std_msgs/msg/String", typestore=store)
            for topic in TOPICS
        }
        for message in messages:
            writer.write(of[message.topic], message.log_time, message.data)


def as_ros1_by_hand(
    path: Path, messages: Sequence[Seen], *, compression: str, chunk_index: bool
) -> None:
    made = rosbag1_files.make(
        [(each.topic, each.log_time, each.data) for each in messages],
        compression=compression,
        chunk_index=chunk_index,
    )
    path.write_bytes(made.data)


def as_sqlite(path: Path, messages: Sequence[Seen], *, version: int) -> None:
    connection = sqlite3.connect(path)
    sqlite_files.create(connection, version, TOPICS)
    sqlite_files.insert(
        connection, [(TOPICS.index(each.topic) + 1, each.log_time, each.data) for each in messages]
    )
    connection.commit()
    connection.close()


def walked(path: Path) -> list[Seen]:
    return [place.seen for place in place_messages(path.read_bytes())]


def walked_ros1(path: Path) -> list[Seen]:
    return [Seen(*message) for message in rosbag1_files.judged(path)]


def queried(path: Path) -> list[Seen]:
    return [Seen(*message) for message in sqlite_files.judged(path)]


KINDS: dict[str, Kind] = {
    **{
        f"mcap {compression.name.lower()} {'indexed' if indexed else 'bare'}": Kind(
            suffix=".mcap",
            write=partial(
                write_with_library,
                chunk_size=2000,
                compression=compression,
                index_types=IndexType.ALL if indexed else IndexType.NONE,
                repeat_channels=indexed,
                repeat_schemas=indexed,
                use_statistics=indexed,
                use_summary_offsets=indexed,
            ),
            judge=walked,
        )
        for compression in CompressionType
        for indexed in (True, False)
    },
    "mcap unchunked": Kind(
        suffix=".mcap", write=partial(write_with_library, use_chunking=False), judge=walked
    ),
    "mcap by rosbags": Kind(
        suffix=".mcap",
        write=partial(by_rosbags, plugin=rosbag2.StoragePlugin.MCAP),
        judge=read_with_library,
    ),
    **{
        f"db3 version {version}": Kind(
            suffix=".db3", write=partial(as_sqlite, version=version), judge=queried
        )
        for version in (1, 2, 3, 4)
    },
    "db3 by rosbags": Kind(
        suffix=".db3",
        write=partial(by_rosbags, plugin=rosbag2.StoragePlugin.SQLITE3),
        judge=queried,
    ),
    **{
        f"bag {compression or 'plain'} by rosbags": Kind(
            suffix=".bag",
            write=partial(by_rosbags_as_ros1, compression=compression),
            judge=walked_ros1,
            ros1=True,
        )
        for compression in ("", "BZ2", "LZ4")
    },
    **{
        f"bag {compression} {'indexed' if indexed else 'bare'}": Kind(
            suffix=".bag",
            write=partial(as_ros1_by_hand, compression=compression, chunk_index=indexed),
            judge=walked_ros1,
            ros1=True,
        )
        for compression in ("none", "lz4")
        for indexed in (True, False)
    },
}


def packed(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def written(
    kind: Kind, folder: Path, splits: int, compression: str
) -> tuple[list[Path], list[Counter[Seen]]]:
    """Write the splits and tell what each holds, by the judge, payloads not compressed."""
    folder.mkdir()
    files, truth = [], []
    whole = sample(splits * MESSAGES_PER_SPLIT)
    for split in range(splits):
        messages = whole[split * MESSAGES_PER_SPLIT :][:MESSAGES_PER_SPLIT]
        if compression == "message":
            messages = [each._replace(data=packed(each.data)) for each in messages]
        path = folder / f"drive_{split}{kind.suffix}"
        kind.write(path, messages)
        seen = kind.judge(path)
        if compression == "message":
            unpack = zstandard.ZstdDecompressor().decompress
            seen = [each._replace(data=unpack(each.data, 1 << 20)) for each in seen]
        assert len(seen) == MESSAGES_PER_SPLIT
        if compression == "file":
            target = path.with_name(f"{path.name}.zstd")
            target.write_bytes(packed(path.read_bytes()))
            path.unlink()
            path = target
        files.append(path)
        truth.append(Counter(seen))
    return files, truth


def write_metadata(folder: Path, files: list[Path], compression: str) -> None:
    """What a recorder writes last, as far as it matters here; JSON is YAML."""
    told = {
        "version": 9,
        "storage_identifier": "mcap",
        "compression_format": "zstd" if compression else "",
        "compression_mode": compression.upper(),
        "relative_file_paths": [file.name for file in files],
        "files": [{"path": file.name} for file in files],
        "custom_data": {},
        "ros_distro": "jazzy",
    }
    document = json.dumps({"rosbag2_bagfile_information": told})
    (folder / "metadata.yaml").write_text(document, encoding="utf-8")


def read(path: Path) -> tuple[Counter[Seen], bool, int]:
    """Read all messages; tell whether that is said to be all, and how many are unverifiable."""
    found: Counter[Seen] = Counter()
    with open_recording(load_recording(path)) as reader:
        for block in reader.blocks():
            topic = reader.topics[block.topic].name
            found.update(
                Seen(topic, int(time), block.data[start:end].tobytes())
                for time, start, end in zip(
                    block.log_times_ns, block.starts, block.ends, strict=True
                )
            )
        said_whole = reader.healthy and not reader.is_damaged
        return found, said_whole, reader.tally.unverified_messages


def compressions(kind: Kind) -> list[str]:
    return ["", "file"] if kind.ros1 else ["", "file", "message"]


def cases(*damages: str) -> list[Any]:
    """Give kind, compression, splits and damage in every combination of which anything is left."""
    return [
        pytest.param(
            kind, compression, splits, damage, id=f"{name}-{compression}-{splits}-{damage}"
        )
        for name, kind in KINDS.items()
        for compression in compressions(kind)
        for splits in (1, 3)
        for damage in damages
        if splits > 1 or damage != "missing"
    ]


@pytest.mark.parametrize(("kind", "compression", "splits", "damage"), cases("none"))
def test_whole_recording_is_read_message_for_message(
    tmp_path: Path, kind: Kind, compression: str, splits: int, damage: str
) -> None:
    """All messages of all splits come, once, unaltered; with metadata.yaml and without."""
    assert damage == "none"
    files, truth = written(kind, tmp_path / "drive", splits, compression)
    everything = sum(truth, Counter())
    without = read(tmp_path / "drive")
    write_metadata(tmp_path / "drive", files, compression)
    with_it = read(tmp_path / "drive")

    assert without[0] == with_it[0] == everything
    assert with_it[1]


@pytest.mark.parametrize(
    ("kind", "compression", "splits", "damage"), cases("cut", "garbage", "missing")
)
def test_damaged_split_costs_itself_at_the_most(
    tmp_path: Path, kind: Kind, compression: str, splits: int, damage: str
) -> None:
    """The other splits come whole; of the damaged one comes what is intact, none twice."""
    files, truth = written(kind, tmp_path / "drive", splits, compression)
    write_metadata(tmp_path / "drive", files, compression)
    victim, others = files[0], sum(truth[1:], Counter())
    data = victim.read_bytes()
    at = len(data) * 2 // 3
    if damage == "missing":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(data[:at])
    else:
        victim.write_bytes(data[:at] + bytes(range(40, 80)) + data[at + 40 :])
    try:
        found, said_whole, unverifiable = read(tmp_path / "drive")
    except RecordingError:
        # The one file holds one compressed block, and that is the one that was hit.
        assert splits == 1
        assert compression == "file" or kind.ros1
        return
    of_victim = found - others
    altered = of_victim - truth[0]

    assert not others - found
    assert max(found.values(), default=1) == 1
    assert altered.total() <= (unverifiable if damage == "garbage" else 0)
    assert damage == "missing" or not said_whole or of_victim == truth[0] or altered
    if damage == "missing":
        assert not of_victim
    elif not compression and kind.suffix == ".mcap":
        # A checksum speaks for its whole chunk; where the chunk is torn nobody asks it.
        hit = range(at, len(data) if damage == "cut" else at + 40)
        stands_on = (
            (
                place.seen,
                place.chunk if place.chunk and damage == "garbage" else (place.start, place.end),
            )
            for place in place_messages(data)
        )
        intact = Counter(
            seen for seen, (start, end) in stands_on if end <= hit.start or start >= hit.stop
        )
        assert not intact - of_victim
