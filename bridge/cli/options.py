"""Command-line options that several commands share, and the settings they lead to."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.config import CONFIG_FILE_VARIABLE

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
Host = Annotated[
    str | None,
    typer.Option("--host", help="Platform to send to; without one an embedded server is used."),
]
ServerPort = Annotated[int | None, typer.Option("--port", help="Port of the platform.")]
HttpPort = Annotated[
    int | None, typer.Option("--http-port", help="Port for metrics, health and status.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
