"""What reaches the disk, and which file system it is on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# File systems that other machines may write to as well; FUSE may be anything, so it counts too.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "lustre", "virtiofs"}
)


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that after a power cut the old or the new one is there, whole.

    Raises:
        OSError: It cannot be written; the old one is untouched then.
    """
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: It cannot be opened or synced.
    """
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of a file durable.

    Raises:
        OSError: It cannot be opened or synced.
    """
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    device: str
    point: Path
    kind: str


def file_system(folder: Path) -> str:
    """Give the type of the file system that a folder is on; empty where that is not known."""
    folder = folder.absolute()
    # A mount point may be mounted over; the last one in the list is the one in force.
    found = (0, "")
    for mount in _mounts():
        if folder.is_relative_to(mount.point) and len(mount.point.parts) >= found[0]:
            found = (len(mount.point.parts), mount.kind)
    return found[1]


def mount_points() -> frozenset[Path]:
    """Give the folders that something is mounted on; empty where that is not known."""
    return frozenset(mount.point for mount in _mounts())


def is_on_network(device: int) -> bool:
    """Return whether a device (`st_dev`) may be written by other machines; true if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    if not MOUNTS.exists():
        return True
    for mount in _mounts():
        if mount.device == wanted:
            return is_network_kind(mount.kind)
    # Subvolumes (btrfs) and overlays show other numbers here than stat does; both are local.
    return False


def is_network_kind(kind: str) -> bool:
    """Return whether file systems of a type are shared with other machines."""
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse")


def _mounts() -> Iterator[_Mount]:
    """Give what is mounted; proc(5) has the format, with blanks and such as octal numbers."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        device, point = before.split()[2], before.split()[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(octal, character)
        yield _Mount(device=device, point=Path(point), kind=after.split()[0])
