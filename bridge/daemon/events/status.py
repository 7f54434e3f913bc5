"""What the daemon is doing right now, as values that may be read from any thread."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from bridge.daemon.journal.entry import Failure


class Gate(StrEnum):
    """Whether recordings are handed to workers."""

    OPEN = "open"
    OFFLINE = "offline"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatus:
    """The way to the platform.

    Attributes:
        gate: Whether recordings are sent, and if not, why.
        reason: The platform's words, or ours; empty while open.
        hint: What the operator can do; empty while open.
        since_ns: Since when, wall clock.
        reached: Whether the platform has answered at least once since the start.
        next_probe_s: Seconds until the platform is tried again; 0 while open.
    """

    gate: Gate
    reason: str = ""
    hint: str = ""
    since_ns: int = 0
    reached: bool = False
    next_probe_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What the platform is, once a connection has shown it.

    Attributes:
        address: `host:port`.
        revision: The protocol revision it speaks.
        version: Its version; empty where it reports none.
        reservation: What the operator should know of the revision; empty for most.
    """

    address: str
    revision: str
    version: str = ""
    reservation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicProgress:
    """What a running ingest has read and sent of one topic so far."""

    read: int = 0
    messages: int = 0
    arrow_bytes: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProgress:
    """What one worker is doing.

    Attributes:
        worker: The worker's number, from 1, stable while it works on one recording.
        pid: Its process.
        entry_id: The recording's number in the journal.
        path: The recording.
        sequence: Its name on the platform; empty until the ingest has begun.
        attempt: Which attempt this is, from 1.
        started_ns: When the recording was handed to the worker, wall clock.
        recorded_bytes: Size of the recording's files.
        recorded_bytes_read: How much of them has been read.
        messages_recorded: Messages the container claims, or None.
        messages_sent: Rows handed to the platform so far.
        arrow_bytes: Bytes handed to the platform so far, before body compression.
        memory_bytes: Resident memory of the worker at the last look.
        idle_s: Seconds since its last sign of progress.
        topics: By topic, what was sent so far.
    """

    worker: int
    pid: int
    entry_id: int
    path: Path
    sequence: str
    attempt: int
    started_ns: int
    recorded_bytes: int
    recorded_bytes_read: int = 0
    messages_recorded: int | None = None
    messages_sent: int = 0
    arrow_bytes: int = 0
    memory_bytes: int = 0
    idle_s: float = 0.0
    topics: dict[str, TopicProgress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatus:
    """How the folder is watched.

    Attributes:
        folder: The folder.
        readable: Whether the last scan could read it.
        events: Whether file system events arrive; else only the periodic scan finds things.
        problem: What is wrong with the watch, as a sentence; empty when nothing is.
        scans: Scans so far.
        last_scan_ns: When the last one ended, wall clock; 0 before the first.
        last_scan_s: How long it took.
        recordings: Recordings it found.
        name: The folder's name in the settings; empty for a single one, and for all together.
    """

    folder: Path
    readable: bool = True
    events: bool = False
    problem: str = ""
    scans: int = 0
    last_scan_ns: int = 0
    last_scan_s: float = 0.0
    recordings: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """What may be moved over the uplink in a period.

    Attributes:
        period: `day` or `month`.
        most_bytes: The budget.
        used_bytes: What was moved, both ways.
        left_bytes: What is left of it, never below 0.
        ends_ns: When the next period begins, wall clock.
    """

    period: str
    most_bytes: int
    used_bytes: int
    left_bytes: int
    ends_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkStatus:
    """What may be sent now.

    Attributes:
        bytes_per_second_max: By all workers together; 0 for nothing, None without limit.
        reason: Why nothing may be sent, as a sentence; empty while something may.
        ends_ns: When something else holds, wall clock; 0 when nothing will change by itself.
        budgets: Those that are set.
    """

    bytes_per_second_max: int | None = None
    reason: str = ""
    ends_ns: int = 0
    budgets: tuple[BudgetStatus, ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing may be sent."""
        return self.bytes_per_second_max == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """A snapshot; a new one is published at every turn of the loop.

    Attributes:
        instance_id: This bridge's own name, persisted in the state folder.
        server: The platform's address as `host:port`.
        embedded: Whether it is the embedded server.
        started_ns: When the daemon started, wall clock.
        ticked_ns: When this snapshot was made, wall clock.
        stopping: Whether it is draining.
        gate: The way to the platform.
        watch: How the folder is watched, or all of them together.
        folders: How each folder is watched.
        workers: The running workers.
        counts: Recordings by state.
        uplink: What may be sent.
    """

    instance_id: str
    server: str
    embedded: bool
    started_ns: int
    ticked_ns: int
    stopping: bool
    gate: GateStatus
    watch: WatchStatus
    workers: tuple[WorkerProgress, ...]
    counts: dict[str, int]
    uplink: UplinkStatus = UplinkStatus()
    folders: tuple[WatchStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Throughput of one slot, or a mean over some.

    Attributes:
        read_bytes_per_s: Bytes of recordings read.
        sent_bytes_per_s: Arrow bytes handed to the platform.
        messages_per_s: Messages handed to the platform.
        wire_bytes_per_s: Bytes that left over the wire, after compression.
    """

    read_bytes_per_s: float = 0.0
    sent_bytes_per_s: float = 0.0
    messages_per_s: float = 0.0
    wire_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTopic:
    """What is to happen to a topic of a recording in work."""

    name: str
    msgtype: str
    outcome: str
    ontology_tag: str
    reason: str
    messages_recorded: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleNote:
    """Something that went wrong, and when.

    Attributes:
        at_ns: Wall clock.
        failure: What it was.
        recording: Name of the recording concerned; empty where there is none.
        entry_id: Its number in the journal, or None.
        retry_in_s: When the attempt is made again; None when it is not, when the gate decides, or
            where it was no attempt.
        final: Whether the recording stays as it is until somebody acts.
        repeats: How often the same happened in a row before.
    """

    at_ns: int
    failure: Failure
    recording: str = ""
    entry_id: int | None = None
    retry_in_s: float | None = None
    final: bool = False
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All of it at one moment.

    Attributes:
        now_ns: The moment, wall clock.
        status: The latest snapshot; None before the first.
        tick_age_s: Seconds since the loop last made a turn; None before the first.
        rates: Throughput by slot, oldest first, the running slot left out.
        rate: The present rate.
        planned: By journal number, the topics of what is in work.
        troubles: The latest first.
        platform: What the platform showed of itself; None before it did.
    """

    now_ns: int
    status: DaemonStatus | None
    tick_age_s: float | None
    rates: tuple[Rate, ...] = ()
    rate: Rate = field(default_factory=Rate)
    planned: dict[int, tuple[PlannedTopic, ...]] = field(default_factory=dict)
    troubles: tuple[TroubleNote, ...] = ()
    platform: PlatformFacts | None = None
