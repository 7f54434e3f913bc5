"""Where the command line begins: what needs no command is answered before anything is imported."""

import sys
from importlib import import_module

from bridge.cli.commands import help_page
from bridge.version import __version__


def main() -> None:
    """Run the command line and exit with a code that means something."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(help_page() + "\n")
    elif sys.argv[1:] == ["--version"]:
        sys.stdout.write(__version__ + "\n")
    else:
        import_module("bridge.cli.program").main()
    sys.exit(0)
