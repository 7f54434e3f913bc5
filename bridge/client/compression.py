"""Compression of what we send: what was asked for, and what the server is known to take."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What compression is in use; empty for none.

    Attributes:
        body: Of Arrow bodies that we put: `lz4` or `zstd`; None while the server has to be tried,
            which the first put does.
        grpc: Of gRPC messages: `gzip` or `deflate`.
    """

    body: str | None
    grpc: str


@dataclass(slots=True, kw_only=True, eq=False)
class BodyCompression:
    """Settles, once for a connection, how the bodies of puts are compressed.

    Attributes:
        wanted: What was asked for.
        trial: Finds out whether the server takes a codec; None where that is known.
        in_use: What was settled; None before that. Guarded by `_lock`.
    """

    wanted: str
    trial: Callable[[str], bool] | None = None
    in_use: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settled(self) -> str:
        """Give what to compress by, after a trial if one is needed.

        Raises:
            ServerError: The server could not be asked.
        """
        with self._lock:
            if self.in_use is None:
                taken = not self.wanted or self.trial is None or self.trial(self.wanted)
                if not taken:
                    _log.warning(
                        "the server does not take data compressed by %s: sending it as it is",
                        self.wanted,
                    )
                self.in_use = self.wanted if taken else ""
            return self.in_use

    def known(self) -> str | None:
        """Give what is in use as far as it is known without a call."""
        return self.wanted if self.trial is None or not self.wanted else self.in_use
