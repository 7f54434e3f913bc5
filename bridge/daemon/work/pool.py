"""The worker processes: as many as configured, one kept warm, the dead replaced with patience."""

from collections.abc import Iterator, Sequence

from bridge.daemon.journal.clock import Clock
from bridge.daemon.work.process import WORKER_COMMAND, Worker

# A worker has loaded everything after about a second; a machine under load may take long.
START_TIMEOUT_S = 120.0
# Processes that only ever grow are replaced now and then.
JOBS_PER_WORKER_MAX = 200
RESTART_WAIT_S = (0.0, 1.0, 5.0, 15.0, 60.0)


class Pool:
    """All worker processes; used from the loop's thread only.

    Args:
        count: The most processes at a time.
        clock: Where the time comes from.
        lock: The journal's lock, which every worker holds too.
        command: What to run.
    """

    def __init__(
        self,
        count: int,
        *,
        clock: Clock,
        lock: int | None,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.count = count
        self._clock = clock
        self._lock = lock
        self._command = tuple(command)
        self._workers: list[Worker] = []
        self._next_number = 1
        self._false_starts = 0
        self._start_after_s = 0.0

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self._workers))

    @property
    def busy(self) -> list[Worker]:
        """Those that have a job."""
        return [worker for worker in self._workers if worker.assignment is not None]

    @property
    def restart_wait_s(self) -> float:
        """Seconds until another process may be started; 0 when one may now."""
        return max(0.0, self._start_after_s - self._clock.monotonic_s())

    def keep_warm(self) -> Worker | None:
        """Start a process if none is idle and there is room.

        Returns:
            The new process, to be waited on with the others, or None.

        Raises:
            OSError: No process can be started now.
        """
        spare = any(worker.assignment is None for worker in self._workers)
        if spare or len(self._workers) >= self.count or self.restart_wait_s > 0:
            return None
        self._postpone()
        worker = Worker(
            self._next_number, clock=self._clock, lock=self._lock, command=self._command
        )
        self._next_number += 1
        self._workers.append(worker)
        return worker

    def idle(self) -> Worker | None:
        """Give a worker that can take a job now."""
        for worker in self._workers:
            if worker.idle:
                # It has shown that workers can start.
                self._false_starts = 0
                self._start_after_s = 0.0
                return worker
        return None

    def worn_out(self, worker: Worker) -> bool:
        """Return whether a worker has done enough to be replaced."""
        return worker.jobs_done >= JOBS_PER_WORKER_MAX

    def overdue(self) -> list[Worker]:
        """List those that should have been ready long ago."""
        return [
            worker
            for worker in self._workers
            if not worker.ready and worker.age_s > START_TIMEOUT_S
        ]

    def discard(self, worker: Worker) -> int:
        """Kill a worker and forget it; returns how it ended (exit code, or minus the signal)."""
        self._workers.remove(worker)
        return worker.kill()

    def close(self) -> None:
        """Kill all; idempotent."""
        for worker in self:
            self.discard(worker)

    def _postpone(self) -> None:
        wait_s = RESTART_WAIT_S[min(self._false_starts, len(RESTART_WAIT_S) - 1)]
        self._false_starts += 1
        self._start_after_s = self._clock.monotonic_s() + wait_s
