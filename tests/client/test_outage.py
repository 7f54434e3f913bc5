"""A platform that is hard to reach: no database, a balancer that drops, a slow line."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bridge.client import MosaicoClient
from bridge.client.options import connection_options
from bridge.config import Settings
from bridge.embedded import EmbeddedServer
from bridge.errors import DatabaseAwayError, OfflineError, UsageError
from bridge.ontology import Integer64
from tests.client.conftest import integers
from tests.daemon.chaos_proxy import ChaosProxy
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.session import SessionServer


@pytest.mark.parametrize("lookup_s", [4.0, 0.0], ids=["hangs", "fails"])
@pytest.mark.parametrize("revision", ["G1.0", "G1.2", "G2a", "G2c"])
def test_outage_of_the_database_is_named_within_seconds(
    revision: str, lookup_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform answers, its database does not: that is said, not that nobody answers."""
    monkeypatch.setattr("bridge.client.revisions.DATABASE_PATIENCE_S", 0.5)
    kind = KeyedServer if revision.startswith("G1") else SessionServer
    with kind(revision) as server:
        server.faults.database_down = True
        server.faults.lookup_s = lookup_s
        started_s = time.monotonic()
        with pytest.raises(DatabaseAwayError, match="answers, but its database does not"):
            MosaicoClient.connect("127.0.0.1", server.port)
        assert time.monotonic() - started_s < 3


def test_slow_look_ups_are_waited_for() -> None:
    """A database that is only slow is no outage."""
    with SessionServer("G2c") as server:
        server.faults.lookup_s = 0.5
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            assert client.sequence_handler("none") is None


class Balancer:
    """Passes every second connection on and drops the others, as soon as they are made."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.made = 0
        self._passing: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self.made += 1
                if self.made % 2:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._passing += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._passing):
            each.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def balanced(port: int) -> Iterator[Balancer]:
    balancer = Balancer(port)
    try:
        yield balancer
    finally:
        balancer.close()


def test_every_second_connection_may_be_dropped(server: EmbeddedServer, name: str) -> None:
    """Three sequences in a row arrive, each over two connections of its own."""
    with balanced(server.port) as balancer:
        for number in range(3):
            with (
                MosaicoClient.connect("127.0.0.1", balancer.port) as client,
                client.sequence_create(f"{name}-{number}", {}) as writer,
            ):
                writer.topic_create("t", {}, Integer64).write_batch(integers(1, 2))
        assert balancer.made >= 12
    with MosaicoClient.connect("127.0.0.1", server.port) as client:
        for number in range(3):
            handler = client.topic_handler(f"{name}-{number}", "t")
            assert handler is not None
            assert handler.row_count == 2


def test_refused_connections_do_not_take_the_whole_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port where nobody listens is given the time of a restart, not that of a slow line."""
    monkeypatch.setattr("bridge.client.revisions.REFUSED_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    started_s = time.monotonic()
    with pytest.raises(OfflineError):
        MosaicoClient.connect("127.0.0.1", port)
    assert time.monotonic() - started_s < 3


def test_silence_names_the_setting() -> None:
    """A server that takes connections and says nothing may be at the end of a slow line."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(OfflineError) as caught:
            MosaicoClient.connect("127.0.0.1", silent.getsockname()[1], 0.5)
        assert "server.timeout_s" in caught.value.hint


@pytest.mark.slow
def test_line_of_two_seconds_each_way(tmp_path: Path) -> None:
    """The bridge's default connects and writes; the shorter one of a client names the setting."""
    with EmbeddedServer(tmp_path) as server, ChaosProxy(server.port) as line:
        line.latency_s = 2.0
        with pytest.raises(OfflineError) as caught:
            MosaicoClient.connect("127.0.0.1", line.port)
        assert "server.timeout_s" in caught.value.hint

        patience_s = Settings().server.timeout_s
        with (
            MosaicoClient.connect("127.0.0.1", line.port, patience_s) as client,
            client.sequence_create("far", {}) as writer,
        ):
            writer.topic_create("/t", {}, Integer64).push({"timestamp_ns": 1, "data": 1})
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            assert client.topic_handler("far", "/t").row_count == 1  # type: ignore[union-attr]


def test_address_in_brackets_reaches_its_server(tmp_path: Path) -> None:
    """A server on `::1` answers under either spelling."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with EmbeddedServer(tmp_path, host="[::1]") as server:
        assert server.address == f"[::1]:{server.port}"
        assert Settings(server={"host": "[::1]"}).server.host == "::1"
        for host in ("[::1]", "::1"):
            with MosaicoClient.connect(host, server.port) as client:
                assert client.list_sequences() == []


def test_address_in_brackets() -> None:
    """`[::1]` is what people copy out of a URL."""
    options = connection_options("[::1]", 6726)
    assert (options.host, options.address) == ("::1", "[::1]:6726")


def test_constructor_takes_the_documented_arguments() -> None:
    """It raises `RuntimeError` with them, and without any."""
    for arguments in (
        {},
        {
            "host": "localhost",
            "port": 6726,
            "timeout": 5,
            "control_client": object(),
            "connection_pool": None,
            "executor_pool": None,
            "sentinel": object(),
        },
    ):
        with pytest.raises(RuntimeError, match="not constructed directly") as caught:
            MosaicoClient(**arguments)  # type: ignore[arg-type]
        assert isinstance(caught.value, UsageError)
    with pytest.raises(RuntimeError):
        MosaicoClient("localhost", 6726, 5, None, None, None, object())
