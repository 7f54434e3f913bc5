"""The content of a zstd-compressed file by position, decompressed as a stream, never to disk.

Reading goes forward nearly always. A stretch behind the reading position is kept, so that looking
back a little costs nothing; looking back further starts the stream again. The end is kept from the
first pass, which finds out how long the content is.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from bridge.bags.compression import expanded_bytes_max, pieces_of
from bridge.bags.container import ReadLimits
from bridge.bags.frames import frames_end, has_spare_bytes
from bridge.bags.source import FileSource
from bridge.errors import RecordingLimitError
from bridge.facade import later

pa = later("pyarrow")

BLOCK_BYTES = 1 << 20
"""The content is kept in blocks of this size."""

BLOCKS_KEPT = 16
"""How many blocks behind the reading position are kept."""

BLOCKS_KEPT_OF_END = 4
"""How many of the last blocks are kept permanently: the summary is there."""

FINE_BYTES = 256
"""How much is read at once where the stream breaks off, to get at all that is before the break."""


class ZstdSource:
    """A `Source` of what a compressed file holds.

    Attributes:
        spare: Whether something follows the compressed content that does not belong to it.
    """

    def __init__(self, file: FileSource, *, limits: ReadLimits) -> None:
        """Decompress once to find the end; the file stays the caller's.

        Raises:
            RecordingLimitError: It expands beyond all measure.
        """
        self.path = file.path
        self.torn = ""
        self.spare = False
        self.seekable = False
        self.size_bytes = 0
        self._file = file
        self._compressed_bytes = file.size_bytes
        self._kept: dict[int, bytes] = {}
        self._end: dict[int, bytes] = {}
        self._next = 0
        self._stream: Iterator[bytes] = iter(())
        # Several threads read chunks, nearly in order.
        self._one_reader = threading.Lock()
        self._measure(expanded_bytes_max(file.size_bytes, limits))

    def read_at(self, offset: int, size: int) -> bytes:
        """Read bytes; see `Source.read_at`. Copies twice; decompresses what lies in between."""
        size = min(size, self.size_bytes - offset)
        if size <= 0:
            return b""
        first = offset // BLOCK_BYTES
        last = (offset + size - 1) // BLOCK_BYTES
        with self._one_reader:
            joined = b"".join(self._block(index) for index in range(first, last + 1))
        start = offset - first * BLOCK_BYTES
        return joined[start : start + size]

    def check_unchanged(self) -> None:
        """Look whether the file is still the one that was opened; see `Source`."""
        self._file.check_unchanged()

    def close(self) -> None:
        """Let go of what is kept; the file is closed by its owner."""
        self._kept.clear()
        self._end.clear()
        self._stream = iter(())

    def _measure(self, bytes_max: int) -> None:
        for index, block in enumerate(self._blocks()):
            self._end[index] = block
            self._end.pop(index - BLOCKS_KEPT_OF_END, None)
            self.size_bytes += len(block)
            if self.size_bytes > bytes_max:
                raise RecordingLimitError(
                    f"{self._file.size_bytes} compressed bytes become more than {bytes_max}",
                    path=self.path,
                    hint="if it is trusted, raise reading.chunk_bytes_max to its full size",
                )

    def _block(self, index: int) -> bytes:
        found = self._kept.get(index) or self._end.get(index)
        if found is not None:
            return found
        if index < self._next or not self._next:
            self._stream = self._blocks()
            self._next = 0
            self._kept.clear()
        while self._next <= index:
            self._kept[self._next] = next(self._stream)
            self._kept.pop(self._next - BLOCKS_KEPT, None)
            self._next += 1
        return self._kept[index]

    def _blocks(self) -> Iterator[bytes]:
        """Decompress from the start, in blocks of one size but for the last.

        A stream that breaks off is started again and read in small pieces where it broke, since an
        error takes with it what was asked for at once.
        """
        done = 0
        with plain_stream(self._file, self._compressed_bytes) as stream:
            try:
                for block in pieces_of(stream, BLOCK_BYTES):
                    yield block
                    done += len(block)
            except (OSError, pa.ArrowException) as error:
                reason = f"the compressed file breaks off: {error}"
            else:
                return
        self.spare = has_spare_bytes(self._file.read_at, self._file.size_bytes)
        self.torn = "" if self.spare else reason
        if self.spare:
            # Without what does not belong to it, the stream does not break off.
            self._compressed_bytes = frames_end(self._file.read_at, self._file.size_bytes)
        tail = bytearray()
        with plain_stream(self._file, self._compressed_bytes) as stream:
            for _ in islice(pieces_of(stream, BLOCK_BYTES), done // BLOCK_BYTES):
                pass
            with suppress(OSError, pa.ArrowException):
                for piece in pieces_of(stream, FINE_BYTES):
                    tail += piece
        if tail:
            yield bytes(tail)


class _Forward:
    """The start of a file as a plain readable stream, for Arrow's decompressor."""

    def __init__(self, file: FileSource, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._position = 0
        self.closed = False

    def read(self, size: int) -> bytes:
        data = self._file.read_at(self._position, min(size, self._size_bytes - self._position))
        self._position += len(data)
        return data

    def close(self) -> None:
        self.closed = True


def plain_stream(file: FileSource, size_bytes: int) -> Any:
    """Open what the first bytes of a file hold as a stream; a context manager."""
    return pa.CompressedInputStream(pa.PythonFile(_Forward(file, size_bytes), mode="r"), "zstd")
