"""The daemon's two clocks: one that never jumps, to decide by; one to show to people."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the daemon takes the time from."""

    def monotonic_s(self) -> float:
        """Seconds that only ever go forward; all waiting is decided by these."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, for stamps that people read; may jump by decades."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        """Give CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Give CLOCK_REALTIME."""
        return time.time_ns()
