"""Where to send to: the configured platform, or an embedded server run as a child process.

The child listens on loopback and ends when its standard input closes, so that it never outlives
the process that started it, however that one ends.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.cli.options import vendor_note
from bridge.cli.running import daemon_runs, daemon_server
from bridge.cli.terminal import err
from bridge.client import MosaicoClient
from bridge.compose import connect
from bridge.config import Settings
from bridge.errors import BridgeError, CommandLineError, ConfigError, OfflineError
from bridge.files import is_folder
from bridge.units import address_text

START_TIMEOUT_S = 60.0
RESTART_PAUSE_S = 1.0
STOP_TIMEOUT_S = 20.0
EMBEDDED_HOST = "127.0.0.1"
EMBEDDED_FOLDER = "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A platform to talk to.

    Attributes:
        host: Its host name.
        port: Its port.
        embedded: Whether it is the embedded server.
    """

    host: str
    port: int
    embedded: bool

    def __str__(self) -> str:
        """Give `host:port`."""
        return address_text(self.host, self.port)


def destination(host: str | None, *, embedded: bool) -> str | None:
    """Give the value for `server.host`: as the options say, or None to leave it to the settings.

    Raises:
        CommandLineError: Both options are given.
    """
    if host and embedded:
        raise CommandLineError(
            "--host and --embedded are two different destinations; give one of them"
        )
    return "" if embedded else host


def require_destination(settings: Settings, *, embedded: bool) -> None:
    """Refuse to send to the embedded server unless that was asked for, or a bridge runs with it.

    Raises:
        CommandLineError: No platform is configured, and none was named.
    """
    if note := vendor_note(settings):
        err.print(note, markup=False, soft_wrap=True)
    if not settings.uses_embedded_server or embedded:
        return
    if not daemon_runs(settings.state.folder):
        raise CommandLineError(
            "no platform is configured, so there is nowhere to send to",
            hint="name one with --host, or in the settings (server.host); --embedded sends to a "
            "local server, to try things out",
        )


def require_folders(settings: Settings) -> None:
    """Refuse to look for recordings in a folder that is not there, before anything is created.

    Raises:
        ConfigError: A watched folder does not exist.
    """
    for name, inside in settings.watched.items():
        if not is_folder(inside.watch.folder):
            key = f"folders.{name}.path" if name else "watch.folder"
            raise ConfigError(
                f"the folder {inside.watch.folder.absolute()} is not there, is no folder, or may"
                " not be read by this user",
                key=key,
                hint=f"is it mounted? name another one with --folder, or in the settings ({key})",
            )


@contextmanager
def platform(settings: Settings) -> Iterator[Address]:
    """Yield the platform of the settings, starting the embedded server where none is configured.

    Raises:
        BridgeError: The embedded server cannot start; the message is its own.
    """
    if not settings.uses_embedded_server:
        yield Address(host=settings.server.host, port=settings.server.port, embedded=False)
        return
    folder = settings.state.folder / EMBEDDED_FOLDER
    child = _Child(folder, settings.embedded.port)
    with child:
        yield Address(host=EMBEDDED_HOST, port=child.port, embedded=True)


class _Child:
    """Keeps one embedded server running, on the same port after a crash."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._stopping = threading.Event()
        # Owned by the thread that starts, then by the keeper.
        self._process: subprocess.Popen[str] | None = None
        self._keeper = threading.Thread(target=self._keep, name="embedded-keeper", daemon=True)

    def __enter__(self) -> None:
        self._process = self._start()
        self._keeper.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._close(self._process)
        self._keeper.join(STOP_TIMEOUT_S)

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bridge", "serve", "--until-stdin-closes"]
        command += ["--folder", str(self._folder), "--port", str(self.port)]
        # Ctrl-C reaches the whole group. The server ignores it, but until Python is as far as that
        # it would end with a traceback on the terminal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert process.stdout is not None
        # The only line the server writes there is where it listens.
        line = process.stdout.readline()
        if not line:
            process.wait(STOP_TIMEOUT_S)
            raise OfflineError(
                f"the embedded server on {self._folder} did not start",
                hint="its own message is above; is another bridge using the same state folder?",
            )
        self.port = int(line.rsplit(":", 1)[1])
        return process

    def _keep(self) -> None:
        while not self._stopping.is_set():
            process = self._process
            assert process is not None
            process.wait()
            if self._stopping.wait(RESTART_PAUSE_S):
                return
            try:
                self._process = self._start()
            except (BridgeError, OSError):
                # The daemon sees the platform offline meanwhile and says so; try again.
                continue

    def _close(self, process: subprocess.Popen[str] | None) -> None:
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def reached(settings: Settings) -> Iterator[Address]:
    """Yield the platform of the settings, or the embedded server where none is configured.

    The embedded server belongs to the running bridge, which is asked for its port; where none
    runs, it is started for as long as it takes.

    Raises:
        OfflineError: A bridge runs but does not say where its server is.
    """
    if settings.uses_embedded_server and daemon_runs(settings.state.folder):
        known = daemon_server(settings)
        if known is None:
            raise OfflineError(
                "the embedded server belongs to the running bridge, which does not say where it is",
                hint="give the bridge's port with --http-port, or the server's with --host, --port",
            )
        yield Address(host=known[0], port=known[1], embedded=True)
        return
    with platform(settings) as at:
        yield at


@contextmanager
def reach(settings: Settings) -> Iterator[MosaicoClient]:
    """Yield a client of the platform, or of the embedded server; see `reached`.

    Raises:
        OfflineError: Nobody answers, or a bridge runs but does not say where its server is.
        RefusedError: The key or the TLS settings are not accepted.
    """
    with reached(settings) as at, connect(settings, at.host, at.port) as client:
        yield client
