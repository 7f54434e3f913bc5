"""One worker process of ours for each thread of a job: limited, watched, replaced now and then.

It is the daemon's worker with the daemon's limits. It is started by `subprocess`, which workers of
engines may use where `multiprocessing` is forbidden to them, and it dies with the thread that
started it.
"""

import atexit
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bridge.backfill.scratch import StoppedError
from bridge.daemon import (
    JOBS_PER_WORKER_MAX,
    START_TIMEOUT_S,
    Failed,
    Job,
    JobKind,
    Progressed,
    Succeeded,
    SystemClock,
    Worker,
    excess_of,
    failure_of_lost,
)
from bridge.ingest import OpenUpload

LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How a job ended.

    Attributes:
        outcome: What the worker said, or what became of it.
        began: Whether it had got as far as sending.
        got_on: Whether topics became whole that were not before.
        upload: What the next attempt needs to take this one up; None for nothing.
    """

    outcome: Succeeded | Failed
    began: bool
    got_on: bool
    upload: OpenUpload | None


class Child:
    """The worker process of one thread; started when there is something to do."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._number = 0

    def run(
        self,
        job: Job,
        *,
        share: int | None,
        stopped: threading.Event,
        read: Callable[[int], None],
    ) -> JobEnd:
        """Do a job and wait for its end.

        Args:
            job: What to do.
            share: The most bytes a second that it may send; None without limit.
            stopped: Ends it; the process is killed then.
            read: Called with the bytes that were read of the recording, again and again.

        Raises:
            StoppedError: The run was stopped.
        """
        why = "the worker does not start"
        try:
            worker = self._ready(stopped)
        except OSError as error:
            # No memory, no processes left, or no program: not the fault of recording or scratch.
            worker, why = None, f"{why}: {error.strerror}"
        if worker is None:
            failure = failure_of_lost(why, code=self._end())
            return JobEnd(
                outcome=Failed(failure=failure), began=False, got_on=False, upload=job.upload
            )
        worker.share(share)
        try:
            worker.assign(job)
            outcome = self._wait(worker, job, stopped, read)
        except OSError as error:
            message = f"the worker was gone before it began: {error.strerror}"
            outcome = Failed(failure=failure_of_lost(message, code=self._end()))
        assignment = worker.assignment
        worker.release()
        failed = isinstance(outcome, Failed) and job.kind is JobKind.INGEST
        if failed or worker.jobs_done >= JOBS_PER_WORKER_MAX:
            # One that failed ends by itself; what only ever grows is replaced now and then.
            self._end()
        return JobEnd(
            outcome=outcome,
            began=assignment is not None and assignment.began,
            got_on=assignment is not None and assignment.got_on,
            upload=job.upload if assignment is None else assignment.upload or job.upload,
        )

    def close(self) -> None:
        """End the process; idempotent."""
        self._end()

    def _ready(self, stopped: threading.Event) -> Worker | None:
        if self._worker is None:
            self._number += 1
            self._worker = Worker(self._number, clock=SystemClock(), lock=None)
        worker = self._worker
        while not worker.ready:
            self._listen(worker, stopped)
            try:
                list(worker.hear())
            except EOFError:
                return None
            if worker.age_s > START_TIMEOUT_S:
                return None
        return worker

    def _wait(
        self,
        worker: Worker,
        job: Job,
        stopped: threading.Event,
        read: Callable[[int], None],
    ) -> Succeeded | Failed:
        assert worker.assignment is not None
        while worker.assignment.outcome is None:
            self._listen(worker, stopped)
            try:
                for message in worker.hear():
                    if isinstance(message, Progressed) and worker.assignment.began:
                        read(message.progress.recorded_bytes)
            except EOFError as error:
                if worker.assignment.outcome is None:
                    return Failed(failure=failure_of_lost(str(error), code=self._end()))
            excess = excess_of(worker, job.settings.workers)
            if excess is not None and worker.assignment.outcome is None:
                return Failed(failure=failure_of_lost(excess, code=self._end()))
        return worker.assignment.outcome

    def _listen(self, worker: Worker, stopped: threading.Event) -> None:
        """Wait until it says something, for a moment."""
        if stopped.is_set():
            self._end()
            raise StoppedError
        select.select([worker], [], [], LOOK_S)

    def _end(self) -> int:
        worker, self._worker = self._worker, None
        return 0 if worker is None else worker.kill()


_here = threading.local()
_all: list[Child] = []


def child_of_this_thread() -> Child:
    """Give the worker process of the thread that asks, from its first job on."""
    if not hasattr(_here, "child"):
        _here.child = Child()
    if _here.child not in _all:
        _all.append(_here.child)
    child: Child = _here.child
    return child


def close_children() -> None:
    """End the worker processes of all threads; for when no thread performs any more."""
    while _all:
        _all.pop().close()


atexit.register(close_children)
