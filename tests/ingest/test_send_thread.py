"""Sending behind: order, bounds, errors, ends."""

import threading
import time

import pytest

from bridge.errors import DamagedRecordingError, TransientError
from bridge.ingest.send_thread import SendThread


def wait_for(event: threading.Event) -> None:
    assert event.wait(5)


def test_calls_run_in_order_and_drain_waits_for_them() -> None:
    """Batches of a topic reach the platform in order, all of them before it is closed."""
    done: list[int] = []
    with SendThread(calls_max=2) as behind:
        for number in range(20):
            behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        behind.drain()

        assert done == list(range(20))


def test_submitting_waits_at_the_bound() -> None:
    """However slow the network, only so many batches wait in memory."""
    release = threading.Event()
    submitted: list[int] = []

    def submit_all(behind: SendThread) -> None:
        for number in range(10):
            behind.submit(lambda: wait_for(release))
            submitted.append(number)

    with SendThread(calls_max=2) as behind:
        reading = threading.Thread(target=submit_all, args=(behind,))
        reading.start()
        # One in the thread's hand, two that wait; what would come after them gets its chance.
        while len(submitted) < 3:
            time.sleep(0.01)
        reading.join(0.3)
        assert len(submitted) == 3
        release.set()
        reading.join(5)
        behind.drain()

    assert len(submitted) == 10


def test_a_failed_call_stops_the_rest_and_is_raised_once_noticed() -> None:
    """After a broken stream nothing more is written, and the caller learns why."""
    done: list[int] = []

    def fail() -> None:
        raise TransientError("stream broke")

    with pytest.raises(TransientError, match="stream broke"), SendThread(calls_max=1) as behind:
        behind.submit(fail)
        for number in range(100):
            behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        behind.drain()

    assert len(done) == 0


def test_an_error_elsewhere_drops_what_waits() -> None:
    """When reading fails, batches that wait are not sent any more."""
    release = threading.Event()
    done: list[int] = []
    with pytest.raises(DamagedRecordingError), SendThread(calls_max=4) as behind:
        behind.submit(lambda: wait_for(release))
        behind.submit(lambda: done.append(1))
        threading.Timer(0.2, release.set).start()
        raise DamagedRecordingError("torn")

    assert done == []
