"""Connecting: who may construct a client, who is there, who is let in, and how it ends."""

import logging
import socket
import threading
import time
import traceback
import zlib
from pathlib import Path

import pytest

from bridge.client import MosaicoClient, Secret
from bridge.embedded import EmbeddedServer
from bridge.errors import OfflineError, RefusedError, RejectedError, UsageError
from bridge.ontology import Integer64
from tests.client.conftest import integers
from tests.waiting import HeldPort

# Tokens as the platform wants them: a payload and its CRC-32.
WRITE_KEY = "msco_vrfeceju4lqivysxgaseefa3tsxs0vrl_1b676530"
READ_KEY = f"msco_{'r' * 32}_{zlib.crc32(b'r' * 32):08x}"


def test_construction_is_refused() -> None:
    """A client is only made by `connect`; constructing one is a RuntimeError that says so."""
    with pytest.raises(RuntimeError, match="not constructed directly") as caught:
        MosaicoClient()
    assert isinstance(caught.value, UsageError)
    assert "connect" in caught.value.hint


def test_nobody_there_is_a_connection_error() -> None:
    """A refused connection is retried until the timeout, then it is a ConnectionError."""
    began_s = time.monotonic()
    port = HeldPort()
    with pytest.raises(ConnectionError) as caught:
        MosaicoClient.connect("127.0.0.1", port.number, timeout=0.5)
    assert isinstance(caught.value, OfflineError)
    assert 0.3 < time.monotonic() - began_s < 3


def test_silent_peer_is_a_connection_error() -> None:
    """A port that accepts and never answers costs the timeout, no more."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began_s = time.monotonic()
        with pytest.raises(OfflineError):
            MosaicoClient.connect("127.0.0.1", silent.getsockname()[1], 0.5)
        assert time.monotonic() - began_s < 3


def test_unknown_host_is_a_connection_error() -> None:
    """A name that does not resolve is offline, not a usage error: DNS comes and goes."""
    with pytest.raises(OfflineError):
        MosaicoClient.connect("nowhere.invalid", 6726, 0.3)


def test_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    """Within the timeout a server may still be starting."""
    held = HeldPort()
    server = EmbeddedServer(tmp_path, port=held.number)

    def begin() -> None:
        time.sleep(0.5)
        server.start()

    late = threading.Thread(target=begin)
    late.start()
    with MosaicoClient.connect("127.0.0.1", held.number, 10) as client:
        assert client.revision == "G2d"
    late.join()
    server.shutdown()


def test_what_the_server_says_of_itself(client: MosaicoClient) -> None:
    """Revision, version and limits come from the probe."""
    assert client.revision == "G2d"
    assert client.server_version == "0.7.0"
    assert client.limits.message_bytes_max == 52_428_800


def test_close_is_idempotent_and_final(server: EmbeddedServer) -> None:
    """Closing twice is fine; using a closed client is a usage error."""
    client = MosaicoClient.connect("localhost", server.port)
    client.close()
    client.close()
    with pytest.raises(UsageError, match="closed"):
        client.list_sequences()
    with pytest.raises(UsageError, match="closed"):
        client.sequence_create("run", {})


@pytest.fixture
def guarded(tmp_path: Path) -> "EmbeddedServer":
    return EmbeddedServer(tmp_path, api_keys={WRITE_KEY: "write", READ_KEY: "read"})


def test_keys_are_asked_for(guarded: EmbeddedServer) -> None:
    """No key and a wrong key are refused at once, a right one is let in."""
    with guarded as server:
        for wrong in ("", "msco_nonsense", "msco_vrfeceju4lqivysxgaseefa3tsxs0vrm_00000000"):
            with pytest.raises(RefusedError):
                MosaicoClient.connect("127.0.0.1", server.port, api_key=wrong)
        with MosaicoClient.connect("127.0.0.1", server.port, api_key=WRITE_KEY) as client:
            assert client.list_sequences() == []


def test_missing_permission_is_refused(guarded: EmbeddedServer) -> None:
    """A key that may read may not write: refused, with a hint at the key."""
    with (
        guarded as server,
        MosaicoClient.connect("127.0.0.1", server.port, api_key=READ_KEY) as client,
        pytest.raises(RefusedError) as caught,
    ):
        client.sequence_create("run", {}).__enter__()
    assert "API key" in caught.value.hint


def write_and_fail(client: MosaicoClient) -> None:
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
        raise ZeroDivisionError


def test_key_without_delete_permission_leaves_a_note(guarded: EmbeddedServer) -> None:
    """Where the key may not delete, the error says what was left behind."""
    with (
        guarded as server,
        MosaicoClient.connect("127.0.0.1", server.port, api_key=WRITE_KEY) as client,
    ):
        with pytest.raises(ZeroDivisionError) as caught:
            write_and_fail(client)
        notes = " ".join(caught.value.__notes__)
        assert "not cleaned up" in notes
        assert "enough permissions" in notes
        assert client.list_sequences() == ["run"]


def test_key_is_shown_nowhere(guarded: EmbeddedServer, caplog: pytest.LogCaptureFixture) -> None:
    """No repr, no log line, no error and no local variable of ours shows the API key."""
    caplog.set_level(logging.DEBUG)
    with guarded as server:
        secret = Secret(READ_KEY)
        with MosaicoClient.connect("127.0.0.1", server.port, api_key=secret) as client:
            with pytest.raises(RefusedError) as caught, client.sequence_create("run", {}):
                pass
            told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            shown = [repr(client), repr(client._connection), caplog.text, *told.format()]
    assert READ_KEY not in "".join(shown)
    assert "***" in repr(client._connection)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "brotli"},
        {"grpc_compression": "snappy"},
        {"tls_root_certs": "/no/such/file.pem"},
    ],
)
def test_impossible_option_is_a_usage_error(options: dict[str, str]) -> None:
    """An option with a value that does not exist is refused before anything is connected."""
    with pytest.raises(UsageError):
        MosaicoClient.connect("127.0.0.1", 1, **options)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "options",
    [{"compression": "lz4"}, {"compression": "zstd"}, {"grpc_compression": "gzip"}],
    ids=str,
)
def test_compression_changes_nothing_but_size(
    server: EmbeddedServer, name: str, options: dict[str, str]
) -> None:
    """What is written compressed reads back the same."""
    with MosaicoClient.connect("127.0.0.1", server.port, **options) as client:  # type: ignore[arg-type]  # a parameter table
        with client.sequence_create(name, {}) as writer:
            writer.topic_create("t", {}, Integer64).write_batch(integers(*range(1000)))
        topic = client.topic_handler(name, "t")
        assert topic is not None
        assert topic.table().to_batches() == [integers(*range(1000))]


def test_bad_name_is_refused_without_a_call(client: MosaicoClient) -> None:
    """Names no server takes never reach one."""
    with pytest.raises(RejectedError):
        client.sequence_create("a.b", {})
