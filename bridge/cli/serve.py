"""`mosaico-bridge serve`: the embedded server alone."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.exits import Exit
from bridge.cli.server_secrets import certificates, read_api_keys, read_pem
from bridge.cli.terminal import err
from bridge.embedded import EmbeddedServer

READ_BYTES = 4096

SIGNAL_CHECK_INTERVAL_S = 0.2


CertificateFile = Annotated[
    Path | None, typer.Option("--tls-certificate", help="PEM file; encrypts with --tls-key.")
]
KeyFile = Annotated[
    Path | None, typer.Option("--tls-key", help="PEM file with the certificate's key.")
]
ClientAuthorities = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        help="PEM file; clients must show a certificate that one of these has signed.",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-keys",
        help="TOML file with a permission by key: read, write, delete or manage; or a table "
        "of permission and expires.",
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
        tls_client_roots=read_pem(tls_client_ca),
        api_keys=read_api_keys(api_keys) if api_keys is not None else None,
    )
    with server:
        sys.stdout.write(f"listening on {host}:{server.port}\n")
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
