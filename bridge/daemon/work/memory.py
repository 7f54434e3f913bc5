"""How a worker's memory is handled: small stacks, and freed memory kept while it works.

Threads reserve a stack of 8 MiB each by default and use some ten KiB of it. The kernel counts what
is reserved against the worker's limit, and many topics are sent by many threads.

Batches of some megabytes come and go many times a second. By default such pieces are mapped and
unmapped each time, and the kernel fills every page with zeros again. So a worker keeps what it
frees until its recording is done, and then gives it back. It loads nothing that only others need.
"""

import ctypes
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder

import numpy as np
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


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        """Find everything else where it would be found anyway."""
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not wanted", name=fullname)


def leave_pandas_out() -> None:
    """Keep pyarrow from loading pandas, where that is installed, for what needs none of it.

    At the first array from numpy, and the first to it, pyarrow wants to know pandas' own types;
    loading them takes 0.2 s and 33 MiB. It asks once each. Pandas still works in this process, and
    so does `to_pandas`; but what pyarrow is given of pandas' it may not know for what it is.
    """
    without = _WithoutPandas()
    sys.meta_path.insert(0, without)
    try:
        pa.array(np.zeros(1)).to_numpy()
    finally:
        sys.meta_path.remove(without)


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
