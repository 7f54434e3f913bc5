"""What a server can do wrong, and what the client makes of each."""

import time
import traceback

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter, TopicErrorPolicy
from bridge.errors import (
    BridgeError,
    OfflineError,
    PlatformBusyError,
    ProtocolError,
    RefusedError,
    RejectedError,
    TransientError,
)
from bridge.ontology import Integer64
from tests.client.bad_server import BadServer
from tests.client.conftest import integers

LARGE = pa.record_batch([pa.array(range(50_000), pa.int64())] * 2, schema=Integer64.schema)


def write(client: MosaicoClient, topic: str, *, batches: int = 3) -> SequenceWriter:
    with client.sequence_create("run", {}) as writer:
        put = writer.topic_create(topic, {}, Integer64)
        for _ in range(batches):
            put.write_batch(LARGE)
        put.close()
    return writer


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("refuse-create", RejectedError),
        ("refuse-put", RefusedError),
        ("reject-schema", RejectedError),
        ("break", PlatformBusyError),
        ("early", TransientError),
        ("garbage-create", ProtocolError),
        ("other-create", ProtocolError),
        ("empty-create", ProtocolError),
    ],
)
def test_failure_becomes_an_error_of_our_tree(
    bad_client: MosaicoClient, bad_server: BadServer, topic: str, expected: type[BridgeError]
) -> None:
    """Each way to fail has one kind of error, and the failed sequence is removed."""
    with pytest.raises(expected) as caught:
        write(bad_client, topic, batches=40)
    assert type(caught.value) is expected
    assert topic in str(caught.value)
    assert bad_server.sequences == {}


def test_stalled_put_is_cut(bad_client: MosaicoClient, bad_server: BadServer) -> None:
    """A server that stops reading costs the stall time, not for ever."""
    began_s = time.monotonic()
    with pytest.raises(TransientError, match="no progress for 1 s"):
        write(bad_client, "stall", batches=100)
    assert time.monotonic() - began_s < 10
    assert bad_server.sequences == {}


def test_stalled_end_is_cut(bad_client: MosaicoClient) -> None:
    """A server that never answers the end of a put costs five stall times, not for ever."""
    began_s = time.monotonic()
    with pytest.raises(TransientError, match="no progress for 5 s"):
        write(bad_client, "stall-end")
    assert 4 < time.monotonic() - began_s < 15


def test_slow_server_is_not_cut(bad_server: BadServer) -> None:
    """A server that keeps reading, however slowly, is left alone past the stall time."""
    stall_s, batches = 3.0, 100
    with MosaicoClient.connect("127.0.0.1", bad_server.port, stall_timeout_s=stall_s) as client:
        began_s = time.monotonic()
        with client.sequence_create("run", {}) as writer:
            put = writer.topic_create("trickle", {}, Integer64)
            for _ in range(batches):
                put.write_batch(LARGE)
            put.close()
            assert writer.receipts()["/trickle"].row_count == batches * LARGE.num_rows
        assert time.monotonic() - began_s > stall_s


def test_client_works_again_after_a_stall(bad_client: MosaicoClient) -> None:
    """Cutting the connection does not cost the client: the next sequence goes through."""
    with pytest.raises(TransientError):
        write(bad_client, "stall", batches=100)
    writer = write(bad_client, "fine")
    assert writer.receipts()["/fine"].row_count == 3 * LARGE.num_rows


def test_lost_row_shows_in_the_receipt(bad_client: MosaicoClient) -> None:
    """The receipt tells what the server holds, not what was sent."""
    writer = write(bad_client, "lose-row")
    assert writer.topics["/lose-row"].rows_written == 3 * LARGE.num_rows
    assert writer.receipts()["/lose-row"].row_count == 3 * LARGE.num_rows - 1


def test_garbage_facts_are_a_protocol_error(bad_client: MosaicoClient) -> None:
    """A flight info whose JSON is none is no crash and no empty answer."""
    writer = write(bad_client, "garbage-info")
    with pytest.raises(ProtocolError, match="not JSON"):
        writer.receipts()


def test_echoed_key_is_starred(bad_server: BadServer) -> None:
    """A server that repeats the API key in an error does not get it into our errors."""
    key = "msco_verysecret"
    with MosaicoClient.connect("127.0.0.1", bad_server.port, api_key=key) as client:
        with pytest.raises(TransientError) as caught:
            write(client, "echo-key")
        shown = "".join(
            traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
        )
    assert "cannot use ***" in shown
    frames = [line for line in shown.splitlines() if key in line]
    assert frames == [f"    key = '{key}'"]  # this test's own variable


def test_control_call_has_a_deadline(bad_client: MosaicoClient) -> None:
    """A finalisation that is never answered fails at the call deadline."""
    began_s = time.monotonic()
    with pytest.raises(TransientError, match=r"(?i)deadline"):
        write(bad_client, "hang-finalize")
    assert 1.5 < time.monotonic() - began_s < 10


def test_server_that_dies_in_a_put(mortal_port: int) -> None:
    """Its death breaks the stream; the clean-up that cannot be done is noted on the error."""
    with MosaicoClient.connect("127.0.0.1", mortal_port, call_timeout_s=2.0) as client:
        with pytest.raises(TransientError) as caught:
            write(client, "die-put", batches=100)
        assert any("not cleaned up" in note for note in caught.value.__notes__)
        with pytest.raises(OfflineError):
            client.list_sequences()


def test_server_that_dies_before_the_verdict(mortal_port: int) -> None:
    """A finalisation without an answer is an error, because nobody knows what became of it."""
    with (
        MosaicoClient.connect("127.0.0.1", mortal_port, call_timeout_s=2.0) as client,
        pytest.raises(TransientError),
    ):
        write(client, "die-finalize")


def test_sequence_without_session_is_removed(
    bad_client: MosaicoClient, bad_server: BadServer
) -> None:
    """Where the session cannot be opened the sequence just created does not stay behind."""
    with pytest.raises(TransientError):
        bad_client.sequence_create("no-session", {}).__enter__()
    assert bad_server.sequences == {}


def test_lax_server_does_not_make_a_topic_whole(
    bad_client: MosaicoClient, bad_server: BadServer
) -> None:
    """What we aborted goes under `Report`, even if the server took it for complete."""
    writer = bad_client.sequence_create("run", {}, OnErrorPolicy.Report)
    with pytest.raises(ZeroDivisionError), writer:
        writer.topic_create("lax", {}, Integer64).write_batch(integers(1))
        raise ZeroDivisionError
    assert bad_server.sequences["run"]["topics"] == {}
    assert "session_finalize" not in bad_server.calls


def write_good_then_broken(client: MosaicoClient, writers: list[SequenceWriter]) -> None:
    with client.sequence_create("run", {}, OnErrorPolicy.Report) as writer:
        writers.append(writer)
        good = writer.topic_create("good", {}, Integer64)
        good.write_batch(integers(1, 2))
        good.close()
        broken = writer.topic_create("break", {}, Integer64)
        for _ in range(40):
            broken.write_batch(LARGE)


def test_topic_that_breaks_leaves_the_others_under_report(
    bad_client: MosaicoClient, bad_server: BadServer
) -> None:
    """Under `Report` whole topics stay and are finalised, broken ones go, and it is said."""
    writers: list[SequenceWriter] = []
    with pytest.raises(TransientError):
        write_good_then_broken(bad_client, writers)
    assert list(bad_server.sequences["run"]["topics"]) == ["run/good"]
    assert bad_server.calls[-3:] == [
        "topic_delete",
        "sequence_notification_create",
        "session_finalize",
    ]
    assert writers[0].cleanup_errors == []


def write_one_of_two(client: MosaicoClient, topic: str) -> SequenceWriter:
    with client.sequence_create("run", {}) as writer:
        with writer.topic_create(topic, {}, Integer64, TopicErrorPolicy.Drop) as broken:
            for _ in range(40):
                broken.write_batch(LARGE)
        with writer.topic_create("good", {}, Integer64) as good:
            good.write_batch(LARGE)
    return writer


@pytest.mark.parametrize("topic", ["break", "stall", "early"])
def test_broken_topic_can_be_dropped(
    bad_client: MosaicoClient, bad_server: BadServer, topic: str
) -> None:
    """Under the topic policy `Drop` a stream that breaks costs its topic only."""
    writer = write_one_of_two(bad_client, topic)
    assert list(bad_server.sequences["run"]["topics"]) == ["run/good"]
    assert writer.receipts()["/good"].row_count == LARGE.num_rows


def read(client: MosaicoClient, topic: str) -> list[int]:
    """Read a topic to its bitter end; gives the rows of its batches in the list as they come."""
    write(client, topic)
    handler = client.topic_handler("run", topic)
    assert handler is not None
    seen: list[int] = []
    with pytest.raises(BridgeError) as caught:
        seen.extend(batch.num_rows for batch in handler.batches())
    assert topic in str(caught.value)
    assert all(channel.streams == 0 for channel in client._connection._data_channels)
    raise caught.value


def test_read_that_breaks_is_transient(bad_client: MosaicoClient) -> None:
    """A read that the server breaks off says so; it does not look like a shorter topic."""
    with pytest.raises(TransientError, match="database failure"):
        read(bad_client, "break-read")


def test_stalled_read_is_cut(bad_client: MosaicoClient) -> None:
    """A server that stops sending costs the stall time, and the client goes on."""
    began_s = time.monotonic()
    with pytest.raises(TransientError, match="no progress for 1 s"):
        read(bad_client, "stall-read")
    assert time.monotonic() - began_s < 10
    assert bad_client.list_sequences() == ["run"]


def test_rows_without_time_are_a_protocol_error(bad_client: MosaicoClient) -> None:
    """Rows that no topic can have are not merged with others, nor a crash."""
    write(bad_client, "garbage-read")
    sequence = bad_client.sequence_handler("run")
    assert sequence is not None
    with pytest.raises(ProtocolError, match="timestamp_ns"):
        list(sequence.batches())
