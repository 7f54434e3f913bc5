"""`mosaico-bridge install-files`: units, settings, monitoring and documents put where they belong.

The files travel inside the wheel as `bridge/data`; in a checkout they are where people edit them.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.terminal import Exit, err
from bridge.config import Settings
from bridge.errors import BridgeError, ConfigError

# The prefixes whose settings live in /etc; any other prefix is complete in itself.
SYSTEM_PREFIXES = (Path("/usr"), Path("/usr/local"))
UNIT = "mosaico-bridge"
SETTINGS = Path("mosaico-bridge/bridge.toml")
SCHEMA = Path("share/mosaico-bridge/bridge.schema.json")

# Source folder or file, and where it goes below the prefix, in the order they are written.
PLACES: tuple[tuple[str, str], ...] = (
    ("systemd/mosaico-bridge.service", "lib/systemd/system/mosaico-bridge.service"),
    ("systemd/mosaico-bridge@.service", "lib/systemd/system/mosaico-bridge@.service"),
    ("systemd/mosaico-bridge.sysusers", "lib/sysusers.d/mosaico-bridge.conf"),
    ("systemd/mosaico-bridge.tmpfiles", "lib/tmpfiles.d/mosaico-bridge.conf"),
    ("config/bridge.toml", "share/mosaico-bridge/bridge.toml"),
    ("config/examples", "share/mosaico-bridge/examples"),
    ("config/prometheus", "share/mosaico-bridge/prometheus"),
    ("config/alertmanager", "share/mosaico-bridge/alertmanager"),
    ("config/grafana", "share/mosaico-bridge/grafana"),
    ("docs", "share/doc/mosaico-bridge"),
)
DOCUMENTATION = "http://{{ $labels.instance }}/docs"
"""Where alert rules find their documentation: the bridge that they are about serves it."""

PROGRAM_LINE = re.compile(rb"^ExecStart=\S+", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file to write.

    Attributes:
        target: Where to.
        content: Its bytes.
        keep: Whether a file that is there already is left alone, being somebody's own.
    """

    target: Path
    content: bytes
    keep: bool = False


def install_files(
    prefix: Annotated[
        Path,
        typer.Option(
            "--prefix",
            help="Folder to install under; with /usr and /usr/local settings go to /etc.",
            metavar="DIR",
        ),
    ] = Path("/usr/local"),
    program: Annotated[
        Path | None,
        typer.Option(
            "--program",
            help="The mosaico-bridge that the units start; by default the one that runs now.",
            metavar="FILE",
        ),
    ] = None,
    runbooks: Annotated[
        str,
        typer.Option(
            "--runbooks",
            help="Where alerts find their documentation: the address of a folder that holds "
            "fix.md; by default the bridge itself.",
            metavar="URL",
        ),
    ] = DOCUMENTATION,
) -> int:
    """Write units, settings, examples, monitoring, documents, and the schema of the settings.

    A settings file that is there already is kept; everything else is replaced. The units name
    the places under the prefix. Prints one line for each file: written, unchanged or kept.
    """
    prefix = prefix.absolute()
    started = (program or Path(sys.executable).with_name("mosaico-bridge")).absolute()
    # All of it first: a reader of the lines that goes away, as `head` does, must not stop it.
    lines = [f"{_write(placed):9} {placed.target}\n" for placed in plan(prefix, started, runbooks)]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
    for step in _next_steps(prefix):
        err.print(f"next: {step}", soft_wrap=True)
    return Exit.OK


def _next_steps(prefix: Path) -> Iterator[str]:
    # Named in full, since not every systemd looks into /usr/local for these two, or elsewhere.
    users, folders = (prefix / f"lib/{kind}.d/{UNIT}.conf" for kind in ("sysusers", "tmpfiles"))
    yield f"systemd-sysusers {users}"
    yield f"systemd-tmpfiles --create {folders}"
    if prefix not in SYSTEM_PREFIXES:
        yield f"systemctl link {prefix / 'lib/systemd/system' / UNIT}.service"
    yield "systemctl daemon-reload"


def data_folder() -> Path:
    """Give the folder that holds `config`, `docs` and `systemd`, in a wheel or in a checkout.

    Raises:
        BridgeError: It is nowhere; the installation is not whole.
    """
    with as_file(files("bridge")) as package:
        for folder in (package / "data", package.parent):
            if (folder / "systemd").is_dir() and (folder / "config").is_dir():
                return folder
    raise BridgeError(
        f"the data files of mosaico-bridge are missing beside {package}",
        hint="install the wheel again",
    )


def plan(prefix: Path, program: Path, runbooks: str) -> Iterator[Placed]:
    """Give every file to write below a prefix, with the places and the program named in it."""
    source = data_folder()
    own_settings = Path("/etc") if prefix in SYSTEM_PREFIXES else prefix / "etc"
    places = {
        b"/etc/mosaico-bridge": bytes(own_settings / "mosaico-bridge"),
        b"/usr/share/doc/mosaico-bridge": bytes(prefix / "share/doc/mosaico-bridge"),
    }
    for name, place in PLACES:
        for file in _files(source / name):
            content = file.read_bytes()
            if file.suffix == ".service":
                for ours, theirs in places.items():
                    content = content.replace(ours, theirs)
                content = PROGRAM_LINE.sub(b"ExecStart=" + bytes(program), content)
            elif file.name.startswith("rules"):
                content = content.replace(DOCUMENTATION.encode(), runbooks.rstrip("/").encode())
            target = prefix / place
            if (source / name).is_dir():
                target /= file.relative_to(source / name)
            yield Placed(target=target, content=content)
    # For editors; made from the code, so that it cannot lag behind.
    schema = json.dumps(Settings.model_json_schema(), indent=2) + "\n"
    yield Placed(target=prefix / SCHEMA, content=schema.encode())
    yield Placed(
        target=own_settings / SETTINGS,
        content=(source / "config" / "bridge.toml").read_bytes(),
        keep=True,
    )


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _write(placed: Placed) -> str:
    target = placed.target
    try:
        if target.exists():
            if placed.keep:
                return "kept"
            if target.read_bytes() == placed.content:
                return "unchanged"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(placed.content)
        # The folder of the settings is closed to others by tmpfiles; nothing here is secret.
        target.chmod(0o644)
    except OSError as error:
        raise ConfigError(
            f"cannot write {target}: {error.strerror}",
            key="--prefix",
            hint="run it as root, or choose a prefix of your own",
        ) from error
    return "written"
