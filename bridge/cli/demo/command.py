"""`mosaico-bridge demo`: the whole way on a sample drive, with nothing to configure."""

import fcntl
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.demo.drive import write_drive
from bridge.cli.options import HttpPort
from bridge.cli.report import print_report
from bridge.cli.run import Composition, compose
from bridge.cli.terminal import Exit, err, out
from bridge.config import load_settings
from bridge.daemon import Event, Failure, IngestFailed, IngestFinished
from bridge.errors import BridgeError, ConfigError
from bridge.ingest import IngestReport
from bridge.units import SECOND_NS

MARKER = ".mosaico-bridge-demo"
INGEST_TIMEOUT_S = 300.0


class _Outcome:
    """Waits for one recording to end, well or badly; others may come and go meanwhile."""

    def __init__(self, recording: Path) -> None:
        self.ended: queue.SimpleQueue[IngestReport | Failure] = queue.SimpleQueue()
        self._recording = recording.absolute()

    def hear(self, event: Event) -> None:
        """Note the report, or a failure that is not followed by another attempt."""
        match event:
            case IngestFinished(entry=entry, report=report) if entry.path == self._recording:
                self.ended.put(report)
            case IngestFailed(entry=entry, failure=failure, retry_in_s=None) if (
                entry.path == self._recording
            ):
                self.ended.put(failure)
            case _:
                pass


def demo(
    folder: Annotated[
        Path,
        typer.Option(
            "--folder",
            help="Where the demonstration lives; made where it is not there.",
            metavar="DIR",
        ),
    ] = Path("var"),
    http_port: HttpPort = None,
    duration_s: Annotated[
        float, typer.Option("--seconds", min=1, max=600, help="Length of the sample drive.")
    ] = 10.0,
    leave: Annotated[bool, typer.Option("--exit", help="Exit when the drive has arrived.")] = False,
) -> int:
    """Record a sample drive and watch it arrive, on a bridge with its embedded server.

    Recordings that were dropped into its folder stay, and what it knows of them; only the sample
    drive of the last time makes room for a new one.
    """
    with _held(folder) as drives:
        start_ns = time.time_ns() - round(duration_s * SECOND_NS)
        name = time.strftime("drive_%Y%m%dT%H%M%SZ", time.gmtime(start_ns / SECOND_NS))
        watched = folder / "recordings"
        outcome = _Outcome(watched / name)
        with _composed(folder, watched, http_port, outcome) as parts:
            # Nothing goes before the port is ours, too.
            drives.replace(watched, name)
            thread = threading.Thread(target=parts.daemon.run, name="daemon")
            thread.start()
            try:
                bag = write_drive(watched, name=name, start_ns=start_ns, duration_s=duration_s)
                code = _show(parts, outcome, bag)
                if code is Exit.OK and not leave:
                    _wait_for_interrupt(parts, thread)
            finally:
                parts.daemon.stop()
                thread.join()
    return code


@contextmanager
def _composed(
    folder: Path, watched: Path, http_port: int | None, outcome: _Outcome
) -> Iterator[Composition]:
    settings = load_settings(
        None,
        {
            "watch.folder": watched,
            "watch.settle_s": 1.0,
            "watch.rescan_interval_s": 2.0,
            "state.folder": folder / "state",
            "http.port": http_port,
            "log.level": "warning",
            "server.host": "",
            "metadata": {"project": "demo"},
        },
    )
    with ExitStack() as stack:
        try:
            parts = stack.enter_context(compose(settings, outcome))
        except ConfigError as error:
            if error.key == "http.port":
                error.hint = (
                    "is another bridge running? choose another port: make run PORT="
                    f"{settings.http.port + 1}, or --http-port"
                )
            raise
        yield parts


def _show(parts: Composition, outcome: _Outcome, bag: Path) -> Exit:
    watched = bag.parent
    err.print(
        f"the bridge watches {watched} and sends to the embedded server on {parts.address}",
        soft_wrap=True,
    )
    err.print(
        f"a recorder has written {bag}: {len(list(bag.glob('*.mcap')))} MCAP files", soft_wrap=True
    )
    try:
        ended = outcome.ended.get(timeout=INGEST_TIMEOUT_S)
    except queue.Empty:
        err.print(f"[red]nothing arrived within {INGEST_TIMEOUT_S:.0f} s[/]", soft_wrap=True)
        return Exit.FAILED
    if isinstance(ended, Failure):
        err.print(f"[red]the drive did not arrive:[/] {ended.message}", soft_wrap=True)
        return Exit.FAILED
    print_report(ended)
    out.print()
    out.print(f"status page   {parts.http.address}", soft_wrap=True)
    out.print(f"metrics       {parts.http.address}metrics", soft_wrap=True)
    out.print(f"platform      grpc://{parts.address}", soft_wrap=True)
    out.print(f"drop bags in  {watched}", soft_wrap=True)
    return Exit.OK


def _wait_for_interrupt(parts: Composition, thread: threading.Thread) -> None:
    try:
        # Inside, since a reader of this line may press it at once.
        out.print("running until Ctrl-C", soft_wrap=True)
        thread.join()
    except KeyboardInterrupt:
        err.print("stopping", soft_wrap=True)
        parts.daemon.stop()


class _Drives:
    """The sample drives that the demonstration made, by name, kept in its marker file."""

    def __init__(self, marker: Path, descriptor: int) -> None:
        self._marker = marker
        self._descriptor = descriptor

    def replace(self, watched: Path, name: str) -> None:
        """Remove the drives of earlier times, and note the one that is made now."""
        for old in self._marker.read_text(encoding="utf-8").split():
            # One folder below the watched one, whatever the file says.
            if Path(old).name == old:
                shutil.rmtree(watched / old, ignore_errors=True)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{name}\n".encode(), 0)


@contextmanager
def _held(folder: Path) -> Iterator[_Drives]:
    """Hold the demonstration's folder, made where it is not there, for as long as it runs.

    Raises:
        BridgeError: Somebody else's folder, or one that cannot be written, or is in use.
    """
    marker = folder / MARKER
    hint = "choose another folder: make run FOLDER=..., or --folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not marker.exists():
            raise BridgeError(
                f"{folder.absolute()} is not empty and was not made by the demonstration", hint=hint
            )
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        (folder / "recordings").mkdir(exist_ok=True)
    except OSError as error:
        why = "a file is in its place" if isinstance(error, FileExistsError) else error.strerror
        raise BridgeError(
            f"the folder {folder.absolute()} cannot be made or written: {why}", hint=hint
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BridgeError(
                f"a demonstration is running in {folder} already; it goes on untouched",
                hint="stop it with Ctrl-C first, or start one beside it: "
                f"make run FOLDER={folder}2 PORT=9478",
            ) from None
        yield _Drives(marker, descriptor)
    finally:
        os.close(descriptor)
