"""What the kernel says of itself under /proc: file systems, watches, capabilities."""

from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
WATCHES_MAX = Path("/proc/sys/fs/inotify/max_user_watches")
PROCESS_STATUS = Path("/proc/self/status")
CAP_LEASE = 28

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
OVER_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "afs"})


def file_system(folder: Path) -> str:
    """Give the type of the file system that a folder is on; empty where that is not known."""
    folder = folder.absolute()
    # A mount point may be mounted over; the last one in the list is the one in force.
    found = (0, "")
    for point, kind in _mounts():
        if folder.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), kind)
    return found[1]


def watches_max() -> int | None:
    """Give how many folders all programs of one user may watch; None where that is not known."""
    try:
        return int(WATCHES_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def may_lease() -> bool:
    """Tell whether this process has CAP_LEASE, as root does."""
    try:
        lines = PROCESS_STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> CAP_LEASE & 1)


def _mounts() -> Iterator[tuple[Path, str]]:
    """Give mount points and types; proc(5) has the format, with blanks and such as octal."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(octal, character)
        yield Path(point), after.split()[0]
