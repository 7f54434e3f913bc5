"""Reading back: order, windows, rows, tables, handlers, and topics merged by time."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.client import MosaicoClient
from bridge.client.handlers import utc
from bridge.client.readers import merge_by_time
from bridge.errors import NotFoundError
from bridge.ontology import Integer64
from tests.client.conftest import integers


def write(client: MosaicoClient, name: str, topics: dict[str, list[list[int]]]) -> None:
    with client.sequence_create(name, {"k": "v"}) as writer:
        for topic, batches in topics.items():
            put = writer.topic_create(topic, {"of": topic}, Integer64)
            for batch in batches:
                put.write_batch(integers(*batch))


def test_handler_tells_what_the_server_tells(client: MosaicoClient, name: str) -> None:
    """Every property of both handlers, against what was written."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    write(client, name, {"/a/b": [[5, 3], [9]], "/c": [[1]], "/empty": []})
    sequence = client.sequence_handler(name)
    assert sequence is not None
    assert sequence.name == name
    assert sequence.topics == ["/a/b", "/c", "/empty"]
    assert sequence.user_metadata == {"k": "v"}
    assert (sequence.timestamp_ns_min, sequence.timestamp_ns_max) == (1, 9)
    assert sequence.is_locked
    (session,) = sequence.sessions
    assert session.topics == (f"{name}/a/b", f"{name}/c", f"{name}/empty")
    assert sequence.updated_timestamps == [session.completed_ns]
    assert sequence.created_datetime is not None
    assert began < sequence.created_datetime < datetime.now(UTC)

    topic = client.topic_handler(name, "a/b")
    assert topic is not None
    assert (topic.name, topic.sequence_name, topic.locator) == ("/a/b", name, f"{name}/a/b")
    assert (topic.ontology_tag, topic.serialization_format) == ("Integer64", "default")
    assert topic.user_metadata == {"of": "/a/b"}
    assert (topic.row_count, topic.chunks_number) == (3, 2)
    assert (topic.timestamp_ns_min, topic.timestamp_ns_max) == (3, 9)
    assert topic.is_locked
    assert topic.schema.equals(Integer64.schema)
    assert topic.created_datetime == utc(topic.created_timestamp)
    assert topic.total_size_bytes
    others = [sequence.topic_handler(other).total_size_bytes or 0 for other in ("c", "empty")]
    assert sequence.total_size_bytes == topic.total_size_bytes + sum(others)


def test_absent_things_are_none(client: MosaicoClient, name: str) -> None:
    """A sequence or topic that is not there is None; of a sequence at hand it is an error."""
    assert client.sequence_handler(name) is None
    assert client.topic_handler(name, "t") is None
    write(client, name, {"/t": [[1]]})
    assert client.topic_handler(name, "u") is None
    sequence = client.sequence_handler(name)
    assert sequence is not None
    with pytest.raises(NotFoundError):
        sequence.topic_handler("u")


def test_handlers_are_kept_until_cleared(client: MosaicoClient, name: str) -> None:
    """The same handler is given out until the cache is cleared or the sequence deleted."""
    write(client, name, {"/t": [[1]]})
    sequence, topic = client.sequence_handler(name), client.topic_handler(name, "t")
    assert client.sequence_handler(f"/{name}") is sequence
    assert client.topic_handler(name, "/t") is topic
    client.clear_sequence_handlers_cache()
    client.clear_topic_handlers_cache()
    assert client.sequence_handler(name) is not sequence
    assert client.topic_handler(name, "t") is not topic
    client.sequence_delete(name)
    assert client.sequence_handler(name) is None
    assert client.topic_handler(name, "t") is None


def test_reload_sees_what_came_later(client: MosaicoClient, name: str) -> None:
    """A handler is as old as its making until it is reloaded."""
    writer = client.sequence_create(name, {})
    with writer:
        sequence = client.sequence_handler(name)
        assert sequence is not None
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    assert (sequence.topics, sequence.is_locked) == ([], False)
    sequence.reload()
    assert (sequence.topics, sequence.is_locked) == (["/t"], True)


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "expected"),
    [
        (None, None, [1, 2, 3, 5]),
        (2, None, [2, 3, 5]),
        (None, 3, [1, 2]),
        (2, 5, [2, 3]),
        (4, 5, []),
        (6, None, []),
        (-(2**63), 2**63 - 1, [1, 2, 3, 5]),
    ],
)
def test_windows_are_half_open(
    client: MosaicoClient, name: str, start_ns: int | None, end_ns: int | None, expected: list[int]
) -> None:
    """A window has its start and not its end, and rows come in order of time."""
    write(client, name, {"/t": [[5, 1], [3, 2]]})
    topic = client.topic_handler(name, "t")
    assert topic is not None
    batches = list(topic.batches(start_ns=start_ns, end_ns=end_ns))
    times = [time for batch in batches for time in batch.column("timestamp_ns").to_pylist()]
    assert times == expected
    assert topic.table(start_ns=start_ns, end_ns=end_ns).schema.equals(Integer64.schema)


def test_reading_can_stop_early(client: MosaicoClient, name: str) -> None:
    """Leaving a loop over batches cancels the transfer and gives the stream back."""
    write(client, name, {"/t": [[index] for index in range(50)]})
    topic = client.topic_handler(name, "t")
    assert topic is not None
    for _ in range(200):  # twice as many as streams a connection has
        next(topic.batches())
    assert all(channel.streams == 0 for channel in client._connection._data_channels)
    assert topic.table().num_rows == 50


def test_merged_topics_come_in_order_of_time(client: MosaicoClient, name: str) -> None:
    """Slices of all topics, or of some, never go back in time; a window applies to all."""
    write(client, name, {"/a": [[1, 2, 3, 10]], "/b": [[2, 4, 5]], "/c": []})
    sequence = client.sequence_handler(name)
    assert sequence is not None
    merged = [(topic, row["data"]) for topic, row in sequence.rows()]
    assert [time for _, time in merged] == [1, 2, 2, 3, 4, 5, 10]
    assert [row["data"] for _, row in sequence.rows(topics=["b"])] == [2, 4, 5]
    windowed = sequence.rows(start_ns=2, end_ns=5)
    assert [row["data"] for _, row in windowed] == [2, 2, 3, 4]
    slices = [(topic, batch.num_rows) for topic, batch in sequence.batches()]
    assert slices == [("/a", 2), ("/b", 1), ("/a", 1), ("/b", 2), ("/a", 1)]


class Ready:
    """A reader whose batches are at hand."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches = batches

    def batches(self) -> "list[pa.RecordBatch]":
        return iter(self._batches)  # type: ignore[return-value]  # what merge_by_time asks for


times = st.lists(st.integers(-5, 5) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=12)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from("abcd"), times), st.integers(1, 4))
def test_merge_loses_nothing_and_never_goes_back(
    topics: dict[str, list[int]], batch_rows: int
) -> None:
    """Whatever the times and batch sizes: every row once, in order; equal times by topic."""
    readers = {
        topic: Ready(
            [
                integers(*sorted(wanted)[at : at + batch_rows])
                for at in range(0, len(wanted), batch_rows)
            ]
        )
        for topic, wanted in topics.items()
    }
    seen: dict[str, list[int]] = {topic: [] for topic in topics}
    order: list[tuple[int, int]] = []
    positions = {topic: position for position, topic in enumerate(topics)}
    for topic, batch in merge_by_time(readers):  # type: ignore[arg-type]  # readers with batches()
        assert batch.num_rows > 0
        seen[topic] += batch.column("data").to_pylist()
        order += [(time, positions[topic]) for time in batch.column("data").to_pylist()]
    assert seen == {topic: sorted(wanted) for topic, wanted in topics.items()}
    assert order == sorted(order)
