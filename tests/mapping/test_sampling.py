"""Leaving messages out on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mapping import Downsampler, TopicOptions

SECOND = 1_000_000_000


def chosen(options: TopicOptions, times_ns: list[int], cuts: list[int]) -> list[int]:
    """The times that are kept when they arrive in blocks."""
    sampler = Downsampler(options)
    kept: list[int] = []
    for block in np.split(np.array(times_ns, np.int64), sorted(cuts)):
        kept += block[sampler.select(block)].tolist()
    return kept


@given(st.integers(1, 5), st.integers(0, 30), st.lists(st.integers(0, 30), max_size=3))
def test_every_nth_counts_across_blocks(nth: int, rows: int, cuts: list[int]) -> None:
    """The first of every n stays, wherever blocks begin."""
    times = list(range(rows))
    cuts = [cut for cut in cuts if cut <= rows]
    assert chosen(TopicOptions(every_nth=nth), times, cuts) == times[::nth]


@given(
    st.floats(0.1, 100),
    st.lists(st.integers(0, 3 * SECOND), max_size=40).map(sorted),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_rate_is_bounded_in_every_period(max_hz: float, times: list[int], cuts: list[int]) -> None:
    """Each period keeps exactly its first message, wherever blocks begin."""
    period_ns = round(SECOND / max_hz)
    first: dict[int, int] = {}
    for time in times:
        first.setdefault(time // period_ns, time)
    cuts = [cut for cut in cuts if cut <= len(times)]
    assert chosen(TopicOptions(max_hz=max_hz), times, cuts) == list(first.values())


def test_rate_looks_at_what_the_count_has_left() -> None:
    """Both choices together: every second message, of those one a second."""
    times = [index * SECOND // 10 for index in range(40)]
    options = TopicOptions(every_nth=2, max_hz=1.0)
    assert chosen(options, times, [7]) == [0, SECOND, 2 * SECOND, 3 * SECOND]


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (TopicOptions(), True),
        (TopicOptions(every_nth=2), False),
        (TopicOptions(max_hz=5.0), False),
    ],
)
def test_sampler_says_whether_it_does_anything(options: TopicOptions, *, idle: bool) -> None:
    """Without a choice no time is spent."""
    assert Downsampler(options).idle is idle
