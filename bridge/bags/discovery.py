"""Finding the recordings under a folder by the names in it, without opening a file."""

from pathlib import Path

from bridge.bags.formats import StorageName
from bridge.bags.metadata import read_hints
from bridge.bags.recording import FolderContent, look_into, members, split_groups
from bridge.errors import RecordingError
from bridge.model import Recording, RecordingFile


def find_recordings(folder: Path, *, recursive: bool = True) -> list[Recording]:
    """Find all recordings under a folder, sorted by path.

    Files and folders with temporary or hidden names are passed over, symlinks are not followed,
    and folders that vanish or may not be entered meanwhile are left out.

    The recordings are what names alone tell: formats by extension, no hints, no notes, and files
    that `load_recording` would refuse are among them, so that somebody gets to hear of them.

    Cost: one listing per folder and one `stat` per storage file; no file is opened, except a
    `metadata.yaml` beside files of more than one name.

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


def recordings_in(folder: Path, *, is_root: bool) -> tuple[list[Recording], list[Path]]:
    """Find the recordings directly in one folder, and the folders in it to look into next.

    For callers that remember what they saw and look again only where something has changed.

    Args:
        folder: The folder.
        is_root: Whether it is the one where the search began; that is never a recording itself
            unless a `metadata.yaml` says so.

    Raises:
        RecordingVanishedError: There is no such folder.
        RecordingError: The folder may not be read.
    """
    content = look_into(folder)
    return _recordings_in(content, is_root=is_root), [folder / name for name in content.folders]


def _recordings_in(content: FolderContent, *, is_root: bool) -> list[Recording]:
    if not content.storage:
        return []
    groups = split_groups(content.storage)
    whole: list[tuple[StorageName, int]] = []
    if content.has_metadata:
        hints = read_hints(content.path)[0] if len(groups) > 1 else {}
        whole = members(content, hints)
    elif not is_root and len(groups) == 1 and groups[0][0][0].base == content.path.name:
        # A recorder that was killed leaves its folder without metadata.yaml.
        whole = groups[0]
    recordings = []
    if whole:
        files = _files(content.path, whole)
        recordings.append(Recording(path=content.path, name=content.path.name, files=files))
    taken = {named.name for named, _ in whole}
    for group in groups:
        if group[0][0].name not in taken:
            first = group[0][0]
            name = first.stem if len(group) == 1 else first.base
            files = _files(content.path, group)
            # The same path, not an equal one: of ten thousand lone files that is some memory.
            recordings.append(Recording(path=files[0].path, name=name, files=files))
    return recordings


def _files(folder: Path, group: list[tuple[StorageName, int]]) -> tuple[RecordingFile, ...]:
    return tuple(
        RecordingFile(
            path=folder / named.name,
            size_bytes=size_bytes,
            container=named.container,
            compression=named.compression,
        )
        for named, size_bytes in group
    )
