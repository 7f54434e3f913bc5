"""What all commands answer with: exit codes, consoles, errors, numbers, tables."""

import json
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bridge.errors import BridgeError, ConfigError, RecordingError, ServerError, Trouble


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
    if isinstance(error, ConfigError):
        return Exit.BAD_CONFIG
    if isinstance(error, RecordingError):
        return Exit.BAD_RECORDING
    if isinstance(error, ServerError):
        refused = error.trouble in {Trouble.REFUSED, Trouble.REJECTED}
        return Exit.REFUSED if refused else Exit.SERVER_UNAVAILABLE
    return Exit.FAILED


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
