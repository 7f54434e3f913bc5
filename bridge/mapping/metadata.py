"""Metadata the platform accepts: its keys, where a sequence's comes from, and sidecars.

Values are JSON under keys of letters, digits, `-`, `_` and space. The rule holds at every depth: a
key is not empty and has no `--`. A user who wrote `calibration.date` must still find it, so changed
keys are listed with what they were. A sequence's metadata can never be changed after creation, so
it is put together once.

A sidecar is what a person or a program put beside a recording: `<recording>.json|.yaml|.toml`. It
is as little trusted as the recording: it is read without following links or waiting on pipes, up to
a limit, and what is wrong with it is reported instead of stopping the recording.
"""

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from functools import lru_cache
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError
from bridge.facade import later
from bridge.mapping.names import BRIDGE_KEY

yaml = later("ruamel.yaml")

SIDECAR_BYTES_MAX = 1 << 20
SIDECAR_DEPTH_MAX = 64
SIDECAR_VALUES_MAX = 10_000
"""More values than anybody writes; YAML can multiply a few lines into billions."""


def _parse_yaml(text: str) -> Any:
    return yaml.YAML(typ="safe", pure=True).load(text)


PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": tomllib.loads,
}
"""How to read a sidecar, by extension, in order of preference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What lay beside a recording.

    Attributes:
        path: The file; None where there is none.
        metadata: What it says; empty where it cannot be used.
        trouble: Why it cannot be used; empty for a good one.
    """

    path: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


def read_sidecar(recording: Path) -> Sidecar:
    """Look beside a recording for `drive.mcap.json` and `drive.json`, and likewise for the rest.

    Args:
        recording: The recording's file or folder.

    Returns:
        The first that exists, read or with the reason why it cannot be.
    """
    for path in sidecars_of(recording):
        if os.path.lexists(path):
            try:
                return Sidecar(path=path, metadata=_read(path, PARSERS[path.suffix]))
            except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
                return Sidecar(path=path, trouble=f"{path.name} cannot be used: {error}")
    return Sidecar()


def sidecars_of(recording: Path) -> list[Path]:
    """Name the files that may be a recording's sidecar, in order of preference."""
    names = dict.fromkeys((recording.name, recording.stem))
    paths = [recording.with_name(name + extension) for name in names for extension in PARSERS]
    return [path for path in paths if path != recording]


def _read(path: Path, parse: Callable[[str], Any]) -> Mapping[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is no regular file")
        content = stream.read(SIDECAR_BYTES_MAX + 1)
    if len(content) > SIDECAR_BYTES_MAX:
        raise ValueError(f"it is larger than {SIDECAR_BYTES_MAX} bytes")
    metadata = parse(content.decode())
    if not isinstance(metadata, Mapping):
        raise ValueError("it holds no table of keys and values")  # noqa: TRY004 - of the content
    _count(metadata, SIDECAR_VALUES_MAX, SIDECAR_DEPTH_MAX)
    return metadata


def _count(value: Any, left: int, depth_left: int) -> int:
    """Count values down from a limit, one per appearance, as JSON would write them.

    Raises:
        ValueError: There are more, or they are nested deeper than anybody reads.
    """
    if left <= 0:
        raise ValueError(f"it holds more than {SIDECAR_VALUES_MAX} values")
    if depth_left <= 0:
        raise ValueError(f"it is nested more than {SIDECAR_DEPTH_MAX} deep")
    left -= 1
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple | set):
        for item in items:
            left = _count(item, left, depth_left - 1)
    return left


CUSTOM_DATA_KEY = "custom_data"
"""Where rosbag2's own key-value pairs go, as the recorder calls them."""

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_ -]")
_DASHES = re.compile(r"-{2,}")
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\{hostname\}")

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


@lru_cache(maxsize=1024)
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


def sequence_metadata(
    *,
    constants: Mapping[str, Any],
    bridge: Mapping[str, Any],
    custom_data: Mapping[str, Any] | None = None,
    sidecar: Sidecar | None = None,
) -> dict[str, Any]:
    """Put together the user metadata of a sequence.

    The recording knows better than the configuration, and the sidecar better than both: where
    the same key comes twice, that of the sidecar counts. rosbag2's custom data has a table of its
    own. Nothing replaces the bridge's block.

    Args:
        constants: From the configuration, placeholders already filled in.
        bridge: The bridge's own block: identity, versions and whatever else is known beforehand.
        custom_data: What the recorder was told to write into the recording.
        sidecar: What lay beside the recording.

    Returns:
        Plain JSON values; keys the platform does not accept are changed, and the bridge's block
        lists under `renamed_keys` what they were.
    """
    metadata: dict[str, Any] = dict(constants)
    if custom_data:
        metadata[CUSTOM_DATA_KEY] = custom_data
    block = dict(bridge)
    if sidecar is not None and sidecar.path is not None:
        metadata |= sidecar.metadata
        block["sidecar"] = {"file": sidecar.path.name, "trouble": sidecar.trouble}
    metadata[BRIDGE_KEY] = block
    cleaned, renamed = clean_keys(metadata)
    if renamed:
        cleaned[BRIDGE_KEY]["renamed_keys"] = renamed
    return cleaned


def fill_placeholders(
    constants: Mapping[str, Any], *, environment: Mapping[str, str], hostname: str
) -> dict[str, Any]:
    """Fill in `${NAME}` from the environment and `{hostname}` in configured constants.

    Args:
        constants: From the configuration; text at any depth is looked at.
        environment: The environment.
        hostname: Name of this machine.

    Raises:
        ConfigError: A variable is not set.
    """
    return {
        key: _fill(value, f"metadata.{key}", environment, hostname)
        for key, value in constants.items()
    }


def _fill(value: Any, key: str, environment: Mapping[str, str], hostname: str) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _fill(item, f"{key}.{name}", environment, hostname)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_fill(item, key, environment, hostname) for item in value]
    if not isinstance(value, str):
        return value

    def known(match: re.Match[str]) -> str:
        variable = match.group(1)
        if variable is None:
            return hostname
        if variable not in environment:
            raise ConfigError(
                f"{key} = {value!r} needs the environment variable {variable}, which is not set",
                key=key,
                hint=f"set {variable}, or change {key}",
            )
        return environment[variable]

    return _PLACEHOLDER.sub(known, value)
