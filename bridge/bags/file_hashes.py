"""The SHA-256 of every file of a recording, taken in the background while it is read.

The thread reads the files by itself: what it reads has just been, or is about to be, read for
messages, so the bytes come from the page cache and the disk sees them once. The hashing itself is
not free: about half a second of one core per GB where the processor helps, several where not.
"""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path

from bridge.bags.source import FileSource
from bridge.errors import BridgeError, UsageError

PIECE_BYTES = 1 << 20
"""How much is hashed at once; hashlib gives up the interpreter lock for that long."""


class FileHashes:
    """Hashes files one after the other, as `sha256sum` does."""

    def __init__(self, sources: Mapping[Path, FileSource]) -> None:
        """Begin hashing in the background.

        Args:
            sources: The storage files, open; they stay the caller's.
        """
        self._sources = sources
        self._stopped = threading.Event()
        # Written by the thread, read after joining it.
        self._digests: dict[Path, str] = {}
        self._error: BridgeError | None = None
        self._thread = threading.Thread(target=self._run, name="file-hashes", daemon=True)
        self._thread.start()

    def result(self) -> Mapping[Path, str]:
        """Wait for the hashes, as 64 hexadecimal digits each.

        Raises:
            RecordingChangedError: A file changed while it was hashed.
            DamagedRecordingError: The storage gives no bytes.
            UsageError: It was stopped before.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        if len(self._digests) < len(self._sources):
            raise UsageError("the recording was closed before its files were hashed")
        return self._digests

    def stop(self) -> None:
        """Give up and wait for the thread; idempotent."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for path, source in self._sources.items():
                digest = hashlib.sha256()
                for offset in range(0, source.size_bytes, PIECE_BYTES):
                    if self._stopped.is_set():
                        return
                    digest.update(source.read_at(offset, PIECE_BYTES))
                source.check_unchanged()
                self._digests[path] = digest.hexdigest()
        except BridgeError as error:
            self._error = error
