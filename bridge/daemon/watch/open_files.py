"""Whether anybody has a file open for writing: by a read lease, else by looking through /proc.

The lease is exact and costs microseconds, but needs ownership of the file (or CAP_LEASE) and a
local file system. It is given up at once: while it is held, a writer's open() would wait. /proc
knows about every process only for root; for anybody else an empty result means "unknown".
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from bridge.files import is_on_network


class Writer(StrEnum):
    """Who has a file open for writing."""

    NOBODY = "nobody"
    SOMEBODY = "somebody"
    UNKNOWN = "unknown"


WriterCheck = Callable[[Path], Writer]


def writer_of(path: Path) -> Writer:
    """Say whether anybody has a file open for writing, by whatever means is at hand."""
    found = by_lease(path)
    return by_proc(path) if found is Writer.UNKNOWN else found


def by_lease(path: Path) -> Writer:
    """Ask the kernel by taking, and giving up at once, a read lease.

    Cost: one open and three fcntl, about ten microseconds.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return Writer.UNKNOWN
    try:
        facts = os.fstat(handle)
        # Leases say nothing about other machines: NFS refuses every lease it has no delegation
        # for, which would look like a writer that never goes away.
        if not stat.S_ISREG(facts.st_mode) or is_on_network(facts.st_dev):
            return Writer.UNKNOWN
        # A writer that opens the file in this instant makes the kernel signal us. The default,
        # SIGIO, would kill the process; SIGURG is ignored by default.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            busy = error.errno in {errno.EAGAIN, errno.EBUSY}
            return Writer.SOMEBODY if busy else Writer.UNKNOWN
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return Writer.UNKNOWN
    else:
        return Writer.NOBODY
    finally:
        os.close(handle)


def by_proc(path: Path) -> Writer:
    """Look through the open files of all processes.

    Cost: a few milliseconds; linear in the open files of the machine.
    """
    try:
        wanted = path.stat(follow_symlinks=False)
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return Writer.UNKNOWN
    identity = (wanted.st_dev, wanted.st_ino)
    # With hidepid only our own processes are listed; the first process is always there.
    blind = Path("/proc/1") not in processes
    for process in processes:
        try:
            if _writes(process, identity):
                return Writer.SOMEBODY
        except PermissionError:
            blind = True
        except OSError:
            continue
    return Writer.UNKNOWN if blind else Writer.NOBODY


def _writes(process: Path, identity: tuple[int, int]) -> bool:
    for link in (process / "fd").iterdir():
        try:
            facts = link.stat()
            if (facts.st_dev, facts.st_ino) != identity:
                continue
            lines = (process / "fdinfo" / link.name).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            continue
        flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        if flags & os.O_ACCMODE != os.O_RDONLY:
            return True
    return False
