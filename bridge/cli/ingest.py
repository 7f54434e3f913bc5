"""`mosaico-bridge ingest`: recordings named on the command line, once, without a daemon."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import load_recording, load_split, recordings_in, split_up
from bridge.cli.options import (
    AsJson,
    BagPaths,
    ConfigFile,
    Embedded,
    Host,
    ServerPort,
    StateFolder,
)
from bridge.cli.platform import destination, reach, require_destination
from bridge.cli.report import print_report, print_summary, progress
from bridge.cli.terminal import Exit, err, exit_code, print_errors, print_json, printable
from bridge.client import MosaicoClient
from bridge.compose import ingest_options
from bridge.config import Settings, load_settings
from bridge.daemon import instance_id
from bridge.errors import (
    BridgeError,
    NotARecordingError,
    RecordingError,
    RecordingVanishedError,
    RejectedError,
    ServerError,
    VerificationError,
)
from bridge.files import is_folder
from bridge.ingest import IngestOptions, IngestReport
from bridge.ingest import ingest as ingest_recording
from bridge.model import Recording

# What concerns one recording only, so that the next may well succeed.
OF_ONE_RECORDING = (RecordingError, RejectedError, VerificationError)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of everything that was named.

    Attributes:
        reports: What is on the platform, whole or in part.
        failures: What is not, with the reason.
        not_tried: What was not reached before something ended the command.
        interrupted: Whether that was a person.
    """

    reports: list[IngestReport] = field(default_factory=list)
    failures: list[tuple[Path, BridgeError]] = field(default_factory=list)
    not_tried: list[Path] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exit(self) -> Exit:
        """The exit code over all: that of the first failure, else whether all arrived whole."""
        if self.interrupted:
            return Exit.INTERRUPTED
        if self.failures:
            return exit_code(self.failures[0][1])
        return Exit.OK if all(report.complete for report in self.reports) else Exit.PARTIAL

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "reports": [report.as_json() for report in self.reports],
            "failures": [{"path": str(path), **error.facts()} for path, error in self.failures],
            "not_tried": [str(path) for path in self.not_tried],
        }


def ingest(
    paths: BagPaths,
    config: ConfigFile = None,
    host: Host = None,
    port: ServerPort = None,
    embedded: Embedded = False,
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

    A folder that is not a recording itself is searched for recordings. Without a platform in the
    settings, --host or --embedded names the destination.

    Exits with 0 when every message of every recording arrived, 3 when some were left out, and
    otherwise with the code of the first error. Recordings after a bad one are still sent; when the
    platform fails, the rest is listed as not tried.
    """
    overrides = {
        "server.host": destination(host, embedded=embedded),
        "server.port": port,
        "state.folder": state,
        "ingest.sequence_name": name,
        "ingest.topics": tuple(topics) if topics else None,
    }
    settings = load_settings(config, overrides)
    require_destination(settings, embedded=embedded)
    named = find_named(paths)
    outcome = Outcome(failures=list(named.failures))
    # Without anything to send nothing is created, asked or started.
    if named.recordings:
        try:
            with reach(settings) as client:
                if settings.uses_embedded_server:
                    err.print("sending to the embedded server, on this machine")
                _send_all(named.recordings, client, settings, outcome)
        except ServerError as error:
            # Nobody answered, so that not even the first could be sent.
            outcome.failures.append((named.recordings[0], error))
            outcome.not_tried = list(named.recordings[1:])
    if json:
        print_json(outcome.as_json())
    else:
        _print(outcome, summary=named.searched)
    return outcome.exit


def _send_all(
    recordings: tuple[Path, ...], client: MosaicoClient, settings: Settings, outcome: Outcome
) -> None:
    load = load_recording
    wanted = list(recordings)
    if settings.ingest.unit == "split":
        load = load_split
        wanted = [part for path in recordings for part in _splits(path)]
    _send(wanted, client, ingest_options(settings, instance=_instance(settings)), load, outcome)


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
    load: Callable[[Path], Recording],
    outcome: Outcome,
) -> None:
    """Send one recording after the other; what was sent is kept whatever ends it."""
    with progress(len(paths)) as events:
        for number, path in enumerate(paths):
            try:
                report = ingest_recording(load(path), client=client, options=options, events=events)
            except OF_ONE_RECORDING as error:
                outcome.failures.append((path, error))
            except BridgeError as error:
                outcome.failures.append((path, error))
                outcome.not_tried = paths[number + 1 :]
                return
            except KeyboardInterrupt:
                outcome.interrupted = True
                outcome.not_tried = paths[number:]
                return
            else:
                outcome.reports.append(report)


def _instance(settings: Settings) -> str:
    """Name this sender, other than the daemon of the same state folder, whose work is not ours."""
    return f"{instance_id(settings.state.folder)}-ingest"


def _print(outcome: Outcome, *, summary: bool) -> None:
    for report in outcome.reports:
        print_report(report)
    if summary or len(outcome.reports) + len(outcome.failures) + len(outcome.not_tried) > 1:
        print_summary(outcome.reports, outcome.failures, outcome.not_tried)
    print_errors([failure for _, failure in outcome.failures])
    if outcome.interrupted:
        err.print("interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the paths of a command line mean.

    Attributes:
        recordings: Paths of recordings, each once, in the order in which they were named.
        failures: Paths that lead to no recording, each with the reason.
        searched: Whether a folder was searched, so that somebody may want a summary.
    """

    recordings: tuple[Path, ...]
    failures: tuple[tuple[Path, BridgeError], ...]
    searched: bool


def find_named(paths: Sequence[Path]) -> Named:
    """Find the recordings that paths mean; a folder that is no recording is searched.

    What was found below a folder is shown on standard error. A path that leads to no recording is
    a failure; what a search finds is judged when it is opened.
    """
    recordings: dict[Path, None] = {}
    failures: list[tuple[Path, BridgeError]] = []
    searched = False
    for path in paths:
        try:
            below = _search(path, failures) if is_folder(path) else None
            if below is None:
                load_recording(path)
                recordings[path] = None
                continue
        except RecordingError as error:
            failures.append((path, error))
            continue
        searched = True
        noun = "recording" if len(below) == 1 else "recordings"
        shown = printable(str(path)).rstrip("/")
        err.print(f"{len(below):,} {noun} below {shown}/", markup=False, soft_wrap=True)
        recordings |= dict.fromkeys(below)
    return Named(recordings=tuple(recordings), failures=tuple(failures), searched=searched)


def _search(folder: Path, failures: list[tuple[Path, BridgeError]]) -> list[Path] | None:
    """List the recordings below a folder; None where the folder is a recording itself.

    A folder with the files of one recording and nothing else below is that recording, with or
    without a `metadata.yaml`.

    Raises:
        RecordingError: The folder may not be read.
        NotARecordingError: It holds no recording at all.
    """
    found, deeper = recordings_in(folder, is_root=False)
    paths = [recording.path for recording in found]
    while deeper:
        inner = deeper.pop()
        try:
            more, below = recordings_in(inner, is_root=False)
        except RecordingVanishedError:
            continue
        except RecordingError as error:
            failures.append((inner, error))
            continue
        paths += [recording.path for recording in more]
        deeper += below
    if not paths:
        raise NotARecordingError(
            "there is no recording in this folder or below it",
            path=folder,
            hint="a recording is a .mcap, .db3 or .bag file, or a folder of these",
        )
    if len(paths) == 1 and len(found) == 1:
        return None
    return sorted(paths, key=str)
