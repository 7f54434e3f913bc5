"""What all commands answer with: exit codes, consoles, errors, numbers, tables."""

import io
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bridge.errors import (
    BridgeError,
    CommandLineError,
    ConfigError,
    RecordingError,
    ServerError,
    Trouble,
)


class Exit(IntEnum):
    """The exit codes of all commands; from 64 on as in sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    BAD_RECORDING = 65
    SERVER_UNAVAILABLE = 69
    INTERNAL = 70
    REFUSED = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130


def exit_code(error: BridgeError) -> Exit:
    """Give the exit code of an error."""
    if isinstance(error, CommandLineError):
        return Exit.USAGE
    if isinstance(error, ConfigError):
        return Exit.BAD_CONFIG
    if isinstance(error, RecordingError):
        return Exit.BAD_RECORDING
    if isinstance(error, ServerError):
        refused = error.trouble in {Trouble.REFUSED, Trouble.REJECTED}
        return Exit.REFUSED if refused else Exit.SERVER_UNAVAILABLE
    return Exit.FAILED


# In a file or a pipe a row is one line, however long; others can cut it.
PIPED_WIDTH = 1_000_000


def _console(*, stderr: bool) -> Console:
    """Make a console; into a file or a pipe it wraps nothing, and no character stops it."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
        # Texts and names of files hold what other sets of characters lack.
        stream.reconfigure(errors="replace")
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


out = _console(stderr=False)
"""Results, on standard output."""

err = _console(stderr=True)
"""Progress, warnings and errors, on standard error."""

KILOBYTE = 1000
# Blanks between two columns of a table.
COLUMN_GAP = 2
# Length of a date with its time; and what is left of a name at least.
DATE_WIDTH, NAME_WIDTH_MIN = 19, 12
ROOMY_WIDTH = 110


def is_interactive() -> bool:
    """Tell whether a person watches standard error."""
    return err.is_terminal


def print_error(error: BridgeError) -> None:
    """Print an error and what to do about it."""
    err.print(_error_line(error), soft_wrap=True)
    _print_hint(error)


def _error_line(error: BridgeError) -> Text:
    path = getattr(error, "path", None)
    known = path is None or str(path) in error.message or path.name in error.message
    where = f"{path.absolute()}: " if path is not None and not known else ""
    return Text.assemble(("error: ", "bold red"), printable(where + error.message))


def _print_hint(error: BridgeError) -> None:
    if error.hint:
        err.print(Text.assemble(("hint: ", "bold"), printable(error.hint)), soft_wrap=True)


def print_errors(errors: Sequence[BridgeError]) -> None:
    """Print errors of the same kind together, with their hint once."""
    by_hint: dict[tuple[str, str], list[BridgeError]] = {}
    for error in errors:
        by_hint.setdefault((type(error).__name__, error.hint), []).append(error)
    for alike in by_hint.values():
        for error in alike:
            err.print(_error_line(error), soft_wrap=True)
        _print_hint(alike[0])


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


def one_line(text: str) -> str:
    """Make text from outside harmless, and a line break in it no line of its own."""
    return printable(text).replace("\n", "\\n")


def cell(text: str) -> str:
    """Make text from outside harmless inside a Rich table, and one line."""
    return escape(one_line(text))


def size(count_bytes: float) -> str:
    """Give bytes for people, in powers of 1000 as the status page does: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < KILOBYTE:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= KILOBYTE
    return f"{count_bytes:.1f} TB"


class FittedTable(Table):
    """A table that takes what it lacks from its long columns; numbers, dates, states stay whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give each column its width, and draw."""

        def width(text: RenderableType) -> int:
            return Measurement.get(console, options, text).maximum

        natural = [max(map(width, (each.header, *each.cells))) for each in self.columns]
        room = options.max_width - COLUMN_GAP * (len(natural) - 1)
        for column, share in zip(self.columns, shared_out(natural, room), strict=True):
            column.width = share
        yield from super().__rich_console__(console, options)


def shared_out(natural: Sequence[int], room: int) -> list[int]:
    """Share the width of a terminal among columns.

    Args:
        natural: What each would take.
        room: What there is.

    Returns:
        A width for each: the longest are cut down until all fit. What is no longer than a date is
        spared for as long as that helps.
    """
    widths = list(natural)
    for spared in (DATE_WIDTH, 1):
        cut = [index for index, width in enumerate(natural) if width > spared]
        least = NAME_WIDTH_MIN if spared == DATE_WIDTH else 1
        while sum(widths) > room and any(widths[index] > least for index in cut):
            widths[max(cut, key=lambda index: widths[index])] -= 1
    return widths


def table(columns: Sequence[tuple[str, str]]) -> Table:
    """Start a table.

    Args:
        columns: Names, each with `left`, `right`, or `fold` for text that may take several lines
            where the terminal is narrow; of the others the longest are cut instead.
    """
    made = FittedTable(box=None, pad_edge=False, header_style="bold")
    for name, kind in columns:
        folds = kind == "fold"
        made.add_column(
            name,
            justify="right" if kind == "right" else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    return made


def line_break() -> str:
    """Give what separates lines of one cell: in a pipe a row stays one line."""
    return "\n" if out.is_terminal else "; "


def has_room() -> bool:
    """Tell whether a table of standard output has room for columns that one could do without."""
    return out.width >= ROOMY_WIDTH


def show(what: RenderableType) -> None:
    """Print tables and text on standard output; in a file or a pipe without trailing blanks."""
    if out.is_terminal:
        out.print(what)
        return
    with out.capture() as captured:
        out.print(what)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def clock_time(unix_s: float) -> str:
    """Give a time of day for people, in the machine's time zone."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
