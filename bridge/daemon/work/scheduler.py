"""When the next recording goes to a worker, and which: the gate to the platform and the queue.

The gate closes for everybody when the platform is away or will not let us in, and opens half when
a probe succeeds: one recording goes first. Used from the loop's thread only.
"""

import random
from collections.abc import Callable, Collection, Sequence

from bridge.config import LiveSettings
from bridge.daemon.events.status import Gate, GateStatus
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import State
from bridge.daemon.work.outcome import backoff_s
from bridge.errors import Trouble
from bridge.units import SECOND_NS


class Gatekeeper:
    """Knows whether the platform can be reached, and when to ask again.

    Args:
        live: The settings in force: first and longest wait between probes.
        clock: Where the time comes from.
        on_change: Told when the gate opens or closes.
    """

    def __init__(
        self, live: LiveSettings, *, clock: Clock, on_change: Callable[[GateStatus], None]
    ) -> None:
        self._live = live
        self._clock = clock
        self._on_change = on_change
        self._gate = Gate.OPEN
        self._failure: Failure | None = None
        self._since_ns = clock.wall_ns()
        self._reached = False
        self._failures = 0
        self._probe_at_s = clock.monotonic_s()
        self._heard_s = clock.monotonic_s()
        # After a closure one recording goes first; more when it has arrived.
        self._proven = True
        self._held = False

    def hold(self, held: bool) -> None:  # noqa: FBT001 - it reads as a sentence
        """Let no more recordings through, or let them through again: the uplink may not be used."""
        self._held = held

    @property
    def status(self) -> GateStatus:
        """The gate as a value."""
        failure = self._failure
        closed = self._gate is not Gate.OPEN
        return GateStatus(
            gate=self._gate,
            reason=failure.message if failure is not None and closed else "",
            hint=failure.hint if failure is not None and closed else "",
            since_ns=self._since_ns,
            reached=self._reached,
            next_probe_s=0.0 if self.is_reached else self.probe_wait_s() or 0.0,
        )

    def room(self, running: int, count: int) -> int:
        """Return how many more recordings may be taken.

        Args:
            running: Recordings in work.
            count: The most at a time.
        """
        if self._held or self._gate is not Gate.OPEN:
            return 0
        return (count if self._proven else 1) - running

    def probe_wait_s(self) -> float | None:
        """Give the seconds until the platform should be asked; None when there is no need.

        While all is well that is when nothing was heard of it for a while.
        """
        if self.is_reached:
            interval_s = self._live.now.server.probe_interval_s
            if not interval_s:
                return None
            return max(0.0, self._heard_s + interval_s - self._clock.monotonic_s())
        return max(0.0, self._probe_at_s - self._clock.monotonic_s())

    @property
    def is_reached(self) -> bool:
        """Whether the platform has answered and is not known to have gone."""
        return self._gate is Gate.OPEN and self._reached

    def heard(self) -> None:
        """Take note that somebody is talking with the platform: no probe is needed."""
        self._heard_s = self._clock.monotonic_s()

    def closed_by(self, failure: Failure, *, got_on: bool = False) -> None:
        """Take note that the platform is away or refuses us.

        Args:
            failure: What says so.
            got_on: Whether topics became whole before; the waits start again then, or a line that
                breaks often but carries something would be left unused for longer and longer.
        """
        gate = Gate.REFUSED if failure.trouble is Trouble.REFUSED else Gate.OFFLINE
        # A refusal is an answer too.
        self._reached = self._reached or gate is Gate.REFUSED
        self._failures = 1 if got_on else self._failures + 1
        self._proven = False
        noise = random.uniform(-1, 1)  # noqa: S311 - jitter, no secret
        wait_s = backoff_s(self._failures, self._live.now.retry, noise=noise)
        self._probe_at_s = self._clock.monotonic_s() + wait_s
        known = self._failure
        changed = gate is not self._gate or known is None or known.message != failure.message
        self._failure = failure
        if gate is not self._gate:
            self._gate = gate
            self._since_ns = self._clock.wall_ns()
        if changed:
            self._on_change(self.status)

    def answered(self) -> None:
        """Take note that a probe got through: the gate opens, for one recording at first."""
        self._reached = True
        self.heard()
        if self._gate is not Gate.OPEN:
            self._gate = Gate.OPEN
            self._since_ns = self._clock.wall_ns()
            self._on_change(self.status)

    def proven(self) -> None:
        """Take note that the platform has dealt with a recording: all is well."""
        self.answered()
        self._proven = True
        self._failures = 0
        self._failure = None


class Waiting:
    """When waiting recordings are due, on the clock that never jumps.

    The journal keeps the time of day, for people and across restarts; a clock that was wrong by
    decades must neither hold a recording back for ever nor cause a storm.
    """

    def __init__(self, live: LiveSettings, *, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._due_s: dict[int, float] = {}
        # Nothing that waits is due before; the start has to look at all of it once.
        self._none_before_s = clock.monotonic_s()

    def now_ns(self) -> int:
        """Give the time of day, by which the journal knows what is due."""
        return self._clock.wall_ns()

    def any_due(self) -> bool:
        """Whether something may be due, so that it is worth looking at what waits."""
        return self._clock.monotonic_s() >= self._none_before_s

    def none_due(self, left_s: float) -> None:
        """Take note that a look at everything found nothing due for so many seconds."""
        self._none_before_s = self._clock.monotonic_s() + left_s

    def wait(self, entry_id: int, wait_s: float) -> int:
        """Let a recording wait; returns the time of day at which it is due, in nanoseconds."""
        self._due_s[entry_id] = due_s = self._clock.monotonic_s() + wait_s
        self._none_before_s = min(self._none_before_s, due_s)
        return self._clock.wall_ns() + int(wait_s * SECOND_NS)

    def left_s(self, entry: Entry) -> float:
        """Give the seconds until a recording is due; 0 for those that do not wait."""
        if entry.state is not State.WAITING:
            self._due_s.pop(entry.id, None)
            return 0.0
        if entry.id not in self._due_s:
            told_s = (entry.due_ns - self._clock.wall_ns()) / SECOND_NS
            left_s = min(max(told_s, 0.0), 2 * self._live.now.retry.backoff_max_s)
            self._due_s[entry.id] = self._clock.monotonic_s() + left_s
        return max(0.0, self._due_s[entry.id] - self._clock.monotonic_s())


def choose(
    queue: Sequence[Entry], *, running: Collection[Entry], due: Callable[[Entry], bool]
) -> Entry | None:
    """Pick the recording to take next.

    The first that is due, in the queue's order. One that has killed a worker runs alone: it is
    passed over while others run, and while it runs nothing else is taken.

    Args:
        queue: What waits, in order.
        running: What is in work.
        due: Says whether a recording may be taken now.
    """
    if any(entry.deaths for entry in running):
        return None
    for entry in queue:
        if (not entry.deaths or not running) and due(entry):
            return entry
    return None
