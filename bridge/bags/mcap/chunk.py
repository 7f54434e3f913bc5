"""One MCAP chunk from the file to its decompressed records, with every claim checked first.

A chunk says how large it becomes. Nothing is allocated before that claim was held against the
limits and against what its compression can reach at all; nothing is believed before the bytes came
out to exactly that size and, where there is one, to the checksum.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.mcap.channels import ChannelTable
from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    EXPANSION_MAX,
    HEAD_BYTES,
    INDEX_ENTRY,
    ChunkHead,
    Opcode,
    parse_channel,
    parse_chunk_head,
    parse_head,
    parse_schema,
)
from bridge.bags.mcap.scan import ChunkAt, LostAt, RunAt, scan
from bridge.bags.mcap.slicing import Bytes, Slices, slice_by_index, slice_by_walk
from bridge.bags.source import BytesSource, Source
from bridge.errors import DamagedRecordingError, RecordingLimitError

EXPANSION_SLACK_BYTES = 1024


def check_claims(head: ChunkHead, *, limits: ReadLimits) -> None:
    """Refuse a chunk whose claims are beyond the limits or beyond its compression.

    Raises:
        RecordingLimitError: It claims more than the limits allow.
        DamagedRecordingError: Its compression is unknown or cannot give what it claims.
    """
    if head.compression not in EXPANSION_MAX:
        raise DamagedRecordingError(f"the compression {head.compression!r} is unknown")
    # Plain records are as long as they are, whatever else the chunk claims.
    claimed = head.uncompressed_bytes if head.compression else head.records_bytes
    if max(claimed, head.records_bytes) > limits.chunk_bytes_max:
        raise RecordingLimitError(
            f"the chunk claims {claimed} bytes, the limit is {limits.chunk_bytes_max} "
            "(reading.chunk_bytes_max)"
        )
    if not head.compression:
        return
    reachable = head.records_bytes * EXPANSION_MAX[head.compression] + EXPANSION_SLACK_BYTES
    if head.uncompressed_bytes > reachable:
        raise DamagedRecordingError(
            f"{head.records_bytes} bytes of {head.compression} cannot become "
            f"the {head.uncompressed_bytes} that the chunk claims"
        )


def expand(head: ChunkHead, records: memoryview) -> NDArray[np.uint8]:
    """Decompress a chunk's records and check them.

    Cost: plain records are a view; others one allocation of exactly the claimed size. The codecs
    and the checksum release the interpreter lock.

    Args:
        head: Claims that `check_claims` has let pass.
        records: The bytes as they are in the file.

    Raises:
        DamagedRecordingError: They do not decompress to what the chunk claims, or their checksum
            is wrong.
    """
    data = _decompress(head, records)
    if head.compression and len(data) != head.uncompressed_bytes:
        raise DamagedRecordingError(
            f"the chunk claims {head.uncompressed_bytes} bytes and has another size"
        )
    if head.crc and crc32(data.data) != head.crc:
        raise DamagedRecordingError("the chunk's checksum is wrong")
    return data


def _decompress(head: ChunkHead, records: memoryview) -> NDArray[np.uint8]:
    if not head.compression:
        return np.frombuffer(records, dtype=np.uint8)
    try:
        if head.compression == "zstd":
            # Fails unless exactly this many bytes come out.
            expanded = pa.decompress(
                pa.py_buffer(records), decompressed_size=head.uncompressed_bytes, codec="zstd"
            )
            data: NDArray[np.uint8] = np.frombuffer(expanded, dtype=np.uint8)
            data.flags.writeable = False
            return data
        return expand_prefix(head, records, strict=True)
    except (OSError, pa.ArrowException) as error:
        raise DamagedRecordingError(f"the chunk cannot be decompressed: {error}") from error


def expand_prefix(
    head: ChunkHead, records: memoryview, *, strict: bool = False
) -> NDArray[np.uint8]:
    """Decompress as far as possible, at most one byte past the claimed size.

    The one-shot LZ4 call does not tell when fewer bytes come out than asked for; a stream does.
    And only a stream gives what can be had of a chunk that breaks off.

    Args:
        head: Claims that `check_claims` has let pass.
        records: The bytes as they are in the file, perhaps cut.
        strict: Let the codec's complaint through instead of returning what came before it.
    """
    if not head.compression:
        return np.frombuffer(records, dtype=np.uint8)
    data = np.empty(head.uncompressed_bytes + 1, dtype=np.uint8)
    view = data.data
    reached = 0
    piece = len(data) if strict else 1 << 16
    with pa.CompressedInputStream(
        pa.BufferReader(pa.py_buffer(records)), head.compression
    ) as stream:
        while reached < len(data):
            try:
                got = stream.readinto(view[reached : reached + piece])
            except (OSError, pa.ArrowException):
                if strict:
                    raise
                break
            if not got:
                break
            reached += got
    data = data[:reached]
    data.flags.writeable = False
    return data


def index_offsets(data: memoryview, start: int) -> NDArray[np.int64] | None:
    """Collect where the message index records behind a chunk say that messages start.

    Args:
        data: The chunk record and the message index records behind it.
        start: Where the first of these records starts.

    Returns:
        int64, shape (n,), in the order of the records; None where there is none, or one is torn.
    """
    found = []
    position = start
    while position + HEAD_BYTES <= len(data):
        opcode, length = parse_head(data, position)
        position += HEAD_BYTES
        # Channel id (2), bytes of the array (4), then the entries.
        entries_bytes = length - 6
        if (
            opcode != Opcode.MESSAGE_INDEX
            or position + length > len(data)
            or int.from_bytes(data[position + 2 : position + 6], "little") != entries_bytes
            or entries_bytes % INDEX_ENTRY.itemsize
        ):
            return None
        count = entries_bytes // INDEX_ENTRY.itemsize
        entries = np.frombuffer(data, dtype=INDEX_ENTRY, count=count, offset=position + 6)
        found.append(entries["offset"].astype(np.int64))
        position += length
    return np.concatenate(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A segment in memory.

    A piece that is whole is cut by arrays. One that is not is searched like a damaged file, and the
    bytes between the records that were found are reported as lost.

    Attributes:
        data: uint8, shape (m,): the bytes its records lie in; None where nothing could be read.
        slices: Where its records are; None with `data`.
        losses: The lost parts, as positions in the file.
        verified: Whether a checksum covers `data`, or could have shown the loss.
    """

    data: Bytes | None
    slices: Slices | None
    losses: tuple[LostAt, ...] = ()
    verified: bool = False


def load_run(source: Source, run: RunAt) -> Piece:
    """Load messages outside of chunks."""
    data: Bytes = np.frombuffer(source.read_at(run.start, run.end - run.start), dtype=np.uint8)
    return Piece(data=data, slices=slice_by_walk(data, 0, len(data)))


def load_chunk(
    source: Source, chunk: ChunkAt, *, known: NDArray[np.bool_], limits: ReadLimits
) -> Piece:
    """Load a chunk and find its records."""
    try:
        head = parse_chunk_head(source.read_at(chunk.start, CHUNK_HEAD_BYTES_MAX))
        # Before anything of the size it claims is allocated.
        check_claims(head, limits=limits)
        raw = memoryview(source.read_at(chunk.start, chunk.index_end - chunk.start))
        return _piece_of(source, chunk, head, raw, known=known)
    except (DamagedRecordingError, RecordingLimitError) as error:
        lost = LostAt(start=chunk.start, end=chunk.index_end, reason=error.message)
        return Piece(data=None, slices=None, losses=(lost,), verified=True)


def _piece_of(
    source: Source,
    chunk: ChunkAt,
    head: ChunkHead,
    raw: memoryview,
    *,
    known: NDArray[np.bool_],
) -> Piece:
    """Find the records of a chunk, by its message index where that holds.

    Args:
        source: The file.
        chunk: Where the chunk is in it.
        head: Claims that `check_claims` has let pass.
        raw: All of the chunk and of the message indexes behind it.
        known: Which channel ids were declared so far.

    Raises:
        DamagedRecordingError: It does not decompress to what it claims, or its checksum is wrong.
    """
    records = raw[head.records_start :][: head.records_bytes]
    data = expand_prefix(head, records) if chunk.torn else expand(head, records)
    verified = bool(head.crc) and not chunk.torn
    offsets = None if chunk.torn else index_offsets(raw, chunk.end - chunk.start)
    slices = slice_by_index(data, offsets) if offsets is not None else None
    if slices is None:
        slices = slice_by_walk(data, 0, len(data))
    if slices.end == len(data) and not chunk.torn:
        return Piece(data=data, slices=slices, verified=verified)
    slices, lost_inside = _salvage(source, data, known=known)
    losses = tuple(_in_file(chunk, head, lost) for lost in lost_inside)
    if chunk.torn:
        losses += (_torn_off(chunk, head, len(data)),)
    return Piece(data=data, slices=slices, losses=losses, verified=verified)


def scan_declarations(
    source: Source, segment: ChunkAt | RunAt, table: ChannelTable, *, limits: ReadLimits
) -> None:
    """Take note of the channels that a segment declares.

    A chunk is decompressed only where its message indexes do not show that every channel in it is
    known already.
    """
    if isinstance(segment, RunAt):
        piece = load_run(source, segment)
    else:
        if _all_known(source, segment, table):
            return
        piece = load_chunk(source, segment, known=table.current >= 0, limits=limits)
    if piece.data is None or piece.slices is None:
        return
    view = piece.data.data
    for offset in piece.slices.others:
        opcode, length = parse_head(view, offset)
        content = view[offset + HEAD_BYTES : offset + HEAD_BYTES + length]
        try:
            if opcode == Opcode.SCHEMA:
                table.declare_schema(parse_schema(content))
            elif opcode == Opcode.CHANNEL:
                table.declare_channel(parse_channel(content))
        except DamagedRecordingError:
            continue


def _salvage(
    source: Source, data: Bytes, *, known: NDArray[np.bool_]
) -> tuple[Slices, list[LostAt]]:
    """Find what records there are in the bytes of a damaged chunk."""
    messages: list[NDArray[np.int64]] = []
    others: list[int] = []
    losses: list[LostAt] = []
    inside = BytesSource(source.path, data.data)
    for segment in scan(inside, 0, len(data), known=lambda: known):
        if isinstance(segment, RunAt):
            found = slice_by_walk(data, segment.start, segment.end)
            messages.append(found.messages)
            others.extend(found.others)
        else:
            # A chunk within a chunk, or an attachment: nothing that a writer puts here.
            reason = segment.reason if isinstance(segment, LostAt) else "a record out of place"
            losses.append(LostAt(start=segment.start, end=segment.end, reason=reason))
    starts = np.concatenate(messages) if messages else np.empty(0, dtype=np.int64)
    return Slices(messages=starts, others=tuple(others), end=len(data)), losses


def _in_file(chunk: ChunkAt, head: ChunkHead, lost: LostAt) -> LostAt:
    """Say where in the file a loss within a chunk is; compressed, it is somewhere in the chunk."""
    if head.compression:
        reason = f"{lost.end - lost.start} bytes of a compressed chunk: {lost.reason}"
        return LostAt(start=chunk.start, end=chunk.end, reason=reason)
    base = chunk.start + head.records_start
    return LostAt(start=base + lost.start, end=base + lost.end, reason=lost.reason)


def _torn_off(chunk: ChunkAt, head: ChunkHead, recovered_bytes: int) -> LostAt:
    start = chunk.start if head.compression else chunk.start + head.records_start + recovered_bytes
    reason = f"the file ends inside a chunk; {recovered_bytes} of {head.uncompressed_bytes} bytes"
    return LostAt(start=start, end=chunk.end, reason=reason)


def _all_known(source: Source, chunk: ChunkAt, table: ChannelTable) -> bool:
    """Tell from a chunk's message indexes whether all of its channels were declared before."""
    raw = source.read_at(chunk.end, chunk.index_end - chunk.end)
    position = 0
    ids: set[int] = set()
    while position + HEAD_BYTES < len(raw):
        opcode, length = parse_head(raw, position)
        if opcode != Opcode.MESSAGE_INDEX:
            return False
        ids.add(int.from_bytes(raw[position + HEAD_BYTES : position + HEAD_BYTES + 2], "little"))
        position += HEAD_BYTES + length
    return bool(ids) and all(table.current[channel_id] >= 0 for channel_id in ids)
