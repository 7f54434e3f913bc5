"""Reading and decoding by container: the same messages, against rosbags' reader and deserializer.

rosbags reads a prefix, rates are compared. Before the clock starts, what both decode from the
prefix is compared value by value.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import DRIVE
from benchmarks.recordings import (
    size_of,
    write_bag,
    write_compressed,
    write_db3,
    write_mcap,
)
from benchmarks.scope import Scope
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Timing, median_s, timed

SECONDS, QUICK_SECONDS = 4.0, 0.1
PREFIX_SECONDS, QUICK_PREFIX_SECONDS = 0.3, 0.1
CUT_AT = 0.6

Write = Callable[[Path, float], None]
Counts = dict[str, int]

FORMATS: tuple[tuple[str, str, str], ...] = (
    ("mcap", ".mcap", ""),
    ("mcap lz4", ".mcap", "lz4"),
    ("mcap zstd", ".mcap", "zstd"),
    ("mcap unindexed", ".mcap", ""),
    ("mcap in a zstd file", ".mcap.zstd", ""),
    ("db3", "", ""),
    ("bag", ".bag", ""),
    ("bag lz4", ".bag", "lz4"),
    ("bag bz2", ".bag", "bz2"),
)
"""Name, suffix of the file, compression of its chunks."""

COLUMNS = (
    "container", "file MiB", "messages", "messages/s", "payload MiB/s", "x rosbags", "peak MiB",
)  # fmt: skip


def run(scope: Scope) -> list[Table]:
    """Measure every format, and the salvage of a cut file."""
    seconds = QUICK_SECONDS if scope.quick else SECONDS * scope.scale
    prefix_seconds = min(seconds, QUICK_PREFIX_SECONDS if scope.quick else PREFIX_SECONDS)
    rows = []
    for name, suffix, compression in FORMATS:
        if scope.wants(name):
            scope.say(f"formats: {name}")
            write = partial(_write, name=name, compression=compression)
            rows.append(_measure(name, suffix, write, scope, seconds, prefix_seconds))
    if scope.wants("mcap cut"):
        scope.say("formats: mcap cut")
        rows.append(_salvage(scope, seconds))
    return [Table("Reading and decoding", COLUMNS, rows)]


def _write(path: Path, seconds: float, *, name: str, compression: str) -> None:
    compression = compression or "none"
    if name.startswith("bag"):
        write_bag(path, DRIVE, seconds, compression=compression)
    elif name == "db3":
        write_db3(path, DRIVE, seconds)
    elif path.suffix == ".zstd":
        plain = path.with_suffix("")
        write_mcap(plain, DRIVE, seconds)
        write_compressed(plain, path)
        plain.unlink()
    else:
        indexed = name != "mcap unindexed"
        write_mcap(path, DRIVE, seconds, compression=compression, indexed=indexed)


def _measure(
    name: str, suffix: str, write: Write, scope: Scope, seconds: float, prefix_seconds: float
) -> tuple[object, ...]:
    stem = name.replace(" ", "_")
    whole, prefix = scope.folder / f"{stem}{suffix}", scope.folder / f"{stem}_prefix{suffix}"
    write(whole, seconds)
    write(prefix, prefix_seconds)
    theirs_reads, different = timed(differences, prefix).result
    if different:
        raise SystemExit(f"{name}: decoded differently: {different}")
    ours = [timed(decode_ours, whole) for _ in range(scope.runs)]
    _verify(name, ours[0], _expected(seconds))
    rate = ours[0].result["messages"] / median_s(ours)
    ratio = None
    if theirs_reads:
        theirs = timed(decode_rosbags, prefix)
        _verify(f"{name} by rosbags", theirs, _expected(prefix_seconds))
        ratio = rate / (theirs.result["messages"] / theirs.seconds)
    return _row(name, whole, ours, ratio)


def _salvage(scope: Scope, seconds: float) -> tuple[object, ...]:
    """Measure a file that lost its end; what it holds up to there is recovered."""
    path = scope.folder / "cut.mcap"
    write_mcap(path, DRIVE, seconds)
    whole = timed(decode_ours, path)
    cut_bytes = int(path.stat().st_size * CUT_AT)
    with path.open("r+b") as file:
        file.truncate(cut_bytes)
    ours = [timed(decode_ours, path) for _ in range(scope.runs)]
    share = ours[0].result["payload_bytes"] / whole.result["payload_bytes"]
    lost_bytes_max = 2 << 20  # what a chunk may hold, with its index
    if not CUT_AT - lost_bytes_max / path.stat().st_size <= share <= CUT_AT + 0.01:
        raise SystemExit(f"salvage: {share:.3f} of the payloads from {CUT_AT} of the file")
    return _row(f"mcap cut at {CUT_AT:.0%}", path, ours, None)


def _row(name: str, path: Path, ours: list[Timing], ratio: float | None) -> tuple[object, ...]:
    seconds = median_s(ours)
    counted: dict[str, Any] = ours[0].result
    return (
        name,
        size_of(path) / MEBIBYTE,
        counted["messages"],
        counted["messages"] / seconds,
        counted["payload_bytes"] / MEBIBYTE / seconds,
        ratio,
        max(run.peak_bytes for run in ours) / MEBIBYTE,
    )


def _expected(seconds: float) -> int:
    return sum(each.count(seconds) for each in DRIVE)


def _verify(name: str, run: Timing, messages: int) -> None:
    if run.result["messages"] != messages:
        raise SystemExit(f"{name}: {run.result['messages']} of {messages} messages")


def decode_ours(path: Path) -> Callable[[], Counts]:
    """Read and decode with this project, in batches as an ingest does."""

    def call() -> Counts:
        messages = payload_bytes = 0
        for block, decoded in decoded_blocks(path):
            messages += len(decoded.log_times_ns)
            payload_bytes += int((block.ends - block.starts).sum())
        return {"messages": messages, "payload_bytes": payload_bytes}

    return call


def decoded_blocks(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the blocks of a recording and what is decoded of them, in batches as an ingest does."""
    import numpy as np

    from benchmarks.ready_made import due
    from bridge.bags import load_recording, open_recording
    from bridge.ingest import BatchTargets
    from bridge.ingest.batches import ALONE, Batcher

    with open_recording(load_recording(path)) as reader:
        decoders = {topic.index: _decoder(topic) for topic in reader.topics}
        alone = np.full(len(reader.topics), ALONE)
        for block in due(reader.mixed_blocks(), Batcher(BatchTargets(), kinds=alone)):
            yield block, decoders[block.topic].decode(block)


def decode_rosbags(path: Path) -> Callable[[], Counts]:
    """Read and decode with rosbags."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)

    def call() -> Counts:
        messages = payload_bytes = 0
        with AnyReader([path], default_typestore=store) as reader:
            for connection, _, data in reader.messages():
                reader.deserialize(data, connection.msgtype)
                messages += 1
                payload_bytes += len(data)
        return {"messages": messages, "payload_bytes": payload_bytes}

    return call


def differences(path: Path) -> Callable[[], tuple[bool, list[str]]]:
    """Compare what both decode.

    Returns:
        Whether rosbags can read the file, and the topics that differ.
    """
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.typesys import Stores, get_typestore

    from bridge.bags import load_recording, open_recording

    def call() -> tuple[bool, list[str]]:
        with open_recording(load_recording(path)) as reader:
            decoders = {topic.index: _decoder(topic) for topic in reader.topics}
            ours: dict[str, list[Any]] = {topic.name: [] for topic in reader.topics}
            for block in reader.blocks():
                decoded = decoders[block.topic].decode(block)
                rows = zip(decoded.log_times_ns.tolist(), decoded.messages.to_pylist(), strict=True)
                ours[reader.topics[block.topic].name] += rows
        try:
            theirs = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            theirs.open()
        except AnyReaderError:
            return False, []
        judged: dict[str, list[Any]] = {topic: [] for topic in ours}
        for connection, time_ns, data in theirs.messages():
            message = theirs.deserialize(data, connection.msgtype)
            judged[connection.topic].append((time_ns, _plain(message)))
        theirs.close()
        return True, [topic for topic in ours if ours[topic] != judged[topic]]

    return call


def _decoder(topic: Any) -> Any:
    from bridge.cdr import Decoder

    message_type = topic.message_type
    return Decoder(message_type, serialization=topic.serialization)


def _plain(value: Any) -> Any:
    """Turn a message of rosbags into dictionaries and lists, without its constants."""
    if hasattr(value, "__dataclass_fields__"):
        names = (name for name in value.__dataclass_fields__ if not name.isupper())
        return {name: _plain(getattr(value, name)) for name in names if name != "__msgtype__"}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value
