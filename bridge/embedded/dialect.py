"""What a revision of the protocol is to the service: its actions, its calls, its ways to refuse."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.actions import Action
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal
from bridge.embedded.wire import Json

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
