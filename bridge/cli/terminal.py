"""What all commands share in talking to people: consoles, errors, numbers, tables."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bridge.errors import BridgeError
from bridge.ingest import IngestReport, TopicOutcome

PIPED_WIDTH = 200


def _console(*, stderr: bool) -> Console:
    """Make a console; into a file or a pipe it writes wide lines, which others can cut."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


out = _console(stderr=False)
"""Results, on standard output."""

err = _console(stderr=True)
"""Progress, warnings and errors, on standard error."""

KIBIBYTE = 1024

OUTCOME_STYLES = {
    TopicOutcome.MAPPED: "green",
    TopicOutcome.GENERIC: "cyan",
    TopicOutcome.FILTERED: "dim",
    TopicOutcome.EMPTY: "dim",
    TopicOutcome.SKIPPED: "yellow",
}


def is_interactive() -> bool:
    """Tell whether a person watches standard error."""
    return err.is_terminal


def print_error(error: BridgeError) -> None:
    """Print an error and what to do about it."""
    path = getattr(error, "path", None)
    known = path is None or str(path) in error.message or path.name in error.message
    where = "" if known else f"{path}: "
    err.print(
        Text.assemble(("error: ", "bold red"), printable(where + error.message)), soft_wrap=True
    )
    if error.hint:
        err.print(Text.assemble(("hint: ", "bold"), printable(error.hint)), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, one document."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def printable(text: str) -> str:
    """Make text from outside harmless for a terminal: no control characters, no bad surrogates."""
    readable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1]
        for letter in readable
    )


def cell(text: str) -> str:
    """Make text from outside harmless inside a Rich table."""
    return escape(printable(text))


def size(count_bytes: float) -> str:
    """Give bytes for people: `512 B`, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < KIBIBYTE:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= KIBIBYTE
    return f"{count_bytes:.1f} TiB"


def table(columns: Sequence[tuple[str, str]]) -> Table:
    """Start a table; columns are names and `left` or `right`."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in columns:
        made.add_column(name, justify="right" if justify == "right" else "left")
    return made


def print_report(report: IngestReport) -> None:
    """Print what arrived: one line for each topic, then the sum."""
    out.print(f"{cell(report.recording)} → [bold]{cell(report.sequence)}[/]", soft_wrap=True)
    made = table(
        [
            ("topic", "left"),
            ("type", "left"),
            ("ontology", "left"),
            ("messages", "right"),
            ("skipped", "right"),
            ("size", "right"),
            ("batches", "right"),
            ("outcome", "left"),
        ],
    )
    for topic in report.topics:
        skipped = sum(topic.messages_skipped.values())
        reasons = ", ".join(f"{count} {why}" for why, count in topic.messages_skipped.items())
        why = topic.reason or reasons
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.name),
            cell(topic.msgtype),
            cell(topic.ontology_tag) or "-",
            f"{topic.messages_sent:,}",
            f"{skipped:,}" if skipped else "-",
            size(topic.arrow_bytes),
            str(topic.batches),
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(why)})" if why else ""),
        )
    out.print(made)
    rate = report.messages_sent / report.seconds if report.seconds else 0.0
    out.print(
        f"{report.messages_sent:,} messages, {size(report.recorded_bytes)} recorded, "
        f"{size(sum(topic.arrow_bytes for topic in report.topics))} as Arrow, "
        f"{report.seconds:.2f} s ({rate:,.0f} messages/s), verified: {report.verification}",
        soft_wrap=True,
    )
    for topic in report.topics:
        if topic.messages_leftover:
            out.print(
                f"[yellow]note:[/] {topic.messages_leftover:,} messages of {cell(topic.name)} hold "
                f"more bytes than the definition of {cell(topic.msgtype)} knows",
                soft_wrap=True,
            )
    for note in report.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    for loss in report.losses:
        out.print(
            f"[yellow]lost:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}",
            soft_wrap=True,
        )
