"""Ends workers that take too much, do not get on, or are not needed any more.

Used from the loop's thread only.
"""

import contextlib
import itertools
from dataclasses import dataclass

from bridge.config import LiveSettings, WorkerSettings
from bridge.daemon.events.events import DaemonObserver, WorkerLost
from bridge.daemon.journal.entry import Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.work.listener import Listener
from bridge.daemon.work.outcome import OUT_OF_MEMORY, STALLED, WORKER_DIED, more_memory
from bridge.daemon.work.pipe import Failed
from bridge.daemon.work.pool import Pool
from bridge.daemon.work.process import Worker, ending
from bridge.errors import JournalError, Trouble

# A worker that has used less of the processor than this share while it was silent was waiting
# for somebody else, so its recording is not to blame.
BUSY_SHARE = 0.05


class Supervisor:
    """Watches over workers.

    Args:
        journal: The journal.
        pool: The workers.
        listener: Hears of the workers that are gone.
        live: The settings in force: what a worker may take.
        observer: Hears of workers that were lost.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        pool: Pool,
        listener: Listener,
        live: LiveSettings,
        observer: DaemonObserver,
    ) -> None:
        self._journal = journal
        self._pool = pool
        self._listener = listener
        self._live = live
        self._observer = observer

    def hear(self, worker: Worker) -> None:
        """Take in what a worker has said, and that it has died.

        Raises:
            JournalError: How its job ended cannot be written now; that is tried again.
        """
        try:
            self._listener.hear(worker)
        except EOFError as error:
            self._lost(worker, str(error))
        self._listener.conclude(worker)

    def watch(self) -> None:
        """Kill workers that take too much memory or do not get on."""
        limits = self._live.now.workers
        for worker in itertools.chain(self._pool.busy, self._pool.overdue()):
            if worker.assignment is None:
                self._lost(worker, "the worker does not start")
            elif (excess := excess_of(worker, limits)) is not None:
                self._lost(worker, excess)
            self._listener.conclude(worker)

    def _lost(self, worker: Worker, why: "Excess | str") -> None:
        """Get rid of a worker; what it was doing comes back as failed, unless it was done."""
        code = self._pool.discard(worker)
        assignment = worker.assignment
        if assignment is not None and assignment.outcome is not None:
            return
        failure = failure_of_lost(why, code=code)
        self._observer.hear(
            WorkerLost(entry=None if assignment is None else assignment.entry, failure=failure)
        )
        if assignment is not None:
            assignment.outcome = Failed(failure=failure)
            self._listener.outlived(worker)

    def abandon(self, reason: str) -> None:
        """Kill all workers at once; what they were doing goes back into the queue."""
        for worker in self._pool:
            assignment = worker.assignment
            self._pool.discard(worker)
            if assignment is None or assignment.entry is None:
                continue
            if assignment.outcome is not None:
                with contextlib.suppress(JournalError):
                    self._listener.conclude(worker)
            else:
                with contextlib.suppress(JournalError):
                    self._journal.move(assignment.entry.id, State.READY, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """In what a worker that is busy goes beyond its limits.

    Attributes:
        message: What it does, as a sentence.
        error: The name of the failure that follows from it.
        hint: What the operator can do.
        trouble: Its kind.
    """

    message: str
    error: str = WORKER_DIED
    hint: str = (
        "if this repeats, the recording needs more memory than workers.memory_limit_bytes or this"
        " machine has, or it breaks the reader; please report it then"
    )
    trouble: Trouble = Trouble.INTERNAL


def excess_of(worker: Worker, limits: WorkerSettings) -> Excess | None:
    """Say in what a worker goes beyond its limits; None where it does not, or has nothing to do."""
    if worker.memory_bytes() > limits.memory_limit_bytes:
        return Excess(
            message=f"the worker took more than {limits.memory_limit_bytes} bytes of memory",
            error=OUT_OF_MEMORY,
            hint=more_memory(limits.memory_limit_bytes),
        )
    if worker.assignment is None or worker.idle_s() <= limits.stall_timeout_s:
        return None
    used_s = worker.cpu_s() - worker.assignment.progress_cpu_s
    message = f"the worker made no progress for {limits.stall_timeout_s:.0f} s"
    if used_s > BUSY_SHARE * limits.stall_timeout_s:
        hint = "if this repeats, the recording breaks the reader; please report it"
        return Excess(message=message + " although it was computing", hint=hint)
    return Excess(
        message=message + ", waiting",
        error=STALLED,
        hint="the platform, the link or the disk does not get on; it is tried again by itself",
        trouble=Trouble.TRANSIENT,
    )


def failure_of_lost(why: Excess | str, *, code: int) -> Failure:
    """Give the failure of what a worker was doing that is gone.

    Args:
        why: In what it went beyond its limits, or what became of it, as a sentence.
        code: How its process ended, as `Worker.kill` says.
    """
    excess = Excess(message=why) if isinstance(why, str) else why
    died = excess.error == WORKER_DIED
    return Failure(
        error=excess.error,
        message=f"{excess.message} ({ending(code)})" if died else excess.message,
        hint=excess.hint,
        trouble=excess.trouble,
        facts={"exit": str(code)},
    )
