"""Files that others may change meanwhile: opening them safely, and seeing that they changed.

A watch folder is writable by others, so between the scan that found a name and the moment it is
opened anything may have taken its place: a FIFO that would block for ever, a device, a symlink out
of the folder. Opening first and looking at the open file afterwards leaves no such moment.
"""

import errno
import os
import stat
from pathlib import Path

from bridge.errors import NotARecordingError, RecordingError, RecordingVanishedError


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    No symlink is followed, no FIFO is waited for, and nothing is written.

    Args:
        path: The file; its last component must not be a symlink.

    Raises:
        RecordingVanishedError: There is nothing at the path any more.
        NotARecordingError: The path is a symlink, a folder, a FIFO, a socket or a device.
        RecordingError: The file may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise RecordingVanishedError(
            "the file disappeared before it was read", path=path
        ) from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            raise NotARecordingError(
                "not a regular file", path=path, hint="symlinks are not followed, by design"
            ) from error
        raise RecordingError(
            f"the file cannot be opened: {error.strerror}",
            path=path,
            hint="the bridge's user needs permission to read the file and enter its folders",
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARecordingError("not a regular file", path=path)
    return descriptor


def version_of(descriptor: int) -> tuple[int, int]:
    """Return values of an open file that change whenever it is written: size and time in ns."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
