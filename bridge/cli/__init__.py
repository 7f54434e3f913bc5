"""The command line: the only place where all parts are put together.

What is offered here is loaded on first use: most commands need little of it, `--help` nothing.
"""

import errno
import gc
import os
import sys
from contextlib import suppress
from importlib import import_module

from bridge.cli.commands import UNWRITABLE, help_page
from bridge.version import __version__

# Type checkers take this name for what it is in `typing`, which takes its time to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.cli.config import annotated_toml, reference_page
    from bridge.cli.demo.drive import write_drive
    from bridge.cli.program import app

__all__ = ["annotated_toml", "app", "main", "reference_page", "write_drive"]

GC_THRESHOLD = 10_000
"""So many new objects before Python looks for garbage among them, instead of 700."""

_HOMES = {
    "annotated_toml": "bridge.cli.config",
    "app": "bridge.cli.program",
    "reference_page": "bridge.cli.config",
    "write_drive": "bridge.cli.demo.drive",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def main() -> None:
    """Run the command line and exit with a code that means something, wherever output goes."""
    _open_closed_streams()
    try:
        try:
            _answer()
        finally:
            # Here, and not when Python has ended, where nobody could say anything.
            sys.stdout.flush()
            # Nor is all that was loaded searched for garbage once more, which takes 0.04 s.
            gc.freeze()
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # The reader of our output may just have gone away, as `head` does.
        if error.errno != errno.EPIPE:
            with suppress(OSError):
                sys.stderr.write(f"error: nothing more can be written: {error.strerror}\n")
                sys.stderr.write("hint: free some space where output or state folder are\n")
        sys.exit(1)
    sys.exit(0)


def _answer() -> None:
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(help_page() + "\n")
    elif sys.argv[1:] == ["--version"]:
        sys.stdout.write(__version__ + "\n")
    else:
        # numpy's linear algebra, of which we need none, otherwise starts a thread for each core: a
        # third of the time in which Arrow is loaded. Holds for the processes that we start, too.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # Nor does our reading of settings need what others add to pydantic: it would look through
        # every installed package for it.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # gRPC writes to standard error what it raises, too, past the log and its format.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        # What starting makes is no garbage; to search it again and again takes a twentieth of it.
        gc.set_threshold(GC_THRESHOLD)
        import_module("bridge.cli.program").main()


def _open_closed_streams() -> None:
    """Give a process that was started without standard streams (`>&-`) ones that lead nowhere.

    Else the next file or connection that is opened would be taken for one of them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is the one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - likewise
