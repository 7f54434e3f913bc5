"""Hands recordings to workers, as many as there is room for.

Used from the loop's thread only.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

from bridge.config import LiveSettings, Settings
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.journal.view import INTERRUPTIONS_MAX
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.work.abandoned import AbandonedUploads
from bridge.daemon.work.pipe import Job, JobKind
from bridge.daemon.work.pool import Pool
from bridge.daemon.work.process import Worker
from bridge.daemon.work.scheduler import Gatekeeper, Waiting, choose
from bridge.errors import BridgeError, OfflineError
from bridge.ingest import SequenceContent, Superseded, contents_of

Address = Callable[[], tuple[str, int]]

QUEUE_LOOK = 100
# Until something is told to wait; then that counts.
FAR_S = 3600.0


class Dispatcher:
    """Keeps workers busy.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        pool: The workers.
        gate: The way to the platform.
        waiting: When what has to wait is due.
        clearing: Whose remains are to be cleared.
        live: The settings in force; what is in work goes on by those it began with.
        address: Gives host and port of the platform; may raise OSError or BridgeError.
        instance_id: This bridge's own name.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        tracker: Tracker,
        pool: Pool,
        gate: Gatekeeper,
        waiting: Waiting,
        clearing: AbandonedUploads,
        live: LiveSettings,
        address: Address,
        instance_id: str,
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._pool = pool
        self._gate = gate
        self._waiting = waiting
        self._abandoned = clearing
        self._live = live
        self._address = address
        self._instance_id = instance_id

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
                if not self._gate.is_reached:
                    return
            if self._gate.room(len(self._pool.busy), self._pool.count) <= 0:
                return
            entry = self._next()
            if entry is not None:
                self._give(worker, entry)
                continue
            remains = None if self._probing else self._abandoned.due()
            if remains is None:
                return
            self._clear(worker, remains)

    @property
    def _probing(self) -> bool:
        return len(self._pool.busy) > len(self.running)

    def _next(self) -> Entry | None:
        running = self.running
        if any(entry.deaths for entry in running):
            # It runs alone.
            return None
        if not self._waiting.any_due():
            return self._first(running, states=(State.READY,))
        states = (State.WAITING, State.READY)
        now_ns = self._waiting.now_ns()
        if self._journal.queue(State.WAITING, limit=1, due_ns=now_ns):
            return self._first(running, states=states, due_ns=now_ns)
        # By the time of day nothing is due. That may have jumped, so each is asked about; then not
        # again before the first of them is due.
        found = self._first(running, states=states)
        if found is None and (left_s := self._least_left_s()) > 0:
            self._waiting.none_due(left_s)
        return found

    def _first(
        self, running: list[Entry], *, states: tuple[State, ...], due_ns: int | None = None
    ) -> Entry | None:
        # In pages, because those of a folder that cannot be read now may be in front of the rest.
        for offset in itertools.count(0, QUEUE_LOOK):
            page = [
                entry
                for state in states
                for entry in self._journal.queue(
                    state, limit=QUEUE_LOOK, offset=offset, due_ns=due_ns
                )
            ]
            if not page:
                return None
            page.sort(key=_order)
            if (entry := choose(page, running=running, due=self._due)) is not None:
                return entry
        return None

    def _least_left_s(self) -> float:
        """Give for how long nothing that waits is due."""
        count = self._journal.counts().get(State.WAITING, 0)
        left_s = (
            self._waiting.left_s(entry)
            for offset in range(0, count, QUEUE_LOOK)
            for entry in self._journal.queue(State.WAITING, limit=QUEUE_LOOK, offset=offset)
        )
        return min(left_s, default=FAR_S)

    def _due(self, entry: Entry) -> bool:
        # Asked for again while its remains are cleared: its new sequence would be taken for them.
        if any(one.assignment and one.assignment.remains_of == entry.id for one in self._pool.busy):
            return False
        # Of two that share a part the second finds out what the first has sent of it.
        if self._journal.shares_parts(entry.id, [one.id for one in self.running]):
            return False
        return self._waiting.left_s(entry) <= 0 and self._tracker.unchanged(entry)

    def _superseded(self, entry: Entry, settings: Settings) -> Superseded | None:
        older = self._journal.predecessor(entry)
        if older is None or not older.sequence:
            return None
        report = self._journal.report(older.id)
        return Superseded(
            sequence=older.sequence,
            # What was sent as it may be fewer parts than it had.
            fingerprint=older.fingerprint if report is None else report["fingerprint"],
            remove=settings.watch.on_change == "replace",
        )

    def _give(self, worker: Worker, entry: Entry | None) -> None:
        """Give a recording, or without one a probe, to a worker."""
        if (address := self._find()) is None:
            return
        host, port = address
        if entry is None:
            job = Job(
                kind=JobKind.PROBE,
                settings=self._live.now,
                host=host,
                port=port,
                instance_id=self._instance_id,
            )
        else:
            settings = self._tracker.settings_for(entry.path) or self._live.now
            found = self._tracker.found(entry)
            attempt = entry.attempts + entry.deaths + 1
            entry = self._journal.move(
                entry.id, State.SENDING, f"attempt {attempt}, worker {worker.number}"
            )
            job = Job(
                kind=JobKind.INGEST,
                settings=settings,
                host=host,
                port=port,
                instance_id=self._instance_id,
                path=entry.path,
                seen=None if found is None else found.recording,
                fingerprint=entry.fingerprint,
                parts=tuple(part.identity for part in self._journal.parts(entry.id)),
                attempt=attempt,
                upload=entry.upload,
                supersedes=self._superseded(entry, settings),
                resend=entry.resend,
                remembered=tuple(remembered(self._journal, entry)),
                final=entry.attempts + 1 >= self._live.now.retry.attempts_max,
            )
        try:
            worker.assign(job, entry=entry)
        except OSError:
            # It died while it was idle; what it never got is not to blame.
            self._pool.discard(worker)
            if entry is not None:
                self._journal.move(entry.id, State.READY, "its worker was gone")

    def _find(self) -> tuple[str, int] | None:
        """Give host and port of the platform, or close the gate."""
        try:
            return self._address()
        except (OSError, BridgeError) as error:
            self._gate.closed_by(
                Failure.of(OfflineError(f"the server's address is not known: {error}"))
            )
            return None

    def _clear(self, worker: Worker, entry: Entry) -> None:
        """Let a worker clear what a recording that was given up has left on the platform."""
        if (address := self._find()) is None:
            return
        host, port = address
        job = Job(
            kind=JobKind.CLEAR,
            settings=self._tracker.settings_for(entry.path) or self._live.now,
            host=host,
            port=port,
            instance_id=self._instance_id,
            fingerprint=entry.fingerprint,
            upload=entry.upload,
            reason=entry.reason,
        )
        try:
            worker.assign(job, remains_of=entry.id)
        except OSError:
            # It died while it was idle; the next one is asked.
            self._pool.discard(worker)


def remembered(journal: Journal, entry: Entry) -> list[SequenceContent]:
    """Say where parts of a recording are on the platform by the journal.

    Its rows are expected only of what arrived complete; the rest is compared with the files.
    """
    found: dict[str, SequenceContent] = {}
    for part in journal.parts(entry.id):
        for holder in journal.holders(part, beside=entry.path.parent):
            report = journal.report(holder.id)
            for content in [] if report is None else contents_of(report):
                if content.parts and part.identity not in content.parts:
                    continue
                named = found.get(content.sequence, replace(content, parts=())).parts
                found[content.sequence] = replace(
                    content,
                    parts=(*named, part.identity),
                    topics=content.topics if report and report["complete"] else {},
                )
    return list(found.values())


def _order(entry: Entry) -> tuple[bool, int, int, int]:
    often_broken_off = entry.interruptions > INTERRUPTIONS_MAX
    return (often_broken_off, entry.priority, entry.modified_ns, entry.id)
