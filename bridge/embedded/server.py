"""The embedded server: an archive behind a Flight service, in the background until shut down."""

import contextlib
import errno
import logging
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.access import (
    MIDDLEWARE,
    Access,
    ApiKey,
    Permission,
    TokenReader,
    form_fault,
    token_of,
)
from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.refusals import Refusal, Status, as_flight_error, too_large
from bridge.embedded.session.dialect import SESSION, Dialect
from bridge.embedded.wire import MalformedError, NulError
from bridge.errors import ConfigError, UsageError
from bridge.units import address_text, plain_host

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
            permits = self._access.permits(token_of(context))
            known = self._dialect.actions.get(action.type)
            if known is None:
                raise self._dialect.unknown_action(action.type)
            try:
                answers = self._dialect.answers(
                    self._archive, action.type, known, action.body.to_pybytes()
                )
            except MalformedError as error:
                raise self._dialect.malformed(str(error)) from None
            if known.needs is not None and known.needs not in permits:
                name = action.type.title().replace("_", "")
                raise Refusal(
                    Status.PERMISSION_DENIED,
                    "Unauthorized: provided API key has not enough permissions to execute"
                    f" {name} action.",
                )
            yield from answers()

    @contextmanager
    def _refusals(self, rpc: str) -> Iterator[None]:
        """Answer refusals with their status; whatever else goes wrong is logged and INTERNAL."""
        try:
            yield
        except Refusal as refusal:
            raise as_flight_error(refusal) from None
        except TopicGoneError as error:
            raise as_flight_error(self._dialect.gone(error.locator)) from None
        except NulError:
            raise as_flight_error(self._dialect.failed("database failure")) from None
        except Exception as error:  # noqa: BLE001 - nothing may leave with its traceback
            if _is_full(error):
                # No bug of ours; a traceback for each attempt would bury the rest of the log.
                _log.error("%s failed: the disk is full", rpc)
            else:
                _log.exception("%s failed", rpc)
            kind = "database failure" if isinstance(error, sqlite3.Error) else type(error).__name__
            raise as_flight_error(self._dialect.failed(f"{kind}: {error}")) from None


_log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 52_428_800

WAKE_S = 0.2
"""How long a signal may have to wait for its handler."""

DRAIN_S = 3.0
"""How long a shutdown waits for calls under way before it hangs up on them."""


class EmbeddedServer:
    """A Mosaico-compatible Flight server whose data lies in one folder.

    It answers as soon as `start` returns, and may be killed at any moment: what it reported as
    finalized is still there when it starts again on the same folder.
    """

    dialect: ClassVar[Dialect] = SESSION

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_certificates: Sequence[tuple[bytes, bytes]] | None = None,
        tls_client_roots: bytes = b"",
        api_keys: Mapping[str, ApiKey | Permission | str] | None = None,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """Describe a server; nothing happens before `start`.

        Args:
            root: The folder that holds its data; made if it does not exist.
            host: The address to listen on.
            port: The port to listen on; 0 takes a free one.
            tls_certificates: PEM certificate and private key; without them nothing is encrypted.
            tls_client_roots: PEM of the certificates that clients' own must be signed by, for
                mutual TLS; without them no client needs one.
            api_keys: By token the permission, or a key that expires; without it everybody may do
                everything.
            message_bytes_max: The largest record batch that a put may send.

        Raises:
            ConfigError: An unknown permission, or settings that exclude each other.
        """
        if tls_client_roots and not tls_certificates:
            raise ConfigError(
                "clients cannot show certificates without TLS",
                hint="Give the server a certificate of its own.",
            )
        self._root = root
        self._host = plain_host(host)
        self._wanted_port = port
        self._tls_certificates = list(tls_certificates) if tls_certificates else None
        self._tls_client_roots = tls_client_roots
        self._access = Access(_keys(api_keys))
        self._message_bytes_max = message_bytes_max
        self._lock = threading.Lock()
        self._running: tuple[Service, Archive] | None = None  # guarded by _lock
        self._stopped = threading.Event()

    def start(self) -> Self:
        """Begin to answer.

        Raises:
            ConfigError: The folder is in use or cannot be written, or the port is taken.
            UsageError: It runs already.
        """
        with self._lock:
            if self._running is not None:
                raise UsageError("the embedded server runs already")
            archive = Archive(self._root, message_bytes_max=self._message_bytes_max)
            scheme = "grpc+tls" if self._tls_certificates else "grpc"
            where = address_text(self._host, self._wanted_port)
            try:
                service = Service(
                    archive,
                    dialect=self.dialect,
                    access=self._access,
                    location=f"{scheme}://{where}",
                    tls_certificates=self._tls_certificates,
                    verify_client=bool(self._tls_client_roots),
                    root_certificates=self._tls_client_roots or None,
                )
            except (pa.ArrowException, OSError) as error:
                archive.close()
                raise ConfigError(
                    f"the embedded server cannot listen on {where}: {error}",
                    hint="Choose a free port, and an address of this machine.",
                ) from error
            self._stopped.clear()
            self._running = service, archive
        return self

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            UsageError: It does not run.
        """
        running = self._running
        if running is None:
            raise UsageError("the embedded server does not run")
        port: int = running[0].port
        return port

    @property
    def address(self) -> str:
        """Where it answers, as `host:port`."""
        return address_text(self._host, self.port)

    def serve(self) -> None:
        """Wait until another thread, or a signal handler, shuts it down."""
        # A signal that one of gRPC's threads receives does not wake a thread that waits for ever.
        while not self._stopped.wait(WAKE_S):
            pass

    def shutdown(self) -> None:
        """Stop answering and give the folder free; idempotent.

        Uploads under way are refused the rest of their data and their topics stay open. Other calls
        may finish within `DRAIN_S`, then connections are cut.
        """
        with self._lock:
            if self._running is None:
                return
            service, archive = self._running
            self._running = None
            archive.is_closing.set()
            port = service.port
            # pyarrow waits for every call to end, without a way to cut it short.
            waiting = threading.Thread(target=service.shutdown, daemon=True)
            waiting.start()
            waiting.join(DRAIN_S)
            if waiting.is_alive():
                _log.warning("hanging up on clients that hold calls open")
                _hang_up(port)
                waiting.join(DRAIN_S)
            archive.close()
            self._stopped.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def _hang_up(port: int) -> None:
    """Cut every connection that this process has accepted on a port.

    gRPC then ends the calls on it as cancelled. An idle upload would otherwise keep the server, and
    with it the whole process, from ever stopping.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            # A duplicate, so that the descriptor cannot become another file under our hands.
            duplicate = os.dup(int(entry.name))
            try:
                _cut(duplicate, port)
            finally:
                os.close(duplicate)


def _cut(descriptor: int, port: int) -> None:
    """Cut a connection if it was accepted on a port.

    Raises:
        OSError: It is no socket, or not connected.
    """
    connection = socket.socket(fileno=descriptor)
    try:
        is_internet = connection.family in {socket.AF_INET, socket.AF_INET6}
        if is_internet and connection.getsockname()[1] == port and connection.getpeername():
            connection.shutdown(socket.SHUT_RDWR)
    finally:
        connection.detach()


def _keys(
    api_keys: Mapping[str, ApiKey | Permission | str] | None,
) -> dict[str, ApiKey] | None:
    if api_keys is None:
        return None
    for number, token in enumerate(api_keys, start=1):
        fault = form_fault(token)
        if fault:
            raise ConfigError(
                f"API key {number} can never be used: {fault}",
                hint="a key is msco_, 32 small letters or digits, _, and their CRC-32 as 8 digits",
            )
    return {token: _key(wanted) for token, wanted in api_keys.items()}


def _key(wanted: ApiKey | Permission | str) -> ApiKey:
    if isinstance(wanted, ApiKey):
        return wanted
    key = ApiKey(permission=wanted) if isinstance(wanted, Permission) else ApiKey.of(wanted)
    if key is None:
        raise ConfigError(
            f"an API key has the unknown permission {wanted!r}",
            hint=f"Use one of {', '.join(one.name.lower() for one in Permission)}.",
        )
    return key


def _is_full(error: Exception) -> bool:
    """Tell whether something failed because there is no room on the disk."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
