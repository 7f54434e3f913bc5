"""The documented client API, sentence by sentence, against any server.

Each test quotes in its docstring the behaviour it checks. Run with `--mosaico-url` the suite asks
the same of a real platform.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import Parameter, signature
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from bridge import (
    IMU,
    AlreadyExistsError,
    Integer64,
    MosaicoClient,
    NotFoundError,
    Notified,
    NotifyType,
    OnErrorPolicy,
    PreconditionError,
    Query,
    QueryError,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    Sequence,
    SequenceStatus,
    SequenceWriter,
    SerializationFormat,
    String,
    Topic,
    TopicWriter,
)
from bridge.client.revisions import REVISIONS, Counts, Revision
from tests.servers.served import embedded_server


def connect(url: str) -> MosaicoClient:
    parts = urlsplit(url)
    return MosaicoClient.connect(parts.hostname or "", parts.port or 6726, timeout=5)


def spoken_by(client: MosaicoClient) -> Revision:
    """What the revision that the server speaks can do."""
    (found,) = (revision for revision in REVISIONS if revision.name == client.revision)
    return found


@pytest.fixture(
    scope="module",
    params=["G2d", "G1.2", "G3b", pytest.param("G3a", marks=pytest.mark.slow)],
)
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Our server in both generations, or the one named on the command line."""
    url = request.config.getoption("--mosaico-url")
    if url:
        yield url
        return
    folder = tmp_path_factory.mktemp("api")
    with embedded_server(folder, request.param) as server:
        yield f"grpc://{server.address}"


@pytest.fixture
def name(client: MosaicoClient) -> Iterator[str]:
    """A name that no other sequence has; what can be deleted of it is."""
    chosen = f"contract-{secrets.token_hex(6)}"
    yield chosen
    with contextlib.suppress(NotFoundError, PreconditionError):
        client.sequence_delete(chosen)


@pytest.fixture
def client(server_url: str) -> Iterator[MosaicoClient]:
    with connect(server_url) as connected:
        yield connected


def rows(*times_ns: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(times_ns, pa.int64())] * 2, schema=Integer64.schema)


def write(client: MosaicoClient, name: str) -> SequenceWriter:
    with client.sequence_create(name, {"environment": {"visibility": 40}}) as writer:
        writer.topic_create("/count", {"unit": "m"}, Integer64).write_batch(rows(3, 1, 2))
        writer.topic_create("/words", {}, String).push({"timestamp_ns": 2, "data": "two"})
    return writer


CALLS: tuple[Callable[[MosaicoClient], object], ...] = (
    lambda client: client.list_sequences(),
    lambda client: client.sequence_handler("absent"),
    lambda client: client.topic_handler("absent", "/t"),
    lambda client: client.sequence_create("absent", {}),
    lambda client: client.sequence_delete("absent"),
    lambda client: client.sequence_notify("absent", "text"),
    lambda client: client.topic_notify("absent", "/t", "text"),
    lambda client: client.list_sequence_notify("absent"),
    lambda client: client.clear_sequence_notify("absent"),
    lambda client: client.list_topic_notify("absent", "/t"),
    lambda client: client.clear_topic_notify("absent", "/t"),
    lambda client: client.query(QuerySequence().with_name("absent")),
)


class TestConnection:
    def test_direct_construction(self) -> None:
        """Constructing the client directly raises RuntimeError."""
        with pytest.raises(RuntimeError):
            MosaicoClient()

    def test_unreachable_server(self) -> None:
        """A server that cannot be reached within the timeout raises ConnectionError."""
        with pytest.raises(ConnectionError):
            MosaicoClient.connect("127.0.0.1", 1, timeout=0)

    def test_context_manager_closes(self, server_url: str) -> None:
        """Leaving the `with` block closes the client; using it afterwards is an error."""
        with connect(server_url) as client:
            client.list_sequences()
        with pytest.raises(RuntimeError):
            client.list_sequences()

    def test_close_is_idempotent(self, server_url: str) -> None:
        """Closing a closed client does nothing."""
        client = connect(server_url)
        client.close()
        client.close()

    def test_timeout_is_the_third_argument(self, server_url: str) -> None:
        """`connect(host, port, timeout=5)`: by position or by name, 5 seconds by default."""
        assert signature(MosaicoClient.connect).parameters["timeout_s"].default == 5
        parts = urlsplit(server_url)
        with MosaicoClient.connect(parts.hostname or "", parts.port or 6726, 5) as client:
            assert client.revision

    @pytest.mark.parametrize("call", CALLS)
    def test_use_after_close(self, server_url: str, call: Callable[..., object]) -> None:
        """Every call of a closed client that would ask the server raises RuntimeError."""
        client = connect(server_url)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            call(client)


class TestNames:
    def test_arguments_of_sequence_create(self) -> None:
        """Name, metadata, error policy, bytes and records of a batch: in this order, by default."""
        parameters = list(signature(MosaicoClient.sequence_create).parameters.values())[1:]
        assert [(each.name, each.default) for each in parameters] == [
            ("sequence_name", Parameter.empty),
            ("metadata", Parameter.empty),
            ("on_error", OnErrorPolicy.Delete),
            ("max_batch_size_bytes", None),
            ("max_batch_size_records", None),
        ]

    def test_members_of_enumerations(self) -> None:
        """The documented enumerations have the documented members."""
        assert {each.name: each.value for each in NotifyType} == {"ERROR": "error"}
        assert {each.name: each.value for each in OnErrorPolicy} == {
            "Report": "report",
            "Delete": "delete",
        }
        assert [each.name for each in SequenceStatus] == ["Null", "Pending", "Finalized", "Error"]
        assert {each.value for each in SerializationFormat} == {"default", "ragged", "image"}

    def test_fields_of_a_notification(self) -> None:
        """A `Notified` tells sequence, topic or None, type, message and time."""
        assert [each.name for each in fields(Notified)] == [
            "sequence_name",
            "topic_name",
            "notify_type",
            "message",
            "created_datetime",
        ]


class TestWriting:
    def test_writer_outside_with(self, client: MosaicoClient, name: str) -> None:
        """Using a sequence writer outside its `with` block raises RuntimeError."""
        writer = client.sequence_create(name, {})
        with pytest.raises(RuntimeError):
            writer.topic_create("/t", {}, Integer64)
        assert name not in client.list_sequences()

    def test_clean_exit_finalises(self, client: MosaicoClient, name: str) -> None:
        """A clean exit finalises the sequence, which is then listed and locked."""
        write(client, name)
        assert name in client.list_sequences()
        handler = client.sequence_handler(name)
        assert handler is not None
        assert handler.is_locked

    def test_name_is_unique(self, client: MosaicoClient, name: str) -> None:
        """A sequence name can be taken only once."""
        write(client, name)
        with pytest.raises(AlreadyExistsError):
            client.sequence_create(name, {}).__enter__()

    @pytest.mark.parametrize("policy", OnErrorPolicy)
    def test_error_policy(self, client: MosaicoClient, name: str, policy: OnErrorPolicy) -> None:
        """On an error `Delete` removes the sequence; `Report` keeps it and notifies."""
        with pytest.raises(ZeroDivisionError), client.sequence_create(name, {}, policy) as writer:
            whole = writer.topic_create("/whole", {}, Integer64)
            whole.write_batch(rows(1))
            whole.close()
            writer.topic_create("/open", {}, Integer64).write_batch(rows(1))
            raise ZeroDivisionError
        if policy is OnErrorPolicy.Delete:
            assert name not in client.list_sequences()
        else:
            assert client.sequence_handler(name).topics == ["/whole"]  # type: ignore[union-attr]
            assert len(client.list_sequence_notify(name)) == 1

    def test_batch_sizes(self, client: MosaicoClient, name: str) -> None:
        """`max_batch_size_records` bounds the rows of what is sent at once."""
        with client.sequence_create(name, {}, max_batch_size_records=2) as writer:
            topic = writer.topic_create("/t", {}, Integer64)
            topic.write_batch(rows(1, 2, 3, 4, 5))
            assert topic.batches_written == 3

    def test_batch_bytes(self, client: MosaicoClient, name: str) -> None:
        """`max_batch_size_bytes` bounds the bytes of what is sent at once."""
        with client.sequence_create(name, {}, max_batch_size_bytes=1_000) as writer:
            topic = writer.topic_create("/t", {}, Integer64)
            topic.write_batch(rows(*range(1_000)))
            assert topic.batches_written >= 16

    def test_status(self, client: MosaicoClient, name: str) -> None:
        """A writer is `Null`, then `Pending`, in the end `Finalized` or `Error`."""
        writer = client.sequence_create(name, {})
        told = [writer.status]
        with writer:
            told.append(writer.status)
            writer.topic_create("/t", {}, Integer64)
        told.append(writer.status)
        with pytest.raises(ZeroDivisionError), client.sequence_create(f"{name}-b", {}) as failing:
            raise ZeroDivisionError
        told.append(failing.status)
        assert [each.name for each in told] == ["Null", "Pending", "Finalized", "Error"]

    def test_push(self, client: MosaicoClient, name: str) -> None:
        """`topic_create` gives a `TopicWriter`, whose `push` takes one row; not after its close."""
        with client.sequence_create(name, {}) as writer:
            topic = writer.topic_create("words", {}, String)
            assert isinstance(topic, TopicWriter)
            topic.push({"timestamp_ns": 1, "data": "one"})
        with pytest.raises(RuntimeError, match="closed"):
            topic.push({"timestamp_ns": 2, "data": "two"})
        handler = client.topic_handler(name, "/words")
        assert handler is not None
        assert list(handler.rows()) == [{"timestamp_ns": 1, "data": "one"}]

    def test_writer_is_entered_once(self, client: MosaicoClient, name: str) -> None:
        """A writer whose block is over cannot be entered again."""
        writer = write(client, name)
        with pytest.raises(RuntimeError, match="only once"):
            writer.__enter__()

    def test_receipts_tell_counts(self, client: MosaicoClient, name: str) -> None:
        """What the server holds can be compared before it is finalised."""
        with client.sequence_create(name, {}) as writer:
            topic = writer.topic_create("/t", {}, Integer64)
            topic.write_batch(rows(5, 6, 7))
            topic.close()
            receipt = writer.receipts()["/t"]
            assert receipt.locked
            assert receipt.row_count in {3, None}


class TestReading:
    def test_handlers_of_absent_things(self, client: MosaicoClient, name: str) -> None:
        """Handlers of a sequence or topic that does not exist are None."""
        assert client.sequence_handler(name) is None
        assert client.topic_handler(name, "/t") is None

    def test_handlers_are_cached(self, client: MosaicoClient, name: str) -> None:
        """A handler is given out again until its cache is cleared."""
        write(client, name)
        sequence = client.sequence_handler(name)
        topic = client.topic_handler(name, "/count")
        assert client.sequence_handler(name) is sequence
        assert client.topic_handler(name, "/count") is topic
        client.clear_sequence_handlers_cache()
        client.clear_topic_handlers_cache()
        assert client.sequence_handler(name) is not sequence
        assert client.topic_handler(name, "/count") is not topic

    def test_handlers_are_as_old_as_their_making(self, client: MosaicoClient, name: str) -> None:
        """A cached handler is not refreshed: lock and topics are those of the first call."""
        with client.sequence_create(name, {}) as writer:
            early = client.sequence_handler(name)
            assert early is not None
            writer.topic_create("/t", {}, Integer64).write_batch(rows(1))
        assert (early.is_locked, early.topics) == (False, [])
        client.clear_sequence_handlers_cache()
        late = client.sequence_handler(name)
        assert late is not None
        assert (late.is_locked, late.topics) == (True, ["/t"])

    def test_deleted_sequence_leaves_the_cache(self, client: MosaicoClient, name: str) -> None:
        """Deleting a sequence, cached or not, forgets its handlers."""
        with client.sequence_create(name, {}) as writer:
            writer.topic_create("/t", {}, Integer64)
            writer.abandon()
        assert client.sequence_handler(name) is not None
        assert client.topic_handler(name, "/t") is not None
        client.sequence_delete(name)
        assert client.sequence_handler(name) is None
        assert client.topic_handler(name, "/t") is None

    def test_ranges_chunks_and_sessions(self, client: MosaicoClient, name: str) -> None:
        """Handlers tell first and last time, chunks, rows where known, and sessions where any."""
        write(client, name)
        sequence, topic = client.sequence_handler(name), client.topic_handler(name, "/count")
        assert sequence is not None
        assert topic is not None
        revision, keyed = spoken_by(client), client.revision.startswith("G1")
        times = (1, 3) if revision.endpoint_facts else (None, None)
        assert (sequence.timestamp_ns_min, sequence.timestamp_ns_max) == times
        assert (topic.timestamp_ns_min, topic.timestamp_ns_max) == times
        assert topic.chunks_number == 1
        assert topic.schema.names == Integer64.schema.names
        assert topic.row_count == (None if revision.counts is Counts.NOWHERE else 3)
        assert len(sequence.sessions) == len(sequence.updated_timestamps) == (0 if keyed else 1)

    def test_sequence_properties(self, client: MosaicoClient, name: str) -> None:
        """A sequence handler tells name, topics, metadata, creation time, size and lock."""
        write(client, name)
        handler = client.sequence_handler(name)
        assert handler is not None
        assert (handler.name, handler.topics) == (name, ["/count", "/words"])
        assert handler.user_metadata == {"environment": {"visibility": 40}}
        assert handler.created_datetime is not None
        assert handler.total_size_bytes
        assert handler.is_locked

    def test_topic_properties(self, client: MosaicoClient, name: str) -> None:
        """A topic handler tells tag, format, metadata, creation time, size and lock."""
        write(client, name)
        handler = client.topic_handler(name, "/count")
        assert handler is not None
        assert (handler.name, handler.sequence_name) == ("/count", name)
        assert (handler.ontology_tag, handler.serialization_format) == ("Integer64", "default")
        assert handler.user_metadata == {"unit": "m"}
        assert handler.created_datetime is not None
        assert handler.total_size_bytes
        assert handler.is_locked

    def test_rows_in_time_order(self, client: MosaicoClient, name: str) -> None:
        """Rows come in order of time, whole or in a half-open window."""
        write(client, name)
        topic = client.topic_handler(name, "/count")
        assert topic is not None
        assert topic.table().column("timestamp_ns").to_pylist() == [1, 2, 3]
        assert [row["data"] for row in topic.rows(start_ns=1, end_ns=3)] == [1, 2]

    def test_topics_merged(self, client: MosaicoClient, name: str) -> None:
        """The topics of a sequence can be read merged by time."""
        write(client, name)
        sequence = client.sequence_handler(name)
        assert sequence is not None
        order = [(row["timestamp_ns"], topic) for topic, row in sequence.rows()]
        assert order == [(1, "/count"), (2, "/count"), (2, "/words"), (3, "/count")]


class TestDeleting:
    def test_delete(self, client: MosaicoClient, name: str) -> None:
        """A deleted sequence is gone; deleting what is not there is an error."""
        with client.sequence_create(name, {}) as writer:
            writer.topic_create("/t", {}, Integer64)
            writer.abandon()
        client.sequence_delete(name)
        assert name not in client.list_sequences()
        with pytest.raises(NotFoundError):
            client.sequence_delete(name)

    def test_delete_of_a_finalised_sequence(self, client: MosaicoClient, name: str) -> None:
        """Where the platform locks sequences for ever, a locked one cannot be deleted."""
        write(client, name)
        if client.revision.startswith("G1"):
            with pytest.raises(PreconditionError, match="locked"):
                client.sequence_delete(name)
            assert name in client.list_sequences()
        else:
            client.sequence_delete(name)
            assert name not in client.list_sequences()


class TestNotifications:
    def test_of_sequences(self, client: MosaicoClient, name: str) -> None:
        """Notifications of a sequence are listed as `Notified` and cleared."""
        write(client, name)
        client.sequence_notify(name, "text")
        (notified,) = client.list_sequence_notify(name)
        assert isinstance(notified, Notified)
        assert notified.notify_type is NotifyType.ERROR
        assert (notified.sequence_name, notified.topic_name) == (name, None)
        assert notified.message == "text"
        assert notified.created_datetime.tzinfo is not None
        client.clear_sequence_notify(name)
        assert client.list_sequence_notify(name) == []

    def test_of_topics(self, client: MosaicoClient, name: str) -> None:
        """Notifications of a topic are apart from those of its sequence."""
        write(client, name)
        client.topic_notify(name, "/count", "text")
        (notified,) = client.list_topic_notify(name, "/count")
        assert (notified.sequence_name, notified.topic_name) == (name, "/count")
        assert client.list_sequence_notify(name) == []
        client.clear_topic_notify(name, "/count")
        assert client.list_topic_notify(name, "/count") == []

    def test_of_absent_things(self, client: MosaicoClient, name: str) -> None:
        """Of what does not exist there are no notifications (G1), or it is an error (G2)."""
        if client.revision.startswith("G1"):
            assert client.list_sequence_notify(name) == client.list_topic_notify(name, "/t") == []
            client.clear_sequence_notify(name)
            client.clear_topic_notify(name, "/t")
            return
        for call in (client.list_sequence_notify, client.clear_sequence_notify):
            with pytest.raises(NotFoundError):
                call(name)
        for on_topic in (client.list_topic_notify, client.clear_topic_notify):
            with pytest.raises(NotFoundError):
                on_topic(name, "/t")


class TestQueries:
    def test_documented_example(self, client: MosaicoClient, name: str) -> None:
        """Metadata below a bound and a name that contains a text: both must hold."""
        write(client, name)
        visibility = Sequence.Q.user_metadata["environment.visibility"]
        near = QuerySequence().with_expression(visibility.lt(50)).with_name_match(name[2:-2])
        far = QuerySequence().with_expression(visibility.gt(50)).with_name_match(name[2:-2])
        assert [item.sequence.name for item in client.query(near) or ()] == [name]
        assert client.query(far) is not None
        assert not client.query(far)

    def test_data_and_topics(self, client: MosaicoClient, name: str) -> None:
        """Conditions on data find the topics in which a row meets them."""
        write(client, name)
        mine = QuerySequence().with_name(name)
        data = QueryOntologyCatalog().with_expression(Integer64.Q.data.gt(2))
        response = client.query(mine, data)
        assert response
        assert [topic.name for topic in response[0].topics] == ["/count"]
        words = QueryTopic().with_expression(Topic.Q.ontology_tag.eq("String"))
        response = client.query(query=Query(mine, words))
        assert response
        assert [topic.name for topic in response[0].topics] == ["/words"]

    def test_documented_example_on_data(self, client: MosaicoClient, name: str) -> None:
        """Accelerations above a bound after a time, by the older spelling of the stamp."""
        vector = {"x": 6.0, "y": 0.0, "z": 0.0}
        stamp = {"seconds": 1_700_134_568, "nanoseconds": 0}
        row = {"timestamp_ns": 1, "acceleration": vector, "angular_velocity": vector}
        with client.sequence_create(name, {}) as writer:
            writer.topic_create("/imu", {}, IMU).push(row | {"header": {"timestamp": stamp}})
        mine = QuerySequence().with_name(name)
        for bound_s, expected in ((1_700_134_567, [name]), (1_700_134_568, [])):
            found = client.query(
                mine,
                QueryOntologyCatalog()
                .with_expression(IMU.Q.acceleration.x.gt(5.0))
                .with_expression(IMU.Q.header.stamp.sec.gt(bound_s)),
            )
            assert found is not None
            assert [item.sequence.name for item in found] == expected

    def test_clusters(self, client: MosaicoClient, name: str) -> None:
        """Temporal clusters where the revision has them, a clear refusal where it has not."""
        write(client, name)
        data = Integer64.Q.data.geq(1)
        if not spoken_by(client).clusters:
            with pytest.raises(QueryError, match="no temporal clusters"):
                client.clusters(name, "/count", data, gap_ns=1)
            return
        (one,) = client.clusters(name, "/count", data, gap_ns=1)
        assert (one.start_ns, one.end_ns) == (1, 3)
        words = {"/count": [data], "/words": [String.Q.data.eq("two")]}
        (both,) = client.common_clusters(name, words, gap_ns=1, tolerance_ns=0)
        assert (both.start_ns, both.end_ns) == (2, 2)

    def test_operator_that_the_revision_lacks(self, client: MosaicoClient, name: str) -> None:
        """An operator that the revision does not evaluate is refused by name, not sent."""
        wide = QueryOntologyCatalog(Integer64.Q.data.outside(2, 9))
        if not spoken_by(client).wide_operators:
            with pytest.raises(QueryError, match=client.revision):
                client.query(wide)
        else:
            write(client, name)
            assert client.query(QuerySequence().with_name(name), wide)

    def test_value_errors(self, client: MosaicoClient) -> None:
        """No query, two of one kind, or both forms at once raise ValueError."""
        part = QuerySequence().with_name("a")
        with pytest.raises(ValueError, match="either"):
            client.query()
        with pytest.raises(ValueError, match="already"):
            client.query(part, QuerySequence().with_name("b"))
        with pytest.raises(ValueError, match="either"):
            client.query(part, query=Query(part))
