"""`mosaico-bridge config`: what is set, what can be set, and what it means.

The annotated file and the reference page come from the fields in `bridge.config`, so they cannot
say anything else than the code does.
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.cli.options import ConfigFile, source
from bridge.cli.terminal import Exit, err, print_json
from bridge.config import (
    ENVIRONMENT_PREFIX,
    ExpectSettings,
    FolderSettings,
    Settings,
    TopicSettings,
    load_settings,
)

config = typer.Typer(
    help="Show the settings in force, or everything that can be set.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@config.command("show")
def show(file: ConfigFile = None) -> int:
    """Print the settings in force, from file and environment, as JSON; secrets as stars.

    Which file was read goes to standard error.
    """
    settings = load_settings(file)
    err.print(source(file, settings), markup=False, soft_wrap=True)
    print_json(settings.model_dump(mode="json"))
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


LINE_LENGTH = 98

_PREFACE = """\
# Configuration

Sources, weakest first: the defaults, the vendor's variables (`MOSAICO_DAEMON_URL` and so on, see
[run.md](run.md#under-the-vendors-command-line)), the TOML file, the environment
(`MOSAICO_BRIDGE_<SECTION>__<KEY>`), command-line options. Unknown keys are refused wherever they
come from, with exit code 78; the error names every fault with its line.

The TOML file is that of `--config FILE`, else of `MOSAICO_BRIDGE_CONFIG`, else `bridge.toml` in the
working folder, else `/etc/mosaico-bridge/bridge.toml` where it may be read. `mosaico-bridge config
show` and `mosaico-bridge status -v` say which one it was. For a file in `/etc/mosaico-bridge`, the
state folder is the service's, `/var/lib/mosaico-bridge`, unless the file names another.

`config/bridge.toml` holds every setting with its default. This page is made from the code;
`mosaico-bridge config reference` prints it, `mosaico-bridge config schema` gives editors a JSON
schema.
"""


def annotated_toml() -> str:
    """Give a TOML file that says what every setting does and sets each to its default."""
    lines = [
        "# Settings of mosaico-bridge. Every value here is the default, so that a file may hold",
        "# only what differs. Keys without a default stand as comments. Each can be set in the",
        f"# environment too: {ENVIRONMENT_PREFIX}<SECTION>__<KEY>, for example",
        f"# {ENVIRONMENT_PREFIX}SERVER__HOST=platform.example.",
    ]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        lines.append("")
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += _comment(section.__doc__ or "")
            lines.append(f"[{name}]")
            for key, entry in section.model_fields.items():
                lines += _comment(entry.description or "")
                lines.append(_assignment(key, entry))
        else:
            lines += _comment(field.description or "")
            lines += [f"# {line}".rstrip() for line in _EXAMPLES[name]]
    return "\n".join(lines) + "\n"


def reference_page() -> str:
    """Give the reference of all settings as Markdown."""
    lines = _PREFACE.splitlines()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += ["", f"## [{name}]", "", _one_line(section.__doc__ or ""), ""]
            lines += _table(section)
        else:
            lines += ["", f"## {name}", "", field.description or "", "", "```toml"]
            lines += [*_EXAMPLES[name], "```"]
            item = _ITEMS.get(name)
            if item is not None:
                lines += ["", *_table(item)]
    return "\n".join(lines) + "\n"


# Tables whose keys the user chooses have no default that could be shown; an example says more.
_EXAMPLES = {
    "folders": (
        "[folders.front]",
        'path = "/recordings/front"',
        'ingest = { topic_prefix = "/front" }',
        "",
        "[folders.rear]",
        'path = "/recordings/rear"',
        'watch = { first = ["crash/*"] }',
        'disposal = { mode = "delete" }',
    ),
    "topics": ('[topics."/camera/*"]', 'image_format = "png"', "max_hz = 5.0"),
    "expect": (
        '[expect."/camera/*"]',
        "min_hz = 9.5",
        "max_gap_s = 0.5",
        "max_delay_ms = 200",
        "required = true",
    ),
    "metadata": ("[metadata]", 'vehicle = "car-07"', 'fleet = "${FLEET}"'),
    "mappings": (
        "[[mappings]]",
        'ros_type = "my_msgs/msg/Speed"',
        'ontology = "Floating64"',
        'fields = { data = "speed.value" }',
    ),
}
_ITEMS: dict[str, type[BaseModel]] = {
    "folders": FolderSettings,
    "topics": TopicSettings,
    "expect": ExpectSettings,
}


def _table(section: type[BaseModel]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, entry in section.model_fields.items():
        meaning = (entry.description or "").replace("|", r"\|")
        yield f"| `{key}` | {_shown(entry)} | {meaning} |"


def _shown(entry: FieldInfo) -> str:
    if entry.is_required():
        return "required"
    default = _literal(entry.get_default(call_default_factory=True))
    return f"`{default}`" if default is not None else "unset"


def _assignment(key: str, entry: FieldInfo) -> str:
    default = _literal(entry.get_default(call_default_factory=True))
    return f"# {key} =" if default is None else f"{key} = {default}"


def _literal(value: Any) -> str | None:
    """Give a value as TOML, which for these types is JSON; None where it has none."""
    if value is None:
        return None
    if value == {}:
        return "{}"
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value])
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value))


def _comment(text: str) -> list[str]:
    wrapped = textwrap.wrap(_one_line(text), LINE_LENGTH - 2)
    return [f"# {line}" for line in wrapped]


def _one_line(text: str) -> str:
    return " ".join(text.split())
