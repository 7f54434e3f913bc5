"""Sending behind: the thread beside the one that reads and decodes.

It is bounded, hands its first error to the thread that decodes, and ends when its `with` block
ends, whatever happened.
"""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

WaitTurn = Callable[[threading.Event], None]


class SendThread:
    """Runs calls in order in a thread, at most so many waiting.

    Args:
        calls_max: Calls that may wait; at the bound `submit` waits.
        wait_turn: Called before each, to wait for as long as it must; None for no waiting. It
            gets an event that is set when nothing is to be sent any more.

    Attributes:
        busy_s: Seconds the thread spent in calls; final after `drain`.
    """

    def __init__(self, *, calls_max: int, wait_turn: WaitTurn | None = None) -> None:
        self.busy_s = 0.0
        self._wait_turn = wait_turn
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(calls_max)
        # Written by the thread before `_failed` is set, read by others after.
        self._error: BaseException | None = None
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="send-behind", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let waiting calls go after an error, then wait for the thread."""
        if error is not None:
            self._failed.set()
        self._calls.put(None)
        self._thread.join()

    def submit(self, call: Callable[[], None]) -> None:
        """Hand over a call; raises what an earlier call raised."""
        self._raise_failure()
        self._calls.put(call)

    def drain(self) -> None:
        """Wait until all calls are done; raises what one of them raised."""
        self._calls.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failed.is_set() and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._wait_turn is not None:
                self._wait_turn(self._failed)
            if not self._failed.is_set():
                started = time.perf_counter()
                try:
                    call()
                except BaseException as raised:  # noqa: BLE001 - handed over by submit or drain
                    self._error = raised
                    self._failed.set()
                self.busy_s += time.perf_counter() - started
            self._calls.task_done()
        self._calls.task_done()
