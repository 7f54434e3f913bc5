"""Arrays and sequences whose elements vary in size: strings, and messages that hold such.

Where an element starts is known only after the one before it, so the walk goes by rank: the k-th
elements of all rows at once. It takes as many steps as the longest row has elements, not as many
as there are rows. The walk finds only the starts; everything else about the elements is then done
in one batch of all elements.

And messages that start with their size, which lets a reader step over members it does not know.
XCDR2 writes them for appendable types (OMG DDS-XTypes 1.3, 7.4.3.5.3, DHEADER); what a writer with
a newer definition put behind the members known here is passed over.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import LOST, Cursor, Lone, Move, lone_of
from bridge.cdr.sequences import Count
from bridge.cdr.source import Positions, Source
from bridge.cdr.steps import (
    Located,
    LocatedRepeated,
    Repairs,
    Shape,
    Step,
    is_built_alike,
    is_repeated,
    list_array,
    may_repeat,
)

TOGETHER_ROWS_MIN = 10
"""Fewer rows than this are walked one by one (measured: arrays win from about a dozen on)."""

REPEATED_ELEMENTS_MAX = 256
"""More elements than this are not looked at: the first row is walked alone."""

ALIGNMENT_MASK = 7
"""Two positions that agree in these bits are followed by the same padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattered:
    """A collection of elements of varying size.

    Attributes:
        count: How the number of elements is known.
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
        if self._may_repeat(cursor, counts):
            start, lone = int(cursor.at[0]), lone_of(cursor, 0)
            noted = walk_alone(self.steps, lone, int(counts[0]))
            firsts = np.array(noted, dtype=np.int64) - start
            lengths_at = np.array(lone.lengths_at, dtype=np.int64) - start
            size_bytes = lone.at - start
            if is_repeated(cursor, size_bytes):
                row = self._located(cursor.row(0), counts[:1], firsts + start)
                cursor.at += size_bytes
                return LocatedRepeated(first=row, rows=len(cursor))
            if is_built_alike(cursor, size_bytes, lengths_at):
                starts = (cursor.at[:, np.newaxis] + firsts).ravel()
                cursor.at += size_bytes
                return self._located(cursor, counts, starts)
        starts = np.empty(int(counts.sum()), dtype=np.int64)
        walk_ranks(self.steps, cursor, counts, starts=starts)
        return self._located(cursor, counts, starts)

    def _may_repeat(self, cursor: Cursor, counts: Positions) -> bool:
        """Tell whether it is worth a look: same counts, and the same padding between elements."""
        return (
            may_repeat(cursor)
            and 0 < int(counts[0]) <= REPEATED_ELEMENTS_MAX
            and not (counts != counts[0]).any()
            and not ((cursor.at ^ cursor.at[0]) & ALIGNMENT_MASK).any()
        )

    def _located(self, cursor: Cursor, counts: Positions, starts: Positions) -> "LocatedScattered":
        """Remember where the parts of elements lie that begin at `starts`, shape (sum(counts),)."""
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

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy all elements out as one list column."""
        total = int(self.counts.sum())
        element_repairs = Repairs(total)
        leaves = [leaf for part in self.located for leaf in part.gather(source, element_repairs)]
        if element_repairs.by_reason or element_repairs.implausible:
            offsets = np.concatenate([[0], np.cumsum(self.counts)])
            repairs.add_elements(element_repairs, offsets)
        elements = self.scattered.element.build(iter(leaves), total)
        return [list_array(self.scattered.type, self.counts, elements)]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimited:
    """A message behind its size in bytes.

    Attributes:
        move: The padding before the size.
        steps: The way through the members that are known.
    """

    move: Move
    steps: tuple[Step, ...]

    def advance(self, cursor: Cursor) -> None:
        """Step behind the message."""
        inner = self._enter(cursor)
        for step in self.steps:
            step.advance(inner)
        _leave(cursor, inner)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the message."""
        lone.at = self.move.applied(lone.at)
        size_bytes, end = lone.take_length(), lone.end
        limit = lone.at + size_bytes
        lone.end = min(limit, end)
        for step in self.steps:
            step.advance_lone(lone)
        lone.at = LOST if lone.at > lone.end else limit
        lone.end = end

    def locate(self, cursor: Cursor) -> "LocatedDelimited":
        """Step behind the message and remember where its members lay."""
        inner = self._enter(cursor)
        located = tuple(step.locate(inner) for step in self.steps)
        _leave(cursor, inner)
        return LocatedDelimited(located=located)

    def _enter(self, cursor: Cursor) -> Cursor:
        """Step behind the size; give cursors that end where the message does."""
        self.move.apply(cursor.at)
        sizes = cursor.take_lengths()
        limits = np.minimum(cursor.at + sizes, cursor.end)
        at = cursor.at.copy()
        cursor.at += sizes
        return Cursor(cursor.source, cursor.origin, limits, at, cursor.lenient)


def _leave(cursor: Cursor, inner: Cursor) -> None:
    """Lose the rows whose members go on behind the end of their message."""
    bad = inner.at > inner.end
    if bad.any():
        cursor.lose(bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedDelimited:
    """The members' places in every row."""

    located: tuple[Located, ...]

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the members' columns out, in order."""
        return [leaf for part in self.located for leaf in part.gather(source, repairs)]
