"""Arrays and sequences whose elements vary in size: strings, and messages that hold such.

Where an element starts is known only after the one before it, so the walk goes by rank: the k-th
elements of all rows at once. It takes as many steps as the longest row has elements, not as many
as there are rows. The walk finds only the starts; everything else about the elements is then done
in one batch of all elements.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from bridge.cdr.assembly import Shape, list_array
from bridge.cdr.cursor import LOST, Cursor, Lone, lone_of
from bridge.cdr.rejects import Rejects
from bridge.cdr.sequences import Count
from bridge.cdr.source import Positions, Source

TOGETHER_ROWS_MIN = 10
"""Fewer rows than this are walked one by one (measured: arrays win from about a dozen on)."""

REPEATED_ROWS_MIN = 64
"""Fewer rows than this are not worth a look whether they are all alike."""

REPEATED_SAMPLE_ROWS = 8
"""How many of them are looked at first."""

REPEATED_ELEMENTS_MAX = 256
"""More elements than this are not looked at: the first row is walked alone."""

REPEATED_BYTES_MAX = 16 << 10
"""Longer rows are not compared."""

ALIGNMENT_MASK = 7
"""Two positions that agree in these bits are followed by the same padding."""


class Located(Protocol):
    """Where the bytes of a step lie in every row, ready to be copied out."""

    def gather(self, source: Source, rejects: Rejects) -> list[pa.Array]:
        """Copy the leaf columns of the step out, in field order."""


class Step(Protocol):
    """A part of the way through a payload."""

    def advance(self, cursor: Cursor) -> None:
        """Step over it, in place."""

    def advance_lone(self, lone: Lone) -> None:
        """Step over it with a walker of its own."""

    def locate(self, cursor: Cursor) -> Located:
        """Step over it and remember where it lay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattered:
    """A collection of elements of varying size.

    Attributes:
        count: How the number of elements is told.
        steps: The way through one element.
        element: How the leaves of the steps make an element.
        type: The Arrow list type of the column.
    """

    count: Count
    steps: tuple[Step, ...]
    element: Shape
    type: pa.DataType

    def advance(self, cursor: Cursor) -> None:
        """Step behind the collection."""
        walk_ranks(self.steps, cursor, self.count.take(cursor), starts=None)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the collection."""
        for _ in range(self.count.take_lone(lone)):
            for step in self.steps:
                step.advance_lone(lone)
            if lone.at > lone.end:
                break

    def locate(self, cursor: Cursor) -> "LocatedScattered | LocatedRepeated":
        """Step behind the collection and remember where its elements' parts lay."""
        counts = self.count.take(cursor)
        size_bytes = self._repeated_bytes(cursor, counts)
        if size_bytes:
            first = self._locate_each(cursor.row(0), counts[:1])
            cursor.at += size_bytes
            return LocatedRepeated(first=first, rows=len(cursor))
        return self._locate_each(cursor, counts)

    def _repeated_bytes(self, cursor: Cursor, counts: Positions) -> int:
        """Give how long the elements are where every row has the same bytes there, else 0.

        Names of joints hardly ever change within a recording. Some rows are looked at first, so
        that it costs little where they do.
        """
        rows, count = len(counts), int(counts[0]) if len(counts) else 0
        if rows < REPEATED_ROWS_MIN or not 0 < count <= REPEATED_ELEMENTS_MAX:
            return 0
        if (counts != count).any() or ((cursor.at ^ cursor.at[0]) & ALIGNMENT_MASK).any():
            return 0
        lone = lone_of(cursor, 0)
        walk_alone(self.steps, lone, count)
        size_bytes = lone.at - int(cursor.at[0])
        if size_bytes > REPEATED_BYTES_MAX or (cursor.at + size_bytes > cursor.end).any():
            return 0
        starts = cursor.where()
        sample = starts[:: rows // REPEATED_SAMPLE_ROWS]
        same = all(cursor.source.is_repeated(some, size_bytes) for some in (sample, starts))
        return size_bytes if same else 0

    def _locate_each(self, cursor: Cursor, counts: Positions) -> "LocatedScattered":
        starts = np.empty(int(counts.sum()), dtype=np.int64)
        walk_ranks(self.steps, cursor, counts, starts=starts)
        elements = Cursor(
            cursor.source,
            np.repeat(cursor.origin, counts),
            np.repeat(cursor.end, counts),
            starts,
            cursor.lenient,
        )
        located = tuple(step.locate(elements) for step in self.steps)
        return LocatedScattered(scattered=self, located=located, counts=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedScattered:
    """The parts of all elements, and the counts, shape (n,)."""

    scattered: Scattered
    located: tuple[Located, ...]
    counts: Positions

    def gather(self, source: Source, rejects: Rejects) -> list[pa.Array]:
        """Copy all elements out as one list column."""
        total = int(self.counts.sum())
        element_rejects = Rejects(total)
        leaves = [leaf for part in self.located for leaf in part.gather(source, element_rejects)]
        if element_rejects.by_reason:
            offsets = np.concatenate([[0], np.cumsum(self.counts)])
            rejects.add_elements(element_rejects, offsets)
        elements = self.scattered.element.build(iter(leaves), total)
        return [list_array(self.scattered.type, self.counts, elements)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedRepeated:
    """The elements of the first of some rows, which are those of every other row, too."""

    first: LocatedScattered
    rows: int

    def gather(self, source: Source, rejects: Rejects) -> list[pa.Array]:
        """Copy the first row's elements out and repeat them."""
        first_rejects = Rejects(1)
        columns = self.first.gather(source, first_rejects)
        for reason, invalid in first_rejects.by_reason.items():
            rejects.add(reason, np.repeat(invalid, self.rows))
        firsts = pa.array(np.zeros(self.rows, dtype=np.int32))
        return [column.take(firsts) for column in columns]


def walk_ranks(
    steps: tuple[Step, ...], cursor: Cursor, counts: Positions, *, starts: Positions | None
) -> None:
    """Move every cursor behind its `counts` elements, shape (n,), rank by rank.

    Cost: max(counts) rounds; a round is linear in the rows that still have an element. Rows are
    sorted by count once, so that those are always the first. When few are left, the rest of each
    is walked alone: the one place where the cost is Python's, and per element.

    Args:
        steps: The way through one element.
        cursor: The walkers, in front of their first element; moved in place.
        counts: How many elements each has.
        starts: Where to note each element's start, relative to its origin, shape (sum(counts),),
            elements of a row side by side; or None to note nothing.
    """
    rounds = int(counts.max(initial=0))
    if rounds == 0:
        return
    uniform = int(counts.min()) == rounds
    order = np.arange(len(counts)) if uniform else np.argsort(-counts, kind="stable")
    slots = (np.cumsum(counts) - counts)[order]
    active = len(counts) - np.cumsum(np.bincount(counts, minlength=rounds))[:rounds]
    origin, end, at = cursor.origin[order], cursor.end[order], cursor.at[order]
    together = int(np.count_nonzero(active >= TOGETHER_ROWS_MIN))
    for rank in range(together):
        rows = int(active[rank])
        front = Cursor(cursor.source, origin[:rows], end[:rows], at[:rows], cursor.lenient)
        if starts is not None:
            starts[slots[:rows] + rank] = front.at
        for step in steps:
            step.advance(front)
    cursor.at[order] = at
    for position in range(int(active[together]) if together < rounds else 0):
        row = int(order[position])
        slot, count = int(slots[position]), int(counts[row])
        lone = lone_of(cursor, row)
        noted = walk_alone(steps, lone, count - together)
        cursor.at[row] = lone.at
        if starts is not None:
            starts[slot + together : slot + together + len(noted)] = noted
            starts[slot + together + len(noted) : slot + count] = LOST


def walk_alone(steps: tuple[Step, ...], lone: Lone, count: int) -> list[int]:
    """Move one walker behind `count` elements, or out of its payload; give where each began."""
    noted = []
    for _ in range(count):
        noted.append(lone.at)
        for step in steps:
            step.advance_lone(lone)
        if lone.at > lone.end:
            break
    return noted
