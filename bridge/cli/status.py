"""`mosaico-bridge status`: how things stand, from the running daemon or from the journal."""

import json as json_text
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.cli.options import AsJson, ConfigFile, HttpPort, StateFolder, source
from bridge.cli.running import ask_daemon, ask_recordings, daemon_runs
from bridge.cli.terminal import (
    Exit,
    cell,
    clock_time,
    err,
    has_room,
    out,
    print_json,
    printable,
    show,
    size,
    table,
)
from bridge.config import Settings, load_settings
from bridge.daemon import (
    IN_WORK,
    PARTS,
    WHOLE_ON_PLATFORM,
    Entry,
    Journal,
    Level,
    State,
    part_lists,
    recording_view,
)
from bridge.errors import CommandLineError
from bridge.units import counted
from bridge.version import __version__

LIST_LENGTH = 20
PAGE_SIZE = 50
QUEUE = "queue"
# Why what the journal has as ready or in work waits, where nobody works.
HELD, NOT_RUNNING = IN_WORK | {State.READY}, "the bridge does not run"
MINUTE_S, HOUR_S = 60, 3600

LEVEL_STYLES = {
    Level.FINE: "bold green",
    Level.BUSY: "bold cyan",
    Level.WAITING: "bold yellow",
    Level.ATTENTION: "bold yellow",
    Level.DOWN: "bold red",
}
EXITS = {Level.ATTENTION: Exit.PARTIAL, Level.DOWN: Exit.FAILED}


def status(
    config: ConfigFile = None,
    state: StateFolder = None,
    http_port: HttpPort = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")
    ] = False,
    every_s: Annotated[
        float, typer.Option("--every", help="Seconds between looks.", min=0.1, metavar="SECONDS")
    ] = 1.0,
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Only recordings with this in name, path or sequence.", metavar="TEXT"
        ),
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Only recordings in this state, or `queue` for all that wait, in the order in "
            "which they will go; may be given several times.",
            metavar="STATE",
        ),
    ] = None,
    page: Annotated[
        int, typer.Option("--page", help="Which page of recordings to list.", min=1)
    ] = 1,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say which settings file was read, too.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Show what the bridge is doing, what waits and why, and what has arrived.

    Asks the running bridge on its HTTP port; where none answers, reads the journal. With --name,
    --only or --page it lists recordings, page by page, instead of the start of each list. Exits
    with 0 when a bridge runs and gets on, 3 when something needs attention or the platform is away,
    1 when the bridge is down or does not run.
    """
    settings = load_settings(config, {"state.folder": state, "http.port": http_port})
    if verbose:
        err.print(source(config, settings), markup=False, soft_wrap=True)
    if name or only or page > 1:
        return _list(settings, text=name, only=only or [], page=page, json=json)
    if watch:
        return _watch(settings, every_s=every_s, json=json)
    seen = look(settings)
    if json:
        print_json(seen)
    else:
        show(_shown(seen))
    return _exit(seen)


def _list(settings: Settings, *, text: str, only: list[str], page: int, json: bool) -> Exit:
    """Show one page of the recordings that were asked for."""
    queue = QUEUE in only
    try:
        states = {State(word) for word in only if word != QUEUE}
    except ValueError as error:
        known = ", ".join([QUEUE, *State])
        raise CommandLineError(f"--only: {error}", hint=f"states are: {known}") from None
    states |= PARTS["waiting"] if queue else set()
    offset = (page - 1) * PAGE_SIZE
    found = ask_recordings(
        settings, states=states, text=text, queue=queue, limit=PAGE_SIZE, offset=offset
    )
    if found is None:
        with Journal.read(settings.state.folder) as journal:
            entries, total = journal.browse(
                states=states or None,
                text=text,
                queue_at_ns=time.time_ns() if queue else None,
                limit=PAGE_SIZE,
                offset=offset,
            )
        after = offset + len(entries)
        found = {
            "recordings": _views(entries, settings),
            "total": total,
            "next_offset": after if entries and after < total else None,
        }
    if json:
        print_json(found)
        return Exit.OK
    pages = max(1, -(-found["total"] // PAGE_SIZE))
    show(_recordings(found["recordings"]))
    out.print(f"page {page:,} of {pages:,}, {counted(found['total'], 'recording')}")
    return Exit.OK


def _views(entries: Sequence[Entry], settings: Settings) -> list[dict[str, Any]]:
    """Show recordings of the journal as the running bridge would, with the names of its folders."""
    watched = {name: folder.path.absolute() for name, folder in settings.folders.items()}
    folders = watched if len(watched) > 1 else {}
    return [
        recording_view(one, why=NOT_RUNNING if one.state in HELD else "", folders=folders)
        for one in entries
    ]


def _folder_column(recordings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Give the column for the folder, where several are watched."""
    return [("folder", "left")] if any(one["folder"] for one in recordings) else []


def _folder_cell(one: dict[str, Any], made: Table) -> list[str]:
    has_column = any(column.header == "folder" for column in made.columns)
    return [cell(one["folder"])] if has_column else []


def _recordings(recordings: list[dict[str, Any]]) -> Table:
    columns = [("id", "right"), ("state", "left"), *_folder_column(recordings),
               ("recording", "left"), ("size", "right"), ("since", "left"),
               ("why", "fold")]  # fmt: skip
    made = table(columns)
    for one in recordings:
        made.add_row(
            str(one["id"]),
            one["state"],
            *_folder_cell(one, made),
            cell(_named(one["path"])),
            size(one["size_bytes"]),
            clock_time(one["changed_at"]),
            cell(_why(one)),
        )
    return made


def _why(one: dict[str, Any]) -> str:
    """Say why it waits now, else how it came to its state, with what to do where that is known."""
    hint = (one.get("failure") or {}).get("hint", "")
    why = one.get("why") or one["reason"]
    return f"{why} ({hint})" if hint and one["state"] in PARTS["needs_attention"] else why


def look(settings: Settings) -> dict[str, Any]:
    """Gather how things stand, in the shape that `--json` prints.

    Raises:
        JournalError: Nobody answers and there is no journal that can be read.
    """
    answer = ask_daemon(settings)
    if answer is not None:
        daemon = answer["daemon"]
        return {
            "running": True,
            "source": "daemon",
            **{key: answer[key] for key in ("version", "now", "verdict", "platform")},
            **{key: daemon[key] for key in ("counts", "server", "embedded", "gate")},
            **{key: daemon[key] for key in ("watch", "folders", "uplink")},
            **{key: answer[key] for key in ("checks", "workers", "others", "recordings")},
        }
    with Journal.read(settings.state.folder) as journal:
        counts = journal.counts()
        entries = part_lists(journal, now_ns=time.time_ns()) | {
            "in_work": journal.recordings(states=IN_WORK, limit=LIST_LENGTH)
        }
        lists = {name: _views(found, settings) for name, found in entries.items()}
    running = daemon_runs(settings.state.folder)
    return {
        "running": running,
        "source": "journal",
        "version": __version__,
        "now": time.time(),
        "verdict": _verdict(settings, running, counts),
        "counts": counts,
        "recordings": lists,
    }


def _verdict(settings: Settings, running: bool | None, counts: dict[str, int]) -> dict[str, str]:
    """Say how things are where only the journal can be asked."""
    left = sum(counts.get(state, 0) for state in PARTS["waiting"])
    left += sum(counts.get(state, 0) for state in IN_WORK)
    recordings = counted(left, "recording")
    if running:
        port = settings.http.port or "a port of its own choice"
        return {
            "level": Level.WAITING,
            "headline": "Running",
            "detail": f"A bridge runs but cannot be asked: it does not answer on port {port}.",
            "hint": "give its port with --http-port to see what it is doing",
        }
    return {
        "level": Level.DOWN,
        "headline": "Not running" if running is False else "Not known to run",
        "detail": f"{recordings} will be taken up when the bridge is started."
        if left
        else "Nothing waits for it.",
        "hint": "start it with `mosaico-bridge run` or `systemctl start mosaico-bridge`",
    }


def _exit(seen: dict[str, Any]) -> Exit:
    return EXITS.get(Level(seen["verdict"]["level"]), Exit.OK)


def _watch(settings: Settings, *, every_s: float, json: bool) -> int:
    """Show it again and again: in place on a terminal, else a new block at each change."""
    try:
        if out.is_terminal and not json:
            with Live(_shown(look(settings)), console=out, auto_refresh=False) as live:
                while True:
                    time.sleep(every_s)
                    live.update(_shown(look(settings)), refresh=True)
        for seen in _changes(settings, every_s):
            if json:
                sys.stdout.write(json_text.dumps(seen, default=str) + "\n")
                sys.stdout.flush()
            else:
                show(_shown(seen))
                out.print()
    except KeyboardInterrupt:
        return Exit.OK
    return Exit.OK


def _changes(settings: Settings, every_s: float) -> Iterator[dict[str, Any]]:
    before: Any = None
    while True:
        seen = look(settings)
        facts = (seen["verdict"], seen["counts"], seen.get("workers"), seen["recordings"])
        if facts != before:
            yield seen
        before = facts
        time.sleep(every_s)


# -- showing -------------------------------------------------------------------------------------


def _shown(seen: dict[str, Any]) -> RenderableType:
    verdict, lists = seen["verdict"], seen["recordings"]
    parts: list[RenderableType] = [
        Text.assemble(
            (verdict["headline"], LEVEL_STYLES[Level(verdict["level"])]),
            "  ",
            printable(verdict["detail"]),
        )
    ]
    if verdict.get("hint"):
        parts.append(Text.assemble(("hint: ", "bold"), printable(verdict["hint"])))
    parts.append(Text(_source(seen), style="dim"))
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(seen["counts"].items()))
    parts.append(Text(counts or "no recordings yet"))
    if others := seen.get("others", {}).get("count"):
        names = ", ".join(_named(name) for name in seen["others"]["names"])
        noun = "file in the folder is" if others == 1 else "files in the folder are"
        parts.append(Text(f"{others:,} {noun} no recording: {printable(names)}"))
    if uplink := _uplink(seen.get("uplink") or {}):
        parts.append(Text(uplink))
    sections = {
        "In work": (_in_work(seen.get("workers") or lists.get("in_work") or []), ""),
        "Needs attention": (_needs_attention(lists["needs_attention"]), "needs_attention"),
        "Waiting": (_waiting(lists["waiting"], seen["now"]), "waiting"),
        "Last finished": (_recent(lists["recent"]), "recent"),
    }
    for title, (made, only) in sections.items():
        if not made.row_count:
            continue
        parts += ["", Text(title, style="bold underline"), made]
        total = sum(seen["counts"].get(state, 0) for state in PARTS.get(only, ()))
        if total > made.row_count:
            words = "--only queue" if only == "waiting" else _only(only)
            more = f"{total - made.row_count:,} more: mosaico-bridge status {words}"
            parts.append(Text(more, style="dim"))
    return Group(*parts)


def _only(part: str) -> str:
    return " ".join(f"--only {state}" for state in sorted(PARTS[part]))


def _source(seen: dict[str, Any]) -> str:
    if seen["source"] == "journal":
        known = {True: "a bridge runs", False: "no bridge runs", None: "whether a bridge runs: ?"}
        return f"from the journal; {known[seen['running']]}"
    where = "the embedded server" if seen["embedded"] else "the platform"
    folders = ", ".join(str(one["folder"]) for one in seen["folders"] or [seen["watch"]])
    return (
        f"from the running bridge; watching {printable(folders)}, sending to {where} at "
        f"{seen['server']}{_spoken(seen['platform'])}"
    )


def _spoken(platform: dict[str, str] | None) -> str:
    """Say which revision the platform speaks, and what to know of it."""
    if platform is None:
        return ""
    version = f", version {platform['version']}" if platform["version"] else ""
    reservation = f"; {platform['reservation']}" if platform["reservation"] else ""
    return printable(f" ({platform['revision']}{version}{reservation})")


def _uplink(uplink: dict[str, Any]) -> str:
    """Say how much may be sent, where that is limited."""
    parts = [uplink["reason"]] if uplink.get("reason") else []
    if uplink.get("bytes_per_second_max"):
        parts.append(f"at most {size(uplink['bytes_per_second_max'])}/s")
    parts += [
        f"{size(budget['left_bytes'])} of {size(budget['most_bytes'])} left this {budget['period']}"
        for budget in uplink.get("budgets", ())
    ]
    return "uplink: " + ", ".join(parts) if parts else ""


def _in_work(workers: list[dict[str, Any]]) -> Table:
    columns = [("id", "right"), *_folder_column(workers), ("recording", "left"),
               ("sequence", "left"), ("read", "left"), ("messages", "right")]  # fmt: skip
    made = table(columns)
    for worker in workers:
        total, read = worker.get("recorded_bytes"), worker.get("recorded_bytes_read", 0)
        share = f"{100 * min(1.0, read / total):.0f} % of {size(total)}" if total else "-"
        made.add_row(
            str(worker["id"]),
            *_folder_cell(worker, made),
            cell(_named(worker["path"])),
            cell(worker["sequence"]) or "-",
            share,
            f"{worker['messages_sent']:,}",
        )
    return made


def _needs_attention(recordings: list[dict[str, Any]]) -> Table:
    made = table([("id", "right"), ("state", "left"), *_folder_column(recordings),
                  ("recording", "left"), ("why", "fold")])  # fmt: skip
    for one in recordings:
        why = cell(_why(one))
        where = (*_folder_cell(one, made), cell(_named(one["path"])))
        made.add_row(str(one["id"]), f"[red]{one['state']}[/]", *where, why)
    return made


def _waiting(recordings: list[dict[str, Any]], now_s: float) -> Table:
    columns = [("id", "right"), ("state", "left"), *_folder_column(recordings),
               ("recording", "left"), ("why", "fold"), ("next try", "left")]  # fmt: skip
    made = table(columns)
    for one in recordings:
        due_at = one["due_at"]
        when = "-" if due_at is None else f"in {duration(max(0.0, due_at - now_s))}"
        where = (*_folder_cell(one, made), cell(_named(one["path"])))
        made.add_row(str(one["id"]), one["state"], *where, cell(_why(one)), when)
    return made


def _recent(recordings: list[dict[str, Any]]) -> Table:
    roomy = has_room()
    made = table([
        ("id", "right"), ("state", "left"), *_folder_column(recordings), ("recording", "left"),
        *([("sequence", "left")] if roomy else []),
        *([("messages", "right"), ("verified", "left")] if roomy else []), ("when", "left"),
        ("why", "fold"),
    ])  # fmt: skip
    for one in recordings:
        # Of what arrived whole the other columns say everything.
        why = "" if one["state"] in WHOLE_ON_PLATFORM else one["reason"]
        made.add_row(
            str(one["id"]),
            one["state"],
            *_folder_cell(one, made),
            cell(_named(one["path"])),
            *([cell(one["sequence"]) or "-"] if roomy else []),
            *([f"{one['messages_sent']:,}", one["verification"] or "-"] if roomy else []),
            clock_time(one["changed_at"]),
            cell(why),
        )
    return made


def _named(path: str) -> str:
    """Give the path, or where a narrow terminal has no room for it its last part."""
    return path if has_room() else path.rstrip("/").rpartition("/")[2]


def duration(seconds: float) -> str:
    """Give a duration for people: `12 s`, `3 min`, `2.5 h`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < HOUR_S else f"{seconds / HOUR_S:.1f} h"
