"""Which rows of a sqlite3 file were read already, so that salvage yields none twice."""

from collections.abc import Sequence

import numpy as np

CELL_BYTES_MIN = 12
"""The least that a row of `messages` takes, which bounds how many ids a recorder can give."""


CONTENTS_MAX = 1 << 26
"""Row ids from here on are kept one by one."""


class SeenRows:
    """A set of row ids that is small for ids as recorders give them, from 1 on without gaps.

    Takes a bit for each id that a file of its size has room for; other ids, which come from damage
    or from other tools, are kept one by one.
    """

    def __init__(self, file_bytes: int) -> None:
        self._bound = file_bytes // CELL_BYTES_MIN + 1
        self._bits = bytearray(self._bound // 8 + 1)
        self._others: set[int] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rowid: int) -> bool:
        """Add an id; False where it was in already."""
        if 0 <= rowid < self._bound:
            byte, bit = rowid >> 3, 1 << (rowid & 7)
            if self._bits[byte] & bit:
                return False
            self._bits[byte] |= bit
        else:
            if rowid in self._others:
                return False
            self._others.add(rowid)
        self._count += 1
        return True

    def add_new(self, rowids: Sequence[int]) -> None:
        """Add ids that are not in yet. Costs 50 nanoseconds an id."""
        ids = np.array(rowids, dtype=np.int64)
        usual = (ids >= 0) & (ids < self._bound)
        bits = np.frombuffer(self._bits, dtype=np.uint8)
        np.bitwise_or.at(bits, ids[usual] >> 3, (1 << (ids[usual] & 7)).astype(np.uint8))
        self._others.update(ids[~usual].tolist())
        self._count += len(ids)


class RowContents:
    """Tells rows of one id apart by their content, in memory that does not grow with the payloads.

    Two rows with one id and different content are two messages: one of the ids is damaged. Two with
    the same content are one and its stale copy, as a killed recorder leaves them.
    """

    def __init__(self, file_bytes: int) -> None:
        self._bound = min(file_bytes // CELL_BYTES_MIN + 1, CONTENTS_MAX)
        # Memory is taken only where something is written.
        self._first = memoryview(bytearray(4 * self._bound)).cast("I")
        self._others: dict[int, int] = {}
        self._more: set[tuple[int, int]] = set()

    def is_new(self, row: tuple[object, ...], rowid: int, *, first: bool) -> bool:
        """Take note of a row, and tell whether its content is new for its id.

        Args:
            row: All values of the row.
            rowid: Its id.
            first: Whether nothing of this id was read before.
        """
        content = hash(row) & 0xFFFFFFFF or 1
        known = self._known(rowid)
        if not known:
            # Not `first`: SQLite has read it, and the first page with it is where.
            self._note(rowid, content)
            return first
        if content == known or (rowid, content) in self._more:
            return False
        self._more.add((rowid, content))
        return True

    def _known(self, rowid: int) -> int:
        return self._first[rowid] if 0 <= rowid < self._bound else self._others.get(rowid, 0)

    def _note(self, rowid: int, content: int) -> None:
        if 0 <= rowid < self._bound:
            self._first[rowid] = content
        else:
            self._others[rowid] = content
