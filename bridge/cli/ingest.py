"""`mosaico-bridge ingest`: recordings named on the command line, once, without a daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import load_recording, load_split, split_up
from bridge.cli.options import AsJson, ConfigFile, Host, ServerPort, StateFolder
from bridge.cli.platform import reach
from bridge.cli.report import print_report, progress
from bridge.cli.terminal import Exit, err, exit_code, print_error, print_json
from bridge.client import MosaicoClient
from bridge.compose import ingest_options
from bridge.config import Settings, load_settings
from bridge.daemon import instance_id
from bridge.errors import BridgeError, RecordingError, RejectedError, VerificationError
from bridge.ingest import IngestOptions, IngestReport
from bridge.ingest import ingest as ingest_recording
from bridge.model import Recording


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Bags: folders or files.", metavar="PATH...")],
    config: ConfigFile = None,
    host: Host = None,
    port: ServerPort = None,
    state: StateFolder = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the sequence, or a template such as {stem}_{id}."),
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            help="Topic pattern; may be given several times, a leading ! excludes.",
            metavar="PATTERN",
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Put recordings onto the platform now, one after the other.

    Exits with 0 when every message of every recording arrived, 3 when some were left out, and
    otherwise with the code of the first error; recordings after a bad one are still sent.
    """
    overrides = {
        "server.host": host,
        "server.port": port,
        "state.folder": state,
        "ingest.sequence_name": name,
        "ingest.topics": tuple(topics) if topics else None,
    }
    settings = load_settings(config, overrides)
    load = load_split if settings.ingest.unit == "split" else load_recording
    with reach(settings) as client:
        if settings.uses_embedded_server:
            err.print("no platform configured: sending to the embedded server")
        if settings.ingest.unit == "split":
            paths = [part for path in paths for part in _splits(path)]
        reports, failures = _send(
            paths, client, ingest_options(settings, instance=_instance(settings)), load=load
        )
    if json:
        print_json(_as_json(reports, failures))
    else:
        for report in reports:
            print_report(report)
    for _, failure in failures:
        print_error(failure)
    if failures:
        return exit_code(failures[0][1])
    return Exit.OK if all(report.complete for report in reports) else Exit.PARTIAL


def _splits(path: Path) -> list[Path]:
    """Name the splits of a recording; what cannot be loaded is left to be refused later."""
    try:
        return [part.path for part in split_up(load_recording(path))]
    except RecordingError:
        return [path]


def _send(
    paths: list[Path],
    client: MosaicoClient,
    options: IngestOptions,
    *,
    load: Callable[[Path], Recording],
) -> tuple[list[IngestReport], list[tuple[Path, BridgeError]]]:
    reports: list[IngestReport] = []
    failures: list[tuple[Path, BridgeError]] = []
    with progress(len(paths)) as events:
        for path in paths:
            try:
                report = ingest_recording(load(path), client=client, options=options, events=events)
            except (RecordingError, RejectedError, VerificationError) as error:
                failures.append((path, error))
            else:
                reports.append(report)
    return reports, failures


def _instance(settings: Settings) -> str:
    """Name this sender, other than the daemon of the same state folder, whose work is not ours."""
    return f"{instance_id(settings.state.folder)}-ingest"


def _as_json(
    reports: list[IngestReport], failures: list[tuple[Path, BridgeError]]
) -> dict[str, Any]:
    return {
        "reports": [report.as_json() for report in reports],
        "failures": [{"path": str(path), **error.facts()} for path, error in failures],
    }
