"""Taking up what broke off: real workers, a line that keeps breaking, the real embedded server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcap.writer import Writer as McapWriter

from bridge.client import MosaicoClient
from bridge.daemon.daemon import Daemon
from bridge.daemon.journal.states import State
from bridge.embedded.catalogue import Catalogue
from bridge.embedded.store import TopicData
from tests.daemon.chaos_proxy import ChaosProxy
from tests.daemon.platforms import rows_on
from tests.servers.served import Revision

if TYPE_CHECKING:
    import pyarrow as pa

    from bridge.daemon.events.status import WorkerProgress
    from bridge.daemon.journal.entry import Entry
    from bridge.embedded.catalogue import TopicRecord
    from tests.daemon.conftest import Bridge

HERE = Path(__file__).parents[1]
PATIENCE_S = 180.0
TOPICS = 12
MESSAGES = 40
PAYLOAD_BYTES = 50_000
TOTAL_BYTES = TOPICS * MESSAGES * PAYLOAD_BYTES


def drive_bytes(small: int = 6) -> bytes:
    """Make a recording of big topics that are all alike, and of some very small ones."""
    stream = BytesIO()
    writer = McapWriter(stream, chunk_size=1 << 20)
    writer.start(profile="ros2", library="test")
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    big = [writer.register_channel(f"/big_{n}", "cdr", schema) for n in range(TOPICS)]
    tiny = [writer.register_channel(f"/tiny_{n}", "cdr", schema) for n in range(small)]
    for index in range(MESSAGES):
        for number, channel in enumerate(big):
            text = f"{index}-{number}-".encode() * (PAYLOAD_BYTES // 6)
            text = text[:PAYLOAD_BYTES]
            payload = b"\0\1\0\0" + (len(text) + 1).to_bytes(4, "little") + text + b"\0"
            writer.add_message(channel, log_time=index, publish_time=index, data=payload)
        for channel in tiny:
            payload = b"\0\1\0\0" + (2).to_bytes(4, "little") + b"x\0"
            writer.add_message(channel, log_time=index, publish_time=index, data=payload)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What servers of this process take in, in order: `rows` of a topic, and that it is `whole`."""
    log: list[tuple[str, str, int]] = []
    append, complete_topic = TopicData.append, Catalogue.complete_topic

    def appending(data: TopicData, batch: "pa.RecordBatch") -> None:
        append(data, batch)
        log.append(("rows", data._topic.locator, batch.num_rows))

    def completing(catalogue: Catalogue, topic: "TopicRecord") -> bool:
        done = complete_topic(catalogue, topic)
        log.append(("whole", topic.locator, 0))
        return done

    monkeypatch.setattr(TopicData, "append", appending)
    monkeypatch.setattr(Catalogue, "complete_topic", completing)
    return log


@contextlib.contextmanager
def bad_line(bridge: "Bridge", revision: Revision) -> Iterator[ChaosProxy]:
    """Set a bridge before a platform at the end of a bad line."""
    bridge.overrides |= {
        "server.stall_timeout_s": 10.0,
        # Or the whole recording would pass before the line breaks.
        "server.compression": "none",
        "ingest.max_batch_size_bytes": 200_000,
        "retry.attempts_max": 4,
    }
    with bridge.bad_line(revision) as proxy:
        yield proxy


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "revision", ["G2d", *(pytest.param(one, marks=pytest.mark.slow) for one in ("G1.2", "G3b"))]
)
def test_line_that_breaks_every_third_of_the_upload(
    bridge: "Bridge", heard: list[tuple[str, str, int]], revision: Revision
) -> None:
    """The recording arrives whole all the same, and what was finished is never sent again."""
    with bad_line(bridge, revision) as proxy:
        proxy.cut_after_bytes = TOTAL_BYTES // 3
        with bridge.running():
            bridge.drop("drive.mcap", drive_bytes())
            entry = arrived(bridge)
        (found,) = rows_on(proxy.target_port).values()
        forwarded_bytes = proxy.forwarded_bytes

    expected = {f"/big_{n}" for n in range(TOPICS)} | {f"/tiny_{n}" for n in range(6)}
    assert found == dict.fromkeys(expected, MESSAGES)
    assert entry.upload is None
    check_sent_once(heard)
    assert forwarded_bytes < 3 * TOTAL_BYTES


def arrived(bridge: "Bridge") -> "Entry":
    """Wait until the recording is on the platform."""
    found = bridge.wait_for(
        lambda: [entry for entry in bridge.entries().values() if entry.state is State.FINALISED],
        patience_s=PATIENCE_S,
    )
    entry: Entry = found[0]
    return entry


def remembered(bridge: "Bridge") -> set[str]:
    """Give the topics that the journal knows to have been ended."""
    uploads = [entry.upload for entry in bridge.entries().values()]
    return {name for upload in uploads if upload is not None for name in upload.rows}


def check_sent_once(heard: list[tuple[str, str, int]]) -> None:
    """No topic became whole twice, and nothing came for one that was whole."""
    done = [locator for kind, locator, _ in heard if kind == "whole"]
    assert sorted(done) == sorted(set(done)), "a finished topic was sent again"
    for locator in done:
        after = heard[heard.index(("whole", locator, 0)) :]
        assert not [rows for kind, topic, rows in after if kind == "rows" and topic == locator]


@contextlib.contextmanager
def daemon_process(bridge: "Bridge") -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon as a process of its own."""
    config = bridge.folder / "bridge.toml"
    config.write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in bridge.overrides.items())
    )
    process = subprocess.Popen(
        [sys.executable, str(HERE / "daemon_process.py"), str(config)], env=dict(os.environ)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "revision", ["G1.2", *(pytest.param(one, marks=pytest.mark.slow) for one in ("G2d", "G3b"))]
)
def test_upload_is_taken_up_by_the_next_daemon(
    bridge: "Bridge", heard: list[tuple[str, str, int]], revision: Revision
) -> None:
    """After a kill -9 of the daemon the next one goes on in the same session with the rest."""

    def whole() -> list[str]:
        return [locator for kind, locator, _ in heard if kind == "whole"]

    with bad_line(bridge, revision) as proxy:
        bridge.drop("drive.mcap", drive_bytes())
        bridge.overrides["retry.backoff_initial_s"] = bridge.overrides["retry.backoff_max_s"] = 2.0
        proxy.cut_after_bytes = TOTAL_BYTES // 3
        with daemon_process(bridge) as process:
            bridge.wait_for(lambda: len(remembered(bridge)) > 6, patience_s=PATIENCE_S)
            process.kill()
        proxy.cut_after_bytes = None
        before = len(whole())
        with daemon_process(bridge):
            arrived(bridge)
        (found,) = rows_on(proxy.target_port).values()

    assert before < len(whole()) == len(found) == TOPICS + 6
    assert set(found.values()) == {MESSAGES}
    check_sent_once(heard)


@pytest.mark.timeout(240)
def test_what_a_dying_worker_leaves_is_cleared(bridge: "Bridge") -> None:
    """A recording quarantined for its workers' deaths leaves nothing unfinished on the platform."""

    def deaths() -> int:
        return bridge.entries()["drive.mcap"].deaths

    with (
        bad_line(bridge, "G2d") as proxy,
        bridge.running() as daemon,
        MosaicoClient.connect("127.0.0.1", proxy.target_port) as client,
    ):
        bridge.drop("drive.mcap", drive_bytes())
        while (before := deaths() if "drive.mcap" in bridge.entries() else 0) < 2:
            worker = bridge.wait_for(lambda: client.list_sequences() and sending(daemon))[0]
            os.kill(worker.pid, signal.SIGKILL)
            bridge.wait_for(lambda: deaths() != before)
        bridge.await_state("drive.mcap", State.QUARANTINED)
        bridge.wait_for(lambda: bridge.entries()["drive.mcap"].upload is None)

        assert client.list_sequences() == []


def sending(daemon: Daemon) -> tuple["WorkerProgress", ...]:
    """Give the workers that are in the middle of an upload."""
    workers = daemon.status.workers if daemon.status is not None else ()
    return tuple(worker for worker in workers if worker.messages_sent)
