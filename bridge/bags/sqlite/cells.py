"""The cells of a sqlite3 page that holds rows: row ids and values.

A table without row ids is a tree of keys. Its rows are in all pages of the tree, with the columns
of the key first, and the row id that is given here is made of their content.

Nothing is believed that does not fit: sizes, pointers, chains of overflow pages.
https://www.sqlite.org/fileformat2.html
"""

from collections.abc import Iterator

import numpy as np
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from bridge.bags.sqlite.pages import (
    FILE_HEADER_BYTES,
    KEY_PAGES,
    KEY_PARENT,
    Damaged,
    PageFile,
)

_LEAF_HEADER_BYTES = 8
_CHILD_BYTES = 4

HEADER_BYTES_MAX = 256
"""The longest header of a record: rosbag2's tables have a handful of columns."""

WASTE_MAX = 8
"""How often every page may be followed in vain, on average."""

# Sizes in bytes of the integers of serial types 0 to 9; 7 is a float.
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
_FLOAT = 7
_ZERO = 8
_ONE = 9
_BLOB = 12


class Text(bytes):
    """A value that was stored as TEXT; the bytes are those of the text, undecoded."""

    __slots__ = ()


Value = int | float | bytes | None


def whole_number(value: object) -> int | None:
    """Take a value for the integer that it stands for, as SQLite does; None where it is none.

    Columns of other makers are declared as text or as floating point.
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**63 else None
    if isinstance(value, Text):
        try:
            value = int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def pointers_of(file: PageFile, number: int, data: bytes) -> NDArray[np.int64] | None:
    """Read where the cells of a page start; None where there is no room for so many pointers.

    Returns:
        int64, shape (cells,): positions in the page, not checked.
    """
    start = FILE_HEADER_BYTES if number == 1 else 0
    first = start + _header_bytes(data[start])
    end = first + 2 * int.from_bytes(data[start + 3 : start + 5], "big")
    if end > file.page_bytes:
        return None
    return np.frombuffer(data[first:end], dtype=">u2").astype(np.int64)


def is_sound(file: PageFile, number: int, data: bytes) -> bool:
    """Tell whether all cells of a leaf are behind its pointers and within its page.

    The last one ends where the page does, or what extensions reserve of it starts.
    """
    pointers = pointers_of(file, number, data)
    if pointers is None or not len(pointers):
        return False
    first = _first_cell(number, data, len(pointers))
    if pointers.min() < first or pointers.max() >= file.usable_bytes:
        return False
    try:
        _extent(file, data, int(pointers.max()), file.usable_bytes)
    except Damaged:
        return False
    return True


def _header_bytes(kind: int) -> int:
    """Tell how long the header of a page of a tree is; a parent's names one more child."""
    return _LEAF_HEADER_BYTES + (_CHILD_BYTES if kind == KEY_PARENT else 0)


def _first_cell(number: int, data: bytes, count: int) -> int:
    """Tell where the first cell of a page can start at the earliest."""
    start = FILE_HEADER_BYTES if number == 1 else 0
    return start + _header_bytes(data[start]) + 2 * count


def cells(file: PageFile, number: int, data: bytes) -> Iterator[tuple[int, list[Value]] | None]:
    """Yield row id and values of each cell of a page, and None for each that is damaged."""
    pointers = pointers_of(file, number, data)
    if pointers is None:
        yield None
        return
    first = _first_cell(number, data, len(pointers))
    # A cell is pointed at once, and ends where the next one in the page starts, or before.
    taken = np.unique(pointers)
    stops = dict(zip(taken.tolist(), [*taken[1:].tolist(), file.usable_bytes], strict=False))
    for pointer in pointers.tolist():
        stop = stops.pop(pointer, 0)
        try:
            yield _cell(file, data, pointer, min(stop, file.usable_bytes), first=first)
        except Damaged:
            yield None


def _cell(
    file: PageFile, data: bytes, start: int, stop: int, *, first: int
) -> tuple[int, list[Value]]:
    """Read a cell of a page whose cells start at `first` or behind."""
    if start < first:
        raise Damaged("cell among the pointers")
    rowid, size, position, local = _extent(file, data, start, stop)
    record = data[position : position + local]
    if local < size:
        if size > min(file.row_bytes_max, file.pages * file.usable_bytes):
            raise Damaged("row is too long")
        chain = int.from_bytes(data[position + local : position + local + 4], "big")
        record += _overflow(file, chain, size - local)
    values = _values(record)
    if rowid is None:
        rowid = crc32(record) % file.size_bytes
    return rowid, values


def _extent(file: PageFile, data: bytes, start: int, stop: int) -> tuple[int | None, int, int, int]:
    """Tell row id and size of a row, where it starts, and how much of it is in its own page.

    The row id is None in a page of keys.
    """
    # Page 1 is a page of the list of tables, which has row ids; its file header is no such byte.
    keyed = data[0] in KEY_PAGES
    if keyed and data[0] == KEY_PARENT:
        start += _CHILD_BYTES
    size, position = _varint(data, start, stop)
    rowid = None
    usable = file.usable_bytes
    most = (usable - 12) * 64 // 255 - 23 if keyed else usable - 35
    if not keyed:
        number, position = _varint(data, position, stop)
        rowid = _signed(number)
    local, pointer = size, 0
    if size > most:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        pointer = 4
    if position + local + pointer > stop:
        raise Damaged("cell runs into the next one")
    return rowid, size, position, local


def _overflow(file: PageFile, number: int, size: int) -> bytes:
    """Read what of a row lies in a chain of overflow pages, and claim them for the row."""
    chain: list[int] = []
    try:
        return _followed(file, number, size, chain)
    except Damaged:
        file.wasted_pages += len(chain)
        # Another row may own these pages. But a crafted file can send every row along one chain.
        if file.wasted_pages <= WASTE_MAX * file.pages:
            file.claimed[chain] = False
        raise


def _followed(file: PageFile, number: int, size: int, chain: list[int]) -> bytes:
    """Follow a chain whose pages nothing else uses, and which ends with the row."""
    pieces: list[bytes] = []
    while size > 0:
        if not 1 < number <= file.pages or file.claimed[number]:
            raise Damaged("overflow page is not the row's own")
        page = file.page(number)
        file.claimed[number] = True
        chain.append(number)
        pieces.append(page[4 : 4 + min(size, file.usable_bytes - 4)])
        size -= len(pieces[-1])
        number = int.from_bytes(page[:4], "big")
    if number:
        raise Damaged("chain of overflow pages goes on")
    return b"".join(pieces)


def _values(record: bytes) -> list[Value]:
    """Read a record: its header gives the types of its values, which fill the rest exactly."""
    header_end, position = _varint(record, 0, len(record))
    if header_end > min(len(record), HEADER_BYTES_MAX):
        raise Damaged("header is longer than its record, or than any of rosbag2's")
    values: list[Value] = []
    start = header_end
    while position < header_end:
        serial, position = _varint(record, position, header_end)
        if serial >= _BLOB:
            end = start + (serial - _BLOB) // 2
            data = record[start:end]
            values.append(Text(data) if serial % 2 else data)
        elif serial in {10, 11}:
            raise Damaged("reserved type")
        else:
            end = start + _INTEGER_BYTES[serial]
            values.append(_number(serial, record[start:end]))
        start = end
    if start != len(record) or position != header_end:
        raise Damaged("values do not fill their record")
    return values


def _number(serial: int, data: bytes) -> int | float | None:
    if serial == 0:
        return None
    if serial in {_ZERO, _ONE}:
        return serial - _ZERO
    if serial == _FLOAT:
        return float(np.frombuffer(data, dtype=">f8")[0]) if len(data) == 8 else 0.0  # noqa: PLR2004
    return int.from_bytes(data, "big", signed=True)


def _varint(data: bytes, position: int, stop: int) -> tuple[int, int]:
    """Read a number of one to nine bytes, seven bits each but for eight in the ninth."""
    value = 0
    for index in range(9):
        if position >= stop:
            raise Damaged("number is cut")
        byte = data[position]
        position += 1
        if index == 8:  # noqa: PLR2004 (the ninth)
            return value << 8 | byte, position
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 (the high bit means that more follow)
            break
    return value, position


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
