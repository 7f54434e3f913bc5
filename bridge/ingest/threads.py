"""Reading ahead and sending behind: the two threads beside the one that decodes.

Both are bounded, both hand the first error of their thread to the thread that decodes, and both
end when their `with` block ends, whatever happened.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from bridge.model import MessageBlock

WaitTurn = Callable[[threading.Event], None]


class ReadAhead:
    """Runs an iterator of blocks in a thread, at most so many bytes ahead.

    Blocks that share a buffer count it once. At the bound the thread waits.

    Args:
        blocks: The iterator to run; it is touched by the thread alone.
        bytes_max: Bytes of buffers that may wait. One buffer may always wait, whatever its size.

    Attributes:
        busy_s: Seconds the thread spent reading; final once the iteration ended.
    """

    def __init__(self, blocks: Iterator[MessageBlock], *, bytes_max: int) -> None:
        self.busy_s = 0.0
        self._blocks = blocks
        self._bytes_max = bytes_max
        self._waited_s = 0.0  # Owned by the thread.
        self._changed = threading.Condition()
        # All below is owned by the condition's lock.
        self._ready: deque[list[MessageBlock]] = deque()
        self._waiting_bytes = 0
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading and wait for the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[MessageBlock]:
        """Yield the blocks in order; raises what the iterator raised, after its last block."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                blocks = self._ready.popleft()
                self._waiting_bytes -= blocks[0].data.nbytes
                self._changed.notify_all()
            yield from blocks

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as raised:  # noqa: BLE001 - handed over to the reading thread
            error = raised
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        """Hand blocks over by chunk: with many topics in each, block by block would cost more."""
        started, self._waited_s = time.perf_counter(), 0.0
        chunk: list[MessageBlock] = []
        try:
            for block in self._blocks:
                if chunk and block.data is not chunk[0].data:
                    if not self._hand_over(chunk):
                        return
                    chunk = []
                chunk.append(block)
        finally:
            if chunk:
                self._hand_over(chunk)
            self.busy_s = time.perf_counter() - started - self._waited_s

    def _hand_over(self, chunk: list[MessageBlock]) -> bool:
        """Wait for room, then hand over; tells whether to go on."""
        began = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting_bytes < self._bytes_max)
            self._waited_s += time.perf_counter() - began
            if not self._stopped:
                self._ready.append(chunk)
                self._waiting_bytes += chunk[0].data.nbytes
                self._changed.notify_all()
            return not self._stopped


class SendBehind:
    """Runs calls in order in a thread, at most so many waiting.

    Args:
        calls_max: Calls that may wait; at the bound `submit` waits.
        wait_turn: Called before each, to wait for as long as it must; None for no waiting. It
            gets an event that tells it when nothing is to be sent any more.

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
