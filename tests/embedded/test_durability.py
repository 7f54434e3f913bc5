"""What was reported as finalized survives SIGKILL at any moment; what was not is never locked."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from bridge.embedded import EmbeddedServer, store
from bridge.embedded.catalogue import Catalogue, SegmentRecord, TopicRecord
from tests.contract.wire import Wire, batch, refused

REPOSITORY = Path(__file__).parents[2]


class Process:
    """A server in a process of its own."""

    def __init__(self, root: Path, *limits: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, REPOSITORY / "tests/embedded/serving.py", root, *limits],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        assert self._process.stdout is not None
        self.url = f"grpc://127.0.0.1:{int(self._process.stdout.readline())}"

    def terminate(self) -> int:
        """Ask it to stop; gives its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def serving(root: Path, *limits: str) -> Iterator[tuple[Process, Wire]]:
    process = Process(root, *limits)
    wire = Wire(process.url)
    try:
        yield process, wire
    finally:
        wire.close()
        process.kill()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in (root / "chunks").rglob("*") if path.is_file()}


def test_finalized_data_survives_a_kill(tmp_path: Path) -> None:
    """Killed right after finalize, the server has everything when it starts again."""
    with serving(tmp_path) as (process, wire):
        wire.recorded("run", imu=batch(*range(100)), gps=batch(5, 6))
        wire.do("sequence_notification_create", locator="run", notification_type="error", msg="m")
        process.kill()
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        (session,) = json.loads(wire.info("run").app_metadata)["sessions"]
        assert session["locked"] is True
        assert wire.read("run/imu").equals(pa.Table.from_batches([batch(*range(100))]))
        assert wire.times("run/gps") == [5, 6]
        notifications = wire.do("sequence_notification_list", locator="run")["notifications"]
        assert [entry["msg"] for entry in notifications] == ["m"]
        wire.close()


def test_half_written_session_survives_as_open(tmp_path: Path) -> None:
    """Killed in the middle of puts: whole topics are kept, the broken one can only be deleted."""
    with serving(tmp_path) as (process, wire):
        session = wire.session(wire.sequence("run"))
        whole, broken = wire.topic(session, "whole"), wire.topic(session, "broken")
        untouched = wire.topic(session, "untouched")
        wire.put(whole, batch(1, 2, 3))
        writer = wire.begin_put(broken)
        for start in range(0, 1000, 100):
            writer.write_batch(batch(*range(start, start + 100)))
        wire.await_upload(broken)
        process.kill()
        with pytest.raises(pa.ArrowException):
            writer.close()
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        assert wire.times(whole[0]) == [1, 2, 3]
        assert wire.described(broken[0])["locked"] is False
        with refused("FAILED_PRECONDITION", "is already uploading data."):
            wire.put(broken, batch(1))
        with refused("FAILED_PRECONDITION", "is already uploading data."):
            wire.do("session_finalize", session_uuid=session["uuid"])
        wire.do("topic_delete", locator=broken[0])
        again = wire.topic(session, "broken")
        wire.put(again, batch(7))
        wire.put(untouched, batch(8))
        wire.do("session_finalize", session_uuid=session["uuid"])
        assert wire.times(again[0]) == [7]
        wire.close()


def test_process_ends_in_spite_of_an_idle_upload(tmp_path: Path) -> None:
    """A client that holds an upload open and sends nothing does not keep the process alive."""
    with serving(tmp_path) as (process, wire):
        topic = wire.topic(wire.session(wire.sequence("run")), "imu")
        writer = wire.begin_put(topic)
        writer.write_batch(batch(1))
        wire.await_upload(topic)
        assert process.terminate() == 0
        with pytest.raises(pa.ArrowException):
            writer.close()


def test_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    """Files and folders that the catalogue does not know are gone after a start."""
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        wire.recorded("run", imu=batch(1))
        wire.close()
    (kept,) = files(tmp_path)
    folder = (tmp_path / kept).parent
    (folder / "000007.parquet").write_bytes(b"never listed")
    (folder / "000008.parquet.part").write_bytes(b"half")
    (tmp_path / "chunks" / "unknown-topic").mkdir()
    (tmp_path / "chunks" / "unknown-topic" / "000000.parquet").write_bytes(b"orphan")
    with EmbeddedServer(tmp_path) as server:
        assert files(tmp_path) == {kept}
        assert not (tmp_path / "chunks" / "unknown-topic").exists()
        wire = Wire(f"grpc://{server.address}")
        assert wire.times("run/imu") == [1]
        wire.close()


def test_aborted_put_leaves_its_chunks_until_deleted(tmp_path: Path) -> None:
    """The chunks of a broken stream stay, across a restart, and go with their topic."""
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        topic = wire.topic(wire.session(wire.sequence("run")), "imu")
        writer = wire.begin_put(topic)
        writer.write_batch(batch(2, 1))
        writer.write_metadata(b"abort")
        with refused("ABORTED"):
            writer.close()
        wire.close()
    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        assert wire.times(topic[0]) == [1, 2]
        assert wire.described(topic[0])["data_info"]["total_row_count"] == 0
        wire.do("sequence_delete", locator="run")
        assert files(tmp_path) == set()
        wire.close()


def test_write_that_fails_locks_nothing(tmp_path: Path) -> None:
    """When a file cannot grow the put fails, its topic stays open, and others go on."""
    with serving(tmp_path, str(2**20)) as (process, wire):
        session = wire.session(wire.sequence("run"))
        big, small = wire.topic(session, "big"), wire.topic(session, "small")
        noise = random.Random(1)
        schema = pa.schema([batch().schema.field("timestamp_ns"), ("blob", pa.binary())])
        for _ in range(2):
            rows = [pa.array([1]), pa.array([noise.randbytes(2**21)])]
            with refused("INTERNAL", "Internal error: "):
                wire.put(big, pa.record_batch(rows, schema=schema), schema=schema)
            wire.do("topic_delete", locator=big[0])
            big = wire.topic(session, "big")
        wire.put(small, batch(1, 2))
        process.kill()
    with EmbeddedServer(tmp_path) as server:
        assert len(files(tmp_path)) == 1
        wire = Wire(f"grpc://{server.address}")
        assert wire.times(small[0]) == [1, 2]
        assert wire.described(big[0])["locked"] is False
        wire.close()


ROWS = 400


def record_until_killed(url: str, prefix: str, finalized: list[str]) -> None:
    """Make sequences as fast as possible, and note those whose finalize was acknowledged."""
    wire = Wire(url)
    try:
        for number in range(10_000):
            name = f"{prefix}-{number}"
            session = wire.session(wire.sequence(name))
            for path in ("a", "b"):
                halves = (batch(*range(ROWS // 2)), batch(*range(ROWS // 2, ROWS)))
                wire.put(wire.topic(session, path), *halves)
            wire.do("session_finalize", session_uuid=session["uuid"])
            finalized.append(name)
    except pa.ArrowException:
        pass
    finally:
        wire.close()


def check_whole(wire: Wire, finalized: set[str], *, prefix: str) -> None:
    """Check that nothing acknowledged is missing and, under a prefix, nothing locked is partial."""
    listed = {info.descriptor.path[0].decode() for info in wire.client.list_flights()}
    assert finalized <= listed
    for name in listed:
        if not name.startswith(prefix):
            continue
        info = wire.info(name)
        sessions = json.loads(info.app_metadata)["sessions"]
        if name in finalized:
            assert [session["locked"] for session in sessions] == [True]
        for endpoint in info.endpoints:
            described = json.loads(endpoint.app_metadata)
            if described["locked"]:
                times = wire.times(described["resource_locator"])
                assert times == list(range(ROWS))


def kill_sweep(root: Path, *, kills: int, seed: int) -> int:
    """Kill a server under load again and again; gives the number of sequences finalized."""
    generator = random.Random(seed)
    finalized: list[str] = []
    for number in range(kills):
        with serving(root) as (process, wire):
            check_whole(wire, set(finalized), prefix=f"k{number - 1}-")
            threads = [
                threading.Thread(
                    target=record_until_killed, args=(process.url, f"k{number}-{index}", finalized)
                )
                for index in range(2)
            ]
            for thread in threads:
                thread.start()
            time.sleep(generator.uniform(0.02, 0.6))
            process.kill()
            for thread in threads:
                thread.join()
    with serving(root) as (_, wire):
        check_whole(wire, set(finalized), prefix="k")
    return len(finalized)


def test_kill_under_load(tmp_path: Path) -> None:
    """Killed at random moments under two writers, the server loses nothing it acknowledged."""
    assert kill_sweep(tmp_path, kills=4, seed=1) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_under_load_many_times(tmp_path: Path) -> None:
    """The same a hundred times over."""
    assert kill_sweep(tmp_path, kills=100, seed=2) > 0


def test_data_is_on_the_disk_before_the_catalogue_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment's file, then its folder, are flushed before a transaction lists and locks them.

    A kill does not show this, because the kernel survives it; a power cut would.
    """
    steps: list[str] = []
    flush, add, lock = store.flush, Catalogue.add_segment, Catalogue.complete_topic

    def flushing(path: Path) -> None:
        steps.append(f"flush {path.suffix or 'folder'}")
        flush(path)

    def adding(self: Catalogue, topic: TopicRecord, segment: SegmentRecord) -> bool:
        steps.append("list")
        return add(self, topic, segment)

    def locking(self: Catalogue, topic: TopicRecord) -> bool:
        steps.append("lock")
        return lock(self, topic)

    with EmbeddedServer(tmp_path) as server:
        wire = Wire(f"grpc://{server.address}")
        topic = wire.topic(wire.session(wire.sequence("run")), "imu")
        monkeypatch.setattr(store, "flush", flushing)
        monkeypatch.setattr(Catalogue, "add_segment", adding)
        monkeypatch.setattr(Catalogue, "complete_topic", locking)
        wire.put(topic, batch(1, 2))
        wire.close()
        assert server._running is not None
        (synchronous,) = server._running[1].catalogue._rows("PRAGMA synchronous")
        assert synchronous == (2,)  # FULL: a commit is on the disk too
    # The folder above comes first: it is where the topic's own folder was made.
    assert steps == ["flush folder", "flush .part", "flush folder", "list", "lock"]
