"""Messages that start with their size, which lets a reader step over members it does not know.

XCDR2 writes them for appendable types (OMG DDS-XTypes 1.3, 7.4.3.5.3, DHEADER). What a writer
with a newer definition put behind the members known here is passed over.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import LOST, Cursor, Lone, Move
from bridge.cdr.source import Source
from bridge.cdr.steps import Located, Repairs, Step


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
