"""Command-line options that several commands share, and the settings they mean."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.terminal import err
from bridge.config import (
    CONFIG_FILE_VARIABLE,
    PLATFORM_VARIABLE,
    SERVICE_FOLDER,
    Settings,
    find_settings_file,
    service_is_closed_to_us,
    vendor_server,
)
from bridge.errors import CommandLineError
from bridge.units import SECOND_NS, address_text


def _found(given: Path | None) -> Path | None:
    """Give the settings file that holds: the named one, the working folder's, the service's."""
    if given is not None:
        return given
    found = find_settings_file()
    if found is None and service_is_closed_to_us():
        err.print(
            f"note: the service's settings in {SERVICE_FOLDER} may not be read by this user; "
            "these are the defaults (sudo -u mosaico-bridge reads them)",
            markup=False,
            soft_wrap=True,
        )
    return found


def source(config: Path | None, settings: Settings) -> str:
    """Say where settings came from."""
    said = f"settings from {config.absolute()}" if config else "settings: defaults and environment"
    return f"{said}, {vendor}" if (vendor := vendor_note(settings)) else said


def vendor_note(settings: Settings) -> str:
    """Say that the platform is that of the vendor's variables; empty where it is not."""
    server = vendor_server()
    same = server.get("host") == settings.server.host
    if not server or not same or server.get("port", settings.server.port) != settings.server.port:
        return ""
    return (
        f"platform {address_text(settings.server.host, settings.server.port)}"
        f" from {PLATFORM_VARIABLE}"
    )


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_FILE_VARIABLE,
        help="Settings file (TOML); else bridge.toml here, else the service's.",
        metavar="FILE",
        callback=_found,
    ),
]
BagPaths = Annotated[
    list[Path],
    # Whether they can be read is judged one by one, below.
    typer.Argument(help="Bags, or folders to search for bags.", metavar="PATH...", readable=False),
]
WatchFolder = Annotated[
    Path | None, typer.Option("--folder", help="Folder to watch.", metavar="DIR", readable=False)
]
StateFolder = Annotated[
    Path | None,
    typer.Option(
        "--state", help="Folder for the bridge's own files.", metavar="DIR", readable=False
    ),
]
Host = Annotated[str | None, typer.Option("--host", help="Platform to send to.")]
Embedded = Annotated[
    bool,
    typer.Option(
        "--embedded", help="Send to a local server in the state folder, to try things out."
    ),
]
ServerPort = Annotated[int | None, typer.Option("--port", help="Port of the platform.")]
HttpPort = Annotated[
    int | None, typer.Option("--http-port", help="Port for metrics, health and status.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


SIZE_UNITS = {
    "": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """Read a size such as 500MB or 50GiB.

    Raises:
        CommandLineError: It is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise CommandLineError(f"{text} is no size", hint="sizes are like 500MB, 50GB or 50GiB")
    return int(float(match[1]) * SIZE_UNITS[(match[2] or "").upper()])


def time_of(text: str, option: str) -> int:
    """Read a time as nanoseconds since 1970; without a zone it is UTC.

    Raises:
        CommandLineError: It is none.
    """
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandLineError(
            f"{option} {text} is no time", hint="times are like 2024-05-01 or 2024-05-01T12:00:00Z"
        ) from error
    if time_.tzinfo is None:
        time_ = time_.replace(tzinfo=UTC)
    return int(time_.timestamp()) * SECOND_NS


def disk_folders(settings: Settings) -> dict[str, Path]:
    """Name the folders whose disks are measured, by role; that of a named folder is `watch_NAME`.

    A role leads to one folder only: where several watched folders have archives of their own,
    those are `archive_NAME` and so on, too.
    """
    found: dict[str, Path] = {}
    for name, inside in settings.watched.items():
        places = {
            "watch": inside.watch.folder,
            "archive": inside.disposal.archive_folder,
            "quarantine": inside.disposal.quarantine_folder,
        }
        for role, folder in places.items():
            if folder is not None and folder not in found.values():
                found[f"{role}_{name}" if name else role] = folder
    return found | {"state": settings.state.folder}
