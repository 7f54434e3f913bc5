"""What is measured block by block equals what a slow look at all messages at once says."""

import random
import struct
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bridge.bags import load_recording, open_recording
from bridge.ingest import Identity, IngestOptions, dry_run
from bridge.model import MessageBlock, MessageType, MixedBlock, Serialization, Topic
from bridge.quality import Meter, TopicFigures, repeats
from bridge.quality.histograms import Spreads
from tests.quality.reference import SECOND_NS, Recorded, check, recorded
from tests.recordings import real_bag

Numbers = NDArray[np.int64]

START_NS = 1_760_000_000 * SECOND_NS
HEADER = MessageType(name="std_msgs/msg/Header", fields=())
STAMPED = MessageType(name="pkg/msg/Stamped", fields=(("header", HEADER),))
PLAIN = MessageType(name="pkg/msg/Plain", fields=())
KINDS = (
    (STAMPED, Serialization.CDR),
    (STAMPED, Serialization.ROS1),
    (PLAIN, Serialization.CDR),
)
OPTIONS = IngestOptions(identity=Identity(instance="test"))


def topics(kinds: int = len(KINDS)) -> list[Topic]:
    return [
        Topic(
            index=index,
            name=f"/{index}",
            msgtype=message_type.name,
            serialization=serialization,
            message_type=message_type,
        )
        for index, (message_type, serialization) in enumerate(KINDS[:kinds])
    ]


def payload(topic: int, message: Recorded, *, big_endian: bool = False) -> bytes:
    """Serialise by hand: encapsulation or seq, the stamp, the rest."""
    message_type, serialization = KINDS[topic]
    if message_type is PLAIN:
        return bytes(message.rest)
    stamp = divmod(message.stamp_ns or 0, SECOND_NS)
    if serialization is Serialization.ROS1:
        return struct.pack("<III", message.seq, *stamp) + bytes(message.rest)
    order = ">" if big_endian else "<"
    encapsulation = bytes([0, 0 if big_endian else 1, 0, 0])
    return encapsulation + struct.pack(f"{order}II", *stamp) + bytes(message.rest)


def block_of(
    payloads: list[bytes], times_ns: list[int], *, gap: int = 0, scattered: bool = False
) -> MessageBlock:
    """Payloads in one buffer, with so many bytes between them, in order or in any."""
    data, first = bytearray(b"\xff" * gap), np.zeros(len(payloads), dtype=np.int64)
    places = list(range(len(payloads)))
    if scattered:
        random.Random(len(payloads)).shuffle(places)
    for place in places:
        first[place] = len(data)
        data += payloads[place] + bytes(range(gap))
    lengths = np.array([len(each) for each in payloads], dtype=np.int64)
    return MessageBlock(
        topic=0,
        log_times_ns=np.array(times_ns, dtype=np.int64),
        data=np.frombuffer(bytes(data), np.uint8),
        starts=first,
        ends=first + lengths,
    )


def messages(topic: int) -> st.SearchStrategy[list[Recorded]]:
    """Times that mostly go on and sometimes back, a few bodies, stamps that may be unset."""
    steps = st.lists(
        st.one_of(
            st.integers(0, 3),
            st.integers(9_000_000, 11_000_000),
            st.integers(-2_000_000_000, 3_000_000_000),
        ),
        min_size=1,
        max_size=40,
    )
    bodies = st.sampled_from([b"", b"a", b"longer than a probe", b"longer than a prObe", b"b" * 40])
    message_type, serialization = KINDS[topic]

    @st.composite
    def made(draw: st.DrawFn) -> list[Recorded]:
        found, time_ns, seq = [], START_NS, draw(st.integers(0, 5))
        for step in draw(steps):
            time_ns += step
            seq += draw(st.sampled_from([0, 1, 1, 1, 4]))
            stamp_ns = time_ns - draw(st.sampled_from([0, 5_000_000, 70_000_000, -3_000]))
            stamp_ns = 0 if draw(st.integers(0, 9)) == 0 else stamp_ns
            stamped = message_type is STAMPED
            found.append(
                Recorded(
                    time_ns=time_ns,
                    stamp_ns=stamp_ns if stamped else None,
                    seq=seq if stamped and serialization is Serialization.ROS1 else None,
                    rest=draw(bodies),
                )
            )
        return found

    return made()


@given(
    drawn=st.tuples(*(messages(topic) for topic in range(len(KINDS)))),
    cuts=st.lists(st.floats(0, 1), max_size=4),
    gap=st.sampled_from([0, 3, 31]),
    big_endian=st.booleans(),
    together=st.booleans(),
    scattered=st.booleans(),
)
@settings(max_examples=120)
def test_figures_are_those_of_a_slow_look(
    drawn: tuple[list[Recorded], ...],
    cuts: list[float],
    gap: int,
    *,
    big_endian: bool,
    together: bool,
    scattered: bool,
) -> None:
    """Whatever the messages are and wherever blocks end."""
    meter = Meter(topics())
    edges = sorted({0.0, 1.0, *cuts})
    for low, high in pairwise(edges):
        parts = {
            topic: each[int(low * len(each)) : int(high * len(each))]
            for topic, each in enumerate(drawn)
        }
        parts = {topic: part for topic, part in parts.items() if part}
        if not parts:
            continue
        for group in [parts] if together else [{topic: part} for topic, part in parts.items()]:
            payloads = [
                payload(topic, one, big_endian=big_endian)
                for topic, part in group.items()
                for one in part
            ]
            times_ns = [one.time_ns for part in group.values() for one in part]
            block = block_of(payloads, times_ns, gap=gap, scattered=scattered)
            meter.add(block, list(group), [len(part) for part in group.values()])
    for topic, each in enumerate(drawn):
        check(meter.of_topics()[topic], each)
    recording = meter.of_recording()
    assert recording.start_ns == min(one.time_ns for each in drawn for one in each)
    assert recording.end_ns == max(one.time_ns for each in drawn for one in each)


def test_only_what_is_equal_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where messages differ is known after one block, also where the first of it are repeats."""
    compared: list[int] = []
    equal = repeats._Bodies.equal

    def noting(bodies: repeats._Bodies, rows: repeats.Numbers) -> NDArray[np.bool_]:
        compared.append(len(rows))
        return equal(bodies, rows)

    monkeypatch.setattr(repeats._Bodies, "equal", noting)
    meter = Meter(topics())
    for first in (0, 100):
        # Each twice, and all alike for longer than what is looked at first.
        bodies = [b"the same" * 4 + bytes([first + row // 2]) for row in range(100)]
        times_ns = [START_NS + first + row for row in range(100)]
        meter.add(block_of(bodies, times_ns), [2], [100])

    figures = meter.of_topics()[2]
    assert (figures.repeated, figures.compared) == (100, 199)
    assert compared == [99, 50]


@pytest.mark.parametrize("length", [4, 300, 200_000])
def test_repeats_are_found_across_blocks(length: int) -> None:
    """A message equals the one before, in its block or in the one before, however long it is."""
    meter = Meter(topics())
    one, other = b"\x01" * length, b"\x01" * (length - 1) + b"\x02"
    bodies = [one, one, other, other, other, one, one, one]
    for first in range(0, len(bodies), 3):
        part = bodies[first : first + 3]
        times_ns = [START_NS + first + offset for offset in range(len(part))]
        meter.add(block_of(part, times_ns), [2], [len(part)])
    figures = meter.of_topics()[2]
    assert (figures.repeated, figures.compared) == (5, 7)


def test_messages_in_any_order_in_their_buffer() -> None:
    """Payloads may lie anywhere in a buffer, and several may share bytes."""
    data = np.frombuffer(b"aaaaaaaaaaaabbbbbbbbbbbb", np.uint8)
    starts = np.array([12, 0, 0, 1, 12], dtype=np.int64)
    block = MessageBlock(
        topic=0, log_times_ns=np.arange(5) + START_NS, data=data, starts=starts, ends=starts + 11
    )
    meter = Meter(topics())
    meter.add(block, [2], [5])
    assert meter.of_topics()[2].repeated == 2


def test_a_topic_starts_over() -> None:
    """What is read once more is counted once."""
    drawn = [
        Recorded(time_ns=START_NS + 10_000_000 * i, stamp_ns=START_NS + i, rest=b"x" * 20)
        for i in range(50)
    ]
    meter = Meter(topics())
    block = block_of([payload(0, one) for one in drawn], [one.time_ns for one in drawn])
    for _ in range(2):
        meter.forget([0])
        meter.add(block, [0], [50])
    check(meter.of_topics()[0], drawn)


def test_times_alone_are_measured() -> None:
    """Of topics that nobody decodes there are times and rates, and nothing of their content."""
    times_ns = np.array([0, 100, 300, 0, 50], dtype=np.int64) * 1_000_000 + START_NS
    nothing = np.zeros(5, dtype=np.int64)
    block = MixedBlock(
        topics=np.array([0, 0, 0, 2, 2]),
        log_times_ns=times_ns,
        data=np.zeros(0, np.uint8),
        starts=nothing,
        ends=nothing,
    )
    meter = Meter(topics())
    meter.add_times(block)
    first = meter.of_topics()[0]
    assert (first.messages, first.gap_s, first.compared, first.stamped) == (3, 0.2, 0, 0)
    assert meter.of_topics()[1].messages == 0
    assert meter.of_topics()[2].gap_s == 0.05


@pytest.mark.parametrize(
    "name", ["jackal_imu_odom.bag", "talker_mcap", "talker_sqlite3", "tf_example", "wbag_mcap"]
)
def test_figures_of_real_recordings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rosbags that reads the same messages, one by one; none is left out here."""
    monkeypatch.setattr("bridge.quality.meter.WHOLE_MAX", 1 << 40)
    bag = real_bag(name)
    with open_recording(load_recording(bag)) as reader:
        report, _ = dry_run(reader, OPTIONS)
    expected: dict[str, list[Recorded]] = defaultdict(list)
    for topic, message in recorded(bag):
        expected[topic].append(message)
    measured = {topic.name: topic.quality for topic in report.topics}
    assert expected.keys() <= measured.keys()
    for topic, each in expected.items():
        figures = measured[topic]
        assert figures is not None
        check(figures, each)


def long_topics(count: int, rows: int) -> tuple[Numbers, Numbers, NDArray[np.uint8]]:
    """Topics with steps of 8 to 12 ms and one of 5 s, 6 s, ...; shape (count, rows), and payloads.

    The delay grows by a second from first to last; every fourth message repeats the one before.
    """
    random = np.random.default_rng(1)
    steps_ns = random.integers(8_000_000, 12_000_000, (count, rows))
    steps_ns[:, 7_417] = 5 * SECOND_NS + np.arange(count) * SECOND_NS
    times_ns = START_NS + np.cumsum(steps_ns, axis=1)
    delays_ns = 10_000_000 + np.linspace(0, 1e9, rows).astype(np.int64)
    stamps = np.stack(divmod(times_ns - delays_ns, SECOND_NS), axis=2).astype("<u4")
    bodies = random.integers(0, 2**63, (count, rows, 4)).astype("<u8")
    bodies[:, 3::4] = bodies[:, 2::4]
    data = np.zeros((count, rows, 44), np.uint8)
    data[..., 1] = 1
    data[..., 4:12] = stamps.view(np.uint8)
    data[..., 12:] = bodies.view(np.uint8)
    starts = np.arange(count * rows, dtype=np.int64).reshape(count, rows) * 44
    return times_ns, starts, data.reshape(-1)


def check_long_topic(figures: TopicFigures, times_ns: Numbers, *, gap_s: float) -> None:
    """Counts and gaps are exact; percentiles, delays, drift and repeats come from a sample."""
    assert figures.messages == sum(figures.bars) == len(times_ns)
    assert (figures.gap_s, figures.gap_start_ns) == (gap_s, times_ns[7_416])
    assert figures.period_median_s == pytest.approx(0.010, rel=0.03)
    assert figures.period_p99_s == pytest.approx(0.01196, rel=0.03)
    assert figures.delay_median_s == pytest.approx(0.51, rel=0.05)
    assert figures.delay_drift_s == pytest.approx(1.0, rel=0.05)
    assert figures.repeated_share == pytest.approx(0.25, abs=0.015)
    assert figures.compared < len(times_ns)


def test_of_many_messages_a_part_is_looked_into() -> None:
    """Of a topic that has its batches for itself."""
    times_ns, starts, data = long_topics(1, 50_000)
    meter = Meter(topics())
    for first in range(0, 50_000, 20_000):
        part = 0, slice(first, first + 20_000)
        when, where = times_ns[part], starts[part]
        block = MessageBlock(topic=0, log_times_ns=when, data=data, starts=where, ends=where + 44)
        meter.add(block, [0], [len(when)])
    check_long_topic(meter.of_topics()[0], times_ns[0], gap_s=5)


def test_of_topics_that_share_batches_a_part_is_looked_into() -> None:
    """Of each of twenty that have many messages in a batch; of one that has two, into both."""
    times_ns, starts, data = long_topics(20, 9_000)
    meter = Meter([replace(topics()[0], index=index) for index in range(21)])
    for first in range(0, 9_000, 500):
        part = slice(None), slice(first, first + 500)
        where = np.append(starts[part], [0, 44])
        block = MessageBlock(
            topic=0,
            log_times_ns=np.append(times_ns[part], [START_NS + first, START_NS + first + 1]),
            data=data,
            starts=where,
            ends=where + 44,
        )
        meter.add(block, range(21), [500] * 20 + [2])
    for topic in range(20):
        check_long_topic(meter.of_topics()[topic], times_ns[topic], gap_s=5 + topic)
    few = meter.of_topics()[20]
    assert (few.messages, few.stamped, few.compared, few.repeated) == (36, 36, 35, 0)


def test_percentiles_are_unknown_rather_than_wrong_where_room_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Durations of all lengths need more than one page; the topic that came first has its own."""
    monkeypatch.setattr("bridge.quality.histograms.PAGES_MAX", 2)
    spreads = Spreads(3, signed=False)
    spreads.add(np.full(5, 7_000_000), np.array([1]), np.array([5]))
    assert np.array_equal(spreads.quantiles_ns(0.5), [[np.nan], [7e6], [np.nan]], equal_nan=True)
    scattered = np.geomspace(1e5, 1e12, 100).astype(np.int64)
    spreads.add(scattered, np.array([0, 2]), np.array([50, 50]))
    found = spreads.quantiles_ns(0.5, 0.99)
    assert np.array_equal(found, [[np.nan] * 2, [7e6, 7e6], [np.nan] * 2], equal_nan=True)
    spreads.forget(1)
    assert np.isnan(spreads.quantiles_ns(0.5)).all()
