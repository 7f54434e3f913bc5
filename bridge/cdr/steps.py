"""What the steps through a payload have in common: their protocols, repaired rows, Arrow shapes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor, Lone
from bridge.cdr.source import Positions, Source


@dataclass(slots=True)
class Repairs:
    """The rows of one frame in which something had to be replaced, found leaf by leaf.

    Attributes:
        count: Rows of the frame.
        by_reason: For each reason a mask, shape (count,).
        implausible: How many characters no text would have: what was read was perhaps none.
    """

    count: int
    by_reason: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    implausible: int = 0

    def add(self, reason: str, rows: NDArray[np.bool_]) -> None:
        """Note the rows marked true, shape (count,)."""
        known = self.by_reason.get(reason)
        self.by_reason[reason] = rows if known is None else known | rows

    def add_elements(self, elements: "Repairs", offsets: Positions) -> None:
        """Note every row that owns a noted element; row i owns offsets[i] to offsets[i+1]."""
        self.implausible += elements.implausible
        for reason, found in elements.by_reason.items():
            owners = np.searchsorted(offsets, np.flatnonzero(found), side="right") - 1
            rows = np.zeros(self.count, dtype=bool)
            rows[owners] = True
            self.add(reason, rows)


class Located(Protocol):
    """Where the bytes of a step lie in every row, ready to be copied out."""

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
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
class Shape:
    """How a value is put together: a leaf column, or a struct of shapes.

    Attributes:
        type: The Arrow type.
        members: The children of a struct in order, or None for a leaf.
    """

    type: pa.DataType
    members: "tuple[Shape, ...] | None" = None

    def build(self, leaves: Iterator[pa.Array], count: int) -> pa.Array:
        """Take as many leaf columns as the value has, in order, and nest them, shape (count,)."""
        if self.members is None:
            return next(leaves)
        children = [member.build(leaves, count) for member in self.members]
        return pa.Array.from_buffers(self.type, count, [None], children=children)


def list_array(kind: pa.DataType, counts: Positions, elements: pa.Array) -> pa.Array:
    """Make the list column whose rows have `counts` elements, shape (n,), one after the other."""
    if pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, len(counts), [None], children=[elements])
    offsets = pa.py_buffer(offsets_of(counts))
    return pa.Array.from_buffers(kind, len(counts), [None, offsets], children=[elements])


def offsets_of(lengths: Positions) -> NDArray[np.int32]:
    """Give the Arrow offsets of rows with these lengths, shape (n,) -> shape (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
