"""A recording's storage files, each as a recording of its own that knows the whole it is part of.

For recordings that take hours: a part that is closed need not wait for the last one.
"""

from collections.abc import Iterable
from pathlib import Path

from bridge.bags.discovery import recordings_in
from bridge.bags.formats import storage_name
from bridge.bags.grouping import SplitName, split_name, stem_of
from bridge.bags.recording import load_recording, load_seen
from bridge.errors import RecordingError, RecordingVanishedError
from bridge.model import Recording, RecordingFile, Split

INDEX_DIGITS = 5
"""Names of parts carry their number with so many digits at least, so that they sort."""


def split_up(recording: Recording) -> list[Recording]:
    """Split a recording into its storage files.

    Of a compressed file and its plain twin the plain one is given: its compression is under way.
    A recording of a single file that its recorder did not number is no part of anything and stays
    as it is.

    Args:
        recording: What names alone tell, from `recordings_in`.
    """
    lone = recording.path == recording.files[0].path
    splits = {file.path: _split_name(file, in_own_folder=not lone) for file in recording.files}
    first = splits[recording.files[0].path]
    if len(recording.files) == 1 and first is None:
        return [recording]
    last = max((split.number for split in splits.values() if split is not None), default=-1)
    # A lone file is named after itself as long as no other is beside it.
    name = first.base if lone and first is not None else recording.name
    parts = []
    for file in _without_twins(recording.files):
        named = splits[file.path]
        split = Split(
            recording=name,
            folder=file.path.parent,
            index=None if named is None else named.number,
            followed=named is not None and named.number < last,
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
    return load_recording(path) if part is None or part.split is None else load_seen(part)


def _part_at(path: Path) -> Recording | None:
    if storage_name(path.name) is None:
        return None
    try:
        recordings, _ = recordings_in(path.parent, is_root=False)
    except RecordingVanishedError:
        return None
    parts = (part for recording in recordings for part in split_up(recording))
    return next((part for part in parts if part.path == path), None)


def file_before(recording: Recording) -> RecordingFile | None:
    """Find the storage file that the recorder closed before it opened that of this split.

    Returns:
        The file, None where it is not in the same folder or the recording is no split.
    """
    split = recording.split
    if split is None or not split.index:
        return None
    try:
        recordings, _ = recordings_in(split.folder, is_root=False)
    except RecordingError:
        return None
    for part in (part for each in recordings for part in split_up(each)):
        other = part.split
        if other and (other.recording, other.index) == (split.recording, split.index - 1):
            return part.files[0]
    return None


def _without_twins(files: Iterable[RecordingFile]) -> list[RecordingFile]:
    """Keep one file of each stem: the plain one, or the only one."""
    kept: dict[str, RecordingFile] = {}
    for file in files:
        stem = stem_of(file.path.name)
        if stem not in kept or not file.compression:
            kept[stem] = file
    return list(kept.values())


def _split_name(file: RecordingFile, *, in_own_folder: bool) -> SplitName | None:
    named = storage_name(file.path.name)
    return None if named is None else split_name(named, in_own_folder=in_own_folder)


def _name(split: Split, file: RecordingFile) -> str:
    if split.index is None:
        return stem_of(file.path.name)
    return f"{split.recording}_{split.index:0{INDEX_DIGITS}d}"
