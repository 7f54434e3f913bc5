"""One port for metrics, health, status and the page; reading only, loopback by default.

A slow or hostile caller can neither change anything nor hold up the daemon: connections, their
number and their patience have bounds.
"""

import gzip
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from bridge.daemon.journal.journal import JournalReader
from bridge.daemon.observe.health import DISK_FREE_MIN_BYTES
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.daemon.observe.routes import (
    NotificationSource,
    Response,
    Routes,
    error_response,
    json_response,
)
from bridge.errors import BridgeError, ConfigError
from bridge.units import address_text

log = logging.getLogger(__name__)

# A request must have arrived after this long, and its answer be taken after that, however busily
# the caller sends and takes a byte now and then.
REQUEST_S = 5.0
ANSWER_S = 20.0
# Beyond so many at once, one that has not asked within this time makes room; where there is none,
# more connections are closed unanswered.
CONNECTIONS_MAX = 32
HASTE_S = 1.0
# The thread of what was cut off takes a moment to end.
ROOM_S = 3.0
# Answers from this size on are compressed for callers that take it.
COMPRESS_BYTES_MIN = 1024
# So much of a body that nobody wants is read, so that the caller gets to read the answer.
UNWANTED_BYTES_MAX = 64 * 1024

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class HttpServer:
    """The server; a context manager that serves from `start` to `close`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        metrics: Metrics,
        status: LiveState,
        journal: JournalReader,
        notifications: NotificationSource | None = None,
        folders: Mapping[str, Path] | None = None,
        disk_free_min_bytes: int = DISK_FREE_MIN_BYTES,
        find_others: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        """Bind the port.

        Args:
            host: Address to listen on.
            port: Port to listen on; 0 takes a free one.
            metrics: What `/metrics` gives.
            status: What the daemon last reported.
            journal: What it knows of every recording; only read.
            notifications: The poller's, where there is one.
            folders: By role, the folders whose disks `/readyz` wants room on.
            disk_free_min_bytes: How much room.
            find_others: Lists the files in the watched folders that are no recordings.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        routes = Routes(
            metrics=metrics,
            status=status,
            journal=journal,
            notifications=notifications,
            folders=folders or {},
            disk_free_min_bytes=disk_free_min_bytes,
            find_others=find_others,
        )
        self._thread: threading.Thread | None = None
        try:
            self._server = _Server(host, port, routes.answer)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {address_text(host, port)}: {error}",
                key="http.port",
                hint="is another bridge running? choose another http.port, or 0 for a free one",
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The URL of the status page."""
        host = str(self._server.server_address[0])
        return f"http://{address_text(host, self.port)}/"

    @property
    def connections(self) -> int:
        """How many connections are open at this moment."""
        return self._server.connections

    def start(self) -> None:
        """Serve from a thread of its own until `close`."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http"
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and release the port; may be called again."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Deadline:
    """Until when a connection may go on, and whether its request has arrived."""

    at_s: float
    asked: bool = False


class _Server(socketserver.ThreadingTCPServer):
    """Threads for connections, so many at once and no more."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, host: str, port: int, answer: Callable[[str], Response]) -> None:
        self.answer = answer
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._guard = threading.Lock()
        self._open: dict[Any, _Deadline] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        bound = ipaddress.ip_address(str(self.server_address[0]))
        # A web page anywhere can make a browser on this machine ask for a name that resolves to
        # loopback; honest callers of a loopback port use an address or these names.
        self.names = {"localhost", host.lower()} if bound.is_loopback else None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take the connection if there is a slot or one can be made free, else close it."""
        free = self._slots.acquire(blocking=False)
        if not free and self._make_room():
            free = self._slots.acquire(timeout=ROOM_S)
        if not free:
            self.shutdown_request(request)
            return
        with self._guard:
            self._open[request] = _Deadline(time.monotonic() + REQUEST_S)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection, then give the slot back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._open.pop(request, None)
            self._slots.release()

    @property
    def connections(self) -> int:
        """How many connections have a deadline."""
        with self._guard:
            return len(self._open)

    def asked(self, request: Any) -> None:
        """Note that a request has arrived; from now on its answer has to be taken."""
        with self._guard:
            self._open[request] = _Deadline(time.monotonic() + ANSWER_S, asked=True)

    def service_actions(self) -> None:
        """Cut off what is over its time; called between two looks for connections."""
        now_s = time.monotonic()
        with self._guard:
            late = [request for request, until in self._open.items() if until.at_s <= now_s]
            self._cut(late)

    def _make_room(self) -> bool:
        """Cut off the connection that has kept us waiting for its request the longest."""
        slow_s = time.monotonic() + REQUEST_S - HASTE_S
        with self._guard:
            slow = [
                request
                for request, until in self._open.items()
                if not until.asked and until.at_s <= slow_s
            ]
            self._cut(slow[:1])
        return bool(slow)

    def _cut(self, requests: list[Any]) -> None:
        """End connections; the thread that waits on one gets an end of file. Under the guard."""
        for request in requests:
            self._open.pop(request, None)
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say so at debug level: callers that hang up are no event."""
        del request
        log.debug("connection of %s ended badly: %s", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it."""

    # The server's deadlines come first; this one is for what slips through them.
    timeout = ANSWER_S
    server: _Server

    def do_GET(self) -> None:
        """Answer with a body."""
        self._respond(self._answer(), body=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._respond(self._answer(), body=False)

    def parse_request(self) -> bool:
        """Read the head of the request, which ends the time it has to arrive in."""
        understood = super().parse_request()
        self.server.asked(self.connection)
        return understood

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the library refuses as everything else is answered: in JSON."""
        del explain
        # The library answers before it knows the version where the first line is no request.
        if self.request_version == "HTTP/0.9":
            self.request_version = "HTTP/1.0"
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._swallow()
            refused = error_response(HTTPStatus(code), "this port only reads: GET and HEAD")
            self._respond(replace(refused, allow="GET, HEAD"), body=True)
            return
        status = HTTPStatus(code)
        self._respond(error_response(status, message or status.phrase), body=True)

    def _swallow(self) -> None:
        """Read a body that nobody asked for; one that is left unread resets the connection."""
        length = self.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal() and len(length) < len(str(UNWANTED_BYTES_MAX)):
            self.rfile.read(int(length))

    def version_string(self) -> str:
        """Tell callers what this is, not which Python runs it."""
        return "mosaico-bridge"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Keep requests out of the log but at debug level."""
        log.debug("%s %s", self.address_string(), format % args)

    def _answer(self) -> Response:
        if not self._is_for_us():
            return error_response(
                HTTPStatus.MISDIRECTED_REQUEST, "this port answers to its address or localhost"
            )
        try:
            return self.server.answer(self.path)
        except BridgeError as error:
            return json_response(error.facts(), code=HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # the caller gets an answer, the log gets the reason
            log.exception("a request could not be answered")
            return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; the log says why")

    def _is_for_us(self) -> bool:
        if self.server.names is None:
            return True
        try:
            host = urlsplit(f"//{self.headers.get('Host', 'localhost')}").hostname or ""
        except ValueError:
            return False
        return host.lower() in self.server.names or _is_address(host)

    def _respond(self, response: Response, *, body: bool) -> None:
        content = response.body
        packed = len(content) >= COMPRESS_BYTES_MIN and not response.kind.startswith("image/")
        accepted = getattr(self, "headers", None) and self.headers.get("Accept-Encoding", "")
        gzipped = packed and takes_gzip(accepted or "")
        if gzipped:
            content = gzip.compress(content, compresslevel=1, mtime=0)
        self.send_response(response.code)
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(content)))
        if packed:
            self.send_header("Vary", "Accept-Encoding")
        if gzipped:
            self.send_header("Content-Encoding", "gzip")
        if response.allow:
            self.send_header("Allow", response.allow)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def takes_gzip(accepted: str) -> bool:
    """Tell from the header `Accept-Encoding` whether a caller takes gzip."""
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
