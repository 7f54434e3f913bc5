"""Records of the ROS 1 bag format 2.0: header fields, and finding the next record after damage.

A record is a header and data, each with its length before it; a header is a run of `name=value`
fields, each with its length before it. http://wiki.ros.org/Bags/Format/2.0
"""

import struct
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from bridge.bags.source import Source
from bridge.facade import later

np = later("numpy")

MAGIC = b"#ROSBAG V2.0\n"

HEADER_BYTES_MAX = 1 << 16
"""The longest header; only the topic in a connection's header has no fixed size."""

LENGTH_BYTES = 4

ENTRY_BYTES = 12
"""An entry of an index record: seconds, nanoseconds, offset in the chunk."""

_LENGTH = struct.Struct("<I")

# After damage a header is looked for around its op field, which no valid record lacks.
_OP_FIELD = b"\x04\x00\x00\x00op="
_SEARCH_BYTES = 1 << 20
_SEARCH_BACK_BYTES = 1 << 10


class Op(IntEnum):
    """What a record is."""

    MESSAGE = 2
    BAG = 3
    INDEX = 4
    CHUNK = 5
    CHUNK_INFO = 6
    CONNECTION = 7


# The fields that a record must have, with their sizes; 0 for texts.
REQUIRED: Mapping[Op, Mapping[str, int]] = MappingProxyType(
    {
        Op.MESSAGE: {"conn": 4, "time": 8},
        Op.BAG: {"index_pos": 8},
        Op.INDEX: {"conn": 4, "count": 4, "ver": 4},
        Op.CHUNK: {"compression": 0, "size": 4},
        Op.CHUNK_INFO: {"chunk_pos": 8, "count": 4, "ver": 4},
        Op.CONNECTION: {"conn": 4, "topic": 0},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record and where it lies.

    Attributes:
        op: What it is.
        fields: The fields of its header.
        start: First byte.
        data_start: First byte of its data.
        end: One past the last byte of its data.
    """

    op: Op
    fields: Mapping[str, bytes]
    start: int
    data_start: int
    end: int

    def number(self, name: str) -> int:
        """Read a field as an unsigned number."""
        return int.from_bytes(self.fields[name], "little")

    def text(self, name: str) -> str:
        """Read a field as text."""
        return self.fields[name].decode("utf-8", "replace")


def fields_of(header: bytes) -> dict[str, bytes] | None:
    """Cut a header into its fields; None where they do not fill it exactly."""
    fields: dict[str, bytes] = {}
    position = 0
    while position < len(header):
        if position + LENGTH_BYTES > len(header):
            return None
        end = position + LENGTH_BYTES + _LENGTH.unpack_from(header, position)[0]
        name, equals, value = header[position + LENGTH_BYTES : end].partition(b"=")
        if end > len(header) or not equals:
            return None
        fields[name.decode("latin-1")] = value
        position = end
    return fields


def record_at(source: Source, start: int, stop: int) -> Record | None:
    """Read the header of a record; None where there is no valid one.

    Args:
        source: The bytes.
        start: First byte of the record.
        stop: Where records end. The data of the record may run past it.
    """
    head = source.read_at(start, min(LENGTH_BYTES, stop - start))
    if len(head) < LENGTH_BYTES:
        return None
    length = _LENGTH.unpack(head)[0]
    data_start = start + 2 * LENGTH_BYTES + length
    if not 0 < length <= HEADER_BYTES_MAX or data_start > stop:
        return None
    body = source.read_at(start + LENGTH_BYTES, length + LENGTH_BYTES)
    fields = fields_of(body[:length])
    op = known_op(fields)
    if fields is None or op is None:
        return None
    end = data_start + _LENGTH.unpack_from(body, length)[0]
    return Record(op=op, fields=fields, start=start, data_start=data_start, end=end)


def known_op(fields: Mapping[str, bytes] | None) -> Op | None:
    """Tell what a record with these fields is; None where one that it needs is missing."""
    code = (fields or {}).get("op", b"")
    if fields is None or len(code) != 1 or code[0] not in Op.__members__.values():
        return None
    op = Op(code[0])
    for name, size in REQUIRED[op].items():
        if name not in fields or (size and len(fields[name]) != size):
            return None
    return op


def next_record(
    source: Source, start: int, stop: int, *, ops: AbstractSet[Op] = frozenset(Op)
) -> Record | None:
    """Find the first record of some kinds at or after a position whose data ends before `stop`.

    Costs a search through the bytes, and for each place that looks like an op field a look at the
    1 KiB before it.
    """
    position = start
    while position < stop:
        window = source.read_at(position, min(_SEARCH_BYTES, stop - position))
        found = window.find(_OP_FIELD)
        while found >= 0:
            record = _record_around(source, position + found, start, stop)
            if record is not None and record.op in ops:
                return record
            found = window.find(_OP_FIELD, found + 1)
        if len(window) <= len(_OP_FIELD):
            break
        position += len(window) - len(_OP_FIELD)
    return None


def _record_around(source: Source, op_at: int, start: int, stop: int) -> Record | None:
    """Find the record whose header holds an op field at a position."""
    first = max(start, op_at - _SEARCH_BACK_BYTES)
    window = np.frombuffer(source.read_at(first, op_at + LENGTH_BYTES - first), dtype=np.uint8)
    if len(window) < 2 * LENGTH_BYTES:
        return None
    views = np.lib.stride_tricks.sliding_window_view(window, LENGTH_BYTES)[: op_at - first - 3]
    lengths = np.ascontiguousarray(views).view("<u4")[:, 0].astype(np.int64)
    # A header that begins after its length must reach over the op field.
    needed = op_at + len(_OP_FIELD) + 1 - (first + LENGTH_BYTES + np.arange(len(lengths)))
    for index in np.flatnonzero((lengths >= needed) & (lengths <= HEADER_BYTES_MAX)):
        record = record_at(source, first + int(index), stop)
        if record is not None and record.end <= stop:
            return record
    return None
