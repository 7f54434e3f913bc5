"""One MCAP chunk from the file to its decompressed records, with every claim checked first.

A chunk says how large it becomes. Nothing is allocated before that claim was held against the
limits and against what its compression can reach at all; nothing is believed before the bytes came
out to exactly that size and, where there is one, to the checksum.
"""

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.mcap.records import (
    HEAD_BYTES,
    INDEX_ENTRY,
    ChunkHead,
    Opcode,
    parse_head,
)
from bridge.errors import DamagedRecordingError, RecordingLimitError

EXPANSION_MAX = {"": 1, "lz4": 256, "zstd": 1 << 20}
"""How many bytes one compressed byte can become at the most, by compression.

LZ4 spends a byte per 255 of a run. Zstandard spends 3 bytes and a header on a block of 128 KiB.
"""

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
        records: The bytes as they stand in the file.

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
        records: The bytes as they stand in the file, perhaps cut.
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
        start: Where the first of these records begins.

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
