"""Poison through the real daemon, worker and server: it costs itself and nobody else."""

import contextlib
import json
import os
import signal
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from bridge.client import MosaicoClient
from bridge.daemon.journal.states import State
from tests.bags.mcap import mcap_files as made
from tests.daemon.platforms import chatter, rows_on

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MEBIBYTE = 1 << 20
DECLARED = made.schema(1) + made.channel(1, 1, "/chatter")
HELLO = b"\0\1\0\0" + struct.pack("<I", 6) + b"hello\0"
GOOD = made.chunk(DECLARED + made.message(1, 1, HELLO) + made.message(1, 2, HELLO), crc=None)
HUGE = made.chunk(bytes(1 << 30), compression="zstd")

# A file's name, what is in it, and what becomes of it.
FILES = {
    "bomb_alone": (made.finished(HUGE), State.QUARANTINED),
    "bomb_beside_good": (made.finished(GOOD + HUGE), State.PARTIAL),
    "chunk_claims_2_62": (
        made.finished(GOOD + made.chunk(b"x" * 99, compression="zstd", claimed_bytes=1 << 62)),
        State.PARTIAL,
    ),
    "record_of_2_62": (
        made.finished(GOOD + made.record(5, b"x" * 40, length=1 << 62)),
        State.PARTIAL,
    ),
    "string_of_4_gigabytes": (
        made.finished(
            made.chunk(
                DECLARED
                + made.message(1, 1, HELLO)
                + made.message(1, 2, b"\0\1\0\0" + struct.pack("<I", 2**32 - 1) + b"short"),
                crc=None,
            )
        ),
        State.PARTIAL,
    ),
    "array_of_4_billion": (
        made.finished(
            made.chunk(
                made.schema(1, "my_msgs/msg/Many", data=b"string[] names\n")
                + made.channel(1, 1, "/many")
                + made.message(1, 1, b"\0\1\0\0" + struct.pack("<I", 2**32 - 1) + bytes(40)),
                crc=None,
            )
        ),
        State.EMPTY,
    ),
    "not_a_bag": (b"\x89MCAP0\r\n" + bytes(1000), State.QUARANTINED),
}


def own_memory_bytes() -> int:
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_poison_costs_its_recording_and_the_daemon_nothing(bridge: "Bridge") -> None:
    """Bombs and absurd lengths end in their states with a report; all others arrive."""
    quarantine = bridge.folder / "quarantine"
    bridge.overrides |= {
        "disposal.quarantine_folder": str(quarantine),
        "workers.memory_limit_bytes": 600 * MEBIBYTE,
    }
    packed = pa.compress(bytes(1 << 30), codec="zstd", asbytes=True)
    with bridge.platform() as server, bridge.running() as daemon:
        bridge.drop("first.mcap", bridge.mcap_bytes("first", 5))
        bridge.await_state("first.mcap", State.FINALISED)
        before_bytes = own_memory_bytes()
        for name, (content, _) in FILES.items():
            bridge.drop(f"{name}.mcap", content)
        bridge.drop("zeros.mcap.zstd", packed)
        bridge.drop("last.mcap", bridge.mcap_bytes("last", 7))
        for name, (_, state) in FILES.items():
            bridge.await_state(f"{name}.mcap", state)
        bridge.await_state("zeros.mcap.zstd", State.QUARANTINED)
        bridge.await_state("last.mcap", State.FINALISED)
        grown_bytes = own_memory_bytes() - before_bytes
        entries = bridge.entries()
        assert daemon.status is not None
        found = rows_on(server.port)

    arrived = {name: 2 for name, (_, state) in FILES.items() if state is State.PARTIAL}
    arrived["string_of_4_gigabytes"] = 1
    assert found == chatter({"first": 5, "last": 7} | arrived)
    assert grown_bytes < 100 * MEBIBYTE
    for name, (_, state) in FILES.items():
        if state is State.QUARANTINED:
            report = json.loads((quarantine / f"{name}.mcap.report.json").read_text())
            assert report["what_to_do"]
            assert report["failure"]["message"]
            assert (quarantine / f"{name}.mcap").exists()
    # Refused by what it claims, before anything took memory or a worker died of it.
    assert {entry.deaths for entry in entries.values()} == {0}


def test_codec_that_crashes_costs_its_recording(bridge: "Bridge") -> None:
    """A worker that dies of a segmentation fault twice has its recording quarantined, alone."""
    # Slow enough to be found at work.
    bridge.overrides |= {
        "uplink.bytes_per_second_max": 100_000,
        "ingest.max_batch_size_bytes": 20_000,
    }
    with bridge.platform() as server, bridge.running() as daemon:
        for name in ("crash.mcap", "good.mcap"):
            content = bridge.mcap_bytes(name * 100, 2000 if name == "crash.mcap" else 10)
            bridge.drop(name, content)
        killed: list[int] = []
        give_up_at = time.monotonic() + 40
        while len(killed) < 2 and time.monotonic() < give_up_at:
            status = daemon.status
            for worker in status.workers if status is not None else ():
                if worker.path.name == "crash.mcap" and worker.sequence:
                    if worker.pid not in killed:
                        killed.append(worker.pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGSEGV)
            time.sleep(0.02)
        crash = bridge.await_state("crash.mcap", State.QUARANTINED)
        bridge.await_state("good.mcap", State.FINALISED)
        # What the dead workers left on the platform is cleared by a live one, a moment later.
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            bridge.wait_for(lambda: len(client.list_sequences()) == 1)
        found = rows_on(server.port)

    assert (crash.deaths, crash.attempts) == (2, 0)
    assert "SIGSEGV" in crash.reason
    assert found == chatter({"good": 10})
