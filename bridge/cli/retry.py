"""`mosaico-bridge retry` and `forget`: ask the bridge to try recordings again, or to drop them."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli.options import AsJson, ConfigFile, StateFolder
from bridge.cli.terminal import Exit, cell, out, print_json, show, table
from bridge.config import load_settings
from bridge.daemon import Entry, Journal, Request, State
from bridge.daemon import forget as ask_to_forget
from bridge.daemon import resend as ask_to_resend
from bridge.daemon import retry as ask_to_retry
from bridge.errors import UsageError

TARGETS_HELP = "Recordings: names, paths, or numbers as `status` shows them."
NAMES_MAX = 200
# SQLite's numbers end at 2**63; longer ones name nothing.
DIGITS_MAX = 18


def find_entries(journal: Journal, targets: Sequence[str]) -> list[Entry]:
    """Give the recordings that are meant, each once, in the order they were named.

    A target of digits is a number where the journal has one; `./17` is always a path.

    Raises:
        UsageError: The journal knows no such recording.
    """
    found: dict[int, Entry] = {}
    for target in targets:
        entry = _find(journal, target)
        if entry is None:
            raise UsageError(
                f"the journal knows no recording {target}",
                hint="`status` lists numbers and paths; a path must be spelt as the bridge "
                "found it, below watch.folder",
            )
        found[entry.id] = entry
    return list(found.values())


def _called(journal: Journal, name: str) -> list[Entry]:
    """List the recordings whose file or folder has a name, wherever it is."""
    entries, _ = journal.browse(text=name, limit=NAMES_MAX)
    return [entry for entry in entries if entry.path.name == name]


def complete_names(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the names of recordings that the journal knows, for the shell's completion."""
    with suppress(Exception):
        given = ctx.params
        settings = load_settings(given.get("config"), {"state.folder": given.get("state")})
        with Journal.read(settings.state.folder) as journal:
            entries, _ = journal.browse(text=incomplete, limit=NAMES_MAX)
        return [
            (entry.path.name, str(entry.state))
            for entry in entries
            if entry.path.name.startswith(incomplete)
        ]
    return []


def _find(journal: Journal, target: str) -> Entry | None:
    if target.isascii() and target.isdecimal() and len(target) <= DIGITS_MAX:
        entry = journal.get(int(target))
        if entry is not None:
            return entry
    if "/" not in target and (alike := _called(journal, target)):
        if len(alike) > 1:
            raise UsageError(
                f"{len(alike)} recordings are called {target}",
                hint="give the number or the path of the one that you mean; `status --name "
                f"{target}` lists them",
            )
        return alike[0]
    path = Path(target)
    return journal.at(path.absolute()) or journal.at(path.resolve())


# What `--all` means: everything that went wrong, and what waits for its next attempt.
FAILED = frozenset({State.QUARANTINED, State.REJECTED, State.WAITING})
WHOLE = frozenset({State.FINALISED, State.DISPOSED, State.LOST})
UNIDENTIFIED = frozenset({State.QUARANTINED, State.EMPTY})
PATIENCE_S = 15.0
LOOK_S = 0.1
NO_ANSWER = "asked, but the bridge has not answered yet; it will"

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        help=TARGETS_HELP,
        metavar="[PATH|ID]...",
        show_default=False,
        autocompletion=complete_names,
    ),
]


def retry(
    targets: Targets = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that are quarantined, rejected or waiting.")
    ] = False,
    resend: Annotated[
        bool,
        typer.Option(
            "--resend",
            help="Also what the journal has as finished: where the platform has lost it or differs "
            "from it, it is sent again.",
        ),
    ] = False,
    config: ConfigFile = None,
    state: StateFolder = None,
    json: AsJson = False,
) -> int:
    """Put recordings back into the queue, with all attempts.

    A running bridge takes them up at once; where none runs, they are in the queue when it starts.
    Exits with 0 when all are in the queue, 3 when some are not; each line says why.
    """
    folder = load_settings(config, {"state.folder": state}).state.folder
    with Journal.read(folder) as journal:
        entries = _chosen(journal, targets or [], everything=everything)
    refused = {entry.id: reason for entry in entries if (reason := _hindrance(entry, resend))}
    wanted = [entry for entry in entries if entry.id not in refused]
    # What could not even be identified has no place in the queue: it is examined again.
    unknown = [entry for entry in wanted if not entry.fingerprint and entry.state in UNIDENTIFIED]
    queued = [entry.id for entry in wanted if entry not in unknown]
    again = put_and_wait(folder, ask_to_resend if resend else ask_to_retry, queued)
    forgotten = put_and_wait(folder, ask_to_forget, [entry.id for entry in unknown])
    rows = [_row(entry, refused[entry.id], done=False) for entry in entries if entry.id in refused]
    with Journal.read(folder) as journal:
        rows += [
            _row(entry, request.answer or NO_ANSWER, done=_queued_again(journal, request))
            for entry, request in _paired(entries, again)
        ]
        for entry, request in _paired(entries, forgotten):
            gone = journal.get(entry.id) is None
            answer = "it is examined again" if gone else request.answer or NO_ANSWER
            rows.append(_row(entry, answer, done=gone))
    return _report(rows, json=json)


def forget(
    targets: Annotated[
        list[str],
        typer.Argument(help=TARGETS_HELP, metavar="PATH|ID...", autocompletion=complete_names),
    ],
    config: ConfigFile = None,
    state: StateFolder = None,
    json: AsJson = False,
) -> int:
    """Take recordings out of the journal; files and platform are left as they are.

    What is still in the watched folder is found again and handled as new; where the platform has
    the same content, nothing is sent twice. Exits with 0 when all are forgotten, else 3.
    """
    folder = load_settings(config, {"state.folder": state}).state.folder
    with Journal.read(folder) as journal:
        entries = find_entries(journal, targets)
    requests = put_and_wait(folder, ask_to_forget, [entry.id for entry in entries])
    with Journal.read(folder) as journal:
        rows = [
            _row(entry, request.answer or NO_ANSWER, done=journal.get(entry.id) is None)
            for entry, request in _paired(entries, requests)
        ]
    return _report(rows, json=json)


def put_and_wait(
    folder: Path, ask: Callable[[Path, list[int]], list[Request]], entry_ids: list[int]
) -> list[Request]:
    """Leave requests and wait for a running bridge to answer them, for a bounded time.

    Raises:
        JournalError: The journal cannot be used.
    """
    if not entry_ids:
        return []
    requests = ask(folder, entry_ids)
    numbers = {request.id for request in requests}
    give_up_at_s = time.monotonic() + PATIENCE_S
    with Journal.read(folder) as journal:
        while not all(one.answer for one in requests) and time.monotonic() < give_up_at_s:
            time.sleep(LOOK_S)
            requests = [one for one in journal.requests(pending=False) if one.id in numbers]
    return requests


def _chosen(journal: Journal, targets: list[str], *, everything: bool) -> list[Entry]:
    if bool(targets) == everything:
        raise UsageError("name recordings, or give --all")
    return journal.recordings(states=FAILED) if everything else find_entries(journal, targets)


def _hindrance(entry: Entry, resend: bool) -> str:
    """Say why a recording cannot be tried again, without asking the daemon; empty if it can."""
    if entry.state in WHOLE and not resend:
        return "it was sent; --resend sends it again if the platform has lost it"
    if not entry.path.exists():
        return (
            "its files are not where they were; `forget` it, then put them into the folder"
            if entry.state in WHOLE
            else "its files are not where they were; put them back"
        )
    return ""


def _paired(entries: list[Entry], requests: list[Request]) -> list[tuple[Entry, Request]]:
    by_id = {entry.id: entry for entry in entries}
    return [(by_id[request.entry_id], request) for request in requests]


def _queued_again(journal: Journal, request: Request) -> bool:
    """Tell from the story whether the recording came into the queue since it was asked."""
    entry = journal.get(request.entry_id)
    if entry is None or not request.answer:
        return False
    return entry.state is State.READY or any(
        step.after is State.READY and step.at_ns >= request.at_ns
        for step in journal.transitions(entry.id)
    )


def _row(entry: Entry, answer: str, *, done: bool) -> dict[str, Any]:
    return {"id": entry.id, "path": str(entry.path), "done": done, "answer": answer}


def _report(rows: list[dict[str, Any]], *, json: bool) -> Exit:
    if json:
        print_json({"recordings": rows})
    elif not rows:
        out.print("there is nothing to do")
    else:
        made = table([("id", "right"), ("recording", "left"), ("result", "fold")])
        for row in rows:
            style = "green" if row["done"] else "yellow"
            answer = f"[{style}]{cell(row['answer'])}[/]"
            made.add_row(str(row["id"]), cell(row["path"]), answer)
        show(made)
    return Exit.OK if all(row["done"] for row in rows) else Exit.PARTIAL
