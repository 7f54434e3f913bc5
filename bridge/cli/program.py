"""The commands as one program: each is imported when it is used, and errors become exit codes."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NoReturn

# First: it spares what pydantic would load, which typer uses, too.
import bridge.config  # isort: skip # noqa: F401

import typer
import typer.core
import typer.main

from bridge.cli.commands import COMMANDS, UNWRITABLE, help_page
from bridge.cli.terminal import Exit, err, exit_code, print_error, print_json
from bridge.errors import BridgeError, UsageError
from bridge.version import __version__

LOOKS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class CommandsOnDemand(Mapping[str, Any]):
    """The table of commands as typer wants it; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(**LOOKS)
            alone.command(name)(found)
            found = alone
        return typer.main.get_command(found)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Program(typer.core.TyperGroup):
    """Lists commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": {}})
        self.commands = CommandsOnDemand()  # type: ignore[assignment] # nobody adds to it

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the names of all commands."""
        del ctx
        return list(COMMANDS)

    def get_help(self, ctx: Any) -> str:
        """Give the page that is shown without importing anything, too."""
        del ctx
        return help_page()

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer the commands with this beginning, from the table; options come from typer."""
        offered = [
            typer.core.CompletionItem(name, help=summary)  # type: ignore[attr-defined]
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return offered + super(typer.core.TyperGroup, self).shell_complete(ctx, incomplete)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


app = typer.Typer(cls=Program, no_args_is_help=True, **LOOKS | {"add_completion": True})


@app.callback()
def _shared(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def _wants_json() -> bool:
    """Tell whether the command line asks for JSON; then errors are JSON, too."""
    words = sys.argv[1:]
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def main() -> NoReturn:
    """Run the command, and say what went wrong.

    Raises:
        OSError: Output cannot be written, or no file can.
    """
    try:
        code = app(standalone_mode=False)
    except BridgeError as error:
        if _wants_json():
            print_json(error.facts())
        print_error(error)
        sys.exit(exit_code(error))
    except typer.Abort:
        sys.exit(Exit.INTERRUPTED)
    except typer.TyperException as error:
        # Wrong use. Without any command the message is the help, which speaks for itself.
        text = error.format_message()
        if _wants_json():
            print_json({"error": UsageError.__name__, "message": text, "hint": ""})
        # Some of its errors know the command that they are about.
        told = getattr(error, "ctx", None)
        hint = f"hint: {told.command_path if told else 'mosaico-bridge'} --help"
        typer.echo(text if "\n" in text else f"error: {text}\n{hint}", err=True)
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        # A bug, which its code tells from everything that an operator can mend.
        traceback.print_exc()
        if _wants_json():
            print_json({"error": type(error).__name__, "message": str(error), "hint": ""})
        err.print("hint: this is a bug of mosaico-bridge; please report it with the lines above")
        sys.exit(Exit.INTERNAL)
    sys.exit(code or Exit.OK)
