"""Calls in other threads: in order behind the thread that decodes, or many at a time.

Over a link with a long round trip, calls that do not depend on each other must not wait for each
other. How many the platform stands at once is not known beforehand: it has 10 to 19 connections to
its database, and the end of a topic holds one. So the number starts small, grows while answers stay
quick, and halves when the platform reports trouble of its own.
"""

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

from bridge.errors import BrokenLinkError, TransientError

AT_ONCE_START, AT_ONCE_MAX = 8, 64
"""Calls at a time, at the start and at most: as many as streams share one connection."""

TRIES_MAX = 4
"""How often a call is made that may be made again."""

_PAUSE_S = 0.1
# How long a thread waits for another call: on a short line a call is done before the next comes,
# and starting a thread for each costs more than the call.
_LINGER_S = 0.1
# What counts as quick: up to twice the best answer so far, and what a busy machine adds.
_QUICK_FACTOR, _QUICK_MARGIN_S = 2.0, 0.05
# An answer that comes sooner has waited for no line: more calls at once would wait for each other,
# and their threads for those that decode and send.
_SHORT_S = 0.002

Result = TypeVar("Result")

WaitTurn = Callable[[threading.Event], None]


@dataclass(slots=True, kw_only=True, eq=False)
class _Call(Generic[Result]):
    make: Callable[[], Result]
    turn: Hashable
    tries: int
    future: "Future[Result]" = field(default_factory=Future)


_Inbox = queue.SimpleQueue[_Call[object]]


class AtOnce:
    """How many calls run at once; not thread-safe, its owner guards it.

    Each quick answer adds one, so that a round of answers doubles it; after the first trouble a
    whole round adds one. Trouble halves it, once for all calls that were under way. Over a line so
    short that there is nothing to wait for it stays as it starts.
    """

    def __init__(self) -> None:
        self._limit = float(AT_ONCE_START)
        self._best_s = float("inf")
        self._halved_s = float("-inf")

    @property
    def limit(self) -> int:
        """Calls that may run at once, at least one."""
        return int(self._limit)

    def answered(self, seconds: float) -> None:
        """Take note of an answer and how long it took."""
        self._best_s = min(self._best_s, seconds)
        if self._best_s >= _SHORT_S and seconds <= _QUICK_FACTOR * self._best_s + _QUICK_MARGIN_S:
            more = 1.0 if self._halved_s == float("-inf") else 1.0 / self._limit
            self._limit = min(self._limit + more, float(AT_ONCE_MAX))

    def in_trouble(self, *, started_s: float, now_s: float) -> None:
        """Take note of trouble that the server had with a call."""
        if started_s >= self._halved_s:
            self._limit, self._halved_s = max(1.0, self._limit / 2), now_s


class ParallelCalls:
    """Makes calls in threads of its own, which end soon after the last call.

    May be used from several threads. Calls start in the order in which they were submitted, except
    that those of one turn follow each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # All below is guarded by the lock.
        self._at_once = AtOnce()
        self._waiting: deque[_Call[object]] = deque()
        self._turns: set[Hashable] = set()
        self._running = 0
        # Where threads without a call look for one; the one that came last is used first.
        self._idle: list[_Inbox] = []

    def submit(
        self, make: Callable[[], Result], *, turn: Hashable = None, repeatable: bool = False
    ) -> "Future[Result]":
        """Make a call as soon as there is room.

        Args:
            make: The call.
            turn: Calls of the same turn are made one after the other; None for no turn.
            repeatable: Whether it may be made again when the server had trouble with it; up to
                `TRIES_MAX` times in all.

        Returns:
            Its result or error, later. Cancelling works while the call waits.
        """
        (future,) = self.submit_all([make], turns=[turn], repeatable=repeatable)
        return future

    def submit_all(
        self,
        makes: Iterable[Callable[[], Result]],
        *,
        turns: Iterable[Hashable] = itertools.repeat(None),
        repeatable: bool = False,
    ) -> "list[Future[Result]]":
        """Submit many calls: one by one, each would wait for those that are under way already.

        The arguments are as for `submit`; there is a turn for each call.
        """
        tries = TRIES_MAX if repeatable else 1
        calls = [
            _Call(make=make, turn=turn, tries=tries)
            for make, turn in zip(makes, turns, strict=False)
        ]
        with self._lock:
            self._waiting.extend(calls)  # type: ignore[arg-type]  # results differ from call to call
            self._start()
        return [call.future for call in calls]

    def map(
        self, calls: Iterable[Callable[[], Result]], *, repeatable: bool = False
    ) -> list[Result]:
        """Make calls and give their results in the same order.

        Raises:
            ServerError: The error of the first that failed; those that wait are not made then.
        """
        futures = self.submit_all(calls, repeatable=repeatable)
        try:
            return [future.result() for future in futures]
        finally:
            settle(futures)

    def _start(self) -> None:
        """Give what waits to threads, as far as there is room; the lock is held."""
        while self._running < self._at_once.limit and (call := self._next()) is not None:
            self._running += 1
            if self._idle:
                self._idle.pop().put(call)
                continue
            inbox: _Inbox = queue.SimpleQueue()
            inbox.put(call)
            thread = threading.Thread(
                target=self._work, args=(inbox,), name="mosaico-parallel", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                # No memory for one more: the others make the call, if there are any.
                self._running -= 1
                self._turns.discard(call.turn)
                if self._running:
                    self._waiting.appendleft(call)
                    return
                call.future.set_exception(error)

    def _next(self) -> _Call[object] | None:
        """Take the first call that waits and whose turn is free; the lock is held."""
        kept: list[_Call[object]] = []
        found = None
        while self._waiting and found is None:
            call = self._waiting.popleft()
            if call.turn is not None and call.turn in self._turns:
                kept.append(call)
            elif call.future.running() or call.future.set_running_or_notify_cancel():
                found = call
        self._waiting.extendleft(reversed(kept))
        if found is not None and found.turn is not None:
            self._turns.add(found.turn)
        return found

    def _work(self, inbox: "_Inbox") -> None:
        while (call := self._handed(inbox)) is not None:
            while call is not None:
                call = self._work_off(call, inbox)

    def _handed(self, inbox: "_Inbox") -> _Call[object] | None:
        """Wait for a call; None where none comes."""
        try:
            return inbox.get(timeout=_LINGER_S)
        except queue.Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # it was given just now

    def _work_off(self, done: _Call[object], inbox: "_Inbox") -> _Call[object] | None:
        """Make a call and give the next; where there is none, the thread is idle."""
        result, error = self._made(done)
        again = self._is_trouble(error) and done.tries > 1
        if again:
            done.tries -= 1
            time.sleep(_PAUSE_S * 2 ** (TRIES_MAX - 1 - done.tries))
        with self._lock:
            self._turns.discard(done.turn)
            if again:
                # It waits like the others: by now fewer may run than when it was started.
                self._waiting.appendleft(done)
            call = self._next() if self._running <= self._at_once.limit else None
            if call is None:
                self._running -= 1
                self._idle.append(inbox)
            self._start()
        if error is None:
            done.future.set_result(result)
        elif not again:
            done.future.set_exception(error)
        return call

    def _made(self, call: _Call[object]) -> tuple[object, BaseException | None]:
        """Make a call and take note of how it went; gives its result or its error."""
        started_s = time.monotonic()
        try:
            result, error = call.make(), None
        except BaseException as raised:  # noqa: BLE001 - handed over by the future
            result, error = None, raised
        now_s = time.monotonic()
        with self._lock:
            if error is None:
                self._at_once.answered(now_s - started_s)
            elif self._is_trouble(error):
                self._at_once.in_trouble(started_s=started_s, now_s=now_s)
        return result, error

    @staticmethod
    def _is_trouble(error: BaseException | None) -> bool:
        """Whether the server itself had trouble, rather than the link or the call."""
        return isinstance(error, TransientError) and not isinstance(error, BrokenLinkError)


def settle(futures: "Iterable[Future[Result]]") -> None:
    """Cancel the calls that wait, and wait for those under way; their errors are left alone."""
    for future in [future for future in futures if not future.cancel()]:
        future.exception()


@dataclass(slots=True, kw_only=True)
class _Handed:
    calls: tuple[Callable[[], None], ...]
    turn: Hashable
    size_bytes: int


class OrderedCalls:
    """Runs calls in threads of its own, those of one turn in order, at most so many bytes waiting.

    Args:
        bytes_max: Bytes that may wait in calls; at the bound `submit` waits. A call that waits
            alone may have more, and the largest that is under way does not count.
        at_once: Calls that may be under way at once.
        wait_turn: Called before each, to wait for as long as it must; None for no waiting. It
            gets an event that is set when nothing is to be sent any more.

    Attributes:
        busy_s: Seconds that threads spent in calls; final after `drain`.
    """

    def __init__(
        self, *, bytes_max: int, at_once: int = 1, wait_turn: WaitTurn | None = None
    ) -> None:
        self.busy_s = 0.0
        self._wait_turn = wait_turn
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._work = threading.Condition(self._lock)
        self._rest = threading.Condition(self._lock)
        # All below is guarded by the lock.
        self._waiting: deque[_Handed] = deque()
        self._bytes_waiting = 0
        self._under_way: dict[Hashable, int] = {}
        self._leaving = False
        self._error: BaseException | None = None
        # Set after `_error`, and then nothing is called any more.
        self._failed = threading.Event()
        self._at_once = at_once
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the threads; where there is no memory for all, those that there are do the work."""
        for _ in range(self._at_once):
            thread = threading.Thread(target=self._run, name="send-behind", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    raise
                break
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let waiting calls go after an error, then wait for the threads."""
        if error is not None:
            self._failed.set()
        with self._lock:
            self._leaving = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(
        self, *calls: Callable[[], None], turn: Hashable = None, size_bytes: int = 0
    ) -> None:
        """Hand over calls that keep so many bytes together; raises what an earlier call raised.

        Args:
            calls: To be made by one thread, one after the other.
            turn: Calls of one turn are made one after the other, in this order.
            size_bytes: What these keep in memory until all are done.
        """
        with self._lock:
            while (kept := self._kept_bytes()) and kept + size_bytes > self._bytes_max:
                self._room.wait()
            self._raise_failure()
            self._waiting.append(_Handed(calls=calls, turn=turn, size_bytes=size_bytes))
            self._bytes_waiting += size_bytes
            self._work.notify()

    def drain(self) -> None:
        """Wait until all calls are done; raises what one of them raised."""
        with self._lock:
            while self._waiting or self._under_way:
                self._rest.wait()
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failed.is_set() and self._error is not None:
            raise self._error

    def _kept_bytes(self) -> int:
        under_way = self._under_way.values()
        return self._bytes_waiting + sum(under_way) - max(under_way, default=0)

    def _run(self) -> None:
        while (handed := self._next()) is not None:
            self._work_off(handed)
            del handed  # what it kept is free while this thread waits

    def _work_off(self, handed: _Handed) -> None:
        busy_s, error = 0.0, None
        for call in handed.calls:
            if self._wait_turn is not None:
                self._wait_turn(self._failed)
            if self._failed.is_set():
                break
            started_s = time.perf_counter()
            try:
                call()
            except BaseException as raised:  # noqa: BLE001 - handed over by submit or drain
                error = raised
                break
            finally:
                busy_s += time.perf_counter() - started_s
        self._done(handed, error, busy_s)

    def _next(self) -> _Handed | None:
        """Wait for a call whose turn is free; None when no more come."""
        with self._lock:
            while True:
                for place, handed in enumerate(self._waiting):
                    if handed.turn not in self._under_way:
                        del self._waiting[place]
                        self._bytes_waiting -= handed.size_bytes
                        self._under_way[handed.turn] = handed.size_bytes
                        self._room.notify()
                        return handed
                if self._leaving and not self._waiting:
                    return None
                self._work.wait()

    def _done(self, handed: _Handed, error: BaseException | None, seconds: float) -> None:
        with self._lock:
            self.busy_s += seconds
            del self._under_way[handed.turn]
            if error is not None and self._error is None:
                self._error = error
                self._failed.set()
            self._room.notify()
            # This thread takes what waited for the turn. Those that leave look whether they can.
            if self._leaving:
                self._work.notify_all()
            if not self._waiting and not self._under_way:
                self._rest.notify_all()
