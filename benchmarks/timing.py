"""Times subjects, each in a process of its own or two in turns in one, and watches their memory.

A subject in its own process imports everything first, then waits for a start signal, so that
start-up is not timed. Memory is PSS, seen from outside: shared pages are counted once.
"""

import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SAMPLE_INTERVAL_S = 0.02

Subject = Callable[..., Callable[[], Any]]
"""A module-level function that gets ready and returns what to time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One run.

    Attributes:
        started_s: When, by the monotonic clock that all processes share.
        ended_s: When, likewise; neither starting nor ending the process is part of it.
        cpu_s: Processor time of all its threads.
        peak_bytes: Highest PSS seen.
        result: What the call returned.
    """

    started_s: float
    ended_s: float
    cpu_s: float
    peak_bytes: int
    result: Any = None

    @property
    def seconds(self) -> float:
        """Wall clock."""
        return self.ended_s - self.started_s


class Started:
    """A subject that is ready to run; for several at once call `go` on all, then `wait` on all."""

    def __init__(self, prepare: Subject, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, prepare, arguments), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        ready = self._pipe.recv()
        if isinstance(ready, BaseException):
            raise ready
        self._sampler = PssSampler(self._process.pid)

    def go(self) -> None:
        """Start the clock."""
        self._sampler.__enter__()
        self._pipe.send("go")

    def wait(self) -> Timing:
        """Give what was measured; raises what the subject raised."""
        answer = self._pipe.recv()
        self._sampler.__exit__()
        self._pipe.send("end")
        self._process.join(30)
        if isinstance(answer, BaseException):
            raise answer
        started_s, ended_s, cpu_s, result = answer
        return Timing(
            started_s=started_s,
            ended_s=ended_s,
            cpu_s=cpu_s,
            peak_bytes=self._sampler.peak_bytes,
            result=result,
        )


def timed(prepare: Subject, *arguments: Any) -> Timing:
    """Run a subject in a fresh process."""
    subject = Started(prepare, *arguments)
    subject.go()
    return subject.wait()


def median_s(runs: Iterable[Timing]) -> float:
    """Give the median time."""
    return statistics.median(run.seconds for run in runs)


def median_cpu_s(runs: Iterable[Timing]) -> float:
    """Give the median processor time."""
    return statistics.median(run.cpu_s for run in runs)


def together(subjects: Sequence[Started]) -> tuple[float, list[Timing]]:
    """Run subjects that are ready at once.

    Returns:
        The seconds from the start of the first to the end of the last, and each one's own.
    """
    for subject in subjects:
        subject.go()
    runs = [subject.wait() for subject in subjects]
    return max(run.ended_s for run in runs) - min(run.started_s for run in runs), runs


def clocked(call: Callable[[], Any]) -> float:
    """Time a call in this process."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _run(pipe: Connection, prepare: Subject, arguments: Any) -> None:
    try:
        call = prepare(*arguments)
        pipe.send("ready")
        pipe.recv()
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        result = call()
        ended_s, ended_cpu_s = time.monotonic(), time.process_time()
        pipe.send((started_s, ended_s, ended_cpu_s - started_cpu_s, result))
        pipe.recv()
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
    os._exit(0)


class PssSampler:
    """Notes the highest PSS of a process while the `with` block runs."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._pid))


def pss_bytes(pid: int, part: str = "Pss") -> int:
    """Give the PSS of a process, or its anonymous `part` (`Pss_Anon`); 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{part}:")),
        0,
    )


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
    """Make a call and return what it took."""
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
