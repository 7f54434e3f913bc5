"""TLS and mutual TLS: who is let in, who is not, and what is said about it."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.client import MosaicoClient
from bridge.client.opening import tls_fault
from bridge.client.options import connection_options
from bridge.compose import connect
from bridge.config import load_settings
from bridge.embedded import EmbeddedServer
from bridge.errors import ConfigError, OfflineError, RefusedError, UsageError
from bridge.ontology import Integer64
from tests.certificates import Certificate, authority, signed
from tests.client.conftest import integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """An authority with a server and a client, and a stranger with a client of its own."""

    server: Certificate
    client: Certificate
    stranger: Certificate
    strangers_client: Certificate


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    folder = tmp_path_factory.mktemp("certificates")
    server, stranger = authority(folder, "server"), authority(folder, "stranger")
    return Company(
        server=server,
        client=signed(folder, "client", server),
        stranger=stranger,
        strangers_client=signed(folder, "strangers-client", stranger),
    )


@pytest.fixture(scope="module")
def mutual(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that lets in only clients whose certificate the authority has signed."""
    with EmbeddedServer(
        tmp_path_factory.mktemp("mutual"),
        tls_certificates=[company.server.pair],
        tls_client_roots=company.server.pem,
    ) as server:
        yield server


def test_certificate_we_do_not_trust_is_refused(company: Company, tmp_path: Path) -> None:
    """A server whose certificate is not trusted is a matter of settings, so no waiting helps."""
    with EmbeddedServer(tmp_path, tls_certificates=[company.server.pair]) as server:
        trusted = company.server.file
        with MosaicoClient.connect("localhost", server.port, tls_root_certs=trusted) as client:
            assert client.list_sequences() == []
        began_s = time.monotonic()
        with pytest.raises(RefusedError, match=r"(?i)certificate|handshake"):
            MosaicoClient.connect("localhost", server.port, 10, tls_root_certs=company.stranger.pem)
        assert time.monotonic() - began_s < 5


def test_certificate_of_ours_lets_us_in(company: Company, mutual: EmbeddedServer) -> None:
    """With a client certificate that the server trusts everything works, streams included."""
    with MosaicoClient.connect(
        "localhost",
        mutual.port,
        tls_root_certs=company.server.file,
        tls_client_cert=company.client.file,
        tls_client_key=company.client.key_file,
    ) as client:
        with client.sequence_create("run", {}) as writer:
            writer.topic_create("t", {}, Integer64).write_batch(integers(1, 2))
        topic = client.topic_handler("run", "t")
        assert topic is not None
        assert topic.table().num_rows == 2
        assert company.client.key_file.read_text() not in repr(client._connection)


def test_missing_certificate_of_ours_is_refused(company: Company, mutual: EmbeddedServer) -> None:
    """Without a certificate the server hangs up; we say that it wants one, not that it is off."""
    with pytest.raises(RefusedError, match="wants a client certificate") as caught:
        MosaicoClient.connect("localhost", mutual.port, 1, tls_root_certs=company.server.file)
    assert "TLS settings" in caught.value.hint


def test_wrong_certificate_of_ours_is_refused(company: Company, mutual: EmbeddedServer) -> None:
    """Nor does one help that somebody else has signed."""
    with pytest.raises(RefusedError, match="hangs up on our certificate"):
        MosaicoClient.connect(
            "localhost",
            mutual.port,
            1,
            tls_root_certs=company.server.file,
            tls_client_cert=company.strangers_client.file,
            tls_client_key=company.strangers_client.key_file,
        )


def test_key_of_another_certificate_is_refused(company: Company, mutual: EmbeddedServer) -> None:
    """A key that does not belong to its certificate is found out."""
    with pytest.raises(UsageError, match="key values mismatch"):
        MosaicoClient.connect(
            "localhost",
            mutual.port,
            1,
            tls_root_certs=company.server.file,
            tls_client_cert=company.client.file,
            tls_client_key=company.strangers_client.key_file,
        )


def test_settings_of_the_bridge_reach_the_connection(
    company: Company, mutual: EmbeddedServer
) -> None:
    """`tls_certificate_file` and `tls_key_file` in the settings are what mutual TLS needs."""
    overrides = {
        "server.host": "localhost",
        "server.port": mutual.port,
        "server.tls": True,
        "server.tls_ca_file": company.server.file,
        "server.tls_certificate_file": company.client.file,
        "server.tls_key_file": company.client.key_file,
    }
    with connect(load_settings(None, overrides), "localhost", mutual.port) as client:
        assert client.revision == "G2d"


@pytest.mark.parametrize(
    "names",
    [
        {"tls_client_cert"},
        {"tls_client_key", "tls_root_certs"},
        {"tls_client_cert", "tls_client_key"},
    ],
    ids=sorted,
)
def test_half_of_mutual_tls_is_a_usage_error(company: Company, names: set[str]) -> None:
    """Certificate without key, key without certificate, both without TLS: refused at once."""
    given = {
        "tls_root_certs": company.server.file,
        "tls_client_cert": company.client.file,
        "tls_client_key": company.client.key_file,
    }
    options = {name: file for name, file in given.items() if name in names}
    with pytest.raises(UsageError):
        MosaicoClient.connect("localhost", 1, **options)  # type: ignore[arg-type]  # a parameter table


def test_server_cannot_ask_for_certificates_without_tls(company: Company, tmp_path: Path) -> None:
    """Roots for clients' certificates without a certificate of its own are a mistake."""
    with pytest.raises(ConfigError, match="without TLS"):
        EmbeddedServer(tmp_path, tls_client_roots=company.server.pem)


def test_server_that_is_off_is_offline(company: Company) -> None:
    """Nobody there and somebody silent are offline under TLS as well."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(OfflineError):
            MosaicoClient.connect("127.0.0.1", port, 0.3, tls_root_certs=company.server.file)
        taken.listen()
        options = connection_options("127.0.0.1", port, tls_root_certs=company.server.file)
        assert tls_fault(options, timeout_s=0.2) == ""


def test_server_without_tls_is_told_from_one_that_is_off(company: Company) -> None:
    """Something that answers, but not in TLS, is a matter of settings."""
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(4096)

        answering = threading.Thread(target=answer)
        answering.start()
        port = plain.getsockname()[1]
        options = connection_options("127.0.0.1", port, tls_root_certs=company.server.file)
        assert tls_fault(options, timeout_s=2) == "TLS: wrong version number"
        answering.join()


def test_what_is_no_certificate_is_refused_before_anybody_is_asked(company: Company) -> None:
    """GRPC would take it, and fail at each try until time is up."""
    ours = company.client
    for files in (
        {"tls_root_certs": ours.key_file},
        {"tls_root_certs": b"no PEM"},
        {"tls_root_certs": "\u00e9".encode("latin-1")},
        {"tls": True, "tls_client_cert": ours.file, "tls_client_key": company.server.key_file},
    ):
        with pytest.raises(UsageError, match="for nobody:1 cannot be used: ") as caught:
            MosaicoClient.connect("nobody", 1, 600, **files)
        assert "server.tls_ca_file" in caught.value.hint


@pytest.mark.parametrize("key", ["two words", "a\nb", "schl\u00fcssel", "a\x00b"])
def test_a_key_that_no_header_takes_is_refused(key: str) -> None:
    """It would be held back, and the platform say that there is none; the key is not shown."""
    with pytest.raises(UsageError, match="another character that no key has") as caught:
        connection_options("nobody", 1, api_key=key)
    assert key not in f"{caught.value.facts()}"


def test_a_plain_client_of_a_tls_server_is_told_of_tls(company: Company, tmp_path: Path) -> None:
    """All that gRPC sees is a link that closes; no waiting helps."""
    with (
        EmbeddedServer(tmp_path, tls_certificates=[company.server.pair]) as server,
        pytest.raises(RefusedError, match="speaks TLS") as caught,
    ):
        MosaicoClient.connect("localhost", server.port, 0.5)
    assert "server.tls" in caught.value.hint


def test_who_refuses_is_named(company: Company, tmp_path: Path) -> None:
    """As where nobody answers: the address may be another one than was meant."""
    with (
        EmbeddedServer(tmp_path, tls_certificates=[company.server.pair]) as server,
        pytest.raises(RefusedError, match=f"localhost:{server.port} lets nobody in"),
    ):
        MosaicoClient.connect("localhost", server.port, 5, tls_root_certs=company.stranger.pem)
