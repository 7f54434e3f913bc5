"""A TCP relay between a client and a server: it counts bytes, and holds each back for a while.

The delay is that of a long line, not of a thin one: any number of bytes is on its way at once,
unless the receiver of each connection takes only so many before it has answered.
"""

import queue
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Self

PART_BYTES = 1 << 16
PARTS_UNDER_WAY_MAX = 4096


class Relay:
    """Passes connections on to a port of this machine; a context manager.

    Args:
        target_port: Where to pass them on to.
        delay_s: How long each byte takes, in each direction.
        window_bytes: How many bytes of a connection may be on their way to the server or not be
            acknowledged yet; None for any number.

    Attributes:
        port: Where to connect to.
        sent_bytes: Bytes that clients have sent so far.
    """

    def __init__(
        self, target_port: int, *, delay_s: float = 0.0, window_bytes: int | None = None
    ) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
        self._window_bytes = window_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.sent_bytes = 0
        self._ends: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target_port))
            self._ends += (client, server)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, counted), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:  # noqa: FBT001 - a thread's argument
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(PARTS_UNDER_WAY_MAX)
        threading.Thread(target=_deliver, args=(under_way, source, target), daemon=True).start()
        window = _Window(self._window_bytes if counted else None, 2 * self._delay_s)
        part = b"-"
        while part:
            try:
                part = source.recv(window.room_bytes(PART_BYTES))
            except OSError:
                part = b""
            if counted:
                with self._lock:
                    self.sent_bytes += len(part)
            window.took(len(part))
            under_way.put((time.monotonic() + self._delay_s, part))


class _Window:
    """What a receiver takes of a connection before its answers arrive, a round trip later."""

    def __init__(self, size_bytes: int | None, round_trip_s: float) -> None:
        self._size_bytes = size_bytes
        self._round_trip_s = round_trip_s
        self._open: deque[tuple[float, int]] = deque()
        self._open_bytes = 0

    def room_bytes(self, most_bytes: int) -> int:
        """Wait until there is room, and give how much, up to so many bytes."""
        if self._size_bytes is None:
            return most_bytes
        while self._open and (
            self._open_bytes >= self._size_bytes or self._open[0][0] <= time.monotonic()
        ):
            answered_s, part_bytes = self._open.popleft()
            time.sleep(max(0.0, answered_s - time.monotonic()))
            self._open_bytes -= part_bytes
        return min(most_bytes, self._size_bytes - self._open_bytes)

    def took(self, part_bytes: int) -> None:
        """Take note of bytes that are on their way from now on."""
        if self._size_bytes is not None:
            self._open.append((time.monotonic() + self._round_trip_s, part_bytes))
            self._open_bytes += part_bytes


def _deliver(
    under_way: "queue.Queue[tuple[float, bytes]]", source: socket.socket, target: socket.socket
) -> None:
    """Send on what arrives, each part when it is due; an empty part is the end."""
    try:
        while True:
            due_s, part = under_way.get()
            pause_s = due_s - time.monotonic()
            if pause_s > 0:
                time.sleep(pause_s)
            if not part:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(part)
    except OSError:
        source.close()
        target.close()
