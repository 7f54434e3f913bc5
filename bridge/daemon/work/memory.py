"""How a worker's memory is handled: freed memory is kept for the next batch while it works.

Batches of some megabytes come and go many times a second. By default such pieces are mapped and
unmapped each time, and the kernel fills every page with zeros again. So a worker keeps what it
frees until its recording is done, and then gives it back.
"""

import ctypes
from collections.abc import Mapping

import pyarrow as pa

ENVIRONMENT: Mapping[str, str] = {"MIMALLOC_PURGE_DELAY": "1000"}
"""For a worker to be started with: Arrow's allocator keeps what is freed for so many ms."""

# malloc.h of the GNU C library, which numpy and Python allocate from; others lack mallopt.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

MAPPED_BYTES_MIN = 32 << 20
"""The highest threshold there is for pieces that are mapped on their own."""

KEPT_BYTES_MAX = 256 << 20
"""How much freed memory stays at the end of the heap."""


def keep_freed_memory() -> None:
    """Let this process keep what it frees, in one heap for all threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX)


def give_back_freed_memory() -> None:
    """Return to the system what is free now."""
    pa.default_memory_pool().release_unused()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
