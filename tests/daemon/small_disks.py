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


class SlowDisk:
    """A file system on a device of its own, which can be made slow for certain processes.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path, image: Path, group: Path) -> None:
        self.folder = folder
        self._image = image
        self._group = group

    def cool(self) -> None:
        """Forget what was read or written, so that it is read from the device again."""
        subprocess.run(["umount", str(self.folder)], check=True)
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True)

    def read_slowly(self, bytes_per_second: int, command: list[str]) -> list[str]:
        """Give a command whose reads of the device the kernel lets through at this rate."""
        device = self.folder.stat().st_dev
        rule = f"{os.major(device)}:{os.minor(device)} {bytes_per_second}"
        (self._group / "blkio.throttle.read_bps_device").write_text(rule)
        enter = f'echo $$ > {self._group}/cgroup.procs && exec "$@"'
        return ["sh", "-c", enter, "sh", *command]


@contextlib.contextmanager
def slow_disk(folder: Path, *, size_bytes: int) -> Iterator[SlowDisk]:
    """Mount a file system from an image, or skip the test where that, or slowing, is not possible.

    The processes that read slowly have to end before this does.
    """
    mkfs, umount = shutil.which("mkfs.ext4"), shutil.which("umount")
    if os.geteuid() != 0 or mkfs is None or umount is None:
        pytest.skip("only root can mount a file system")
    image = folder.with_name(f"{folder.name}.image")
    image.touch()
    os.truncate(image, size_bytes)
    subprocess.run([mkfs, "-q", str(image)], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    group = Path(f"/sys/fs/cgroup/blkio/mosaico-bridge-test-{os.getpid()}")
    try:
        try:
            group.mkdir()
        except OSError:
            pytest.skip("reads cannot be slowed here")
        try:
            yield SlowDisk(folder, image, group)
        finally:
            group.rmdir()
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)
