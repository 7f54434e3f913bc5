"""A TCP relay that counts: how many bytes a client really puts on the wire."""

import socket
import threading
from types import TracebackType
from typing import Self

PART_BYTES = 1 << 16


class CountingRelay:
    """Passes connections on to a port of this machine; a context manager.

    Attributes:
        port: Where to connect to.
        sent_bytes: Bytes that clients have sent so far.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.sent_bytes = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target_port))
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, counted), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:  # noqa: FBT001 - a thread's argument
        try:
            while part := source.recv(PART_BYTES):
                if counted:
                    with self._lock:
                        self.sent_bytes += len(part)
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()
