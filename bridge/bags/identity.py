"""Identity of a recording and of its parts by content: not by path, inode or time.

Sizes, first and last 64 KiB of each storage file distinguish files without reading them; the hash
of everything is taken while reading. `metadata.yaml` does not count: the recorder writes it late,
and tools rewrite it.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.bags.compression import expanded_bytes_max, pieces_of
from bridge.bags.container import ReadLimits
from bridge.bags.frames import HEADER_BYTES_MAX, content_size
from bridge.bags.source import FileSource
from bridge.bags.zstd_source import plain_stream
from bridge.errors import BridgeError, RecordingError, UsageError
from bridge.facade import later
from bridge.model import Part, Recording

pa = later("pyarrow")

EDGE_BYTES = 64 << 10
"""How much of each end of a file counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a recording is, whatever it is called.

    Attributes:
        fingerprint: Identity of all its files together, in their order; 64 hexadecimal digits. That
            of a recording of one file is the identity of its part.
        parts: Its files, in their order.
        plain: What compressed parts are when they are decompressed, as far as that was computed:
            identity of what they hold, by their own.
    """

    fingerprint: str
    parts: tuple[Part, ...]
    plain: Mapping[str, str] = field(default_factory=dict)

    def forms(self, part: str) -> tuple[str, ...]:
        """Give the identities under which a part is known: as it is, and decompressed."""
        return (part, self.plain[part]) if part in self.plain else (part,)

    def names(self) -> list[tuple[str, str]]:
        """Give every identity of every part, with its file name."""
        return [(form, part.name) for part in self.parts for form in self.forms(part.identity)]


def content_of(recording: Recording) -> Content:
    """Compute the identity of a recording and of each of its parts.

    Cost: 128 KiB read and hashed for each file.

    Raises:
        RecordingVanishedError: A file disappeared.
        NotARecordingError: A file is no regular file any more.
    """
    return content_of_edges((file.path.name, *_edges(file.path)) for file in recording.files)


def content_of_edges(files: Iterable[tuple[str, int, bytes, bytes]]) -> Content:
    """Compute an identity from what counts of each file, wherever the files are.

    Args:
        files: In their order: name, size in bytes, and the first and last `EDGE_BYTES` of it.
    """
    whole = hashlib.sha256()
    parts = []
    for name, size_bytes, head, tail in files:
        marks = _as_marks(size_bytes, head, tail)
        whole.update(marks)
        identity = hashlib.sha256(marks).hexdigest()
        parts.append(Part(identity=identity, name=name, size_bytes=size_bytes))
    return Content(fingerprint=whole.hexdigest(), parts=tuple(parts))


def fingerprint(recording: Recording) -> str:
    """Compute the identity of a recording alone; see `content_of`."""
    return content_of(recording).fingerprint


def with_plain(content: Content, recording: Recording, *, limits: ReadLimits) -> Content:
    """Add what the compressed files of a recording are when they are decompressed.

    A recorder, or somebody who makes room, compresses what was sent; the messages are the same.
    Files that cannot be decompressed to their end are left out.

    Cost: each compressed file decompressed once as a stream; nothing for the others.

    Raises:
        RecordingVanishedError: A file disappeared.
        RecordingChangedError: A file became shorter.
    """
    plain = {}
    for file, part in zip(recording.files, content.parts, strict=True):
        if file.compression:
            marks = _plain_marks(file.path, limits)
            if marks:
                plain[part.identity] = hashlib.sha256(marks).hexdigest()
    return replace(content, plain=plain)


def _plain_marks(path: Path, limits: ReadLimits) -> bytes:
    """Give what the identity of a compressed file's content is made of; empty where it breaks."""
    source = FileSource(path)
    bytes_max = expanded_bytes_max(source.size_bytes, limits)
    size = 0
    head, tail = bytearray(), b""
    try:
        with plain_stream(source, source.size_bytes) as stream:
            for piece in pieces_of(stream, PIECE_BYTES):
                size += len(piece)
                if size > bytes_max:
                    return b""
                head += piece[: EDGE_BYTES - len(head)]
                tail = (tail + piece[-EDGE_BYTES:])[-EDGE_BYTES:]
    except (OSError, pa.ArrowException):
        return b""
    finally:
        source.close()
    return _as_marks(size, bytes(head), tail)


def may_hold(packed: Path, plain: Path, *, plain_bytes: int | None) -> bool:
    """Say whether a compressed file can be what a plain one becomes: by its size and its start.

    What cannot be compared, because the file is cut or gone, is not held against it.

    Args:
        packed: The compressed file.
        plain: The plain one.
        plain_bytes: Its size; None where it may be cut.
    """
    try:
        with closing(FileSource(packed)) as source, closing(FileSource(plain)) as other:
            claimed = content_size(source.read_at(0, HEADER_BYTES_MAX))
            if None not in {claimed, plain_bytes} and claimed != plain_bytes:
                return False
            with plain_stream(source, source.size_bytes) as stream:
                start = next(pieces_of(stream, EDGE_BYTES), b"")
            length = min(len(start), other.size_bytes)
            return start[:length] == other.read_at(0, length)
    except (OSError, pa.ArrowException, RecordingError):
        return True


def _as_marks(size: int, head: bytes, tail: bytes) -> bytes:
    hashes = b"".join(hashlib.sha256(edge).digest() for edge in (head, tail))
    return size.to_bytes(8, "little") + hashes


def _edges(path: Path) -> tuple[int, bytes, bytes]:
    """Give the size of a file, and its head and tail."""
    source = FileSource(path)
    try:
        size = source.size_bytes
        head = source.read_at(0, EDGE_BYTES)
        return size, head, source.read_at(max(0, size - EDGE_BYTES), EDGE_BYTES)
    finally:
        source.close()


PIECE_BYTES = 1 << 20
"""How much is hashed at once; hashlib gives up the interpreter lock for that long."""


class FileHashes:
    """The SHA-256 of files, one after the other, in a thread beside the reading.

    The thread reads the files by itself: the same bytes were just read for messages or are about to
    be, so they come from the page cache and the disk reads them once. Hashing is not free: about
    half a second of one core per GB where the processor helps, several where it does not.
    """

    def __init__(self, sources: Mapping[Path, FileSource]) -> None:
        """Start hashing in the background.

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
