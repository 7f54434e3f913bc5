"""What a run says of itself: in lines of text, and to Prometheus on a port of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from bridge.backfill.archive import ArchivedRecording
from bridge.backfill.driver import kind_of
from bridge.backfill.machine import Away
from bridge.backfill.task import Outcome, Result
from bridge.daemon import next_try
from bridge.errors import ConfigError
from bridge.units import address_text

LINE_INTERVAL_S = 10.0
REASON_CHARACTERS_MAX = 300


def brief(reason: str) -> str:
    """Give as much of a reason as is read; the manifest has all of it."""
    if len(reason) <= REASON_CHARACTERS_MAX:
        return reason
    return f"{reason[:REASON_CHARACTERS_MAX]}... (the rest is in the manifest)"


def told_away(away: Away) -> str:
    """Say that the platform is away, since when, why, and when it is asked again."""
    since = datetime.fromtimestamp(away.since_s, UTC).strftime("%H:%M:%S")
    return f"platform away since {since} UTC, {next_try(away.next_in_s)}: {brief(away.reason)}"


class Lines:
    """A line for each recording that is decided, and one now and then for the whole.

    Args:
        say: Shows a line.
        size: Gives bytes for people.
    """

    def __init__(self, say: Callable[[str], None], size: Callable[[float], str]) -> None:
        self._say = say
        self._size = size
        self._recordings = self._done = 0
        self._size_bytes = self._done_bytes = 0
        self._started_s = self._said_s = time.monotonic()
        self._first_of_kind: dict[str, str] = {}
        self._away: Away | None = None
        self._away_said_s = 0.0

    def started(self, *, recordings: int, size_bytes: int) -> None:
        """Take note of what there is to do."""
        self._recordings, self._size_bytes = recordings, size_bytes
        self._started_s = self._said_s = time.monotonic()

    def finished(self, outcome: Outcome, recording: ArchivedRecording) -> None:
        """Say what became of a recording; a reason like an earlier one is not said again.

        What was not tried is counted by the summary: of an archive that may be all there is.
        """
        if outcome.result is Result.NOT_TRIED:
            return
        self._done += 1
        self._done_bytes += recording.size_bytes
        first = self._first_of_kind.setdefault(kind_of(outcome), outcome.url)
        reason = brief(outcome.reason) if first == outcome.url else f"as {first}"
        self._say(f"{outcome.result} {outcome.url}{f': {reason}' if outcome.reason else ''}")

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        """Say now and then how far it is."""
        now_s = time.monotonic()
        if now_s - self._said_s < LINE_INTERVAL_S:
            return
        self._said_s = now_s
        done_bytes = self._done_bytes + read_bytes
        rate = done_bytes / (now_s - self._started_s)
        left = f", {(self._size_bytes - done_bytes) / rate:,.0f} s left" if rate else ""
        self._say(
            f"{self._done:,} of {self._recordings:,} recordings, {self._size(done_bytes)} of "
            f"{self._size(self._size_bytes)}, {self._size(rate)}/s{left}, {in_work} in work"
        )

    def looked(self, away: Away | None) -> None:
        """Say at once that the platform went away or came back, and now and then that it is."""
        now_s, was = time.monotonic(), self._away
        self._away = away
        if away is None:
            if was is not None:
                self._say(f"the platform is there again, after {time.time() - was.since_s:.0f} s")
        elif was is None or now_s - self._away_said_s >= LINE_INTERVAL_S:
            self._away_said_s = now_s
            self._say(told_away(away))


class RunMetrics:
    """The metrics of one run; a listener of the driver.

    Attributes:
        registry: Where they are.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        prefix = "mosaico_bridge_backfill"
        self._finished = Counter(
            f"{prefix}_recordings",
            "Recordings of this run, by what became of them.",
            ["result"],
            registry=registry,
        )
        for result in Result:
            self._finished.labels(result=str(result).replace(" ", "_"))
        self._wanted = Gauge(
            f"{prefix}_recordings_wanted", "Recordings that this run looks at.", registry=registry
        )
        self._in_work = Gauge(
            f"{prefix}_recordings_in_work", "Recordings in work now.", registry=registry
        )
        self._wanted_bytes = Gauge(
            f"{prefix}_wanted_bytes", "Size of the recordings looked at.", registry=registry
        )
        self._finished_bytes = Counter(
            f"{prefix}_finished_bytes",
            "Size of the recordings that are decided.",
            registry=registry,
        )
        self._copied_bytes = Counter(
            f"{prefix}_copied_bytes", "Bytes copied out of archives.", registry=registry
        )
        self._away = Gauge(
            f"{prefix}_platform_away",
            "Whether the platform is away or in trouble, 1 or 0.",
            registry=registry,
        )
        self._outages = Counter(
            f"{prefix}_outages", "How often the platform went away.", registry=registry
        )
        self._away_s = Counter(
            f"{prefix}_away_seconds", "How long the platform was away.", registry=registry
        )
        self._looked_s: float | None = None
        self._rows = Counter(
            f"{prefix}_rows", "Rows that arrived on the platform in this run.", registry=registry
        )

    def started(self, *, recordings: int, size_bytes: int) -> None:
        """Set what there is to do."""
        self._wanted.set(recordings)
        self._wanted_bytes.set(size_bytes)

    def finished(self, outcome: Outcome, recording: ArchivedRecording) -> None:
        """Count a recording."""
        self._finished.labels(result=str(outcome.result).replace(" ", "_")).inc()
        if outcome.result is not Result.NOT_TRIED:
            self._finished_bytes.inc(recording.size_bytes)
        self._copied_bytes.inc(outcome.copied_bytes)
        if outcome.report is not None and outcome.result in {Result.SENT, Result.PARTIAL}:
            self._rows.inc(outcome.report["messages_sent"])

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        """Set what is in work."""
        del read_bytes
        self._in_work.set(in_work)

    def looked(self, away: Away | None) -> None:
        """Set whether the platform is away, and count how often and how long."""
        now_s = time.monotonic()
        if self._looked_s is not None:
            self._away_s.inc(now_s - self._looked_s)
        elif away is not None:
            self._outages.inc()
        self._looked_s = None if away is None else now_s
        self._away.set(away is not None)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Serve them; yields the port.

        Raises:
            ConfigError: The port cannot be had.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address_text(host, port)}: {error.strerror}",
                key="backfill.metrics_port",
                hint="choose another port, or 0 for no metrics",
            ) from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
