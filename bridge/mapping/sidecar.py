"""Metadata that a person or a program put beside a recording: `<recording>.json|.yaml|.toml`.

The file is as little trusted as the recording: it is read without following links or waiting on
pipes, up to a limit, and what is wrong with it is told instead of stopping the recording.
"""

import json
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

SIDECAR_BYTES_MAX = 1 << 20
SIDECAR_DEPTH_MAX = 64
SIDECAR_VALUES_MAX = 10_000
"""More values than anybody writes; YAML can multiply a few lines into billions."""


def _parse_yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


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
    for stem in dict.fromkeys((recording.name, recording.stem)):
        for extension, parse in PARSERS.items():
            path = recording.with_name(stem + extension)
            if path != recording and os.path.lexists(path):
                try:
                    return Sidecar(path=path, metadata=_read(path, parse))
                except (OSError, ValueError, YAMLError, RecursionError) as error:
                    return Sidecar(path=path, trouble=f"{path.name} cannot be used: {error}")
    return Sidecar()


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
