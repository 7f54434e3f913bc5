"""The command line: the only place where all parts are put together."""

from bridge.cli.app import app, main
from bridge.cli.config_text import annotated_toml, reference_page
from bridge.cli.drive import write_drive

__all__ = ["annotated_toml", "app", "main", "reference_page", "write_drive"]
