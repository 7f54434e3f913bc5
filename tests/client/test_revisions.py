"""The client on every older revision of the protocol, against servers that speak it strictly."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bridge.client import (
    MosaicoClient,
    OnErrorPolicy,
    QueryOntologyCatalog,
    QuerySequence,
    SequenceWriter,
    TimestampRange,
)
from bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionError,
)
from bridge.ontology import Integer64, QueryError, String
from tests.client.conftest import integers
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.server import OldServer
from tests.servers.old.session import SessionServer

KEYED = ("G1.0", "G1.1", "G1.2")
SESSION = ("G2a", "G2b", "G2c")


@pytest.fixture(params=KEYED + SESSION)
def old(request: pytest.FixtureRequest) -> Iterator[OldServer]:
    make = KeyedServer if request.param in KEYED else SessionServer
    with make(request.param) as server:
        yield server


@pytest.fixture
def client(old: OldServer) -> Iterator[MosaicoClient]:
    if old.revision == "G1.1":  # told from G1.2 by an endpoint of something that is there
        old.sequences["seen"] = {"metadata": {}, "locked": True, "created": "", "key": ""}
        old.topics["seen/t"] = {
            "batches": [],
            "locked": True,
            "metadata": {},
            "properties": {"ontology_tag": "x", "serialization_format": "default"},
            "created": "",
        }
    with MosaicoClient.connect("127.0.0.1", old.port) as connected:
        yield connected


def write(client: MosaicoClient, name: str = "run") -> SequenceWriter:
    with client.sequence_create(name, {"k": {"v": 1}}) as writer:
        writer.topic_create("/a/b", {"of": "a"}, Integer64).write_batch(integers(5, 3, 4))
        words = writer.topic_create("words", {}, String)
        words.push({"timestamp_ns": 3, "data": "three"})
        writer.topic_create("empty", {}, Integer64)
    return writer


def test_revision_is_recognised(client: MosaicoClient, old: OldServer) -> None:
    """The probe tells every revision from every other."""
    assert client.revision == old.revision
    assert client.server_version == {"G2a": "0.4.3", "G2b": "0.5.0", "G2c": "0.6.2"}.get(
        old.revision, ""
    )
    assert client.limits.message_bytes_max in {52_428_800, 50_000_000}


def test_what_is_written_reads_back(client: MosaicoClient) -> None:
    """Create, put, finalise, list, read, window, merge: the same on every revision."""
    write(client)
    assert "run" in client.list_sequences()
    sequence = client.sequence_handler("run")
    assert sequence is not None
    assert sequence.topics == ["/a/b", "/empty", "/words"]
    assert sequence.user_metadata == {"k": {"v": 1}}
    assert sequence.is_locked
    topic = sequence.topic_handler("a/b")
    assert (topic.ontology_tag, topic.user_metadata) == ("Integer64", {"of": "a"})
    assert topic.is_locked
    assert topic.table().column("data").to_pylist() == [3, 4, 5]
    assert topic.table(start_ns=4, end_ns=5).column("data").to_pylist() == [4]
    assert topic.schema.equals(Integer64.schema)
    words = client.topic_handler("run", "words")
    assert words is not None
    assert words.table().schema.equals(String.schema)
    assert sequence.topic_handler("empty").table().num_rows == 0
    assert [row["timestamp_ns"] for _, row in sequence.rows()] == [3, 3, 4, 5]


def test_handlers_derive_what_is_not_told(client: MosaicoClient, old: OldServer) -> None:
    """Creation time and lock are there on every revision, time range and counts where told."""
    write(client)
    sequence, topic = client.sequence_handler("run"), client.topic_handler("run", "a/b")
    assert sequence is not None
    assert topic is not None
    for created in (sequence.created_datetime, topic.created_datetime):
        assert created is not None
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert topic.total_size_bytes == 48
    assert sequence.total_size_bytes
    assert topic.chunks_number == 1
    told = old.revision not in {"G1.0", "G1.1"}
    assert topic.timestamp_ns_min == (3 if told else None)
    assert sequence.timestamp_ns_max == (5 if told else None)
    assert topic.row_count == (3 if old.revision == "G2c" else None)
    assert len(sequence.sessions) == (1 if old.revision in SESSION else 0)


def test_receipts_before_finalisation(client: MosaicoClient, old: OldServer) -> None:
    """What the server holds is asked for before the commit: at least whether it is whole."""
    with client.sequence_create("run", {}) as writer:
        whole = writer.topic_create("whole", {}, Integer64)
        whole.write_batch(integers(1, 2))
        whole.close()
        writer.topic_create("open", {}, Integer64)
        receipts = writer.receipts()
        assert {topic: receipt.locked for topic, receipt in receipts.items()} == {
            "/whole": True,
            "/open": False,
        }
        assert receipts["/whole"].row_count == (2 if old.revision == "G2c" else None)
        if old.revision not in {"G1.0", "G1.1"}:
            assert (receipts["/whole"].start_ns, receipts["/whole"].end_ns) == (1, 2)


def fail(client: MosaicoClient, policy: OnErrorPolicy) -> SequenceWriter:
    writer = client.sequence_create("run", {}, policy)
    with pytest.raises(ZeroDivisionError), writer:
        whole = writer.topic_create("whole", {}, Integer64)
        whole.write_batch(integers(1, 2))
        whole.close()
        writer.topic_create("open", {}, Integer64).write_batch(integers(3))
        raise ZeroDivisionError("in the middle")
    assert writer.cleanup_errors == []
    return writer


def test_delete_leaves_nothing(client: MosaicoClient) -> None:
    """`Delete` removes the sequence on every revision."""
    fail(client, OnErrorPolicy.Delete)
    assert "run" not in client.list_sequences()


def test_report_keeps_what_is_whole(client: MosaicoClient) -> None:
    """`Report` keeps and finalises whole topics, and says why the others are missing."""
    fail(client, OnErrorPolicy.Report)
    sequence = client.sequence_handler("run")
    assert sequence is not None
    assert sequence.topics == ["/whole"]
    assert sequence.is_locked
    (note,) = client.list_sequence_notify("run")
    assert note.message == "ZeroDivisionError: in the middle"


def test_aborted_topic_is_not_locked(client: MosaicoClient) -> None:
    """A message without payload aborts a put on every revision; the topic can be made again."""
    with client.sequence_create("run", {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(integers(1))
        topic.abort()
        assert not writer.receipts()["/t"].locked
        with pytest.raises(PreconditionError):
            writer.finalize()
        writer.topic_delete("t")
        writer.topic_create("t", {}, Integer64).write_batch(integers(1, 2))


def test_session_is_resumed(client: MosaicoClient) -> None:
    """By key, uuid or locator: what a writer journalled opens its upload again."""
    with client.sequence_create("run", {}) as first:
        whole = first.topic_create("whole", {}, Integer64)
        whole.write_batch(integers(1))
        whole.close()
        first.topic_create("open", {}, Integer64)
        journalled = (first.session_uuid, first.session)
        first.abandon()
    with client.sequence_resume("run", *journalled) as second:
        left = [topic for topic, receipt in second.receipts().items() if not receipt.locked]
        assert left == ["/open"]
        second.topic_delete("open")
        second.topic_create("open", {}, Integer64).write_batch(integers(2))
    sequence = client.sequence_handler("run")
    assert sequence is not None
    assert sequence.is_locked
    with pytest.raises(PreconditionError):
        client.sequence_resume("run", *journalled).__enter__()


def test_notifications(client: MosaicoClient) -> None:
    """Created, listed with their time, and purged, on sequences and topics."""
    write(client)
    client.sequence_notify("run", "one")
    client.topic_notify("run", "a/b", "two")
    (of_sequence,) = client.list_sequence_notify("run")
    (of_topic,) = client.list_topic_notify("run", "a/b")
    assert (of_sequence.message, of_sequence.topic_name) == ("one", None)
    assert (of_topic.message, of_topic.topic_name) == ("two", "/a/b")
    assert abs(datetime.now(UTC) - of_topic.created_datetime) < timedelta(minutes=2)
    client.clear_sequence_notify("run")
    client.clear_topic_notify("run", "a/b")
    assert client.list_sequence_notify("run") == client.list_topic_notify("run", "a/b") == []


def test_errors_are_told_apart(client: MosaicoClient, old: OldServer) -> None:
    """Taken, absent and locked have the same classes on every revision."""
    write(client)
    with pytest.raises(AlreadyExistsError):
        client.sequence_create("run", {}).__enter__()
    with pytest.raises(NotFoundError):
        client.sequence_delete("absent")
    assert client.sequence_handler("absent") is None
    assert client.topic_handler("run", "absent") is None
    if old.revision in KEYED:
        with pytest.raises(PreconditionError, match="locked"):
            client.sequence_delete("run")
    else:
        client.sequence_delete("run")
        assert client.list_sequences() == []


def test_query_in_the_revisions_words(client: MosaicoClient, old: OldServer) -> None:
    """A query reaches the server in its own spelling, and the answer is read in its own form."""
    write(client)
    response = client.query(
        QuerySequence().with_name("run"), QueryOntologyCatalog(Integer64.Q.data.gt(4))
    )
    assert response is not None
    ((item,),) = (response.items,)
    assert (item.sequence.name, [topic.name for topic in item.topics]) == ("run", ["/a/b"])
    assert item.topics[0].ontology_tag == ("Integer64" if old.revision == "G2c" else "")


def test_time_range_of_what_matched(client: MosaicoClient, old: OldServer) -> None:
    """Where the revision tells time ranges they are asked for and read."""
    write(client)
    part = QueryOntologyCatalog(Integer64.Q.data.gt(4), include_timestamp_range=True)
    if old.revision in {"G1.0", "G2c"}:
        with pytest.raises(QueryError):
            client.query(part)
    else:
        response = client.query(part)
        assert response is not None
        assert response[0].topics[0].timestamp_range == TimestampRange(start=3, end=5)


def test_clusters_where_there_are_any(client: MosaicoClient, old: OldServer) -> None:
    """Before G2c there are no temporal clusters, and the client says so; then they are read."""
    write(client)
    above = Integer64.Q.data.gt(3)
    if old.revision != "G2c":
        with pytest.raises(QueryError, match=old.revision):
            client.clusters("run", "a/b", above, gap_ns=1)
        return
    (found,) = client.clusters("run", "a/b", above, gap_ns=1)
    assert (found.start_ns, found.end_ns) == (4, 5)
    assert client.clusters("run", "a/b", above, gap_ns=1, end_ns=4) == []
    with client.sequence_create("both", {}) as writer:
        writer.topic_create("one", {}, Integer64).write_batch(integers(1, 2, 9))
        writer.topic_create("two", {}, Integer64).write_batch(integers(2, 3))
    topics = {"one": [Integer64.Q.data.gt(0)], "two": [Integer64.Q.data.gt(0)]}
    (common,) = client.common_clusters("both", topics, gap_ns=1, tolerance_ns=0)
    assert (common.start_ns, common.end_ns) == (2, 2)
