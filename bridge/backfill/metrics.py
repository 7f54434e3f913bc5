"""What a run says of itself to Prometheus, on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from bridge.backfill.archive import ArchivedRecording
from bridge.backfill.task import Outcome, Result
from bridge.errors import ConfigError
from bridge.units import address_text


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
        self._finished_bytes.inc(recording.size_bytes)
        self._copied_bytes.inc(outcome.copied_bytes)
        if outcome.report is not None and outcome.result in {Result.SENT, Result.PARTIAL}:
            self._rows.inc(outcome.report["messages_sent"])

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        """Set what is in work."""
        del read_bytes
        self._in_work.set(in_work)

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
            ) from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
