"""`mosaico-bridge status`: how things stand, from the running daemon or from the journal."""

import json as json_text
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.cli.options import AsJson, ConfigFile, HttpPort, StateFolder
from bridge.cli.running import ask_daemon, daemon_runs
from bridge.cli.terminal import Exit, cell, out, print_json, printable, size, table
from bridge.config import Settings, load_settings
from bridge.daemon import PARTS, Journal, Level, State, recording_view
from bridge.version import __version__

LIST_LENGTH = 20
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
    json: AsJson = False,
) -> int:
    """Show what the bridge is doing, what waits and why, and what has arrived.

    Asks the running bridge on its HTTP port; where none answers, reads the journal. Exits with 0
    when a bridge runs and gets on, 3 when something needs attention or the platform is away, 1 when
    the bridge is down or does not run.
    """
    settings = load_settings(config, {"state.folder": state, "http.port": http_port})
    if watch:
        return _watch(settings, every_s=every_s, json=json)
    seen = look(settings)
    if json:
        print_json(seen)
    else:
        out.print(_shown(seen))
    return _exit(seen)


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
            "version": answer["version"],
            "now": answer["now"],
            "verdict": answer["verdict"],
            "counts": daemon["counts"],
            "server": daemon["server"],
            "embedded": daemon["embedded"],
            "gate": daemon["gate"],
            "watch": daemon["watch"],
            "folders": daemon["folders"],
            "uplink": daemon["uplink"],
            "checks": answer["checks"],
            "workers": answer["workers"],
            "recordings": answer["recordings"],
        }
    with Journal.read(settings.state.folder) as journal:
        counts = journal.counts()
        lists = {
            name: [
                recording_view(entry)
                for entry in journal.recordings(states=states, limit=LIST_LENGTH)
            ]
            for name, states in (PARTS | {"in_work": {State.SENDING, State.VERIFIED}}).items()
        }
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
    left += sum(counts.get(state, 0) for state in (State.SENDING, State.VERIFIED))
    recordings = f"{left:,} recording" + ("" if left == 1 else "s")
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
                out.print(_shown(seen))
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
    if uplink := _uplink(seen.get("uplink") or {}):
        parts.append(Text(uplink))
    sections = {
        "In work": _in_work(seen.get("workers") or lists.get("in_work") or []),
        "Needs attention": _needs_attention(lists["needs_attention"]),
        "Waiting": _waiting(lists["waiting"], seen["now"]),
        "Last finished": _recent(lists["recent"]),
    }
    for title, made in sections.items():
        if made.row_count:
            parts += ["", Text(title, style="bold underline"), made]
    return Group(*parts)


def _source(seen: dict[str, Any]) -> str:
    if seen["source"] == "journal":
        known = {True: "a bridge runs", False: "no bridge runs", None: "whether a bridge runs: ?"}
        return f"from the journal; {known[seen['running']]}"
    where = "the embedded server" if seen["embedded"] else "the platform"
    folders = ", ".join(str(one["folder"]) for one in seen["folders"] or [seen["watch"]])
    return (
        f"from the running bridge; watching {printable(folders)}, sending to {where} at "
        f"{seen['server']}"
    )


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
    columns = [("id", "right"), ("recording", "left"), ("sequence", "left"), ("read", "right"),
               ("messages", "right")]  # fmt: skip
    made = table(columns)
    for worker in workers:
        total, read = worker.get("recorded_bytes"), worker.get("recorded_bytes_read", 0)
        share = f"{100 * read / total:.0f} % of {size(total)}" if total else "-"
        made.add_row(
            str(worker["id"]),
            cell(worker["path"]),
            cell(worker["sequence"]) or "-",
            share,
            f"{worker['messages_sent']:,}",
        )
    return made


def _needs_attention(recordings: list[dict[str, Any]]) -> Table:
    columns = [("id", "right"), ("state", "left"), ("recording", "left"), ("why", "left")]
    made = table(columns)
    for one in recordings:
        hint = (one.get("failure") or {}).get("hint", "")
        why = f"{one['reason']} ({hint})" if hint else one["reason"]
        made.add_row(str(one["id"]), f"[red]{one['state']}[/]", cell(one["path"]), cell(why))
    return made


def _waiting(recordings: list[dict[str, Any]], now_s: float) -> Table:
    columns = [("id", "right"), ("state", "left"), ("recording", "left"), ("why", "left"),
               ("next attempt", "left")]  # fmt: skip
    made = table(columns)
    for one in recordings:
        due_at = one["due_at"]
        when = "-" if due_at is None else f"in {duration(max(0.0, due_at - now_s))}"
        made.add_row(str(one["id"]), one["state"], cell(one["path"]), cell(one["reason"]), when)
    return made


def _recent(recordings: list[dict[str, Any]]) -> Table:
    columns = [("id", "right"), ("state", "left"), ("recording", "left"), ("sequence", "left"),
               ("messages", "right"), ("verified", "left"), ("when", "left")]  # fmt: skip
    made = table(columns)
    for one in recordings:
        made.add_row(
            str(one["id"]),
            one["state"],
            cell(one["path"]),
            cell(one["sequence"]) or "-",
            f"{one['messages_sent']:,}",
            one["verification"] or "-",
            clock_time(one["changed_at"]),
        )
    return made


def duration(seconds: float) -> str:
    """Give a duration for people: `12 s`, `3 min`, `2.5 h`."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < HOUR_S else f"{seconds / HOUR_S:.1f} h"


def clock_time(unix_s: float) -> str:
    """Give a time of day for people, in the machine's time zone."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
