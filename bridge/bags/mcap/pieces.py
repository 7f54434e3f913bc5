"""Loading one segment of an MCAP file: its bytes, decompressed, and where its records are.

A piece that is whole is cut by arrays. A piece that is not is searched like a damaged file, and
what stands between the records that were found is reported as lost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.mcap.channels import ChannelTable
from bridge.bags.mcap.chunk import check_claims, expand, expand_prefix, index_offsets
from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    HEAD_BYTES,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A segment in memory.

    Attributes:
        data: uint8, shape (m,): the bytes its records lie in; None where nothing could be read.
        slices: Where its records are; None with `data`.
        losses: What of it is lost, as positions in the file.
        verified: Whether a checksum stands behind `data`, or could have told what was lost.
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
