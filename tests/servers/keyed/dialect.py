"""The keyed generation, revision G1.2, in one table.

It has no API keys, so the permissions are those of the corresponding session actions and are never
short. Layers, which nothing else in the protocol refers to, are left out.
"""

from collections.abc import Mapping

import pyarrow as pa

from bridge.embedded.access import Permission
from bridge.embedded.session.dialect import Action, Dialect
from bridge.embedded.wire import Format, Json, encode
from tests.servers.keyed import actions as keyed
from tests.servers.keyed import flights, query
from tests.servers.keyed.refusals import no_rows, refuse

_NAME = {"name": str}
_NAME_AND_KEY = {"name": str, "key": str}
_NOTIFY = {"name": str, "notify_type": str, "msg": str}

ACTIONS: Mapping[str, Action] = {
    "sequence_create": Action(
        needs=Permission.WRITE,
        shape={"name": str, "user_metadata": None},
        run=keyed.sequence_create,
    ),
    "sequence_delete": Action(needs=Permission.DELETE, shape=_NAME, run=keyed.sequence_delete),
    "sequence_abort": Action(
        needs=Permission.DELETE, shape=_NAME_AND_KEY, run=keyed.sequence_abort
    ),
    "sequence_finalize": Action(
        needs=Permission.WRITE, shape=_NAME_AND_KEY, run=keyed.sequence_finalize
    ),
    "sequence_system_info": Action(
        needs=Permission.READ, shape=_NAME, run=keyed.sequence_system_info
    ),
    "topic_create": Action(
        needs=Permission.WRITE,
        shape={
            "name": str,
            "sequence_key": str,
            "serialization_format": Format,
            "ontology_tag": str,
            "user_metadata": None,
        },
        run=keyed.topic_create,
    ),
    "topic_delete": Action(needs=Permission.DELETE, shape=_NAME, run=keyed.topic_delete),
    "topic_system_info": Action(needs=Permission.READ, shape=_NAME, run=keyed.topic_system_info),
    "sequence_notify_create": Action(
        needs=Permission.WRITE, shape=_NOTIFY, run=keyed.notify_sequence
    ),
    "sequence_notify_list": Action(
        needs=Permission.READ, shape=_NAME, run=keyed.sequence_notifications
    ),
    "sequence_notify_purge": Action(needs=Permission.DELETE, shape=_NAME, run=keyed.purge_sequence),
    "topic_notify_create": Action(needs=Permission.WRITE, shape=_NOTIFY, run=keyed.notify_topic),
    "topic_notify_list": Action(needs=Permission.READ, shape=_NAME, run=keyed.topic_notifications),
    "topic_notify_purge": Action(needs=Permission.DELETE, shape=_NAME, run=keyed.purge_topic),
    "query": Action(needs=Permission.READ, run=query.query),
}


def envelope(action: str, response: Json) -> bytes:
    """Wrap the response of an action; without one, nothing says which action it was."""
    if response is None:
        return encode({"action": "empty"})
    return encode({"action": action, "response": response})


KEYED = Dialect(
    actions=ACTIONS,
    envelope=envelope,
    unknown_action=lambda name: refuse(f"action error :: no available action for string `{name}`"),
    malformed=lambda reason: refuse(f"action error :: body deserialization error: {reason}"),
    gone=lambda _: no_rows(),
    failed=lambda what: refuse(f"facade error :: {what}"),
    list_flights=flights.list_flights,
    get_flight_info=flights.get_flight_info,
    get_schema=None,
    put=flights.put,
    get=flights.get,
    body_options=pa.ipc.IpcWriteOptions(),
)
