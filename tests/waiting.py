"""Waiting for what is waited for, never for a time; and ports that nobody else can get."""

import socket
import time
import weakref
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0


def wait_for(condition: Callable[[], Any], *, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something is true and give it back."""
    give_up_at = time.monotonic() + patience_s
    while time.monotonic() < give_up_at:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


class HeldPort:
    """A port of this machine that is bound, so that nobody is given it, and does not listen.

    A connection to it is refused. Servers that allow reuse of addresses, as all of ours, gRPC's and
    Prometheus do, can listen there, again and again. It is held as long as this object lives.
    """

    def __init__(self) -> None:
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number: int = self._held.getsockname()[1]
        weakref.finalize(self, self._held.close)
