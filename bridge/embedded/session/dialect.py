"""What a revision of the protocol is to the service, and the one it speaks, as a table.

That is G2d. Its successor G3 has the same calls in another encoding, and is answered to who asks in
that one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.access import Permission
from bridge.embedded.archive import Archive
from bridge.embedded.query import clusters, query
from bridge.embedded.refusals import Refusal, Status, not_found
from bridge.embedded.session import actions as session
from bridge.embedded.session import flights as session_flights
from bridge.embedded.wire import (
    EITHER,
    JSON_ONLY,
    Encoding,
    Format,
    Json,
    NulError,
    Shape,
    decode,
    encoding_of,
    envelope,
    has_nul,
    parse,
)
from bridge.protobuf import (
    MalformedError,
    NotJsonError,
    NotProtobufError,
    decode_request,
    encode_answer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action of a revision.

    Attributes:
        needs: The permission of the key; None where any key will do.
        shape: The required fields of the request.
        run: Does it, and gives the responses.
        run_protobuf: Does it where it was asked in protobuf and that makes a difference.
        streams: Whether there are any number of responses, a line each, instead of one.
    """

    needs: Permission | None
    run: "Run"
    run_protobuf: "Run | None" = None
    shape: Shape = field(default_factory=dict)
    streams: bool = False


Run: TypeAlias = Callable[[Archive, Mapping[str, Any]], Iterator[Json]]
Put: TypeAlias = Callable[
    [
        Archive,
        flight.ServerCallContext,
        flight.FlightDescriptor,
        flight.MetadataRecordBatchReader,
    ],
    None,
]
Get: TypeAlias = Callable[[Archive, bytes], tuple[pa.Schema, Iterator[pa.RecordBatch]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One revision, as the service calls it.

    Attributes:
        actions: Its actions by name.
        envelope: Wraps a response of an action, given the action's name.
        unknown_action: Refuses an action it does not have, given the name.
        malformed: Refuses a body that is not the request wanted, given the reason.
        gone: Refuses because a topic was deleted during the call, given its locator.
        failed: Refuses because of the server's own failure, given what failed.
        list_flights: Answers ListFlights, given the criteria.
        get_flight_info: Answers GetFlightInfo.
        get_schema: Answers GetSchema; None where the revision has no such call.
        put: Takes a DoPut.
        get: Gives the schema and batches of a DoGet, given its ticket.
        body_options: How the bodies of a DoGet are compressed.
        spoken: The encodings that it is spoken in.
    """

    actions: Mapping[str, Action]
    envelope: Callable[[str, Json], bytes]
    unknown_action: Callable[[str], Refusal]
    malformed: Callable[[str], Refusal]
    gone: Callable[[str], Refusal]
    failed: Callable[[str], Refusal]
    list_flights: Callable[[Archive, bytes], list[flight.FlightInfo]]
    get_flight_info: Callable[[Archive, flight.FlightDescriptor], flight.FlightInfo]
    get_schema: Callable[[Archive, flight.FlightDescriptor], flight.SchemaResult] | None
    put: Put
    get: Get
    body_options: pa.ipc.IpcWriteOptions
    spoken: frozenset[Encoding] = JSON_ONLY

    def answers(self, archive: Archive, name: str, known: Action, body: bytes) -> "Answers":
        """Decode the request of an action, and give what does it, in the encoding it is in.

        Raises:
            wire.MalformedError: It is JSON, and not the request.
            Refusal: It is protobuf, and not the request.
            NulError: A text in it holds U+0000.
        """
        encoding = encoding_of(body, self.spoken, may_be_empty=not known.shape)
        if encoding is Encoding.JSON:
            request = decode(body, known.shape)
            ending = b"\n" if known.streams else b""
            return lambda: (
                self.envelope(name, response) + ending for response in known.run(archive, request)
            )
        run = known.run_protobuf or known.run
        message = _decoded(name, body)
        return lambda: (encode_answer(name, response) for response in run(archive, message))


Answers: TypeAlias = Callable[[], Iterator[bytes]]


def _decoded(action: str, body: bytes) -> dict[str, Any]:
    try:
        request = decode_request(action, body, parse_json=parse)
    except NotProtobufError:
        raise Refusal(Status.INVALID_ARGUMENT, "Bad request: body decode error.") from None
    except NotJsonError:
        raise Refusal(Status.INVALID_ARGUMENT, "Bad request: body deserialization error.") from None
    except MalformedError as error:
        raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: {error}.") from None
    if has_nul(request):
        raise NulError
    return request


_LOCATOR = {"locator": str}
_NOTIFICATION = {"locator": str, "notification_type": str, "msg": str}

ACTIONS: Mapping[str, Action] = {
    "info": Action(needs=None, run=session.info, run_protobuf=session.info_protobuf),
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
    "query": Action(
        needs=Permission.READ,
        run=query.query,
        run_protobuf=partial(query.query, rules=query.PROTOBUF_RULES),
    ),
    "topic_filter_clusterize": Action(
        needs=Permission.READ,
        shape=clusters.CLUSTERIZE_SHAPE,
        run=clusters.clusterize,
        run_protobuf=partial(clusters.clusterize, rules=query.PROTOBUF_RULES),
        streams=True,
    ),
    "topic_filter_intersect": Action(
        needs=Permission.READ,
        shape=clusters.INTERSECT_SHAPE,
        run=clusters.intersect,
        run_protobuf=partial(clusters.intersect, rules=query.PROTOBUF_RULES),
        streams=True,
    ),
}


def _failed(what: str) -> Refusal:
    return Refusal(
        Status.INTERNAL,
        f"Internal error: {what}. See https://c.xkcd.com/random/comic/ for more details.",
    )


def session_dialect(spoken: frozenset[Encoding]) -> Dialect:
    """Give the dialect of the session generation in one encoding, or in both."""
    return Dialect(
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
        get_flight_info=partial(session_flights.get_flight_info, spoken=spoken),
        get_schema=partial(session_flights.get_schema, spoken=spoken),
        put=partial(session_flights.put, spoken=spoken),
        get=partial(session_flights.get, spoken=spoken),
        body_options=pa.ipc.IpcWriteOptions(compression="lz4"),
        spoken=spoken,
    )


SESSION = session_dialect(EITHER)
