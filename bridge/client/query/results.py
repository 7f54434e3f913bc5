"""What queries find: topics grouped by sequence, and clusters in time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.client.names import split_locator
from bridge.client.query.parts import QuerySequence, QueryTopic, Topic
from bridge.client.query.parts import Sequence as SequenceFields
from bridge.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampRange:
    """A span of record time, both ends included, nanoseconds."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSequence:
    """A sequence in a query's answer."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """A topic in a query's answer.

    Attributes:
        name: Its name, with the leading slash.
        ontology_tag: Its tag; empty before G2c.
        timestamp_range: First and last matching row, where asked for and reported.
    """

    name: str
    ontology_tag: str = ""
    timestamp_range: TimestampRange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResponseItem:
    """One sequence and those of its topics that match."""

    sequence: FoundSequence
    topics: tuple[FoundTopic, ...]


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """What a query found, by sequence; empty is falsy.

    Attributes:
        items: One entry per sequence, sorted by name.
    """

    items: tuple[QueryResponseItem, ...]

    def __iter__(self) -> Iterator[QueryResponseItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> QueryResponseItem:
        return self.items[index]

    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not self.items

    def to_query_sequence(self) -> QuerySequence:
        """Give a query for the sequences found, to narrow it down further."""
        names = [item.sequence.name for item in self.items]
        return QuerySequence(SequenceFields.Q.name.in_(names))

    def to_query_topic(self) -> QueryTopic:
        """Give a query for topics of the names found."""
        names = {topic.name for item in self.items for topic in item.topics}
        return QueryTopic(Topic.Q.name.in_(sorted(names)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A stretch of time in which conditions hold without a long gap.

    Attributes:
        start_ns: First record time.
        end_ns: Last record time, included.
    """

    start_ns: int
    end_ns: int


def parse_response(items: Sequence[Mapping[str, Any]]) -> QueryResponse:
    """Read the items of a query's answer.

    Raises:
        ProtocolError: They are no items.
    """
    try:
        found = [_item(item) for item in items]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError("the server's answer to a query makes no sense") from error
    return QueryResponse(tuple(sorted(found, key=lambda item: item.sequence.name)))


def _item(answer: Mapping[str, Any]) -> QueryResponseItem:
    topics = [_topic(topic) for topic in answer["topics"]]
    return QueryResponseItem(
        sequence=FoundSequence(name=answer["sequence"]),
        topics=tuple(sorted(topics, key=lambda topic: topic.name)),
    )


def _topic(answer: Mapping[str, Any]) -> FoundTopic:
    span = answer.get("timestamp_range")
    return FoundTopic(
        name=split_locator(answer["locator"])[1],
        ontology_tag=answer.get("ontology_tag", ""),
        timestamp_range=TimestampRange(start=int(span[0]), end=int(span[1])) if span else None,
    )
