"""One MCAP chunk from the file to its records, however wrong its claims are.

A chunk says how large it becomes. Nothing is allocated before that claim was held against the
limits and against what its compression can reach at all; and where it is wrong, the codec decides.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from bridge.bags.container import WRONG_CODEC, ReadLimits
from bridge.bags.frames import HEADER_BYTES_MAX, codec_of, content_size, decode_frames
from bridge.bags.mcap.channels import ChannelTable
from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    EXPANSION_MAX,
    HEAD_BYTES,
    ChunkHead,
    Opcode,
    parse_channel,
    parse_chunk_head,
    parse_head,
    parse_schema,
)
from bridge.bags.mcap.scan import ChunkAt, LostAt, RunAt, scan
from bridge.bags.mcap.slicing import Bytes, Slices, index_offsets, slice_by_index, slice_by_walk
from bridge.bags.source import BytesSource, Source
from bridge.errors import DamagedRecordingError, RecordingLimitError

EXPANSION_SLACK_BYTES = 1024

HEAD_SLACK_BYTES = 16
"""How far behind a damaged head compressed records are looked for."""

BROKEN = "the chunk cannot be decompressed"
TORN = "the file ends inside a chunk"


CHECKSUM_WRONG = "the chunk's checksum is wrong"
DOUBTFUL = f"{CHECKSUM_WRONG}: what could be read of it is kept, and something of it is altered"

SPARE = "chunks with bytes behind their records"
WRONG_SIZE = "chunks whose uncompressed size is not what they say"
WRONG_LENGTH = "chunks whose records are longer or shorter than they say"
WITHIN = "chunks within a chunk, which the format forbids, read like any other"
REPAIRED = "chunks whose opcode or length is wrong, placed by other evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """The records of a chunk.

    Attributes:
        data: uint8, shape (m,): decompressed; read-only.
        plain: Whether they are not compressed.
        broken: Why they break off; empty where they do not.
        doubt: Why they are not proven, although there is a checksum; empty where they are.
        contradictions: The claims of the chunk that turned out to be wrong.
    """

    data: Bytes
    plain: bool
    broken: str = ""
    doubt: str = ""
    contradictions: tuple[str, ...] = ()


def check_stored_size(head: ChunkHead, *, limits: ReadLimits) -> None:
    """Refuse a chunk that is beyond the limits as it is in the file, before it is loaded.

    Raises:
        RecordingLimitError: It is.
    """
    stored_bytes = head.records_bytes + head.spare_bytes
    if stored_bytes > limits.chunk_bytes_max:
        raise _over_limit(stored_bytes, limits)


def expand(
    head: ChunkHead, content: memoryview, *, limits: ReadLimits, torn: bool = False
) -> Expanded:
    """Decompress a chunk's records and hold them against their checksum.

    The codec knows how much there is; the chunk's own sizes only make it faster. Nothing beyond the
    limits is allocated, whatever is claimed.

    Cost: plain records are a view; others one allocation of exactly the claimed size where it is
    right. The codecs and the checksum release the interpreter lock.

    Args:
        head: Its stored size was checked.
        content: The record behind its head: the records as they are in the file, perhaps cut, and
            whatever follows them.
        limits: What they may become, and whether they are kept when they are doubtful: when their
            checksum is wrong, or they break off within the file, so that it proves nothing.
        torn: Whether the file ends inside of the chunk; what comes before that is not doubtful.

    Raises:
        RecordingLimitError: They become more than the limits allow.
        DamagedRecordingError: Their compression is unknown, or they are doubtful and not to be
            kept.
    """
    contradictions = [SPARE] if head.spare_bytes else []
    codec, start = _codec_and_start(head, content)
    content = content[start:]
    if codec not in EXPANSION_MAX:
        raise DamagedRecordingError(f"the compression {codec!r} is unknown")
    if codec != head.compression:
        contradictions.append(WRONG_CODEC)
    broken = ""
    if not codec:
        size_bytes = _plain_bytes(head, content)
        if size_bytes != head.records_bytes:
            contradictions = [WRONG_LENGTH]
        data: Bytes = np.frombuffer(content[:size_bytes], dtype=np.uint8)
    else:
        at_once = _expand_at_once(head, content[: head.records_bytes], codec, limits=limits)
        if at_once is None:
            frames = decode_frames(content, codec, bytes_max=limits.chunk_bytes_max)
            if len(frames.data) == limits.chunk_bytes_max and frames.reason:
                raise _over_limit(len(frames.data) + 1, limits)
            data, broken = np.frombuffer(bytes(frames.data), dtype=np.uint8), frames.reason
            if not broken and frames.used_bytes != head.records_bytes:
                contradictions.append(WRONG_LENGTH)
        else:
            data = at_once
        if not broken and len(data) != head.uncompressed_bytes:
            contradictions.append(WRONG_SIZE)
    altered = not (broken or torn) and head.crc and crc32(data.data) != head.crc
    if not limits.keep_doubtful_chunks and (altered or (broken and not torn)):
        raise DamagedRecordingError(f"{BROKEN}: {broken}" if broken else CHECKSUM_WRONG)
    return Expanded(
        data=data,
        plain=not codec,
        broken=broken,
        doubt=CHECKSUM_WRONG if altered else "",
        contradictions=tuple(contradictions),
    )


def _plain_bytes(head: ChunkHead, content: memoryview) -> int:
    """Measure plain records: as the chunk says, unless its checksum says otherwise."""
    if head.crc and head.spare_bytes:
        for size_bytes in (head.records_bytes, head.uncompressed_bytes, len(content)):
            if size_bytes <= len(content) and crc32(content[:size_bytes]) == head.crc:
                return size_bytes
    return head.records_bytes


def _codec_and_start(head: ChunkHead, content: memoryview) -> tuple[str, int]:
    """Find what the records are compressed with, and where they start behind the head."""
    codec = codec_of(content[:4]) or head.compression
    if codec and not (codec == "lz4" and not head.compression):
        return codec, 0
    # The magic of LZ4 is also how a very long channel record starts, so plain records are believed
    # to be plain; unless their lengths do not fit, since then the head may be damaged.
    if is_dubious(head):
        for start in range(min(HEAD_SLACK_BYTES, len(content))):
            if found := codec_of(content[start : start + 4]):
                return found, start
    return "", 0


def is_dubious(head: ChunkHead) -> bool:
    """Tell whether something behind plain records may belong to them."""
    return head.spare_bytes > 0 and (
        not head.records_bytes or head.records_bytes != head.uncompressed_bytes
    )


def _goes_on(head: ChunkHead, slices: Slices, size_bytes: int) -> bool:
    """Tell whether plain records seem to go on behind the length that their chunk says."""
    return is_dubious(head) or (slices.end < size_bytes and head.spare_bytes > 0)


def _over_limit(size_bytes: int, limits: ReadLimits) -> RecordingLimitError:
    return RecordingLimitError(
        f"the chunk claims {size_bytes} bytes, the limit is {limits.chunk_bytes_max} "
        "(reading.chunk_bytes_max)"
    )


def _expand_at_once(
    head: ChunkHead, records: memoryview, codec: str, *, limits: ReadLimits
) -> Bytes | None:
    """Decompress with a size that is known beforehand; None where none is, or it is wrong.

    Raises:
        RecordingLimitError: The codec's own frame becomes more than the limits allow.
    """
    size_bytes = head.uncompressed_bytes
    if codec == "zstd":
        told_bytes = content_size(bytes(records[:HEADER_BYTES_MAX]))
        size_bytes = size_bytes if told_bytes is None else told_bytes
        if told_bytes is not None and told_bytes > limits.chunk_bytes_max:
            raise _over_limit(told_bytes, limits)
    reachable = len(records) * EXPANSION_MAX[codec] + EXPANSION_SLACK_BYTES
    if size_bytes > min(reachable, limits.chunk_bytes_max):
        return None
    try:
        if codec == "zstd":
            # Fails unless exactly this many bytes come out.
            expanded = pa.decompress(
                pa.py_buffer(records), decompressed_size=size_bytes, codec="zstd"
            )
            data: Bytes = np.frombuffer(expanded, dtype=np.uint8)
        else:
            # The one-shot LZ4 call does not say when fewer bytes come out than asked for.
            data = _streamed(records, size_bytes)
    except (OSError, pa.ArrowException):
        return None
    data.flags.writeable = False
    return data if len(data) == size_bytes else None


def _streamed(records: memoryview, size_bytes: int) -> Bytes:
    """Decompress an LZ4 stream into a buffer that has room for one byte more than it should take.

    Raises:
        OSError: The stream is damaged, or something else follows it.
        pyarrow.ArrowException: Likewise.
    """
    data = np.empty(size_bytes + 1, dtype=np.uint8)
    reached = 0
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(records)), "lz4") as stream:
        while reached < len(data) and (got := stream.readinto(data.data[reached:])):
            reached += got
    return data[:reached]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A segment in memory.

    A piece that is whole is cut by arrays. One that is not is searched like a damaged file, and the
    bytes between the records that were found are reported as lost.

    Attributes:
        data: uint8, shape (m,): the bytes its records lie in; None where nothing could be read.
        slices: Where its records are; None with `data`.
        losses: The lost parts, as positions in the file.
        verified: Whether a checksum covers `data` and is right.
        checked: Whether a checksum or a codec has shown, or could have shown, the losses.
        contradictions: The claims that turned out to be wrong.
        unread: Bytes of the file that were said to be message indexes of the piece and are not.
        compressed: Whether its records were compressed in the file.
    """

    data: Bytes | None
    slices: Slices | None
    losses: tuple[LostAt, ...] = ()
    verified: bool = False
    checked: bool = False
    contradictions: tuple[str, ...] = ()
    unread: tuple[int, int] | None = None
    compressed: bool = False


def load_run(source: Source, run: RunAt) -> Piece:
    """Load messages outside of chunks."""
    data: Bytes = np.frombuffer(source.read_at(run.start, run.end - run.start), dtype=np.uint8)
    return Piece(data=data, slices=slice_by_walk(data, 0, len(data)))


def load_chunk(
    source: Source, chunk: ChunkAt, *, known: NDArray[np.bool_], limits: ReadLimits
) -> Piece:
    """Load a chunk and find its records.

    Args:
        source: The file.
        chunk: Where the chunk is in it.
        known: Which channel ids were declared so far.
        limits: What it may become, and whether it is kept when its checksum is wrong.
    """
    record_bytes = chunk.end - chunk.start
    try:
        head = parse_chunk_head(
            source.read_at(chunk.start, CHUNK_HEAD_BYTES_MAX),
            record_bytes=record_bytes,
        )
        # Before anything of that size is allocated.
        check_stored_size(head, limits=limits)
        raw = memoryview(source.read_at(chunk.start, chunk.index_end - chunk.start))
        content = raw[head.records_start : record_bytes]
        expanded = expand(head, content, limits=limits, torn=chunk.torn)
    except (DamagedRecordingError, RecordingLimitError) as error:
        lost = LostAt(start=chunk.start, end=chunk.index_end, reason=error.message)
        return Piece(data=None, slices=None, losses=(lost,), checked=True)
    offsets, index_end = index_offsets(raw, record_bytes)
    piece = _piece_of(source, chunk, head, content, expanded, offsets, known=known)
    piece = _unpacked(chunk, piece, limits=limits)
    contradictions = (*piece.contradictions, *([REPAIRED] if chunk.repaired else []))
    unread = (chunk.start + index_end, chunk.index_end) if index_end < len(raw) else None
    return replace(piece, contradictions=contradictions, unread=unread)


def _piece_of(
    source: Source,
    chunk: ChunkAt,
    head: ChunkHead,
    content: memoryview,
    expanded: Expanded,
    offsets: NDArray[np.int64] | None,
    *,
    known: NDArray[np.bool_],
) -> Piece:
    """Find the records of an expanded chunk, by its message index where that holds."""
    data, contradictions = expanded.data, expanded.contradictions
    broken = expanded.broken and f"{BROKEN}: {expanded.broken}"
    if chunk.torn:
        broken = TORN
    slices = slice_by_index(data, offsets) if offsets is not None and not broken else None
    if slices is None:
        slices = slice_by_walk(data, 0, len(data))
    unproven = not head.crc or expanded.doubt
    if unproven and expanded.plain and _goes_on(head, slices, len(data)):
        # The records go on behind the length that the chunk says.
        data = np.frombuffer(content, dtype=np.uint8)
        slices = slice_by_walk(data, 0, len(data))
        contradictions = (WRONG_LENGTH,)
    verified = bool(head.crc) and not broken and not expanded.doubt
    losses: tuple[LostAt, ...] = ()
    if slices.end < len(data) or broken:
        slices, lost_inside = _salvage(source, data, known=known)
        losses = tuple(_in_file(chunk, head, lost) for lost in lost_inside)
    if broken:
        losses += (_broken_off(chunk, head, len(data), broken),)
    if expanded.doubt:
        losses += (LostAt(start=chunk.start, end=chunk.start, reason=DOUBTFUL),)
    return Piece(
        data=data,
        slices=slices,
        losses=losses,
        verified=verified,
        checked=bool(head.crc or expanded.broken),
        contradictions=contradictions,
        compressed=not expanded.plain,
    )


def holds_chunks(data: Bytes, slices: Slices) -> bool:
    """Tell whether some of the records of a chunk are chunks."""
    return any(data[offset] == Opcode.CHUNK for offset in slices.others)


def _unpacked(chunk: ChunkAt, piece: Piece, *, limits: ReadLimits) -> Piece:
    """Put the records of chunks within a chunk in their place; what cannot be read is lost.

    One level: a chunk that is within one of these is lost, too.
    """
    if piece.data is None or piece.slices is None or not holds_chunks(piece.data, piece.slices):
        return piece
    view = piece.data.data
    parts: list[Bytes] = []
    reasons: list[str] = []
    done, room = 0, limits.chunk_bytes_max - len(view)
    count = 0
    for offset in piece.slices.others:
        opcode, length = parse_head(view, offset)
        if opcode != Opcode.CHUNK:
            continue
        count += 1
        end = offset + HEAD_BYTES + length
        records, told = _records_within(view[offset:end], replace(limits, chunk_bytes_max=room))
        room -= len(records)
        parts += [piece.data[done:offset], records]
        reasons += [f"a chunk of {end - offset} bytes within a chunk: {reason}" for reason in told]
        done = end
    data = np.concatenate([*parts, piece.data[done:]])
    data.flags.writeable = False
    lost = [LostAt(start=chunk.start, end=chunk.end, reason=reason) for reason in reasons]
    return replace(
        piece,
        data=data,
        slices=slice_by_walk(data, 0, len(data)),
        losses=(*piece.losses, *lost),
        contradictions=(*piece.contradictions, *[WITHIN] * count),
    )


def _records_within(record: memoryview, limits: ReadLimits) -> tuple[Bytes, list[str]]:
    """Read the records of a chunk that is in memory, up to the first that is none.

    Returns:
        uint8, shape (m,): whole records; and why not all of them are good.
    """
    nothing: Bytes = np.empty(0, dtype=np.uint8)
    try:
        head = parse_chunk_head(record[:CHUNK_HEAD_BYTES_MAX], record_bytes=len(record))
        check_stored_size(head, limits=limits)
        expanded = expand(head, record[head.records_start :], limits=limits)
    except (DamagedRecordingError, RecordingLimitError) as error:
        return nothing, [error.message]
    slices = slice_by_walk(expanded.data, 0, len(expanded.data))
    if holds_chunks(expanded.data, slices):
        return nothing, ["another chunk is within it"]
    reasons = [reason for reason in (expanded.broken, expanded.doubt) if reason]
    if slices.end < len(expanded.data):
        reasons.append(f"{len(expanded.data) - slices.end} of its bytes are no record")
    return expanded.data[: slices.end], reasons


def scan_declarations(
    source: Source,
    segment: ChunkAt | RunAt,
    table: ChannelTable,
    *,
    limits: ReadLimits,
    thorough: bool,
) -> None:
    """Take note of the channels that a segment declares.

    A chunk is decompressed only where its message indexes do not say that every channel in it is
    known already, unless this is to be thorough.
    """
    if isinstance(segment, RunAt):
        piece = load_run(source, segment)
    else:
        if not thorough and _all_known(source, segment, table):
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


def _broken_off(chunk: ChunkAt, head: ChunkHead, recovered_bytes: int, reason: str) -> LostAt:
    start = chunk.start if head.compression else chunk.start + head.records_start + recovered_bytes
    told = f"{reason}; {recovered_bytes} of {head.uncompressed_bytes} bytes"
    return LostAt(start=start, end=chunk.end, reason=told)


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
