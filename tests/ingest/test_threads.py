"""Reading ahead and sending behind: order, bounds, errors, ends."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bridge.errors import DamagedRecordingError, TransientError
from bridge.ingest.threads import ReadAhead, SendBehind
from bridge.model import MessageBlock


def block(topic: int, data: np.ndarray | None = None) -> MessageBlock:
    buffer = np.zeros(100, np.uint8) if data is None else data
    times_ns = np.array([topic], np.int64)
    return MessageBlock(
        topic=topic, log_times_ns=times_ns, data=buffer, starts=times_ns * 0, ends=times_ns * 0 + 1
    )


def wait_for(event: threading.Event) -> None:
    assert event.wait(5)


def wait_until_still(figure: list[int]) -> int:
    """Wait until a count has not changed for a while, and give it."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 0.3:
        if figure[0] != last:
            last, since = figure[0], time.monotonic()
        time.sleep(0.01)
    return last


def test_blocks_come_out_in_order() -> None:
    """Reading ahead changes nothing about what is read."""
    with ReadAhead(iter([block(topic) for topic in range(50)]), bytes_max=1000) as ahead:
        assert [each.topic for each in ahead] == list(range(50))


def test_reading_ahead_stops_at_the_bound() -> None:
    """However slow the consumer, only so many bytes wait."""
    made = [0]

    def blocks() -> Iterator[MessageBlock]:
        for topic in range(100):
            made[0] += 1
            yield block(topic)

    with ReadAhead(blocks(), bytes_max=500) as ahead:
        # Five wait in the queue, the sixth in the thread's hand; the seventh told that it ends.
        assert wait_until_still(made) == 7
        assert len(list(ahead)) == 100


def test_blocks_of_one_chunk_count_its_bytes_once() -> None:
    """Many small topics in one chunk do not make the reader wait for themselves."""
    chunk = np.zeros(400, np.uint8)
    made = [0]

    def blocks() -> Iterator[MessageBlock]:
        for topic in range(30):
            made[0] += 1
            yield block(topic, chunk)

    with ReadAhead(blocks(), bytes_max=500) as ahead:
        assert wait_until_still(made) == 30
        assert len(list(ahead)) == 30


def test_a_reading_error_arrives_after_the_blocks_before_it() -> None:
    """What was read before the damage is not lost, and the damage is not hidden."""

    def blocks() -> Iterator[MessageBlock]:
        yield block(0)
        raise DamagedRecordingError("torn")

    seen: list[int] = []
    with (
        pytest.raises(DamagedRecordingError, match="torn"),
        ReadAhead(blocks(), bytes_max=500) as ahead,
    ):
        seen.extend(each.topic for each in ahead)

    assert seen == [0]


def test_leaving_early_ends_the_reading_thread() -> None:
    """An ingest that fails does not leave a thread behind that reads on."""
    with ReadAhead((block(topic) for topic in range(10**6)), bytes_max=500):
        pass

    assert "read-ahead" not in {thread.name for thread in threading.enumerate()}


def test_calls_run_in_order_and_drain_waits_for_them() -> None:
    """Batches of a topic reach the platform in order, all of them before it is closed."""
    done: list[int] = []
    with SendBehind(calls_max=2) as behind:
        for number in range(20):
            behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        behind.drain()

        assert done == list(range(20))


def test_a_failed_call_stops_the_rest_and_is_raised_once_noticed() -> None:
    """After a broken stream nothing more is written, and the caller learns why."""
    done: list[int] = []

    def fail() -> None:
        raise TransientError("stream broke")

    with pytest.raises(TransientError, match="stream broke"), SendBehind(calls_max=1) as behind:
        behind.submit(fail)
        for number in range(100):
            behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        behind.drain()

    assert len(done) == 0


def test_an_error_elsewhere_drops_what_waits() -> None:
    """When reading fails, batches that wait are not sent any more."""
    release = threading.Event()
    done: list[int] = []
    with pytest.raises(DamagedRecordingError), SendBehind(calls_max=4) as behind:
        behind.submit(lambda: wait_for(release))
        behind.submit(lambda: done.append(1))
        threading.Timer(0.2, release.set).start()
        raise DamagedRecordingError("torn")

    assert done == []
