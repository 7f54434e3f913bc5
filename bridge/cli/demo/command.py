"""`mosaico-bridge demo`: the whole way on a sample drive, with nothing to configure."""

import queue
import shutil
import threading
import time
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
from bridge.errors import UsageError
from bridge.ingest import IngestReport
from bridge.units import SECOND_NS

MARKER = ".mosaico-bridge-demo"
INGEST_TIMEOUT_S = 300.0


class _Outcome:
    """Waits for the first recording to end, well or badly."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[IngestReport | Failure] = queue.SimpleQueue()

    def hear(self, event: Event) -> None:
        """Note the report, or a failure that is not followed by another attempt."""
        match event:
            case IngestFinished(report=report):
                self.ended.put(report)
            case IngestFailed(failure=failure, retry_in_s=None):
                self.ended.put(failure)
            case _:
                pass


def demo(
    folder: Annotated[
        Path,
        typer.Option("--folder", help="Where the demonstration lives; emptied at each start."),
    ] = Path("var"),
    http_port: HttpPort = None,
    duration_s: Annotated[
        float, typer.Option("--seconds", min=1, max=600, help="Length of the sample drive.")
    ] = 10.0,
    leave: Annotated[bool, typer.Option("--exit", help="Exit when the drive has arrived.")] = False,
) -> int:
    """Record a sample drive and watch it arrive, on a bridge with its embedded server."""
    _start_afresh(folder)
    watched = folder / "recordings"
    watched.mkdir()
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
    outcome = _Outcome()
    with compose(settings, outcome) as parts:
        thread = threading.Thread(target=parts.daemon.run, name="daemon")
        thread.start()
        try:
            code = _show(parts, outcome, watched, duration_s)
            if code is Exit.OK and not leave:
                _wait_for_interrupt(parts, thread)
        finally:
            parts.daemon.stop()
            thread.join()
    return code


def _show(parts: Composition, outcome: _Outcome, watched: Path, duration_s: float) -> Exit:
    err.print(
        f"the bridge watches {watched} and sends to the embedded server on {parts.address}",
        soft_wrap=True,
    )
    start_ns = time.time_ns() - round(duration_s * SECOND_NS)
    name = time.strftime("drive_%Y%m%dT%H%M%SZ", time.gmtime(start_ns / SECOND_NS))
    bag = write_drive(watched, name=name, start_ns=start_ns, duration_s=duration_s)
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


def _start_afresh(folder: Path) -> None:
    """Empty the demonstration's own folder; never anybody else's."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise UsageError(
                f"{folder} is not empty and was not made by the demonstration",
                hint="choose another folder with --folder",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
