"""Rows that turn out bad only when their values are looked at, by reason."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.cdr.source import Positions


@dataclass(slots=True)
class Rejects:
    """The bad rows of one frame of rows, found leaf by leaf.

    Attributes:
        count: Rows of the frame.
        by_reason: For each reason a mask, shape (count,).
    """

    count: int
    by_reason: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, reason: str, bad: NDArray[np.bool_]) -> None:
        """Reject the rows marked true, shape (count,)."""
        known = self.by_reason.get(reason)
        self.by_reason[reason] = bad if known is None else known | bad

    def add_elements(self, elements: "Rejects", offsets: Positions) -> None:
        """Reject every row that owns a rejected element; row i owns offsets[i] to offsets[i+1]."""
        for reason, bad in elements.by_reason.items():
            owners = np.searchsorted(offsets, np.flatnonzero(bad), side="right") - 1
            rows = np.zeros(self.count, dtype=bool)
            rows[owners] = True
            self.add(reason, rows)
