"""Command-line options that several commands share, and the settings they lead to."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.running import daemon_runs
from bridge.config import CONFIG_FILE_VARIABLE, Settings
from bridge.errors import ConfigError, UsageError

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar=CONFIG_FILE_VARIABLE, help="Settings file (TOML).", metavar="FILE"
    ),
]
WatchFolder = Annotated[
    Path | None, typer.Option("--folder", help="Folder to watch.", metavar="DIR")
]
StateFolder = Annotated[
    Path | None,
    typer.Option("--state", help="Folder for the bridge's own files.", metavar="DIR"),
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


def destination(host: str | None, *, embedded: bool) -> str | None:
    """Give the value for `server.host`: as the options say, or None to leave it to the settings.

    Raises:
        UsageError: Both options are given.
    """
    if host and embedded:
        raise UsageError("--host and --embedded are two different destinations; give one of them")
    return "" if embedded else host


def require_destination(settings: Settings, *, embedded: bool) -> None:
    """Refuse to send to the embedded server unless that was asked for, or a bridge runs with it.

    Raises:
        UsageError: No platform is configured, and none was named.
    """
    if not settings.uses_embedded_server or embedded:
        return
    if not daemon_runs(settings.state.folder):
        raise UsageError(
            "no platform is configured, so there is nowhere to send to",
            hint="name one with --host, or in the settings (server.host); --embedded sends to a "
            "local server, to try things out",
        )


def require_folders(settings: Settings) -> None:
    """Refuse to look for recordings in a folder that is not there, before anything is created.

    Raises:
        ConfigError: A watched folder does not exist.
    """
    for name, inside in settings.watched.items():
        if not inside.watch.folder.is_dir():
            key = f"folders.{name}.path" if name else "watch.folder"
            raise ConfigError(
                f"the folder {inside.watch.folder} is not there",
                key=key,
                hint=f"is it mounted? name another one with --folder, or in the settings ({key})",
            )


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
