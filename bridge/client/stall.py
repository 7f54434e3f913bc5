"""Makes sure that stream calls make progress, and cuts the connection when one does not.

A Flight stream call blocks inside gRPC without a deadline, closing its `FlightClient` does not wake
it, and keepalive only finds a dead link, not a server that answers pings but has stopped reading.
So one thread per client looks at the calls in flight. A call that is older than the stall time,
while the kernel reports no more than pings acknowledged by the server, gets its TCP connection shut
down: gRPC then fails every stream on it at once, and the server sees a broken stream rather than a
complete one. A slow link is no stall, however long one batch takes.

The sockets belong to gRPC, so they are found through `/proc/self/fd` by the address of the peer.
"""

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa

from bridge.client.translate import Translator, advise_reader
from bridge.errors import BrokenLinkError, ServerError, TransientError, UsageError

PROGRESS_BYTES_MIN = 1024
"""Fewer bytes than this in a whole stall time are keepalive pings, no progress."""

VERDICT_PATIENCE = 5
"""How many stall times the server may take over the end of a put."""

GREETINGS_MAX = 3
"""How many calls the end of a connection may cost."""

_OWN_DESCRIPTORS = Path("/proc/self/fd")
_TCP_INFO_BYTES = 136
TCP_INFO_ACKED_AND_RECEIVED = struct.Struct("=120xQQ")
"""`tcpi_bytes_acked` and `tcpi_bytes_received` of Linux' `struct tcp_info` (since 4.1)."""


def resolve(host: str, port: int) -> frozenset[str]:
    """Give the addresses of *host*, as text without IPv4 mapping; empty when it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(_plain(str(entry[4][0])) for entry in found)


def _plain(address: str) -> str:
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The far end of our connections.

    Attributes:
        hosts: Its addresses; empty where they could not be resolved, then the port decides.
        port: Its TCP port.
    """

    hosts: frozenset[str]
    port: int

    def connections(self) -> Iterator[socket.socket]:
        """Yield every TCP connection of this process to the peer, as a descriptor of our own."""
        for entry in list(_OWN_DESCRIPTORS.iterdir()):
            try:
                copy = os.dup(int(entry.name))
            except OSError:
                continue
            if not stat.S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as candidate, suppress(OSError):
                if self._is_far_end(candidate.getpeername()):
                    yield candidate

    def _is_far_end(self, name: object) -> bool:
        if not isinstance(name, tuple) or name[1] != self.port:
            return False
        return not self.hosts or _plain(name[0]) in self.hosts

    def moved_bytes(self) -> int:
        """Count the bytes that the peer has acknowledged or sent on the present connections."""
        total = 0
        for connection in self.connections():
            raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            if len(raw) == _TCP_INFO_BYTES:
                total += sum(TCP_INFO_ACKED_AND_RECEIVED.unpack(raw))
        return total

    def cut(self) -> int:
        """Shut down every connection to the peer, and say how many there were."""
        count = 0
        for connection in self.connections():
            connection.shutdown(socket.SHUT_RDWR)
            count += 1
        return count


@dataclass(slots=True, eq=False)
class _Call:
    """One blocking call in flight.

    Attributes:
        since_s: When it last was seen to progress, on the monotonic clock.
        patience_s: How long it may go without progress.
        moved_bytes: What the connections had moved by then; None before the first look.
        stalled: Whether it was cut. Written by the watching thread, read after the call.
    """

    since_s: float
    patience_s: float
    moved_bytes: int | None = None
    stalled: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class WatchedStream:
    """Makes the blocking calls of one stream, of which there is at most one at a time.

    Attributes:
        resource: What the stream is about, for errors.
        watch: Who looks at `current`.
        current: The call in flight, or None. Written by the stream's thread, read by the watch's.
    """

    resource: str
    watch: "StallWatch"
    current: _Call | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make one call of pyarrow's; costs no lock and about a microsecond.

        Raises:
            BrokenLinkError: It made no progress and was cut.
            ServerError: It failed otherwise.
        """
        return self._patiently(self.watch.stall_timeout_s, function, arguments)

    def call_for_verdict(self, function: Callable[..., Any]) -> Any:
        """Make the call that ends a put: meanwhile the server works off what it has buffered.

        Nothing moves on the link then, so it is given several times as long.

        Raises:
            BrokenLinkError: It made no progress and was cut.
            ServerError: It failed otherwise.
        """
        return self._patiently(VERDICT_PATIENCE * self.watch.stall_timeout_s, function, ())

    def _patiently(
        self, patience_s: float, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        call = self.current = _Call(time.monotonic(), patience_s)
        try:
            return self.watch.translator.call(self.resource, function, *arguments)
        except ServerError as error:
            if not call.stalled:
                raise
            self.watch.meet_again()
            raise BrokenLinkError(
                f"{self.resource}: no progress for {patience_s:g} s, the connection was cut",
                address=error.address,
                resource=self.resource,
                hint="the server or the link to it hangs",
            ) from error
        finally:
            self.current = None

    def close(self) -> None:
        """End the watch over this stream; idempotent."""
        self.watch.forget(self)


@dataclass(slots=True, kw_only=True, eq=False)
class StallWatch:
    """Watches the streams of one client; its thread runs only while there are some.

    Attributes:
        peer: Whose connections are looked at.
        translator: Turns pyarrow's errors into ours.
        stall_timeout_s: How long a call may go without progress.
        greet: Makes a call beside the streams that costs the server nothing.
    """

    peer: Peer
    translator: Translator
    stall_timeout_s: float
    greet: Callable[[], object]
    _streams: set[WatchedStream] = field(default_factory=set)  # guarded by _lock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: tuple[threading.Thread, threading.Event] | None = None  # guarded by _lock

    def stream(self, resource: str) -> WatchedStream:
        """Begin to watch a stream, which must be closed in the end."""
        stream = WatchedStream(resource=resource, watch=self)
        with self._lock:
            self._streams.add(stream)
            if self._running is None:
                enough = threading.Event()
                thread = threading.Thread(
                    target=self._run, args=(enough,), name="mosaico-stall-watch", daemon=True
                )
                self._running = (thread, enough)
                thread.start()
        return stream

    def meet_again(self) -> None:
        """Let gRPC find out that it was cut off, which the first call after a cut can die of."""
        for _ in range(GREETINGS_MAX):
            try:
                self.greet()
            except BrokenLinkError:
                continue
            except ServerError:
                pass  # whatever it does not like, it is no broken link
            return

    def forget(self, stream: WatchedStream) -> None:
        """End the watch over a stream; the last one lets the thread go."""
        with self._lock:
            self._streams.discard(stream)
            if self._streams or self._running is None:
                return
            (thread, enough), self._running = self._running, None
        enough.set()
        thread.join()

    def _run(self, enough: threading.Event) -> None:
        pause_s = min(1.0, self.stall_timeout_s / 4)
        while not enough.wait(pause_s):
            self._look(time.monotonic())

    def _look(self, now_s: float) -> None:
        """Cut the connections if one of the calls has been stuck for too long."""
        with self._lock:
            calls = [call for stream in self._streams if (call := stream.current) is not None]
        old = [call for call in calls if now_s - call.since_s > call.patience_s / 2]
        if not old:
            return
        moved_bytes = self.peer.moved_bytes()
        stuck = False
        for call in old:
            if call.moved_bytes is None:
                call.moved_bytes = moved_bytes
            elif moved_bytes - call.moved_bytes >= PROGRESS_BYTES_MIN:
                call.since_s, call.moved_bytes = now_s, moved_bytes
            elif now_s - call.since_s > call.patience_s:
                call.stalled = stuck = True
        if stuck:
            self.peer.cut()


_ABORT_MESSAGE = b"abort"


@dataclass(slots=True, kw_only=True, eq=False)
class PutStream:
    """An open put stream; used by one thread at a time.

    A stream must be finished or aborted: one that is merely forgotten ends cleanly, and the server
    takes what has arrived for the whole topic.

    Attributes:
        writer: The Flight stream writer.
        watched: Makes the blocking calls.
        on_end: Called once when the stream has ended in any way.
        compression: How bodies are compressed; empty for not at all.
        ended: Whether it has.
        failure: Why it did not end well; None where it did, or was aborted.
    """

    writer: Any
    watched: WatchedStream
    on_end: "Callable[[PutStream], None]"
    compression: str = ""
    ended: bool = False
    failure: ServerError | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Send a batch; blocks as long as the server or the link is slow.

        Raises:
            ServerError: The stream is broken; it can only be aborted from here on.
        """
        if self.ended:
            raise UsageError(f"{self.watched.resource}: the stream has ended")
        try:
            self.watched.call(self.writer.write_batch, batch)
        except ServerError as error:
            raise self._verdict(error) from error.__cause__

    def _verdict(self, error: ServerError) -> ServerError:
        """Prefer what the server says at the end of a broken stream over how the write failed."""
        self.ended = True
        try:
            self.watched.call(self.writer.close)
        except ServerError as verdict:
            chosen = verdict if not isinstance(verdict, TransientError) else error
        else:
            chosen = error
        self.failure = chosen
        self.on_end(self)
        return chosen

    def end(self) -> None:
        """Signal the end of the data without waiting for the server's verdict; idempotent."""
        if not self.ended:
            with suppress(ServerError):  # The verdict will say so, too.
                self.watched.call(self.writer.done_writing)

    def finish(self) -> None:
        """End the stream and wait for the server's verdict.

        Raises:
            ServerError: The topic is not whole on the server.
        """
        if self.failure is not None:
            raise self.failure
        if self.ended:
            return
        self.ended = True
        try:
            self.watched.call_for_verdict(self.writer.close)
        except ServerError as error:
            self.failure = error
            raise
        finally:
            self.on_end(self)

    def abort(self) -> None:
        """Break the stream so that the server does not take it for complete; idempotent.

        A message without payload does it: the platform refuses one, while a stream that just ends,
        even because our process unwinds, is locked as a whole topic.
        """
        if self.ended:
            return
        self.ended = True
        with suppress(ServerError):  # The refusal is what an abort is for.
            self.watched.call(self.writer.write_metadata, _ABORT_MESSAGE)
        with suppress(ServerError):
            self.watched.call(self.writer.close)
        self.on_end(self)


@dataclass(slots=True, kw_only=True, eq=False)
class GetStream:
    """An open get stream; used by one thread.

    Attributes:
        reader: The Flight stream reader.
        watched: Makes the blocking calls.
        on_end: Called once when the stream has ended in any way.
        ended: Whether it has.
    """

    reader: Any
    watched: WatchedStream
    on_end: Callable[[], None]
    ended: bool = False

    def _blocking(self, function: Callable[[], Any]) -> Any:
        try:
            return self.watched.call(function)
        except ServerError as error:
            self._end()
            advise_reader(error)
            raise

    def _read(self) -> Any:
        """Read a chunk; None at the end."""
        try:
            return self.reader.read_chunk()
        except StopIteration:
            return None

    @property
    def schema(self) -> pa.Schema:
        """The schema, which is the first thing the server sends."""
        schema: pa.Schema = self._blocking(lambda: self.reader.schema)
        return schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches; leaving early cancels the stream.

        Raises:
            ServerError: The stream broke.
        """
        try:
            while (chunk := self._blocking(self._read)) is not None:
                if chunk.data is not None:
                    yield chunk.data
            self._end()
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what has not been read; idempotent."""
        if not self.ended:
            self._end()
            self.reader.cancel()

    def _end(self) -> None:
        self.ended = True
        self.on_end()
