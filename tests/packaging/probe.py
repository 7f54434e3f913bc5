"""Tries what a sandboxed service has no business to do, and prints as JSON what was refused.

A script of its own, without imports from the project: it runs inside the sandbox.
"""

import ctypes
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

PTRACE_TRACEME = 0
CLONE_NEWUSER = 0x10000000
ADDR_NO_RANDOMIZE = 0x0040000
SETUID_MODE = 0o4755
READ_ONLY = ("/", "/usr", "/etc", "/var")

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int) -> None:
    """Make a system call through the C library, with its error as an exception."""
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def write_and_execute() -> None:
    """Ask for memory that can be both written and executed."""
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def setuid_file() -> None:
    """Make a file that runs as its owner."""
    file = Path(sys.argv[1]) / "setuid"
    file.touch()
    try:
        file.chmod(SETUID_MODE)
    finally:
        file.unlink()


def writable(folder: str) -> None:
    """Fail where a folder's file system is mounted read-only, for every user."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(f"{folder} is read-only")


# What anybody may do on an ordinary machine, without privileges.
TRIALS: dict[str, Callable[[], object]] = {
    "write-execute": write_and_execute,
    "setuid": setuid_file,
    "ptrace": lambda: call("ptrace", PTRACE_TRACEME, 0, 0, 0),
    "namespace": lambda: call("unshare", CLONE_NEWUSER),
    "personality": lambda: call("personality", ADDR_NO_RANDOMIZE),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    **{f"write {folder}": partial(writable, folder) for folder in READ_ONLY},
}


def refused(trial: Callable[[], object]) -> bool:
    """Tell whether a trial met resistance."""
    try:
        trial()
    except OSError:
        return True
    return False


json.dump({name: refused(trial) for name, trial in TRIALS.items()}, sys.stdout)
