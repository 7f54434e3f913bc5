"""Reading and decoding by container: the same messages, against rosbags' reader and deserializer.

rosbags reads a prefix, rates are compared. Before the clock starts, what both decode from the
prefix is compared value by value.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import DRIVE
from benchmarks.decoding import decode_ours, decode_rosbags, differences
from benchmarks.options import Options
from benchmarks.recordings import (
    size_of,
    write_bag,
    write_compressed,
    write_db3,
    write_mcap,
)
from benchmarks.tables import MEBIBYTE, table
from benchmarks.timing import Timing, median_s, timed

SECONDS, QUICK_SECONDS = 4.0, 0.1
PREFIX_SECONDS, QUICK_PREFIX_SECONDS = 0.3, 0.1
CUT_AT = 0.6

Write = Callable[[Path, float], None]

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


def run(options: Options) -> str:
    """Measure every format, and the salvage of a cut file."""
    seconds = QUICK_SECONDS if options.quick else SECONDS * options.scale
    prefix_seconds = min(seconds, QUICK_PREFIX_SECONDS if options.quick else PREFIX_SECONDS)
    rows = []
    for name, suffix, compression in FORMATS:
        if options.wants(name):
            options.say(f"formats: {name}")
            write = partial(_write, name=name, compression=compression)
            rows.append(_measure(name, suffix, write, options, seconds, prefix_seconds))
    if options.wants("mcap cut"):
        options.say("formats: mcap cut")
        rows.append(_salvage(options, seconds))
    return table("Reading and decoding", COLUMNS, rows)


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
    name: str, suffix: str, write: Write, options: Options, seconds: float, prefix_seconds: float
) -> tuple[object, ...]:
    stem = name.replace(" ", "_")
    whole, prefix = options.folder / f"{stem}{suffix}", options.folder / f"{stem}_prefix{suffix}"
    write(whole, seconds)
    write(prefix, prefix_seconds)
    theirs_reads, different = timed(differences, prefix).result
    if different:
        raise SystemExit(f"{name}: decoded differently: {different}")
    ours = [timed(decode_ours, whole) for _ in range(options.runs)]
    _verify(name, ours[0], _expected(seconds))
    rate = ours[0].result["messages"] / median_s(ours)
    ratio = None
    if theirs_reads:
        theirs = timed(decode_rosbags, prefix)
        _verify(f"{name} by rosbags", theirs, _expected(prefix_seconds))
        ratio = rate / (theirs.result["messages"] / theirs.seconds)
    return _row(name, whole, ours, ratio)


def _salvage(options: Options, seconds: float) -> tuple[object, ...]:
    """Measure a file that lost its end; what it holds up to there is recovered."""
    path = options.folder / "cut.mcap"
    write_mcap(path, DRIVE, seconds)
    whole = timed(decode_ours, path)
    cut_bytes = int(path.stat().st_size * CUT_AT)
    with path.open("r+b") as file:
        file.truncate(cut_bytes)
    ours = [timed(decode_ours, path) for _ in range(options.runs)]
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
