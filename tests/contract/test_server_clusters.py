"""Temporal clusters: of one topic, and where those of several topics meet."""

from typing import Any

import pytest

from tests.contract.wire import Wire, batch, refused

ANY = {"Probe.value.x": {"$ex": None}}


def clusters(wire: Wire, action: str, **request: Any) -> list[tuple[int, int]]:
    """Do a streaming action; checks that the results are numbered."""
    found = []
    for number, answer in enumerate(wire.stream(action, **request)):
        assert answer["id"] == number
        found.append((answer["ts"]["start_ns"], answer["ts"]["end_ns"]))
    return found


def clusterize(wire: Wire, topic: str, gap_ns: int, **request: Any) -> list[tuple[int, int]]:
    request = {"ontology": ANY} | request
    return clusters(
        wire, "topic_filter_clusterize", locator=topic, clustering_dt_ns=gap_ns, **request
    )


@pytest.fixture
def topic(wire: Wire, name: str) -> str:
    """Give a topic put in chunks out of order."""
    made = wire.topic(wire.session(wire.sequence(name)), "imu")
    wire.put(made, batch(30, 32, 50), batch(1, 2, 4), batch(10))
    return made[0]


@pytest.mark.parametrize(
    ("gap_ns", "expected"),
    [
        (0, [(1, 50)]),
        (1, [(1, 2), (4, 4), (10, 10), (30, 30), (32, 32), (50, 50)]),
        (2, [(1, 4), (10, 10), (30, 32), (50, 50)]),
        (5, [(1, 4), (10, 10), (30, 32), (50, 50)]),
        (6, [(1, 10), (30, 32), (50, 50)]),
        (2**62, [(1, 50)]),
    ],
)
def test_gaps_part_clusters(
    wire: Wire, topic: str, gap_ns: int, expected: list[tuple[int, int]]
) -> None:
    """Rows no further apart than the gap are one cluster; a gap of zero makes one of all."""
    assert clusterize(wire, topic, gap_ns) == expected


def test_conditions_and_range_choose_rows(wire: Wire, topic: str) -> None:
    """Only rows that meet the conditions within the range are clustered."""
    assert clusterize(wire, topic, 0, ontology={"Probe.value.x": {"$gt": 0.9}}) == [(10, 50)]
    window = {"start_ns": 2, "end_ns": 50}
    assert clusterize(wire, topic, 0, timestamp_range=window) == [(2, 32)]
    assert clusterize(wire, topic, 0, timestamp_range=None) == [(1, 50)]


def test_no_row_no_result(wire: Wire, topic: str) -> None:
    """Without a match the stream is empty."""
    assert clusterize(wire, topic, 0, ontology={"Probe.value.x": {"$gt": 99}}) == []


def test_times_at_both_ends_of_int64(wire: Wire, name: str) -> None:
    """Distances beyond int64 are still distances."""
    made = wire.topic(wire.session(wire.sequence(name)), "imu")
    first, last = -(2**63), 2**63 - 1
    wire.put(made, batch(first, last))
    assert clusterize(wire, made[0], 2**62) == [(first, first), (last, last)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"ontology": {}}, "Bad request: At least 1 filtering condition is required, found 0."),
        ({"ontology": {"Other.x": {"$gt": 1}}}, "wrong ontology tag Other, topic uses Probe"),
        ({"timestamp_range": {"start_ns": 5, "end_ns": 5}}, "Bad request: "),
        ({"locator": "a b"}, "a b is not a valid locator."),
    ],
)
def test_bad_clusterize_is_refused(
    wire: Wire, topic: str, request_: dict[str, Any], text: str
) -> None:
    """No condition, a foreign tag and a bad range are refused."""
    request = {"locator": topic, "clustering_dt_ns": 0, "ontology": ANY} | request_
    with refused("INVALID_ARGUMENT", text):
        clusters(wire, "topic_filter_clusterize", **request)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"timestamp_range": {"start_ns": 5}}, "Bad request: "),
        ({"timestamp_range": 5}, "Bad request: "),
        ({"clustering_dt_ns": -1}, "Bad request: "),
        ({"clustering_dt_ns": None}, "Bad request: body deserialization error."),
        ({"ontology": None}, "Bad request: body deserialization error."),
    ],
)
def test_malformed_clusterize_is_refused(
    json_wire: Wire, topic: str, request_: dict[str, Any], text: str
) -> None:
    """A field that is missing or of another kind is refused."""
    request = {"locator": topic, "clustering_dt_ns": 0, "ontology": ANY} | request_
    with refused("INVALID_ARGUMENT", text):
        clusters(json_wire, "topic_filter_clusterize", **request)


def test_what_is_missing_asks_for_nothing(protobuf_wire: Wire, topic: str) -> None:
    """Without a gap there is one cluster, a range may have one bound, and a condition there is."""
    window = {"start_ns": 5, "end_ns": None}
    assert clusterize(protobuf_wire, topic, 0, timestamp_range=window) == [(10, 50)]
    window = {"start_ns": None, "end_ns": None}
    assert clusterize(protobuf_wire, topic, 0, timestamp_range=window) == [(1, 50)]
    assert clusterize(protobuf_wire, topic, 2**64 - 1) == [(1, 50)]
    with refused("INVALID_ARGUMENT", "At least 1 filtering condition is required, found 0."):
        clusterize(protobuf_wire, topic, 0, ontology=None)


def test_clusterize_needs_its_topic(wire: Wire, name: str) -> None:
    """An unknown topic has no clusters."""
    with refused("NOT_FOUND", " not found."):
        clusterize(wire, f"{name}/imu", 0)


def entry(topic: str, gap_ns: int = 1) -> dict[str, Any]:
    return {"locator": topic, "clustering_dt_ns": gap_ns, "ontology": ANY}


@pytest.mark.parametrize(
    ("tolerance_ns", "expected"),
    [
        (2, [(13, 14), (90, 91)]),
        # 60 and 63 miss each other by 3; half the tolerance is taken from each, rounded apart.
        (3, [(13, 14), (62, 62), (90, 91)]),
        (4, [(13, 14), (61, 62), (90, 91)]),
        (5, [(13, 14), (61, 63), (90, 91)]),
    ],
)
def test_clusters_of_topics_meet(
    wire: Wire, name: str, tolerance_ns: int, expected: list[tuple[int, int]]
) -> None:
    """Overlaps are cut to what is common; near misses within the tolerance meet half-way."""
    wire.recorded(name, a=batch(10, 11, 12, 13, 14, 60, 90, 91), b=batch(13, 14, 63, 90, 91, 92))
    found = clusters(
        wire,
        "topic_filter_intersect",
        topics=[entry(f"{name}/a"), entry(f"{name}/b")],
        intersect_dt_ns=tolerance_ns,
    )
    assert found == expected


def test_three_topics_meet(wire: Wire, name: str) -> None:
    """All topics must have a cluster."""
    wire.recorded(name, a=batch(1, 2, 3, 9), b=batch(2, 3, 4, 9), c=batch(3, 4, 5))
    found = clusters(
        wire,
        "topic_filter_intersect",
        topics=[entry(f"{name}/{path}") for path in "abc"],
        intersect_dt_ns=0,
    )
    assert found == [(3, 3)]


def test_bad_intersect_is_refused(wire: Wire, name: str) -> None:
    """It takes two topics of one sequence, each a whole request of its own."""
    wire.recorded(name, a=batch(1))
    wire.recorded(f"{name}-b", b=batch(1))
    one, other = entry(f"{name}/a"), entry(f"{name}-b/b")
    for topics, status, text in (
        ([], "INVALID_ARGUMENT", "Bad request: at least 2 topics are required."),
        ([one], "INVALID_ARGUMENT", "Bad request: at least 2 topics are required."),
        (
            [one, other],
            "INVALID_ARGUMENT",
            f"Bad request: all topics must belong to sequence {name}, but",
        ),
        ([one, entry(f"{name}/none")], "NOT_FOUND", " not found."),
    ):
        with refused(status, text):
            clusters(wire, "topic_filter_intersect", topics=topics, intersect_dt_ns=0)
    if not wire.is_protobuf:
        with refused("INVALID_ARGUMENT", "body deserialization error."):
            topics = [one, {"locator": f"{name}/a"}]
            clusters(wire, "topic_filter_intersect", topics=topics, intersect_dt_ns=0)
