"""Arrays and sequences whose elements have a fixed size: numbers and structs of numbers."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import LOST, Cursor, Lone, Move
from bridge.cdr.fixed import FixedLeaf, FixedRun, gather_leaves, split_records, view_of, wrap_leaf
from bridge.cdr.source import Positions, Source
from bridge.cdr.steps import Repairs, Shape, list_array

WEIGHTLESS_ELEMENTS_MAX = 64
"""The most elements of a sequence whose elements take no bytes (ROS 1 sequences of Empty)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How the number of elements of a collection is known.

    Attributes:
        move: The padding before the length of a sequence; unused for an array.
        length: The fixed number of elements of an array, or None for a sequence.
        bound: The most elements of a sequence, or 0.
        element_bytes_min: The least bytes an element takes, for the check against the payload.
    """

    move: Move
    length: int | None
    bound: int
    element_bytes_min: int

    def take(self, cursor: Cursor) -> Positions:
        """Step behind the length and give the number of elements in every row, shape (n,).

        A row whose elements cannot fit in the rest of its payload is lost here, before anything
        is allocated for it. An array keeps its length even then: rows of arrays cannot be shorter.
        """
        self.move.apply(cursor.at)
        if self.length is not None:
            counts = np.full(len(cursor), self.length, dtype=np.int64)
            bad = counts * self.element_bytes_min > cursor.end - cursor.at
            if bad.any():
                counts[bad] = 0
                cursor.lose(bad)
            return counts
        counts = cursor.take_lengths()
        if self.element_bytes_min:
            bad = counts * self.element_bytes_min > cursor.end - cursor.at
        else:
            bad = counts > WEIGHTLESS_ELEMENTS_MAX
        if self.bound and not cursor.lenient:
            bad |= counts > self.bound
        if bad.any():
            counts[bad] = 0
            cursor.lose(bad)
        return counts

    def take_lone(self, lone: Lone) -> int:
        """Do the same for a lone walker."""
        lone.at = self.move.applied(lone.at)
        count = lone.take_length() if self.length is None else self.length
        if self.element_bytes_min or self.length is not None:
            bad = count * self.element_bytes_min > lone.end - lone.at
        else:
            bad = count > WEIGHTLESS_ELEMENTS_MAX
        if bad or (self.bound and not lone.lenient and count > self.bound):
            lone.at = LOST
            return 0
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A sequence of elements of fixed size without gaps between them: one ragged copy.

    Attributes:
        count: How the number of elements is known.
        alignment: What the first element is aligned to, where there is one.
        element_bytes: Size of an element.
        leaves: The fields of an element; one that covers it all for a number.
        element: How the fields make an element.
        type: The Arrow list type of the column.
    """

    count: Count
    alignment: int
    element_bytes: int
    leaves: tuple[FixedLeaf, ...]
    element: Shape
    type: pa.DataType

    def advance(self, cursor: Cursor) -> None:
        """Step behind the sequence."""
        self._enter(cursor)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the sequence."""
        count = self.count.take_lone(lone)
        if count:
            lone.at += (-lone.at & (self.alignment - 1)) + count * self.element_bytes

    def locate(self, cursor: Cursor) -> "LocatedPacked":
        """Step behind the sequence and remember where its elements lay."""
        counts, starts = self._enter(cursor)
        return LocatedPacked(packed=self, starts=starts, counts=counts)

    def _enter(self, cursor: Cursor) -> tuple[Positions, Positions]:
        counts = self.count.take(cursor)
        if self.alignment > 1:
            # No padding where there is nothing to align: an empty sequence is its length alone.
            cursor.at += (-cursor.at & (self.alignment - 1)) * (counts > 0)
        starts = cursor.where()
        cursor.at += counts * self.element_bytes
        return counts, starts


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedPacked:
    """The elements of a packed sequence in every row: starts and counts, shape (n,)."""

    packed: Packed
    starts: Positions
    counts: Positions

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy all elements out as one list column: one copy, for structs two."""
        del repairs  # bytes of fixed size can be wrong, but not invalid
        packed = self.packed
        raw = source.ragged(self.starts, self.counts * packed.element_bytes)
        total = int(self.counts.sum())
        records = view_of(raw, f"V{packed.element_bytes}", total)
        if len(packed.leaves) == 1 and packed.leaves[0].size_bytes == packed.element_bytes:
            leaves = [wrap_leaf(packed.leaves[0], records, swap=source.swap)]
        else:
            leaves = split_records(records, packed.leaves, swap=source.swap)
        elements = packed.element.build(iter(leaves), total)
        return [list_array(packed.type, self.counts, elements)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strided:
    """A collection of elements of fixed size with padding somewhere in or between them.

    The first element may be laid out differently from the rest, because its start is aligned
    differently; all others begin where one like them ended, so they repeat with one stride.

    Attributes:
        count: How the number of elements is known.
        runs: The runs of an element.
        stride_bytes: From the end of one element to the end of the next.
        element: How the fields make an element.
        type: The Arrow list type of the column.
    """

    count: Count
    runs: tuple[FixedRun, ...]
    stride_bytes: int
    element: Shape
    type: pa.DataType

    def advance(self, cursor: Cursor) -> None:
        """Step behind the collection."""
        counts = self.count.take(cursor)
        self._step_over(cursor, counts)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the collection."""
        count = self.count.take_lone(lone)
        if count:
            for run in self.runs:
                run.advance_lone(lone)
            lone.at += (count - 1) * self.stride_bytes

    def locate(self, cursor: Cursor) -> "LocatedStrided":
        """Step behind the collection and remember where each field of each element lay."""
        counts = self.count.take(cursor)
        firsts = cursor.at.copy()
        seconds = self._step_over(cursor, counts)
        rows = np.repeat(np.arange(len(counts)), counts)
        ranks = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = seconds[rows] + (ranks - 1) * self.stride_bytes
        is_first = ranks == 0
        at[is_first] = firsts[rows[is_first]]
        elements = Cursor(cursor.source, cursor.origin[rows], cursor.end[rows], at)
        starts = tuple(run.locate(elements).starts for run in self.runs)
        return LocatedStrided(strided=self, starts=starts, counts=counts)

    def _step_over(self, cursor: Cursor, counts: Positions) -> Positions:
        """Move behind all elements; give where the second one starts, shape (n,)."""
        first = Cursor(cursor.source, cursor.origin, cursor.end, cursor.at.copy())
        for run in self.runs:
            run.advance(first)
        behind = first.at + (counts - 1) * self.stride_bytes
        np.copyto(cursor.at, behind, where=counts > 0)
        return first.at


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedStrided:
    """The runs of all elements, shape (total,) each, and the counts, shape (n,)."""

    strided: Strided
    starts: tuple[Positions, ...]
    counts: Positions

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy all elements out as one list column."""
        del repairs  # bytes of fixed size can be wrong, but not invalid
        leaves = [
            leaf
            for run, starts in zip(self.strided.runs, self.starts, strict=True)
            for leaf in gather_leaves(source, starts, run.size_bytes, run.leaves)
        ]
        total = int(self.counts.sum())
        elements = self.strided.element.build(iter(leaves), total)
        return [list_array(self.strided.type, self.counts, elements)]
