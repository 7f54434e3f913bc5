"""When conditions hold: clusters of matching rows of one topic, and where those of several meet.

The actions `topic_filter_clusterize` and `topic_filter_intersect` of the session generation.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import TopicRecord
from bridge.embedded.names import find_topic
from bridge.embedded.query.query import SESSION_RULES, Rules, matching_times, parse_contents
from bridge.embedded.query.reading import Window
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.wire import Json, MalformedError, decode_fields, optional_int64

CLUSTERIZE_SHAPE = {"locator": str, "clustering_dt_ns": int, "ontology": dict}
INTERSECT_SHAPE = {"topics": list, "intersect_dt_ns": int}

_WIDE = pa.decimal128(20, 0)


class Cluster(NamedTuple):
    """A time interval, both ends inclusive."""

    start_ns: int
    end_ns: int


def clusterize(
    archive: Archive, request: Mapping[str, Any], *, rules: Rules = SESSION_RULES
) -> Iterator[Json]:
    """Give the clusters of one topic.

    Raises:
        Refusal: INVALID_ARGUMENT for no condition, one on another tag, or a bad range; NOT_FOUND
            for an unknown topic.
    """
    topic = find_topic(archive, request["locator"])
    for number, cluster in enumerate(_clusters(archive, topic, request, rules)):
        yield _response(number, cluster)


def intersect(
    archive: Archive, request: Mapping[str, Any], *, rules: Rules = SESSION_RULES
) -> Iterator[Json]:
    """Give the times at which all of several topics of one sequence have a cluster.

    Raises:
        Refusal: As `clusterize`, and INVALID_ARGUMENT for fewer than two topics or for topics of
            several sequences.
    """
    asked = request["topics"]
    for entry in asked:
        try:
            decode_fields(entry, CLUSTERIZE_SHAPE)
        except MalformedError:
            raise _bad("body deserialization error") from None
    if len(asked) < 2:  # noqa: PLR2004 - it takes two to intersect
        raise _bad("at least 2 topics are required")
    topics = [find_topic(archive, entry["locator"]) for entry in asked]
    sequence = topics[0].locator.partition("/")[0]
    for topic in topics:
        if topic.sequence_id != topics[0].sequence_id:
            raise _bad(
                f"all topics must belong to sequence {sequence}, but {topic.locator} does not"
            )
    tolerance_ns = _not_negative(request["intersect_dt_ns"], "intersect_dt_ns")
    clusters = [
        _clusters(archive, topic, entry, rules) for topic, entry in zip(topics, asked, strict=True)
    ]
    for number, cluster in enumerate(common_times(clusters, tolerance_ns=tolerance_ns)):
        yield _response(number, cluster)


def common_times(topics: Sequence[Sequence[Cluster]], *, tolerance_ns: int) -> Iterator[Cluster]:
    """Walk the clusters of all topics side by side, and give the times they have in common.

    Clusters that miss each other by at most the tolerance meet half-way.
    """
    positions = [0] * len(topics)
    while all(position < len(each) for position, each in zip(positions, topics, strict=True)):
        current = [each[position] for position, each in zip(positions, topics, strict=True)]
        start_ns = max(cluster.start_ns for cluster in current)
        end_ns = min(cluster.end_ns for cluster in current)
        if start_ns <= end_ns:
            yield Cluster(start_ns, end_ns)
        elif start_ns <= end_ns + tolerance_ns:
            half_ns = tolerance_ns // 2
            yield Cluster(start_ns - half_ns, end_ns + tolerance_ns - half_ns)
        first_to_end = min(range(len(topics)), key=lambda index: current[index].end_ns)
        positions[first_to_end] += 1


def _clusters(
    archive: Archive, topic: TopicRecord, request: Mapping[str, Any], rules: Rules
) -> Sequence[Cluster]:
    contents = parse_contents(request["ontology"], rules)
    if not contents:
        raise _bad("At least 1 filtering condition is required, found 0")
    for tag in contents:
        if tag != topic.ontology_tag:
            raise _bad(f"wrong ontology tag {tag}, topic uses {topic.ontology_tag}")
    gap_ns = _not_negative(request["clustering_dt_ns"], "clustering_dt_ns")
    window = _window(request.get("timestamp_range"))
    with archive.open(topic) as reader:
        times = list(matching_times(reader, contents[topic.ontology_tag], window))
    return split(pa.concat_arrays([pa.array([], pa.int64()), *times]), gap_ns=gap_ns)


def split(times: pa.Array, *, gap_ns: int) -> list[Cluster]:
    """Split times into clusters wherever the next is more than a gap away; a gap of 0 never is.

    Args:
        times: int64 nanoseconds, in any order.
        gap_ns: The largest distance within a cluster.
    """
    if not len(times):
        return []
    times = times.take(pc.sort_indices(times))
    if gap_ns == 0:
        return [Cluster(times[0].as_py(), times[-1].as_py())]
    later, earlier = times.slice(1), times.slice(0, len(times) - 1)
    # int64 differences can overflow; decimals of 20 digits hold every one of them.
    distances = pc.subtract(later.cast(_WIDE), earlier.cast(_WIDE))
    is_cut = pc.greater(distances, pa.scalar(Decimal(gap_ns), _WIDE))
    starts = pa.concat_arrays([times.slice(0, 1), later.filter(is_cut)])
    ends = pa.concat_arrays([earlier.filter(is_cut), times.slice(len(times) - 1)])
    return [Cluster(*pair) for pair in zip(starts.to_pylist(), ends.to_pylist(), strict=True)]


def _window(value: Any) -> Window:
    if value is None:
        return Window()
    try:
        decode_fields(value, {"start_ns": None, "end_ns": None})
        start_ns, end_ns = optional_int64(value, "start_ns"), optional_int64(value, "end_ns")
    except MalformedError as error:
        raise _bad(str(error)) from None
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise _bad(f"invalid time range [{start_ns}, {end_ns})")
    return Window(start_ns=start_ns, end_ns=end_ns)


def _not_negative(value: int, name: str) -> int:
    if value < 0:
        raise _bad(f"`{name}` is negative")
    return value


def _response(number: int, cluster: Cluster) -> Json:
    return {"ts": {"start_ns": cluster.start_ns, "end_ns": cluster.end_ns}, "id": number}


def _bad(text: str) -> Refusal:
    return Refusal(Status.INVALID_ARGUMENT, f"Bad request: {text}.")
