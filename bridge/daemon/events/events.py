"""What the daemon reports, and to whom: one Protocol behind which metrics, logs and pages live.

All calls come from the daemon's loop thread, one at a time; they must return quickly and never
raise. Values handed over are immutable, so they may be kept and read from other threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bridge.daemon.events.status import DaemonStatus, GateStatus, WatchStatus
from bridge.daemon.journal.entry import Entry, Failure, Transition
from bridge.ingest import IngestReport, TopicReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happened in an ingest since the last such report; all numbers are differences.

    Attributes:
        recorded_bytes: More bytes of the files read.
        messages: More rows handed to the platform, by topic.
        arrow_bytes: More bytes handed to the platform before body compression, by topic.
        batches: More batches handed to the platform, by topic.
        skipped: More messages left out, by (topic, reason).
    """

    recorded_bytes: int = 0
    messages: Mapping[str, int] = field(default_factory=dict)
    arrow_bytes: Mapping[str, int] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """A source that was moved or deleted.

    Attributes:
        mode: `move`, `delete`, or `emergency` for a deletion that asks no platform.
        path: Where it was.
        target: Where it is now, for `move`; else None.
        size_bytes: How much room that made.
    """

    mode: str
    path: Path
    target: Path | None
    size_bytes: int


class DaemonObserver(Protocol):
    """Receives what happens in the daemon."""

    def started(self, *, status: DaemonStatus) -> None:
        """The journal is open and recovered; the first scan comes next."""

    def ticked(self, *, status: DaemonStatus) -> None:
        """The loop has made a turn: once a second when idle, more often when busy."""

    def stopped(self, *, status: DaemonStatus) -> None:
        """The loop has ended and no worker runs any more."""

    def scanned(self, *, watch: WatchStatus) -> None:
        """A scan of the watched folder has ended."""

    def recording_changed(self, *, entry: Entry, transition: Transition) -> None:
        """A recording came into another state; the journal holds it already."""

    def recording_forgotten(self, *, entry: Entry) -> None:
        """A recording was taken out of the journal, on request or because it is long gone."""

    def ingest_started(
        self, *, entry: Entry, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """A worker has begun with a recording."""

    def topic_planned(self, *, entry: Entry, topic: TopicReport) -> None:
        """It is decided what happens to a topic."""

    def ingest_progressed(self, *, entry: Entry, progress: Progress) -> None:
        """A worker has made progress; at most about ten times a second and worker."""

    def wire_moved(self, *, entry: Entry, sent_bytes: int, received_bytes: int) -> None:
        """A worker has moved so many more bytes over the wire; about once a second and worker."""

    def stage_finished(self, *, entry: Entry, stage: str, seconds: float) -> None:
        """A stage of an ingest (`open`, `read`, ... `finalize`) took this long."""

    def ingest_finished(self, *, entry: Entry, report: IngestReport) -> None:
        """A recording is on the platform; how well is in the report."""

    def ingest_failed(self, *, entry: Entry, failure: Failure, retry_in_s: float | None) -> None:
        """An attempt failed; `retry_in_s` is None when it was the last one."""

    def worker_lost(self, *, entry: Entry | None, failure: Failure) -> None:
        """A worker process died or had to be killed; `entry` is what it was working on."""

    def gate_changed(self, *, gate: GateStatus) -> None:
        """The way to the platform opened or closed."""

    def disposed(self, *, entry: Entry, disposal: Disposal) -> None:
        """The source of a recording was moved or deleted."""

    def troubled(self, *, failure: Failure) -> None:
        """Something other than one recording is wrong: journal, folder, watch, disk."""


class NoObserver:
    """Listens to nothing; the place to start for whoever wants a few events only."""

    def started(self, *, status: DaemonStatus) -> None:
        """Ignore."""

    def ticked(self, *, status: DaemonStatus) -> None:
        """Ignore."""

    def stopped(self, *, status: DaemonStatus) -> None:
        """Ignore."""

    def scanned(self, *, watch: WatchStatus) -> None:
        """Ignore."""

    def recording_changed(self, *, entry: Entry, transition: Transition) -> None:
        """Ignore."""

    def recording_forgotten(self, *, entry: Entry) -> None:
        """Ignore."""

    def ingest_started(
        self, *, entry: Entry, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Ignore."""

    def topic_planned(self, *, entry: Entry, topic: TopicReport) -> None:
        """Ignore."""

    def ingest_progressed(self, *, entry: Entry, progress: Progress) -> None:
        """Ignore."""

    def wire_moved(self, *, entry: Entry, sent_bytes: int, received_bytes: int) -> None:
        """Ignore."""

    def stage_finished(self, *, entry: Entry, stage: str, seconds: float) -> None:
        """Ignore."""

    def ingest_finished(self, *, entry: Entry, report: IngestReport) -> None:
        """Ignore."""

    def ingest_failed(self, *, entry: Entry, failure: Failure, retry_in_s: float | None) -> None:
        """Ignore."""

    def worker_lost(self, *, entry: Entry | None, failure: Failure) -> None:
        """Ignore."""

    def gate_changed(self, *, gate: GateStatus) -> None:
        """Ignore."""

    def disposed(self, *, entry: Entry, disposal: Disposal) -> None:
        """Ignore."""

    def troubled(self, *, failure: Failure) -> None:
        """Ignore."""


class Observers:
    """Hands every event to several observers, in order.

    Args:
        observers: Who listens.
    """

    def __init__(self, observers: Sequence[DaemonObserver]) -> None:
        self._observers = tuple(observers)

    def started(self, *, status: DaemonStatus) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.started(status=status)

    def ticked(self, *, status: DaemonStatus) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ticked(status=status)

    def stopped(self, *, status: DaemonStatus) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.stopped(status=status)

    def scanned(self, *, watch: WatchStatus) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.scanned(watch=watch)

    def recording_changed(self, *, entry: Entry, transition: Transition) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.recording_changed(entry=entry, transition=transition)

    def recording_forgotten(self, *, entry: Entry) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.recording_forgotten(entry=entry)

    def ingest_started(
        self, *, entry: Entry, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ingest_started(
                entry=entry, sequence=sequence, size_bytes=size_bytes, message_count=message_count
            )

    def topic_planned(self, *, entry: Entry, topic: TopicReport) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.topic_planned(entry=entry, topic=topic)

    def ingest_progressed(self, *, entry: Entry, progress: Progress) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ingest_progressed(entry=entry, progress=progress)

    def wire_moved(self, *, entry: Entry, sent_bytes: int, received_bytes: int) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.wire_moved(entry=entry, sent_bytes=sent_bytes, received_bytes=received_bytes)

    def stage_finished(self, *, entry: Entry, stage: str, seconds: float) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.stage_finished(entry=entry, stage=stage, seconds=seconds)

    def ingest_finished(self, *, entry: Entry, report: IngestReport) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ingest_finished(entry=entry, report=report)

    def ingest_failed(self, *, entry: Entry, failure: Failure, retry_in_s: float | None) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ingest_failed(entry=entry, failure=failure, retry_in_s=retry_in_s)

    def worker_lost(self, *, entry: Entry | None, failure: Failure) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.worker_lost(entry=entry, failure=failure)

    def gate_changed(self, *, gate: GateStatus) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.gate_changed(gate=gate)

    def disposed(self, *, entry: Entry, disposal: Disposal) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.disposed(entry=entry, disposal=disposal)

    def troubled(self, *, failure: Failure) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.troubled(failure=failure)
