"""One cursor per message, as arrays: where every message of a batch stands while it is walked.

A walk never raises on bad payloads. A cursor that left its payload keeps going over whatever bytes
lie there, and since cursors only move forward, comparing them with the ends at the very end finds
every message that was too short, whatever happened in between.
"""

from dataclasses import dataclass

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
        lenient: Whether declared bounds of strings and sequences are not enforced, which tells
            messages that break a bound from those that are too short.
    """

    source: Source
    origin: Positions
    end: Positions
    at: Positions
    lenient: bool = False

    def __len__(self) -> int:
        return len(self.origin)

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
