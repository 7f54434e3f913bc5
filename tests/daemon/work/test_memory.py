"""A worker's memory: kept while it works, given back when it is done."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from bridge.daemon.work.memory import ENVIRONMENT

SCRIPT = """
import resource, sys, time
import numpy as np, pyarrow as pa, pyarrow.compute as pc
from bridge.daemon.work.memory import give_back_freed_memory, keep_freed_memory

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def work():
    chunk = b"x" * (8 << 20)
    fixed = pa.FixedSizeBinaryArray
    images = fixed.from_buffers(pa.binary(1 << 20), 8, [None, pa.py_buffer(chunk)])
    column = pc.cast(images, pa.binary())
    return len(chunk) + column.nbytes

if sys.argv[1] == "as a worker":
    keep_freed_memory()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    time.sleep(0.05)
    work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
kept = resident_bytes()
give_back_freed_memory()
print(faults, kept - resident_bytes())
"""


def run(how: str, environment: dict[str, str]) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    faults, given_back = done.stdout.split()
    return int(faults), int(given_back)


def test_batches_reuse_memory_until_it_is_given_back() -> None:
    """Once warm, batches touch no new page; afterwards the memory is the system's again."""
    usual, _ = run("as usual", {})
    faults, given_back = run("as a worker", dict(ENVIRONMENT))

    assert faults < 200 < usual
    assert given_back > 8 << 20


PANDAS_SCRIPT = """
import sys
import numpy as np, pyarrow as pa
from bridge.daemon.work.memory import leave_pandas_out

leave_pandas_out()
numbers = pa.array(np.arange(3))
bits = pa.array([True, False]).to_numpy(zero_copy_only=False)
assert "pandas" not in sys.modules
assert numbers.to_pandas().sum() == 3
assert pa.array(sys.modules["pandas"].Series([1.0, None])).null_count == 1
"""


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_pandas_is_left_out_until_somebody_wants_it() -> None:
    """Arrays to and from numpy do not load it; `to_pandas` does, and all is as ever from then."""
    subprocess.run([sys.executable, "-c", PANDAS_SCRIPT], check=True)
