"""Turns what the daemon reports into metrics: the observer behind which `instruments` lives.

Labels take few values by construction; where a value comes from outside (a reason, the name of an
error) a bound holds, and the rest is counted as `other`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry

from bridge.daemon.events.events import (
    Disposed,
    Event,
    GateChanged,
    IngestFailed,
    IngestFinished,
    IngestProgressed,
    IngestStarted,
    Progress,
    RecordingChanged,
    RecordingForgotten,
    Scanned,
    StageFinished,
    Started,
    Stopped,
    Ticked,
    TopicPlanned,
    Troubled,
    WireMoved,
    WorkerLost,
)
from bridge.daemon.events.status import (
    DaemonStatus,
    Gate,
    GateStatus,
    PlatformFacts,
    UplinkStatus,
    WatchStatus,
)
from bridge.daemon.journal.entry import Entry, Failure, Tally
from bridge.daemon.journal.instance import INSTANCE_FILE
from bridge.daemon.journal.journal import JournalReader
from bridge.daemon.journal.states import DELIVERED, IN_WORK, ON_PLATFORM, QUEUED, State
from bridge.daemon.observe.instruments import BUDGET_PERIODS, Instruments
from bridge.daemon.observe.page_data import folder_name
from bridge.errors import JournalError, VerificationError
from bridge.ingest import IngestReport
from bridge.units import SECOND_NS

# Label values from outside beyond this many different ones are counted as `other`.
LABEL_VALUES_MAX = 48
OTHER = "other"

# States in which the bridge still has something to do by itself.
PENDING = QUEUED | IN_WORK


class Metrics:
    """The metrics of one daemon.

    Observer calls come from the daemon's loop thread, scrapes from any other; the metrics of
    prometheus-client may be touched from both. Everything else here belongs to the loop thread.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        folders: Mapping[str, Path] | None = None,
        watched: Mapping[str, Path] | None = None,
        journal: JournalReader | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Declare all metrics.

        Args:
            registry: Where to; a new one by default, never the library's global one.
            folders: By role (`watch`, `state`, ...) the folders whose disk is measured.
            watched: The watched folders by name; where there are several, recordings are counted
                by folder, and those in none of them (any more) under an empty name.
            journal: Asked at each scrape what recordings there are, and at the start when the last
                one arrived.
            wall: Wall clock in seconds.
            monotonic: Clock that never jumps, in seconds.
        """
        self._journal = journal
        self._watched = dict(watched or {}) if watched and len(watched) > 1 else {}
        self._shown = set(self._watched or {""})
        self._state_folder = (folders or {}).get("state")
        self._wall = wall
        self._monotonic = monotonic
        self._last_tick_s: float | None = None
        self._last_success_ns = 0
        self._swept_at_s = math.nan
        self._classes: dict[int, dict[str, str]] = {}
        self._label_values: dict[str, set[str]] = {}
        self._on = Instruments(
            registry or CollectorRegistry(), folders=folders or {}, watched=tuple(self._watched)
        )
        self._on.notification_sweep_age.set_function(lambda: self._wall() - self._swept_at_s)

    def exposition(self) -> bytes:
        """Give all metrics in Prometheus' text format."""
        if self._journal is not None:
            try:
                self._show_recordings(
                    self._journal.ask(lambda journal: journal.tallies(self._watched))
                )
            except JournalError as error:
                # What was last known stays.
                self._count_error(Failure.of(error))
        return self._on.exposition()

    def _show_recordings(self, tallies: Sequence[Tally]) -> None:
        """Show what recordings there are and what waits, by folder where there are several."""
        on = self._on
        counts = {(each.folder, each.state): each.recordings for each in tallies}
        self._shown |= {folder for folder, _ in counts}
        for folder in sorted(self._shown):
            for state in State:
                on.of_folder(on.recordings, folder, state).set(counts.get((folder, state), 0))
            queue = [each for each in tallies if each.folder == folder and each.state in PENDING]
            found_ns = min((each.oldest_found_ns for each in queue), default=None)
            age_s = 0.0 if found_ns is None else self._wall() - found_ns / SECOND_NS
            on.of_folder(on.queue_recordings, folder).set(sum(each.recordings for each in queue))
            on.of_folder(on.queue_bytes, folder).set(sum(each.size_bytes for each in queue))
            on.of_folder(on.queue_age, folder).set(max(0.0, age_s))

    def platform_known(self, platform: PlatformFacts) -> None:
        """Show which platform it is, once a connection has shown it."""
        experimental = "yes" if platform.reservation else "no"
        self._on.server_info.clear()
        self._on.server_info.labels(platform.address, platform.revision, experimental).set(1)

    # -- what the daemon reports -----------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Count what happened."""
        match event:
            case Started(status=status):
                self._started(status)
            case Ticked(status=status) | Stopped(status=status):
                self._ticked(status)
            case Scanned(watch=watch):
                self._on.scans.inc()
                self._show_watch(watch)
            case GateChanged(gate=gate):
                self._show_gate(gate)
            case Troubled(failure=failure):
                self._count_error(failure)
            case RecordingChanged():
                self._recording_changed(event)
            case RecordingForgotten(entry=entry):
                self._classes.pop(entry.id, None)
            case Disposed(mode=mode, size_bytes=size_bytes):
                self._on.disposals.labels(mode).inc()
                self._on.disposed_bytes.labels(mode).inc(size_bytes)
                self._on.disposals_unasked.inc(bool(event.unasked))
            case _:
                self._hear_of_ingest(event)

    def _hear_of_ingest(self, event: Event) -> None:
        match event:
            case IngestStarted(entry=entry):
                # The topics of an earlier attempt are forgotten.
                self._classes[entry.id] = {}
            case TopicPlanned(entry=entry, topic=topic):
                # What the topic's messages are to be counted under.
                self._classes.setdefault(entry.id, {})[topic.shown_name] = topic.outcome
            case IngestProgressed(entry=entry, progress=progress):
                self._progressed(entry, progress)
            case WireMoved():
                self._on.wire_bytes.labels("sent").inc(event.sent_bytes)
                self._on.wire_bytes.labels("received").inc(event.received_bytes)
            case StageFinished(stage=stage, seconds=seconds):
                self._on.stage_duration.labels(self._bounded("stage", stage)).observe(seconds)
            case IngestFinished(entry=entry, report=report):
                self._classes.pop(entry.id, None)
                self._count_report(report)
            case IngestFailed():
                self._ingest_failed(event)
            case WorkerLost(failure=failure):
                self._on.workers_lost.inc()
                self._count_error(failure)
            case _:
                pass

    def _started(self, status: DaemonStatus) -> None:
        """Take over when the last recording arrived, and show what does not change any more."""
        if self._journal is not None:
            self._adopt(self._journal)
        self._on.start.set(status.started_ns / SECOND_NS)
        self._on.first_start.set(self._first_start_s(status))
        self._on.embedded.set(status.embedded)
        self._on.server_info.labels(status.server, "", "no").set(1)
        self._ticked(status)

    def _ticked(self, status: DaemonStatus) -> None:
        """Follow the snapshot: workers, the gate and how long it was closed."""
        on = self._on
        on.last_tick.set(status.ticked_ns / SECOND_NS)
        on.workers.set(len(status.workers))
        on.worker_memory.set(sum(worker.memory_bytes for worker in status.workers))
        on.worker_idle.set(max((worker.idle_s for worker in status.workers), default=0))
        self._show_gate(status.gate)
        self._show_uplink(status.uplink)
        self._show_watch(status.watch)
        now_s = self._monotonic()
        if self._last_tick_s is not None and status.gate.gate is not Gate.OPEN:
            on.gate_closed.labels(status.gate.gate).inc(now_s - self._last_tick_s)
        self._last_tick_s = now_s

    def _show_gate(self, gate: GateStatus) -> None:
        """Show whether the platform answers and lets us in."""
        self._on.reachable.set(gate.reached and gate.gate is not Gate.OFFLINE)
        self._on.accepting.set(gate.reached and gate.gate is Gate.OPEN)

    def _recording_changed(self, event: RecordingChanged) -> None:
        """Count the step, and how long it took to arrive."""
        entry, transition = event.entry, event.transition
        folder = folder_name(entry.path, self._watched)
        self._on.of_folder(self._on.transitions, folder, transition.after).inc()
        if transition.after in DELIVERED:
            self._succeeded(transition.at_ns)
            delay_s = (transition.at_ns - entry.modified_ns) / SECOND_NS
            self._on.delay.observe(max(0.0, delay_s))

    def _progressed(self, entry: Entry, progress: Progress) -> None:
        """Count what was read and sent while it happens."""
        on, classes = self._on, self._classes.get(entry.id, {})
        on.read_bytes.inc(progress.recorded_bytes)
        for counter, amounts in (
            (on.sent_messages, progress.messages),
            (on.sent_bytes, progress.arrow_bytes),
            (on.sent_batches, progress.batches),
        ):
            for topic, amount in amounts.items():
                counter.labels(classes.get(topic, OTHER)).inc(amount)

    def _count_report(self, report: IngestReport) -> None:
        """Count what is on the platform, what was left out, what was lost and what was proven."""
        on = self._on
        for topic in report.topics:
            on.topics.labels(topic.outcome).inc()
            if topic.messages_sent:
                on.ingested_messages.labels(topic.outcome).inc(topic.messages_sent)
                on.ingested_bytes.labels(topic.outcome).inc(topic.arrow_bytes)
            for reason, messages in topic.messages_skipped.items():
                on.skipped_messages.labels(self._bounded("reason", reason)).inc(messages)
        on.ingested_recorded_bytes.inc(report.recorded_bytes)
        on.ingest_duration.observe(report.seconds)
        on.verifications.labels(report.verification).inc()
        on.salvaged.inc(report.salvaged)
        on.unverifiable_messages.inc(report.messages_unverifiable)
        if report.replaced is not None:
            on.superseded.labels(report.replaced.removal).inc()
        if report.quality is not None:
            on.last_findings.set(len(report.findings))
            # What was on the platform before was counted when it came there.
            for finding in () if report.already_there else report.findings:
                on.expectations_failed.labels(finding.kind).inc()
        on.lost_ranges.inc(len(report.losses))
        on.lost_bytes.inc(sum(loss.end_bytes - loss.start_bytes for loss in report.losses))

    def _ingest_failed(self, event: IngestFailed) -> None:
        """Count the failure by kind, and whether there will be another attempt."""
        failure = event.failure
        self._classes.pop(event.entry.id, None)
        if event.entry.state is State.EMPTY:
            # There was nothing to send, which is no failure.
            return
        self._on.failures.labels(failure.trouble).inc()
        self._count_error(failure)
        if event.retry_in_s is not None:
            self._on.retries.labels(failure.trouble).inc()
        if failure.error == VerificationError.__name__:
            self._on.verification_failures.inc()

    def _first_start_s(self, status: DaemonStatus) -> float:
        """Give when the state folder's name was made, which is kept for as long as the folder."""
        folder = self._state_folder
        with suppress(OSError):
            if folder is not None:
                return (folder / INSTANCE_FILE).stat().st_mtime
        return status.started_ns / SECOND_NS

    # -- notifications; called by the poller -----------------------------------------------------

    def notification_seen(self, *, kind: str) -> None:
        """Count a notification that was not known before."""
        self._on.notifications.labels(self._bounded("type", kind)).inc()

    def notifications_asked(self, *, succeeded: bool) -> None:
        """Count a call that asked for notifications."""
        self._on.notification_calls.labels("ok" if succeeded else "failed").inc()

    def notifications_swept(self, *, oldest_asked_s: float) -> None:
        """Count the age of the sweep from when that was asked about which was asked longest ago."""
        self._swept_at_s = oldest_asked_s

    # -- inside ----------------------------------------------------------------------------------

    def _bounded(self, label: str, value: str) -> str:
        """Give the value, or `other` where it would be one too many for its label."""
        known = self._label_values.setdefault(label, set())
        if value not in known:
            if len(known) >= LABEL_VALUES_MAX:
                return OTHER
            known.add(value)
        return value

    def _count_error(self, failure: Failure) -> None:
        self._on.errors.labels(self._bounded("error", failure.error)).inc()

    def _adopt(self, journal: JournalReader) -> None:
        try:
            latest = journal.ask(
                lambda open_journal: open_journal.recordings(states=ON_PLATFORM, limit=1)
            )
        except JournalError as error:
            self._count_error(Failure.of(error))
            return
        for entry in latest:
            self._succeeded(entry.changed_ns)

    def _succeeded(self, at_ns: int) -> None:
        self._last_success_ns = max(at_ns, self._last_success_ns)
        self._on.last_success.set(self._last_success_ns / SECOND_NS)

    def _show_uplink(self, uplink: UplinkStatus) -> None:
        limit = uplink.bytes_per_second_max
        self._on.uplink_limit.set(math.inf if limit is None else limit)
        left = {budget.period: budget.left_bytes for budget in uplink.budgets}
        for period in BUDGET_PERIODS:
            self._on.uplink_budget_left.labels(period).set(left.get(period, math.inf))

    def _show_watch(self, watch: WatchStatus) -> None:
        self._on.watch_readable.set(watch.readable)
        self._on.watch_events.set(watch.events)
        self._on.scan_duration.set(watch.last_scan_s)
        self._on.last_scan.set(watch.last_scan_ns / SECOND_NS)
