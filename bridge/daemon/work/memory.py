"""How a worker's memory is handled: small stacks, and freed memory kept while it works.

Threads reserve a stack of 8 MiB each by default and use some ten KiB of it. The kernel counts what
is reserved against the worker's limit, and many topics are sent by many threads.

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


STACK_BYTES = 1 << 20
"""Stack of each thread that is started from then on, whichever library starts it."""

# More than pthread_attr_t has on any machine.
ATTRIBUTES_BYTES = 256


def use_small_stacks() -> None:
    """Let all later threads of this process reserve `STACK_BYTES` each."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "pthread_setattr_default_np"):
        attributes = ctypes.create_string_buffer(ATTRIBUTES_BYTES)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(STACK_BYTES))
        libc.pthread_setattr_default_np(attributes)
        libc.pthread_attr_destroy(attributes)


def reserve_memory() -> None:
    """Let Arrow's allocator reserve its gibibyte of addresses now, before any limit counts it."""
    pa.allocate_buffer(1 << 20)


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
