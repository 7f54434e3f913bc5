"""The figures of a topic once more, slow and obvious: lists of messages, sorted and looped over."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from bridge.quality import TopicFigures

SECOND_NS = 1_000_000_000
SEQ_BACK_SHARE_MAX = 0.01


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One message: when it was recorded, its header's stamp and seq, and all else in it."""

    time_ns: int
    stamp_ns: int | None = None
    seq: int | None = None
    rest: Any = b""


def check(figures: TopicFigures, messages: Sequence[Recorded]) -> None:
    """Compare what was measured with what the messages say, percentiles within 3 %."""
    times = [each.time_ns for each in messages]
    pairs = list(pairwise(messages))
    steps = [after.time_ns - before.time_ns for before, after in pairs]
    forward = sorted(step for step in steps if step >= 0)
    assert figures.messages == len(messages)
    assert (figures.start_ns, figures.end_ns) == (min(times), max(times))
    assert figures.times_back == sum(step < 0 for step in steps)
    assert figures.times_repeated == steps.count(0)
    assert_near(figures.period_median_s, percentile(forward, 0.5))
    assert_near(figures.period_p99_s, percentile(forward, 0.99))
    if forward:
        longest = steps.index(forward[-1])
        assert figures.gap_s == forward[-1] / SECOND_NS
        assert figures.gap_start_ns == times[longest]
    else:
        assert figures.gap_s is None
    span_s = (max(times) - min(times)) / SECOND_NS
    assert figures.rate_hz == ((len(messages) - 1) / span_s if span_s else None)
    assert figures.compared == len(pairs)
    assert figures.repeated == sum(before.rest == after.rest for before, after in pairs)
    assert sum(figures.bars) == len(messages)
    check_bars(figures, times)
    check_delays(figures, messages, span_s)
    check_seq(figures, [each.seq for each in messages if each.seq is not None])


def check_bars(figures: TopicFigures, times: Sequence[int]) -> None:
    """Every message is in the bar of its time."""
    width_ns = round(figures.bar_s * SECOND_NS)
    expected = [0] * len(figures.bars)
    for time_ns in times:
        expected[(time_ns - figures.bars_start_ns) // width_ns] += 1
    assert list(figures.bars) == expected


def check_delays(figures: TopicFigures, messages: Sequence[Recorded], span_s: float) -> None:
    """Delays of what has a stamp, and the slope of the line that numpy fits."""
    if all(each.stamp_ns is None for each in messages):
        assert figures.stamped is None
        assert figures.delay_median_s is None
        return
    stamped = [each for each in messages if each.stamp_ns]
    assert figures.stamped == len(stamped)
    delays = [each.time_ns - (each.stamp_ns or 0) for each in stamped]
    assert_near(figures.delay_median_s, percentile(sorted(delays), 0.5))
    assert_near(figures.delay_p99_s, percentile(sorted(delays), 0.99))
    if len({each.time_ns for each in stamped}) < 2:
        assert figures.delay_drift_s is None
        return
    x = np.array([(each.time_ns - stamped[0].time_ns) / SECOND_NS for each in stamped])
    y = np.array([(each - delays[0]) / SECOND_NS for each in delays])
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / (x * x).sum())
    assert figures.delay_drift_s is not None
    spread_s = max(float(np.abs(y).max()), 1e-9)
    assert math.isclose(figures.delay_drift_s, slope * span_s, rel_tol=1e-6, abs_tol=spread_s / 1e6)


def check_seq(figures: TopicFigures, seq: Sequence[int]) -> None:
    """Numbers left out, unless several count."""
    steps = [after - before for before, after in pairwise(seq)]
    back = sum(step < 0 for step in steps)
    if not seq or back > SEQ_BACK_SHARE_MAX * len(seq):
        assert figures.seq_missing is None
    else:
        assert figures.seq_missing == sum(step - 1 for step in steps if step > 1)


def percentile(ordered: Sequence[int], share: float) -> float | None:
    """The least value that this share does not exceed, in seconds."""
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] / SECOND_NS


def assert_near(measured: float | None, exact: float | None) -> None:
    if measured is None or exact is None:
        assert measured == exact
    else:
        assert abs(measured - exact) <= 0.032 * abs(exact) + 0.5e-6


def recorded(bag: Path) -> Iterator[tuple[str, Recorded]]:
    """Read a real bag with rosbags: topic and message."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    with AnyReader([bag], default_typestore=store) as reader:
        for connection, time_ns, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            first = next(iter(message.__dataclass_fields__), "")
            header = getattr(message, "header", None) if first == "header" else None
            stamp = header.stamp if header is not None else None
            if first == "stamp":
                stamp = message.stamp
            yield (
                connection.topic,
                Recorded(
                    time_ns=time_ns,
                    stamp_ns=None if stamp is None else stamp.sec * SECOND_NS + stamp.nanosec,
                    seq=getattr(header, "seq", None),
                    # The stamp is the first or second number of four bytes in either format.
                    rest=bytes(raw[12:]) if stamp is not None else bytes(raw),
                ),
            )
