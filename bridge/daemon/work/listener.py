"""Takes in what workers say and brings what comes of it into the journal.

Whatever a worker says is durable in the journal before anything follows from it. Where the
journal cannot be written (its disk is full), the outcome is kept and tried again. Used from the
loop's thread only.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from bridge.config import LiveSettings
from bridge.daemon.events import events
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State, allowed
from bridge.daemon.work.abandoned import AbandonedUploads
from bridge.daemon.work.outcome import (
    BUSY_ELSEWHERE,
    UNREADABLE_APART_S,
    Decision,
    Pause,
    after_failure,
    after_success,
    dated,
)
from bridge.daemon.work.pipe import (
    Failed,
    Message,
    Progressed,
    StageFinished,
    Started,
    Succeeded,
    TopicPlanned,
    UploadChanged,
    WireMoved,
)
from bridge.daemon.work.pool import Pool
from bridge.daemon.work.process import Assignment, Worker
from bridge.daemon.work.scheduler import Gatekeeper, Waiting
from bridge.errors import SHUT_OUT, JournalError, OfflineError, Trouble, UnreadableStorageError
from bridge.ingest import IngestReport, Removal

Ended = Callable[[Entry], None]

VERIFY_STAGE = "verify"


class Listener:
    """Hears workers out.

    Args:
        journal: The journal.
        pool: The workers.
        gate: The way to the platform.
        waiting: When what has to wait is due.
        clearing: Told what came of clearing remains.
        live: The settings in force: how often and when to try again.
        observer: Hears of everything.
        on_end: Called when a recording has come out of work.
        clock: Where the time comes from.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        pool: Pool,
        gate: Gatekeeper,
        waiting: Waiting,
        clearing: AbandonedUploads,
        live: LiveSettings,
        observer: events.DaemonObserver,
        on_end: Ended,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._pool = pool
        self._gate = gate
        self._waiting = waiting
        self._abandoned = clearing
        self._live = live
        self._observer = observer
        self._on_end = on_end
        self._clock = clock
        self._unreadable_s: dict[int, list[float]] = {}
        # Workers that are gone while what came of their job is not in the journal yet.
        self._gone: list[Worker] = []

    def hear(self, worker: Worker) -> None:
        """Take in what a worker has said.

        Raises:
            EOFError: It has ended, or says what no worker would.
        """
        for message in worker.hear():
            self._take_in(worker, message)

    def outlived(self, worker: Worker) -> None:
        """Take note that a worker is gone; `settle` brings the end of its job into the journal."""
        self._gone.append(worker)

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
                if assignment.remains_of is not None:
                    self._abandoned.done(assignment.remains_of)
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
                self._observer.hear(
                    events.IngestStarted(
                        entry=entry,
                        sequence=message.sequence,
                        size_bytes=message.size_bytes,
                        message_count=message.message_count,
                    )
                )
            case TopicPlanned():
                self._observer.hear(events.TopicPlanned(entry=entry, topic=message.topic))
            case Progressed():
                self._observer.hear(events.IngestProgressed(entry=entry, progress=message.progress))
            case WireMoved():
                if message.received_bytes:
                    self._gate.heard()
                self._observer.hear(
                    events.WireMoved(
                        entry=entry,
                        sent_bytes=message.sent_bytes,
                        received_bytes=message.received_bytes,
                    )
                )
            case UploadChanged():
                self._note(entry, upload=message.upload)
            case StageFinished():
                if message.stage == VERIFY_STAGE and entry.state is State.SENDING:
                    # Only a milestone: without it the recording is redone, not lost.
                    with contextlib.suppress(JournalError):
                        assignment.entry = self._journal.move(
                            entry.id, State.VERIFIED, "the platform has what was sent"
                        )
                self._observer.hear(
                    events.StageFinished(entry=entry, stage=message.stage, seconds=message.seconds)
                )

    def _note(self, entry: Entry, **changes: Any) -> None:
        """Keep what saves work later; without it the recording is redone, not lost."""
        with contextlib.suppress(JournalError):
            self._journal.note(entry.id, **changes)

    def _succeeded(self, assignment: Assignment, report: IngestReport) -> None:
        assert assignment.entry is not None
        state, reason = after_success(report)
        with self._journal.transaction():
            self._journal.keep_report(assignment.entry.id, report.as_json())
            # Where nothing was read this time, what was found before still holds.
            judged = report.quality is not None
            entry = self._journal.move(
                assignment.entry.id,
                state,
                reason,
                **({"findings": report.findings_in_words} if judged else {}),
                sequence=report.sequence,
                verification=str(report.verification),
                messages_sent=report.messages_sent,
                failure=None,
                upload=None,
                resend=False,
            )
            self._note_replaced(entry, report)
        self._gate.proven()
        self._observer.hear(events.IngestFinished(entry=entry, report=report))
        self._on_end(entry)

    def _note_replaced(self, entry: Entry, report: IngestReport) -> None:
        """Take note that the sequence of an older recording is not there any more."""
        older = self._journal.predecessor(entry)
        replaced = report.replaced
        if replaced is None or replaced.removal is Removal.KEPT or older is None:
            return
        if allowed(older.state, State.SUPERSEDED):
            self._journal.move(older.id, State.SUPERSEDED, f"{report.sequence} has taken its place")

    def _failed(self, assignment: Assignment, failure: Failure) -> None:
        if assignment.remains_of is not None:
            self._not_cleared(assignment.remains_of, failure)
            return
        if assignment.entry is None:
            self._probe_failed(failure)
            return
        now_ns = time.time_ns()
        failure = dated(assignment.entry, failure, now_ns)
        decision = after_failure(
            assignment.entry,
            failure,
            self._live.now.retry,
            began=assignment.began,
            got_on=assignment.got_on,
            unreadable=self._count_unreadable(assignment.entry, failure),
            now_ns=now_ns,
        )
        self._withdraw(assignment.entry, failure)
        entry = self._decide(assignment.entry, failure, decision)
        if decision.pause is not Pause.NONE:
            self._gate.closed_by(failure, got_on=assignment.got_on)
        elif failure.trouble in {Trouble.REJECTED, Trouble.POISON}:
            self._gate.proven()
        self._observer.hear(
            events.IngestFailed(entry=entry, failure=failure, retry_in_s=decision.retry_in_s)
        )
        self._on_end(entry)

    def _withdraw(self, entry: Entry, failure: Failure) -> None:
        """Forget an upload that was about to start when another bridge was found to be faster."""
        known = self._journal.get(entry.id)
        upload = None if known is None else known.upload
        if failure.error == BUSY_ELSEWHERE and upload is not None and not upload.started:
            self._journal.note(entry.id, upload=None)

    def _count_unreadable(self, entry: Entry, failure: Failure) -> int:
        """Count how often a recording's disk gave no bytes, at times far enough from each other.

        Kept in memory only: after a restart the disk gets the benefit of the doubt again.
        """
        if failure.error != UnreadableStorageError.__name__:
            return 0
        now_s = self._clock.monotonic_s()
        times_s = self._unreadable_s.setdefault(entry.id, [])
        if not times_s or now_s - times_s[-1] >= UNREADABLE_APART_S:
            times_s.append(now_s)
        return len(times_s)

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

    def _not_cleared(self, entry_id: int, failure: Failure) -> None:
        """Clear what a recording left when the platform is back, or a few times more."""
        if failure.trouble in SHUT_OUT:
            self._gate.closed_by(failure)
        else:
            self._abandoned.failed(entry_id, failure)

    def _probe_failed(self, failure: Failure) -> None:
        if failure.trouble in SHUT_OUT:
            self._gate.closed_by(failure)
        else:
            # Whatever else goes wrong on connecting is the platform's or the network's business.
            self._gate.closed_by(Failure.of(OfflineError(failure.message, hint=failure.hint)))
