"""Reading and decoding against other readers of MCAP, each with what it does and leaves out.

Two of the peers are under GPL-3.0. They are installed into an environment of their own, where only
a program of a few lines runs them in a process of its own: nothing of them is copied, imported by
the project or shipped with it, and they are no dependency of its development either. Every reader
goes through a small recording first, so that what is loaded late is not timed. Messages and the sum
of their times must agree with what was written before a figure counts.
"""

import json
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import DRIVE, Stream
from benchmarks.messages import START_NS
from benchmarks.recordings import size_of, write_mcap
from benchmarks.scope import Scope
from benchmarks.sink import times_sum
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Timing, median_cpu_s, median_s, timed

BIG = ("camera", "lidar")
LONG = ("camera", "lidar", "scan")
SMALL_SECONDS, BIG_SECONDS, WARM_SECONDS = 150.0, 8.0, 0.2
QUICK_SHARE = 0.02

CASES: dict[str, tuple[tuple[Stream, ...], float, str]] = {
    "small": (_SMALL := tuple(each for each in DRIVE if not any(w in each.topic for w in LONG)),
              SMALL_SECONDS, "none"),
    "small, zstd": (_SMALL, SMALL_SECONDS, "zstd"),
    "big": (_BIG := tuple(each for each in DRIVE if any(w in each.topic for w in BIG)),
            BIG_SECONDS, "none"),
    "big, zstd": (_BIG, BIG_SECONDS, "zstd"),
}  # fmt: skip
"""Name -> topics of the drive, how long, compression of chunks."""

READ = """
import json, sys, time
def read(path):
{body}
read(sys.argv[2])
started_s, started_cpu_s = time.perf_counter(), time.process_time()
messages, times_sum = read(sys.argv[1])
print(json.dumps({{
    "cpu_s": time.process_time() - started_cpu_s, "seconds": time.perf_counter() - started_s,
    "messages": messages, "times_sum": times_sum % (1 << 64),
}}))
"""

ROSBAGS = """
    from pathlib import Path
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
    messages = times = 0
    with AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, time_ns, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
            messages, times = messages + 1, times + time_ns
    return messages, times
"""

SMALL_MCAP = """
    from mcap_ros2_support_fast.decoder import DecoderFactory
    from small_mcap import read_message_decoded
    messages = times = 0
    with open(path, "rb") as stream:
        for each in read_message_decoded(stream, decoder_factories=[DecoderFactory()]):
            each.decoded_message
            messages, times = messages + 1, times + each.message.log_time
    return messages, times
"""

RERUN = """
    import pyarrow as pa
    from rerun.chunk import McapReader
    messages = times = 0
    for chunk in McapReader(path, decoders=["{decoder}"]).stream():
        batch = chunk.to_record_batch()
        if "message_log_time" in batch.schema.names:
            messages += batch.num_rows
            times += sum(batch.column("message_log_time").cast(pa.int64()).to_numpy().tolist())
    return messages, times
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another reader.

    Attributes:
        name: What it is called in tables.
        environment: Name of the environment that it is installed into; empty for ours.
        requirements: What to install there.
        body: A function that reads a file and returns messages and the sum of their times.
        whole: Whether it decodes every message; otherwise counts are not compared.
        caveat: What it does and does not do.
    """

    name: str
    environment: str = ""
    requirements: tuple[str, ...] = ()
    body: str
    whole: bool = True
    caveat: str


PEERS = (
    Peer(
        name="rosbags",
        body=ROSBAGS,
        caveat="makes a Python object of every message, its arrays views of it, and no columns; "
        "checks no checksum",
    ),
    Peer(
        name="small-mcap",
        environment="small-mcap",
        requirements=("small-mcap==0.16.0", "mcap-ros2-support-fast==0.8.0", "zstandard", "lz4"),
        body=SMALL_MCAP,
        caveat="with `mcap-ros2-support-fast`; makes a Python object of every message, its arrays "
        "views of the chunk that nobody has touched, and no columns; checks no checksum unless "
        "asked",
    ),
    Peer(
        name="rerun, all fields",
        environment="rerun",
        requirements=("rerun-sdk==0.41.0",),
        body=RERUN.format(decoder="ros2_reflection"),
        caveat="a compiled program with threads of its own; makes Arrow columns of all fields, as "
        "ours does, in smaller pieces",
    ),
    Peer(
        name="rerun, its archetypes",
        environment="rerun",
        requirements=("rerun-sdk==0.41.0",),
        body=RERUN.format(decoder="ros2msg"),
        whole=False,
        caveat="the same, mapped to what its viewer draws: types that it does not know and fields "
        "that it does not draw are left out (half of the bytes of the small messages)",
    ),
)

COLUMNS = (
    "recording", "reader", "messages", "recorded MiB", "CPU s", "x ours, CPU", "s", "x ours",
)  # fmt: skip


def run(scope: Scope) -> list[Table]:
    """Read all recordings by all readers in turns."""
    readers = {peer.name: _environment(peer, scope) for peer in PEERS}
    rows = []
    for name, (streams, seconds, compression) in CASES.items():
        if scope.wants(name):
            length_s = seconds * (QUICK_SHARE if scope.quick else scope.scale)
            path, warm = scope.folder / "whole.mcap", scope.folder / "warm.mcap"
            write_mcap(path, streams, length_s, compression=compression)
            write_mcap(warm, streams, WARM_SECONDS, compression=compression)
            rows += _measure(name, path, warm, streams, length_s, readers, scope)
            path.unlink()
            warm.unlink()
    lines = [(peer.name, peer.caveat) for peer in PEERS]
    return [
        Table("Reading and decoding, by other readers", COLUMNS, rows),
        Table("What they do", ("reader", "what it does"), lines),
    ]


def _measure(
    name: str,
    path: Path,
    warm: Path,
    streams: Sequence[Stream],
    seconds: float,
    readers: dict[str, Path | None],
    scope: Scope,
) -> list[tuple[object, ...]]:
    counts = [(each.count(seconds), each.step_ns) for each in streams]
    written = (
        sum(count for count, _ in counts),
        sum(times_sum(START_NS, step, count) for count, step in counts) % (1 << 64),
    )
    runs: dict[str, list[Timing]] = {}
    for _ in range(scope.runs):
        for reader, subject in (("ours", decoded), ("ours, mapped", mapped)):
            scope.say(f"peers: {name}, {reader}")
            runs.setdefault(reader, []).append(timed(subject, path, warm))
        for peer in PEERS:
            python = readers[peer.name]
            if python is not None:
                scope.say(f"peers: {name}, {peer.name}")
                runs.setdefault(peer.name, []).append(_read(peer, python, path, warm))
    partly = {peer.name for peer in PEERS if not peer.whole}
    for reader, found in runs.items():
        if reader not in partly and found[0].result != written:
            raise SystemExit(f"{name} by {reader}: {found[0].result}, written {written}")
    ours_cpu_s, ours_s = median_cpu_s(runs["ours"]), median_s(runs["ours"])
    return [
        (
            name,
            reader,
            found[0].result[0],
            size_of(path) / MEBIBYTE,
            median_cpu_s(found),
            median_cpu_s(found) / ours_cpu_s,
            median_s(found),
            median_s(found) / ours_s,
        )
        for reader, found in runs.items()
    ]


def decoded(path: Path, warm: Path) -> Callable[[], tuple[int, int]]:
    """Read and decode with this project into Arrow columns of all fields."""
    import numpy as np

    from benchmarks.formats import decoded_blocks
    from bridge.daemon.work.memory import keep_freed_memory, leave_pandas_out

    keep_freed_memory()
    leave_pandas_out()

    def call(path: Path = path) -> tuple[int, int]:
        messages = times = 0
        for _, each in decoded_blocks(path):
            messages += len(each.log_times_ns)
            times += int(each.log_times_ns.astype(np.uint64).sum())
        return messages, times % (1 << 64)

    call(warm)
    return call


def mapped(path: Path, warm: Path) -> Callable[[], tuple[int, int]]:
    """Read, decode and map to the platform's ontology: what an ingest does before it sends."""
    import numpy as np

    from benchmarks.ready_made import mapped_batches
    from bridge.daemon.work.memory import keep_freed_memory, leave_pandas_out

    keep_freed_memory()
    leave_pandas_out()

    def call(path: Path = path) -> tuple[int, int]:
        rows = times = 0
        for _, batch in mapped_batches(path):
            rows += batch.num_rows
            times += int(batch.column("timestamp_ns").to_numpy().astype(np.uint64).sum())
        return rows, times % (1 << 64)

    call(warm)
    return call


def _read(peer: Peer, python: Path, path: Path, warm: Path) -> Timing:
    """Run a peer's program."""
    program = READ.format(body=peer.body)
    done = subprocess.run(
        [str(python), "-c", program, str(path), str(warm)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{peer.name}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Timing(
        started_s=0.0,
        ended_s=found["seconds"],
        cpu_s=found["cpu_s"],
        peak_bytes=0,
        result=(found["messages"], found["times_sum"]),
    )


def _environment(peer: Peer, scope: Scope) -> Path | None:
    """Give the Python that can run a peer, installed if it has to be; None where it cannot be."""
    if not peer.environment:
        return Path(sys.executable)
    folder = Path(sys.prefix) / "peers" / peer.environment
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(peer.requirements):
        scope.say(f"peers: installing {' '.join(peer.requirements)}")
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *peer.requirements],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        if done.returncode:
            scope.say(f"peers: {peer.name} is left out, it cannot be installed: {done.stderr}")
            return None
        stamp.write_text(" ".join(peer.requirements))
    return python
