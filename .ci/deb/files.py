#!/usr/bin/env python3
"""Write what a package has outside of /opt: `python .ci/deb/files.py ROOT`.

Units, settings, monitoring and documents as `install-files` puts them below /usr, a manual page for
every command out of its help, and completion for three shells. Runs with the Python that has the
bridge to be packaged.
"""

import gzip
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

# The script that `--show-completion` prints; typer has no public name for it.
from typer._completion_shared import get_completion_script

from bridge.cli import app
from bridge.cli.commands import ABOUT, COMMANDS
from bridge.cli.install_files import DOCUMENTATION, plan
from bridge.version import __version__

NAME = "mosaico-bridge"
PROGRAM = Path("/opt/mosaico-bridge/bin/mosaico-bridge")
MANUAL = Path("usr/share/man/man1")
COMPLETION = {
    "bash": f"usr/share/bash-completion/completions/{NAME}",
    "zsh": f"usr/share/zsh/vendor-completions/_{NAME}",
    "fish": f"usr/share/fish/vendor_completions.d/{NAME}.fish",
}
# The file is read when somebody completes for the first time, and has to answer then too.
ZSH_FIRST_ANSWER = '\n_mosaico_bridge_completion "$@"\n'
FILES = """\
.SH FILES
.TP
/etc/mosaico\\-bridge/bridge.toml
The settings of the service, every one with its default and meaning.
.TP
/var/lib/mosaico\\-bridge
What the bridge knows of its recordings.
.TP
/usr/share/doc/mosaico\\-bridge
Documentation; the running bridge serves it too. What to do when something fails is in fix.md.
"""


def escaped(text: str) -> str:
    """Give text as roff prints it literally."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line[:1] in {".", "'"} else line for line in lines)


def paragraphs(text: str) -> str:
    """Give a help text, whose paragraphs are separated by empty lines."""
    return "\n.PP\n".join(escaped(part) for part in inspect.cleandoc(text).split("\n\n"))


def entries(records: list[tuple[str, str]]) -> str:
    """Give a list of names and what each means."""
    return "".join(f".TP\n.B {escaped(name)}\n{escaped(text)}\n" for name, text in records)


def page(words: str, summary: str, sections: list[tuple[str, str]]) -> str:
    """Give a manual page in roff."""
    title = words.replace(" ", "-")
    head = f'.TH {title.upper()} 1 "" "{NAME} {__version__}" "{NAME}"\n'
    named = [("NAME", f"{escaped(title)} \\- {escaped(summary)}"), *sections]
    return head + "".join(f".SH {name}\n{text.rstrip()}\n" for name, text in named if text)


def page_of_command(words: str, command: Any) -> str:
    """Give the page of one command out of its help."""
    context = command.context_class(command, info_name=words)
    described = inspect.cleandoc(command.help or "")
    records = [record for one in command.params if (record := one.get_help_record(context))]
    inner = getattr(command, "commands", {})
    below = [(name, one.get_short_help_str(200)) for name, one in inner.items()]
    usage = " ".join([words, *command.collect_usage_pieces(context)])
    return page(
        words,
        described.split("\n\n")[0].replace("\n", " ").rstrip("."),
        [
            ("SYNOPSIS", f".B {escaped(usage)}"),
            ("DESCRIPTION", paragraphs(described)),
            ("ARGUMENTS AND OPTIONS", entries(records)),
            ("COMMANDS", entries(below)),
            ("SEE ALSO", f".BR {escaped(NAME)} (1)"),
        ],
    )


def pages() -> Iterator[tuple[str, str]]:
    """Give every manual page by its name."""
    program = typer.main.get_command(app)
    context = program.context_class(program, info_name=NAME)
    records = [record for one in program.params if (record := one.get_help_record(context))]
    yield (
        NAME,
        page(
            NAME,
            ABOUT.replace("\n", " ").rstrip("."),
            [
                ("SYNOPSIS", f".B {escaped(NAME)} [OPTIONS] COMMAND [ARGS]..."),
                ("DESCRIPTION", f"Each command has a page of its own: {escaped(NAME)}\\-COMMAND."),
                ("OPTIONS", entries(records)),
                ("COMMANDS", entries([(name, text) for name, (_, text) in COMMANDS.items()])),
            ],
        )
        + FILES,
    )
    waiting = [(f"{NAME} {name}", command) for name, command in program.commands.items()]  # type: ignore[attr-defined] # it is a group
    while waiting:
        words, command = waiting.pop()
        yield words.replace(" ", "-"), page_of_command(words, command)
        inner = getattr(command, "commands", {})
        waiting += [(f"{words} {name}", one) for name, one in inner.items()]


def main() -> None:
    """Write everything below the root that is named."""
    root = Path(sys.argv[1])
    written: dict[Path, bytes] = {
        root / str(placed.target).lstrip("/"): placed.content
        for placed in plan(Path("/usr"), PROGRAM, DOCUMENTATION)
    }
    for name, text in pages():
        written[root / MANUAL / f"{name}.1.gz"] = gzip.compress(text.encode(), mtime=0)
    for shell, place in COMPLETION.items():
        script = get_completion_script(
            prog_name=NAME, complete_var="_MOSAICO_BRIDGE_COMPLETE", shell=shell
        )
        written[root / place] = (script + (ZSH_FIRST_ANSWER if shell == "zsh" else "\n")).encode()
    for file, content in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o644)


if __name__ == "__main__":
    main()
