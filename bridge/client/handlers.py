"""Looking at sequences and topics that exist: what they are, and readers for what they hold."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

import pyarrow as pa

from bridge.client.catalog import WHOLE, Dialect, SequenceFacts, SessionFacts, TopicFacts, Window
from bridge.client.connection import Connection
from bridge.client.readers import TopicReader, merge_by_time
from bridge.client.text import split_locator, topic_locator
from bridge.client.topics import TopicReceipt
from bridge.units import SECOND_NS

Facts = TypeVar("Facts", bound=TopicFacts | SequenceFacts)


class _Handler(Generic[Facts]):
    """What is known alike of topics and of sequences."""

    def __init__(self, connection: Connection, dialect: Dialect, facts: Facts) -> None:
        self._connection = connection
        self._dialect = dialect
        self._facts = facts

    @property
    def user_metadata(self) -> Mapping[str, Any]:
        """What its writer attached."""
        return self._facts.user_metadata

    @property
    def created_timestamp(self) -> int | None:
        """When it was created, nanoseconds since the epoch."""
        return self._facts.created_ns

    @property
    def created_datetime(self) -> datetime | None:
        """When it was created, in UTC; finer than 1 us is cut."""
        return utc(self._facts.created_ns)

    @property
    def total_size_bytes(self) -> int | None:
        """Stored bytes, of a sequence those of all its topics."""
        return self._facts.size_bytes


class TopicHandler(_Handler[TopicFacts]):
    """One topic: its facts as they were when the handler was made, and readers for its rows."""

    @property
    def locator(self) -> str:
        """`sequence/topic/path`, as it goes over the wire."""
        return self._facts.locator

    @property
    def sequence_name(self) -> str:
        """The sequence it belongs to."""
        return split_locator(self.locator)[0]

    @property
    def name(self) -> str:
        """Its name, with a leading slash."""
        return split_locator(self.locator)[1]

    @property
    def ontology_tag(self) -> str:
        """What each row is, by the tag of its model."""
        return self._facts.ontology_tag

    @property
    def serialization_format(self) -> str:
        """How the platform stores it: `default`, `ragged` or `image`."""
        return self._facts.serialization_format

    @property
    def schema(self) -> pa.Schema:
        """The columns as stored; without fields before any data has arrived."""
        return self._facts.schema if self._facts.schema is not None else pa.schema([])

    @property
    def is_locked(self) -> bool:
        """Whether its upload ended cleanly, so that it cannot change any more."""
        return self._facts.locked

    @property
    def chunks_number(self) -> int | None:
        """Stored chunks."""
        return self._facts.chunks

    @property
    def receipt(self) -> TopicReceipt:
        """What the platform holds of it, for comparing."""
        return TopicReceipt.of(self._facts)

    @property
    def row_count(self) -> int | None:
        """Rows; None where the revision does not report them."""
        return self._facts.data.row_count

    @property
    def timestamp_ns_min(self) -> int | None:
        """First record time, nanoseconds; None without rows or where not reported."""
        return self._facts.data.start_ns

    @property
    def timestamp_ns_max(self) -> int | None:
        """Last record time, inclusive, nanoseconds; None without rows or where not reported."""
        return self._facts.data.end_ns

    def reader(self, *, start_ns: int | None = None, end_ns: int | None = None) -> TopicReader:
        """Give a reader of the rows with `start_ns <= timestamp_ns < end_ns`."""
        window = Window(start_ns=start_ns, end_ns=end_ns)
        return TopicReader(self._connection, self._dialect, self.locator, window)

    def batches(
        self, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield Arrow batches in order of record time; see `TopicReader.batches`."""
        return self.reader(start_ns=start_ns, end_ns=end_ns).batches()

    def rows(
        self, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield rows as plain Python values, in order of record time."""
        return self.reader(start_ns=start_ns, end_ns=end_ns).rows()

    def table(self, *, start_ns: int | None = None, end_ns: int | None = None) -> pa.Table:
        """Read everything into memory."""
        return self.reader(start_ns=start_ns, end_ns=end_ns).table()

    def __repr__(self) -> str:
        return f"TopicHandler({self.locator}, {self.ontology_tag})"


class SequenceHandler(_Handler[SequenceFacts]):
    """One sequence: its facts as they were when the handler was made or last reloaded."""

    def reload(self) -> None:
        """Ask the server again.

        Raises:
            NotFoundError: The sequence is gone.
        """
        self._facts = self._dialect.sequence_facts(self.name, WHOLE)

    @property
    def name(self) -> str:
        """Its name."""
        return self._facts.name

    @property
    def topics(self) -> list[str]:
        """The names of its topics, with leading slashes, sorted."""
        return [split_locator(topic.locator)[1] for topic in self._facts.topics]

    @property
    def is_locked(self) -> bool:
        """Whether it is finalised; on G2: whether it has sessions and all of them are."""
        return self._facts.locked

    @property
    def timestamp_ns_min(self) -> int | None:
        """First record time of any topic; None without rows or where not reported."""
        starts = [topic.data.start_ns for topic in self._facts.topics]
        return min((start for start in starts if start is not None), default=None)

    @property
    def timestamp_ns_max(self) -> int | None:
        """Last record time of any topic, inclusive; None without rows or where not reported."""
        ends = [topic.data.end_ns for topic in self._facts.topics]
        return max((end for end in ends if end is not None), default=None)

    @property
    def sessions(self) -> Sequence[SessionFacts]:
        """Its sessions; empty on G1."""
        return self._facts.sessions

    @property
    def updated_timestamps(self) -> list[int]:
        """When its sessions were finalised, nanoseconds since the epoch, in order."""
        ends = (session.completed_ns for session in self._facts.sessions)
        return sorted(end for end in ends if end is not None)

    @property
    def topic_facts(self) -> Mapping[str, TopicFacts]:
        """What the server said about its topics together with the sequence, by their names.

        Without tags and schemas; row counts only on the revisions that tell them here (from G2d).
        """
        return {split_locator(facts.locator)[1]: facts for facts in self._facts.topics}

    def topic_handler(self, topic_name: str) -> TopicHandler:
        """Open one of its topics.

        Raises:
            NotFoundError: There is none of that name.
        """
        facts = self._dialect.topic_facts(topic_locator(self.name, topic_name), WHOLE)
        return TopicHandler(self._connection, self._dialect, facts)

    def topic_handlers(self) -> dict[str, TopicHandler]:
        """Open all its topics, many at a time, by name.

        Raises:
            NotFoundError: One has disappeared meanwhile.
        """
        calls = [partial(self.topic_handler, name) for name in self.topics]
        found = self._connection.parallel("ask").map(calls, repeatable=True)
        return dict(zip(self.topics, found, strict=True))

    def batches(
        self,
        *,
        topics: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield slices of all topics, merged by record time.

        Args:
            topics: The topics to read; all by default.
            start_ns: First record time wanted.
            end_ns: First record time no longer wanted.

        Yields:
            The topic's name and a batch; over all batches record times never decrease.
        """
        window = Window(start_ns=start_ns, end_ns=end_ns)
        locators = (topic_locator(self.name, topic) for topic in topics or self.topics)
        readers = {
            split_locator(locator)[1]: TopicReader(self._connection, self._dialect, locator, window)
            for locator in locators
        }
        return merge_by_time(readers)

    def rows(
        self,
        *,
        topics: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows of all topics one by one, merged by record time."""
        for topic, batch in self.batches(topics=topics, start_ns=start_ns, end_ns=end_ns):
            for row in batch.to_pylist():
                yield topic, row

    def __repr__(self) -> str:
        return f"SequenceHandler({self.name}, {len(self.topics)} topics)"


def utc(time_ns: int | None) -> datetime | None:
    """Give nanoseconds since the epoch as a datetime; finer than 1 us is cut."""
    if time_ns is None:
        return None
    seconds, rest_ns = divmod(time_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
