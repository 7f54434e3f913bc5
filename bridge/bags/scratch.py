"""Private scratch folders: checked against free space first, removed afterwards.

Everything the readers write goes here and nowhere else: copies of databases that need recovery,
and expanded files. Each folder is locked by its user, and the lock ends with the process; so a
folder that a killed process left behind can be distinguished from one in use.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import ScratchSpaceError

SCRATCH_PREFIX = "mosaico-bridge-"
"""How every scratch folder is named, so that those of a killed process can be found."""

FREE_BYTES_MIN = 64 << 20
"""What a copy leaves free, so that scratch never takes the last bytes from a recorder."""

PRIVATE_FOLDER_MODE = 0o700


@contextmanager
def scratch_folder(scratch_dir: Path | None, *, needed_bytes: int) -> Iterator[Path]:
    """Make a folder that only we can enter, and remove it with all its content.

    Args:
        scratch_dir: Where to make it, itself made if need be; None for the system's temporary
            folder.
        needed_bytes: How much will be written.

    Raises:
        ScratchSpaceError: The file system has less than that free, or cannot be written to.
    """
    parent = scratch_dir or Path(tempfile.gettempdir())
    try:
        parent.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
        check_free(parent, needed_bytes=needed_bytes)
        folder, lock = _made(parent)
    except OSError as error:
        raise ScratchSpaceError(
            f"no scratch folder can be made: {error.strerror}",
            folder=parent,
            needed_bytes=needed_bytes,
            hint="the bridge's user needs permission to write to the scratch folder",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_scratch(scratch_dir: Path) -> int:
    """Remove the folders of processes that are gone, and return how many there were.

    A folder in use, of another user, or that cannot be removed is left alone.
    """
    swept = 0
    for folder in sorted(scratch_dir.glob(f"{SCRATCH_PREFIX}*")):
        try:
            lock = _locked(folder, wait=False)
        except OSError:
            # A lock is held, it is no folder, or not ours.
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                shutil.rmtree(folder)
                swept += 1
        except OSError:
            continue
        finally:
            os.close(lock)
    return swept


def _made(parent: Path) -> tuple[Path, int]:
    """Make a folder and lock it; once more where a sweep came in between."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent))
        try:
            lock = _locked(folder, wait=True)
        except FileNotFoundError:
            continue
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)


def _locked(folder: Path, *, wait: bool) -> int:
    """Open and lock a folder; the lock lasts as long as the descriptor, which is not inherited."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_free(folder: Path, *, needed_bytes: int) -> None:
    """Refuse to start what cannot fit.

    Raises:
        ScratchSpaceError: Less than `needed_bytes` and a reserve are free, or nobody can tell.
    """
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise ScratchSpaceError(
            f"the scratch folder cannot be used: {error.strerror}",
            folder=folder,
            needed_bytes=needed_bytes,
        ) from error
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < needed_bytes + FREE_BYTES_MIN:
        raise ScratchSpaceError(
            f"{needed_bytes} bytes of scratch space are needed beside a reserve of "
            f"{FREE_BYTES_MIN}, and {free_bytes} are free",
            folder=folder,
            needed_bytes=needed_bytes,
            hint="free some space, or point the scratch folder at another disk",
        )
