"""Loading chunks of MCAP: plain neighbours in one read, and a few ahead of what is being cut.

Uncompressed chunks that are side by side go into one buffer in one read, and the records of all are
found at once: one search through some megabytes costs less than many small ones. Messages of one
topic that share a buffer also become one batch without another copy. So where few topics share the
chunks a stretch is as long as a batch. Where many do, it is shorter: each topic has only a little
in it, and the whole of it is kept until the last has been copied.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.mcap.chunk import Piece, check_stored_size, expand, holds_chunks, load_chunk
from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    EXPANSION_MAX,
    HEAD_BYTES,
    ChunkIndex,
    parse_chunk_head,
    parse_head,
)
from bridge.bags.mcap.scan import ChunkAt, Segment
from bridge.bags.mcap.slicing import Bytes, index_offsets, joined_index_offsets, slice_by_index
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError, RecordingLimitError

FEW_CHANNELS_MAX = 4
"""Where more channels share a chunk, none of them fills most of a batch with its neighbours."""

STRETCH_BYTES_MAX = 8 << 20
"""How long a stretch of few channels becomes, unless a single chunk is longer: about a batch."""

MIXED_STRETCH_BYTES_MAX = 4 << 20
"""The same for a stretch of many channels."""

INDEX_BYTES_MAX = 64 << 20
"""The message indexes of a chunk of four million messages; of more, a scan finds what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StretchAt:
    """One chunk of any kind, or several plain ones, each behind the indexes of the last."""

    chunks: tuple[ChunkAt, ...]

    @property
    def start(self) -> int:
        """First byte of the first chunk record."""
        return self.chunks[0].start

    @property
    def end(self) -> int:
        """One past the last byte of the last chunk's message indexes."""
        return self.chunks[-1].index_end


def chunk_at(source: Source, index: ChunkIndex, *, end: int) -> ChunkAt | None:
    """Look whether a chunk starts where its index says; None where not.

    The chunk's own length counts. Where the chunk does not make sense by itself, but does with the
    length that the index gives, its head is damaged and the index is not.

    Args:
        source: The file.
        index: Where the chunk should be.
        end: Where the next listed chunk starts, or the data section ends.
    """
    raw = source.read_at(index.start, CHUNK_HEAD_BYTES_MAX)
    indexed_end = index.start + index.length
    try:
        head = parse_chunk_head(raw)
        own_end = index.start + head.records_start + head.records_bytes + head.spare_bytes
    except DamagedRecordingError:
        own_end = 0
    if own_end != indexed_end and 0 < own_end <= end:
        # A scan finds what follows the chunk.
        return ChunkAt(start=index.start, end=own_end, index_end=own_end)
    if own_end != indexed_end:
        try:
            head = parse_chunk_head(raw, record_bytes=index.length)
        except DamagedRecordingError:
            return None
    # One of the chunk's own two lengths must agree with the index.
    lengths = (
        HEAD_BYTES + parse_head(raw)[1],
        head.records_start
        + int.from_bytes(raw[head.records_start - 8 : head.records_start], "little"),
    )
    if head.compression not in EXPANSION_MAX or index.length not in lengths:
        return None
    joinable = (
        source.seekable
        and own_end == indexed_end
        and not head.compression
        and not head.spare_bytes
        and index.channels > 0
    )
    return ChunkAt(
        start=index.start,
        end=indexed_end,
        index_end=indexed_end + index.index_bytes,
        repaired=own_end != indexed_end,
        joined_bytes_max=_joined_bytes_max(index) if joinable else 0,
    )


def _joined_bytes_max(index: ChunkIndex) -> int:
    few = index.channels <= FEW_CHANNELS_MAX
    return STRETCH_BYTES_MAX if few else MIXED_STRETCH_BYTES_MAX


def with_own_indexes(source: Source, chunk: ChunkAt, *, end: int) -> ChunkAt:
    """Let a chunk end with its last message index, where its entry claims more behind it.

    Args:
        source: The file.
        chunk: As its entry says.
        end: Where the next listed chunk starts, or the data section ends.
    """
    claimed_bytes = min(chunk.index_end, end) - chunk.end
    if not 0 < claimed_bytes <= INDEX_BYTES_MAX:
        return replace(chunk, index_end=chunk.end)
    raw = source.read_at(chunk.end, claimed_bytes)
    return replace(chunk, index_end=chunk.end + index_offsets(memoryview(raw), 0)[1])


def stretches(segments: Iterable[Segment]) -> Iterator[Segment | StretchAt]:
    """Put the chunks among segments into stretches; all else stays where it is."""
    together: list[ChunkAt] = []
    for segment in segments:
        if together and not _continues(together, segment):
            yield StretchAt(chunks=tuple(together))
            together = []
        if isinstance(segment, ChunkAt):
            together.append(segment)
        else:
            yield segment
    if together:
        yield StretchAt(chunks=tuple(together))


def load_stretch(
    source: Source, stretch: StretchAt, *, known: NDArray[np.bool_], limits: ReadLimits
) -> tuple[Piece, ...]:
    """Load all chunks of a stretch: as one piece where all are intact, else each by itself."""
    if len(stretch.chunks) > 1 and (piece := _load_at_once(source, stretch, limits=limits)):
        return (piece,)
    return tuple(load_chunk(source, chunk, known=known, limits=limits) for chunk in stretch.chunks)


def _load_at_once(source: Source, stretch: StretchAt, *, limits: ReadLimits) -> Piece | None:
    """Find the records of all chunks together; None where one of them needs a closer look."""
    bounds: list[tuple[int, int]] = []
    verified: set[bool] = set()
    try:
        data: Bytes = np.frombuffer(
            source.read_at(stretch.start, stretch.end - stretch.start), dtype=np.uint8
        )
        for chunk in stretch.chunks:
            start = chunk.start - stretch.start
            raw = data.data[start : chunk.index_end - stretch.start]
            head = parse_chunk_head(raw)
            check_stored_size(head, limits=limits)
            if head.compression or chunk.index_end == chunk.end:
                return None
            # Plain records are where they are; this holds them against their checksum.
            content = raw[head.records_start : chunk.end - chunk.start]
            if expand(head, content, limits=limits).doubt:
                return None
            base = start + head.records_start
            bounds.append((base, base + head.records_bytes))
            verified.add(bool(head.crc))
    except (DamagedRecordingError, RecordingLimitError):
        # Loading the chunks one by one shows what is lost, and where.
        return None
    areas = np.array([(chunk.end, chunk.index_end) for chunk in stretch.chunks]) - stretch.start
    found = joined_index_offsets(data.data, areas)
    if found is None or len(verified) > 1:
        return None
    offsets, chunks = found
    records = np.array(bounds)
    slices = slice_by_index(data, offsets + records[chunks, 0], records)
    if slices is None or holds_chunks(data, slices):
        return None
    return Piece(data=data, slices=slices, verified=verified.pop())


def _continues(together: list[ChunkAt], segment: Segment) -> bool:
    """Tell whether a segment can be read together with the chunks before it."""
    if not isinstance(segment, ChunkAt) or segment.start != together[-1].index_end:
        return False
    bytes_max = min(segment.joined_bytes_max, together[0].joined_bytes_max)
    return segment.index_end - together[0].start <= bytes_max


LOADERS = 2
"""Threads that load; the codecs and checksums release the interpreter lock."""

AHEAD = 3
"""How many segments may wait behind the one that is asked for."""

JOINED_AHEAD = 1
"""How many may wait if they are several chunks each."""

AHEAD_BYTES_MAX = 4 << 20
"""A segment of more bytes than this, compressed or not, is not loaded ahead: a stretch of few
channels took a tenth more processor time that way."""

Pieces = tuple[Piece, ...]


def loaders() -> ThreadPoolExecutor:
    """Make the threads that load ahead; the caller shuts them down."""
    return ThreadPoolExecutor(LOADERS, thread_name_prefix="load-chunks")


def load_ahead(
    segments: Iterable[Segment | StretchAt],
    load: Callable[[StretchAt], Pieces],
    threads: ThreadPoolExecutor,
) -> Generator[tuple[Segment | StretchAt, Pieces], None, None]:
    """Yield the segments in order, stretches of chunks with their content.

    Threads load a few stretches ahead, so that codecs and checksums run beside the cutting. Order
    stays that of the file. Big chunks, and stretches of many, are loaded one at a time, so that no
    more of a file is in memory than some megabytes beyond what is being cut.

    It waits for no thread when it is given up half way: the garbage collector does that in any
    thread at any moment, even in one that holds what the end of a thread needs.

    Args:
        segments: In file order.
        load: Loads a stretch; called by several threads at once.
        threads: What calls it.
    """
    waiting: deque[tuple[Segment | StretchAt, Future[Pieces] | None]] = deque()
    depth = 0
    for segment in segments:
        joined = isinstance(segment, StretchAt) and len(segment.chunks) > 1
        most = JOINED_AHEAD if joined else AHEAD
        room = min(depth, most) if segment.end - segment.start <= AHEAD_BYTES_MAX else 0
        while len(waiting) > room:
            first, loading = waiting.popleft()
            pieces = () if loading is None else loading.result()
            depth = _depth_after(pieces) if pieces else depth
            yield first, pieces
        if not isinstance(segment, StretchAt):
            waiting.append((segment, None))
        elif room:
            waiting.append((segment, threads.submit(load, segment)))
        else:
            # Another thread would only be waited for.
            pieces = load(segment)
            depth = _depth_after(pieces)
            yield segment, pieces
    for first, loading in waiting:
        yield first, () if loading is None else loading.result()


def _depth_after(pieces: Pieces) -> int:
    """Tell how many more may wait, by how much memory a stretch takes; a shared buffer counts once.

    How much chunks hold is known when the first is loaded; those of a file are much alike.
    """
    sizes = {id(piece.data): len(piece.data) for piece in pieces if piece.data is not None}
    return AHEAD if sum(sizes.values()) <= AHEAD_BYTES_MAX else 0
