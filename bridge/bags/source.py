"""Bytes of a storage file by position, from a descriptor that stays open and is watched for change.

Reading by position (`pread`) and never through a memory map: a file that is cut while it is mapped
kills the process with SIGBUS, a file that is cut while it is read gives a short read. The
descriptor stays open as long as the reader, so a split that the recorder deletes meanwhile is
still read to its end.
"""

import errno
import os
from pathlib import Path
from typing import Protocol

from bridge.errors import DamagedRecordingError, RecordingChangedError
from bridge.files import open_regular, require_readable, version_of

DESCRIPTORS_PER_FILE = 4
"""The file itself, and what SQLite or a working copy add to it."""


class Source(Protocol):
    """Something with a size whose bytes can be read by position.

    Attributes:
        path: The file behind it, for reports.
        size_bytes: How many bytes there are; fixed when the source is opened.
        torn: Why bytes are missing at the end although the file itself is not cut (a compressed
            file whose stream breaks off); empty for healthy sources.
        seekable: Whether any position costs as much to read as any other.
    """

    path: Path
    size_bytes: int
    torn: str
    seekable: bool

    def read_at(self, offset: int, size: int) -> bytes:
        """Read bytes; fewer than `size` only where the source ends.

        Raises:
            RecordingChangedError: The file is shorter than when it was opened.
            DamagedRecordingError: The storage gives no bytes.
        """

    def check_unchanged(self) -> None:
        """Look whether the file is still the one that was opened.

        Raises:
            RecordingChangedError: Its size or modification time is another.
        """

    def close(self) -> None:
        """Release the file; idempotent."""


class FileSource:
    """A plain file; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            RecordingVanishedError: There is nothing at the path any more.
            NotARecordingError: The path is not a regular file.
            RecordingError: The file may not be read.
        """
        self.path = path
        self.torn = ""
        self.seekable = True
        self._descriptor = open_regular(path)
        self._version = version_of(self._descriptor)
        self.size_bytes, _ = self._version

    def read_at(self, offset: int, size: int) -> bytes:
        """Read bytes; see `Source.read_at`. One copy from the page cache."""
        size = min(size, self.size_bytes - offset)
        if size <= 0:
            return b""
        data = self._pread(size, offset)
        if len(data) == size:
            return data
        pieces = [data]
        missing = size - len(data)
        while missing:
            # The kernel reads at most 2 GiB at once, and less when interrupted.
            piece = self._pread(missing, offset + size - missing)
            if not piece:
                raise RecordingChangedError(
                    "the file became shorter while it was read",
                    path=self.path,
                    offset_bytes=offset + size - missing,
                )
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def check_unchanged(self) -> None:
        """Compare size and modification time with those at opening; see `Source`."""
        version = version_of(self._descriptor)
        if version != self._version:
            raise RecordingChangedError(
                f"the file changed while it was read: {self.size_bytes} bytes became "
                f"{version[0]}, or its modification time moved",
                path=self.path,
                hint="it is read again once nobody writes to it any more",
            )

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            require_readable(error, path=self.path, offset_bytes=offset)
            raise DamagedRecordingError(
                f"the storage cannot be read: {error.strerror}",
                path=self.path,
                offset_bytes=offset,
                hint="the disk or its mount is in trouble; see the kernel's log",
            ) from error


class BytesSource:
    """Bytes in memory as a `Source`, so that a decompressed chunk can be searched like a file."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.torn = ""
        self.seekable = True
        self.size_bytes = len(data)
        self._data = data

    def read_at(self, offset: int, size: int) -> bytes:
        """Copy bytes; see `Source.read_at`."""
        return bytes(self._data[offset : offset + size])

    def check_unchanged(self) -> None:
        """Memory of ours does not change."""

    def close(self) -> None:
        """There is nothing to release."""


def is_lack_of_descriptors(error: BaseException) -> bool:
    """Tell whether a file could not be opened because too many others are."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.EMFILE, errno.ENFILE}
