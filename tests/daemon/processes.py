"""Which processes a daemon under test has started, and whether they live.

psutil looks, as a process may end between being listed and being looked at.
"""

import psutil  # type: ignore[import-untyped]


def children(pid: int) -> list[int]:
    """List the processes that a process has started and that run."""
    return [child.pid for child in psutil.Process(pid).children() if alive(child.pid)]


def alive(pid: int) -> bool:
    """Tell whether a process runs: one that merely waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def runs(pid: int, program: str) -> bool:
    """Tell whether a process runs a program, by a part of its command line."""
    try:
        return any(program in word for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:  # A zombie has gone, too.
        return False


def pss_bytes(pid: int) -> int:
    """Give a process's share of memory, 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
