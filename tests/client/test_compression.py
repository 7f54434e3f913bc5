"""Compression of what is sent: used where the server takes it, left out with a word where not."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge.client import Compression, MosaicoClient, OnErrorPolicy
from bridge.client.options import AS_RECORDED, QUICK, Trials, automatic_codec
from bridge.embedded import EmbeddedServer
from bridge.errors import ProtocolError
from bridge.ontology import Integer64
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.session import SessionServer
from tests.servers.served import KeyedEmbeddedServer

ROWS = 100_000
PLAIN_BYTES = 16 * ROWS
SAME = pa.record_batch([pa.repeat(7, ROWS)] * 2, schema=Integer64.schema)


def moved(client: MosaicoClient) -> int:
    """Count what the server has acknowledged on the connections that are open."""
    return client._connection.watch.peer.moved_bytes()


def write(client: MosaicoClient) -> int:
    """Write a topic that compresses well; gives the bytes it took on the wire."""
    before = moved(client)
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(SAME)
    topic = client.topic_handler("run", "t")
    assert topic is not None
    assert (topic.chunks_number or 1) == 1
    return moved(client) - before


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_session_servers_are_known_to_take_it(tmp_path: Path, codec: str) -> None:
    """From G2a on bodies are compressed without a trial, as the servers' own are."""
    with (
        EmbeddedServer(tmp_path) as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression=codec) as client,
    ):
        assert client.compression == Compression(body=codec, grpc="")
        assert write(client) < PLAIN_BYTES / 10
        assert client.topic_handler("run", "t").table().num_rows == ROWS  # type: ignore[union-attr]


def test_keyed_servers_are_tried(tmp_path: Path) -> None:
    """Before G2a the first put finds out, in a sequence of its own that is gone afterwards."""
    with (
        KeyedEmbeddedServer(tmp_path) as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression="lz4") as client,
    ):
        assert client.compression == Compression(body=None, grpc="")
        assert write(client) < PLAIN_BYTES / 10
        assert client.compression == Compression(body="lz4", grpc="")
        assert client.list_sequences() == ["run"]


class WithoutCodecs(KeyedServer):
    """Refuses the compressed trial, as a server does that was built without the codecs."""

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        if b"mosaico-bridge-trial" in descriptor.command:
            raise self.fail("broken", "error during data streaming :: lz4 is not enabled")
        super().do_put(context, descriptor, reader, writer)


def test_server_without_codecs_gets_plain_data(caplog: pytest.LogCaptureFixture) -> None:
    """What the trial finds refused is left out, once, with a warning; nothing stays behind."""
    with (
        WithoutCodecs("G1.2") as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression="lz4") as client,
    ):
        assert write(client) > PLAIN_BYTES
        assert client.compression == Compression(body="", grpc="")
        with client.sequence_create("second", {}) as writer:
            writer.topic_create("t", {}, Integer64).write_batch(SAME)
        assert client.list_sequences() == ["run", "second"]
    (warning,) = [each for each in caplog.records if "compressed by lz4" in each.message]
    assert warning.levelno == logging.WARNING


def test_nothing_asked_nothing_tried() -> None:
    """Without compression no trial is made."""
    with (
        WithoutCodecs("G1.0") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        assert client.compression == Compression(body="", grpc="")
        write(client)
        assert client.compression == Compression(body="", grpc="")


def test_messages_are_compressed_where_the_server_does(tmp_path: Path) -> None:
    """The compression of gRPC itself makes as little of the data."""
    with (
        EmbeddedServer(tmp_path) as server,
        MosaicoClient.connect("127.0.0.1", server.port, grpc_compression="gzip") as client,
    ):
        assert client.compression == Compression(body="", grpc="gzip")
        assert write(client) < PLAIN_BYTES / 10


class WithoutGzip(SessionServer):
    """Refuses calls as a server without gzip does, until one comes that could be plain."""

    def __init__(self, refusals: int) -> None:
        super().__init__("G2c")
        self.refusals = refusals

    def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise NotImplementedError("Content is compressed with `gzip` which isn't supported")
        yield from super().do_action(context, action)


def test_server_without_gzip_gets_plain_messages(caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not understand compressed messages gets plain ones, and it is said."""
    with (
        WithoutGzip(refusals=1) as server,
        MosaicoClient.connect("127.0.0.1", server.port, grpc_compression="gzip") as client,
    ):
        assert client.compression == Compression(body="", grpc="")
        assert write(client) > PLAIN_BYTES
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "compressed by gzip" in caplog.text


def test_what_is_no_question_of_compression_stays_an_error() -> None:
    """A server that refuses plain messages too is not understood, compression or not."""
    for options in ({}, {"grpc_compression": "gzip"}):
        with WithoutGzip(refusals=4) as server, pytest.raises(ProtocolError):
            MosaicoClient.connect("127.0.0.1", server.port, **options)  # type: ignore[arg-type]  # a parameter table


NOISE = np.random.default_rng(7)


def noise() -> pa.RecordBatch:
    """Make rows that no codec makes smaller."""
    values = NOISE.integers(-(2**63), 2**63 - 1, ROWS)
    return pa.record_batch([pa.array(values), pa.array(values)], schema=Integer64.schema)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_each_topic_is_tried_by_its_first_batch(tmp_path: Path, codec: str) -> None:
    """What becomes small is compressed, noise goes as it is; both are read back the same."""
    even, rough = SAME, noise()
    with (
        EmbeddedServer(tmp_path) as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression=f"auto-{codec}") as client,
    ):
        assert client.compression == Compression(body=f"auto-{codec}", grpc="")
        client._connection.shortest_call_s = 0.0  # a busy machine is not a long line
        with client.sequence_create("run", {}) as writer:
            topics = {name: writer.topic_create(name, {}, Integer64) for name in ("even", "noise")}
            silent = writer.topic_create("silent", {}, Integer64)
            before = moved(client)
            topics["even"].write_batch(even)
            topics["even"].close()
            after = moved(client)
            topics["noise"].write_batch(rough)
        found = client.sequence_handler("run")
        assert found is not None

        assert after - before < PLAIN_BYTES / 10
        assert (topics["even"].compression, topics["noise"].compression) == (codec, "")
        assert silent.compression == ""
        assert found.topic_handler("even").table().num_rows == ROWS
        read = found.topic_handler("noise").table()
        assert sorted(read.column(1).to_pylist()) == sorted(rough.column(1).to_pylist())
        assert found.topic_handler("silent").is_locked


def test_a_clear_yes_speaks_for_small_topics_of_the_model_but_never_for_big_ones() -> None:
    """Hundreds of small topics are not tried one by one; a no is found out by each for itself."""
    trials = Trials()
    few, rough = SAME.slice(0, 1000), noise()
    assert not trials.pays("a", rough.slice(0, 1000), QUICK)
    assert trials.pays("a", few, QUICK)
    assert trials.pays("a", rough.slice(0, 1000), QUICK)
    assert rough.nbytes > 256 << 10
    assert not trials.pays("a", rough, QUICK)
    assert not trials.pays("b", rough.slice(0, 1000), QUICK)
    assert not trials.pays("a", rough.slice(0, 1000), AS_RECORDED)


def test_an_abort_before_the_first_batch_leaves_no_topic_that_looks_whole(tmp_path: Path) -> None:
    """A stream that was never opened is not ended either."""
    with (
        EmbeddedServer(tmp_path) as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression="auto-lz4") as client,
    ):
        with pytest.raises(ZeroDivisionError), client.sequence_create("run", {}) as writer:
            writer.topic_create("t", {}, Integer64)
            writer.on_error = OnErrorPolicy.Report
            raise ZeroDivisionError
        handler = client.sequence_handler("run")
        assert handler is not None
        assert handler.topics == []


def test_servers_that_are_not_known_to_take_it_are_not_tried_unasked() -> None:
    """On the keyed revisions automatic means none, without a trial."""
    with (
        WithoutCodecs("G1.2") as server,
        MosaicoClient.connect("127.0.0.1", server.port, compression="auto-lz4") as client,
    ):
        assert client.compression == Compression(body="", grpc="")
        assert write(client) > PLAIN_BYTES
        assert client.list_sequences() == ["run"]


@pytest.mark.parametrize(
    ("settled", "was_compressed", "round_trip_s", "expected"),
    [
        ("auto-lz4", False, 0.001, ("lz4", None)),
        ("auto-lz4", True, 0.001, ("zstd", 3)),
        ("auto-lz4", False, 0.025, ("zstd", 7)),
        ("auto-zstd", False, 0.001, ("zstd", 7)),
        ("auto-zstd", True, 0.2, ("zstd", 7)),
    ],
)
def test_the_codec_follows_line_uplink_and_recording(
    settled: str, *, was_compressed: bool, round_trip_s: float, expected: tuple[str, int | None]
) -> None:
    """The scarcer bytes are, the more is done to save them."""
    codec = automatic_codec(settled, was_compressed=was_compressed, round_trip_s=round_trip_s)

    assert (codec.name, codec.level) == expected
