"""Histograms of many topics in one pass: how long their durations are, when their messages come.

`Spreads` answers for medians and percentiles. A bucket keeps how many durations fell into it and
their sum, and stands for their mean. Buckets are a 32nd of a power of two wide, so a percentile is
off by at most 3 % of itself, and exact where all durations of its bucket are equal. Below 16 us the
error is at most 0.5 us. A topic uses few of its buckets, so they are taken page by page.

`Bars` counts messages over time, on one grid for all topics. It starts fine and gets twice as
coarse whenever the recording outgrows it, so one pass does, without knowing the end.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Weights = NDArray[np.float64]

# A double has 52 bits of fraction; the first five of them number the buckets within an octave.
_FRACTION_BITS = 52
_BUCKET_BITS = 5
# Added to every magnitude: what is shorter than that needs no finer buckets.
_FINEST_NS = 1 << 14
_OCTAVES = 32
_LOWEST = int(np.float64(_FINEST_NS).view(np.int64)) >> (_FRACTION_BITS - _BUCKET_BITS)
_BUCKETS = _OCTAVES << _BUCKET_BITS
"""Up to 2**46 ns, which is 19 hours; what is longer shares the last bucket."""

ROUNDING = 1e-12
"""What a share of a count may be too large by, for being a double."""

WAITING_MAX = 8192
"""After so many durations they are sorted into buckets."""

_PAGE_BITS = 6
_PAGE_BUCKETS = 1 << _PAGE_BITS

PAGES_MAX = 1 << 15
"""Pages of all topics together, a KiB each; of topics that get none percentiles are unknown."""

BARS_MAX = 64
"""A recording has more than half as many bars, unless it is shorter than so many ms."""

_BAR_SHIFT = 20
"""The finest bar is 2**20 ns wide, about a millisecond."""


class Spreads:
    """How the durations of each topic are spread; owned by one thread.

    Args:
        topics: How many topics there are.
        signed: Whether durations may be negative.
    """

    def __init__(self, topics: int, *, signed: bool) -> None:
        self._signed = signed
        self._topic_pages = (2 * _BUCKETS if signed else _BUCKETS) // _PAGE_BUCKETS
        # Which page, by topic and place in it.
        self._page_of = np.full(topics * self._topic_pages, -1, dtype=np.int32)
        self._pages = 0
        self._incomplete = np.zeros(topics, dtype=np.bool_)
        # Durations with topics, rows and weights as they were added: many at a time cost less.
        self._waiting: list[tuple[Numbers, Numbers, Numbers, Weights]] = []
        self._waiting_rows = 0
        # One page behind the other.
        self._counts, self._sums = np.zeros(0), np.zeros(0)

    def add(
        self,
        durations_ns: Numbers,
        topics: Numbers,
        rows: Numbers,
        *,
        weights: Weights | None = None,
    ) -> None:
        """Take in durations, those of a topic side by side.

        Cost: about ten passes over the durations, and nothing in Python per topic. They are kept
        until some more have come.

        Args:
            durations_ns: int64, shape (n,).
            topics: int64, shape (k,): which topics they are of, each once.
            rows: int64, shape (k,): how many each has; n in total.
            weights: float64, shape (k,): how many durations each one of a topic stands for; None
                for itself.
        """
        weights = np.ones(len(topics)) if weights is None else weights
        self._waiting.append((durations_ns, topics, rows, weights))
        self._waiting_rows += len(durations_ns)
        if self._waiting_rows > WAITING_MAX:
            self._flush()

    def _flush(self) -> None:
        """Sort what waits into buckets."""
        if not self._waiting:
            return
        durations_ns, topics, rows, of_topics = map(
            np.concatenate, zip(*self._waiting, strict=True)
        )
        weights = np.repeat(of_topics, rows)
        self._waiting, self._waiting_rows = [], 0
        buckets = self._bucket_of(durations_ns)
        wanted = np.repeat(topics * self._topic_pages, rows) + (buckets >> _PAGE_BITS)
        self._give_pages(wanted)
        pages = self._page_of[wanted].astype(np.int64)
        places = (pages << _PAGE_BITS) + (buckets & (_PAGE_BUCKETS - 1))
        if (pages < 0).any():
            kept = pages >= 0
            places, durations_ns, weights = places[kept], durations_ns[kept], weights[kept]
        np.add.at(self._counts, places, weights)
        np.add.at(self._sums, places, durations_ns * weights)

    def forget(self, topic: int) -> None:
        """Start a topic over."""
        self._flush()
        for part in (self._counts, self._sums):
            part.reshape(-1, _PAGE_BUCKETS)[self._pages_of(topic)] = 0
        self._incomplete[topic] = False

    def quantiles_ns(self, *shares: float) -> NDArray[np.float64]:
        """Give the durations that these shares of a topic's do not exceed.

        Returns:
            float64, shape (topics, shares); NaN where a topic has none, or had no room for some.
        """
        self._flush()
        found = np.full((len(self._incomplete), len(shares)), np.nan)
        page_of = self._page_of.reshape(-1, self._topic_pages)
        taken = page_of >= 0
        pages_each = np.where(self._incomplete, 0, taken.sum(axis=1))
        # Topics with as many pages share an array, in which each is added up by itself: one sum
        # over all of them would round what a small one has.
        for number in np.unique(pages_each[pages_each > 0]):
            topics = np.flatnonzero(pages_each == number)
            pages = page_of[topics][taken[topics]]
            counts, sums = (
                part.reshape(-1, _PAGE_BUCKETS)[pages].reshape(len(topics), -1)
                for part in (self._counts, self._sums)
            )
            reached = np.cumsum(counts, axis=1)
            rows = np.flatnonzero(reached[:, -1] > 0)
            for column, share in enumerate(shares):
                # The first bucket that covers the share: the lower one of two in the middle.
                wanted = share * reached[rows, -1:] * (1 - ROUNDING)
                places = np.argmax(reached[rows] >= wanted, axis=1)
                found[topics[rows], column] = sums[rows, places] / counts[rows, places]
        return found

    def _pages_of(self, topic: int) -> Numbers:
        """Give the pages of a topic, by rising duration."""
        first = topic * self._topic_pages
        pages = self._page_of[first : first + self._topic_pages]
        return pages[pages >= 0].astype(np.int64)

    def _give_pages(self, wanted: Numbers) -> None:
        """Take pages for what has none yet, as long as there are some."""
        fresh = np.unique(wanted[self._page_of[wanted] < 0])
        if not len(fresh):
            return
        fresh, beyond = np.split(fresh, [PAGES_MAX - self._pages])
        self._incomplete[beyond // self._topic_pages] = True
        self._page_of[fresh] = self._pages + np.arange(len(fresh))
        self._pages += len(fresh)
        if (missing := self._pages * _PAGE_BUCKETS - len(self._counts)) > 0:
            # Half as many again, so that few of them are copied often.
            more = np.zeros(missing + self._pages // 2 * _PAGE_BUCKETS)
            self._counts = np.concatenate([self._counts, more])
            self._sums = np.concatenate([self._sums, more])

    def _bucket_of(self, durations_ns: Numbers) -> Numbers:
        """Number the buckets: the exponent and the first bits of the fraction of a double."""
        magnitudes = np.abs(durations_ns) if self._signed else durations_ns
        bits = (magnitudes + _FINEST_NS).astype(np.float64).view(np.int64)
        bits >>= _FRACTION_BITS - _BUCKET_BITS
        bits -= _LOWEST
        np.clip(bits, 0, _BUCKETS - 1, out=bits)
        if not self._signed:
            return bits
        return np.where(durations_ns < 0, _BUCKETS - 1 - bits, _BUCKETS + bits)


class Bars:
    """Counts messages by topic and time; owned by one thread.

    Args:
        topics: How many topics there are.
    """

    def __init__(self, topics: int) -> None:
        self._counts = np.zeros((topics, BARS_MAX), dtype=np.int64)
        self._shift = _BAR_SHIFT
        self._first: int | None = None
        self._last = 0

    def add(
        self, times_ns: Numbers, topics: Numbers, rows: Numbers, *, ordered: bool = False
    ) -> None:
        """Count messages, those of a topic side by side.

        Args:
            times_ns: int64, shape (n,): their log times, for which there is room.
            topics: int64, shape (k,): which topics they are of, each once.
            rows: int64, shape (k,): how many each has; n in total.
            ordered: Whether it is one topic, whose times never go back.
        """
        assert self._first is not None
        if ordered:
            edges = np.arange(self._first, self._last + 1) << self._shift
            behind = np.append(np.searchsorted(times_ns, edges), len(times_ns))
            self._counts[topics[0], : len(edges)] += np.diff(behind)
            return
        places = times_ns >> self._shift
        places -= self._first
        places += np.repeat(topics * BARS_MAX, rows)
        np.add.at(self._counts.reshape(-1), places, 1)

    def forget(self, topic: int) -> None:
        """Start a topic over."""
        self._counts[topic] = 0

    def of(self, topic: int) -> tuple[int, ...]:
        """Give how many messages of a topic are in each bar, from `start_ns` on."""
        if self._first is None:
            return ()
        return tuple(map(int, self._counts[topic, : self._last - self._first + 1]))

    @property
    def start_ns(self) -> int:
        """When the first bar starts."""
        return (self._first or 0) << self._shift

    @property
    def width_ns(self) -> int:
        """How much time a bar covers."""
        return 1 << self._shift

    def make_room(self, low_ns: int, high_ns: int) -> None:
        """Widen the grid, so that all times between these two have a bar."""
        before, shift = self._first, self._shift
        first, last = low_ns >> shift, high_ns >> shift
        if before is not None:
            if before <= first and last <= self._last:
                return
            first, last = min(first, before), max(last, self._last)
        coarser = 0
        while (last >> coarser) - (first >> coarser) >= BARS_MAX:
            coarser += 1
        first, last = first >> coarser, last >> coarser
        if before is not None and (coarser or first != before):
            used = self._last - before + 1
            places = ((before + np.arange(used)) >> coarser) - first
            edges = np.flatnonzero(np.diff(places, prepend=-1))
            widened = np.zeros(self._counts.shape, dtype=np.int64)
            widened[:, places[edges]] = np.add.reduceat(self._counts[:, :used], edges, axis=1)
            self._counts = widened
        self._first, self._last, self._shift = first, last, shift + coarser
