"""Deleting, archiving and quarantining a recording's own files, and nothing else.

Folders are opened once and names are looked up in them, so that a link put in a folder's place
leads nowhere. Only files that still look as they did when they were identified are touched, one by
one; a folder goes only when it is empty, and never the watched folder itself. Slow on big files
and many: runs outside the daemon's loop.

The order is always: journal says `finalised`, then the source goes, then the journal says
`disposed`; a kill in between leaves a recording that is looked at again.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from bridge.bags import METADATA_FILE, SIDECAR_SUFFIXES, STORAGE_SUFFIXES
from bridge.daemon.watch.scan import look_at
from bridge.files import OpenFolder, replace_file
from bridge.model import Recording

REPORT_SUFFIX = ".report.json"
NAMES_MAX = 10_000
COMPARE_CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 512

Check = Callable[[], None]


class SourceChangedError(OSError):
    """The files are not those that were identified any more; they stay where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A recording's files in a watched folder.

    Attributes:
        recording: The recording.
        watched: The watched folder.
        signature: How its files looked when it was identified; see `look_at`.
    """

    recording: Recording
    watched: Path
    signature: str

    @property
    def folder(self) -> Path:
        """The folder that its files are in."""
        return self.recording.files[0].path.parent

    @property
    def below(self) -> PurePath:
        """The way to that folder from the watched one."""
        return self.folder.relative_to(self.watched)

    @property
    def owns_folder(self) -> bool:
        """Whether the folder is the recording's own: then it may go when it is empty."""
        return self.recording.path == self.folder != self.watched


def room_made_by(source: Source) -> int:
    """Give the bytes that deleting a recording should free: 0 where other names link to its files.

    Raises:
        OSError: It is not there any more, or cannot be looked at.
    """
    with OpenFolder.open(source.watched, source.below) as folder:
        looks = [folder.status(name) for name in _own_names(source, folder)]
    return sum(look.st_blocks * BLOCK_BYTES for look in looks if look.st_nlink == 1)


def delete(source: Source) -> None:
    """Remove a recording's own files, and its folder if nothing else is left in it.

    Raises:
        SourceChangedError: It is not what was identified; nothing was removed.
        OSError: Something could not be removed; the rest is still there.
    """
    with OpenFolder.open(source.watched, source.below) as folder:
        _require_unchanged(source, folder)
        for name in _own_names(source, folder):
            try:
                folder.unlink(name)
            except FileNotFoundError:
                continue
        folder.sync()
        if source.owns_folder and not _holds_storage(folder):
            if folder.has(METADATA_FILE):
                folder.unlink(METADATA_FILE)
            folder.sync()
    if source.owns_folder:
        _remove_empty(source.watched, source.below)


def move(source: Source, archive: Path, *, check: Check = lambda: None) -> Path:
    """Bring a recording into another folder, keeping its place below the watched one.

    A name that is taken there gets a number. Across file systems everything is copied and made
    durable before anything is removed here; a copy that a kill cut short is taken up.

    Args:
        source: The recording.
        archive: Where to; made if missing.
        check: Called every few megabytes; what it raises ends the move.

    Returns:
        Where it is now.

    Raises:
        SourceChangedError: It is not what was identified; nothing was moved.
        OSError: It could not be moved; what is not there is still here.
    """
    archive.mkdir(parents=True, exist_ok=True)
    with (
        OpenFolder.open(source.watched, source.below) as folder,
        OpenFolder.open(archive) as top,
    ):
        _require_unchanged(source, folder)
        names = _own_names(source, folder)
        place = source.below
        if source.owns_folder:
            place = _free_place(top, place, folder, names)
        with top.make(place) as target:
            moved = {name: _free_name(target, name, folder) for name in names}
            _move_all(source, folder, target, moved, check)
            folder.sync()
            if source.owns_folder and not _holds_storage(folder):
                _move_metadata(folder, target, check)
    if source.owns_folder:
        _remove_empty(source.watched, source.below)
        return archive / place
    return archive / place / moved[source.recording.path.name]


def quarantine(
    source: Source, folder: Path, report: Mapping[str, Any], *, check: Check = lambda: None
) -> Path:
    """Bring a recording that cannot be read out of the way, with a report beside it.

    Returns:
        Where it is now.

    Raises:
        OSError: It could not be moved; the source is still there.
    """
    target = move(source, folder, check=check)
    write_report(target, report)
    return target


def finish_folder(folder: Path, watched: Path, archive: Path | None) -> None:
    """Let the metadata.yaml of a recording whose files are all gone follow them, then the folder.

    Args:
        folder: Where the recording was.
        watched: The watched folder; stays even if nothing else is left in it, with what is in it.
        archive: Where the files went; None if they were deleted.

    Raises:
        OSError: It could not be moved or removed; it is still there.
    """
    if folder == watched:
        return
    below = folder.relative_to(watched)
    with OpenFolder.open(watched, below) as opened:
        if archive is None:
            if opened.has(METADATA_FILE):
                opened.unlink(METADATA_FILE)
        else:
            archive.mkdir(parents=True, exist_ok=True)
            with OpenFolder.open(archive) as top, top.make(below) as target:
                _move_metadata(opened, target, lambda: None)
        opened.sync()
    _remove_empty(watched, below)


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


def _require_unchanged(source: Source, folder: OpenFolder) -> None:
    found = look_at(source.recording, lstat=lambda path: folder.status(path.name))
    if found is None or found.signature != source.signature:
        raise SourceChangedError(
            errno.ESTALE, "it is not what was identified any more", str(source.recording.path)
        )


def _own_names(source: Source, folder: OpenFolder) -> list[str]:
    """List the recording's files that are there, with those that a database keeps beside it."""
    names = []
    for file in source.recording.files:
        sidecars = (file.path.name + suffix for suffix in SIDECAR_SUFFIXES)
        names += [file.path.name, *(name for name in sidecars if folder.has(name))]
    return names


def _holds_storage(folder: OpenFolder) -> bool:
    """Say whether anything in a folder looks like a recording, or a copy of one under way."""
    return any(suffix in name for name in folder.names() for suffix in STORAGE_SUFFIXES)


def _remove_empty(watched: Path, below: PurePath) -> None:
    with OpenFolder.open(watched, below.parent) as parent:
        # Somebody may keep notes beside a recording; they stay, and so does the folder.
        if parent.has(below.name) and parent.remove_empty(below.name):
            parent.sync()


# -- moving --------------------------------------------------------------------------------------


def _move_all(
    source: Source, folder: OpenFolder, target: OpenFolder, moved: Mapping[str, str], check: Check
) -> None:
    copied = False
    for name, new_name in moved.items():
        if copied or not _renamed(folder, name, target, new_name):
            copied = True
            if not _is_copy(folder, name, target, new_name):
                folder.copy(name, target, new_name, check=check)
    target.sync()
    if copied:
        check()
        _require_unchanged(source, folder)
        for name in moved:
            folder.unlink(name)


def _renamed(folder: OpenFolder, name: str, target: OpenFolder, new_name: str) -> bool:
    """Rename a file; False where the target is another file system."""
    before = folder.status(name)
    try:
        folder.rename(name, target, new_name)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    if target.status(new_name).st_ino != before.st_ino:
        # Another file took the name in between; it goes back.
        target.rename(new_name, folder, name)
        raise SourceChangedError(errno.ESTALE, "another file took its place", name)
    return True


def _move_metadata(folder: OpenFolder, target: OpenFolder, check: Check) -> None:
    if not folder.has(METADATA_FILE):
        return
    new_name = _free_name(target, METADATA_FILE, folder)
    if not _renamed(folder, METADATA_FILE, target, new_name):
        folder.copy(METADATA_FILE, target, new_name, check=check)
        folder.unlink(METADATA_FILE)
    target.sync()


def _free_place(top: OpenFolder, below: PurePath, folder: OpenFolder, names: list[str]) -> PurePath:
    """Find a folder in the archive that holds none of these names, or what a kill left of them."""
    for number in range(NAMES_MAX):
        place = below if number == 0 else below.with_name(f"{below.name}-{number}")
        try:
            with top.make(place.parent) as parent, parent.enter(place.name) as there:
                if all(_is_free(there, name, folder) for name in names):
                    return place
        except FileNotFoundError:
            return place
        except NotADirectoryError:
            continue
    raise FileExistsError(errno.EEXIST, "too many folders of this name", str(below))


def _free_name(target: OpenFolder, name: str, folder: OpenFolder) -> str:
    for number in range(NAMES_MAX):
        stem, dot, rest = name.partition(".")
        candidate = name if number == 0 else f"{stem}-{number}{dot}{rest}"
        if not target.has(candidate) or _is_copy(folder, name, target, candidate):
            return candidate
    raise FileExistsError(errno.EEXIST, "too many files of this name", name)


def _is_free(target: OpenFolder, name: str, folder: OpenFolder) -> bool:
    return not target.has(name) or _is_copy(folder, name, target, name)


def _is_copy(folder: OpenFolder, name: str, target: OpenFolder, new_name: str) -> bool:
    """Say whether a file is in the target already: a kill came between copying and removing."""
    try:
        here, there = folder.status(name), target.status(new_name)
    except FileNotFoundError:
        return False
    if (here.st_size, here.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
        return False
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
        # A second name of the same file is no copy of it.
        return False
    return all(one == other for one, other in _pieces(folder, name, target, new_name))


def _pieces(
    folder: OpenFolder, name: str, target: OpenFolder, new_name: str
) -> Iterator[tuple[bytes, bytes]]:
    one = folder.open_file(name)
    try:
        other = target.open_file(new_name)
        try:
            while piece := os.read(one, COMPARE_CHUNK_BYTES):
                yield piece, os.read(other, COMPARE_CHUNK_BYTES)
        finally:
            os.close(other)
    finally:
        os.close(one)
