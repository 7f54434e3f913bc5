"""Telling records from other bytes: whether a record is sound, and where the next one starts.

Used after damage only. Candidates are picked with arrays over whole windows (the opcode, the upper
half of the length, the channel id), so that megabytes of payload without any record in them cost
milliseconds; the few that remain are looked at one by one.
"""

import numpy as np
from numpy.typing import NDArray

from bridge.bags.frames import codec_of
from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    EXPANSION_MAX,
    HEAD_BYTES,
    LAYOUTS,
    MAGIC,
    MESSAGE_CONTENT_BYTES_MIN,
    OPCODE_PRIVATE_MIN,
    Opcode,
    fields_length,
    parse_channel,
    parse_chunk_head,
    parse_head,
    parse_schema,
)
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError

WINDOW_BYTES = 1 << 20
"""How much is searched at once."""

LOOKAHEAD_BYTES = 64
"""How far behind a candidate's first byte the arrays look."""

CHAIN_RECORDS = 3
"""How many records must follow one from the other before a message is believed to be one."""

DECLARATION_BYTES_MAX = 16 << 20
"""Longer schemas and channels are not looked at."""

CHUNK_CONTENT_BYTES_MIN = 40
"""The content of a chunk without compression and records."""

MEANINGS = frozenset({Opcode.SCHEMA, Opcode.CHANNEL, Opcode.CHUNK})
"""The records whose content is looked at, too."""

PROOF_BYTES_MAX = 1 << 16
"""How much of a record is read to find its inner lengths."""

ANCHORS = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK)
"""The records to go on from; everything else can be done without."""


def find_record(source: Source, start: int, end: int, *, known: NDArray[np.bool_]) -> int | None:
    """Find the first position where a record starts beyond reasonable doubt.

    Cost: reads each byte of the range up to there once.

    Args:
        source: The file.
        start: Where to start searching.
        end: Where the range ends; records must end there or before, except torn chunks.
        known: bool, shape (65536,): the channel ids that messages may have; where there is none,
            its declaration is lost, and any id will do.
    """
    if not known.any():
        known = ~known
    for base in range(start, end, WINDOW_BYTES):
        raw = source.read_at(base, min(WINDOW_BYTES + LOOKAHEAD_BYTES, end - base))
        for candidate in _candidates(raw, room=end - base, known=known):
            if _begins_record(source, base + candidate, end):
                return base + candidate
    return None


def is_sound(
    source: Source, opcode: int, start: int, record_end: int, *, end: int, reached: bool = False
) -> bool:
    """Hold a record against the proof it carries of itself; messages carry none and pass.

    Args:
        source: The file.
        opcode: The record's opcode.
        start: Where it starts.
        record_end: Where it ends by its own length.
        end: Where the range ends in which it was found.
        reached: Whether the record before it led here. Then names may be empty, as some writers
            leave them; in a search, bytes that add up to empty names are mostly no record.
    """
    if opcode == Opcode.MESSAGE or opcode >= OPCODE_PRIVATE_MIN:
        return True
    length = record_end - start - HEAD_BYTES
    spare = length - _length_inside(source, opcode, start, length)
    if spare == 0 and (opcode not in MEANINGS or _has_meaning(source, opcode, start, length)):
        return True
    if spare == 0 and not reached:
        return False
    # A later version of the format may have added fields, or records that we do not know; either
    # is believed if the way goes on behind it.
    return (
        spare >= 0
        and (opcode != Opcode.CHUNK or _has_meaning(source, opcode, start, length))
        and _goes_on(source, record_end, end)
    )


def _goes_on(source: Source, position: int, end: int) -> bool:
    """Tell whether a range ends here, or a record could start, maybe behind a hole of zeros."""
    if position == end or _could_follow(source, position, end):
        return True
    behind = zeros_end(source, position, end)
    return behind > position and (behind == end or _could_follow(source, behind, end))


def chunk_end(source: Source, start: int, end: int) -> int | None:
    """Find where a chunk ends whose opcode or whose own length is damaged; None where none starts.

    A chunk says twice how long it is. Either length is believed where a record follows it, and both
    together are believed even without the opcode of a chunk.
    """
    raw = source.read_at(start, min(CHUNK_HEAD_BYTES_MAX, end - start))
    if len(raw) < HEAD_BYTES:
        return None
    opcode, length = parse_head(raw)
    try:
        head = parse_chunk_head(raw, record_bytes=end - start)
    except DamagedRecordingError:
        return None
    if head.compression not in EXPANSION_MAX:
        return None
    by_own = start + HEAD_BYTES + length
    by_inner = start + head.records_start + head.records_bytes
    if opcode != Opcode.CHUNK and by_own != by_inner:
        return None
    for found in (by_inner, by_own):
        if start < found < end and _could_follow(source, found, end):
            return found
    return None


def _candidates(raw: bytes, *, room: int, known: NDArray[np.bool_]) -> list[int]:
    """Pick the positions of a window that could start a record, by arrays alone."""
    count = min(len(raw) - LOOKAHEAD_BYTES, WINDOW_BYTES) if room > len(raw) else len(raw)
    padded = np.frombuffer(raw + bytes(LOOKAHEAD_BYTES), dtype=np.uint8)
    opcodes = padded[:count]
    # Records of 4 GiB and more exist in theory; to go on from one after damage is not worth it.
    high = np.ndarray((count,), dtype="<u4", buffer=padded, offset=5, strides=(1,))
    wanted = (opcodes >= min(ANCHORS)) & (opcodes <= max(ANCHORS)) & (high == 0)
    positions = np.flatnonzero(wanted)
    low = np.ndarray((count,), dtype="<u4", buffer=padded, offset=1, strides=(1,))
    lengths = low[positions].astype(np.int64)
    ids = np.ndarray((count,), dtype="<u2", buffer=padded, offset=HEAD_BYTES, strides=(1,))
    found = opcodes[positions]
    fits = positions + HEAD_BYTES + lengths <= room
    as_message = (
        (found == Opcode.MESSAGE)
        & (lengths >= MESSAGE_CONTENT_BYTES_MIN)
        & fits
        & known[ids[positions]]
    )
    as_chunk = (found == Opcode.CHUNK) & (lengths >= CHUNK_CONTENT_BYTES_MIN)
    as_declaration = (
        (found < Opcode.MESSAGE) & (lengths <= DECLARATION_BYTES_MAX) & (lengths > 0) & fits
    )
    return list(positions[as_message | as_chunk | as_declaration].tolist())


def _begins_record(source: Source, position: int, end: int) -> bool:
    """Look at one candidate, and at what follows it where it proves nothing by itself."""
    for _ in range(CHAIN_RECORDS):
        head = source.read_at(position, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            return False
        opcode, length = parse_head(head)
        following = position + HEAD_BYTES + length
        if opcode != Opcode.MESSAGE:
            fits = following <= end or opcode == Opcode.CHUNK
            legal = opcode in LAYOUTS
            return fits and legal and is_sound(source, opcode, position, following, end=end)
        if length < MESSAGE_CONTENT_BYTES_MIN or following > end:
            return False
        if following == end:
            return True
        position = following
    return True


def _could_follow(source: Source, position: int, end: int) -> bool:
    head = source.read_at(position, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return False
    opcode, length = parse_head(head)
    known = 0 < opcode <= Opcode.DATA_END or opcode >= OPCODE_PRIVATE_MIN
    return known and position + HEAD_BYTES + length <= end


def zeros_end(source: Source, start: int, end: int) -> int:
    """Find the first byte that is not zero, or the end of the range. Reads no more than that."""
    for at in range(start, end, WINDOW_BYTES):
        raw = source.read_at(at, min(WINDOW_BYTES, end - at))
        rest = raw.lstrip(b"\0")
        if rest:
            return at + len(raw) - len(rest)
    return end


def leads_to(source: Source, start: int, stop: int) -> bool:
    """Tell whether sound records of any kind, one behind the other, end where a range does."""
    position = start
    if source.read_at(stop - len(MAGIC), len(MAGIC)) == MAGIC:
        # The closing one.
        stop -= len(MAGIC)
    while position < stop and _could_follow(source, position, stop):
        opcode, length = parse_head(source.read_at(position, HEAD_BYTES))
        following = position + HEAD_BYTES + length
        if not is_sound(source, opcode, position, following, end=stop, reached=True):
            return False
        position = following
    return position == stop


def _length_inside(source: Source, opcode: int, start: int, length: int) -> int:
    """Say how long a record's content is by its inner lengths; more than `length` if it is torn."""
    if opcode not in LAYOUTS:
        return 0
    head = source.read_at(start + HEAD_BYTES, min(length, PROOF_BYTES_MAX))
    try:
        return fields_length(opcode, head)
    except DamagedRecordingError:
        if length <= PROOF_BYTES_MAX:
            return length + 1
    try:
        return fields_length(opcode, source.read_at(start + HEAD_BYTES, length))
    except DamagedRecordingError:
        return length + 1


def _has_meaning(source: Source, opcode: int, start: int, length: int) -> bool:
    """Tell real declarations and chunks from bytes that only happen to add up, such as zeros."""
    try:
        if opcode == Opcode.CHUNK:
            raw = source.read_at(start, CHUNK_HEAD_BYTES_MAX)
            head = parse_chunk_head(raw)
            return head.compression in EXPANSION_MAX or bool(codec_of(raw[head.records_start :]))
        content = source.read_at(start + HEAD_BYTES, length)
        if opcode == Opcode.SCHEMA:
            schema = parse_schema(content)
            return schema.id > 0 and bool(schema.name)
        return bool(parse_channel(content).topic)
    except DamagedRecordingError:
        return False
