"""What the parts of a way through a payload have in common."""

from typing import Protocol

import pyarrow as pa

from bridge.cdr.cursor import Cursor, Lone
from bridge.cdr.rejects import Rejects
from bridge.cdr.source import Source


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
