"""The command line: the only place where all parts are put together.

What is offered here is loaded on first use: most commands need little of it, `--help` nothing.
"""

import os
import sys
from importlib import import_module

from bridge.cli.commands import help_page
from bridge.version import __version__

# Type checkers take this name for what it is in `typing`, which takes its time to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from bridge.cli.config import annotated_toml, reference_page
    from bridge.cli.demo.drive import write_drive
    from bridge.cli.program import app

__all__ = ["annotated_toml", "app", "main", "reference_page", "write_drive"]

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
    """Run the command line and exit with a code that means something."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(help_page() + "\n")
    elif sys.argv[1:] == ["--version"]:
        sys.stdout.write(__version__ + "\n")
    else:
        # numpy's linear algebra, of which we need none, otherwise starts a thread for each core: a
        # third of the time in which Arrow is loaded. Holds for the processes that we start, too.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import_module("bridge.cli.program").main()
    sys.exit(0)
