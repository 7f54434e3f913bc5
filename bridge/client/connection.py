"""The channels to one server: actions with deadlines, and streams spread over several clients.

Many HTTP/2 peers allow 100 streams on a connection and let the next one wait without an error, so
streams are spread over as many `FlightClient`s as they need, and control calls have a client of
their own that no stream can starve.
"""

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.client.encoding import About, Encoding, JsonEncoding, to_json
from bridge.client.options import BodyCodec, BodyCompression, ConnectionOptions
from bridge.client.stall import GetStream, Peer, PutStream, StallWatch, WatchedStream, resolve
from bridge.client.text import clean_value
from bridge.client.translate import FLIGHT_ERRORS, Secret, Translator, advise_reader
from bridge.errors import (
    BrokenLinkError,
    OfflineError,
    PlatformBusyError,
    ProtocolError,
    ServerError,
    UsageError,
)
from bridge.parallel import ParallelCalls

API_KEY_HEADER = "mosaico-api-key-token"
# What gRPC keeps of each call, to send it again where a server turned it away before it began:
# enough for control calls and the beginning of a put, whose schema may have 6 KiB. By default it is
# 256 KiB, of every stream for as long as it is open.
_RETRY_BUFFER_BYTES = 16 << 10
# From so far away, in seconds to an answer, one window of a MiB carries less than 100 MiB/s.
FAR_S = 0.01
PUTS_OF_A_FAR_SERVER = 8
PUT_BYTES_MIN = 4 << 20
_PREPARING_S = 3.0
_CHANNEL_TRIES, _CHANNEL_PAUSE_S, _GREETING_S = 4, 0.05, 10.0
_COMPRESSION_LEVELS = {"": 0, "deflate": 1, "gzip": 2}


class _ApiKeyFactory(flight.ClientMiddlewareFactory):  # type: ignore[misc]  # pyarrow is untyped
    """Adds the API key to every call; kept out of call options, whose repr shows headers."""

    def __init__(self, api_key: Secret) -> None:
        super().__init__()
        self._middleware = _ApiKeyMiddleware(api_key)

    def start_call(self, _info: Any) -> "_ApiKeyMiddleware":
        return self._middleware


class _ApiKeyMiddleware(flight.ClientMiddleware):  # type: ignore[misc]  # pyarrow is untyped
    def __init__(self, api_key: Secret) -> None:
        super().__init__()
        self._api_key = api_key

    def sending_headers(self) -> dict[str, str]:
        return {API_KEY_HEADER: self._api_key.value}


@dataclass(slots=True, eq=False)
class _DataChannel:
    """One FlightClient for streams, and how many it carries; guarded by `Connection._lock`."""

    client: Any
    streams: int = 0


def _abort_all(streams: "set[PutStream]") -> None:
    """Abort what is still open; a stream that merely ends looks complete to the server."""
    for stream in list(streams):
        stream.abort()


@dataclass(eq=False)
class Connection:
    """Open channels to one server; safe to use from several threads.

    Attributes:
        options: How the server is reached.
        translator: Turns pyarrow's errors into ours.
        watch: Watches the streams for progress.
        body_compression: How the bodies of puts are compressed.
        encoding: How requests and answers are written; the probe finds out.
        shortest_call_s: The least that an action took: a round trip, and what the server did.
        closed: Whether `close` was called.
    """

    options: ConnectionOptions
    translator: Translator = field(init=False)
    watch: StallWatch = field(init=False)
    body_compression: BodyCompression = field(init=False)
    encoding: Encoding = field(init=False)
    shortest_call_s: float = field(default=float("inf"), init=False)
    closed: bool = field(default=False, init=False)
    _data_channels: list[_DataChannel] = field(default_factory=list, init=False)
    _preparing: list[Future[None]] = field(default_factory=list, init=False)
    _open_puts: "set[PutStream]" = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _opening: threading.Lock = field(default_factory=threading.Lock, init=False)
    _parallel: dict[str, ParallelCalls] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        options = self.options
        self.translator = Translator(address=options.address, secret=options.api_key)
        self.body_compression = BodyCompression(wanted=options.compression)
        self.encoding = JsonEncoding()
        peer = Peer(hosts=resolve(options.host, options.port), port=options.port)
        self.watch = StallWatch(
            peer=peer,
            translator=self.translator,
            stall_timeout_s=options.stall_timeout_s,
            greet=lambda: self._greet(self._control),
        )
        self._control = self._open_channel()
        # Also at interpreter exit, which would half-close open streams as if they were complete.
        self._finalizer = weakref.finalize(self, _abort_all, self._open_puts)

    def _open_channel(self) -> Any:
        options = self.options
        generic: list[tuple[str, int]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
        ]
        if options.keepalive_s > 0:
            # Pings without data stay at gRPC's default of two, or C++ servers hang up on us.
            generic += [
                ("grpc.keepalive_time_ms", int(options.keepalive_s * 1000)),
                ("grpc.keepalive_timeout_ms", int(options.keepalive_timeout_s * 1000)),
            ]
        if options.grpc_compression:
            level = _COMPRESSION_LEVELS[options.grpc_compression]
            generic.append(("grpc.default_compression_algorithm", level))
        scheme = "grpc+tls" if options.tls else "grpc"
        middleware = [_ApiKeyFactory(options.api_key)] if options.api_key.value else None

        def connect() -> Any:
            return flight.FlightClient(
                f"{scheme}://{options.address}",
                tls_root_certs=options.tls_root_certs or None,
                cert_chain=options.tls_client_cert or None,
                private_key=options.tls_client_key.value or None,
                middleware=middleware,
                generic_options=generic,
            )

        return self.translator.call(options.address, connect)

    def require_open(self) -> None:
        """Refuse to go on after `close`."""
        if self.closed:
            raise UsageError("the client is closed", hint="connect again")

    def parallel(self, kind: str) -> ParallelCalls:
        """Give what makes calls of one kind many at a time; how many is learned for each kind."""
        return self._parallel.setdefault(kind, ParallelCalls())

    def _call_options(self, timeout_s: float | None = None) -> Any:
        return flight.FlightCallOptions(timeout=timeout_s or self.options.call_timeout_s)

    def raw_action(self, name: str, body: bytes, *, resource: str, timeout_s: float) -> list[bytes]:
        """Call an action and give the bodies of its results.

        Args:
            name: The action.
            body: What to send.
            resource: What the call is about, for errors.
            timeout_s: The deadline of the call; 0 for the usual one.
        """
        self.require_open()
        options = self._call_options(timeout_s)

        def collect() -> list[bytes]:
            # Errors of a streaming call come while it is iterated, not from the call itself.
            results = self._control.do_action(flight.Action(name, body), options)
            return [result.body.to_pybytes() for result in results]

        started_s = time.monotonic()
        bodies: list[bytes] = self.translator.call(resource, collect)
        self.shortest_call_s = min(self.shortest_call_s, time.monotonic() - started_s)
        return bodies

    def action(self, name: str, request: dict[str, Any], *, resource: str) -> Any:
        """Call an action that answers once.

        Args:
            name: The action.
            request: Its parameters.
            resource: What the call is about, for errors.

        Returns:
            What it answers: a JSON value, None where there is nothing to say.

        Raises:
            ProtocolError: The answer is none, or that of another action.
            UsageError: The request cannot be encoded.
        """
        body = self._encoded(name, request)
        bodies = self.raw_action(name, body, resource=resource, timeout_s=0)
        return self._read(resource, self.encoding.answer, name, b"".join(bodies))

    def action_stream(self, name: str, request: dict[str, Any], *, resource: str) -> list[Any]:
        """Call an action that answers any number of times, with each result."""
        body = self._encoded(name, request)
        bodies = self.raw_action(name, body, resource=resource, timeout_s=0)
        return [
            self._read(resource, self.encoding.answer, name, body)
            for body in bodies
            if body.strip()
        ]

    def facts(self, about: About, body: bytes, *, resource: str) -> dict[str, Any]:
        """Read how the server describes a sequence or topic."""
        described: dict[str, Any] = self._read(resource, self.encoding.facts, about, body)
        return described

    def _encoded(self, action: str, request: dict[str, Any]) -> bytes:
        try:
            return self.encoding.request(action, clean_value(request))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{action}: this cannot be sent: {error}") from error

    def _read(self, resource: str, decode: Callable[..., Any], *arguments: Any) -> Any:
        """Decode what the server sent; a `ValueError` says what is wrong with it."""
        try:
            return decode(*arguments)
        except ValueError as error:
            raise ProtocolError(
                f"{resource}: {error}", address=self.options.address, resource=resource
            ) from error

    def text(self, response: Any, key: str, *, resource: str) -> str:
        """Take a text that must be there out of a response."""
        value = response.get(key) if isinstance(response, dict) else None
        if not isinstance(value, str) or not value:
            raise ProtocolError(
                f"{resource}: the server's answer lacks {key!r}",
                address=self.options.address,
                resource=resource,
            )
        return value

    def flight_info(self, descriptor: Any, *, resource: str, timeout_s: float = 0) -> Any:
        """Call GetFlightInfo; with the usual deadline, or one of so many seconds."""
        self.require_open()
        options = self._call_options(timeout_s)
        return self.translator.call(resource, self._control.get_flight_info, descriptor, options)

    def only_endpoint(self, info: Any, *, resource: str) -> Any:
        """Take the one endpoint out of the flight info of a topic."""
        if len(info.endpoints) != 1:
            raise ProtocolError(
                f"{resource}: {len(info.endpoints)} endpoints for one topic",
                address=self.options.address,
                resource=resource,
            )
        return info.endpoints[0]

    def sequence_names(self) -> list[str]:
        """Name all sequences, as ListFlights gives them."""
        return [part.decode() for info in self.flights() for part in info.descriptor.path]

    def flights(self) -> list[Any]:
        """Call ListFlights."""
        self.require_open()
        options = self._call_options()

        def collect() -> list[Any]:
            return list(self._control.list_flights(options=options))

        infos: list[Any] = self.translator.call("list of sequences", collect)
        return infos

    def put(
        self,
        descriptor: Any,
        schema: pa.Schema,
        *,
        resource: str,
        codec: BodyCodec,
    ) -> PutStream:
        """Open a put stream; the server judges it only at `PutStream.finish`.

        Args:
            descriptor: What the stream starts with.
            schema: That of all its batches.
            resource: What it is about, for errors.
            codec: How the bodies are compressed.
        """
        self.require_open()
        channel = self._claim_channel()
        options = flight.FlightCallOptions(write_options=codec.write_options())
        watched = self.watch.stream(resource)
        try:
            writer, _ = watched.call(channel.client.do_put, descriptor, schema, options)
        except ServerError:
            self._release(channel, watched)
            raise

        def end(stream: PutStream) -> None:
            self._open_puts.discard(stream)
            self._release(channel, watched)

        stream = PutStream(writer=writer, watched=watched, on_end=end, compression=codec.name)
        self._open_puts.add(stream)
        return stream

    def get(self, ticket: Any, *, resource: str) -> GetStream:
        """Open a get stream."""
        self.require_open()
        channel = self._claim_channel()
        watched = self.watch.stream(resource)
        try:
            reader = watched.call(channel.client.do_get, ticket)
        except ServerError as error:
            advise_reader(error)
            self._release(channel, watched)
            raise
        return GetStream(
            reader=reader, watched=watched, on_end=lambda: self._release(channel, watched)
        )

    def _claim_channel(self) -> _DataChannel:
        if self._preparing:
            # Else all streams that come meanwhile would share the first that is there. But what
            # limits connections may leave some without an answer, and those are not needed.
            wait(self._preparing, timeout=_PREPARING_S)
            self._preparing = []
        if (channel := self._free_channel()) is not None:
            return channel
        with self._opening:  # one at a time, for it may be free for several
            if (channel := self._free_channel()) is not None:
                return channel
            channel = _DataChannel(self._open_data_channel(), streams=1)
            with self._lock:
                self._data_channels.append(channel)
            return channel

    def _free_channel(self) -> _DataChannel | None:
        with self._lock:
            free = [one for one in self._data_channels if one.streams < self.options.streams_max]
            if not free:
                return None
            # The emptiest: streams of one connection share one window, so that a topic whose data
            # the server is slow to take holds up its neighbours there.
            channel = min(free, key=lambda one: one.streams)
            channel.streams += 1
            return channel

    def _open_data_channel(self) -> Any:
        """Open a channel and see that it works: what balances the load may drop any connection.

        Raises:
            ServerError: None of several did.
        """
        for left in reversed(range(_CHANNEL_TRIES)):
            client = self._open_channel()
            try:
                self._greet(client)
            except (OfflineError, BrokenLinkError, PlatformBusyError):
                client.close()
                if not left:
                    raise
                time.sleep(_CHANNEL_PAUSE_S)
            except ServerError:
                return client  # whatever it does not like, it answers
            else:
                return client
        raise AssertionError("a channel is tried at least once")

    def _greet(self, client: Any) -> None:
        """Make a call that any server answers at once, if only by not knowing it."""
        options = self._call_options(min(self.options.call_timeout_s, _GREETING_S))
        action = flight.Action("version", to_json({}))
        self.translator.call("connection", lambda: list(client.do_action(action, options)))

    def puts_at_once(self, streams: int, size_bytes: int) -> int:
        """Give how many of so many put streams should be written to at once, by a thread each.

        The streams of one connection share the server's window, about a MiB for each round trip:
        far away that is less than the line carries, so several connections are used. To make one
        takes round trips and some KiB, which little data is not worth.
        """
        if self.shortest_call_s < FAR_S:
            return 1
        return max(1, min(streams, 1 + size_bytes // PUT_BYTES_MIN, PUTS_OF_A_FAR_SERVER))

    def prepare_streams(self, count: int, *, connections: int) -> None:
        """Connect in the background what so many streams will need; does not wait.

        A connection takes a round trip or more, which the first streams on it would wait for.

        Args:
            count: How many streams will be opened.
            connections: How many connections they are to be spread over at least.
        """
        with self._lock:
            spare = sum(self.options.streams_max - one.streams for one in self._data_channels)
            missing = max(
                -(-max(count - spare, 0) // self.options.streams_max),
                connections - len(self._data_channels),
            )
            connect = self.parallel("connect").submit
            self._preparing = [connect(self._add_data_channel) for _ in range(missing)]

    def _add_data_channel(self) -> None:
        # Whoever needs one and finds none opens it, and hears why that fails.
        with suppress(ServerError):
            channel = _DataChannel(self._open_data_channel())
            with self._lock:
                self._data_channels.append(channel)
            if self.closed:
                channel.client.close()

    def _release(self, channel: _DataChannel, watched: WatchedStream) -> None:
        watched.close()
        with self._lock:
            channel.streams -= 1

    def close(self) -> None:
        """Abort what is still being put and close every channel; idempotent."""
        if self.closed:
            return
        self.closed = True
        _abort_all(self._open_puts)
        self._finalizer.detach()
        for client in (self._control, *(channel.client for channel in self._data_channels)):
            # A channel that cannot even be closed is as gone as one that is closed.
            try:
                client.close()
            except FLIGHT_ERRORS:
                continue
