"""`metadata.yaml` of a rosbag2 folder, read as a hint and never as the truth.

The recorder writes it before the last storage file is closed, straight onto its final name; it may
be torn, list splits that were deleted since, or not be there at all. So every flaw is a note, and
none is an error.
"""

import os
import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from bridge.bags.formats import SIDECAR_SUFFIXES
from bridge.errors import DamagedRecordingError, RecordingError, RecordingVanishedError
from bridge.facade import later
from bridge.files import open_regular

# 2 MiB, for which there is no need where every recording is a lone file.
yaml = later("ruamel.yaml")

METADATA_FILE = "metadata.yaml"

METADATA_BYTES_MAX = 1 << 20
"""A longer file is not parsed; 1 MiB holds some five thousand splits."""

NESTING_MAX = 64
"""Brackets nested more deeply are not parsed: the parser's time grows with the square of it."""

MERGE_KEY = "<<"

_NO_KEY = object()
_CONSTANTS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")

ROOT_KEY = "rosbag2_bagfile_information"

KEYS_SINCE_VERSION = {"relative_file_paths": 4, "files": 5, "custom_data": 6, "ros_distro": 8}
"""Top-level keys that a whole document has, by the version that brought them.

The file list comes late in the document, so a torn one can still parse and name fewer splits.
"""

LISTS = ("relative_file_paths", "files")
"""The keys whose values are lists of files; where another key follows, they are whole."""


def read_hints(folder: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Read what `metadata.yaml` says, and what is wrong with it.

    Returns:
        The document below its root key, empty where there is none or it cannot be parsed; and one
        sentence for each flaw.
    """
    try:
        text = _read(folder / METADATA_FILE)
    except RecordingVanishedError:
        return {}, ()
    except RecordingError as error:
        return {}, (f"{METADATA_FILE} cannot be read: {error.message}",)
    try:
        hints = _parse(text)
    except DamagedRecordingError as error:
        return {}, (f"{METADATA_FILE} {error.message}",)
    return hints, _flaws(hints, ends_in_whole_line=text.endswith(b"\n"))


def listed_files(hints: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the file names that the hints name, and refuse what is no plain name.

    Returns:
        Names without folder, each once, in order; and one sentence for each that was refused.
    """
    listed = hints.get("relative_file_paths")
    names: list[str] = []
    notes: list[str] = []
    for written in listed if isinstance(listed, list) else ():
        entry = _with_slashes(written)
        if not isinstance(entry, str) or entry in {"", ".", ".."} or "\0" in entry:
            notes.append(f"{METADATA_FILE} lists {entry!r}, which is no file name")
        elif ".." in Path(entry).parts or Path(entry).is_absolute():
            notes.append(f"{METADATA_FILE} lists {entry!r}, which leaves the folder; ignored")
        elif _is_companion(Path(entry).name):
            notes.append(f"{METADATA_FILE} lists {entry!r}, which is no file of a recording")
        elif Path(entry).name in names:
            notes.append(f"{METADATA_FILE} lists {entry!r} twice")
        else:
            # Before version 4 names carried the folder in front.
            names.append(Path(entry).name)
    return tuple(names), tuple(notes)


def _with_slashes(entry: Any) -> Any:
    """Write a path of Windows as elsewhere; recorders run there, too."""
    return entry.replace("\\", "/") if isinstance(entry, str) else entry


def _is_companion(name: str) -> bool:
    """Say whether a name is that of a file that is kept beside a recording's files."""
    return name.lower() == METADATA_FILE or name.endswith(SIDECAR_SUFFIXES)


def _parse(text: bytes) -> Mapping[str, Any]:
    """Parse a document that may hold anything.

    Raises:
        DamagedRecordingError: It is beyond the limits, no YAML, or of something else.
    """
    if len(text) > METADATA_BYTES_MAX:
        raise DamagedRecordingError(f"is longer than {METADATA_BYTES_MAX} bytes")
    if _nesting(text) > NESTING_MAX:
        raise DamagedRecordingError(f"nests brackets more than {NESTING_MAX} deep")
    try:
        document = _document(text.decode("utf-8", errors="replace"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DamagedRecordingError(f"is no YAML: {str(error).splitlines()[0]}") from error
    hints = document.get(ROOT_KEY) if isinstance(document, dict) else None
    if not isinstance(hints, dict):
        raise DamagedRecordingError("holds nothing about a recording")
    return hints


def _document(text: str) -> Any:
    """Build the first document of a text out of the parser's events.

    Tables, lists and scalars, and nothing else: an alias, or a key that merges another table, makes
    a short text a long one, and no recorder writes any. The parser is libyaml's where it is
    installed; 4,000 splits take it a third of a second.

    Raises:
        YAMLError: It is no YAML.
        ValueError: It is more than that.
    """
    building = _Building()
    for event in yaml.YAML(typ="safe").parse(text):
        match event:
            case yaml.ScalarEvent():
                building.put(_scalar(event.value) if event.implicit[0] else event.value)
            case yaml.MappingStartEvent():
                building.open({})
            case yaml.SequenceStartEvent():
                building.open([])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                building.close()
            case yaml.AliasEvent():
                raise ValueError("it has aliases, which no recorder writes")
            case yaml.DocumentEndEvent():
                break
    return building.root


class _Building:
    """A document that is being built."""

    def __init__(self) -> None:
        self.root: Any = None
        # The tables and lists that are open, each with the key that waits for its value.
        self._open: list[Any] = []
        self._keys: list[Any] = []

    def open(self, value: Any) -> None:
        """Start a table or list."""
        if len(self._open) >= NESTING_MAX:
            raise ValueError(f"it is nested more than {NESTING_MAX} deep")
        self.put(value)
        self._open.append(value)
        self._keys.append(_NO_KEY)

    def close(self) -> None:
        """End the innermost table or list."""
        self._open.pop()
        self._keys.pop()

    def put(self, value: Any) -> None:
        """Add a key, a value or an element."""
        if not self._open:
            self.root = value
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        elif self._keys[-1] is not _NO_KEY:
            self._open[-1][self._keys[-1]] = value
            self._keys[-1] = _NO_KEY
        elif value == MERGE_KEY:
            raise ValueError("it merges tables, which no recorder does")
        elif isinstance(value, dict | list):
            raise ValueError("a key is no scalar")
        else:
            self._keys[-1] = value


def _scalar(text: str) -> Any:
    """Give what a plain scalar stands for, by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _flaws(hints: Mapping[str, Any], *, ends_in_whole_line: bool) -> tuple[str, ...]:
    version = hints.get("version")
    if not isinstance(version, int):
        return (f"{METADATA_FILE} has no version",)
    missing = [key for key, since in KEYS_SINCE_VERSION.items() if since <= version]
    missing = [key for key in missing if key not in hints]
    # Other writers than rosbag2 leave keys out by right, or sort them: a document whose last line
    # is whole, and whose lists are followed by something else, lacks nothing that it ever had.
    followed = list(hints)[-1] not in LISTS and "relative_file_paths" in hints
    if missing and not (followed and ends_in_whole_line):
        return (f"{METADATA_FILE} is torn: {', '.join(missing)} missing",)
    paths, files = hints.get("relative_file_paths"), hints.get("files")
    if isinstance(paths, list):
        paths = [path for path in paths if not _is_companion(Path(_with_slashes(str(path))).name)]
    if isinstance(paths, list) and isinstance(files, list) and len(paths) != len(files):
        return (f"{METADATA_FILE} is torn: {len(paths)} file names, {len(files)} descriptions",)
    return ()


def _nesting(text: bytes) -> int:
    """Count how deeply brackets are nested at most, those in quotes included."""
    steps = (1 if bracket in b"[{" else -1 for bracket in text.translate(None, _NO_BRACKETS))
    return max(accumulate(steps), default=0)


def _read(path: Path) -> bytes:
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(METADATA_BYTES_MAX + 1)
