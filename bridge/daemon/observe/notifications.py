"""Asks the platform, a few calls at a time, what it has to say about what this bridge ingested.

The platform lists notifications per sequence and per topic only, so the poller goes round: what
was asked longest ago comes next, and how long ago that was is the age of its sweep. While the
platform is away it does not ask at all; after trouble it waits longer each time.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, Self

from bridge.client import ABANDONED, Notified
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import ON_PLATFORM
from bridge.daemon.observe.metrics import Metrics
from bridge.daemon.observe.notification_store import Notice, NotificationStore, Target
from bridge.errors import SHUT_OUT, BridgeError, NotFoundError, Trouble
from bridge.units import SECOND_NS

log = logging.getLogger(__name__)

SECONDS_PER_DAY = 86_400.0
# Waits double after trouble up to so many intervals.
BACKOFF_INTERVALS_MAX = 16
# Older recordings than the latest so many are not asked about, however short their age.
RECORDINGS_MAX = 1000
SHOWN_MAX = 20
# Round trips under way together.
ASKED_AT_ONCE = 8
# Kinds of trouble that concern every call, so that a round ends with the first of them.


# What ingests of this program attach to a sequence that is not whole, or not as it is expected to
# be, by how it starts.
OWN_NOTES = ("partial: ", "quality: ", f"{ABANDONED}: ")
OWN_DROPS = re.compile(r"the topic \S+ was dropped: ")


def _names(kind: type[BridgeError]) -> set[str]:
    return {kind.__name__}.union(*(_names(below) for below in kind.__subclasses__()))


OWN_ERRORS = frozenset(_names(BridgeError))


def is_own_note(message: str) -> bool:
    """Tell whether a notification is one that this program wrote, about its own ingest.

    Those are no news: the recording's state says the same, and more.
    """
    if message.startswith(OWN_NOTES) or OWN_DROPS.match(message):
        return True
    return message.partition(": ")[0] in OWN_ERRORS


class NotificationClient(AbstractContextManager["NotificationClient"], Protocol):
    """The calls of `MosaicoClient` that are made here."""

    def list_sequence_notify(self, sequence_name: str) -> list[Notified]:
        """List what there is about a sequence."""

    def list_topic_notify(self, sequence_name: str, topic_name: str) -> list[Notified]:
        """List what there is about a topic."""


class NotificationPoller:
    """Polls from a thread of its own between `start` and `close`; a context manager.

    What is remembered lives in the store; the rest belongs to the caller of `poll`, one at a time.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], NotificationClient],
        journal: JournalReader,
        store: NotificationStore,
        metrics: Metrics,
        interval_s: float,
        calls_per_interval: int,
        window_days: float,
        may_ask: Callable[[], bool] = lambda: True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is asked before `start` or `poll`.

        Args:
            connect: Opens a connection for one round.
            journal: Knows what this bridge ingested.
            store: Remembers what was seen and when was asked.
            metrics: Counts calls and new notifications.
            interval_s: Time between rounds.
            calls_per_interval: The most calls of a round.
            window_days: Age up to which recordings are asked about.
            may_ask: Whether it makes sense to ask now; false while the platform is away.
            wall: Wall clock in seconds.
        """
        self._connect = connect
        self._journal = journal
        self._store = store
        self._metrics = metrics
        self._interval_s = interval_s
        self._calls = calls_per_interval
        self._window_s = window_days * SECONDS_PER_DAY
        self._may_ask = may_ask
        self._wall = wall
        self._topics: dict[tuple[int, int], tuple[str, ...]] = {}
        self._wait_intervals = 1
        self._oldest_asked_s: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to poll from a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="notifications")
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the call it is in; may be called again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def view(self) -> dict[str, Any]:
        """Give the latest notifications and the age of the sweep as plain JSON values."""
        try:
            items = self._store.latest(SHOWN_MAX)
        except BridgeError as error:
            return {"items": [], "sweep_age_s": None, "problem": error.message}
        asked_s = self._oldest_asked_s
        age_s = None if asked_s is None else max(0.0, self._wall() - asked_s)
        return {"items": [notice.as_json() for notice in items], "sweep_age_s": age_s}

    def wait_s(self) -> float:
        """Tell how long to wait before the next round."""
        return self._interval_s * self._wait_intervals

    def poll(self) -> list[Notice]:
        """Make one round of calls and give what is new; trouble is logged and waited out."""
        if not self._may_ask():
            return []
        try:
            fresh = self._round()
        except BridgeError as error:
            self._wait_intervals = min(2 * self._wait_intervals, BACKOFF_INTERVALS_MAX)
            level = logging.DEBUG if error.trouble is Trouble.OFFLINE else logging.WARNING
            log.log(level, "asking for notifications: %s", error, extra={"hint": error.hint})
            return []
        self._wait_intervals = 1
        return fresh

    def _run(self) -> None:
        while not self._stop.wait(self.wait_s()):
            self.poll()

    def _round(self) -> list[Notice]:
        targets = self._journal.ask(self._targets)
        asked = self._store.asked()
        # The never asked first; among equals the newest recording first, as the journal lists it.
        due = sorted(targets, key=lambda target: asked.get(target, 0.0))[: self._calls]
        fresh: list[Notice] = []
        if due:
            with self._connect() as client, ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
                for start in range(0, len(due), ASKED_AT_ONCE):
                    if self._stop.is_set():
                        break
                    some = due[start : start + ASKED_AT_ONCE]
                    for target, told in zip(
                        some, pool.map(partial(_ask, client), some), strict=True
                    ):
                        fresh += self._hear(target, told)
                        self._store.note_asked(target, now_s=self._wall())
        now_s = self._wall()
        self._store.prune(
            keep={target.sequence for target in targets}, before_s=now_s - self._window_s
        )
        self._measure_sweep(targets, now_s)
        return fresh

    def _hear(self, target: Target, told: list[Notified] | BridgeError) -> list[Notice]:
        """Take note of an answer and give what is new in it.

        Raises:
            BridgeError: The answer is one that every other call will get, too.
        """
        if isinstance(told, BridgeError):
            self._metrics.notifications_asked(succeeded=False)
            if told.trouble in SHUT_OUT:
                raise told
            facts = {"sequence": target.sequence, "topic": target.topic}
            log.warning("asking for notifications: %s", told, extra=facts)
            return []
        self._metrics.notifications_asked(succeeded=True)
        theirs = [one for one in told if not is_own_note(one.message)]
        fresh = self._store.remember(theirs, now_s=self._wall())
        for notice in fresh:
            self._metrics.notification_seen(kind=notice.kind)
            log.warning(
                "the platform notifies: %s",
                notice.message,
                extra={
                    "sequence": notice.target.sequence,
                    "topic": notice.target.topic,
                    "type": notice.kind,
                },
            )
        return fresh

    def _targets(self, journal: Journal) -> list[Target]:
        """List what to ask about: sequences of the window, and the topics sent into each."""
        since_ns = int((self._wall() - self._window_s) * SECOND_NS)
        targets: list[Target] = []
        topics: dict[tuple[int, int], tuple[str, ...]] = {}
        for entry in journal.recordings(states=ON_PLATFORM, limit=RECORDINGS_MAX):
            if entry.changed_ns < since_ns or not entry.sequence:
                continue
            key = (entry.id, entry.changed_ns)
            topics[key] = self._topics.get(key) or _sent_topics(journal.report(entry.id))
            targets.append(Target(sequence=entry.sequence))
            targets += [Target(sequence=entry.sequence, topic=name) for name in topics[key]]
        self._topics = topics
        return targets

    def _measure_sweep(self, targets: list[Target], now_s: float) -> None:
        asked = self._store.asked()
        if all(target in asked for target in targets):
            oldest_s = min((asked[target] for target in targets), default=now_s)
            self._oldest_asked_s = oldest_s
            self._metrics.notifications_swept(oldest_asked_s=oldest_s)


def _ask(client: NotificationClient, target: Target) -> list[Notified] | BridgeError:
    try:
        if target.topic:
            return client.list_topic_notify(target.sequence, target.topic)
        return client.list_sequence_notify(target.sequence)
    except NotFoundError:
        # Somebody deleted it on the platform; it has nothing more to say.
        return []
    except BridgeError as error:
        return error


def _sent_topics(report: dict[str, Any] | None) -> tuple[str, ...]:
    topics = (report or {}).get("topics", ())
    return tuple(topic["platform_name"] for topic in topics if topic.get("messages_sent"))
