"""The settings of a test as a file, for the commands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def written(bridge: "Bridge") -> Path:
    """Write the settings into a file, as an operator would."""
    tables: dict[str, list[str]] = {}
    for key, value in bridge.overrides.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, []).append(f"{name} = {json.dumps(value)}")
    path = bridge.folder / "bridge.toml"
    parts = [f"[{table}]\n" + "\n".join(lines) for table, lines in tables.items()]
    path.write_text("\n".join(parts) + "\n[http]\nport = 0\n")
    return path
