"""Every action of the session generation, revision G2d, in one table (protocol.md 4.1, 4.5)."""

from collections.abc import Mapping

from bridge.embedded import clusters, query
from bridge.embedded import session_actions as session
from bridge.embedded.access import Permission
from bridge.embedded.actions import Action
from bridge.embedded.wire import Format

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
