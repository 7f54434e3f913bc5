"""The Flight service: each RPC to its handler, each refusal to its status."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.embedded import flights, streams
from bridge.embedded.access import MIDDLEWARE, Access, Permission, TokenReader, token_of
from bridge.embedded.actions import parse
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal, Status, as_flight_error
from bridge.embedded.session_table import ACTIONS
from bridge.embedded.wire import envelope

_log = logging.getLogger(__name__)

_BODY_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
_SEE = "See https://c.xkcd.com/random/comic/ for more details."


class Service(flight.FlightServerBase):  # type: ignore[misc]
    """Serves one archive; its methods run on gRPC's threads, many at once."""

    def __init__(self, archive: Archive, access: Access, **options: Any) -> None:
        super().__init__(middleware={MIDDLEWARE: TokenReader(access)}, **options)
        self._archive = archive
        self._access = access

    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        """List the sequences."""
        with _refusals("ListFlights"):
            self._access.require(token_of(context), Permission.READ)
            yield from flights.list_flights(self._archive, criteria)

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Describe a sequence or a topic."""
        with _refusals("GetFlightInfo"):
            self._access.require(token_of(context), Permission.READ)
            return flights.get_flight_info(self._archive, descriptor)

    def get_schema(
        self,
        context: flight.ServerCallContext,  # noqa: ARG002 - the key was judged by TokenReader
        descriptor: flight.FlightDescriptor,
    ) -> flight.SchemaResult:
        """Give the schema of a topic."""
        with _refusals("GetSchema"):
            return flights.get_schema(self._archive, descriptor)

    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.FlightDataStream:
        """Read a topic."""
        with _refusals("DoGet"):
            self._access.require(token_of(context), Permission.READ)
            schema, batches = streams.get(self._archive, ticket)
            # Not a GeneratorStream: that one forgets to send dictionaries.
            reader = pa.RecordBatchReader.from_batches(schema, _guarded(batches))
            return flight.RecordBatchStream(reader, options=_BODY_OPTIONS)

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,  # noqa: ARG002 - the platform answers with no message
    ) -> None:
        """Take the data of a topic."""
        with _refusals("DoPut"):
            self._access.require(token_of(context), Permission.WRITE)
            streams.put(self._archive, context, descriptor, reader)

    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterator[bytes]:
        """Do an action: one result, but for the actions that stream."""
        with _refusals(f"DoAction {action.type}"):
            permission = self._access.permission(token_of(context))
            known, request = parse(ACTIONS, action.type, action.body.to_pybytes())
            if permission < known.needs:
                name = action.type.title().replace("_", "")
                raise Refusal(
                    Status.PERMISSION_DENIED,
                    "Unauthorized: provided API key has not enough permissions to execute"
                    f" {name} action.",
                )
            ending = b"\n" if known.streams else b""
            for response in known.run(self._archive, request):
                yield envelope(action.type, response) + ending


def _guarded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _refusals("DoGet"):
        yield from batches


@contextmanager
def _refusals(rpc: str) -> Iterator[None]:
    """Answer refusals with their status; whatever else goes wrong is logged, and told as little."""
    try:
        yield
    except Refusal as refusal:
        raise as_flight_error(refusal) from None
    except sqlite3.Error as error:
        _log.exception("%s failed in the catalogue", rpc)
        text = f"Internal error: database failure: {error}. {_SEE}"
        raise as_flight_error(Refusal(Status.INTERNAL, text)) from None
    except Exception as error:  # noqa: BLE001 - nothing may leave the server with its traceback
        _log.exception("%s failed", rpc)
        text = f"Internal error: {type(error).__name__}: {str(error)[:500]}. {_SEE}"
        raise as_flight_error(Refusal(Status.INTERNAL, text)) from None
