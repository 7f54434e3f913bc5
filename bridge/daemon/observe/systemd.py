"""Talks to the service manager: readiness, watchdog, status text (the sd_notify protocol).

One datagram of `KEY=value` lines per call goes to the unix socket that the service manager names.
Without such a socket every call does nothing, so callers need not ask. A notice that cannot be
delivered is never an error of the daemon: the watchdog on the other side draws the conclusion.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from bridge.daemon.events.events import Event, Stopped, Ticked
from bridge.daemon.events.status import DaemonStatus, Gate
from bridge.daemon.journal.states import NEEDS_ATTENTION, ON_PLATFORM, QUEUED

MICROSECONDS = 1_000_000
# Longer status texts are cut; `systemctl status` shows one line.
STATUS_CHARACTERS_MAX = 400


class ServiceNotifier:
    """Sends notices to the service manager; safe to call from any thread.

    Attributes:
        watchdog_timeout_s: The manager restarts us when no `alive` arrives for this long;
            None where it does not watch.
    """

    def __init__(
        self,
        address: str = "",
        *,
        watchdog_timeout_s: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare for a socket address; an empty one makes every call do nothing.

        Args:
            address: Path of the manager's socket; a leading `@` is the abstract namespace.
            watchdog_timeout_s: See the attribute of the same name.
            monotonic_ns: The clock that `reloading` stamps its notice with.
        """
        self.watchdog_timeout_s = watchdog_timeout_s
        self._monotonic_ns = monotonic_ns
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")):
            flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, flags)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, pid: int | None = None) -> Self:
        """Make one from `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.

        The watchdog variables count only when they are meant for this process: a child inherits
        them without being watched.

        Args:
            environment: Usually `os.environ`.
            pid: The process to compare `WATCHDOG_PID` with; this one by default.
        """
        interval = environment.get("WATCHDOG_USEC", "")
        meant_for = environment.get("WATCHDOG_PID", "")
        ours = meant_for in {"", str(os.getpid() if pid is None else pid)}
        timeout_s = int(interval) / MICROSECONDS if interval.isdecimal() and ours else None
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_timeout_s=timeout_s or None)

    def __enter__(self) -> Self:
        """Give itself; leaving closes the socket."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often to call `alive`: a third of the timeout, so that one late call is no harm."""
        return None if self.watchdog_timeout_s is None else self.watchdog_timeout_s / 3

    def ready(self, status: str = "") -> bool:
        """Say that the start is over, with an optional status text."""
        return self._send("READY=1", status=status)

    def alive(self, status: str = "") -> bool:
        """Feed the watchdog. Call it from the loop that must make progress, never from a timer."""
        return self._send("WATCHDOG=1", status=status)

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(status=text)

    def reloading(self) -> bool:
        """Say that the settings are being read again; `ready` ends it."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        """Say that the end has begun."""
        return self._send("STOPPING=1", status=status)

    def close(self) -> None:
        """Release the socket; may be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, lines: str = "", *, status: str = "") -> bool:
        """Send one datagram; False where nobody listens or the queue of the manager is full."""
        channel = self._socket
        if channel is None:
            return False
        if status:
            # A line break would let a file name speak to the service manager.
            shown = " ".join(status.split())[:STATUS_CHARACTERS_MAX]
            lines = f"{lines}\nSTATUS={shown}".lstrip("\n")
        try:
            channel.sendto(lines.encode("utf-8", "backslashreplace"), self._address)
        except OSError:
            return False
        return True


class ServiceObserver:
    """Feeds the service manager from the daemon's loop: readiness, progress, status, the end.

    Ready means that the folder has been scanned once. The watchdog is fed by turns of the loop, so
    a loop that is stuck is restarted. Called from the loop thread only.
    """

    def __init__(
        self, notifier: ServiceNotifier, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._notifier = notifier
        self._monotonic = monotonic
        self._ready = False
        self._fed_s = float("-inf")
        self._shown = ""

    def hear(self, event: Event) -> None:
        """Follow the turns of the loop, and announce its end."""
        match event:
            case Ticked(status=status):
                self._ticked(status)
            case Stopped(status=status):
                self._notifier.stopping(status_line(status))
            case _:
                pass

    def _ticked(self, status: DaemonStatus) -> None:
        """Feed the watchdog when it is time, and show the status line when it has changed."""
        if not self._ready and status.watch.scans > 0:
            self._ready = self._notifier.ready()
        interval_s = self._notifier.watchdog_interval_s
        now_s = self._monotonic()
        if interval_s is not None and now_s - self._fed_s >= interval_s:
            self._notifier.alive()
            self._fed_s = now_s
        line = status_line(status)
        if line != self._shown:
            tell = self._notifier.stopping if status.stopping else self._notifier.status
            tell(line)
            self._shown = line


def status_line(status: DaemonStatus) -> str:
    """Say in one line how things are, for `systemctl status`."""
    arrived = sum(status.counts.get(state, 0) for state in ON_PLATFORM)
    waiting = sum(status.counts.get(state, 0) for state in QUEUED)
    stuck = sum(status.counts.get(state, 0) for state in NEEDS_ATTENTION)
    parts = ["stopping"] if status.stopping else []
    if status.embedded:
        parts.append("EMBEDDED server")
    if status.gate.gate is not Gate.OPEN:
        parts.append(f"{status.gate.gate}: {status.gate.reason}")
    parts += [f"{len(status.workers)} sending", f"{waiting} waiting", f"{arrived} on the platform"]
    if stuck:
        parts.append(f"{stuck} need attention")
    return ", ".join(parts)
