"""The pages of a sqlite3 file, read without SQLite: cells of table leaves, overflow, free pages.

SQLite gives up on a table where one page of its tree is damaged. The pages themselves need no tree:
each leaf of a table says what it is and holds whole rows. Nothing is believed that does not fit:
sizes, pointers, chains. https://www.sqlite.org/fileformat2.html
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

TABLE_LEAF = 13
"""First byte of a page that holds rows of a table."""

TREE_PAGES = (2, 5, 10)
"""First bytes of the other pages of trees: they hold no messages."""

FILE_HEADER_BYTES = 100

PAGE_BYTES_DEFAULT = 4096

PAGE_SIZES = (4096, 1024, 512, 2048, 8192, 16384, 32768, 65536)
"""The sizes that pages can have, those that SQLite has used by default first."""

USABLE_BYTES_MIN = 480
"""What of a page must be usable at least."""

PROBED_LEAVES = 64
"""How many leaves are looked at to find out whether a size of pages is right."""

LOCK_BYTE = 1 << 30
"""The page with this byte is never used."""

_LEAF_HEADER_BYTES = 8
_WINDOW_PAGES = 256

# Sizes in bytes of the integers that serial types 0 to 9 stand for; 7 is a float.
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
_FLOAT = 7
_ZERO = 8
_ONE = 9
_BLOB = 12
_TEXT = 13


class Damaged(Exception):  # noqa: N818 (never leaves this part; it is no error of the tree)
    """A page, cell or chain does not fit."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a row, undecoded."""

    data: bytes


Value = int | float | bytes | Text | None


@dataclass(slots=True, kw_only=True)
class PageFile:
    """The pages of a file.

    Attributes:
        descriptor: The open file.
        size_bytes: Its size.
        page_bytes: The size of a page.
        usable_bytes: What of a page holds content.
        pages: How many whole pages there are; they count from 1.
        told_pages: How many the file's header tells of.
        row_bytes_max: The longest row that is read.
        claimed: bool, shape (pages + 1,): pages whose purpose is known.
    """

    descriptor: int
    size_bytes: int
    page_bytes: int
    usable_bytes: int
    pages: int
    told_pages: int
    row_bytes_max: int
    claimed: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no page claimed."""
        self.claimed = np.zeros(self.pages + 1, dtype=np.bool_)
        self.claimed[0] = True

    def page(self, number: int) -> bytes:
        """Read a page.

        Raises:
            Damaged: There is no such page.
        """
        if not 1 <= number <= self.pages:
            raise Damaged("page number beyond the file")
        try:
            data = os.pread(self.descriptor, self.page_bytes, (number - 1) * self.page_bytes)
        except OSError as error:
            raise Damaged("the storage gives no bytes") from error
        if len(data) < self.page_bytes:
            raise Damaged("page is cut")
        return data

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and content of all pages that look like leaves of tables.

        Claims the other pages of trees on the way.
        """
        for first in range(1, self.pages + 1, _WINDOW_PAGES):
            count = min(_WINDOW_PAGES, self.pages + 1 - first)
            for number, data in self._window(first, count):
                kind = data[FILE_HEADER_BYTES if number == 1 else 0]
                if kind == TABLE_LEAF:
                    yield number, data
                elif kind in TREE_PAGES or (number > self.told_pages and not any(data)):
                    # Behind the told end, zeros are room made in advance.
                    self.claimed[number] = True

    def _window(self, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """Read neighbouring pages at once, or one by one where the storage gives not all."""
        size = self.page_bytes
        try:
            data = os.pread(self.descriptor, count * size, (first - 1) * size)
        except OSError:
            data = b""
        for index in range(count):
            page = data[index * size : (index + 1) * size]
            try:
                yield first + index, page if len(page) == size else self.page(first + index)
            except Damaged:
                continue


def open_pages(descriptor: int, *, row_bytes_max: int) -> PageFile:
    """Look at a file as pages of the size its header tells."""
    head = os.pread(descriptor, FILE_HEADER_BYTES, 0).ljust(FILE_HEADER_BYTES, b"\0")
    page_bytes = int.from_bytes(head[16:18], "big")
    return _as_pages(
        descriptor, head, 65536 if page_bytes == 1 else page_bytes, row_bytes_max=row_bytes_max
    )


def probed_pages(descriptor: int, *, row_bytes_max: int) -> PageFile:
    """Look at a file as pages of the first size with which any row can be read.

    The size that the header tells is tried first; it may be what is damaged.
    """
    told = open_pages(descriptor, row_bytes_max=row_bytes_max)
    for size in (told.page_bytes, *PAGE_SIZES):
        head = os.pread(descriptor, FILE_HEADER_BYTES, 0).ljust(FILE_HEADER_BYTES, b"\0")
        file = _as_pages(descriptor, head, size, row_bytes_max=0)
        for number, data in islice(file.leaves(), PROBED_LEAVES):
            if any(cells(file, number, data)):
                return _as_pages(descriptor, head, size, row_bytes_max=row_bytes_max)
    return told


def _as_pages(descriptor: int, head: bytes, page_bytes: int, *, row_bytes_max: int) -> PageFile:
    """Look at a file as pages of a size, or of the usual size where that one cannot be."""
    size_bytes = os.fstat(descriptor).st_size
    reserved_bytes = head[20]
    if page_bytes not in PAGE_SIZES or page_bytes - reserved_bytes < USABLE_BYTES_MIN:
        page_bytes, reserved_bytes = PAGE_BYTES_DEFAULT, 0
    file = PageFile(
        descriptor=descriptor,
        size_bytes=size_bytes,
        page_bytes=page_bytes,
        usable_bytes=page_bytes - reserved_bytes,
        pages=size_bytes // page_bytes,
        told_pages=int.from_bytes(head[28:32], "big"),
        row_bytes_max=row_bytes_max,
    )
    # Two kinds of pages hold neither rows nor trees: the one that locks use, and in files that
    # shrink by themselves the ones that tell each page's parent.
    file.claimed[LOCK_BYTE // page_bytes + 1 :][:1] = True
    if any(head[52:56]):
        file.claimed[2 :: file.usable_bytes // 5 + 1] = True
    return file


def is_outgrown(descriptor: int) -> bool:
    """Tell whether a file has pages behind those that its header tells of."""
    file = open_pages(descriptor, row_bytes_max=0)
    return 0 < file.told_pages < file.pages


def claim_free_pages(file: PageFile) -> NDArray[np.bool_]:
    """Follow the list of free pages; what they hold was deleted.

    Returns:
        bool, shape (pages + 1,): the free pages, as far as the list is whole.
    """
    free = np.zeros(file.pages + 1, dtype=np.bool_)
    try:
        trunk = int.from_bytes(file.page(1)[32:36], "big")
        while trunk and not free[trunk]:
            numbers = np.frombuffer(file.page(trunk)[: file.usable_bytes], dtype=">u4")
            free[trunk] = True
            leaves = numbers[2 : 2 + min(int(numbers[1]), len(numbers) - 2)]
            free[leaves[(leaves > 0) & (leaves <= file.pages)]] = True
            trunk = int(numbers[0])
            if trunk > file.pages:
                break
    except Damaged:
        pass
    file.claimed |= free
    return free


def cells(file: PageFile, number: int, data: bytes) -> Iterator[tuple[int, list[Value]] | None]:
    """Yield row id and values of each cell of a leaf, and None for each that is damaged."""
    start = FILE_HEADER_BYTES if number == 1 else 0
    count = int.from_bytes(data[start + 3 : start + 5], "big")
    first = start + _LEAF_HEADER_BYTES
    pointers_end = first + 2 * count
    if pointers_end > file.usable_bytes:
        yield None
        return
    pointers = np.frombuffer(data[first:pointers_end], dtype=">u2").astype(np.int64)
    taken = np.sort(pointers)
    for pointer in pointers:
        # A cell ends where the next one in the page begins, or before.
        after = np.searchsorted(taken, pointer, "right")
        stop = min(int(taken[after]) if after < count else 1 << 16, file.usable_bytes)
        try:
            yield _cell(file, data, int(pointer), stop, first=pointers_end)
        except Damaged:
            yield None


def _cell(
    file: PageFile, data: bytes, start: int, stop: int, *, first: int
) -> tuple[int, list[Value]]:
    """Read a cell of a table leaf, whose cells begin at `first` or behind."""
    if start < first:
        raise Damaged("cell among the pointers")
    size, position = _varint(data, start, stop)
    rowid, position = _varint(data, position, stop)
    usable = file.usable_bytes
    if size <= usable - 35:
        if position + size > stop:
            raise Damaged("cell runs into the next one")
        return _signed(rowid), _values(data[position : position + size])
    if size > min(file.row_bytes_max, file.pages * usable):
        raise Damaged("row is too long")
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    local = local if local <= usable - 35 else least
    if position + local + 4 > stop:
        raise Damaged("cell runs into the next one")
    own = data[position : position + local]
    chain = int.from_bytes(data[position + local : position + local + 4], "big")
    return _signed(rowid), _values(own + _overflow(file, chain, size - local))


def _overflow(file: PageFile, number: int, size: int) -> bytes:
    """Read what of a row lies in a chain of overflow pages, and claim them for the row."""
    chain: list[int] = []
    try:
        return _followed(file, number, size, chain)
    except Damaged:
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
    """Read a record: its header tells the types of its values, which fill the rest exactly."""
    header_end, position = _varint(record, 0, len(record))
    if header_end > len(record):
        raise Damaged("header is longer than its record")
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
        if byte < 0x80:  # noqa: PLR2004 (the high bit tells that more follow)
            break
    return value, position


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
