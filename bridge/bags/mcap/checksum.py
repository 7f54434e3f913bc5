"""The checksum over the whole data section of an MCAP file, where nothing finer guards it.

Few writers leave one. Chunks with checksums of their own need no second look, so that the file is
read once more only where it has a checksum and its messages have none.
"""

from isal.isal_zlib import crc32

from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    DATA_END_BYTES,
    HEAD_BYTES,
    Opcode,
    parse_chunk_head,
    parse_head,
)
from bridge.bags.mcap.summary import Summary
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError

PIECE_BYTES = 4 << 20
"""How much is read at once."""


def check_data_section(source: Source, summary: Summary) -> bool | None:
    """Check the data section as a whole where that is the only check there is.

    Returns:
        Whether the checksum is right; None where it is absent or not needed.
    """
    end = summary.data_end - DATA_END_BYTES
    record = source.read_at(end, DATA_END_BYTES) if end > 0 else b""
    if len(record) < DATA_END_BYTES or parse_head(record) != (
        Opcode.DATA_END,
        DATA_END_BYTES - HEAD_BYTES,
    ):
        return None
    expected = int.from_bytes(record[HEAD_BYTES:], "little")
    if not expected or _chunks_have_checksums(source, summary):
        return None
    found = 0
    for offset in range(0, end, PIECE_BYTES):
        found = crc32(source.read_at(offset, min(PIECE_BYTES, end - offset)), found)
    return found == expected


def _chunks_have_checksums(source: Source, summary: Summary) -> bool:
    """Tell by the first chunk whether the writer guards each of them."""
    if not summary.chunks:
        return False
    try:
        head = source.read_at(summary.chunks[0].start, CHUNK_HEAD_BYTES_MAX)
        return bool(parse_chunk_head(head).crc)
    except DamagedRecordingError:
        return False
