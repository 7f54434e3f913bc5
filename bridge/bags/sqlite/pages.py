"""The pages of a sqlite3 file, read without SQLite.

SQLite gives up on a table where one page of its tree is damaged. The pages themselves need no tree:
each leaf of a table says what it is and holds whole rows.
https://www.sqlite.org/fileformat2.html
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TABLE_LEAF = 13
"""First byte of a page that holds rows of a table."""

KEY_PARENT = 2
"""First byte of a page that holds keys, each behind the number of a page with smaller ones."""

KEY_PAGES = (KEY_PARENT, 10)
"""First bytes of the pages of keys: of indexes, and of tables without row ids, rows and all."""

TREE_PAGES = (5, *KEY_PAGES)
"""First bytes of all pages of trees that are no leaves of tables with row ids."""

MAGIC = b"SQLite format 3\x00"

FILE_HEADER_BYTES = 100

PAGE_SIZES = (4096, 1024, 512, 2048, 8192, 16384, 32768, 65536)
"""The sizes that pages can have, those that SQLite has used by default first."""

LOCK_BYTE = 1 << 30
"""The page with this byte is never used."""

USABLE_BYTES_MIN = 480
"""What SQLite demands of a page beside its reserved bytes."""

# By the number in the header, whose upper bytes are 0.
_ENCODINGS = {2: "utf-16-le", 3: "utf-16-be"}

# The header holds these bytes at 21 in every file there is.
_FRACTIONS = b"\x40\x20\x20"

_WINDOW_PAGES = 256
_ZEROS_BYTES = 1 << 20


class Damaged(Exception):  # noqa: N818 (never leaves this part; it is no error of the tree)
    """A page, cell or chain does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """The part of a file's header that reading its pages needs; zeros where the header is damaged.

    Attributes:
        page_bytes: The size of a page.
        pages: How many pages there are.
        first_free: The first page of the list of free pages.
        free_pages: How many are free.
        has_parents: Whether some pages name others' parents (in files that shrink by themselves).
        reserved_bytes: What extensions keep for themselves at the end of each page.
        encoding: How texts are stored, as Python names it.
    """

    page_bytes: int = 0
    pages: int = 0
    first_free: int = 0
    free_pages: int = 0
    has_parents: bool = False
    reserved_bytes: int = 0
    encoding: str = "utf-8"


def read_header(descriptor: int) -> FileHeader:
    """Read the header of a file, believing none of it where the fixed parts are not right."""
    head = os.pread(descriptor, FILE_HEADER_BYTES, 0)
    page_bytes = int.from_bytes(head[16:18], "big")
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    right = head.startswith(MAGIC) and head[21:24] == _FRACTIONS and page_bytes in PAGE_SIZES
    if not right or len(head) < FILE_HEADER_BYTES:
        return FileHeader()
    # Old writers leave the number of pages as it is; SQLite trusts it only where these agree.
    counted = head[24:28] == head[92:96]
    return FileHeader(
        page_bytes=page_bytes,
        pages=int.from_bytes(head[28:32], "big") if counted else 0,
        first_free=int.from_bytes(head[32:36], "big"),
        free_pages=int.from_bytes(head[36:40], "big"),
        has_parents=any(head[52:56]),
        reserved_bytes=head[20] if page_bytes - head[20] >= USABLE_BYTES_MIN else 0,
        encoding=_ENCODINGS.get(head[59], "utf-8"),
    )


@dataclass(slots=True, kw_only=True)
class PageFile:
    """The pages of a file.

    Attributes:
        descriptor: The open file.
        size_bytes: Its size.
        page_bytes: The size of a page.
        usable_bytes: How much of each holds content.
        pages: How many whole pages there are; they count from 1.
        told_pages: How many the file's header counts; 0 where it does not say.
        row_bytes_max: The longest row that is read.
        claimed: bool, shape (pages + 1,): pages whose purpose is known.
        wasted_pages: How many pages were followed in chains that turned out to be damaged.
    """

    descriptor: int
    size_bytes: int
    page_bytes: int
    usable_bytes: int
    pages: int
    told_pages: int
    row_bytes_max: int
    claimed: NDArray[np.bool_] = field(init=False)
    wasted_pages: int = 0

    def __post_init__(self) -> None:
        """Start with no page claimed."""
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

    def leaves(self, *, keyed: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield number and content of all pages that look as if they held rows.

        Claims the other pages of trees on the way.

        Args:
            keyed: Whether there is a table without row ids, whose rows are in pages of keys.
        """
        holders = (TABLE_LEAF, *KEY_PAGES) if keyed else (TABLE_LEAF,)
        for first in range(1, self.pages + 1, _WINDOW_PAGES):
            count = min(_WINDOW_PAGES, self.pages + 1 - first)
            for number, data in self._window(first, count):
                kind = data[FILE_HEADER_BYTES if number == 1 else 0]
                if kind in holders:
                    yield number, data
                elif kind in TREE_PAGES or (0 < self.told_pages < number and not any(data)):
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


def open_pages(descriptor: int, header: FileHeader, *, row_bytes_max: int = 0) -> PageFile:
    """Look at a file as pages of the size that the header gives, which may be a guess."""
    page_bytes = header.page_bytes
    size_bytes = os.fstat(descriptor).st_size
    file = PageFile(
        descriptor=descriptor,
        size_bytes=size_bytes,
        page_bytes=page_bytes,
        usable_bytes=max(page_bytes - header.reserved_bytes, USABLE_BYTES_MIN),
        pages=size_bytes // page_bytes,
        told_pages=header.pages,
        row_bytes_max=row_bytes_max,
    )
    # Two kinds of pages hold neither rows nor trees: the one that locks use, and those that name
    # others' parents.
    file.claimed[LOCK_BYTE // page_bytes + 1 :][:1] = True
    if header.has_parents:
        file.claimed[2 :: file.usable_bytes // 5 + 1] = True
    return file


def is_outgrown(descriptor: int) -> bool:
    """Tell whether a file has pages behind those that its header counts."""
    header = read_header(descriptor)
    told_bytes = header.pages * header.page_bytes
    return 0 < told_bytes < os.fstat(descriptor).st_size and not has_zero_tail(descriptor)


def has_zero_tail(descriptor: int) -> bool:
    """Tell whether only zeros are behind the pages that a file's header counts.

    That is room which a file system made in advance.
    """
    header = read_header(descriptor)
    size_bytes = os.fstat(descriptor).st_size
    told_bytes = header.pages * header.page_bytes
    return 0 < told_bytes < size_bytes and not any(
        any(os.pread(descriptor, _ZEROS_BYTES, at))
        for at in range(told_bytes, size_bytes, _ZEROS_BYTES)
    )


def is_cut(descriptor: int) -> bool:
    """Tell whether a file lacks bytes at its end; SQLite takes those of the last page for zeros."""
    header = read_header(descriptor)
    size_bytes = os.fstat(descriptor).st_size
    if not header.page_bytes:
        return False
    if has_zero_tail(descriptor):
        return False
    return size_bytes < header.pages * header.page_bytes or size_bytes % header.page_bytes > 0


def claim_free_pages(file: PageFile, header: FileHeader) -> NDArray[np.bool_]:
    """Follow the list of free pages, whose content was deleted.

    Returns:
        bool, shape (pages + 1,): the free pages; none where the list is not whole, for what a
        damaged list names may hold rows.
    """
    free = np.zeros(file.pages + 1, dtype=np.bool_)
    none = free.copy()
    trunk = header.first_free
    while trunk:
        if trunk > file.pages or free[trunk]:
            return none
        try:
            page = file.page(trunk)
        except Damaged:
            return none
        numbers = np.frombuffer(page[: file.usable_bytes // 4 * 4], dtype=">u4")
        leaves = numbers[2 : 2 + int(numbers[1])]
        if int(numbers[1]) > len(numbers) - 2 or (leaves > file.pages).any():
            return none
        free[trunk] = True
        free[leaves] = True
        trunk = int(numbers[0])
    if np.count_nonzero(free) != header.free_pages:
        return none
    file.claimed |= free
    return free
