"""The embedded server by the command line, guarded and in either generation; and `check`."""

import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.errors import RefusedError
from tests.certificates import authority, signed
from tests.servers.old.keyed import KeyedServer


def token(letter: str) -> str:
    payload = letter * 32
    return f"msco_{payload}_{zlib.crc32(payload.encode()):08x}"


@contextmanager
def serving(*options: str | Path) -> Iterator[int]:
    """Run `serve` in a process of its own; gives its port."""
    command = [sys.executable, "-m", "bridge", "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().rsplit(":", 1)[1])
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0


def test_server_is_guarded_by_certificates_and_keys(tmp_path: Path) -> None:
    """Mutual TLS and API keys with permissions and an end, as files on the command line."""
    ours = authority(tmp_path, "ours")
    client = signed(tmp_path, "client", ours)
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f"{token('w')} = 'write'\n"
        f"{token('x')} = {{permission = 'manage', expires = 2020-01-31T00:00:00Z}}\n"
        f"{token('r')} = {{permission = 'read', expires = 2999-01-31T00:00:00}}\n",
        encoding="ascii",
    )
    guards = ("--tls-certificate", ours.file, "--tls-key", ours.key_file, "--api-keys", keys)
    with serving("--folder", tmp_path / "data", *guards, "--tls-client-ca", ours.file) as port:

        def connect(letter: str) -> MosaicoClient:
            return MosaicoClient.connect(
                "localhost",
                port,
                tls_root_certs=ours.file,
                tls_client_cert=client.file,
                tls_client_key=client.key_file,
                api_key=token(letter),
            )

        for letter in "wr":
            with connect(letter) as connected:
                assert connected.list_sequences() == []
        with pytest.raises(RefusedError, match="expired"):
            connect("x")


@pytest.mark.parametrize(
    "text",
    [
        "a = 'admin'",
        "a = 1",
        "a = {}",
        "a = {permission = 'read', expires = 5}",
        "a = {permission = 'read', until = 2027-01-31}",
        "a = ",
    ],
)
def test_key_file_that_makes_no_sense_is_a_configuration_error(
    tmp_path: Path, command: Any, text: str
) -> None:
    """What is wrong is told by entry; the keys themselves are not shown."""
    keys = tmp_path / "keys.toml"
    keys.write_text(text.replace("a =", f"{token('a')} ="), encoding="ascii")
    done = command("serve", "--folder", tmp_path / "data", "--api-keys", keys)

    assert done.code == 78
    assert str(keys) in done.err.replace("\n", "")
    assert token("a") not in done.err


def test_certificate_needs_its_key(tmp_path: Path, command: Any) -> None:
    """Half of what TLS needs is a configuration error, and so is a file that is not there."""
    absent = tmp_path / "absent.pem"
    assert command("serve", "--folder", tmp_path, "--tls-certificate", absent).code == 78
    both = ("--tls-certificate", absent, "--tls-key", absent)
    assert command("serve", "--folder", tmp_path, *both).code == 78


def test_certificates_that_fit_nothing_are_named(tmp_path: Path, command: Any) -> None:
    """Another's key, and files that are no PEM; gRPC would only say that it did not start."""
    ours, other = authority(tmp_path, "ours"), authority(tmp_path, "other")
    text = tmp_path / "text.pem"
    text.write_text("no PEM\n", encoding="ascii")
    for certificate, key in ((ours.file, other.key_file), (text, text)):
        pair = ("--tls-certificate", certificate, "--tls-key", key)
        done = command("serve", "--folder", tmp_path / "data", *pair)
        assert done.code == 78
        assert f"{certificate} and {key} are no certificate with its key" in done.err
    ours_pair = ("--tls-certificate", ours.file, "--tls-key", ours.key_file)
    done = command("serve", "--folder", tmp_path / "data", *ours_pair, "--tls-client-ca", text)

    assert done.code == 78
    assert f"{text} holds no certificate" in done.err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bridge.toml"
    (tmp_path / "watched").mkdir()
    file.write_text(
        f"[watch]\nfolder = '{tmp_path / 'watched'}'\n[state]\nfolder = '{tmp_path / 'state'}'\n"
        "[http]\nport = 0\n[server]\ncompression = 'lz4'\ngrpc_compression = 'gzip'\n"
        "call_timeout_s = 20.0\nkeepalive_s = 10.0\nkeepalive_timeout_s = 5.0\n",
        encoding="utf-8",
    )
    return file


def found(done: Any) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["grade"], each["detail"]) for each in done.json["findings"]}


def test_check_tells_which_compression_is_taken(config: Path, command: Any, tmp_path: Path) -> None:
    """What was asked for and is known to work is said."""
    with EmbeddedServer(tmp_path / "data") as server:
        done = command(
            "check", "-c", config, "--host", "127.0.0.1", "--port", server.port, "--json"
        )
    assert done.code == 0
    assert found(done)["compression"] == ("ok", "lz4, which the platform's revision takes")
    assert found(done)["message compression"] == ("ok", "gzip, which the platform takes")


class WithoutGzip(KeyedServer):
    """Refuses its first call as a server without gzip does."""

    asked = 0

    def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
        self.asked += 1
        if self.asked == 1:
            raise NotImplementedError("Content is compressed with `gzip` which isn't supported")
        yield from super().do_action(context, action)


def test_check_tells_which_compression_is_not_taken(config: Path, command: Any) -> None:
    """What the platform refuses is a warning; what only an upload can show is said to be open."""
    with WithoutGzip("G1.2") as server:
        done = command(
            "check", "-c", config, "--host", "127.0.0.1", "--port", server.port, "--json"
        )
    assert done.code == 0
    assert found(done)["compression"] == (
        "ok", "lz4, if the platform takes it; uploads try first",
    )  # fmt: skip
    grade, detail = found(done)["message compression"]
    assert (grade, detail) == ("warn", "the platform takes no messages compressed by gzip")
