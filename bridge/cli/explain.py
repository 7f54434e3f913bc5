"""`mosaico-bridge explain`: why a path is, or is not, taken, and what has become of it so far."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.options import AsJson, ConfigFile, StateFolder, WatchFolder
from bridge.cli.terminal import Exit, cell, clock_time, out, print_json, show, table
from bridge.config import load_settings
from bridge.daemon import NEEDS_ATTENTION, WHOLE_ON_PLATFORM, Explanation
from bridge.daemon import explain as explain_path
from bridge.units import SECOND_NS


def explain(
    path: Annotated[Path, typer.Argument(help="A recording, or anything else.", readable=False)],
    config: ConfigFile = None,
    folder: WatchFolder = None,
    state: StateFolder = None,
    json: AsJson = False,
) -> int:
    """Say which completeness rule a recording meets, what it waits for, and its story so far.

    Exits with 0 when it is on the platform whole, 3 while it waits or when it is there in part,
    65 when it is no recording or needs attention.
    """
    settings = load_settings(config, {"watch.folder": folder, "state.folder": state})
    found = explain_path(path, settings)
    if json:
        print_json(found.as_json())
    else:
        _print(found)
    return _exit(found)


def _exit(found: Explanation) -> Exit:
    if found.entry is None:
        return Exit.BAD_RECORDING if found.verdict is None else Exit.PARTIAL
    if found.entry.state in NEEDS_ATTENTION:
        return Exit.BAD_RECORDING
    return Exit.OK if found.entry.state in WHOLE_ON_PLATFORM else Exit.PARTIAL


def _print(found: Explanation) -> None:
    out.print(f"[bold]{cell(str(found.path))}[/]", soft_wrap=True)
    out.print(cell(found.summary), soft_wrap=True)
    if found.files:
        made = table([("file", "left"), ("end", "left"), ("open for writing by", "left")])
        for file in found.files:
            made.add_row(cell(file.path.name), str(file.end), str(file.writer))
        show(made)
    for note in found.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    if found.entry is None:
        return
    entry = found.entry
    if entry.failure is not None:
        out.print(f"[red]last failure:[/] {cell(entry.failure.message)}", soft_wrap=True)
        if entry.failure.hint:
            out.print(f"[bold]hint:[/] {cell(entry.failure.hint)}", soft_wrap=True)
    made = table([("when", "left"), ("state", "left"), ("why", "fold")])
    for step in found.story:
        made.add_row(clock_time(step.at_ns / SECOND_NS), str(step.after), cell(step.reason))
    out.print(f"story of recording {entry.id}" + _sequence(entry.sequence), soft_wrap=True)
    show(made)


def _sequence(name: str) -> str:
    return f", sequence {cell(name)}" if name else ""
