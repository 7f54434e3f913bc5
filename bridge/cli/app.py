"""The commands, in one table, and what they have in common: errors become exit codes."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from bridge.cli.check import check
from bridge.cli.config import config
from bridge.cli.demo import demo
from bridge.cli.exits import Exit, exit_code
from bridge.cli.explain import explain
from bridge.cli.ingest import ingest
from bridge.cli.inspect import inspect
from bridge.cli.install_files import install_files
from bridge.cli.notifications import notifications
from bridge.cli.retry import forget, retry
from bridge.cli.run import once, run
from bridge.cli.serve import serve
from bridge.cli.status import status
from bridge.cli.terminal import err, print_error
from bridge.cli.verify import verify
from bridge.errors import BridgeError
from bridge.version import __version__

COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "once": once,
    "ingest": ingest,
    "inspect": inspect,
    "status": status,
    "explain": explain,
    "retry": retry,
    "forget": forget,
    "verify": verify,
    "check": check,
    "demo": demo,
    "serve": serve,
    "install-files": install_files,
}

app = typer.Typer(
    name="mosaico-bridge",
    help="Puts ROS 2 bags from a data logger onto the Mosaico data platform: typed, verified, "
    "exactly once.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(notifications, name="notifications")
app.add_typer(config, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def main() -> NoReturn:
    """Run the command line and exit with a code that means something."""
    try:
        code = app(standalone_mode=False)
    except BridgeError as error:
        print_error(error)
        sys.exit(exit_code(error))
    except typer.Abort:
        sys.exit(Exit.INTERRUPTED)
    except typer.TyperException as error:
        # Wrong use. Without any command the message is the help, which speaks for itself.
        text = error.format_message()
        hint = "hint: mosaico-bridge COMMAND --help"
        typer.echo(text if "\n" in text else f"error: {text}\n{hint}", err=True)
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FAILED)
    sys.exit(code or Exit.OK)
