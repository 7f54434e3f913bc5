"""How anything outside the loop reaches it: a flag to stop, a pipe to wake it."""

import contextlib
import os
import threading


class Wakeup:
    """Wakes the loop from any thread or signal handler; close it when done."""

    def __init__(self) -> None:
        # Plain attributes: each is written whole, and only ever in one direction.
        self.stopping = False
        self.drain = True
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._asked = threading.Event()

    def fileno(self) -> int:
        """Give the file that becomes readable when the loop should turn."""
        return self._read

    def wake(self) -> None:
        """Make the loop look around now."""
        self._asked.set()
        with contextlib.suppress(OSError):
            # A full pipe has woken the loop already; a closed one has no loop any more.
            os.write(self._write, b"w")

    def nudge(self) -> None:
        """Make the loop take a turn, without looking at the folder."""
        with contextlib.suppress(OSError):
            os.write(self._write, b"w")

    def stop(self, *, drain: bool) -> None:
        """Make the loop end."""
        self.drain = drain
        self.stopping = True
        self.wake()

    def taken(self) -> bool:
        """Return, once, whether somebody woke the loop since the last call."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                continue
        asked = self._asked.is_set()
        self._asked.clear()
        return asked

    def close(self) -> None:
        """Give up the pipe; idempotent."""
        for handle in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(handle)
        self._read = self._write = -1
