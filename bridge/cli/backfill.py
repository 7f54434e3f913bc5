"""`mosaico-bridge backfill`: an archive onto the platform, with an engine that exists."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Self

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from bridge.backfill import (
    ArchivedRecording,
    Away,
    Choice,
    Driver,
    Engine,
    Entry,
    Found,
    Lines,
    Listener,
    Listeners,
    Manifest,
    Outcome,
    Planned,
    Result,
    RunMetrics,
    Summary,
    Watch,
    brief,
    dask_cluster,
    find,
    rehearsed,
    require_scratch,
    require_sound,
    scratch_of,
    shard_of,
    this_machine,
    told_away,
)
from bridge.cli.options import (
    AsJson,
    ConfigFile,
    Embedded,
    Host,
    ServerPort,
    StateFolder,
    bytes_of,
    time_of,
)
from bridge.cli.platform import destination, reached, require_destination
from bridge.cli.terminal import (
    Exit,
    cell,
    err,
    is_interactive,
    one_line,
    out,
    print_json,
    printable,
    show,
    size,
    table,
)
from bridge.compose import config_hash
from bridge.config import Settings, load_settings, secrets
from bridge.daemon import check_permissions, configure_logging
from bridge.errors import CommandLineError, ConfigError, ServerError, Trouble
from bridge.units import counted

REFRESHES_PER_S = 4
BARS_WIDTH = 80
MANIFEST_FILE = "backfill.jsonl"
SHOWN_MAX = 20
"""So many reasons why recordings did not arrive, and files without an owner, are listed."""

EXAMPLES_MAX = 3
"""So many recordings are named for each reason; --json and the manifest have all."""

RESULT_STYLES = {
    Result.SENT: "green",
    Result.HELD: "green",
    Result.EMPTY: "dim",
    Result.PARTIAL: "yellow",
    Result.WAITS: "yellow",
    Result.NOT_TRIED: "yellow",
    Result.FAILED: "red",
}


Urls = Annotated[
    list[str],
    typer.Argument(help="Archives: folders, s3://, gs:// or abfss:// URLs.", metavar="URL..."),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Only recordings whose place below the archive fits; may be given several times.",
        metavar="GLOB",
    ),
]
Since = Annotated[
    str | None, typer.Option(help="Only files written at this time or later.", metavar="TIME")
]
Until = Annotated[str | None, typer.Option(help="Only files written before this.", metavar="TIME")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Recordings in work at a time on this machine.")
]
DaskAddress = Annotated[
    str | None, typer.Option(help="Send by the workers of a Dask cluster.", metavar="ADDRESS")
]
ShardText = Annotated[
    str | None,
    typer.Option(
        help="Only one of N shares, I from 0; N alone where a scheduler says which.",
        metavar="I/N",
    ),
]
Scratch = Annotated[Path | None, typer.Option(help="Folder for copies.", metavar="DIR")]
ScratchMax = Annotated[
    str | None, typer.Option(help="Most that copies may take: 50GB.", metavar="SIZE")
]
MaxUploads = Annotated[
    int | None, typer.Option(min=1, help="Most recordings to send at the same time.")
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest", help="File that keeps what was done; taken up again.", metavar="FILE"
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="End at the first recording that fails.")
]


def backfill(
    urls: Urls,
    config: ConfigFile = None,
    host: Host = None,
    port: ServerPort = None,
    embedded: Embedded = False,
    state: StateFolder = None,
    include: Include = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    shard: ShardText = None,
    scratch: Scratch = None,
    scratch_max: ScratchMax = None,
    max_uploads: MaxUploads = None,
    manifest: ManifestFile = None,
    fail_fast: FailFast = False,
    json: AsJson = False,
) -> int:
    """Put an archive onto the platform, from a folder or a store.

    Goes on where the last run ended; nothing in the archive is changed. Exits with 0 when every
    recording is on the platform whole, 3 when some are there in part or were left for the next
    run, 1 when some failed, 69 or 77 when the platform is away or refuses.
    """
    if dask and (jobs or shard):
        raise CommandLineError("--dask is an engine, and so are --jobs and --shard; give one")
    overrides = {
        "server.host": destination(host, embedded=embedded),
        "server.port": port,
        "state.folder": state,
        "workers.count": jobs,
        "backfill.scratch_folder": scratch,
        "backfill.scratch_bytes_max": None if scratch_max is None else bytes_of(scratch_max),
        "backfill.uploads_max": max_uploads,
    }
    settings = load_settings(config, overrides)
    configure_logging(settings.log.level, settings.log.format, secrets=secrets(settings))
    check_permissions(settings, file=config)
    choice = Choice(
        urls=tuple(urls),
        include=tuple(include or ()),
        since_ns=None if since is None else time_of(since, "--since"),
        until_ns=None if until is None else time_of(until, "--until"),
        shard=None if shard is None else shard_of(shard, os.environ),
    )
    if not dry_run:
        require_destination(settings, embedded=embedded)
    require_sound(choice, settings)
    manifest = manifest or settings.state.folder / MANIFEST_FILE
    known = Manifest(manifest, config_hash=config_hash(settings))
    found = find(choice, settings)
    if dry_run:
        return _rehearse(settings, known, found, embedded=embedded, json=json)
    summary = _run(settings, known, found, dask=dask, fail_fast=fail_fast)
    print_json(summary.as_json() | found.rest_as_json()) if json else _print(summary, found)
    return _exit(summary, found)


def _run(
    settings: Settings, manifest: Manifest, found: Found, *, dask: str | None, fail_fast: bool
) -> Summary:
    """Send what is to be sent, by the engine that was chosen."""
    manifest.require_writable()
    if not dask:
        require_scratch(scratch_of(settings))
    with reached(settings) as at, _stopping() as watch, _listening(settings) as listener:
        driver = Driver(
            settings,
            host=at.host,
            port=at.port,
            manifest=manifest,
            watch=watch,
            listener=listener,
            fail_fast=fail_fast,
        )
        engine = (
            dask_cluster(dask, in_flight_max=settings.backfill.uploads_max)
            if dask
            else this_machine(settings.workers.count, watch)
        )
        with engine as running:
            _announce(found, running)
            return driver.run(found.recordings, running)


@contextmanager
def _stopping() -> Iterator[Watch]:
    """Yield what stops the jobs; SIGTERM stops as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield Watch()
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _listening(settings: Settings) -> Iterator[Listener]:
    """Yield what shows the run: bars on a terminal, lines otherwise, metrics where wanted."""
    with ExitStack() as shown:
        listeners: list[Listener] = []
        if settings.backfill.metrics_port:
            metrics = RunMetrics()
            host, port = settings.http.host, settings.backfill.metrics_port
            shown.enter_context(metrics.served(host, port))
            listeners.append(metrics)
        listeners.append(shown.enter_context(_Bars()) if is_interactive() else Lines(_say, size))
        yield Listeners(listeners)


def _say(line: str) -> None:
    # A name with a line break in it must not pass for a line of ours.
    err.print(one_line(line), markup=False, soft_wrap=True)


class _Bars:
    """A bar of recordings and one of bytes, with rate and time left."""

    def __init__(self) -> None:
        # Where everything would not fit, numbers are worth more than bars.
        bars = (BarColumn(),) if err.width >= BARS_WIDTH else ()
        columns = (TextColumn("{task.description}"), *bars)
        now = TextColumn("{task.fields[now]}")
        self._recordings = Progress(*columns, MofNCompleteColumn(), now, console=err)
        self._bytes = Progress(
            *columns, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=err
        )
        self._count = self._recordings.add_task("recordings", total=None, now="")
        self._size = self._bytes.add_task("bytes", total=None)
        self._done_bytes = 0
        self._note = Text(style="yellow")
        self._live = Live(
            Group(self._recordings, self._bytes, self._note),
            console=err,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, *, recordings: int, size_bytes: int) -> None:
        self._recordings.update(self._count, total=recordings)
        self._bytes.update(self._size, total=size_bytes)
        self._live.start()

    def finished(self, outcome: Outcome, recording: ArchivedRecording) -> None:
        if outcome.result is Result.NOT_TRIED:
            return
        self._recordings.advance(self._count)
        self._done_bytes += recording.size_bytes
        self._bytes.update(self._size, completed=self._done_bytes)
        if outcome.result is Result.FAILED:
            url, reason = cell(outcome.url), cell(brief(outcome.reason))
            err.print(f"[red]failed[/] {url}: {reason}", soft_wrap=True)

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        self._recordings.update(self._count, now=f"{in_work} in work")
        self._bytes.update(self._size, completed=self._done_bytes + read_bytes)

    def looked(self, away: Away | None) -> None:
        self._note.plain = "" if away is None else printable(told_away(away))


def _announce(found: Found, engine: Engine) -> None:
    bytes_ = sum(recording.size_bytes for recording in found.recordings)
    _say(f"{counted(len(found.recordings), 'recording')}, {size(bytes_)}, by {engine.name}")


def _planned(
    settings: Settings, manifest: Manifest, found: Found, *, embedded: bool
) -> tuple[list[Planned], str]:
    """Say what is to be done, and why the platform was not asked; empty where it was."""
    try:
        require_destination(settings, embedded=embedded)
        with reached(settings) as at:
            driver = Driver(settings, host=at.host, port=at.port, manifest=manifest)
            plans, failure = driver.rehearse(found.recordings)
    except (CommandLineError, ServerError) as error:
        return rehearsed(found.recordings, settings, manifest), error.message
    return plans, "" if failure is None else failure.message


def _rehearse(
    settings: Settings, manifest: Manifest, found: Found, *, embedded: bool, json: bool
) -> int:
    """Say what a run would do."""
    plans, unasked = _planned(settings, manifest, found, embedded=embedded)
    rows = [
        (plan.recording, "would be sent", "")
        if plan.settled is None
        else (plan.recording, str(plan.settled.result), plan.settled.reason)
        for plan in plans
    ]
    if json:
        recordings = [
            {
                "recording": recording.url,
                "result": result,
                "reason": reason,
                "size_bytes": recording.size_bytes,
                "files": [file.name for file in recording.files],
            }
            for recording, result, reason in rows
        ]
        asked = {"platform_asked": not unasked, "why_not_asked": unasked}
        print_json({"recordings": recordings, **asked, **found.rest_as_json()})
        return Exit.OK
    made = table([
        ("recording", "fold"), ("files", "right"), ("size", "right"), ("result", "fold"),
    ])  # fmt: skip
    for recording, result, reason in rows:
        why = f": {cell(reason)}" if reason else ""
        files = f"{len(recording.files):,}"
        made.add_row(cell(recording.url), files, size(recording.size_bytes), f"{result}{why}")
    show(made)
    ahead = [recording for recording, result, _ in rows if result == "would be sent"]
    bytes_ = sum(recording.size_bytes for recording in ahead)
    out.print(f"{len(ahead):,} of {len(rows):,} recordings would be sent, {size(bytes_)}")
    if unasked:
        out.print(
            f"[yellow]The platform was not asked[/] ({cell(unasked)}): what it holds is what the "
            "manifest says, and of the rest it may have some",
            soft_wrap=True,
        )
    _print_rest(found)
    return Exit.OK


def _print(summary: Summary, found: Found) -> None:
    """Print what did not arrive whole, together by reason, and the sums by outcome."""
    for entries in summary.alike()[:SHOWN_MAX]:
        _print_alike(entries)
    if len(summary.alike()) > SHOWN_MAX:
        out.print("and more; --json and the manifest have all")
    results = ", ".join(
        f"{summary.counts[result]:,} {result}" for result in Result if summary.counts[result]
    )
    out.print(f"{counted(len(summary.entries), 'recording')}: {results or 'nothing to do'}")
    _print_rest(found)
    if summary.ended_by is not None:
        _say(f"ended early: {summary.ended_by.message}")
        if summary.ended_by.hint:
            _say(f"hint: {summary.ended_by.hint}")
    if summary.interrupted:
        err.print("interrupted; run the same again to go on")


def _print_alike(entries: list[Entry]) -> None:
    """Print recordings that came out alike: the reason once, what helps, and some of them."""
    first = entries[0].outcome
    count = counted(len(entries), "recording")
    bytes_ = size(sum(entry.size_bytes for entry in entries))
    style = RESULT_STYLES[first.result]
    why = f": {cell(brief(first.reason))}" if first.reason else ""
    out.print(f"[{style}]{first.result}[/] {count}, {bytes_}{why}", soft_wrap=True)
    if first.failure is not None and first.failure["hint"]:
        out.print(f"  hint: {cell(first.failure['hint'])}", soft_wrap=True)
    for entry in entries[:EXAMPLES_MAX]:
        out.print(f"  {cell(entry.outcome.url)}", soft_wrap=True)
    if len(entries) > EXAMPLES_MAX:
        out.print(f"  and {len(entries) - EXAMPLES_MAX:,} more; the manifest has all")


def _print_rest(found: Found) -> None:
    """Print what was found beside the recordings that are wanted."""
    if found.passed_over:
        out.print(f"passed over, as not wanted: {counted(found.passed_over, 'recording')}")
    for place, reason in found.unreadable[:SHOWN_MAX]:
        out.print(f"[yellow]unreadable:[/] {cell(place)}: {cell(reason)}", soft_wrap=True)
    if found.others:
        out.print(f"part of no recording: {counted(len(found.others), 'file')}")
        for url in found.others[:SHOWN_MAX]:
            out.print(f"  {cell(url)}", soft_wrap=True)


def _exit(summary: Summary, found: Found) -> Exit:
    counts = summary.counts
    if summary.interrupted:
        return Exit.INTERRUPTED
    if summary.ended_by is not None:
        if summary.ended_by.error == ConfigError.__name__:
            return Exit.BAD_CONFIG
        ends = {
            Trouble.OFFLINE: Exit.SERVER_UNAVAILABLE,
            Trouble.TRANSIENT: Exit.SERVER_UNAVAILABLE,
            Trouble.REFUSED: Exit.REFUSED,
        }
        return ends.get(summary.ended_by.trouble, Exit.FAILED)
    if counts[Result.FAILED]:
        return Exit.FAILED
    rest = counts[Result.PARTIAL] + counts[Result.WAITS] + counts[Result.NOT_TRIED]
    return Exit.PARTIAL if rest or found.unreadable else Exit.OK
