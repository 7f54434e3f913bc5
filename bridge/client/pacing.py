"""Counts what this process moves over the wire to one peer, and keeps what it sends within a rate.

Two means together. The kernel paces each connection (`SO_MAX_PACING_RATE`), so that even one large
batch leaves evenly, compressed and encrypted as it is; a rate may change at any time, also in the
middle of a batch. And before each batch the sending thread waits for its turn, which keeps the mean
where the kernel cannot pace, and holds everything back while the rate is 0: what is under way then
is finished, what comes after it waits. A wait is between stream calls, so that the watch over their
progress does not see it.

The counters are the kernel's own (`TCP_INFO`), hence payload of TCP, after compression and with
encryption. What TCP sends again does not count: it says how bad the line is, not how much was sent.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from bridge.client.stall import TCP_INFO_ACKED_AND_RECEIVED, Peer, resolve

SAMPLE_INTERVAL_S = 0.25
REPORT_INTERVAL_S = 1.0
# What may be sent at once after a time without sending.
BURST_S = 1.0
# Least bytes that wait in the kernel: less would starve a connection, and more than about a second
# of the rate would keep pings waiting behind data until the link counts as dead.
UNSENT_BYTES_MIN, UNSENT_BYTES_MAX = 16 << 10, 1 << 30

_SO_MAX_PACING_RATE = 47
_NO_PACING = struct.pack("@L", 2 ** (8 * struct.calcsize("@L")) - 1)
_TCP_INFO_BYTES = 216
# `tcpi_bytes_sent` and `tcpi_bytes_retrans` of `struct tcp_info`, since Linux 4.19.
_TRANSMITTED_AND_AGAIN = struct.Struct("=200xQQ")


@dataclass(slots=True, kw_only=True)
class Wire:
    """Bytes moved over the wire.

    Attributes:
        sent: To the peer, without what TCP sends again.
        received: From the peer.
    """

    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class UplinkShare:
    """How much a process may send, changed by one thread while others send.

    Attributes:
        bytes_per_second: The most; 0 holds everything back, None is without limit. Assigned by
            the thread that decides, read by the pacers, without a lock.
    """

    bytes_per_second: int | None = None


class Pacer:
    """Paces and counts the connections of this process to a peer; a context manager.

    To be made before the connections are, and entered after, so that all of them count, but no
    connection of before.

    Args:
        host: The peer's name or address.
        port: Its port.
        share: How much may be sent; looked at again and again.
        report: Called about once a second, and at the end, with the bytes moved since, and whether
            something waits because nothing may be sent. Called from a thread of the pacer's own.
    """

    def __init__(
        self, host: str, port: int, *, share: UplinkShare, report: Callable[[Wire, bool], None]
    ) -> None:
        self._peer = Peer(hosts=resolve(host, port), port=port)
        self._share = share
        self._report = report
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)
        # All below is guarded by the lock.
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}
        self._busy = 0
        self._total = Wire()
        self._reported = Wire()
        self._credit_bytes = 0.0
        self._credited_s = time.monotonic()
        self._charged_bytes = 0
        self._waiting = 0
        self._leave_out_the_past()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()
        self._tell()

    @property
    def total(self) -> Wire:
        """What has moved since the start."""
        with self._lock:
            return Wire(sent=self._total.sent, received=self._total.received)

    def wait_turn(self, given_up: threading.Event) -> None:
        """Wait until the next batch may be sent.

        Args:
            given_up: Ends the wait when nothing is to be sent any more.
        """
        with self._lock:
            self._waiting += 1
        try:
            while self._share.bytes_per_second is not None and not self._look():
                if given_up.wait(SAMPLE_INTERVAL_S):
                    return
        finally:
            with self._lock:
                self._waiting -= 1

    def _run(self) -> None:
        reported_s = time.monotonic()
        while not self._ended.wait(SAMPLE_INTERVAL_S):
            self._look()
            if time.monotonic() - reported_s >= REPORT_INTERVAL_S:
                reported_s = time.monotonic()
                self._tell()

    def _look(self) -> bool:
        """Count, pace by the present share, and say whether a batch may be sent now."""
        rate = self._share.bytes_per_second
        with self._lock:
            self._sample(rate)
            now_s = time.monotonic()
            passed_s, self._credited_s = now_s - self._credited_s, now_s
            spent_bytes = self._total.sent - self._charged_bytes
            self._charged_bytes = self._total.sent
            if rate is None:
                self._credit_bytes = 0.0
                return True
            credit_bytes = self._credit_bytes + passed_s * rate - spent_bytes
            self._credit_bytes = min(credit_bytes, BURST_S * rate)
            return rate > 0 and self._credit_bytes >= 0

    def _leave_out_the_past(self) -> None:
        with self._lock:
            self._sample(None)
            self._total = Wire()

    def _sample(self, rate: int | None) -> None:
        """Look at every connection once; costs some microseconds for each open file."""
        share = rate // max(1, self._busy) if rate else rate
        present: dict[int, _Connection] = {}
        busy = 0
        for opened in self._peer.connections():
            number = os.fstat(opened.fileno()).st_ino
            known = self._connections.get(number) or _Connection()
            transmitted, again, received = _counters(opened)
            # Numbers of closed sockets are used again; counters that go back are another's.
            if transmitted < known.transmitted or received < known.received:
                known = _Connection()
            busy += transmitted > known.transmitted
            # A retransmission that fails inside the kernel counts as one, but not as transmitted.
            sent = max(known.sent, transmitted - again)
            self._total.sent += sent - known.sent
            self._total.received += received - known.received
            known.transmitted, known.sent, known.received = transmitted, sent, received
            # What is under way when everything is held back ends at the rate it started with.
            if share not in (0, known.paced):
                _pace(opened, share)
                known.paced = share
            present[number] = known
        self._connections, self._busy = present, busy

    def _tell(self) -> None:
        with self._lock:
            moved = Wire(
                sent=self._total.sent - self._reported.sent,
                received=self._total.received - self._reported.received,
            )
            self._reported = Wire(sent=self._total.sent, received=self._total.received)
            held = self._waiting > 0 and self._share.bytes_per_second == 0
        if held or moved != Wire():
            self._report(moved, held)


@dataclass(slots=True, kw_only=True)
class _Connection:
    """What is known of one connection: its counters so far, and the rate it is paced at."""

    transmitted: int = 0
    sent: int = 0
    received: int = 0
    paced: int | None = None


def _counters(connection: socket.socket) -> tuple[int, int, int]:
    """Give bytes transmitted, those that were retransmissions, and bytes received.

    Zeros where the kernel is too old to say.
    """
    try:
        raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0, 0, 0
    if len(raw) < TCP_INFO_ACKED_AND_RECEIVED.size:
        return 0, 0, 0
    acked, received = TCP_INFO_ACKED_AND_RECEIVED.unpack_from(raw)
    if len(raw) < _TRANSMITTED_AND_AGAIN.size:
        return acked, 0, received
    transmitted, again = _TRANSMITTED_AND_AGAIN.unpack_from(raw)
    return transmitted, again, received


def _pace(connection: socket.socket, rate: int | None) -> None:
    """Let the kernel spread what leaves; a kernel that cannot leaves it to the waits."""
    with suppress(OSError):
        pacing = _NO_PACING if rate is None else struct.pack("@L", rate)
        connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, pacing)
        # 0 means the kernel's default again.
        unsent_bytes = 0 if rate is None else min(max(rate, UNSENT_BYTES_MIN), UNSENT_BYTES_MAX)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
