"""All metrics of the bridge, declared here and nowhere else.

Names are `mosaico_bridge_<noun>_<unit>`, counters end in `_total`, times are in seconds and sizes
in bytes. Label values that are known beforehand exist from the start with 0, so that a rate over
them sees their first step. `docs/metrics.md` describes each one; a test compares the two.
"""

import math
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

from bridge.daemon.events.status import Gate
from bridge.daemon.journal.states import State
from bridge.errors import Trouble
from bridge.ingest import Removal, TopicOutcome, VerificationLevel
from bridge.quality import FindingKind
from bridge.version import __version__

PREFIX = "mosaico_bridge"
Of = TypeVar("Of", Counter, Gauge)

STAGES = ("open", "read", "convert", "send", "verify", "finalize")
# Topics whose messages can be sent; what they are counted under.
CLASSES = (TopicOutcome.MAPPED, TopicOutcome.GENERIC)
BUDGET_PERIODS = ("day", "month")
STAGE_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
DELAY_BUCKETS_S = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)


class Instruments:
    """The metrics as attributes, declared on one registry; nothing touches the global one."""

    def __init__(
        self, registry: CollectorRegistry, *, folders: Mapping[str, Path], watched: Sequence[str]
    ) -> None:
        """Declare everything.

        Args:
            registry: Where to.
            folders: By role (`watch`, `state`, ...) those whose disk is measured at each scrape.
            watched: Names of the watched folders. Where there are several, what is counted of
                recordings has a label that says which; for a single one it would say nothing.
        """
        self._registry = registry
        self._watched = watched if len(watched) > 1 else ()
        ProcessCollector(registry=registry)
        self._declare_recordings()
        self._declare_contents()
        self._declare_proofs()
        self._declare_failures()
        self._declare_server()
        self._declare_notifications()
        self._declare_disk(folders)
        self._declare_loop()

    def exposition(self) -> bytes:
        """Give all metrics in Prometheus' text format, without the creation time of each."""
        return generate_latest(_WithoutCreationTimes(self._registry))

    def _counter(
        self, name: str, text: str, label: str = "", values: Iterable[str] = ()
    ) -> Counter:
        labels = (label,) if label else ()
        counter = Counter(f"{PREFIX}_{name}", text, labels, registry=self._registry)
        for value in values:
            counter.labels(value)
        return counter

    def of_folder(self, metric: Of, folder: str, *labels: str) -> Of:
        """Give the part of a metric that is about one watched folder, where there are several."""
        values = (*labels, folder) if self._watched else labels
        return metric.labels(*values) if values else metric

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=self._registry)

    def _declare_recordings(self) -> None:
        folder = ("folder",) if self._watched else ()
        self.recordings = self._gauge("recordings", "Recordings in the journal.", "state", *folder)
        self.transitions = Counter(
            f"{PREFIX}_recording_transitions_total",
            "Times a recording came into a state.",
            ("state", *folder),
            registry=self._registry,
        )
        for name in self._watched or ("",):
            for state in State:
                self.of_folder(self.transitions, name, state)
        self.queue_recordings = self._gauge(
            "queue_recordings", "Recordings that wait to be sent or are being sent.", *folder
        )
        self.queue_bytes = self._gauge(
            "queue_bytes", "Size of the recordings in the queue.", *folder
        )
        self.queue_age = self._gauge(
            "queue_oldest_age_seconds",
            "Time since the oldest recording of the queue was found.",
            *folder,
        )
        self.last_success = self._gauge(
            "last_success_time_seconds", "When a recording was last put on the platform; 0: never."
        )
        self.delay = self._histogram(
            "recording_delay_seconds",
            "Time from the last write to a recording until it was on the platform.",
            DELAY_BUCKETS_S,
        )
        self.ingest_duration = self._histogram(
            "ingest_duration_seconds", "Duration of ingests that ended well.", STAGE_BUCKETS_S
        )
        self.stage_duration = self._histogram(
            "stage_duration_seconds", "Duration of stages of ingests.", STAGE_BUCKETS_S, "stage"
        )
        for stage in STAGES:
            self.stage_duration.labels(stage)

    def _declare_contents(self) -> None:
        self.read_bytes = self._counter("read_bytes_total", "Bytes of recordings read.")
        self.sent_messages = self._counter(
            "sent_messages_total", "Messages handed to the platform, resent ones too.",
            "topics", CLASSES,
        )  # fmt: skip
        self.sent_bytes = self._counter(
            "sent_bytes_total", "Arrow bytes handed to the platform, resent ones too.",
            "topics", CLASSES,
        )  # fmt: skip
        self.sent_batches = self._counter(
            "sent_batches_total", "Batches handed to the platform, resent ones too.",
            "topics", CLASSES,
        )  # fmt: skip
        self.ingested_messages = self._counter(
            "ingested_messages_total", "Messages of finished ingests that are on the platform.",
            "topics", CLASSES,
        )  # fmt: skip
        self.ingested_bytes = self._counter(
            "ingested_bytes_total", "Arrow bytes of finished ingests that are on the platform.",
            "topics", CLASSES,
        )  # fmt: skip
        self.ingested_recorded_bytes = self._counter(
            "ingested_recorded_bytes_total", "Size on disk of recordings put on the platform."
        )
        self.skipped_messages = self._counter(
            "skipped_messages_total", "Messages left out of finished ingests.", "reason"
        )
        self.topics = self._counter(
            "topics_total", "Topics of finished ingests.", "outcome", TopicOutcome
        )

    def _declare_proofs(self) -> None:
        self.superseded = self._counter(
            "superseded_total",
            "Sequences that made room for newer content, or should have, by what became of them.",
            "outcome",
            tuple(Removal),
        )
        self.salvaged = self._counter(
            "salvaged_recordings_total", "Recordings that were not whole, saved as far as intact."
        )
        self.unverifiable_messages = self._counter(
            "unverifiable_messages_total", "Messages read from places without a checksum."
        )
        self.lost_bytes = self._counter(
            "lost_bytes_total", "Bytes of recordings that could not be read."
        )
        self.lost_ranges = self._counter(
            "lost_ranges_total", "Places in recordings that could not be read."
        )
        self.verifications = self._counter(
            "verifications_total", "Recordings whose arrival was proven, by how much was proven.",
            "level", VerificationLevel,
        )  # fmt: skip
        self.expectations_failed = self._counter(
            "expectations_failed_total", "Expectations that recordings did not meet, by which.",
            "kind", tuple(FindingKind),
        )  # fmt: skip
        self.last_findings = self._gauge(
            "last_recording_findings", "Expectations that the last recording did not meet."
        )
        self.verification_failures = self._counter(
            "verification_failures_total", "Times the platform held something else than was sent."
        )

    def _declare_failures(self) -> None:
        self.failures = self._counter(
            "failures_total", "Attempts that failed, by kind of trouble.", "trouble", Trouble
        )
        self.retries = self._counter(
            "retries_total", "Failed attempts that are made again.", "trouble", Trouble
        )
        self.errors = self._counter(
            "errors_total", "Errors: failed attempts, lost workers, other trouble.", "error"
        )
        self.workers_lost = self._counter(
            "workers_lost_total", "Workers that died or had to be killed."
        )

    def _declare_server(self) -> None:
        self.reachable = self._gauge("server_reachable", "1 while the platform answers.")
        self.accepting = self._gauge(
            "server_accepting", "1 while the platform answers and lets us in."
        )
        self.gate_closed = self._counter(
            "gate_closed_seconds_total", "Time during which nothing could be sent.",
            "gate", (Gate.OFFLINE, Gate.REFUSED),
        )  # fmt: skip
        self.embedded = self._gauge(
            "embedded", "1 when data goes to the embedded server, not to a platform."
        )
        self.server_info = self._gauge(
            "server_info", "Always 1; the labels tell which platform.",
            "address", "revision", "experimental",
        )  # fmt: skip

        self.wire_bytes = self._counter(
            "wire_bytes_total",
            "Bytes that workers moved over the wire, after compression, without retransmissions.",
            "direction", ("sent", "received"),
        )  # fmt: skip
        self.uplink_limit = self._gauge(
            "uplink_limit_bytes_per_second", "What may be sent now; 0: nothing, +Inf: any amount."
        )
        self.uplink_limit.set(math.inf)
        self.uplink_budget_left = self._gauge(
            "uplink_budget_left_bytes", "What may still be moved; +Inf without a budget.", "period"
        )
        for period in BUDGET_PERIODS:
            self.uplink_budget_left.labels(period).set(math.inf)

    def _declare_notifications(self) -> None:
        self.notifications = self._counter(
            "notifications_total", "Notifications of the platform seen for the first time.",
            "type", ("error",),
        )  # fmt: skip
        self.notification_calls = self._counter(
            "notification_calls_total", "Calls that asked for notifications.",
            "result", ("ok", "failed"),
        )  # fmt: skip
        self.notification_sweep_age = self._gauge(
            "notification_sweep_age_seconds",
            "Everything recent was asked about within this time; NaN before the first sweep.",
        )

    def _declare_disk(self, folders: Mapping[str, Path]) -> None:
        self.disposals = self._counter(
            "disposals_total", "Sources of recordings moved or deleted.",
            "mode", ("move", "delete", "emergency"),
        )  # fmt: skip
        self.disposed_bytes = self._counter(
            "disposed_bytes_total", "Size of the sources moved or deleted.",
            "mode", ("move", "delete", "emergency"),
        )  # fmt: skip
        self.disposals_unasked = self._counter(
            "disposals_by_remembered_proof_total",
            "Sources that went while the platform did not answer, because room was needed.",
        )
        self.disk_free = self._gauge(
            "disk_free_bytes", "Room left for us on the disk of a folder.", "folder"
        )
        self.disk_size = self._gauge("disk_size_bytes", "Size of the disk of a folder.", "folder")
        for role, folder in folders.items():
            self.disk_free.labels(role).set_function(partial(disk_bytes, folder, "free"))
            self.disk_size.labels(role).set_function(partial(disk_bytes, folder, "total"))

    def _declare_loop(self) -> None:
        self.workers = self._gauge("workers", "Workers that have a recording.")
        self.worker_memory = self._gauge(
            "worker_memory_bytes", "Resident memory of all workers together."
        )
        self.worker_idle = self._gauge(
            "worker_idle_seconds", "Longest time that a worker with a recording made no progress."
        )
        self.watch_readable = self._gauge("watch_readable", "1 while the folder can be read.")
        self.watch_events = self._gauge(
            "watch_events", "1 while file system events arrive; 0: only the periodic scan works."
        )
        self.scans = self._counter("scans_total", "Scans of the watched folder.")
        self.scan_duration = self._gauge("scan_duration_seconds", "Duration of the last scan.")
        self.last_scan = self._gauge("last_scan_time_seconds", "When the last scan ended.")
        self.last_tick = self._gauge("last_tick_time_seconds", "When the loop last made a turn.")
        self.start = self._gauge("start_time_seconds", "When the daemon started.")
        self.first_start = self._gauge(
            "first_start_time_seconds", "When a daemon first started on this state folder."
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels are versions.", "version", "python", "pyarrow"
        )
        versions = (__version__, platform.python_version(), version_of("pyarrow"))
        self.build_info.labels(*versions).set(1)


class _WithoutCreationTimes:
    """A view of a registry; the library offers to leave these samples out for all or for none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Give each family without its `_created` samples."""
        for family in self._registry.collect():
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family


def disk_bytes(folder: Path, what: str) -> float:
    """Measure a folder's disk: `free` for unprivileged users, or `total`; NaN if impossible."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan
    return float(usage.free if what == "free" else usage.total)
