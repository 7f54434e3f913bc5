"""The session generation, revision G2d, in one table (protocol.md 4)."""

from collections.abc import Mapping

import pyarrow as pa

from bridge.embedded.access import Permission
from bridge.embedded.actions import Action
from bridge.embedded.dialect import Dialect
from bridge.embedded.query import clusters, query
from bridge.embedded.refusals import Refusal, Status, not_found
from bridge.embedded.session import actions as session
from bridge.embedded.session import flights as session_flights
from bridge.embedded.session import streams as session_streams
from bridge.embedded.wire import Format, envelope

_LOCATOR = {"locator": str}
_NOTIFICATION = {"locator": str, "notification_type": str, "msg": str}

ACTIONS: Mapping[str, Action] = {
    "info": Action(needs=Permission.READ, run=session.info),
    "sequence_create": Action(
        needs=Permission.WRITE,
        shape={"locator": str, "user_metadata": None},
        run=session.sequence_create,
    ),
    "sequence_delete": Action(needs=Permission.DELETE, shape=_LOCATOR, run=session.sequence_delete),
    "session_create": Action(needs=Permission.WRITE, shape=_LOCATOR, run=session.session_create),
    "session_finalize": Action(
        needs=Permission.WRITE, shape={"session_uuid": str}, run=session.session_finalize
    ),
    "session_delete": Action(needs=Permission.DELETE, shape=_LOCATOR, run=session.session_delete),
    "topic_create": Action(
        needs=Permission.WRITE,
        shape={
            "session_uuid": str,
            "locator": str,
            "serialization_format": Format,
            "ontology_tag": str,
            "user_metadata": None,
        },
        run=session.topic_create,
    ),
    "topic_delete": Action(needs=Permission.DELETE, shape=_LOCATOR, run=session.topic_delete),
    "sequence_notification_create": Action(
        needs=Permission.WRITE, shape=_NOTIFICATION, run=session.notify_sequence
    ),
    "sequence_notification_list": Action(
        needs=Permission.READ, shape=_LOCATOR, run=session.sequence_notifications
    ),
    "sequence_notification_purge": Action(
        needs=Permission.DELETE, shape=_LOCATOR, run=session.purge_sequence
    ),
    "topic_notification_create": Action(
        needs=Permission.WRITE, shape=_NOTIFICATION, run=session.notify_topic
    ),
    "topic_notification_list": Action(
        needs=Permission.READ, shape=_LOCATOR, run=session.topic_notifications
    ),
    "topic_notification_purge": Action(
        needs=Permission.DELETE, shape=_LOCATOR, run=session.purge_topic
    ),
    "query": Action(needs=Permission.READ, run=query.query),
    "topic_filter_clusterize": Action(
        needs=Permission.READ,
        shape=clusters.CLUSTERIZE_SHAPE,
        run=clusters.clusterize,
        streams=True,
    ),
    "topic_filter_intersect": Action(
        needs=Permission.READ,
        shape=clusters.INTERSECT_SHAPE,
        run=clusters.intersect,
        streams=True,
    ),
}


def _failed(what: str) -> Refusal:
    return Refusal(
        Status.INTERNAL,
        f"Internal error: {what}. See https://c.xkcd.com/random/comic/ for more details.",
    )


SESSION = Dialect(
    actions=ACTIONS,
    envelope=envelope,
    unknown_action=lambda name: Refusal(
        Status.INVALID_ARGUMENT, f"Bad request: no available action for string `{name}`."
    ),
    malformed=lambda _: Refusal(
        Status.INVALID_ARGUMENT, "Bad request: body deserialization error."
    ),
    gone=not_found,
    failed=_failed,
    list_flights=session_flights.list_flights,
    get_flight_info=session_flights.get_flight_info,
    get_schema=session_flights.get_schema,
    put=session_streams.put,
    get=session_streams.get,
    body_options=pa.ipc.IpcWriteOptions(compression="lz4"),
)
