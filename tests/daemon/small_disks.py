"""File systems of a few megabytes, for tests of full disks and of moves across file systems."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount a file system in memory, or skip the test where that is not possible."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root can mount a small file system")
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    if subprocess.run([mount, *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave_bytes: int = 0) -> Path:
    """Fill a disk up, but for some bytes; give the file whose removal makes room again."""
    filler = folder / "filler"
    with filler.open("ab") as stream:
        # In one call: who looks at the disk meanwhile should see it as it was or as it is. Again
        # only where somebody else wrote between the two lines.
        while (missing_bytes := shutil.disk_usage(folder).free - leave_bytes) > 0:
            with contextlib.suppress(OSError):
                os.posix_fallocate(stream.fileno(), filler.stat().st_size, missing_bytes)
    return filler


@contextlib.contextmanager
def mounted_on_itself(file: Path) -> Iterator[Path]:
    """Make a name that nobody can remove, or skip the test where that is not possible."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("mounting is not possible here")
    made = subprocess.run([mount, "--bind", file, file], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield file
    finally:
        subprocess.run([umount, "--lazy", file], check=True)
