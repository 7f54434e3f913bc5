"""Measures topics while their messages pass by: arrays in, figures out, each message seen once.

Messages come as blocks in file order, those of a topic side by side; what is kept of a topic
between blocks is a few numbers, two histograms and its last message. Nothing runs in Python per
message, and little per topic of a block.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import MessageBlock, MessageType, MixedBlock, Serialization, Topic
from bridge.quality.figures import RecordingQuality, TopicFigures
from bridge.quality.histograms import ROUNDING, Bars, Spreads
from bridge.quality.repeats import Repeats, words_of
from bridge.units import SECOND_NS

Numbers = NDArray[np.int64]

LOSSES_TYPE = "rosbag2_interfaces/msg/MessagesLostEvent"
"""What a recorder from ROS 2 Lyrical on reports its losses as, by itself, about any topic."""

HEADER_TYPE = "std_msgs/msg/Header"
TIME_TYPE = "builtin_interfaces/msg/Time"
NANOSECONDS_MAX = 1_000_000_000
# CDR starts with four bytes of encapsulation, a ROS 1 header with its four bytes of `seq`.
STAMP_AT = 4
STAMP_BYTES = 8
SEQ_BYTES = 4
# The second byte of the encapsulation is odd where numbers have their lowest byte first.
BYTE_ORDER_AT = 1

WHOLE_MAX, RUNS, RUN = 4096, 32, 8
"""Of a block of more than `WHOLE_MAX` messages of one topic so many runs of so many messages are
looked into: enough for percentiles and shares. Each message costs a read from memory that no cache
holds, and of the 26,000 small ones of a batch that would show; those side by side cost less."""

WHOLE_OF_MANY_MAX, RUNS_OF_MANY = 256, 16
"""In a block of more than `WHOLE_MAX` messages of several topics: of each topic that has more than
the first of these there, so many runs."""


def _places(runs: int) -> NDArray[np.float64]:
    """Where runs start, as shares of the rows: one in each even part of them.

    At random, so that no pattern is met or missed every time, and the same every time.
    """
    random = Random(0).random  # noqa: S311 - no secret
    return np.array([(place + random()) / runs for place in range(runs)])


_PLACES, _PLACES_OF_MANY = _places(RUNS), _places(RUNS_OF_MANY)
# With the message before the first, which that is compared with.
_IN_RUN = np.arange(1 + RUN)

SEQ_BACK_SHARE_MAX = 0.01
"""Where `seq` goes back more often than that, several publishers count, each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Which messages of a block are looked into, n of them; of k topics.

    Attributes:
        at: int64, shape (n,): their rows, ascending; None for all.
        rows: int64, shape (k,): how many each topic has of them, at least its first and last.
        weights: float64, shape (k,): how many messages each one stands for.
        follows: bool, shape (n,): whether the message before it in its topic is the one before it
            here.
    """

    at: Numbers | None
    rows: Numbers
    weights: NDArray[np.float64]
    follows: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Numbers) -> "_Sample":
        """Choose, of a block in which each topic has so many messages side by side."""
        firsts, total = np.cumsum(rows) - rows, int(rows.sum())
        whole_max, places = WHOLE_OF_MANY_MAX, _PLACES_OF_MANY
        if len(rows) == 1:
            whole_max, places = WHOLE_MAX, _PLACES
        large = rows > whole_max
        if total <= WHOLE_MAX or not large.any():
            follows = np.ones(total, dtype=np.bool_)
            follows[firsts] = False
            return cls(at=None, rows=rows, weights=np.ones(len(rows)), follows=follows)
        within = np.outer(rows[large] - len(_IN_RUN), places).astype(np.int64)
        runs = (firsts[large][:, np.newaxis] + within)[:, :, np.newaxis] + _IN_RUN
        chosen = np.repeat(~large, rows)
        chosen[runs.reshape(-1)] = True
        # The first and the last join a block to others.
        chosen[firsts] = chosen[firsts + rows - 1] = True
        at = np.flatnonzero(chosen)
        behind = np.searchsorted(at, firsts + rows)
        kept = np.diff(behind, prepend=0)
        follows = np.diff(at, prepend=-2) == 1
        follows[behind - kept] = False
        return cls(at=at, rows=kept, weights=rows / kept, follows=follows)

    def of_block(self, block: MessageBlock) -> MessageBlock:
        """Give these messages of the block; no payload is copied."""
        if self.at is None:
            return block
        return replace(
            block,
            log_times_ns=block.log_times_ns[self.at],
            starts=block.starts[self.at],
            ends=block.ends[self.at],
        )


class Meter:
    """The figures of one recording in the making; owned by one thread.

    Args:
        topics: The topics of the recording; blocks refer to them by their place.
    """

    def __init__(self, topics: Sequence[Topic]) -> None:
        count = len(topics)
        self._topics = count
        self._stamp_at = np.array([_stamp_at(topic) for topic in topics], dtype=np.int64)
        self._ros1 = np.array(
            [topic.serialization is Serialization.ROS1 for topic in topics], dtype=np.bool_
        )
        # A ROS 1 header has `seq` before its stamp.
        self._has_seq = self._ros1 & (self._stamp_at == STAMP_AT)
        self._numbers = {
            name: np.zeros(count, dtype=np.int64)
            for name in (
                "messages", "back", "repeated", "last_ns", "stamped", "seq_last", "seq_seen",
                "seq_missing", "seq_back", "base_delay_ns", "base_ns",
            )
        }  # fmt: skip
        self._start_ns = np.full(count, np.iinfo(np.int64).max)
        self._end_ns = np.full(count, np.iinfo(np.int64).min)
        self._gap_ns = np.full(count, -1, dtype=np.int64)
        self._gap_start_ns = np.zeros(count, dtype=np.int64)
        # Sums of 1, x, y, xx, xy for the straight line through delays y over times x, in seconds.
        self._line = np.zeros((5, count))
        self._periods = Spreads(count, signed=False)
        self._delays = Spreads(count, signed=True)
        self._bars = Bars(count)
        self._reported: dict[int, dict[str, tuple[int, int]]] = {}
        self._repeats = Repeats(count, np.where(self._stamp_at < 0, 0, self._stamp_at + 8))

    def add(self, block: MessageBlock, topics: Sequence[int], rows: Sequence[int]) -> None:
        """Take in messages that follow those before, with all that is in them.

        Args:
            block: The messages, those of a topic side by side and in file order.
            topics: The topics, in that order, each once.
            rows: How many messages each has, at least one.
        """
        segments = np.asarray(topics, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        sample = _Sample.of(segments[1])
        self._add_times(block.log_times_ns, *segments, sample)
        if self._has_seq[segments[0]].any():
            self._add_seq(block, *segments)
        looked_into = sample.of_block(block)
        self._add_stamps(looked_into, segments[0], sample)
        self._repeats.add(looked_into, segments[0], sample.rows, sample.follows)

    def add_times(self, block: MixedBlock) -> None:
        """Take in only when messages were recorded, of topics whose content nobody looks at."""
        if len(block.topics):
            edges = np.flatnonzero(np.diff(block.topics, prepend=-1, append=-1))
            rows = np.diff(edges)
            self._add_times(block.log_times_ns, block.topics[edges[:-1]], rows, _Sample.of(rows))

    def expect_reports(self, topic: int) -> None:
        """Take note of a topic that `reports_losses`: without a report nothing is lost."""
        self._reported.setdefault(topic, {})

    def add_reports(self, topic: int, messages: pa.StructArray) -> None:
        """Take in what the recorder reports lost, of a topic that `reports_losses`.

        Args:
            topic: The topic of the reports.
            messages: Reports as decoded, in the terms of `rosbag2_interfaces/MessagesLostEvent`.
        """
        counts = self._reported.setdefault(topic, {})
        lost = messages.field("messages_lost_statistics").flatten()
        names = lost.field("topic_name").to_numpy(zero_copy_only=False)
        in_transport = lost.field("messages_lost_in_transport").to_numpy()
        in_recorder = lost.field("messages_lost_in_recorder").to_numpy()
        for name, transport, recorder in zip(names, in_transport, in_recorder, strict=True):
            before = counts.get(name, (0, 0))
            counts[name] = before[0] + int(transport), before[1] + int(recorder)

    def reported_losses(self) -> dict[str, tuple[int, int]]:
        """Give what the recorder reports lost: by topic, in transport and in the recorder."""
        total: dict[str, tuple[int, int]] = {}
        for counts in self._reported.values():
            for name, (transport, recorder) in counts.items():
                before = total.get(name, (0, 0))
                total[name] = before[0] + transport, before[1] + recorder
        return total

    @property
    def has_reports(self) -> bool:
        """Whether the recorder reports what it loses."""
        return bool(self._reported)

    def forget(self, topics: Iterable[int]) -> None:
        """Start topics over, because their messages come once more."""
        for topic in topics:
            self._reported.pop(topic, None)
            for numbers in self._numbers.values():
                numbers[topic] = 0
            self._start_ns[topic] = np.iinfo(np.int64).max
            self._end_ns[topic] = np.iinfo(np.int64).min
            self._gap_ns[topic] = -1
            self._line[:, topic] = 0
            for part in (self._periods, self._delays, self._bars, self._repeats):
                part.forget(topic)

    def of_topics(self) -> list[TopicFigures]:
        """Give the figures of each topic; what the recorder says of it is not among them."""
        periods_s = _in_seconds(self._periods.quantiles_ns(0.5, 0.99))
        delays_s = _in_seconds(self._delays.quantiles_ns(0.5, 0.99))
        return [
            self._of_topic(topic, *spreads)
            for topic, spreads in enumerate(zip(periods_s, delays_s, strict=True))
        ]

    def _of_topic(
        self, topic: int, periods_s: list[float | None], delays_s: list[float | None]
    ) -> TopicFigures:
        numbers = {name: int(each[topic]) for name, each in self._numbers.items()}
        if not numbers["messages"]:
            return TopicFigures(stamped=0 if self._stamp_at[topic] >= 0 else None)
        start_ns, end_ns = int(self._start_ns[topic]), int(self._end_ns[topic])
        span_s = (end_ns - start_ns) / SECOND_NS
        has_gap = self._gap_ns[topic] >= 0
        period, period_p99 = periods_s
        delay, delay_p99 = delays_s
        return TopicFigures(
            messages=numbers["messages"],
            start_ns=start_ns,
            end_ns=end_ns,
            rate_hz=(numbers["messages"] - 1) / span_s if span_s > 0 else None,
            period_median_s=period,
            period_p99_s=period_p99,
            gap_s=int(self._gap_ns[topic]) / SECOND_NS if has_gap else None,
            gap_start_ns=int(self._gap_start_ns[topic]) if has_gap else None,
            times_back=numbers["back"],
            times_repeated=numbers["repeated"],
            stamped=numbers["stamped"] if self._stamp_at[topic] >= 0 else None,
            delay_median_s=delay,
            delay_p99_s=delay_p99,
            delay_drift_s=self._drift_s(topic, span_s),
            compared=int(self._repeats.compared[topic]),
            repeated=int(self._repeats.equal[topic]),
            seq_missing=self._seq_missing(topic, numbers),
            bars=self._bars.of(topic),
            bars_start_ns=self._bars.start_ns,
            bar_s=self._bars.width_ns / SECOND_NS,
        )

    def of_recording(self) -> RecordingQuality:
        """Give what holds for all topics; without findings."""
        known = self._numbers["messages"] > 0
        if not known.any():
            return RecordingQuality()
        return RecordingQuality(
            start_ns=int(self._start_ns[known].min()),
            end_ns=int(self._end_ns[known].max()),
        )

    def _add_times(
        self, times_ns: Numbers, topics: Numbers, rows: Numbers, sample: _Sample
    ) -> None:
        firsts = np.cumsum(rows) - rows
        numbers = self._numbers
        fresh = numbers["messages"][topics] == 0
        steps_ns = _steps_of(times_ns, firsts, numbers["last_ns"][topics], fresh)
        shortest_ns = int(steps_ns.min())
        if shortest_ns <= 0:
            back = np.add.reduceat(steps_ns < 0, firsts, dtype=np.int64)
            numbers["back"][topics] += back
            # The first message of a topic has itself before it.
            numbers["repeated"][topics] += np.add.reduceat(steps_ns == 0, firsts, dtype=np.int64)
            numbers["repeated"][topics] -= fresh
        self._note_gaps(times_ns, steps_ns, topics, firsts, fresh, rows)
        last_ns = times_ns[firsts + rows - 1]
        lowest_ns, highest_ns = times_ns[firsts], last_ns
        if shortest_ns < 0:
            lowest_ns = np.minimum.reduceat(times_ns, firsts, dtype=np.int64)
            highest_ns = np.maximum.reduceat(times_ns, firsts, dtype=np.int64)
        self._start_ns[topics] = np.minimum(self._start_ns[topics], lowest_ns)
        self._end_ns[topics] = np.maximum(self._end_ns[topics], highest_ns)
        self._bars.make_room(int(lowest_ns.min()), int(highest_ns.max()))
        self._bars.add(times_ns, topics, rows, ordered=len(rows) == 1 and shortest_ns >= 0)
        numbers["messages"][topics] += rows
        numbers["last_ns"][topics] = last_ns
        if sample.at is not None:
            steps_ns = steps_ns[sample.at]
        rows, weights = sample.rows, sample.weights
        if shortest_ns < 0 or fresh.any():
            firsts = np.cumsum(rows) - rows
            kept = steps_ns >= 0
            kept[firsts[fresh]] = False
            rows = np.add.reduceat(kept, firsts, dtype=np.int64)
            steps_ns = steps_ns[kept]
            topics, weights, rows = topics[rows > 0], weights[rows > 0], rows[rows > 0]
        if len(steps_ns):
            self._periods.add(steps_ns, topics, rows, weights=weights)

    def _note_gap(self, topic: int, start_ns: int, gap_ns: int) -> None:
        if gap_ns > self._gap_ns[topic]:
            self._gap_ns[topic], self._gap_start_ns[topic] = gap_ns, start_ns

    def _note_gaps(
        self,
        times_ns: Numbers,
        steps_ns: Numbers,
        topics: Numbers,
        firsts: Numbers,
        fresh: NDArray[np.bool_],
        rows: Numbers,
    ) -> None:
        """Note the longest gap of topics where it is longer than any before."""
        longest_ns = np.maximum.reduceat(steps_ns, firsts, dtype=np.int64)
        # A single message has nothing before it.
        longest_ns[fresh & (rows == 1)] = -1
        for segment in map(int, np.flatnonzero(longest_ns > self._gap_ns[topics])):
            topic, first, count = topics[segment], int(firsts[segment]), int(rows[segment])
            # Of a topic that is new, the first message ends no gap.
            first, count = first + int(fresh[segment]), count - int(fresh[segment])
            at = first + int(np.argmax(steps_ns[first : first + count]))
            gap_ns = int(steps_ns[at])
            self._note_gap(int(topic), int(times_ns[at]) - gap_ns, gap_ns)

    def _add_stamps(self, block: MessageBlock, topics: Numbers, sample: _Sample) -> None:
        """Take in the stamps that messages start with, in their header or by themselves."""
        rows, weights = sample.rows, sample.weights
        has = self._stamp_at[topics] >= 0
        if not has.any():
            return
        times_ns, starts, ends = block.log_times_ns, block.starts, block.ends
        usable = ends - starts >= np.repeat(self._stamp_at[topics] + STAMP_BYTES, rows)
        usable &= np.repeat(has, rows)
        if not usable.all():
            rows = np.add.reduceat(usable, np.cumsum(rows) - rows, dtype=np.int64)
            times_ns, starts = times_ns[usable], starts[usable]
            topics, weights, rows = topics[rows > 0], weights[rows > 0], rows[rows > 0]
            if not len(topics):
                return
        where = starts + np.repeat(self._stamp_at[topics], rows)
        stamps_ns = _stamps(block.data, starts, where, np.repeat(self._ros1[topics], rows))
        usable = stamps_ns > 0
        if not usable.all():
            rows = np.add.reduceat(usable, np.cumsum(rows) - rows, dtype=np.int64)
            times_ns, stamps_ns = times_ns[usable], stamps_ns[usable]
            topics, weights, rows = topics[rows > 0], weights[rows > 0], rows[rows > 0]
        if len(topics):
            self._add_delays(times_ns - stamps_ns, times_ns, topics, rows, weights)

    def _add_delays(
        self,
        delays_ns: Numbers,
        times_ns: Numbers,
        topics: Numbers,
        rows: Numbers,
        weights: NDArray[np.float64],
    ) -> None:
        numbers = self._numbers
        firsts = np.cumsum(rows) - rows
        fresh = numbers["stamped"][topics] == 0
        # Sums are taken from the first on: a clock's whole count would swallow the digits.
        numbers["base_ns"][topics[fresh]] = times_ns[firsts[fresh]]
        numbers["base_delay_ns"][topics[fresh]] = delays_ns[firsts[fresh]]
        numbers["stamped"][topics] += rows
        self._delays.add(delays_ns, topics, rows, weights=weights)
        x = (times_ns - np.repeat(numbers["base_ns"][topics], rows)) / SECOND_NS
        y = (delays_ns - np.repeat(numbers["base_delay_ns"][topics], rows)) / SECOND_NS
        self._line[0, topics] += rows * weights
        for sums, values in zip(self._line[1:], (x, y, x * x, x * y), strict=True):
            sums[topics] += np.add.reduceat(values, firsts) * weights

    def _add_seq(self, block: MessageBlock, topics: Numbers, rows: Numbers) -> None:
        """Count what is missing by the counter that ROS 1 puts into each header."""
        starts = block.starts
        counted = np.repeat(self._has_seq[topics], rows) & (block.ends - starts >= SEQ_BYTES)
        if not counted.all():
            rows = np.add.reduceat(counted, np.cumsum(rows) - rows, dtype=np.int64)
            starts = starts[counted]
            topics, rows = topics[rows > 0], rows[rows > 0]
            if not len(topics):
                return
        seq = words_of(block.data, "<u4")[starts].astype(np.int64)
        firsts = np.cumsum(rows) - rows
        numbers = self._numbers
        fresh = numbers["seq_seen"][topics] == 0
        steps = _steps_of(seq, firsts, numbers["seq_last"][topics], fresh)
        missing = np.where(steps > 1, steps - 1, 0)
        numbers["seq_missing"][topics] += np.add.reduceat(missing, firsts)
        numbers["seq_back"][topics] += np.add.reduceat(steps < 0, firsts, dtype=np.int64)
        numbers["seq_seen"][topics] += rows
        numbers["seq_last"][topics] = seq[firsts + rows - 1]

    def _drift_s(self, topic: int, span_s: float) -> float | None:
        count, x, y, xx, xy = (float(value) for value in self._line[:, topic])
        spread = count * xx - x * x
        # Two messages of one time make no line.
        if spread <= count * xx * ROUNDING:
            return None
        return (count * xy - x * y) / spread * span_s

    def _seq_missing(self, topic: int, numbers: dict[str, int]) -> int | None:
        seen = numbers["seq_seen"]
        if not self._has_seq[topic] or numbers["seq_back"] > SEQ_BACK_SHARE_MAX * seen:
            return None
        return numbers["seq_missing"]


def reports_losses(topic: Topic) -> bool:
    """Tell whether a topic holds the recorder's reports of what it lost."""
    kind = topic.message_type
    names = {name for name, _ in kind.fields} if kind is not None else set()
    return topic.msgtype == LOSSES_TYPE and "messages_lost_statistics" in names


def _stamp_at(topic: Topic) -> int:
    """Give where the stamp of a message is that starts with a header or a time, or -1."""
    message_type = topic.message_type
    if message_type is None or not message_type.fields:
        return -1
    first = message_type.fields[0][1]
    name = first.name if isinstance(first, MessageType) else ""
    if topic.serialization is Serialization.ROS1:
        return {HEADER_TYPE: STAMP_AT, TIME_TYPE: 0}.get(name, -1)
    # An appendable type may have its length in front, which moves everything.
    plain = not message_type.extensibility or message_type.extensibility == "final"
    return STAMP_AT if plain and name in {HEADER_TYPE, TIME_TYPE} else -1


def _stamps(
    data: NDArray[np.uint8], starts: Numbers, where: Numbers, ros1: NDArray[np.bool_]
) -> Numbers:
    """Read the stamps of messages as nanoseconds, shape (n,); -1 for what is no time."""
    pairs = words_of(data, "<u8")[where].view("<u4").reshape(-1, 2)
    if not ros1.all():
        swapped = ~ros1 & (data[starts + BYTE_ORDER_AT] & 1 == 0)
        if swapped.any():
            pairs[swapped] = pairs[swapped].byteswap()
    nanoseconds = pairs[:, 1]
    stamps_ns = pairs[:, 0] * np.int64(SECOND_NS)
    stamps_ns += nanoseconds
    if int(nanoseconds.max()) >= NANOSECONDS_MAX:
        stamps_ns[nanoseconds >= NANOSECONDS_MAX] = -1
    return stamps_ns


def _steps_of(
    values: Numbers, firsts: Numbers, before: Numbers, fresh: NDArray[np.bool_]
) -> Numbers:
    """Give how far each value is from the one before of its topic; 0 where there is none.

    Args:
        values: int64, shape (n,), those of a topic side by side.
        firsts: int64, shape (k,): the first row of each topic.
        before: int64, shape (k,): the last value of each topic before these.
        fresh: bool, shape (k,): which topics have none.
    """
    steps = np.empty_like(values)
    np.subtract(values[1:], values[:-1], out=steps[1:])
    steps[firsts] = np.where(fresh, 0, values[firsts] - before)
    return steps


def _in_seconds(durations_ns: NDArray[np.float64]) -> list[list[float | None]]:
    """Round to nanoseconds and give seconds, of each row; None for NaN."""
    return [
        [None if math.isnan(one) else float(one) / SECOND_NS for one in row]
        for row in np.round(durations_ns)
    ]
