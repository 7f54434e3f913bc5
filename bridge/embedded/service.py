"""The Flight service: each RPC to its handler, each refusal to its status."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.access import MIDDLEWARE, Access, Permission, TokenReader, token_of
from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.refusals import Refusal, Status, as_flight_error, too_large
from bridge.embedded.session.dialect import Dialect
from bridge.embedded.wire import MalformedError, decode

_log = logging.getLogger(__name__)


class Service(flight.FlightServerBase):  # type: ignore[misc]
    """Serves one archive in one dialect; its methods run on gRPC's threads, many at once."""

    def __init__(
        self, archive: Archive, *, dialect: Dialect, access: Access, **options: Any
    ) -> None:
        super().__init__(middleware={MIDDLEWARE: TokenReader(access)}, **options)
        self._archive = archive
        self._dialect = dialect
        self._access = access

    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        """List the sequences."""
        with self._refusals("ListFlights"):
            self._access.require(token_of(context), Permission.READ)
            yield from self._dialect.list_flights(self._archive, criteria)

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Describe a sequence or a topic."""
        with self._refusals("GetFlightInfo"):
            self._access.require(token_of(context), Permission.READ)
            return self._dialect.get_flight_info(self._archive, descriptor)

    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """Give the schema of a topic; the key was judged by `TokenReader`."""
        if self._dialect.get_schema is None:
            return super().get_schema(context, descriptor)
        with self._refusals("GetSchema"):
            return self._dialect.get_schema(self._archive, descriptor)

    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.FlightDataStream:
        """Read a topic."""
        with self._refusals("DoGet"):
            self._access.require(token_of(context), Permission.READ)
            schema, batches = self._dialect.get(self._archive, ticket.ticket)
            # Not a GeneratorStream: that one forgets to send dictionaries.
            reader = pa.RecordBatchReader.from_batches(schema, self._guarded(batches))
            return flight.RecordBatchStream(reader, options=self._dialect.body_options)

    def _guarded(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._refusals("DoGet"):
            yield from batches

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,  # noqa: ARG002 - the platform answers with no message
    ) -> None:
        """Take the data of a topic."""
        with self._refusals("DoPut"):
            self._access.require(token_of(context), Permission.WRITE)
            self._dialect.put(self._archive, context, descriptor, reader)

    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterator[bytes]:
        """Do an action: one result, but for the actions that stream."""
        with self._refusals(f"DoAction {action.type}"):
            size_bytes, limit_bytes = action.body.size, self._archive.message_bytes_max
            if size_bytes > limit_bytes:  # in the platform gRPC sees to it, before anything else
                raise Refusal(Status.INVALID_ARGUMENT, too_large(size_bytes, limit_bytes))
            permission = self._access.permission(token_of(context))
            known = self._dialect.actions.get(action.type)
            if known is None:
                raise self._dialect.unknown_action(action.type)
            try:
                request = decode(action.body.to_pybytes(), known.shape)
            except MalformedError as error:
                raise self._dialect.malformed(str(error)) from None
            if permission < known.needs:
                name = action.type.title().replace("_", "")
                raise Refusal(
                    Status.PERMISSION_DENIED,
                    "Unauthorized: provided API key has not enough permissions to execute"
                    f" {name} action.",
                )
            ending = b"\n" if known.streams else b""
            for response in known.run(self._archive, request):
                yield self._dialect.envelope(action.type, response) + ending

    @contextmanager
    def _refusals(self, rpc: str) -> Iterator[None]:
        """Answer refusals with their status; whatever else goes wrong is logged and INTERNAL."""
        try:
            yield
        except Refusal as refusal:
            raise as_flight_error(refusal) from None
        except TopicGoneError as error:
            raise as_flight_error(self._dialect.gone(error.locator)) from None
        except Exception as error:  # noqa: BLE001 - nothing may leave with its traceback
            _log.exception("%s failed", rpc)
            kind = "database failure" if isinstance(error, sqlite3.Error) else type(error).__name__
            raise as_flight_error(self._dialect.failed(f"{kind}: {error}")) from None
