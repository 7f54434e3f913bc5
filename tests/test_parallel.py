"""Calls in other threads: order, bounds, errors, ends; many at a time, and how many."""

import threading
import time
import weakref

import pytest

from bridge.errors import BrokenLinkError, DamagedRecordingError, RejectedError, TransientError
from bridge.parallel import (
    AT_ONCE_MAX,
    AT_ONCE_START,
    TRIES_MAX,
    AtOnce,
    OrderedCalls,
    ParallelCalls,
    settle,
)


def wait_for(event: threading.Event) -> None:
    assert event.wait(5)


def test_calls_run_in_order_and_drain_waits_for_them() -> None:
    """Batches of a topic reach the platform in order, all of them before it is closed."""
    done: list[int] = []
    with OrderedCalls(bytes_max=2) as behind:
        for number in range(20):
            behind.submit(lambda number=number: done.append(number), size_bytes=1)  # type: ignore[misc]
        behind.drain()

        assert done == list(range(20))


@pytest.mark.parametrize("at_once", [1, 8])
def test_submitting_waits_at_the_bound(at_once: int) -> None:
    """However slow the network, only so many batches wait in memory, with any number of threads."""
    release = threading.Event()
    submitted: list[int] = []

    def submit_all(behind: OrderedCalls) -> None:
        for number in range(10):
            behind.submit(lambda: wait_for(release), turn=number, size_bytes=1)
            submitted.append(number)

    with OrderedCalls(bytes_max=2, at_once=at_once) as behind:
        reading = threading.Thread(target=submit_all, args=(behind,))
        reading.start()
        # One in a thread's hand, and two more; what would come after them gets its chance.
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

    with pytest.raises(TransientError, match="stream broke"), OrderedCalls(bytes_max=1) as behind:
        behind.submit(fail)
        for number in range(100):
            behind.submit(lambda number=number: done.append(number), size_bytes=1)  # type: ignore[misc]
        behind.drain()

    assert len(done) == 0


def test_calls_that_are_handed_over_together_are_calls_each() -> None:
    """Many small batches are handed over at once, and still each waits for its turn on the line."""
    done: list[str] = []

    def fail() -> None:
        raise TransientError("stream broke")

    def wait(_: threading.Event) -> None:
        done.append("waited")

    with pytest.raises(TransientError), OrderedCalls(bytes_max=1, wait_turn=wait) as behind:
        behind.submit(lambda: done.append("first"), lambda: done.append("second"), size_bytes=5)
        behind.drain()
        assert done == ["waited", "first", "waited", "second"]
        behind.submit(fail, lambda: done.append("behind it"))
        behind.drain()

    assert done[4:] == ["waited"]


def test_what_calls_kept_is_free_when_they_are_done() -> None:
    """A thread that waits for the next batches does not keep the last: they have ten MiB."""

    class Batch:
        def write(self) -> None:
            """Do nothing."""

    batch = Batch()
    kept = weakref.ref(batch)
    with OrderedCalls(bytes_max=1) as behind:
        behind.submit(batch.write, batch.write, size_bytes=5)
        del batch
        behind.drain()
        deadline_s = time.monotonic() + 5
        while kept() is not None:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


def test_an_error_elsewhere_drops_what_waits() -> None:
    """When reading fails, batches that wait are not sent any more."""
    release = threading.Event()
    done: list[int] = []
    with pytest.raises(DamagedRecordingError), OrderedCalls(bytes_max=4) as behind:
        behind.submit(lambda: wait_for(release))
        behind.submit(lambda: done.append(1))
        threading.Timer(0.2, release.set).start()
        raise DamagedRecordingError("torn")

    assert done == []


def test_turns_do_not_wait_for_each_other_and_each_keeps_its_order() -> None:
    """Topics are written to at once, but no batch of one overtakes another."""
    release = threading.Event()
    done: list[str] = []
    with OrderedCalls(bytes_max=9, at_once=3) as behind:
        behind.submit(lambda: wait_for(release), turn="slow", size_bytes=1)
        for name in ("slow", "quick", "slow", "other"):
            behind.submit(lambda name=name: done.append(name), turn=name, size_bytes=1)  # type: ignore[misc]
        while len(done) < 2:
            time.sleep(0.01)
        assert sorted(done) == ["other", "quick"]
        for number in range(50):
            behind.submit(lambda number=number: done.append(f"slow {number}"), turn="slow")  # type: ignore[misc]
        release.set()
        behind.drain()
    assert done[2:] == ["slow", "slow", *(f"slow {number}" for number in range(50))]


def test_a_thread_for_which_there_is_no_memory_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker's memory is limited; the first thread is needed, the others are faster."""
    start = threading.Thread.start
    left = 2

    def start_some(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    done: list[int] = []
    with OrderedCalls(bytes_max=9, at_once=8) as behind:
        for number in range(20):
            behind.submit(lambda number=number: done.append(number), turn=number)  # type: ignore[misc]
        behind.drain()
    assert sorted(done) == list(range(20))
    left = 0
    with pytest.raises(RuntimeError, match="new thread"), OrderedCalls(bytes_max=9):
        pass


def test_quick_answers_double_the_calls_at_once_up_to_a_bound() -> None:
    """A round of answers doubles the number, which never exceeds the streams of a connection."""
    at_once = AtOnce()
    for _ in range(AT_ONCE_START):
        at_once.answered(0.2)
    assert at_once.limit == 2 * AT_ONCE_START
    for _ in range(10 * AT_ONCE_MAX):
        at_once.answered(0.2)
    assert at_once.limit == AT_ONCE_MAX


def test_a_line_without_length_needs_no_more_at_once() -> None:
    """Where answers come at once more threads would only wait for each other."""
    at_once = AtOnce()
    for _ in range(AT_ONCE_MAX):
        at_once.answered(0.0005)
    assert at_once.limit == AT_ONCE_START


def test_threads_are_used_again_and_end_soon_after_the_last_call() -> None:
    """One call after the other needs one thread, which nobody finds a moment later."""
    calls = ParallelCalls()
    threads = {calls.submit(threading.current_thread).result(timeout=10) for _ in range(50)}
    assert len(threads) <= 2
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert calls.submit(lambda: 1).result(timeout=10) == 1


def test_where_no_thread_can_start_the_others_make_the_calls() -> None:
    """A machine short of memory makes calls slower; where none can be made they fail, not wait."""
    calls, release = ParallelCalls(), threading.Event()
    first = calls.submit(lambda: wait_for(release))
    usual = threading.stack_size(1 << 46)
    try:
        second = calls.submit(lambda: 2)
        alone = ParallelCalls().submit(lambda: 3)
    finally:
        threading.stack_size(usual)
    with pytest.raises(RuntimeError):
        alone.result(timeout=10)
    assert not second.done()
    release.set()
    first.result(timeout=10)
    assert second.result(timeout=10) == 2


def test_slow_answers_do_not_raise_the_number() -> None:
    """Answers that take longer and longer are a server at its limit."""
    at_once = AtOnce()
    at_once.answered(0.2)
    for _ in range(100):
        at_once.answered(0.6)
    assert at_once.limit == AT_ONCE_START + 1


def test_trouble_halves_the_number_once_for_all_that_were_under_way() -> None:
    """Eight failures of one moment are one sign; afterwards it grows by one in a round."""
    at_once = AtOnce()
    for _ in range(AT_ONCE_START):
        at_once.in_trouble(started_s=1.0, now_s=2.0)
    assert at_once.limit == AT_ONCE_START // 2
    for _ in range(AT_ONCE_START // 2):
        at_once.answered(0.1)
    assert at_once.limit <= AT_ONCE_START // 2 + 1
    for second in range(3, 20):
        at_once.in_trouble(started_s=second, now_s=second)
    assert at_once.limit == 1


def test_results_come_in_the_order_of_the_calls() -> None:
    """Also where later calls are done before earlier ones, and there are more than threads."""
    first_may_end = threading.Event()

    def call(number: int) -> int:
        if number == 0:
            wait_for(first_may_end)
        if number == 4 * AT_ONCE_START:
            first_may_end.set()
        return number

    numbers = range(5 * AT_ONCE_START)
    found = ParallelCalls().map([lambda number=number: call(number) for number in numbers])  # type: ignore[misc]

    assert found == list(numbers)


def test_only_what_may_be_repeated_is_and_no_broken_link() -> None:
    """A server's own trouble passes; a broken link, a refusal, or a bound in sight do not."""
    calls = ParallelCalls()
    errors: list[BaseException] = [TransientError("busy")] * (TRIES_MAX - 1)
    made = []

    def call() -> str:
        made.append(1)
        if errors:
            raise errors.pop()
        return "done"

    assert calls.submit(call, repeatable=True).result(5) == "done"
    assert len(made) == TRIES_MAX
    for error, repeatable in (
        (TransientError("busy"), False),
        (BrokenLinkError("gone"), True),
        (RejectedError("never"), True),
    ):
        errors, made = [error] * TRIES_MAX, []
        with pytest.raises(type(error)):
            calls.submit(call, repeatable=repeatable).result(5)
        assert len(made) == 1
    errors, made = [TransientError("busy")] * (TRIES_MAX + 1), []
    with pytest.raises(TransientError):
        calls.submit(call, repeatable=True).result(5)
    assert len(made) == TRIES_MAX


def test_calls_of_one_turn_never_meet() -> None:
    """They follow each other, while calls of other turns pass."""
    calls = ParallelCalls()
    inside = threading.Semaphore(1)
    others_may_end = threading.Event()

    def alone() -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        inside.release()

    ones = [calls.submit(alone, turn="one") for _ in range(30)]
    other = calls.submit(others_may_end.set, turn="other")
    other.result(5)
    for one in ones:
        one.result(5)


def test_settling_leaves_nothing_under_way() -> None:
    """What waits is not made any more, what is being made is waited for."""
    calls, release = ParallelCalls(), threading.Event()
    ended: list[int] = []

    def call() -> None:
        wait_for(release)
        ended.append(1)

    futures = [calls.submit(call) for _ in range(3 * AT_ONCE_START)]
    settling = threading.Thread(target=settle, args=(futures,))
    settling.start()
    while not futures[-1].cancelled():
        time.sleep(0.001)
    assert settling.is_alive()
    release.set()
    settling.join(5)

    assert len(ended) == AT_ONCE_START
    assert all(future.done() for future in futures)
