"""What queries find: topics grouped by sequence, and clusters in time (from G2c)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.client.catalog import Dialect, Window
from bridge.client.query.query import QuerySequence, QueryTopic, Topic, encode_conditions
from bridge.client.query.query import Sequence as SequenceFields
from bridge.client.revisions import Revision
from bridge.client.text import split_locator
from bridge.errors import ProtocolError
from bridge.ontology import Condition, QueryError


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


# Where a window is open, the wire wants a bound nevertheless.
_BEGINNING_NS = -(2**63)
_END_NS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRequest:
    """What to look for in one topic.

    Attributes:
        locator: The topic.
        conditions: What must hold, in the topic's own terms; at least one.
        gap_ns: Rows further apart than this are different clusters; 0 for one cluster in all.
        window: Where to look.
    """

    locator: str
    conditions: tuple[Condition, ...]
    gap_ns: int
    window: Window


def clusterize(dialect: Dialect, request: ClusterRequest) -> list[Cluster]:
    """Find the stretches of one topic in which the conditions hold.

    Raises:
        QueryError: The revision has no clusters, or cannot evaluate a condition.
        ServerError: The call failed.
    """
    return _ask(dialect, "topic_filter_clusterize", _encode(request, dialect.revision))


def intersect(
    dialect: Dialect, requests: Sequence[ClusterRequest], *, tolerance_ns: int
) -> list[Cluster]:
    """Find the stretches in which the conditions on several topics hold together.

    Args:
        dialect: What is spoken.
        requests: What to look for; at least two topics of one sequence.
        tolerance_ns: How far apart clusters may be and still count as together.

    Raises:
        QueryError: The revision has no clusters, or cannot evaluate a condition.
        ServerError: The call failed.
    """
    wanted = {
        "topics": [_encode(request, dialect.revision) for request in requests],
        "intersect_dt_ns": tolerance_ns,
    }
    return _ask(dialect, "topic_filter_intersect", wanted)


def _encode(request: ClusterRequest, revision: Revision) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "locator": request.locator,
        "clustering_dt_ns": request.gap_ns,
        "ontology": encode_conditions(request.conditions, revision),
    }
    window = request.window
    if window.start_ns is not None or window.end_ns is not None:
        encoded["timestamp_range"] = {
            "start_ns": _BEGINNING_NS if window.start_ns is None else window.start_ns,
            "end_ns": _END_NS if window.end_ns is None else window.end_ns,
        }
    return encoded


def _ask(dialect: Dialect, action: str, request: Mapping[str, Any]) -> list[Cluster]:
    if not dialect.revision.clusters:
        raise QueryError(f"{dialect.revision.name} has no temporal clusters")
    answers = dialect.clusters(action, request)
    try:
        spans = [answer["ts"] for answer in answers]
        return [Cluster(start_ns=int(ts["start_ns"]), end_ns=int(ts["end_ns"])) for ts in spans]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"{action}: the server's answer makes no sense") from error
