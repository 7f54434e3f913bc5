"""`mosaico-bridge serve`: the embedded server alone."""

import os
import signal
import ssl
import sys
import threading
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli.terminal import Exit, err
from bridge.embedded import ApiKey, EmbeddedServer, Permission
from bridge.errors import ConfigError
from bridge.units import SECOND_NS

READ_BYTES = 4096

SIGNAL_CHECK_INTERVAL_S = 0.2


CertificateFile = Annotated[
    Path | None,
    typer.Option("--tls-certificate", help="PEM file; encrypts with --tls-key.", metavar="FILE"),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--tls-key", help="PEM file with the certificate's key.", metavar="FILE"),
]
ClientAuthorities = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        help="PEM file; clients must show a certificate that one of these has signed.",
        metavar="FILE",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-keys",
        help="TOML file with a permission by key: read, write, delete or manage, each with "
        "those before; or exactly those named, as in read|delete; or a table of permission and "
        "expires.",
        metavar="FILE",
    ),
]
UntilStdinCloses = Annotated[
    bool,
    typer.Option(
        "--until-stdin-closes",
        help="Stop when standard input closes; for a parent process that must not leave "
        "the server behind.",
    ),
]


def serve(
    folder: Annotated[
        Path, typer.Option("--folder", help="Where the data is kept.", metavar="DIR")
    ] = Path("mosaico-data"),
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.")] = 6726,
    tls_certificate: CertificateFile = None,
    tls_key: KeyFile = None,
    tls_client_ca: ClientAuthorities = None,
    api_keys: ApiKeyFile = None,
    until_stdin_closes: UntilStdinCloses = False,
) -> int:
    """Serve a local, Mosaico-compatible platform from a folder, until interrupted.

    It keeps sequences as Parquet files, needs no account and no database, and is for trying
    things out and for tests; it is no replacement for the platform.
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    if until_stdin_closes:
        # Ctrl-C reaches the whole group; the parent still needs us while it finishes its work.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    server = EmbeddedServer(
        folder,
        host=host,
        port=port,
        tls_certificates=certificates(tls_certificate, tls_key),
        tls_client_roots=client_roots(tls_client_ca),
        api_keys=read_api_keys(api_keys) if api_keys is not None else None,
    )
    with server:
        sys.stdout.write(f"listening on {server.address}\n")
        sys.stdout.flush()
        if not until_stdin_closes:
            err.print(f"data in {folder.absolute()}; stop with Ctrl-C", soft_wrap=True)
        # A signal may be taken by one of gRPC's threads; Python runs its handler in this thread,
        # and only when it wakes up.
        while not stop.wait(SIGNAL_CHECK_INTERVAL_S):
            pass
    return Exit.OK


def _wait_for_end(stop: threading.Event) -> None:
    # Not through sys.stdin: a thread that waits inside it makes the interpreter abort at its end.
    while os.read(sys.stdin.fileno(), READ_BYTES):
        pass
    stop.set()


def certificates(certificate: Path | None, key: Path | None) -> list[tuple[bytes, bytes]]:
    """Give the server's certificate with its key; empty without both.

    Raises:
        ConfigError: One comes without the other, cannot be read, or they are no pair.
    """
    if (certificate is None) is not (key is None):
        raise ConfigError("--tls-certificate and --tls-key only work together")
    if certificate is None:
        return []
    pair = read_pem(certificate), read_pem(key)
    try:
        # An empty password, so that an encrypted key is an error, and not a question.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"{certificate.absolute()} and {key} are no certificate with its key:"
            f" {(error.reason or 'no PEM').lower().replace('_', ' ')}",
            key="--tls-certificate",
            hint="both are PEM files; the key is the certificate's own, without a password",
        ) from error
    return [pair]


def client_roots(file: Path | None) -> bytes:
    """Read the certificates that clients' own must be signed by; empty where no file is given.

    Raises:
        ConfigError: The file cannot be read, or holds none.
    """
    roots = read_pem(file)
    try:
        if file is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigError(f"{file} holds no certificate in PEM", key="--tls-client-ca") from error
    return roots


def read_pem(file: Path | None) -> bytes:
    """Read a file; empty where none is given.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return file.read_bytes() if file is not None else b""
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}",
            hint="is the path right, and may this user read the file?",
        ) from error


def read_api_keys(file: Path) -> dict[str, ApiKey]:
    """Read the API keys: `token = "write"`, or `token = {permission = "write", expires = <time>}`.

    Raises:
        ConfigError: The file cannot be read, or an entry is something else; no message shows a key.
    """
    try:
        entries = tomllib.loads(read_pem(file).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}", hint='an entry is: "token" = "write"'
        ) from error
    return {
        token: _api_key(entry, f"{file}, entry {number}")
        for number, (token, entry) in enumerate(entries.items(), start=1)
    }


def _api_key(entry: Any, where: str) -> ApiKey:
    table = entry if isinstance(entry, dict) else {"permission": entry}
    expires, words = table.get("expires"), table.get("permission")
    wrong = bool(table.keys() - {"permission", "expires"}) or not isinstance(words, str)
    key = None
    if not wrong and isinstance(expires, datetime | None):
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        expires_ns = None if expires is None else int(expires.timestamp()) * SECOND_NS
        key = ApiKey.of(str(words), expires_ns=expires_ns)
    if key is None:
        known = ", ".join(permission.name.lower() for permission in Permission)
        raise ConfigError(
            f"{where}: not a permission, nor a table of permission and expires",
            hint=f"permissions are {known}, or several by |; expires is like 2027-01-31T00:00:00Z",
        )
    return key
