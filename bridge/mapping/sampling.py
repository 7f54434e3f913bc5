"""Leaving messages out on purpose: every n-th, or so many a second."""

import numpy as np
from numpy.typing import NDArray

from bridge.mapping.choices import TopicOptions
from bridge.units import SECOND_NS


class Downsampler:
    """Chooses messages of one topic, block by block; remembers where it was in between.

    With both choices set, `max_hz` looks only at what `every_nth` has left. Owned by the thread
    that reads the topic.

    Attributes:
        filtered: Messages left out so far.
    """

    __slots__ = ("_every_nth", "_period", "_period_ns", "_position", "filtered")

    def __init__(self, options: TopicOptions) -> None:
        self._every_nth = options.every_nth
        self._period_ns: int | None = None
        if options.max_hz is not None:
            self._period_ns = max(1, round(SECOND_NS / options.max_hz))
        self._position = 0
        self._period: int | None = None
        self.filtered = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is ever left out."""
        return self._every_nth <= 1 and self._period_ns is None

    def select(self, log_times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Choose among the next messages; meant to be called before they are even decoded.

        Args:
            log_times_ns: Shape (n,), record times in file order.

        Returns:
            Shape (n,), True for messages to keep: the first of every n, and among those the first
            of every period of record time.
        """
        rows = len(log_times_ns)
        keep: NDArray[np.bool_] = (self._position + np.arange(rows)) % max(1, self._every_nth) == 0
        self._position += rows
        if self._period_ns is not None:
            keep[keep] = self._first_of_period(log_times_ns[keep] // self._period_ns)
        self.filtered += rows - int(np.count_nonzero(keep))
        return keep

    def _first_of_period(self, periods: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = np.ones(len(periods), np.bool_)
        if len(periods):
            first[1:] = periods[1:] != periods[:-1]
            first[0] = self._period is None or int(periods[0]) != self._period
            self._period = int(periods[-1])
        return first
