"""From leaf columns to nested columns: the struct and list types, and the arrays, in one walk."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from bridge.cdr.source import Positions
from bridge.cdr.text import offsets_of


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
