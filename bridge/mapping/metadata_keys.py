"""Metadata the platform accepts: JSON values under keys of letters, digits, `-`, `_` and space.

The rule holds at every depth: a key is not empty and has no `--` (see the platform's protocol,
metadata keys). Whoever wrote `calibration.date` shall still find it, so changed keys are listed
with what they were.
"""

import math
import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_ -]")
_DASHES = re.compile(r"-{2,}")

Renamed = list[dict[str, str]]


def clean_keys(metadata: Mapping[Any, Any]) -> tuple[dict[str, Any], Renamed]:
    """Make metadata that the platform accepts.

    Args:
        metadata: Anything that TOML, YAML or JSON can hold.

    Returns:
        The same tree of plain JSON values with clean keys, and the keys that had to change, as
        `{"key": clean dotted path, "was": original key}`.
    """
    renamed: Renamed = []
    return _clean_table(metadata, "", renamed), renamed


def clean_key(key: str) -> str:
    """Make one key acceptable: what is forbidden becomes `_`, several dashes become one."""
    return _DASHES.sub("-", _FORBIDDEN.sub("_", key)) or "_"


def _clean_table(table: Mapping[Any, Any], path: str, renamed: Renamed) -> dict[str, Any]:
    texts = {key: key if isinstance(key, str) else str(key) for key in table}
    # Keys that are fine keep their names, whatever the others turn into.
    taken = {text for text in texts.values() if clean_key(text) == text}
    cleaned: dict[str, Any] = {}
    for key, value in table.items():
        text = texts[key]
        name = clean_key(text)
        if name != text:
            name = _free(name, taken)
            taken.add(name)
            renamed.append({"key": f"{path}{name}", "was": text})
        cleaned[name] = _clean_value(value, f"{path}{name}.", renamed)
    return cleaned


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _clean_value(value: Any, path: str, renamed: Renamed) -> Any:
    if isinstance(value, Mapping):
        return _clean_table(value, path, renamed)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        return [_clean_value(item, f"{path}{index}.", renamed) for index, item in enumerate(value)]
    return _plain(value)


def _plain(value: Any) -> str | float | bool | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return str(value)
