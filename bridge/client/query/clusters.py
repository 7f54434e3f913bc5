"""Temporal clusters: when conditions hold in one topic, or in several at once (from G2c)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.client.catalog import Window
from bridge.client.connection import Connection
from bridge.client.query.results import Cluster
from bridge.client.query.wire import encode_conditions
from bridge.client.revisions import Revision
from bridge.errors import ProtocolError
from bridge.ontology import Condition, QueryError

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


def clusterize(
    connection: Connection, revision: Revision, request: ClusterRequest
) -> list[Cluster]:
    """Find the stretches of one topic in which the conditions hold.

    Raises:
        QueryError: The revision has no clusters, or cannot evaluate a condition.
        ServerError: The call failed.
    """
    return _ask(connection, revision, "topic_filter_clusterize", _encode(request, revision))


def intersect(
    connection: Connection,
    revision: Revision,
    requests: Sequence[ClusterRequest],
    *,
    tolerance_ns: int,
) -> list[Cluster]:
    """Find the stretches in which the conditions on several topics hold together.

    Args:
        connection: The channels.
        revision: Which revision is spoken.
        requests: What to look for; at least two topics of one sequence.
        tolerance_ns: How far apart clusters may be and still count as together.

    Raises:
        QueryError: The revision has no clusters, or cannot evaluate a condition.
        ServerError: The call failed.
    """
    wanted = {
        "topics": [_encode(request, revision) for request in requests],
        "intersect_dt_ns": tolerance_ns,
    }
    return _ask(connection, revision, "topic_filter_intersect", wanted)


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


def _ask(
    connection: Connection, revision: Revision, action: str, request: Mapping[str, Any]
) -> list[Cluster]:
    if not revision.clusters:
        raise QueryError(f"{revision.name} has no temporal clusters")
    answers = connection.action_stream(action, dict(request), resource=action)
    try:
        spans = [answer["ts"] for answer in answers]
        return [Cluster(start_ns=int(ts["start_ns"]), end_ns=int(ts["end_ns"])) for ts in spans]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"{action}: the server's answer makes no sense") from error
