"""Private scratch folders: checked against free space first, removed afterwards.

Everything the readers write goes here and nowhere else: copies of databases that need recovery,
and expanded files.
"""

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


@contextmanager
def scratch_folder(scratch_dir: Path | None, *, needed_bytes: int) -> Iterator[Path]:
    """Make a folder that only we can enter, and remove it with all its content.

    Args:
        scratch_dir: Where to make it; None for the system's temporary folder.
        needed_bytes: How much will be written.

    Raises:
        ScratchSpaceError: The file system has less than that free, or cannot be written to.
    """
    parent = scratch_dir or Path(tempfile.gettempdir())
    check_free(parent, needed_bytes=needed_bytes)
    try:
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent))
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
            f"{needed_bytes} bytes of scratch space are needed and {free_bytes} are free",
            folder=folder,
            needed_bytes=needed_bytes,
            hint="free some space, or point the scratch folder at another disk",
        )
