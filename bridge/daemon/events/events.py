"""What the daemon reports, as values: one class for each event, and one union of them all.

An observer has one method, `hear`, which picks the events that it cares about with `match`. All
calls come from the daemon's loop thread, one at a time; they must return quickly and never raise.
Events are immutable, so they may be kept and read from other threads.
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
        read: More messages read, by topic; their batches may still wait.
        messages: More rows handed to the platform, by topic.
        arrow_bytes: More bytes handed to the platform before body compression, by topic.
        batches: More batches handed to the platform, by topic.
        skipped: More messages left out, by (topic, reason).
    """

    recorded_bytes: int = 0
    read: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, int] = field(default_factory=dict)
    arrow_bytes: Mapping[str, int] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[tuple[str, str], int] = field(default_factory=dict)


# -- the daemon ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The journal is open and recovered; the first scan comes next."""

    status: DaemonStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """The loop has made a turn: once a second when idle, more often when busy."""

    status: DaemonStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The loop has ended and no worker runs any more."""

    status: DaemonStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A scan of the watched folders has ended."""

    watch: WatchStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class GateChanged:
    """The way to the platform opened or closed."""

    gate: GateStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """Something other than one recording is wrong: journal, folder, watch, disk."""

    failure: Failure


# -- recordings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingChanged:
    """A recording came into another state; the journal holds it already."""

    entry: Entry
    transition: Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingForgotten:
    """A recording was taken out of the journal, on request or because it is long gone."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposed:
    """The source of a recording was moved or deleted.

    Attributes:
        entry: The recording; its path is where the source was.
        mode: `move`, `delete`, or `emergency` for a deletion that asks no platform.
        target: Where it is now, for `move`; else None.
        size_bytes: The size of its files.
        proof: What let it go: `asked` of the platform right before, `remembered` from when it was
            sent, or `none`, for an emergency.
    """

    entry: Entry
    mode: str
    target: Path | None
    size_bytes: int
    proof: str = "asked"

    @property
    def unasked(self) -> str:
        """Say that remembered proof was used, as a sentence; empty where the platform was asked."""
        if self.proof != "remembered":
            return ""
        return (
            f"{self.entry.path} went by remembered proof: the platform did not answer, and room "
            "was needed"
        )


# -- ingests -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestStarted:
    """A worker has begun with a recording."""

    entry: Entry
    sequence: str
    size_bytes: int
    message_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlanned:
    """It is decided what happens to a topic."""

    entry: Entry
    topic: TopicReport


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgressed:
    """A worker has made progress; at most about ten times a second and worker."""

    entry: Entry
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMoved:
    """A worker has moved so many more bytes over the wire; about once a second and worker."""

    entry: Entry
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """A stage of an ingest (`open`, `read`, ... `finalize`) took this long."""

    entry: Entry
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFinished:
    """A recording is on the platform; how well is in the report."""

    entry: Entry
    report: IngestReport


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFailed:
    """An attempt failed; `retry_in_s` is None when it was the last one."""

    entry: Entry
    failure: Failure
    retry_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker process died or had to be killed; `entry` is what it was working on."""

    entry: Entry | None
    failure: Failure


Event = (
    Started
    | Ticked
    | Stopped
    | Scanned
    | GateChanged
    | Troubled
    | RecordingChanged
    | RecordingForgotten
    | Disposed
    | IngestStarted
    | TopicPlanned
    | IngestProgressed
    | WireMoved
    | StageFinished
    | IngestFinished
    | IngestFailed
    | WorkerLost
)


class DaemonObserver(Protocol):
    """Receives what happens in the daemon."""

    def hear(self, event: Event) -> None:
        """Take in an event; those that do not matter here are passed over."""


class Observers:
    """Hands every event to several observers, in order; to none where there are none.

    Args:
        observers: The listeners.
    """

    def __init__(self, observers: Sequence[DaemonObserver] = ()) -> None:
        self._observers = tuple(observers)

    def hear(self, event: Event) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.hear(event)
