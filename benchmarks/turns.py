"""Two ways of doing the same, taken in turns in one process, by the clock and by CPU time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FIGURES = ("MiB/s", "bare MiB/s", "of bare", "CPU of bare")
"""Titles of what `Both.figures` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one run took.

    Attributes:
        seconds: By the clock.
        cpu_s: CPU time of all threads of this process.
    """

    seconds: float
    cpu_s: float


def spent(call: Callable[[], Any]) -> Spent:
    """Make a call and tell what it took."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    call()
    cpu_s = time.process_time() - began_cpu_s
    return Spent(seconds=time.perf_counter() - began_s, cpu_s=cpu_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Medians of ours and of the bare way."""

    ours: Spent
    bare: Spent

    def figures(self, mebibytes: float) -> tuple[float, float, float, float]:
        """Give the rates of both, and the bare way's time and CPU time as shares of ours."""
        return (
            mebibytes / self.ours.seconds,
            mebibytes / self.bare.seconds,
            self.bare.seconds / self.ours.seconds,
            self.bare.cpu_s / self.ours.cpu_s,
        )


def in_turns(
    ours: Callable[[], Spent],
    bare: Callable[[], Spent],
    turns: int,
    *,
    after: Callable[[], None] = lambda: None,
) -> Both:
    """Run both several times, each going first every other turn.

    Args:
        ours: The one.
        bare: The other.
        turns: How often.
        after: Called after each turn, to see that both did the same.
    """
    runs: dict[Callable[[], Spent], list[Spent]] = {ours: [], bare: []}
    for turn in range(turns):
        for each in (ours, bare) if turn % 2 == 0 else (bare, ours):
            runs[each].append(each())
        after()
    return Both(ours=_median(runs[ours]), bare=_median(runs[bare]))


def _median(runs: list[Spent]) -> Spent:
    return Spent(
        seconds=statistics.median(run.seconds for run in runs),
        cpu_s=statistics.median(run.cpu_s for run in runs),
    )
