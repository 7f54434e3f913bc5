"""Full disks, of journal, scratch space and embedded server: said, survived, healed."""

import os
import random
import sqlite3
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from mcap.writer import Writer as McapWriter

from bridge.daemon.events.events import Event, IngestFailed, Troubled
from bridge.daemon.journal.entry import Failure
from bridge.daemon.journal.states import State
from bridge.embedded import EmbeddedServer
from tests.bags.sqlite.sqlite_files import create, insert
from tests.daemon.platforms import chatter, rows_on
from tests.daemon.small_disks import fill, small_disk
from tests.waiting import wait_for

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MEBIBYTE = 1 << 20
TURNS_WHILE_FULL = 3


class Listener:
    def __init__(self) -> None:
        self.troubles: list[Failure] = []
        self.failures: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case IngestFailed(failure=failure):
                self.failures.append(failure)
            case _:
                pass


def noisy_bytes(name: str, messages: int) -> bytes:
    """Make a recording that nobody can compress much: a kilobyte of noise a message."""
    chance = random.Random(name)
    stream = BytesIO()
    writer = McapWriter(stream)
    writer.start(profile="ros2", library=name)
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/chatter", "cdr", schema)
    for index in range(messages):
        text = chance.randbytes(512).hex().encode()
        data = b"\0\1\0\0" + (len(text) + 1).to_bytes(4, "little") + text + b"\0"
        writer.add_message(channel, log_time=index, publish_time=index, data=data)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


def test_full_journal_disk_pauses_and_heals(bridge: "Bridge", tmp_path: Path) -> None:
    """With the journal's disk full nothing is lost; with room again everything is written."""
    listener = Listener()
    with small_disk(tmp_path / "disk", size_bytes=3 * MEBIBYTE) as disk:
        bridge.overrides["state.folder"] = str(disk / "state")
        bridge.state = disk / "state"
        with bridge.running(listener) as daemon:
            bridge.wait_for(lambda: daemon.status and daemon.status.gate.reached)
            bridge.drop("slow_1.mcap")
            bridge.await_state("slow_1.mcap", State.SENDING)
            filler = fill(disk)
            (bridge.folder / "go").touch()
            for number in range(20):
                bridge.drop(f"r{number}.mcap")
            bridge.wait_for(lambda: listener.troubles)
            bridge.turns(daemon, TURNS_WHILE_FULL)
            filler.unlink()
            bridge.await_state("slow_1.mcap", State.FINALISED)
            for number in range(20):
                bridge.await_state(f"r{number}.mcap", State.FINALISED)
        with sqlite3.connect(f"file:{bridge.state}/journal.db?mode=ro", uri=True) as journal:
            (verdict,) = journal.execute("PRAGMA integrity_check").fetchone()
        journal.close()

    expected = ["slow_1", *(f"r{number}" for number in range(20))]
    assert sorted(bridge.log("arrived")) == sorted(expected)
    assert verdict == "ok"
    # Once for each time that a write fails after a turn that had nothing to write.
    assert all("full" in trouble.message for trouble in listener.troubles)
    assert len(listener.troubles) <= TURNS_WHILE_FULL + 1


def test_full_server_disk_pauses_and_heals(bridge: "Bridge", tmp_path: Path) -> None:
    """With the platform's disk full nothing is blamed or half there; with room all arrives."""
    listener = Listener()
    sent = {"a": 1_000, "b": 1_000}
    with small_disk(tmp_path / "disk", size_bytes=8 * MEBIBYTE) as disk:
        filler = fill(disk, leave_bytes=MEBIBYTE // 2)
        with EmbeddedServer(disk / "platform") as server:
            bridge.send_to(server.port)
            with bridge.running(listener) as daemon:
                for name, messages in sent.items():
                    bridge.drop(f"{name}.mcap", noisy_bytes(name, messages))
                # More often than there are attempts.
                bridge.wait_for(lambda: len(listener.failures) >= 4)
                status = daemon.status
                assert status is not None
                waiting = {entry.state for entry in bridge.entries().values()}
                filler.unlink()
                entries = [bridge.await_state(f"{name}.mcap", State.FINALISED) for name in sent]
            found = rows_on(server.port)

    assert found == chatter(sent)
    assert waiting <= {State.READY, State.SENDING}
    assert {entry.attempts for entry in entries} == {0}
    assert {failure.error for failure in listener.failures} == {"ServerFullError"}
    assert "make room on the server's disk" in listener.failures[0].hint


def test_full_scratch_disk_holds_back_what_needs_it(bridge: "Bridge", tmp_path: Path) -> None:
    """A recording whose copy does not fit waits, the others go on; with room it goes by itself."""
    plain = tmp_path / "big.db3"
    connection = sqlite3.connect(plain)
    create(connection, 4)
    text = b"x" * 4091 + b"\0"
    payload = b"\0\1\0\0" + len(text).to_bytes(4, "little") + text
    insert(connection, [(1, index, payload) for index in range(1500)])
    connection.commit()
    connection.close()
    packed = pa.compress(plain.read_bytes(), codec="zstd", asbytes=True)
    listener = Listener()
    with small_disk(tmp_path / "disk", size_bytes=90 * MEBIBYTE) as disk:
        bridge.overrides |= {
            "state.folder": str(disk / "state"),
            "retry.attempts_max": 1,
            "retry.backoff_max_s": 3.0,
        }
        bridge.state = disk / "state"
        with bridge.platform() as server, bridge.running(listener):
            # Copies leave 64 MiB free, whatever they need.
            filler = fill(disk, leave_bytes=66 * MEBIBYTE)
            bridge.drop("big.db3.zstd", packed)
            # More often than there are attempts.
            bridge.wait_for(lambda: len(listener.failures) >= 2)
            waiting = bridge.await_state("big.db3.zstd", State.WAITING)
            bridge.drop("small.mcap", bridge.mcap_bytes("small", 10))
            bridge.await_state("small.mcap", State.FINALISED)
            left = [path.name for path in (bridge.state / "scratch").iterdir()]
            filler.unlink()
            bridge.await_state("big.db3.zstd", State.FINALISED)
            found = rows_on(server.port)

    assert found == {"big": {"/a": 1500}} | chatter({"small": 10})
    assert {failure.error for failure in listener.failures} == {"ScratchSpaceError"}
    assert waiting.attempts == 0
    assert "free" in waiting.reason
    assert left == []


def test_a_full_disk_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    """The real command with everything on one full disk: what is said of it, and how often."""
    watched = tmp_path / "watched"
    watched.mkdir()
    with small_disk(tmp_path / "disk", size_bytes=24 * MEBIBYTE) as disk:
        settings = {
            "MOSAICO_BRIDGE_STATE__DISK_FREE_MIN_BYTES": "1",
            "MOSAICO_BRIDGE_WATCH__SETTLE_S": "0.2",
            "MOSAICO_BRIDGE_WATCH__STALE_S": "0.5",
            "MOSAICO_BRIDGE_RETRY__BACKOFF_INITIAL_S": "0.1",
            "MOSAICO_BRIDGE_RETRY__BACKOFF_MAX_S": "0.2",
            "MOSAICO_BRIDGE_LOG__FORMAT": "json",
            "MOSAICO_BRIDGE_HTTP__PORT": "0",
        }
        log = tmp_path / "log"
        command = [sys.executable, "-m", "bridge", "run"]
        command += ["--folder", str(watched), "--state", str(disk / "state")]
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stderr=stream, env=os.environ | settings)
        try:
            wait_for(lambda: b'"started"' in log.read_bytes())
            fill(disk, leave_bytes=2 * MEBIBYTE)
            (watched / "noise.mcap").write_bytes(noisy_bytes("noise", 6000))
            wait_for(lambda: b"disk" in log.read_bytes().partition(b'"sending"')[2])
        finally:
            process.terminate()
            process.wait(60)
    text = log.read_text(encoding="utf-8")

    assert "Traceback" not in text
    assert "for good" not in text
    assert "full" in text or "No space left" in text
