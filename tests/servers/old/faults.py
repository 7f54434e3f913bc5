"""What goes wrong on a platform in the field, as it was measured on a real one."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import flight

POOL_TIMED_OUT = "pool timed out while waiting for an open connection"


@dataclass(slots=True, kw_only=True)
class Faults:
    """What a server does wrong; nothing by default.

    Attributes:
        database_down: Whether its database is away: look-ups wait for a connection in vain.
        lookup_s: How long a look-up waits before it is done, or fails.
        end_s: How long ending a topic takes. On G1, two ends of one tag in that time deadlock.
        lost_answers: Actions whose next answer gets lost after they took effect.
        lost_verdicts: How many puts take effect although their client sees an error.
        masked: `schema` and `interval`: what the server cannot read, and gives out as empty.
        ends: The most topics that were ended at the same moment, by tag.
    """

    database_down: bool = False
    lookup_s: float = 0.0
    end_s: float = 0.0
    lost_answers: set[str] = field(default_factory=set)
    lost_verdicts: int = 0
    masked: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    _ending: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def looked_up(self) -> bool:
        """Wait for the database; False where it does not answer."""
        time.sleep(self.lookup_s)
        return not self.database_down

    def lose_answer(self, action: str) -> None:
        """Raise instead of answering, once, where that was asked for."""
        if action in self.lost_answers:
            self.lost_answers.discard(action)
            raise flight.FlightUnavailableError("Socket closed")

    def lose_verdict(self) -> None:
        """Raise instead of ending a put well."""
        if self.lost_verdicts:
            self.lost_verdicts -= 1
            raise flight.FlightUnavailableError("Socket closed")

    @contextmanager
    def ending(self, tag: str) -> Iterator[int]:
        """Be at the end of a topic for as long as it takes; yields how many of its tag are."""
        with self._lock:
            self._ending[tag] += 1
            together = self._ending[tag]
            self.ends[tag] = max(self.ends[tag], together)
        try:
            time.sleep(self.end_s)
            yield together
        finally:
            with self._lock:
                self._ending[tag] -= 1


def extreme_texts(array: pa.Array) -> Iterator[str]:
    """Give the smallest and the largest text of each column that the server keeps statistics of."""
    if pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from extreme_texts(part)
    elif pa.types.is_string(array.type):
        texts = [text for text in array.to_pylist() if text is not None]
        yield from (min(texts), max(texts)) if texts else ()


def holds_nul(value: Any) -> bool:
    """Whether a text, or one inside a JSON value, has U+0000 in it."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(holds_nul(part) for part in value)
