"""What happens to a source that is on the platform: nothing, moved, or deleted. And quarantine.

Only the files that were identified, sent and verified are touched, and only while they still look
as they did then. The order is always: journal says `finalised`, then the source goes, then the
journal says `disposed`; a kill in between leaves a recording that is looked at again.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.bags import METADATA_FILE, SIDECAR_SUFFIXES
from bridge.daemon.watch.completeness import is_folder
from bridge.files import replace_file, sync_file, sync_folder
from bridge.model import Recording

REPORT_SUFFIX = ".report.json"
NAMES_MAX = 10_000


def delete(recording: Recording) -> None:
    """Remove a recording's own files, and its folder if nothing else is left in it.

    Raises:
        OSError: Something could not be removed; the rest is still there.
    """
    for path in _own_files(recording):
        path.unlink(missing_ok=True)
    if is_folder(recording.path):
        try:
            recording.path.rmdir()
        except OSError as error:
            # Somebody keeps notes beside the recording; they stay.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            sync_folder(recording.path)
    sync_folder(recording.path.parent)


def move(recording: Recording, watched: Path, archive: Path) -> Path:
    """Bring a recording into another folder, keeping its place below the watched one.

    A name that is taken there gets a number. Across file systems it is copied, made durable, and
    only then removed here.

    Returns:
        Where it is now.

    Raises:
        OSError: It could not be moved; the source is still there.
    """
    path = recording.path
    folder = archive / path.parent.relative_to(watched)
    folder.mkdir(parents=True, exist_ok=True)
    if is_folder(path):
        target = _free_name(folder, path.name)
        _move_one(path, target)
        sync_folder(path.parent)
        return target
    target = path
    for file in _own_files(recording):
        with contextlib.suppress(FileNotFoundError):
            moved = _free_name(folder, file.name)
            _move_one(file, moved)
            target = moved if file == path else target
    sync_folder(path.parent)
    return target


def finish_folder(folder: Path, watched: Path, archive: Path | None) -> None:
    """Let the metadata.yaml of a recording whose files are all gone follow them, then the folder.

    Args:
        folder: Where the recording was.
        watched: The watched folder; stays even if nothing else is left in it.
        archive: Where the files went; None if they were deleted.

    Raises:
        OSError: It could not be moved or removed; it is still there.
    """
    metadata = folder / METADATA_FILE
    if archive is None:
        metadata.unlink(missing_ok=True)
    else:
        target = archive / folder.relative_to(watched)
        target.mkdir(parents=True, exist_ok=True)
        _move_one(metadata, _free_name(target, METADATA_FILE))
    sync_folder(folder)
    if folder != watched:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        else:
            sync_folder(folder.parent)


def quarantine(
    recording: Recording, watched: Path, folder: Path, report: Mapping[str, Any]
) -> Path:
    """Bring a recording that cannot be read out of the way, with a report beside it.

    Returns:
        Where it is now.

    Raises:
        OSError: It could not be moved; the source is still there.
    """
    target = move(recording, watched, folder)
    write_report(target, report)
    return target


def write_report(path: Path, report: Mapping[str, Any]) -> Path:
    """Write what is known of a recording beside it, as JSON for people and programs.

    Returns:
        The report's path.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(path.name + REPORT_SUFFIX)
    replace_file(beside, json.dumps(report, indent=2, default=str) + "\n")
    return beside


def _own_files(recording: Recording) -> Iterator[Path]:
    for file in recording.files:
        yield file.path
        for suffix in SIDECAR_SUFFIXES:
            yield file.path.with_name(file.path.name + suffix)
    if is_folder(recording.path):
        yield recording.path / METADATA_FILE


def _free_name(folder: Path, name: str) -> Path:
    for number in range(NAMES_MAX):
        stem, dot, rest = name.partition(".")
        candidate = folder / (name if number == 0 else f"{stem}-{number}{dot}{rest}")
        if not os.path.lexists(candidate):
            return candidate
    raise FileExistsError(errno.EEXIST, f"too many files named like {name}", str(folder))


def _move_one(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_over(source, target)
    sync_folder(target.parent)


def _copy_over(source: Path, target: Path) -> None:
    """Copy to another file system under a temporary name, make it durable, then remove the source.

    A kill before the rename leaves the source and a temporary file; after it, both and then one.
    """
    draft = target.with_name(f".{target.name}.tmp")
    if is_folder(source):
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft, symlinks=True)
        for path in draft.rglob("*"):
            if path.is_file() and not path.is_symlink():
                sync_file(path)
        sync_folder(draft)
    else:
        shutil.copy2(source, draft, follow_symlinks=False)
        sync_file(draft)
    draft.rename(target)
    sync_folder(target.parent)
    if is_folder(source):
        shutil.rmtree(source)
    else:
        source.unlink()
