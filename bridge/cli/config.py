"""`mosaico-bridge config`: what is set, what can be set, and what it means."""

import sys

import typer

from bridge.cli.config_text import annotated_toml, reference_page
from bridge.cli.exits import Exit
from bridge.cli.options import ConfigFile
from bridge.cli.terminal import print_json
from bridge.config import Settings, load_settings

config = typer.Typer(
    help="Show the settings in force, or everything that can be set.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@config.command("show")
def show(file: ConfigFile = None) -> int:
    """Print the settings in force, from file and environment, as JSON; secrets as stars."""
    print_json(load_settings(file).model_dump(mode="json"))
    return Exit.OK


@config.command("default")
def default() -> int:
    """Print an annotated settings file with every setting at its default."""
    sys.stdout.write(annotated_toml())
    return Exit.OK


@config.command("schema")
def schema() -> int:
    """Print the JSON schema of the settings file, for editors."""
    print_json(Settings.model_json_schema())
    return Exit.OK


@config.command("reference")
def reference() -> int:
    """Print the reference page of all settings, as Markdown."""
    sys.stdout.write(reference_page())
    return Exit.OK
