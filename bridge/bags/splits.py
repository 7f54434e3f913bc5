"""A recording's storage files, each as a recording of its own that knows the whole it is part of.

For recordings that take hours: a part that is closed need not wait for the last one.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bridge.bags.discovery import recordings_in
from bridge.bags.formats import storage_name
from bridge.bags.metadata import read_hints
from bridge.bags.recording import load_recording, load_storage_file
from bridge.errors import RecordingVanishedError
from bridge.model import Recording, RecordingFile, Split

INDEX_DIGITS = 5
"""Names of parts carry their number with so many digits at least, so that they sort."""


def split_up(recording: Recording) -> list[Recording]:
    """Split a recording into its storage files.

    Of a compressed file and its plain twin the plain one is given: its compression is under way.
    A recording of a single file without a number is no part of anything and stays as it is.

    Args:
        recording: What names alone tell, from `recordings_in`.
    """
    indexes = {file.path: _index_of(file) for file in recording.files}
    if len(recording.files) == 1 and indexes[recording.files[0].path] is None:
        return [recording]
    lone = recording.path == recording.files[0].path
    last = max((index for index in indexes.values() if index is not None), default=-1)
    parts = []
    for file in _without_twins(recording.files):
        index = indexes[file.path]
        split = Split(
            # A lone file is named after itself as long as no other is beside it.
            recording=_base_of(file) if lone else recording.name,
            folder=file.path.parent,
            index=index,
            followed=index is not None and index < last,
        )
        parts.append(Recording(path=file.path, name=_name(split, file), files=(file,), split=split))
    return parts


def load_split(path: Path) -> Recording:
    """Load one storage file as a part of the recording it belongs to.

    Args:
        path: A storage file, or anything else that `load_recording` takes.

    Returns:
        The file alone where it is a part; else what `load_recording` gives.

    Raises:
        NotARecordingError: The file is something else.
        EmptyRecordingError: The file is empty.
        RecordingVanishedError: There is nothing at the path.
        RecordingError: The path may not be read.
    """
    part = _part_at(path)
    if part is None or part.split is None:
        return load_recording(path)
    hints, flaws = read_hints(path.parent)
    loaded = load_storage_file(path)
    return replace(
        loaded, name=part.name, hints=hints, notes=(*flaws, *loaded.notes), split=part.split
    )


def _part_at(path: Path) -> Recording | None:
    if storage_name(path.name) is None:
        return None
    try:
        recordings, _ = recordings_in(path.parent, is_root=False)
    except RecordingVanishedError:
        return None
    parts = (part for recording in recordings for part in split_up(recording))
    return next((part for part in parts if part.path == path), None)


def _without_twins(files: Iterable[RecordingFile]) -> list[RecordingFile]:
    """Keep one file of each stem: the plain one, or the only one."""
    kept: dict[str, RecordingFile] = {}
    for file in files:
        named = storage_name(file.path.name)
        stem = file.path.name if named is None else named.stem
        if stem not in kept or not file.compression:
            kept[stem] = file
    return list(kept.values())


def _base_of(file: RecordingFile) -> str:
    named = storage_name(file.path.name)
    return file.path.stem if named is None else named.base


def _index_of(file: RecordingFile) -> int | None:
    named = storage_name(file.path.name)
    return None if named is None else named.number


def _name(split: Split, file: RecordingFile) -> str:
    if split.index is None:
        named = storage_name(file.path.name)
        return file.path.stem if named is None else named.stem
    return f"{split.recording}_{split.index:0{INDEX_DIGITS}d}"
