"""A TCP relay between a client and a server: it counts bytes, and holds each back for a while.

The delay is that of a long line, not of a thin one: any number of bytes is on its way at once.
"""

import queue
import socket
import threading
import time
from contextlib import suppress
from typing import Self

PART_BYTES = 1 << 16
PARTS_UNDER_WAY_MAX = 4096


class Relay:
    """Passes connections on to a port of this machine; a context manager.

    Args:
        target_port: Where to pass them on to.
        delay_s: How long each byte takes, in each direction.

    Attributes:
        port: Where to connect to.
        sent_bytes: Bytes that clients have sent so far.
    """

    def __init__(self, target_port: int, *, delay_s: float = 0.0) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
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
        part = b"-"
        while part:
            try:
                part = source.recv(PART_BYTES)
            except OSError:
                part = b""
            if counted:
                with self._lock:
                    self.sent_bytes += len(part)
            under_way.put((time.monotonic() + self._delay_s, part))


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
