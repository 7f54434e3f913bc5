"""What the daemon last reported, kept for readers in other threads.

An observer like the metrics, for the status page instead of a time series: the latest snapshot,
the throughput of the last minutes, the topics of what is in work, and the latest trouble.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bridge.daemon.events.events import (
    Disposed,
    Event,
    IngestFailed,
    IngestFinished,
    IngestProgressed,
    IngestStarted,
    Progress,
    Started,
    Stopped,
    Ticked,
    TopicPlanned,
    Troubled,
    WireMoved,
    WorkerLost,
)
from bridge.daemon.events.status import (
    Board,
    DaemonStatus,
    PlannedTopic,
    PlatformFacts,
    Rate,
    TroubleNote,
)
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import NEEDS_ATTENTION, State
from bridge.ingest import TopicReport

# Throughput is kept in slots of this length, so many of them.
RATE_SLOT_S = 5.0
RATE_SLOTS = 60
# What is shown as the present rate is the mean over the last so many whole slots.
RATE_MEAN_SLOTS = 2
TROUBLES_MAX = 20
# A recording with more topics than this shows only the first ones while it is in work.
PLANNED_TOPICS_MAX = 500


@dataclass(slots=True)
class _Slot:
    """Sums of one slot of time."""

    number: int
    read_bytes: int = 0
    sent_bytes: int = 0
    messages: int = 0
    wire_bytes: int = 0


class LiveState:
    """Listens to the daemon and answers `look`. One lock guards everything."""

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._status: DaemonStatus | None = None
        self._ticked_s: float | None = None
        self._slots: deque[_Slot] = deque(maxlen=RATE_SLOTS + 1)
        self._planned: dict[int, dict[str, PlannedTopic]] = {}
        self._troubles: deque[TroubleNote] = deque(maxlen=TROUBLES_MAX)
        self._platform: PlatformFacts | None = None

    def look(self) -> Board:
        """Give everything as it is now; safe from any thread."""
        with self._lock:
            now_s = self._monotonic()
            rates = self._rates(now_s)
            return Board(
                now_ns=self._wall_ns(),
                status=self._status,
                tick_age_s=None if self._ticked_s is None else now_s - self._ticked_s,
                rates=rates,
                rate=_mean(rates[-RATE_MEAN_SLOTS:]),
                planned={number: tuple(them.values()) for number, them in self._planned.items()},
                troubles=tuple(reversed(self._troubles)),
                platform=self._platform,
            )

    def platform_known(self, platform: PlatformFacts) -> None:
        """Keep what a connection has shown of the platform."""
        with self._lock:
            self._platform = platform

    def hear(self, event: Event) -> None:
        """Keep what the page shows."""
        match event:
            case Started(status=status) | Ticked(status=status) | Stopped(status=status):
                self._keep(status)
            case IngestStarted(entry=entry):
                # The topics of an earlier attempt are forgotten.
                with self._lock:
                    self._planned[entry.id] = {}
            case TopicPlanned(entry=entry, topic=topic):
                self._planned_topic(entry, topic)
            case IngestProgressed(progress=progress):
                self._progressed(progress)
            case WireMoved(sent_bytes=sent_bytes):
                with self._lock:
                    self._slot().wire_bytes += sent_bytes
            case IngestFinished(entry=entry):
                # The journal has the report.
                with self._lock:
                    self._planned.pop(entry.id, None)
            case _:
                self._hear_of_trouble(event)

    def _hear_of_trouble(self, event: Event) -> None:
        match event:
            case IngestFailed(entry=entry, failure=failure, retry_in_s=retry_in_s):
                self._note(failure, entry, retry_in_s)
            case WorkerLost(entry=lost, failure=failure):
                self._note(failure, lost)
            case Troubled(failure=failure):
                self._note(failure, None)
            case Disposed(entry=entry) if event.unasked:
                self._note(Failure(error="RememberedProof", message=event.unasked), entry)
            case _:
                pass

    def _keep(self, status: DaemonStatus) -> None:
        """Keep the snapshot, and forget the topics of what is no longer in work."""
        with self._lock:
            self._status = status
            self._ticked_s = self._monotonic()
            in_work = {worker.entry_id for worker in status.workers}
            for number in self._planned.keys() - in_work:
                del self._planned[number]

    def _planned_topic(self, entry: Entry, topic: TopicReport) -> None:
        planned = PlannedTopic(
            name=topic.shown_name,
            msgtype=topic.msgtype,
            outcome=str(topic.outcome),
            ontology_tag=topic.ontology_tag,
            reason=topic.reason,
            messages_recorded=topic.messages_recorded,
        )
        with self._lock:
            topics = self._planned.setdefault(entry.id, {})
            if len(topics) < PLANNED_TOPICS_MAX:
                topics[topic.shown_name] = planned

    def _progressed(self, progress: Progress) -> None:
        """Add to the throughput of now."""
        with self._lock:
            slot = self._slot()
            slot.read_bytes += progress.recorded_bytes
            slot.sent_bytes += sum(progress.arrow_bytes.values())
            slot.messages += sum(progress.messages.values())

    def _note(self, failure: Failure, entry: Entry | None, retry_in_s: float | None = None) -> None:
        if entry is not None and entry.state is State.EMPTY:
            # There was nothing to send, which is no trouble.
            return
        with self._lock:
            number = entry.id if entry is not None else None
            repeats = 0
            for old in self._troubles:
                if (old.failure, old.entry_id) == (failure, number):
                    repeats = old.repeats + 1
                    self._troubles.remove(old)
                    break
            self._troubles.append(
                TroubleNote(
                    at_ns=self._wall_ns(),
                    failure=failure,
                    recording=entry.name if entry is not None else "",
                    entry_id=number,
                    retry_in_s=retry_in_s,
                    final=entry is not None and entry.state in NEEDS_ATTENTION,
                    repeats=repeats,
                )
            )

    def _slot(self) -> _Slot:
        number = int(self._monotonic() // RATE_SLOT_S)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        return self._slots[-1]

    def _rates(self, now_s: float) -> tuple[Rate, ...]:
        running = int(now_s // RATE_SLOT_S)
        by_number = {slot.number: slot for slot in self._slots}
        return tuple(_rate(by_number.get(n)) for n in range(running - RATE_SLOTS, running))


def _rate(slot: _Slot | None) -> Rate:
    if slot is None:
        return Rate()
    return Rate(
        read_bytes_per_s=slot.read_bytes / RATE_SLOT_S,
        sent_bytes_per_s=slot.sent_bytes / RATE_SLOT_S,
        messages_per_s=slot.messages / RATE_SLOT_S,
        wire_bytes_per_s=slot.wire_bytes / RATE_SLOT_S,
    )


def _mean(rates: tuple[Rate, ...]) -> Rate:
    count = max(1, len(rates))
    return Rate(
        read_bytes_per_s=sum(rate.read_bytes_per_s for rate in rates) / count,
        sent_bytes_per_s=sum(rate.sent_bytes_per_s for rate in rates) / count,
        messages_per_s=sum(rate.messages_per_s for rate in rates) / count,
        wire_bytes_per_s=sum(rate.wire_bytes_per_s for rate in rates) / count,
    )
