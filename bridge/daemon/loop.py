"""The daemon's loop: scan, judge, hand out work, listen, clean up; turn after turn, in one thread.

Nothing in a turn blocks for long, so that a stuck turn is a defect that a watchdog may punish.
"""

import contextlib
import selectors
from collections.abc import Iterator
from typing import Self

from bridge.bags import sweep_scratch
from bridge.compose import scratch_folder
from bridge.config import LiveSettings, Settings
from bridge.daemon.dispose.disposer import Disposer
from bridge.daemon.dispose.proof import PlatformProof, Prove
from bridge.daemon.events.events import (
    DaemonObserver,
    GateChanged,
    Observers,
    RecordingChanged,
    RecordingForgotten,
    Scanned,
    Started,
    Stopped,
    Ticked,
    Troubled,
)
from bridge.daemon.events.status import DaemonStatus, Gate, GateStatus
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure, Transition
from bridge.daemon.journal.instance import copied_from_elsewhere, instance_id
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.requests import carry_out
from bridge.daemon.journal.states import IN_WORK, QUEUED, State
from bridge.daemon.uplink.uplink import Uplink
from bridge.daemon.wakeup import Wakeup
from bridge.daemon.watch.folder_scans import FolderScans
from bridge.daemon.watch.open_files import WriterCheck
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import (
    WatchedFolder,
    watched_folder_of,
    watched_folders_of,
)
from bridge.daemon.work.abandoned import AbandonedUploads
from bridge.daemon.work.dispatcher import Address, Dispatcher
from bridge.daemon.work.listener import Listener
from bridge.daemon.work.memory import give_back_freed_memory
from bridge.daemon.work.pool import Pool
from bridge.daemon.work.process import Worker
from bridge.daemon.work.scheduler import Gatekeeper, Waiting
from bridge.daemon.work.supervisor import Supervisor
from bridge.errors import BridgeError, JournalError
from bridge.units import DAY_NS, address_text

TICK_S = 1.0
# Short, because workers wait for their next job meanwhile.
JUDGE_BUDGET_S = 0.05
# Events may come in storms; scans then follow each other at this distance, or at so many times
# their own length, whichever is more.
SCAN_GAP_S = 0.1
SCAN_GAP_FACTOR = 10.0
JOURNAL_RETRY_S = 2.0
PRUNE_INTERVAL_S = 3600.0


class Loop:
    """Everything the running daemon holds open; a context manager.

    Args:
        settings: All settings.
        address: Gives host and port of the platform.
        observer: Hears of everything.
        clock: Where the time comes from.
        worker_command: What to run as worker.
        check_writer: How to find out whether somebody writes a file.
        wakeup: How others reach the loop.
        prove: How to ask whether the platform holds sequences whole.

    Raises:
        JournalError: The journal cannot be opened, or belongs to another bridge.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        address: Address,
        observer: DaemonObserver,
        clock: Clock,
        worker_command: tuple[str, ...],
        check_writer: WriterCheck,
        wakeup: Wakeup,
        prove: Prove | None = None,
    ) -> None:
        self._live = live = LiveSettings(settings)
        self._address = address
        self._prove = prove
        self._uplink = Uplink(live, folder=settings.state.folder, clock=clock)
        self._observer = observer = Observers((self._uplink, observer))
        self._clock = clock
        self._wakeup = wakeup
        self._started_ns = clock.wall_ns()
        self._instance_id = instance_id(settings.state.folder)
        self._journal = Journal.own(
            settings.state.folder, wall_ns=clock.wall_ns, on_change=self._changed
        )
        self._counts: dict[str, int] | None = None
        self._journal.recover()
        # No worker is left that could use one: each holds the journal's lock as long as it lives.
        sweep_scratch(scratch_folder(settings))
        watched_folders = watched_folders_of(live)
        self._tracker = Tracker(
            self._journal,
            watched_folders,
            clock=clock,
            check_writer=check_writer,
            on_forget=self._forgotten,
        )
        self._folder_scans = FolderScans(
            watched_folders, tracker=self._tracker, clock=clock, wake=wakeup.wake
        )
        self._gate = Gatekeeper(live, clock=clock, on_change=self._gate_changed)
        self._pool = Pool(
            settings.workers.count,
            clock=clock,
            lock=self._journal.lock,
            command=worker_command,
        )
        self._disposers = {watched: self._make_disposer(watched) for watched in watched_folders}
        self._waiting = Waiting(live, clock=clock)
        self._abandoned = AbandonedUploads(self._journal, live, clock=clock)
        self._listener = self._make_listener()
        self._supervisor = self._make_supervisor()
        self._dispatcher = self._make_dispatcher()
        self._selector = selectors.DefaultSelector()
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._heard: set[Worker] = set()
        self._scan_at_s = self._pause_until_s = clock.monotonic_s()
        self._scanned_at_s = self._prune_at_s = self._scan_at_s
        self._judging = self._sweeping = False
        self._drain_until_s: float | None = None
        self._troubles: set[str] = set()

    def _ended(self, entry: Entry) -> None:
        if entry.state is State.VANISHED:
            self._tracker.vanished(entry)
        watched = watched_folder_of(entry.path, self._disposers)
        if watched is not None:
            self._disposers[watched].ended(entry)

    def _make_disposer(self, watched: WatchedFolder) -> Disposer:
        return Disposer(
            self._journal,
            tracker=self._tracker,
            watched=watched,
            instance_id=self._instance_id,
            observer=self._observer,
            clock=self._clock,
            prove=self._prove or PlatformProof(self._live, self._address),
            wake=self._wakeup.nudge,
        )

    def _make_listener(self) -> Listener:
        return Listener(
            self._journal,
            pool=self._pool,
            gate=self._gate,
            waiting=self._waiting,
            clearing=self._abandoned,
            live=self._live,
            observer=self._observer,
            on_end=self._ended,
            clock=self._clock,
        )

    def _make_supervisor(self) -> Supervisor:
        return Supervisor(
            self._journal,
            pool=self._pool,
            listener=self._listener,
            live=self._live,
            observer=self._observer,
        )

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self._journal,
            tracker=self._tracker,
            pool=self._pool,
            gate=self._gate,
            waiting=self._waiting,
            clearing=self._abandoned,
            live=self._live,
            address=self._address,
            instance_id=self._instance_id,
        )

    def __enter__(self) -> Self:
        self._folder_scans.refresh()
        if self._journal.aside is not None:
            message = f"the journal could not be used and was set aside as {self._journal.aside}"
            hint = "what is on the platform is recognised there; nothing is sent twice"
            if ".version-" in self._journal.aside.name:
                hint += "; for the bridge that wrote it, stop this one, rename it to journal.db"
            self._trouble(Failure(error="JournalSetAside", message=message, hint=hint))
        self._observer.hear(Started(status=self.status()))
        if told := copied_from_elsewhere(self._live.now.state.folder):
            hint = "if both run, stop this one, delete `instance` in state.folder, and start it"
            self._trouble(Failure(error="CopiedInstance", message=told, hint=hint))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder_scans.close()
        for disposer in self._disposers.values():
            with contextlib.suppress(JournalError):
                disposer.close()
        self._supervisor.abandon("the bridge was stopped while this was in work")
        self._observer.hear(Stopped(status=self.status()))
        self._selector.close()
        self._pool.close()
        self._uplink.save(at_once=True)
        self._journal.close()

    # -- turning ---------------------------------------------------------------------------------

    def turn(self) -> DaemonStatus:
        """Do what can be done now, wait for the next thing to happen, and return the status."""
        try:
            if self._clock.monotonic_s() >= self._pause_until_s:
                self._work()
            self._listen(self._patience_s())
            self._well("JournalError")
        except JournalError as error:
            self._pause_until_s = self._clock.monotonic_s() + JOURNAL_RETRY_S
            self._journal.relieve()
            self._trouble(Failure.of(error))
        status = self.status()
        self._observer.hear(Ticked(status=status))
        return status

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from the next turn on; see `reload` for those that may differ."""
        self._live.adopt(settings)
        self._scan_at_s = self._clock.monotonic_s()

    def finished(self) -> bool:
        """Return whether the loop was stopped and has drained."""
        if not self._wakeup.stopping:
            return False
        if not self._wakeup.drain or not self._pool.busy:
            return True
        now_s = self._clock.monotonic_s()
        if self._drain_until_s is None:
            self._drain_until_s = now_s + self._live.now.workers.drain_timeout_s
        return now_s >= self._drain_until_s

    def nothing_to_do(self) -> bool:
        """Return whether everything that can be done now has been done."""
        if not self._folder_scans.status.scans or self._judging:
            return False
        if self._tracker.more_to_enter or self._tracker.pending or self._tracker.unread:
            return False
        if any(disposer.busy for disposer in self._disposers.values()):
            return False
        if self._tracker.next_verdict_s is not None:
            soon_s = self._clock.monotonic_s() + self._folder_scans.settle_s
            if self._tracker.next_verdict_s <= soon_s:
                return False
        if self._uplink.status.held or self._gate.status.gate is not Gate.OPEN:
            return not self._pool.busy
        counts = self._journal.counts()
        queued = any(counts.get(state) for state in QUEUED | IN_WORK)
        return not queued and not self._abandoned.pending

    def status(self) -> DaemonStatus:
        """Take a snapshot."""
        if self._counts is None:
            with contextlib.suppress(JournalError):
                self._counts = self._journal.counts()
        return DaemonStatus(
            instance_id=self._instance_id,
            server=self._server_name(),
            embedded=self._live.now.uses_embedded_server,
            started_ns=self._started_ns,
            ticked_ns=self._clock.wall_ns(),
            stopping=self._wakeup.stopping,
            gate=self._gate.status,
            watch=self._folder_scans.status,
            folders=self._folder_scans.statuses,
            workers=tuple(
                progress for worker in self._pool if (progress := worker.progress()) is not None
            ),
            counts=self._counts or {},
            uplink=self._uplink.status,
        )

    def _server_name(self) -> str:
        try:
            host, port = self._address()
        except (OSError, BridgeError):
            return ""
        return address_text(host, port)

    def _work(self) -> None:
        self._listener.settle()
        self._supervisor.watch()
        if self._wakeup.stopping:
            return
        self._answer_requests()
        for disposer in self._disposers.values():
            disposer.work()
        if self._wakeup.taken():
            self._scan_at_s = min(self._scan_at_s, self._scanned_at_s + self._scan_gap_s())
        now_s = self._clock.monotonic_s()
        if now_s >= self._scan_at_s or now_s >= (self._tracker.next_verdict_s or now_s + 1):
            self._scan()
        self._judging = self._tracker.judge(budget_s=JUDGE_BUDGET_S)
        if self._sweeping and not self._judging:
            self._sweeping = False
            # A look at thousands of recordings leaves megabytes that are free in small pieces.
            give_back_freed_memory()
            for disposer in self._disposers.values():
                disposer.sweep()
        self._warm_up()
        self._gate.hold(self._uplink.status.held)
        self._dispatcher.dispatch()
        self._share_uplink()
        if now_s >= self._prune_at_s:
            self._prune()

    def _share_uplink(self) -> None:
        """Send every worker with a job its share of the rate."""
        busy = self._pool.busy
        share = self._uplink.share_bytes_per_second(len(busy))
        for worker in busy:
            worker.share(share)
        self._uplink.save()

    def _scan_gap_s(self) -> float:
        return max(SCAN_GAP_S, SCAN_GAP_FACTOR * self._folder_scans.status.last_scan_s)

    def _scan(self) -> None:
        for name, failure in self._folder_scans.scan():
            key = f"folder {name}"
            if failure is None:
                self._well(key)
            else:
                self._trouble(failure, key=key)
        ended_s = self._clock.monotonic_s()
        soon = self._tracker.more_to_enter or self._tracker.pending
        wait_s = SCAN_GAP_S if soon else self._folder_scans.interval_s
        if self._tracker.unread:
            wait_s = min(wait_s, self._scan_gap_s())
        self._scanned_at_s = ended_s
        self._scan_at_s = ended_s + wait_s
        self._observer.hear(Scanned(watch=self._folder_scans.status))
        self._sweeping = True

    def _warm_up(self) -> None:
        self._drop_gone()
        try:
            worker = self._pool.keep_warm()
        except OSError as error:
            self._trouble(
                Failure(error="NoWorker", message=f"no worker can be started: {error.strerror}"),
                key="workers",
            )
            return
        if worker is not None:
            self._selector.register(worker, selectors.EVENT_READ, worker)
            self._heard.add(worker)

    def _answer_requests(self) -> None:
        for request in self._journal.requests():
            for forgotten in carry_out(self._journal, request, is_there=self._tracker.is_there):
                self._tracker.forget(forgotten)
                self._forgotten(forgotten)
                self._scan_at_s = self._clock.monotonic_s()

    def _prune(self) -> None:
        self._prune_at_s = self._clock.monotonic_s() + PRUNE_INTERVAL_S
        keep_ns = int(self._live.now.state.keep_days * DAY_NS)
        for entry in self._journal.prune(before_ns=self._clock.wall_ns() - keep_ns):
            self._forgotten(entry)

    # -- waiting ---------------------------------------------------------------------------------

    def _patience_s(self) -> float:
        """Give the time until something is to be done without anybody saying so."""
        now_s = self._clock.monotonic_s()
        if self._judging:
            return 0.0
        if now_s < self._pause_until_s:
            return min(TICK_S, self._pause_until_s - now_s)
        dues_s = [TICK_S, self._scan_at_s - now_s]
        if self._tracker.next_verdict_s is not None:
            dues_s.append(self._tracker.next_verdict_s - now_s)
        if self._pool.idle() is not None:
            waits_s = (self._gate.probe_wait_s(), self._dispatcher.next_due_s())
            dues_s.extend(wait_s for wait_s in waits_s if wait_s is not None)
        if self._pool.restart_wait_s:
            dues_s.append(self._pool.restart_wait_s)
        return max(0.0, min(dues_s))

    def _listen(self, patience_s: float) -> None:
        """Wait until a worker speaks, somebody wakes the loop, or the time is up."""
        self._drop_gone()
        for key, _ in self._selector.select(patience_s):
            if isinstance(key.data, Worker):
                self._hear(key.data)

    def _hear(self, worker: Worker) -> None:
        try:
            self._supervisor.hear(worker)
        finally:
            self._drop_gone()

    def _drop_gone(self) -> None:
        """Stop listening to workers that are no more."""
        for worker in self._heard - set(self._pool):
            self._heard.discard(worker)
            for key in self._keys(worker):
                self._selector.unregister(key.fd)

    def _keys(self, worker: Worker) -> Iterator[selectors.SelectorKey]:
        return iter([key for key in self._selector.get_map().values() if key.data is worker])

    # -- reporting ---------------------------------------------------------------------------------

    def _changed(self, entry: Entry, transition: Transition) -> None:
        self._counts = None
        self._observer.hear(RecordingChanged(entry=entry, transition=transition))

    def _forgotten(self, entry: Entry) -> None:
        self._counts = None
        self._observer.hear(RecordingForgotten(entry=entry))

    def _gate_changed(self, gate: GateStatus) -> None:
        self._observer.hear(GateChanged(gate=gate))

    def _trouble(self, failure: Failure, *, key: str = "") -> None:
        """Report a trouble once, until it is over."""
        key = key or failure.error
        if key not in self._troubles:
            self._troubles.add(key)
            self._observer.hear(Troubled(failure=failure))

    def _well(self, key: str) -> None:
        self._troubles.discard(key)
