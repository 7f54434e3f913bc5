"""The hash of a recording's whole content, taken in the background while it is read.

The thread reads the files by itself: what it reads has just been, or is about to be, read for
messages, so the bytes come from the page cache and the disk sees them once.
"""

import hashlib
import threading
from collections.abc import Sequence

from bridge.bags.source import FileSource
from bridge.errors import BridgeError, UsageError

PIECE_BYTES = 1 << 20
"""How much is hashed at once; hashlib gives up the interpreter lock for that long."""


class ContentHash:
    """SHA-256 over all files in order, each preceded by its size as 8 bytes, little endian."""

    def __init__(self, sources: Sequence[FileSource]) -> None:
        """Prepare; nothing is read before `start` or `result`.

        Args:
            sources: The storage files in order, open; they stay the caller's.
        """
        self._sources = sources
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        # Written by the thread, read after joining it.
        self._digest = ""
        self._error: BridgeError | None = None

    def start(self) -> None:
        """Begin hashing in the background; does nothing the second time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="content-hash", daemon=True)
            self._thread.start()

    def result(self) -> str:
        """Wait for the hash, as 64 hexadecimal digits.

        Raises:
            RecordingChangedError: A file changed while it was hashed.
            DamagedRecordingError: The storage gives no bytes.
            UsageError: It was stopped before.
        """
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        if not self._digest:
            raise UsageError("the recording was closed before its hash was complete")
        return self._digest

    def stop(self) -> None:
        """Give up and wait for the thread; idempotent."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        identity = hashlib.sha256()
        try:
            for source in self._sources:
                identity.update(source.size_bytes.to_bytes(8, "little"))
                for offset in range(0, source.size_bytes, PIECE_BYTES):
                    if self._stopped.is_set():
                        return
                    identity.update(source.read_at(offset, PIECE_BYTES))
                source.check_unchanged()
        except BridgeError as error:
            self._error = error
            return
        self._digest = identity.hexdigest()
