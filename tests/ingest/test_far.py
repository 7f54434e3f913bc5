"""A platform far away: several connections are written to at once, and nothing is lost by it."""

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter

from bridge.client import MosaicoClient, TopicWriter
from bridge.client.connection import Connection
from tests.daemon.chaos_proxy import ChaosProxy
from tests.ingest.test_many_topics import OPTIONS, REVISIONS, send, until_done, whole, write
from tests.ingest.test_resume import Kept, rows
from tests.servers.crowded import Troubles, crowded_server
from tests.servers.served import Revision

LATENCY_S = 0.01


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("far") / "many.mcap")


@REVISIONS
@pytest.mark.parametrize("cut_at", [None, pytest.param(30, marks=pytest.mark.slow), 200])
def test_a_far_platform_is_written_to_over_several_connections(
    revision: Revision, cut_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message once, those of a topic in their order, also where the line breaks meanwhile."""
    topics, messages = 12, 40
    numbers = {
        f"/topic_{number}": list(range(number, number + messages)) for number in range(topics)
    }
    path = tmp_path / "far.mcap"
    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=1_000)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", b"int32 data")
        channels = [writer.register_channel(topic, "cdr", schema) for topic in numbers]
        for index in range(messages):
            for number, channel in enumerate(channels):
                data = b"\0\1\0\0" + (number + index).to_bytes(4, "little")
                # All at one time: what is read back comes in the order in which it arrived.
                writer.add_message(channel, log_time=7, publish_time=7, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    with (
        crowded_server(tmp_path / "platform", revision, Troubles()) as server,
        ChaosProxy(server.port) as line,
    ):
        line.latency_s = LATENCY_S
        written = itertools.count(1)
        write_batch = TopicWriter.write_batch

        def write_and_cut(writer: TopicWriter, batch: pa.RecordBatch, *known: Any) -> None:
            write_batch(writer, batch, *known)
            if next(written) == cut_at:
                line.cut()

        monkeypatch.setattr(TopicWriter, "write_batch", write_and_cut)
        monkeypatch.setattr("bridge.client.connection.PUT_BYTES_MIN", 100)
        with MosaicoClient.connect("127.0.0.1", line.port) as client:
            small = replace(OPTIONS.batches, max_batch_size_records=2)
            report, failures = until_done(client, path, Kept(), batches=small)
            assert (failures > 0) is (cut_at is not None)
            assert line.connections > 8
            handler = client.sequence_handler(report.sequence)
            assert handler is not None
            assert client.list_sequences() == [report.sequence]
            found = {
                topic: [
                    value
                    for batch in handler.topic_handler(topic).batches()
                    for value in batch.column("data").to_pylist()
                ]
                for topic in handler.topics
            }
    assert found == numbers


def test_connections_that_nobody_answers_do_not_hold_the_others_up(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall may allow few to an address and say nothing to those beyond."""
    answered = threading.Event()
    monkeypatch.setattr(Connection, "_add_data_channel", lambda _: answered.wait(60))
    monkeypatch.setattr("bridge.client.connection.PUT_BYTES_MIN", 100)
    with (
        crowded_server(tmp_path, "G2d", Troubles()) as server,
        ChaosProxy(server.port) as line,
    ):
        line.latency_s = LATENCY_S
        with MosaicoClient.connect("127.0.0.1", line.port) as client:
            started_s = time.monotonic()
            report = send(client, bag, Kept())
            assert time.monotonic() - started_s < 30
            answered.set()
            assert line.connections == 2
            assert rows(client, report.sequence) == whole()


def test_little_data_takes_one_connection_also_far_away(bag: Path, tmp_path: Path) -> None:
    """Each costs round trips, and with TLS more than a small recording has."""
    with (
        crowded_server(tmp_path, "G2d", Troubles()) as server,
        ChaosProxy(server.port) as line,
    ):
        line.latency_s = LATENCY_S
        with MosaicoClient.connect("127.0.0.1", line.port) as client:
            report = send(client, bag, Kept())
            # One for calls, one for data.
            assert line.connections == 2
            assert rows(client, report.sequence) == whole()
