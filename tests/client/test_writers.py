"""Writing sequences: what arrives, what is refused, what an error leaves behind, resuming."""

import gc
import subprocess
import sys
import textwrap
import time
import weakref

import numpy as np
import pyarrow as pa
import pytest

from bridge.client import (
    Known,
    MosaicoClient,
    OnErrorPolicy,
    SequenceStatus,
    SequenceWriter,
    TopicErrorPolicy,
)
from bridge.embedded import EmbeddedServer
from bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionError,
    RejectedError,
    UsageError,
)
from bridge.ontology import IMU, Integer64, Model, String
from tests.client.conftest import ROOT, integers


def test_what_is_written_is_what_is_there(client: MosaicoClient, name: str) -> None:
    """Rows, metadata, tag, receipt before and lock after finalisation."""
    with client.sequence_create(name, {"driver": {"id": "drv_17"}, "rain": False}) as writer:
        topic = writer.topic_create("/a/b", {"k": 1}, Integer64)
        topic.write_batch(integers(5, 3))
        topic.write_batch(integers(4))
        topic.close()
        receipt = writer.receipts()["/a/b"]
        assert (receipt.row_count, receipt.start_ns, receipt.end_ns) == (3, 3, 5)
        assert receipt.locked
        assert (topic.rows_written, topic.batches_written) == (3, 2)
    assert writer.status is SequenceStatus.Finalized
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert sequence.user_metadata == {"driver": {"id": "drv_17"}, "rain": False}
    assert sequence.is_locked
    handler = sequence.topic_handler("a/b")
    assert (handler.ontology_tag, handler.user_metadata) == ("Integer64", {"k": 1})
    assert handler.table().column("data").to_pylist() == [3, 4, 5]


@pytest.mark.parametrize("times_ns", [(5,), (5, 9, 3, 4), (7, *range(100, 3, -1), 50)], ids=len)
def test_writer_knows_the_range_it_has_sent(
    client: MosaicoClient, name: str, times_ns: tuple[int, ...]
) -> None:
    """First and last time are those of all rows, in whatever order they come, few or many."""
    with client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        assert (topic.start_ns, topic.end_ns) == (None, None)
        topic.write_batch(integers(6))
        topic.write_batch(integers(*times_ns))
        assert (topic.start_ns, topic.end_ns) == (min(6, *times_ns), max(6, *times_ns))


def test_writer_outside_its_block_is_refused(client: MosaicoClient, name: str) -> None:
    """Before, after and a second time: a RuntimeError that says to use `with`."""
    writer = client.sequence_create(name, {})
    with pytest.raises(RuntimeError, match="not open") as caught:
        writer.topic_create("t", {}, Integer64)
    assert "with" in caught.value.hint  # type: ignore[attr-defined]  # a UsageError has one
    with writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    with pytest.raises(UsageError):
        writer.topic_create("u", {}, Integer64)
    with pytest.raises(UsageError, match="only once"):
        writer.__enter__()


def test_existing_name_is_refused_and_left_alone(client: MosaicoClient, name: str) -> None:
    """A second writer of the same name fails without deleting the first one's sequence."""
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    with pytest.raises(AlreadyExistsError):
        client.sequence_create(name, {}).__enter__()
    assert name in client.list_sequences()


def test_topic_name_is_taken_only_once(client: MosaicoClient, name: str) -> None:
    """The second topic of a name is refused by the server, the first one goes on."""
    with client.sequence_create(name, {}) as writer:
        first = writer.topic_create("t", {}, Integer64)
        with pytest.raises(AlreadyExistsError):
            writer.topic_create("/t", {}, Integer64)
        first.write_batch(integers(1))
    assert writer.receipts()["/t"].row_count == 1


def test_other_schema_is_refused_before_it_is_sent(client: MosaicoClient, name: str) -> None:
    """A batch must have the model's columns; metadata on it does not matter."""
    with client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        with pytest.raises(UsageError, match="schema"):
            topic.write_batch(pa.record_batch({"timestamp_ns": pa.array([1], pa.int64())}))
        topic.write_batch(integers(1).replace_schema_metadata({"a": "b"}))
        topic.write_batch(integers())
        assert (topic.rows_written, topic.batches_written) == (1, 1)


def test_metadata_that_is_no_json_is_refused(client: MosaicoClient, name: str) -> None:
    """NaN and objects cannot be metadata; nothing is created."""
    for metadata in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(UsageError, match="JSON"):
            client.sequence_create(name, metadata).__enter__()
    assert client.sequence_handler(name) is None


def test_empty_topic_is_whole(client: MosaicoClient, name: str) -> None:
    """A topic without rows is put all the same, because finalising demands it."""
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("t", {}, Integer64)
    handler = client.topic_handler(name, "t")
    assert handler is not None
    assert (handler.row_count, handler.is_locked) == (0, True)
    assert handler.table().num_rows == 0


def test_pushed_rows_arrive_typed(client: MosaicoClient, name: str) -> None:
    """Rows given one by one fill batches; columns left out are null."""
    with client.sequence_create(name, {}, max_batch_size_records=4) as writer:
        topic = writer.topic_create("t", {}, String)
        for time_ns in range(10):
            topic.push({"timestamp_ns": time_ns, "data": f"row {time_ns}"})
        topic.close()
        assert topic.batches_written == 3
    handler = client.topic_handler(name, "t")
    assert handler is not None
    assert [row["data"] for row in handler.rows()] == [f"row {i}" for i in range(10)]


def test_batches_and_pushed_rows_keep_their_order(client: MosaicoClient, name: str) -> None:
    """What was pushed before a batch is sent before it."""
    with client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.push({"timestamp_ns": 1, "data": 1})
        topic.write_batch(integers(2))
        assert (topic.batches_written, topic.rows_written) == (2, 2)


@pytest.mark.parametrize(
    "row", [{"data": 1}, {"timestamp_ns": 1, "dta": 1}, {"timestamp_ns": 1, "data": "x"}]
)
def test_row_that_does_not_fit_is_a_usage_error(
    client: MosaicoClient, name: str, row: dict[str, object]
) -> None:
    """No time, an unknown column, another type: the caller's mistake, said with the topic."""
    with client.sequence_create(name, {}, max_batch_size_records=1) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        with pytest.raises(UsageError, match="/t"):
            topic.push(row)


BLOB = Model(tag="blob", fields=(pa.field("data", pa.binary()),))


def blobs(*sizes_bytes: int) -> pa.RecordBatch:
    payloads = [b"x" * size for size in sizes_bytes]
    times = pa.array(range(len(sizes_bytes)), pa.int64())
    return pa.record_batch([times, pa.array(payloads, pa.binary())], schema=BLOB.schema)


def test_large_batch_is_split_and_huge_row_is_reported(client: MosaicoClient, name: str) -> None:
    """Above the limit batches are split; a row above it is dropped, counted, and told."""
    mib = 1 << 20
    limit_bytes = client.limits.message_bytes_max
    with client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, BLOB)
        topic.write_batch(blobs(*[20 * mib] * 5, limit_bytes, 1, limit_bytes + 1))
        topic.close()
        assert (topic.rows_written, topic.oversize) == (6, 2)
        assert topic.batches_written >= 3
    notes = client.list_topic_notify(name, "t")
    assert "larger than" in notes[0].message
    assert "2 rows" in notes[1].message
    handler = client.topic_handler(name, "t")
    assert handler is not None
    assert handler.row_count == 6


def test_batch_limits_of_the_caller_hold(client: MosaicoClient, name: str) -> None:
    """Batches are split to the caller's bytes and records; a larger single row still goes."""
    with client.sequence_create(
        name, {}, max_batch_size_bytes=10_000, max_batch_size_records=50
    ) as writer:
        rows = writer.topic_create("rows", {}, Integer64)
        rows.write_batch(integers(*range(200)))
        assert rows.batches_written == 4
        blob = writer.topic_create("blob", {}, BLOB)
        blob.write_batch(blobs(50_000, 4_000, 4_000, 4_000))
        assert (blob.rows_written, blob.oversize) == (4, 0)
        assert blob.batches_written == 4


def test_a_known_size_spares_a_look_only_where_the_batch_surely_fits(
    client: MosaicoClient, name: str
) -> None:
    """A part of something small is sent as it is; one of something large is measured and split."""
    with client.sequence_create(name, {}, max_batch_size_bytes=100_000) as writer:
        small = writer.topic_create("small", {}, BLOB)
        small.write_batch(blobs(500, 500), Known(size_bytes=1234, size_bytes_max=30_000))
        assert (small.batches_written, small.bytes_written) == (1, 1234)
        large = writer.topic_create("large", {}, BLOB)
        large.write_batch(blobs(*[50_000] * 4), Known(size_bytes=1234, size_bytes_max=210_000))
        assert (large.batches_written, large.rows_written) == (4, 4)
        assert large.bytes_written > 200_000


def test_split_makes_no_more_parts_than_needed(client: MosaicoClient, name: str) -> None:
    """Parts are even: each becomes a chunk on the platform, so few and large is the aim."""
    batch = integers(*range(10_000))
    size_bytes = pa.ipc.get_record_batch_size(batch)
    with client.sequence_create(name, {}, max_batch_size_bytes=size_bytes * 10 // 26) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(batch)
        assert (topic.batches_written, topic.rows_written) == (3, 10_000)


def fail_within(writer: SequenceWriter, *, whole: bool) -> None:
    with writer:
        if whole:
            topic = writer.topic_create("whole", {}, Integer64)
            topic.write_batch(integers(1, 2))
            topic.close()
        writer.topic_create("open", {}, Integer64).write_batch(integers(3))
        raise ZeroDivisionError("in the middle")


def test_delete_leaves_nothing(client: MosaicoClient, name: str) -> None:
    """Under `Delete`, the default, an error in the block leaves no sequence."""
    writer = client.sequence_create(name, {})
    with pytest.raises(ZeroDivisionError):
        fail_within(writer, whole=True)
    assert writer.status is SequenceStatus.Error
    assert writer.cleanup_errors == []
    assert name not in client.list_sequences()
    assert [channel.streams for channel in client._connection._data_channels] == [0]


def test_report_keeps_what_is_whole(client: MosaicoClient, name: str) -> None:
    """Under `Report` whole topics are finalised, open ones go, and a notification says why."""
    with pytest.raises(ZeroDivisionError):
        fail_within(client.sequence_create(name, {}, OnErrorPolicy.Report), whole=True)
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert (sequence.topics, sequence.is_locked) == (["/whole"], True)
    (note,) = client.list_sequence_notify(name)
    assert note.message == "ZeroDivisionError: in the middle"


def test_report_without_a_whole_topic_keeps_the_note(client: MosaicoClient, name: str) -> None:
    """Where nothing is whole the sequence stays empty, with the notification."""
    with pytest.raises(ZeroDivisionError) as caught:
        fail_within(client.sequence_create(name, {}, OnErrorPolicy.Report), whole=False)
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert (sequence.topics, sequence.is_locked) == ([], False)
    assert len(client.list_sequence_notify(name)) == 1
    assert not hasattr(caught.value, "__notes__")


def test_aborted_topic_is_not_whole(client: MosaicoClient, name: str) -> None:
    """An aborted put is never locked, and its sequence cannot be finalised until it is deleted."""
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("whole", {}, Integer64).write_batch(integers(1))
        topic = writer.topic_create("broken", {}, Integer64)
        topic.write_batch(integers(1, 2, 3))
        topic.abort()
        topic.abort()
        assert not writer.receipts()["/broken"].locked
        with pytest.raises(PreconditionError):
            writer.finalize()
        writer.topic_delete("broken")
        again = writer.topic_create("broken", {}, Integer64)
        again.write_batch(integers(7))
    assert writer.receipts()["/broken"].row_count == 1


def test_ended_topic_is_worked_off_before_it_is_closed(client: MosaicoClient, name: str) -> None:
    """The server completes a topic that was ended while others are still closed one by one."""
    with client.sequence_create(name, {}) as writer:
        topics = [writer.topic_create(f"t{number}", {}, Integer64) for number in range(3)]
        for topic in topics:
            topic.write_batch(integers(1, 2))
            topic.end()
            with pytest.raises(UsageError, match="closed"):
                topic.write_batch(integers(3))
        deadline = time.monotonic() + 10
        while not all(receipt.locked for receipt in writer.receipts().values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for topic in topics:
            topic.close()
            assert topic.closed
    assert {receipt.row_count for receipt in writer.receipts().values()} == {2}


def test_aborting_an_ended_topic_ends_its_stream(client: MosaicoClient, name: str) -> None:
    """What was ended is whole already; giving it up then still frees its stream."""
    with pytest.raises(ZeroDivisionError), client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(integers(1))
        topic.end()
        raise ZeroDivisionError
    assert topic.closed
    assert name not in client.list_sequences()


def test_topic_block_closes_or_aborts(client: MosaicoClient, name: str) -> None:
    """A topic writer's own block closes it at the end and aborts it on an error."""
    with client.sequence_create(name, {}) as writer:
        with writer.topic_create("good", {}, Integer64) as good:
            good.write_batch(integers(1))
        with (
            pytest.raises(ZeroDivisionError),
            writer.topic_create("bad", {}, Integer64) as bad,
        ):
            raise ZeroDivisionError
        assert (good.closed, bad.closed, bad.aborted) == (True, False, True)
        writer.topic_delete("bad")
        with pytest.raises(UsageError, match="closed"):
            good.write_batch(integers(2))


def test_dropped_topic_costs_only_itself(client: MosaicoClient, name: str) -> None:
    """Under `Drop` a failing topic is deleted and reported, and the sequence goes on."""
    with client.sequence_create(name, {}) as writer:
        with writer.topic_create("bad", {}, Integer64, TopicErrorPolicy.Drop) as bad:
            bad.write_batch(integers(1))
            raise ZeroDivisionError("in one topic")
        with writer.topic_create("good", {}, Integer64, TopicErrorPolicy.Drop) as good:
            good.write_batch(integers(2))
    assert writer.status is SequenceStatus.Finalized
    assert list(writer.receipts()) == ["/good"]
    (note,) = client.list_sequence_notify(name)
    assert note.message == "the topic /bad was dropped: ZeroDivisionError: in one topic"


def test_interrupt_is_never_dropped(client: MosaicoClient, name: str) -> None:
    """`Drop` is for errors: Ctrl-C ends the whole, and the sequence's policy applies."""
    with (
        pytest.raises(KeyboardInterrupt),
        client.sequence_create(name, {}) as writer,
        writer.topic_create("t", {}, Integer64, TopicErrorPolicy.Drop),
    ):
        raise KeyboardInterrupt
    assert name not in client.list_sequences()


def test_abandoned_sequence_is_resumed(client: MosaicoClient, name: str) -> None:
    """By the journalled session a later writer keeps what is whole and resends the rest."""
    with client.sequence_create(name, {"k": 1}) as first:
        first.topic_create("whole", {}, Integer64).write_batch(integers(1, 2))
        first.topics["/whole"].close()
        first.topic_create("open", {}, Integer64).write_batch(integers(3))
        journalled = (first.session_uuid, first.session)
        first.abandon()
    assert first.status is SequenceStatus.Error

    with client.sequence_resume(name, *journalled) as second:
        receipts = second.receipts()
        assert {topic: receipt.locked for topic, receipt in receipts.items()} == {
            "/whole": True,
            "/open": False,
        }
        second.topic_delete("/open")
        second.topic_create("/open", {}, Integer64).write_batch(integers(3, 4))
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert (sequence.is_locked, sequence.user_metadata) == (True, {"k": 1})
    assert {topic: receipt.row_count for topic, receipt in second.receipts().items()} == {
        "/whole": 2,
        "/open": 2,
    }


def test_what_cannot_be_resumed(client: MosaicoClient, name: str) -> None:
    """A finalised session and one that is gone are told apart, before anything is written."""
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
        journalled = (writer.session_uuid, writer.session)
    with pytest.raises(PreconditionError, match="finalised"):
        client.sequence_resume(name, *journalled).__enter__()
    with pytest.raises(NotFoundError, match="gone"):
        client.sequence_resume(name, journalled[0], f"{name}:GONE").__enter__()
    with pytest.raises(NotFoundError):
        client.sequence_resume(f"{name}x", *journalled).__enter__()


def test_closing_the_client_aborts_open_topics(server: EmbeddedServer, name: str) -> None:
    """Closing the client under an open put does not make the topic look complete."""
    client = MosaicoClient.connect("127.0.0.1", server.port)
    writer = client.sequence_create(name, {})
    writer.__enter__()
    writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    client.close()
    del writer, client
    gc.collect()  # a stream that is merely dropped ends as if it were complete
    time.sleep(0.2)
    with MosaicoClient.connect("127.0.0.1", server.port) as other:
        topic = other.topic_handler(name, "t")
        assert topic is not None
        assert not topic.is_locked


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "1 / 0"])
def test_process_that_ends_in_the_middle_locks_nothing(
    server: EmbeddedServer, client: MosaicoClient, name: str, end: str
) -> None:
    """A program that ends without closing its writer, however, leaves no topic that looks whole."""
    program = f"""
        import sys
        from bridge.client import MosaicoClient
        from bridge.ontology import Integer64
        from tests.client.conftest import integers
        client = MosaicoClient.connect("127.0.0.1", {server.port})
        writer = client.sequence_create("{name}", {{}})
        writer.__enter__()
        writer.topic_create("t", {{}}, Integer64).write_batch(integers(1))
        {end}
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, cwd=ROOT
    )
    topic = client.topic_handler(name, "t")
    assert topic is not None
    assert not topic.is_locked


def test_more_topics_than_a_connection_carries(server: EmbeddedServer, name: str) -> None:
    """Put streams are spread over connections, and all of them are given back."""
    with MosaicoClient.connect("127.0.0.1", server.port, streams_max=4) as client:
        with client.sequence_create(name, {}) as writer:
            for index in range(10):
                writer.topic_create(f"t{index}", {}, Integer64).write_batch(integers(index))
            channels = client._connection._data_channels
            assert [channel.streams for channel in channels] == [4, 4, 2]
        assert [channel.streams for channel in channels] == [0, 0, 0]
        sequence = client.sequence_handler(name)
        assert sequence is not None
        assert [row["data"] for _, row in sequence.rows()] == list(range(10))


def test_a_connection_carries_64_streams(client: MosaicoClient, name: str) -> None:
    """By default the 65th put opens a second connection; control calls have one of their own."""
    with client.sequence_create(name, {}) as writer:
        topics = [writer.topic_create(f"t{index}", {}, Integer64) for index in range(65)]
        channels = client._connection._data_channels
        assert [channel.streams for channel in channels] == [64, 1]
        assert client._connection._control not in [channel.client for channel in channels]
        for topic in topics:
            topic.write_batch(integers(1))
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert len(sequence.topics) == 65


def test_what_was_sent_is_let_go_of(client: MosaicoClient, name: str) -> None:
    """Every topic is open until the end of its recording: what each kept would add up."""
    kept: list[weakref.ref[np.ndarray]] = []
    with client.sequence_create(name, {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        for _ in range(4):
            times_ns = np.arange(2_000)
            kept.append(weakref.ref(times_ns))
            column = pa.Array.from_buffers(
                pa.int64(), len(times_ns), [None, pa.py_buffer(times_ns)]
            )
            topic.write_batch(pa.record_batch([column, column], schema=Integer64.schema))
            del times_ns, column
        deadline_s = time.monotonic() + 10
        while any(each() is not None for each in kept) and time.monotonic() < deadline_s:
            time.sleep(0.01)

        assert [each() for each in kept] == [None] * len(kept)


def test_rows_of_a_real_model(client: MosaicoClient, name: str) -> None:
    """Nested structs and required columns pass unchanged."""
    vector = {"x": 1.0, "y": -2.5, "z": np.pi}
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("imu", {}, IMU).push(
            {"timestamp_ns": 7, "acceleration": vector, "angular_velocity": vector}
        )
    topic = client.topic_handler(name, "imu")
    assert topic is not None
    assert topic.schema.equals(IMU.schema)
    (row,) = topic.rows()
    assert row["acceleration"]["z"] == np.pi
    assert row["header"] is None


def test_notifications_are_listed_and_cleared(client: MosaicoClient, name: str) -> None:
    """Those on the sequence and those on its topics are apart."""
    with client.sequence_create(name, {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
        writer.notify("from the writer")
        writer.topic_notify("t", "on the topic")
    client.sequence_notify(name, "from the client")
    client.topic_notify(name, "/t", "again")
    assert [note.message for note in client.list_sequence_notify(name)] == [
        "from the writer",
        "from the client",
    ]
    assert [(note.topic_name, note.message) for note in client.list_topic_notify(name, "t")] == [
        ("/t", "on the topic"),
        ("/t", "again"),
    ]
    client.clear_sequence_notify(name)
    assert client.list_sequence_notify(name) == []
    client.clear_topic_notify(name, "t")
    assert client.list_topic_notify(name, "t") == []
    with pytest.raises(NotFoundError):
        client.list_sequence_notify(f"{name}-absent")


def test_bad_metadata_key_is_rejected_by_the_server(client: MosaicoClient, name: str) -> None:
    """What the platform refuses comes back with its words."""
    with pytest.raises(RejectedError, match="json key"):
        client.sequence_create(name, {"a.b": 1}).__enter__()
