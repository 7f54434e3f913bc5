"""Hands recordings to workers and brings what comes of it into the journal.

Whatever a worker says is durable in the journal before anything follows from it. Where the
journal cannot be written (its disk is full), the outcome is kept and tried again. Used from the
loop's thread only.
"""

import contextlib
import itertools
from collections.abc import Callable

from bridge.config import Settings
from bridge.daemon.clock import Clock
from bridge.daemon.entry import Entry, Failure
from bridge.daemon.events import DaemonObserver
from bridge.daemon.journal import Journal
from bridge.daemon.journal_view import INTERRUPTIONS_MAX
from bridge.daemon.outcome import (
    OUT_OF_MEMORY,
    STALLED,
    WORKER_DIED,
    Decision,
    Pause,
    after_failure,
    after_success,
)
from bridge.daemon.pipe import (
    Failed,
    Job,
    JobKind,
    Message,
    Progressed,
    StageFinished,
    Started,
    Succeeded,
    TopicPlanned,
)
from bridge.daemon.pool import Pool
from bridge.daemon.scheduler import Gatekeeper, Waiting, choose
from bridge.daemon.states import State
from bridge.daemon.tracker import Tracker
from bridge.daemon.worker import Assignment, Worker, ending
from bridge.errors import BridgeError, JournalError, OfflineError, Trouble
from bridge.ingest import IngestReport

Address = Callable[[], tuple[str, int]]
Ended = Callable[[Entry, Failure | None], None]

QUEUE_LOOK = 100
VERIFY_STAGE = "verify"
# A worker that has used less of the processor than this share while it was silent was waiting
# for somebody else, so its recording is not to blame.
BUSY_SHARE = 0.05


class Dispatcher:
    """Keeps workers busy.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        pool: The workers.
        gate: The way to the platform.
        settings: All settings.
        address: Gives host and port of the platform; may raise OSError or BridgeError.
        instance_id: This bridge's own name.
        observer: Told of everything.
        clock: Where the time comes from.
        on_end: Told when a recording has come out of work, with its failure or None.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        tracker: Tracker,
        pool: Pool,
        gate: Gatekeeper,
        settings: Settings,
        address: Address,
        instance_id: str,
        observer: DaemonObserver,
        clock: Clock,
        on_end: Ended,
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._pool = pool
        self._gate = gate
        self._settings = settings
        self._address = address
        self._instance_id = instance_id
        self._observer = observer
        self._clock = clock
        self._on_end = on_end
        self._waiting = Waiting(settings.retry, clock=clock)
        # Workers that are gone while what came of their job is not in the journal yet.
        self._gone: list[Worker] = []

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from now on; what is in work goes on by those it began with."""
        self._settings = settings
        self._waiting.adopt(settings.retry)

    @property
    def running(self) -> list[Entry]:
        """The recordings in work."""
        return [
            worker.assignment.entry
            for worker in self._pool.busy
            if worker.assignment is not None and worker.assignment.entry is not None
        ]

    def next_due_s(self) -> float | None:
        """Give the seconds until a waiting recording is due; None if none waits."""
        waiting = self._journal.queue(State.WAITING, limit=QUEUE_LOOK)
        return min((self._waiting.left_s(entry) for entry in waiting), default=None)

    # -- giving work -----------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Hand out as much work as there is and as workers and platform can take."""
        while True:
            worker = self._pool.idle()
            if worker is None:
                return
            if self._gate.probe_wait_s() == 0.0:
                if not self._probing:
                    self._give(worker, None)
                    continue
                return
            if self._gate.room(len(self._pool.busy), self._pool.count) <= 0:
                return
            entry = self._next()
            if entry is None:
                return
            self._give(worker, entry)

    @property
    def _probing(self) -> bool:
        return len(self._pool.busy) > len(self.running)

    def _next(self) -> Entry | None:
        queue = [
            *self._journal.queue(State.WAITING, limit=QUEUE_LOOK),
            *self._journal.queue(State.READY, limit=QUEUE_LOOK),
        ]
        queue.sort(key=_order)
        return choose(
            queue,
            running=self.running,
            due=lambda entry: self._waiting.left_s(entry) <= 0 and self._tracker.unchanged(entry),
        )

    def _give(self, worker: Worker, entry: Entry | None) -> None:
        """Give a recording, or without one a probe, to a worker."""
        try:
            host, port = self._address()
        except (OSError, BridgeError) as error:
            self._gate.closed_by(
                Failure.of(OfflineError(f"the server's address is not known: {error}"))
            )
            return
        if entry is None:
            job = Job(
                kind=JobKind.PROBE,
                settings=self._settings,
                host=host,
                port=port,
                instance_id=self._instance_id,
            )
        else:
            attempt = entry.attempts + entry.deaths + 1
            entry = self._journal.move(
                entry.id, State.SENDING, f"attempt {attempt}, worker {worker.number}"
            )
            job = Job(
                kind=JobKind.INGEST,
                settings=self._settings,
                host=host,
                port=port,
                instance_id=self._instance_id,
                path=entry.path,
                fingerprint=entry.fingerprint,
                attempt=attempt,
                final=entry.attempts + 1 >= self._settings.retry.attempts_max,
            )
        try:
            worker.assign(job, entry=entry)
        except OSError:
            # It died while it was idle; what it never got is not to blame.
            self._pool.discard(worker)
            if entry is not None:
                self._journal.move(entry.id, State.READY, "its worker was gone")

    # -- hearing of it ---------------------------------------------------------------------------

    def hear(self, worker: Worker) -> None:
        """Take in what a worker has said, and that it has died."""
        try:
            for message in worker.hear():
                self._take_in(worker, message)
        except EOFError as error:
            self._lost(worker, str(error))
        self.conclude(worker)

    def conclude(self, worker: Worker) -> None:
        """Bring the end of a worker's job, if it has come, into the journal.

        Raises:
            JournalError: The journal cannot be written now; call again.
        """
        assignment = worker.assignment
        if assignment is None or assignment.outcome is None:
            return
        match assignment.outcome:
            case Succeeded(report=None):
                self._gate.answered()
            case Succeeded(report=IngestReport() as report):
                self._succeeded(assignment, report)
            case Failed(failure=failure):
                self._failed(assignment, failure)
        # A failed ingest may have left anything behind in its process; a failed probe has not.
        failed = isinstance(assignment.outcome, Failed) and assignment.entry is not None
        worker.release()
        if worker in self._gone:
            self._gone.remove(worker)
        elif worker in self._pool and (failed or self._pool.worn_out(worker)):
            self._pool.discard(worker)

    def settle(self) -> None:
        """Bring all ends that could not be written before into the journal.

        Raises:
            JournalError: It still cannot be written.
        """
        for worker in [*self._gone, *self._pool.busy]:
            self.conclude(worker)

    def _take_in(self, worker: Worker, message: Message) -> None:
        assignment = worker.assignment
        entry = None if assignment is None else assignment.entry
        if assignment is None or entry is None:
            return
        match message:
            case Started():
                self._gate.answered()
                self._note(entry, sequence=message.sequence)
                self._observer.ingest_started(
                    entry=entry,
                    sequence=message.sequence,
                    size_bytes=message.size_bytes,
                    message_count=message.message_count,
                )
            case TopicPlanned():
                self._observer.topic_planned(entry=entry, topic=message.topic)
            case Progressed():
                self._observer.ingest_progressed(entry=entry, progress=message.progress)
            case StageFinished():
                if message.stage == VERIFY_STAGE and entry.state is State.SENDING:
                    # Only a milestone: without it the recording is redone, not lost.
                    with contextlib.suppress(JournalError):
                        assignment.entry = self._journal.move(
                            entry.id, State.VERIFIED, "the platform has what was sent"
                        )
                self._observer.stage_finished(
                    entry=entry, stage=message.stage, seconds=message.seconds
                )

    def _note(self, entry: Entry, *, sequence: str) -> None:
        with contextlib.suppress(JournalError):
            self._journal.note(entry.id, sequence=sequence)

    def _succeeded(self, assignment: Assignment, report: IngestReport) -> None:
        assert assignment.entry is not None
        state, reason = after_success(report)
        with self._journal.transaction():
            self._journal.keep_report(assignment.entry.id, report.as_json())
            entry = self._journal.move(
                assignment.entry.id,
                state,
                reason,
                sequence=report.sequence,
                verification=str(report.verification),
                messages_sent=report.messages_sent,
                failure=None,
            )
        self._gate.proven()
        self._observer.ingest_finished(entry=entry, report=report)
        self._on_end(entry, None)

    def _failed(self, assignment: Assignment, failure: Failure) -> None:
        if assignment.entry is None:
            self._probe_failed(failure)
            return
        decision = after_failure(
            assignment.entry, failure, self._settings.retry, began=assignment.began
        )
        entry = self._decide(assignment.entry, failure, decision)
        if decision.pause is not Pause.NONE:
            self._gate.closed_by(failure)
        elif failure.trouble in {Trouble.REJECTED, Trouble.POISON}:
            self._gate.proven()
        self._observer.ingest_failed(entry=entry, failure=failure, retry_in_s=decision.retry_in_s)
        self._on_end(entry, failure)

    def _decide(self, entry: Entry, failure: Failure, decision: Decision) -> Entry:
        due_ns = 0
        if decision.retry_in_s is not None:
            due_ns = self._waiting.wait(entry.id, decision.retry_in_s)
        return self._journal.move(
            entry.id,
            decision.state,
            decision.reason,
            attempts=decision.attempts,
            interruptions=decision.interruptions,
            deaths=decision.deaths,
            due_ns=due_ns,
            failure=failure,
        )

    def _probe_failed(self, failure: Failure) -> None:
        if failure.trouble in {Trouble.OFFLINE, Trouble.REFUSED}:
            self._gate.closed_by(failure)
        else:
            # Whatever else goes wrong on connecting is the platform's or the network's business.
            self._gate.closed_by(Failure.of(OfflineError(failure.message, hint=failure.hint)))

    # -- when a worker is in trouble -------------------------------------------------------------

    def watch(self) -> None:
        """Kill workers that take too much memory or do not get on."""
        limits = self._settings.workers
        for worker in itertools.chain(self._pool.busy, self._pool.overdue()):
            if worker.assignment is None:
                self._lost(worker, "the worker does not start")
            elif worker.memory_bytes() > limits.memory_limit_bytes:
                self._lost(
                    worker,
                    f"the worker took more than {limits.memory_limit_bytes} bytes of memory",
                    error=OUT_OF_MEMORY,
                )
            elif worker.idle_s() > limits.stall_timeout_s:
                self._stalled(worker, worker.assignment, limits.stall_timeout_s)
            self.conclude(worker)

    def _stalled(self, worker: Worker, assignment: Assignment, timeout_s: float) -> None:
        busy = worker.cpu_s() - assignment.progress_cpu_s > BUSY_SHARE * timeout_s
        self._lost(
            worker,
            f"the worker made no progress for {timeout_s:.0f} s"
            + (" although it was computing" if busy else ", waiting"),
            error=WORKER_DIED if busy else STALLED,
            trouble=Trouble.INTERNAL if busy else Trouble.TRANSIENT,
        )

    def _lost(
        self,
        worker: Worker,
        message: str,
        *,
        error: str = WORKER_DIED,
        trouble: Trouble = Trouble.INTERNAL,
    ) -> None:
        """Get rid of a worker; what it was doing comes back as failed, unless it was done."""
        code = self._pool.discard(worker)
        assignment = worker.assignment
        if assignment is not None and assignment.outcome is not None:
            return
        failure = Failure(
            error=error,
            message=f"{message} ({ending(code)})" if error == WORKER_DIED else message,
            hint="if this repeats, the recording breaks the reader; please report it",
            trouble=trouble,
            facts={"exit": str(code)},
        )
        self._observer.worker_lost(
            entry=None if assignment is None else assignment.entry, failure=failure
        )
        if assignment is not None:
            assignment.outcome = Failed(failure=failure)
            self._gone.append(worker)

    def abandon(self, reason: str) -> None:
        """Kill all workers at once; what they were doing goes back into the queue."""
        for worker in self._pool:
            assignment = worker.assignment
            self._pool.discard(worker)
            if assignment is None or assignment.entry is None:
                continue
            if assignment.outcome is not None:
                with contextlib.suppress(JournalError):
                    self.conclude(worker)
            else:
                with contextlib.suppress(JournalError):
                    self._journal.move(assignment.entry.id, State.READY, reason)


def _order(entry: Entry) -> tuple[bool, int, int, int]:
    often_broken_off = entry.interruptions > INTERRUPTIONS_MAX
    return (often_broken_off, entry.priority, entry.modified_ns, entry.id)
