"""Query builders: what they accept, how each revision spells it, and what the server finds."""

from datetime import UTC, datetime

import numpy as np
import pytest

from bridge.client import (
    MosaicoClient,
    Query,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    Sequence,
    Topic,
)
from bridge.client.query.query import encode_query
from bridge.client.revisions import G1_0, G1_2, G2A, G2B, G2C, G2D, REVISIONS, Revision
from bridge.embedded import EmbeddedServer
from bridge.ontology import IMU, Condition, Image, Integer64, QueryError, RobotPath, String
from tests.client.bad_server import BadServer
from tests.client.conftest import integers

NOW_NS = 1_775_000_000_000_000_000


def encoded(
    revision: Revision, *parts: QuerySequence | QueryTopic | QueryOntologyCatalog
) -> object:
    return encode_query(Query(*parts), revision)


def test_examples_of_the_documentation() -> None:
    """The two examples of the platform's documentation spell what they mean."""
    sequences = (
        QuerySequence()
        .with_expression(Sequence.Q.user_metadata["environment.visibility"].lt(50))
        .with_name_match("test_drive")
    )
    data = (
        QueryOntologyCatalog()
        .with_expression(IMU.Q.acceleration.x.gt(5.0))
        .with_expression(IMU.Q.header.stamp.sec.gt(1700134567))
    )
    assert encoded(G2D, sequences, data) == {
        "sequence": {
            "user_metadata": {"environment.visibility": {"$lt": 50}},
            "name": {"$match": "*test_drive*"},
        },
        "ontology": {
            "IMU.acceleration.x": {"$gt": 5.0},
            "IMU.header.timestamp.seconds": {"$gt": 1700134567},
        },
    }


def test_older_and_current_field_names_are_one() -> None:
    """`header.stamp.sec` and `header.timestamp.seconds` are the same field."""
    assert IMU.Q.header.stamp.nanosec.eq(1) == IMU.Q.header.timestamp.nanoseconds.eq(1)


@pytest.mark.parametrize(
    ("revision", "name_field", "time_field", "time", "pattern"),
    [
        (G1_0, "name", "created_timestamp", NOW_NS // 1_000_000, r"a\_b*"),
        (G1_2, "name", "created_timestamp", NOW_NS, r"a\_b*"),
        (G2A, "locator", "created_at_ns", NOW_NS, r"a\_b*"),
        (G2B, "locator", "created_at_ns", NOW_NS, r"a\_b*"),
        (G2C, "name", "created_at_ns", NOW_NS, "*a_b[*]*"),
        (G2D, "name", "created_at_ns", NOW_NS, "*a_b[*]*"),
    ],
    ids=lambda value: value.name if isinstance(value, Revision) else "",
)
def test_each_revision_has_its_spelling(
    revision: Revision, name_field: str, time_field: str, time: int, pattern: str
) -> None:
    """Fields, time units and "contains" are spelt as the revision wants them."""
    part = QuerySequence().with_name_match("a_b*").with_created_timestamp(NOW_NS, NOW_NS)
    assert encoded(revision, part) == {
        "sequence": {name_field: {"$match": pattern}, time_field: {"$between": [time, time]}}
    }


NARROW_REFUSALS = [
    QuerySequence(Sequence.Q.name.gt("a")),
    QuerySequence(Sequence.Q.user_metadata["a"].in_(1, 2)),
    QuerySequence(Sequence.Q.user_metadata["a"].match("x")),
    QuerySequence(Sequence.Q.user_metadata["a"].between("a", "b")),
    QueryTopic(Topic.Q.created_timestamp.outside(1, 2)),
    QueryOntologyCatalog(IMU.Q.acceleration.x.neq(1)),
    QueryOntologyCatalog(IMU.Q.acceleration.x.in_(1, 2)),
    QueryOntologyCatalog(IMU.Q.header.ex()),
    QueryOntologyCatalog(RobotPath.Q.poses.any().position.x.gt(1)),
    QueryOntologyCatalog(Image.Q.width.outside(1, 2)),
]


@pytest.mark.parametrize("part", NARROW_REFUSALS, ids=lambda part: part.conditions[0].path)
def test_what_a_revision_lacks_is_refused_by_name(part: QuerySequence) -> None:
    """An operator that the older revisions lack is an error that names revision and field."""
    for revision in (G1_0, G1_2, G2A, G2B):
        with pytest.raises(QueryError, match=f"{revision.name} cannot compare") as caught:
            encoded(revision, part)
        assert part.conditions[0].path in str(caught.value)
    for revision in (G2C, G2D):
        assert encoded(revision, part)


def test_time_ranges_only_where_told() -> None:
    """G1.1 to G2b tell the range of what matched; the others refuse to ask."""
    part = QueryOntologyCatalog(IMU.Q.acceleration.x.gt(1), include_timestamp_range=True)
    can = [revision.name for revision in REVISIONS if _accepts(revision, part)]
    assert can == ["G1.1", "G1.2", "G2a", "G2b"]


def _accepts(revision: Revision, part: QueryOntologyCatalog) -> bool:
    try:
        encoded(revision, part)
    except QueryError:
        return False
    return True


def test_values_are_made_plain() -> None:
    """Numpy scalars, datetimes and lists become what JSON knows."""
    moment = datetime(2026, 4, 1, tzinfo=UTC)
    conditions: list[tuple[Condition, object]] = [
        (IMU.Q.acceleration.x.eq(np.float32(0.5)), 0.5),
        (IMU.Q.timestamp_ns.geq(moment), 1_775_001_600_000_000_000),
        (Image.Q.width.in_([1, 2]), (1, 2)),
        (Image.Q.width.in_(1, 2), (1, 2)),
        (Image.Q.width.between([1, 2]), (1, 2)),
        (RobotPath.Q.poses[3].position.x.lt(1), 1),
    ]
    assert [condition.value for condition, _ in conditions] == [value for _, value in conditions]
    assert conditions[-1][0].path == "RobotPath.poses[3].position.x"


@pytest.mark.parametrize(
    "make",
    [
        lambda: IMU.Q.acceleration.x.eq(float("nan")),
        lambda: IMU.Q.acceleration.x.eq(None),
        lambda: IMU.Q.acceleration.x.match("a"),
        lambda: IMU.Q.acceleration.eq(1),
        lambda: IMU.Q.acceleration.x.between(2, 1),
        lambda: IMU.Q.acceleration.x.between(1),
        IMU.Q.acceleration.any,
        lambda: IMU.Q.timestamp_ns.eq(datetime(2026, 4, 1)),  # noqa: DTZ001 -- on purpose
        lambda: String.Q.data.match(""),
        lambda: Sequence.Q.user_metadata["a..b"],
        lambda: QuerySequence().with_name("a").with_name_match("b"),
        lambda: QuerySequence(Topic.Q.name.eq("/a")),
        lambda: QuerySequence().with_user_metadata("a", eq=1, lt=2),
        lambda: QuerySequence().with_user_metadata("a", equal=1),
        lambda: QuerySequence().with_created_timestamp(),
        lambda: Query(QuerySequence(), QuerySequence()),
    ],
)
def test_impossible_query_is_a_value_error_where_it_is_written(make: object) -> None:
    """What no server could answer fails at once, as ValueError and in our tree."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the class is what is promised
        make()  # type: ignore[operator]  # a table of functions
    assert isinstance(caught.value, QueryError)


def test_misspelt_field_is_an_attribute_error() -> None:
    """A field that the model lacks is named together with those it has."""
    with pytest.raises(AttributeError, match="'w'; it has header"):
        _ = IMU.Q.acceleration.w
    with pytest.raises(AttributeError, match="no column 'accelleration'"):
        _ = IMU.Q.accelleration


@pytest.fixture
def drives(client: MosaicoClient, name: str) -> str:
    """Two sequences: one of small and one of large values, with metadata."""
    for suffix, low, rain in (("a", 0, False), ("b", 100, True)):
        with client.sequence_create(f"{name}_{suffix}", {"rain": rain, "low": low}) as writer:
            put = writer.topic_create("/count", {"of": suffix}, Integer64)
            put.write_batch(integers(*range(low, low + 10)))
            writer.topic_create("/words", {}, String).push({"timestamp_ns": low, "data": suffix})
    return name


def found(
    client: MosaicoClient, *parts: QuerySequence | QueryTopic | QueryOntologyCatalog
) -> object:
    response = client.query(*parts)
    assert response is not None
    return {item.sequence.name: [topic.name for topic in item.topics] for item in response}


def test_server_finds_what_is_asked_for(client: MosaicoClient, drives: str) -> None:
    """Names, metadata, tags and data narrow down, alone and together."""
    a, b = f"{drives}_a", f"{drives}_b"
    mine = QuerySequence().with_name_match(drives)
    both = {a: ["/count", "/words"], b: ["/count", "/words"]}
    assert found(client, mine) == both
    assert found(client, QuerySequence().with_name(a)) == {a: both[a]}
    assert found(
        client, QuerySequence().with_name_match(drives).with_user_metadata("rain", eq=True)
    ) == {b: both[b]}
    assert found(client, mine, QueryTopic().with_name("words")) == {a: ["/words"], b: ["/words"]}
    assert found(client, mine, QueryTopic().with_ontology_tag("Integer64")) == {
        a: ["/count"],
        b: ["/count"],
    }
    assert found(client, mine, QueryOntologyCatalog(Integer64.Q.data.gt(50))) == {b: ["/count"]}
    assert found(client, mine, QueryOntologyCatalog(String.Q.data.eq("a"))) == {a: ["/words"]}


def test_response_is_a_sequence_that_can_be_empty(client: MosaicoClient, drives: str) -> None:
    """A response has a length and items, is falsy when empty, and narrows further queries."""
    response = client.query(query=Query(QuerySequence().with_name_match(drives)))
    assert response
    assert len(response) == 2
    assert response[0].sequence.name == f"{drives}_a"
    assert response[0].topics[0].ontology_tag == "Integer64"
    again = client.query(response.to_query_sequence(), response.to_query_topic())
    assert again == response
    nothing = client.query(QuerySequence().with_name("no-such-sequence"))
    assert nothing is not None
    assert not nothing
    assert nothing.is_empty()


def test_query_without_parts_or_with_both_is_a_value_error(client: MosaicoClient) -> None:
    """Either parts or one query, exactly."""
    part = QuerySequence().with_name("a")
    with pytest.raises(ValueError, match="either"):
        client.query()
    with pytest.raises(ValueError, match="either"):
        client.query(part, query=Query(part))


def test_clusters_tell_when_it_holds(client: MosaicoClient, drives: str) -> None:
    """Stretches of rows that match, apart where the gap is long, within a window."""
    condition = Integer64.Q.data.in_(0, 1, 5, 6)
    name = f"{drives}_a"
    spans = [(c.start_ns, c.end_ns) for c in client.clusters(name, "count", condition, gap_ns=1)]
    assert spans == [(0, 1), (5, 6)]
    late = client.clusters(name, "count", condition, gap_ns=1, start_ns=2)
    assert [(cluster.start_ns, cluster.end_ns) for cluster in late] == [(5, 6)]
    common = client.common_clusters(
        name,
        {"count": [Integer64.Q.data.leq(3)], "words": [String.Q.data.eq("a")]},
        gap_ns=1,
        tolerance_ns=0,
    )
    assert [(cluster.start_ns, cluster.end_ns) for cluster in common] == [(0, 0)]


def test_failing_query_is_none_and_logged(
    bad_client: MosaicoClient, bad_server: BadServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As documented: what the server cannot answer is None, with a log line."""
    assert "query" not in bad_server.calls
    assert bad_client.query(QuerySequence().with_name("a")) is None
    assert "the query failed" in caplog.text


def test_query_after_close_is_a_usage_error(server: EmbeddedServer) -> None:
    """None is for servers that cannot answer, not for clients that are closed."""
    client = MosaicoClient.connect("127.0.0.1", server.port)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.query(QuerySequence().with_name("a"))
