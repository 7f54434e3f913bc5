"""Finding the recordings under a folder by the names in it, without opening a file."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bridge.bags.endings import Span
from bridge.bags.formats import StorageName, is_temporary, storage_name
from bridge.bags.grouping import Group, group_files
from bridge.bags.metadata import METADATA_FILE, listed_files, read_hints
from bridge.bags.recording import FolderContent, is_searched, look_into, read_spans
from bridge.errors import RecordingError
from bridge.model import Recording, RecordingFile

ListedIn = Callable[[Path], Sequence[str]]
SpansIn = Callable[[Path, Sequence[StorageName]], Sequence[Span | None]]


def listed_names(folder: Path) -> Sequence[str]:
    """Read which files the `metadata.yaml` of a folder lists; none where it is unusable."""
    return listed_files(read_hints(folder)[0])[0]


def find_recordings(folder: Path, *, recursive: bool = True) -> list[Recording]:
    """Find all recordings under a folder, sorted by path.

    Files and folders with temporary or hidden names are passed over, symlinks are not followed,
    and folders that vanish or may not be entered meanwhile are left out.

    The recordings are what names alone tell: formats by extension, no hints, no notes, and files
    that `load_recording` would refuse are among them, so that somebody gets to hear of them.

    Cost: one listing per folder and one `stat` per storage file; no file is opened, except a
    `metadata.yaml` in a folder below it, and files with the names of splits for their times.

    Raises:
        RecordingVanishedError: There is no such folder.
        RecordingError: The folder may not be read.
    """
    found, waiting = recordings_in(folder, is_root=True)
    while waiting and recursive:
        try:
            more, deeper = recordings_in(waiting.pop(), is_root=False)
        except RecordingError:
            continue
        found.extend(more)
        waiting.extend(deeper)
    return sorted(found, key=lambda recording: str(recording.path))


def recordings_in(
    folder: Path,
    *,
    is_root: bool,
    listed_in: ListedIn = listed_names,
    spans_in: SpansIn = read_spans,
) -> tuple[list[Recording], list[Path]]:
    """Find the recordings directly in one folder, and the folders in it to look into next.

    For callers that remember what they saw and look again only where something has changed.

    Args:
        folder: The folder.
        is_root: Whether it is the one where the search began; that is never a recording itself.
        listed_in: Gives the files that the `metadata.yaml` of a folder lists.
        spans_in: Gives the times of files in a folder, where their names are those of splits.

    Raises:
        RecordingVanishedError: There is no such folder.
        RecordingError: The folder may not be read.
    """
    content = look_into(folder)
    folders = [folder / name for name in content.folders]
    found = recordings_of(content, is_root=is_root, listed_in=listed_in, spans_in=spans_in)
    return found, folders


def recordings_of(
    content: FolderContent, *, is_root: bool, listed_in: ListedIn, spans_in: SpansIn
) -> list[Recording]:
    """Tell which recordings a folder's names are, wherever the folder is.

    Args:
        content: What is in the folder.
        is_root: As of `recordings_in`.
        listed_in: As of `recordings_in`.
        spans_in: As of `recordings_in`.
    """
    if not content.storage:
        return []
    reads = content.has_metadata and not is_root
    groups = group_files(
        content.storage,
        folder=content.path.name,
        listed=listed_in(content.path) if reads else None,
        is_root=is_root,
        spans=partial(spans_in, content.path),
    )
    return [_recording(content.path, group) for group in groups]


def others_of(names: Sequence[str]) -> list[str]:
    """Give those of a folder's files that are no storage files and belong to no recording.

    What lies in a folder with a `metadata.yaml` belongs to its recording; hidden and temporary
    names are passed over.
    """
    if METADATA_FILE in names:
        return []
    return [name for name in names if not is_temporary(name) and storage_name(name) is None]


def _recording(folder: Path, group: Group) -> Recording:
    files = tuple(
        RecordingFile(
            path=folder / named.name,
            size_bytes=size_bytes,
            container=named.container,
            compression=named.compression,
        )
        for named, size_bytes in group.files
    )
    if group.is_folder:
        return Recording(path=folder, name=folder.name, files=files)
    # The same path, not an equal one: of ten thousand lone files that is some memory.
    return Recording(path=files[0].path, name=group.name, files=files)


def find_others(folder: Path, *, recursive: bool = True, most: int = 20_000) -> list[Path]:
    """Find files under a folder that are no storage files and belong to no recording.

    What lies in a folder with a `metadata.yaml` belongs to its recording; hidden and temporary
    names, and symlinks, are passed over, as are folders that may not be entered.

    Args:
        folder: Where to look.
        recursive: Whether to look into folders in it, too.
        most: At most so many files are looked at.
    """
    found: list[Path] = []
    waiting, looked = [folder], 0
    while waiting and looked < most:
        inner = waiting.pop()
        try:
            with os.scandir(inner) as entries:
                listed = [entry for entry in entries if not is_temporary(entry.name)]
        except OSError:
            continue
        looked += len(listed)
        if any(entry.name == METADATA_FILE for entry in listed):
            continue
        folders = [entry.name for entry in listed if entry.is_dir(follow_symlinks=False)]
        waiting += [inner / name for name in folders if recursive and is_searched(name)]
        files = [entry.name for entry in listed if entry.is_file(follow_symlinks=False)]
        found += [inner / name for name in others_of(files)]
    return sorted(found)
