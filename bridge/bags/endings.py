"""What the end of a storage file says: whether it is a proper one, and of which time it is.

A proper end is what a recorder writes last: the footer and magic of MCAP, the index position of
a ROS 1 bag, the last frame of a zstd file, a sqlite3 file without journal whose length is what
its header says. It does not prove that the middle is sound; reading does that.

The times are the writer's claim, too. They are read from summary or index, never from messages.
"""

import os
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from bridge.bags.formats import FORMATS
from bridge.bags.frames import frames_end
from bridge.bags.mcap.records import (
    FOOTER_CONTENT_BYTES,
    HEAD,
    HEAD_BYTES,
    TRAILER_BYTES,
    Opcode,
    parse_footer,
)
from bridge.bags.mcap.records import MAGIC as MCAP_MAGIC
from bridge.bags.mcap.summary import read_summary
from bridge.bags.rosbag1.index import read_header, read_spans
from bridge.bags.rosbag1.records import HEADER_BYTES_MAX, fields_of
from bridge.bags.rosbag1.records import MAGIC as ROSBAG1_MAGIC
from bridge.bags.source import FileSource, Source
from bridge.errors import (
    BridgeError,
    RecordingError,
    RecordingVanishedError,
    UnreadableStorageError,
)
from bridge.files import open_regular
from bridge.model import Container, RecordingFile


class End(StrEnum):
    """How a file ends."""

    PROPER = "proper"
    MISSING = "missing"
    SIDECAR = "sidecar"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    GONE = "gone"


ROSBAG1_HEAD_BYTES = 4096
ROSBAG1_INDEX_POSITION = b"index_pos="
# What the first record says of how many records the index section has.
ROSBAG1_COUNTS = (b"conn_count=", b"chunk_count=")
# The index section of larger bags is not looked through.
ROSBAG1_RECORDS_MAX = 20_000

_SQLITE = next(form for form in FORMATS if form.container is Container.SQLITE3)
SQLITE_HEADER_BYTES = 100
SQLITE_PAGE_SIZE = struct.Struct(">16xH")
SQLITE_PAGE_COUNT = struct.Struct(">28xI")
ZEROS_BYTES_MAX = 64 << 20
ZEROS_READ_BYTES = 1 << 16

# In the page size field 1 means 65536, which does not fit.
SQLITE_PAGE_SIZE_OF_ONE = 65536


def end_of(file: RecordingFile) -> End:
    """Tell how a storage file ends.

    Cost: a few reads of some bytes; for zstd one per block of 128 KiB.
    """
    try:
        handle = open_regular(file.path)
    except RecordingVanishedError:
        return End.GONE
    except (RecordingError, UnreadableStorageError):
        return End.UNREADABLE
    try:
        return _end_of_open(handle, file)
    except OSError:
        return End.UNREADABLE
    finally:
        os.close(handle)


def _end_of_open(handle: int, file: RecordingFile) -> End:
    facts = os.fstat(handle)
    if facts.st_size == 0:
        return End.EMPTY
    if not file.compression and file.container is Container.SQLITE3 and _has_sidecar(file.path):
        return End.SIDECAR
    ends = _zstd_ends if file.compression else ENDINGS[file.container]
    return End.PROPER if ends(handle, facts.st_size) else End.MISSING


def _mcap_ends(handle: int, size_bytes: int) -> bool:
    size_bytes = _end_before_zeros(handle, size_bytes)
    tail_start = size_bytes - TRAILER_BYTES
    if tail_start < len(MCAP_MAGIC) or os.pread(handle, len(MCAP_MAGIC), 0) != MCAP_MAGIC:
        return False
    tail = os.pread(handle, TRAILER_BYTES, tail_start)
    # It may have become shorter just now.
    if len(tail) < TRAILER_BYTES or not tail.endswith(MCAP_MAGIC):
        return False
    if HEAD.unpack_from(tail) != (Opcode.FOOTER, FOOTER_CONTENT_BYTES):
        return False
    return parse_footer(tail[HEAD_BYTES:]).summary_start <= tail_start


def _rosbag1_ends(handle: int, size_bytes: int) -> bool:
    head = os.pread(handle, ROSBAG1_HEAD_BYTES, 0)
    at = head.find(ROSBAG1_INDEX_POSITION)
    if not head.startswith(ROSBAG1_MAGIC) or at < 0:
        return False
    field = head[at + len(ROSBAG1_INDEX_POSITION) :][:8]
    index_position = int.from_bytes(field, "little")
    # The recorder fills it in last; until then it is zero.
    if len(field) < 8 or not 0 < index_position <= size_bytes:  # noqa: PLR2004 - a uint64
        return False
    listed = sum(
        int.from_bytes(head[head.find(count) + len(count) :][:4], "little")
        for count in ROSBAG1_COUNTS
        if count in head
    )
    return not _is_cut_in_index(handle, index_position, size_bytes, listed=listed)


def _is_cut_in_index(handle: int, start: int, size_bytes: int, *, listed: int) -> bool:
    """Whether the index section of a bag ends before its last record, as in a copy under way.

    Where there is something else than a record the bag is wrong, and not cut.
    """
    at = start
    for number in range(ROSBAG1_RECORDS_MAX):
        if at >= size_bytes:
            return at > size_bytes or number < listed
        head = os.pread(handle, ROSBAG1_HEAD_BYTES, at)
        header_bytes = int.from_bytes(head[:4], "little")
        field_bytes = int.from_bytes(head[4:8], "little")
        if not (len(head) < 8 or 0 < field_bytes < header_bytes <= HEADER_BYTES_MAX):  # noqa: PLR2004
            return False
        data_at = at + 4 + header_bytes
        length = os.pread(handle, 4, data_at)
        if len(head) < 8 or len(length) < 4:  # noqa: PLR2004 - two lengths, one
            return True
        if fields_of(os.pread(handle, header_bytes, at + 4)) is None:
            return False
        at = data_at + 4 + int.from_bytes(length, "little")
    return False


def _sqlite_ends(handle: int, size_bytes: int) -> bool:
    header = os.pread(handle, SQLITE_HEADER_BYTES, 0)
    if len(header) < SQLITE_HEADER_BYTES or not header.startswith(_SQLITE.magic):
        return False
    (page_bytes,) = SQLITE_PAGE_SIZE.unpack_from(header)
    (pages,) = SQLITE_PAGE_COUNT.unpack_from(header)
    expected: int = pages * (SQLITE_PAGE_SIZE_OF_ONE if page_bytes == 1 else page_bytes)
    return size_bytes == expected or (
        size_bytes > expected and _end_before_zeros(handle, size_bytes) <= expected
    )


def _end_before_zeros(handle: int, size_bytes: int) -> int:
    """Find where a file ends but for zeros: room that its file system made in advance.

    Files that end with more of them than anybody reads at each look are taken as they are.
    """
    end = size_bytes
    while end > 0 and size_bytes - end < ZEROS_BYTES_MAX:
        start = max(0, end - ZEROS_READ_BYTES)
        rest = os.pread(handle, end - start, start).rstrip(b"\0")
        if rest:
            return start + len(rest)
        end = start
    return size_bytes


def _has_sidecar(path: Path) -> bool:
    for suffix in _SQLITE.logs:
        try:
            if path.with_name(path.name + suffix).lstat().st_size > 0:
                return True
        except FileNotFoundError:
            continue
    return False


def _zstd_ends(handle: int, size_bytes: int) -> bool:
    return frames_end(lambda at, size: os.pread(handle, size, at), size_bytes) == size_bytes


ENDINGS: dict[Container, Callable[[int, int], bool]] = {
    Container.MCAP: _mcap_ends,
    Container.SQLITE3: _sqlite_ends,
    Container.ROSBAG1: _rosbag1_ends,
}


Span = tuple[int, int]
"""First and last record time of a file, in ns."""

SPAN_STEPS_MAX = 100_000
"""So many steps a `.db3` gets to find its times; one with the recorder's index needs a hundred."""


def spans_of(files: Sequence[RecordingFile]) -> list[Span | None]:
    """Give the times of files, as far as they say; None for those that are not closed yet.

    Cost: a summary or an index section for each.
    """
    return [_span_of(file) for file in files]


def _span_of(file: RecordingFile) -> Span | None:
    if file.compression or end_of(file) is not End.PROPER:
        return None
    try:
        with closing(FileSource(file.path)) as source:
            return SPANS[file.container](source)
    except (BridgeError, OSError, sqlite3.Error):
        return None


def span_in(container: Container, source: Source) -> Span | None:
    """Give the times of a whole file that is not on this machine; None where it does not say.

    Those of sqlite3 are found by SQLite alone, which opens files of this machine.

    Raises:
        BridgeError: It cannot be read.
    """
    if container is Container.MCAP:
        return _mcap_span(source)
    return _rosbag1_span(source) if container is Container.ROSBAG1 else None


def _mcap_span(source: Source) -> Span | None:
    summary = read_summary(source, source.size_bytes)
    if summary is None or summary.statistics is None or not summary.statistics.message_count:
        return None
    return summary.statistics.start_ns, summary.statistics.end_ns


def _rosbag1_span(source: Source) -> Span | None:
    header = read_header(source, len(ROSBAG1_MAGIC))
    spans = [] if header is None else read_spans(source, header)
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


def _sqlite_span(source: FileSource) -> Span | None:
    # Nobody writes it: it has no journal. A new open file, so that SQLite's locks are its own.
    place = f"file:/proc/self/fd/{source.descriptor}?mode=ro&immutable=1"
    with closing(sqlite3.connect(place, uri=True)) as database:
        database.execute("PRAGMA trusted_schema = OFF")
        # Without an index all rows would be looked at.
        database.set_progress_handler(lambda: 1, SPAN_STEPS_MAX)
        found = database.execute(
            "SELECT (SELECT min(timestamp) FROM messages), (SELECT max(timestamp) FROM messages)"
        ).fetchone()
    start_ns, end_ns = found
    return (start_ns, end_ns) if isinstance(start_ns, int) and isinstance(end_ns, int) else None


SPANS: dict[Container, Callable[[FileSource], Span | None]] = {
    Container.MCAP: _mcap_span,
    Container.SQLITE3: _sqlite_span,
    Container.ROSBAG1: _rosbag1_span,
}
