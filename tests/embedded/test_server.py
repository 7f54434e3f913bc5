"""Starting, stopping and sharing a folder."""

import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.embedded.store import Store
from bridge.errors import ConfigError, TransientError, UsageError
from bridge.ontology import Integer64
from tests.contract.wire import Wire, batch
from tests.servers.served import Revision, embedded_server


def test_folder_belongs_to_one_server(tmp_path: Path) -> None:
    """A second server on the same folder is told who is in the way, and can have it later."""
    with EmbeddedServer(tmp_path), pytest.raises(ConfigError, match="another embedded server"):
        EmbeddedServer(tmp_path).start()
    with EmbeddedServer(tmp_path):
        pass


def test_port_belongs_to_one_server(tmp_path: Path) -> None:
    """A port in use is a clear error, and the folder is free again afterwards."""
    with EmbeddedServer(tmp_path / "a") as server:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            EmbeddedServer(tmp_path / "b", port=server.port).start()
        with EmbeddedServer(tmp_path / "b"):
            pass


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A root below a file is a clear error."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot use the folder"):
        EmbeddedServer(tmp_path / "file" / "root").start()


def test_foreign_catalogue_is_refused(tmp_path: Path) -> None:
    """A catalogue that is no database, or one of another version, is not touched."""
    (tmp_path / "catalogue.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match=r"catalogue\.sqlite"):
        EmbeddedServer(tmp_path).start()


def test_states_of_a_server(tmp_path: Path) -> None:
    """Before the start there is no port; starting twice is wrong, stopping twice is not."""
    server = EmbeddedServer(tmp_path)
    with pytest.raises(UsageError):
        _ = server.port
    server.shutdown()
    server.start()
    with pytest.raises(UsageError):
        server.start()
    assert server.address == f"127.0.0.1:{server.port}"
    server.shutdown()
    server.shutdown()
    with server:
        assert Wire(f"grpc://{server.address}").do("info")


def test_serve_waits_for_shutdown(tmp_path: Path) -> None:
    """`serve` returns when another thread shuts the server down."""
    server = EmbeddedServer(tmp_path).start()
    waiting = threading.Thread(target=server.serve)
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    server.shutdown()
    waiting.join(5)
    assert not waiting.is_alive()


def test_shutdown_does_not_wait_for_an_idle_upload(tmp_path: Path) -> None:
    """An upload that sends nothing does not hold the server up; its topic is not locked."""
    server = EmbeddedServer(tmp_path).start()
    wire = Wire(f"grpc://{server.address}")
    topic = wire.topic(wire.session(wire.sequence("run")), "imu")
    writer = wire.begin_put(topic)
    writer.write_batch(batch(1))
    wire.await_upload(topic)
    began = time.monotonic()
    server.shutdown()
    assert time.monotonic() - began < 10
    with pytest.raises(pa.ArrowException):
        writer.close()
    wire.close()
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        assert wire.described(topic[0])["locked"] is False
        wire.close()


def test_limit_is_told_and_kept(tmp_path: Path) -> None:
    """A smaller message limit is announced by `info` and enforced."""
    with EmbeddedServer(tmp_path, message_bytes_max=100_000) as server:
        wire = Wire(f"grpc://{server.address}")
        assert wire.do("info")["config"]["grpc_max_decode_message_size"] == 100_000
        session = wire.session(wire.sequence("run"))
        wire.put(wire.topic(session, "small"), batch(*range(1000)))
        with pytest.raises(flight.FlightCancelledError, match="message length too large"):
            wire.put(wire.topic(session, "big"), batch(*range(10_000)))
        wire.close()


def test_connection_without_tls_is_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A server with a certificate speaks TLS and nothing else."""
    pem, key = (file.read_bytes() for file in certificate)
    with EmbeddedServer(tmp_path, tls_certificates=[(pem, key)]) as server:
        trusting = Wire(f"grpc+tls://{server.address}", tls_root_certs=pem)
        assert trusting.do("info")
        trusting.close()
        plain = Wire(f"grpc://{server.address}")
        with pytest.raises(flight.FlightUnavailableError):
            plain.do("info")
        plain.close()


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("G2d", "Internal error: database failure: "),
        ("G1.2", "facade error :: database failure: "),
    ],
)
def test_failure_of_the_server_is_internal_and_worth_another_try(
    tmp_path: Path, revision: Revision, said: str
) -> None:
    """What goes wrong in the server is told in the platform's words, without its code."""
    with (
        embedded_server(tmp_path, revision) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        with client.sequence_create("run", {}) as writer:
            writer.topic_create("t", {}, Integer64)
        assert server._running is not None
        server._running[1].catalogue._rows("DROP TABLE notifications")
        with pytest.raises(TransientError) as caught:
            client.list_sequence_notify("run")
        assert said in caught.value.message
        assert "Traceback" not in caught.value.message
        assert ".py" not in caught.value.message
        assert client.list_sequences() == ["run"]


def test_late_end_of_a_deleted_topic_touches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic of the same name, made while the stream of a deleted one is open, is left alone."""
    # As where the stream ends between the deletion in the catalogue and that of the files.
    monkeypatch.setattr(Store, "remove", lambda _self, _topics: None)
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        topic = wire.topic(wire.session(wire.sequence("run")), "imu")
        late = wire.begin_put(topic)
        late.write_batch(batch(1, 2, 3))
        wire.await_upload(topic)
        wire.do("sequence_delete", locator="run")
        again = wire.topic(wire.session(wire.sequence("run")), "imu")
        with pytest.raises(pa.ArrowException):
            late.close()
        assert wire.described(again[0])["locked"] is False
        wire.put(again, batch(7))
        assert wire.times(again[0]) == [7]
        wire.close()
