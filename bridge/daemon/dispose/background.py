"""One thread for what would hold up the daemon's loop: asking the platform, copying, deleting."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

# How long an end waits for the work in hand. What it leaves undone is found again at the start.
END_PATIENCE_S = 10.0


class WorkStoppedError(Exception):
    """The bridge ends; the work in hand is left as it is."""


class Background(Generic[Outcome]):
    """Does work in a thread of its own, one piece after another, and keeps what comes of it.

    The queue is as long as its user lets it become: ask `busy` before submitting.

    Args:
        name: The thread's name.
        wake: Called, from the thread, whenever there is an outcome or the work has ended.
    """

    def __init__(self, name: str, *, wake: Callable[[], None]) -> None:
        self._name = name
        self._wake = wake
        self._thread: threading.Thread | None = None
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._pieces = 0
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether there is work that has not come to its end, or an outcome to be fetched."""
        with self._guard:
            return bool(self._pieces) or not self._outcomes.empty()

    def submit(self, work: Callable[[], None]) -> None:
        """Have a piece of work done; it reports by `put`. For the loop's thread only."""
        if self._stopping.is_set():
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        with self._guard:
            self._pieces += 1
        self._work.put(work)

    def put(self, outcome: Outcome) -> None:
        """Report what came of a piece of work, or of a part of it. For the work only."""
        self._outcomes.put(outcome)
        self._wake()

    def check(self) -> None:
        """Be called by the work often enough for the bridge to end.

        Raises:
            WorkStoppedError: The bridge ends.
        """
        if self._stopping.is_set():
            raise WorkStoppedError

    def wait(self, seconds: float) -> None:
        """Wait, for the work only.

        Raises:
            WorkStoppedError: The bridge ends.
        """
        if self._stopping.wait(seconds):
            raise WorkStoppedError

    def outcomes(self) -> list[Outcome]:
        """Fetch what came of the work since the last call. For the loop's thread only.

        Raises:
            BaseException: What a piece of work raised, which is a defect.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        found = []
        while True:
            try:
                found.append(self._outcomes.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """End the thread; may be called again."""
        self._stopping.set()
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(END_PATIENCE_S)
            self._thread = None

    def _run(self) -> None:
        while (work := self._work.get()) is not None and not self._stopping.is_set():
            try:
                work()
            except WorkStoppedError:
                return
            except Exception as error:  # noqa: BLE001 - raised again in the loop
                self._error = error
            finally:
                with self._guard:
                    self._pieces -= 1
                self._wake()
