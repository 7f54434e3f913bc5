"""One look at the watched folder: which recordings are there, and how they look from outside.

No file is opened. A recording's signature covers names, sizes, times and inodes of its files; as
long as it stays the same nothing has been written.
"""

import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.bags import find_recordings
from bridge.daemon.completeness import METADATA_FILE, SIDECAR_SUFFIXES
from bridge.model import Container, Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A recording as a scan saw it.

    Attributes:
        recording: The recording, by names alone.
        signature: What its files look like from outside, as one hash.
        size_bytes: Size of its storage files.
        modified_ns: Newest modification time of its storage files.
    """

    recording: Recording
    signature: str
    size_bytes: int
    modified_ns: int


def scan(folder: Path, *, recursive: bool, ignore: Sequence[str] = ()) -> dict[Path, Found]:
    """Look at the whole folder.

    Args:
        folder: The watched folder.
        recursive: Look into subfolders too.
        ignore: Glob patterns relative to the folder; what matches, or lies in what matches, is
            left out.

    Raises:
        RecordingError: The folder is not there or may not be read.
    """
    found = {}
    for recording in find_recordings(folder, recursive=recursive):
        if not ignored(recording.path.relative_to(folder), ignore):
            seen = look_at(recording)
            if seen is not None:
                found[recording.path] = seen
    return found


def look_at(recording: Recording) -> Found | None:
    """See what a recording looks like from outside; None if part of it is gone."""
    identity = hashlib.sha256()
    size_bytes = modified_ns = 0
    try:
        for file in recording.files:
            facts = file.path.lstat()
            fields = (
                facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_mode
            )  # fmt: skip
            identity.update(repr((file.path.name, *fields)).encode())
            size_bytes += facts.st_size
            modified_ns = max(modified_ns, facts.st_mtime_ns)
        for path in _companions_of(recording):
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue
            identity.update(repr((path.name, facts.st_size, facts.st_mtime_ns)).encode())
    except OSError:
        return None
    return Found(
        recording=recording,
        signature=identity.hexdigest(),
        size_bytes=size_bytes,
        modified_ns=modified_ns,
    )


def _companions_of(recording: Recording) -> Iterator[Path]:
    """List files that are no storage but tell, when they change, that something goes on."""
    for file in recording.files:
        if file.container is Container.SQLITE3:
            for suffix in SIDECAR_SUFFIXES:
                yield file.path.with_name(file.path.name + suffix)
    if recording.files and recording.files[0].path != recording.path:
        yield recording.path / METADATA_FILE


def ignored(path: Path, patterns: Sequence[str]) -> bool:
    """Tell whether a path, relative to the watched folder, matches a pattern or lies below one."""
    names = [str(path), *(str(parent) for parent in path.parents)]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
