"""One cursor per message, as arrays: the position in every message of a batch while it is walked.

A walk never raises on bad payloads. A cursor that left its payload keeps going over whatever bytes
follow, and since cursors only move forward, comparing them with the ends at the very end finds
every message that was too short, whatever happened in between.
"""

import sys
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.cdr.source import Positions, Source

LOST = 1 << 48
"""Where cursors are sent that met something impossible; behind the end of every payload."""


@dataclass(slots=True)
class Cursor:
    """The positions of n walkers over one buffer.

    Attributes:
        source: The buffer.
        origin: int64, shape (n,): where alignment counts from, absolute.
        end: int64, shape (n,): end of the payload, relative to the origin.
        at: int64, shape (n,): the position, relative to the origin; owned and changed in place.
        lenient: Whether declared bounds of sequences are not enforced, which tells
            messages that break a bound from those that are too short.
    """

    source: Source
    origin: Positions
    end: Positions
    at: Positions
    lenient: bool = False

    def __len__(self) -> int:
        return len(self.origin)

    def row(self, index: int) -> "Cursor":
        """Split one row off, as a cursor that moves alone."""
        rows = slice(index, index + 1)
        at = self.at[rows].copy()
        return Cursor(self.source, self.origin[rows], self.end[rows], at, self.lenient)

    def where(self) -> Positions:
        """Give the absolute positions: a new array, shape (n,)."""
        return self.origin + self.at

    def lose(self, bad: NDArray[np.bool_]) -> None:
        """Send the walkers marked true, shape (n,), behind the end of their payloads."""
        self.at[bad] = LOST

    def take_lengths(self) -> Positions:
        """Read the length under each walker and step behind it."""
        lengths = self.source.lengths_at(self.where())
        self.at += 4
        return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A step over padding: to an alignment that only run time can tell, then by a constant.

    Attributes:
        alignment: A power of two, or 1 where nothing is to be aligned.
        pad_bytes: Padding that the plan already knew.
    """

    alignment: int = 1
    pad_bytes: int = 0

    def apply(self, at: Positions) -> None:
        """Move cursors, shape (n,), in place."""
        if self.alignment > 1:
            at += self.alignment - 1
            at &= -self.alignment
        if self.pad_bytes:
            at += self.pad_bytes

    def applied(self, at: int) -> int:
        """Give where a lone walker is then."""
        return (at + self.alignment - 1 & -self.alignment) + self.pad_bytes


_LENGTH_LITTLE, _LENGTH_BIG = Struct("<I"), Struct(">I")


@dataclass(slots=True)
class Lone:
    """A walker of its own, for the few rows that have far more elements than all others.

    Arrays of one or two positions cost more than the positions: one row of 100,000 strings is
    walked ten times faster this way.

    Attributes:
        data: The buffer.
        length: Reads a length from the buffer at an absolute position.
        origin: Where alignment counts from, absolute.
        end: End of the payload, relative to the origin.
        at: The position, relative to the origin.
        lenient: As in `Cursor`.
        lengths_at: Where it has read lengths so far, relative to the origin.
    """

    data: Any
    length: Struct
    origin: int
    end: int
    at: int
    lenient: bool
    lengths_at: list[int] = field(default_factory=list)

    def take_length(self) -> int:
        """Read the length here and step behind it; a walker that cannot is lost and reads 0."""
        if self.at + self.length.size > self.end:
            self.at = LOST
            return 0
        self.lengths_at.append(self.at)
        value: int = self.length.unpack_from(self.data, self.origin + self.at)[0]
        self.at += self.length.size
        return value


def lone_of(cursor: Cursor, row: int) -> Lone:
    """Split one row off a cursor."""
    big = cursor.source.swap == (sys.byteorder == "little")
    return Lone(
        data=cursor.source.data.data,
        length=_LENGTH_BIG if big else _LENGTH_LITTLE,
        origin=int(cursor.origin[row]),
        end=int(cursor.end[row]),
        at=int(cursor.at[row]),
        lenient=cursor.lenient,
    )
