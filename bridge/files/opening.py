"""Files that others may change meanwhile: opening them safely, and seeing that they changed.

A watch folder is writable by others, so between the scan that found a name and the moment it is
opened anything may have taken its place: a FIFO that would block for ever, a device, a symlink out
of the folder. Opening first and looking at the open file afterwards leaves no such moment.
"""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import (
    NotARecordingError,
    RecordingError,
    RecordingVanishedError,
    UnreadableStorageError,
)
from bridge.files.folders import OpenFolder

# What a disk, a cable or a file server says that may be well again in a moment.
PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN, errno.EHOSTDOWN}
)

# What a process needs open besides the files of a recording.
_OPEN_FILES_SPARE = 256

# Files that are held open while several passes read them, by path: the open file, or why it could
# not be opened. See `HeldFiles`, which alone changes it.
HELD: dict[Path, list[int | RecordingError]] = {}


def open_regular(path: Path, *, folder: OpenFolder | None = None) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    No symlink is followed, no FIFO is waited for, and nothing is written.

    Args:
        path: The file; its last component must not be a symlink.
        folder: The file's folder, opened; the name is looked up in it.

    Raises:
        RecordingVanishedError: There is nothing at the path any more.
        NotARecordingError: The path is a symlink, a folder, a FIFO, a socket or a device.
        RecordingError: The file may not be read.
        UnreadableStorageError: The disk does not give it now.
    """
    try:
        descriptor = _opened(path, folder)
    except FileNotFoundError as error:
        raise RecordingVanishedError(
            "the file disappeared before it was read", path=path
        ) from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            raise NotARecordingError(
                "not a regular file", path=path, hint="symlinks are not followed, by design"
            ) from error
        require_readable(error, path=path)
        raise RecordingError(
            f"the file cannot be opened: {error.strerror}",
            path=path,
            hint="the bridge's user needs permission to read the file and enter its folders",
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARecordingError("not a regular file", path=path)
    return descriptor


def _opened(path: Path, folder: OpenFolder | None) -> int:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if folder is not None:
        return os.open(path.name, flags | os.O_NOFOLLOW, dir_fd=folder.descriptor)
    if found := HELD.get(path):
        held = found[-1]
        if isinstance(held, RecordingError):
            raise type(held)(held.message, path=path, hint=held.hint)
        # A new open file of the same inode, whatever has become of its name.
        return os.open(f"/proc/self/fd/{held}", flags)
    return os.open(path, flags | os.O_NOFOLLOW)


def require_readable(error: OSError, *, path: Path, offset_bytes: int | None = None) -> None:
    """Raise what an error of the disk means, if it is one that may pass.

    Raises:
        UnreadableStorageError: It is; the file is not to blame.
    """
    if error.errno in PASSING:
        raise UnreadableStorageError(
            f"the storage cannot be read now: {error.strerror}",
            path=path,
            offset_bytes=offset_bytes,
            hint="the disk or its mount is in trouble; see the kernel's log",
        ) from error


def version_of(descriptor: int) -> tuple[int, int]:
    """Return values of an open file that change whenever it is written: size and time in ns."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def allow_open_files(count: int) -> None:
    """Raise the process's soft limit of open files, within the hard one, so that so many fit.

    All files of a recording are open at once; a day of short splits is more than the usual 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OPEN_FILES_SPARE
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def entries_in(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Yield the entries of a folder, for a `with` block that looks at them.

    Raises:
        RecordingVanishedError: There is no such folder any more.
        RecordingError: The folder may not be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield entries
    except FileNotFoundError as error:
        raise RecordingVanishedError("there is no such folder", path=folder) from error
    except OSError as error:
        raise RecordingError(
            f"the folder cannot be read: {error.strerror}",
            path=folder,
            hint="name the folder that it is in"
            if isinstance(error, NotADirectoryError)
            else "the bridge's user needs permission to read and enter the folder",
        ) from error


def is_there(path: Path) -> bool:
    """Say whether there is something at a path that may be asked about.

    `Path.exists` raises where a folder above may not be entered; to this user nothing is there.
    """
    return os.access(path, os.F_OK)


def is_folder(path: Path) -> bool:
    """Say whether there is a folder at a path that may be asked about; see `is_there`."""
    return os.path.isdir(path)  # noqa: PTH112 - other than Path.is_dir it never raises
