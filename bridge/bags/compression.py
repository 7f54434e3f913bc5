"""Compression around a container and inside its payloads; that of chunks is the container's own.

Rosbag2 can compress a file when it is closed (mode FILE: `bag_0.db3.zstd`) or every payload by
itself (mode MESSAGE: `metadata.yaml` and the first bytes show it, the name does not).

Layout of a zstd frame: RFC 8878, section 3.1.1.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bridge.bags.container import (
    BLOCK_BYTES,
    TOO_LONG,
    ChannelBlock,
    MixedChannels,
    ReadLimits,
)
from bridge.bags.formats import ZSTD_MAGIC
from bridge.bags.frames import (
    HEADER_BYTES_MAX,
    content_size,
    has_spare_bytes,
    is_frame,
)
from bridge.bags.scratch import check_free, scratch_folder
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingChangedError,
    RecordingLimitError,
    ScratchSpaceError,
)
from bridge.facade import later
from bridge.files import open_regular, version_of
from bridge.model import ENCAPSULATION_BYTES, RecordingFile

np = later("numpy")
pa = later("pyarrow")


def pieces_of(stream: Any, size_bytes: int) -> Iterator[bytes]:
    """Yield what a stream holds in pieces of one size; only the last may be shorter.

    A stream's own `read` never frees the bytes it was to fill when it raises (pyarrow 26), which
    costs so much for each damaged message. Reading into a buffer of ours costs a copy instead.

    Raises:
        OSError: The stream breaks off or is damaged; nothing of that piece can be had.
        pyarrow.ArrowException: Likewise.
    """
    buffer = bytearray(size_bytes)
    view = memoryview(buffer)
    while got := stream.readinto(buffer):
        yield bytes(view[:got])


EXPANSION_MAX = 1000
"""A file that expands by more is a bomb, unless a single chunk could be as large."""

NOT_COMPRESSED = "payload is not compressed although the recording says so"
PLAIN = "payloads that are not compressed, among or instead of compressed ones"
TORN_PAYLOAD = "compressed payload is damaged"

CDR_KIND_MAX = 0x0D
"""The greatest number of an encapsulation in its second byte; the first is 0."""

_READ_BYTES = 1 << 18
_CHECK_BYTES = 64 << 20


def expanded_bytes_max(size_bytes: int, limits: ReadLimits) -> int:
    """Give how much a compressed file of a size may expand to."""
    return max(limits.chunk_bytes_max, EXPANSION_MAX * size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandedFile:
    """The decompressed copy of a compressed file.

    Attributes:
        file: The copy, in a scratch folder; its path means nothing to a user.
        torn: Why the copy lacks its end; empty where it is whole.
        spare: Whether something follows the compressed content that does not belong to it.
    """

    file: RecordingFile
    torn: str = ""
    spare: bool = False


@contextmanager
def expand_file(
    file: RecordingFile, *, limits: ReadLimits, scratch_dir: Path | None = None
) -> Iterator[ExpandedFile]:
    """Decompress a whole file into a scratch folder, which is removed afterwards.

    A file whose compressed stream breaks off gives what comes before the break.

    Args:
        file: The file; its `compression` is `zstd`.
        limits: See `expanded_bytes_max`.
        scratch_dir: Where to make the scratch folder; None for the system's temporary one.

    Raises:
        NotARecordingError: Not a zstd file.
        DamagedRecordingError: An empty file, or one that is broken from its first block on.
        RecordingLimitError: It would become too big.
        RecordingVanishedError: The file disappeared.
        RecordingChangedError: The file was written to meanwhile.
        ScratchSpaceError: The copy does not fit.
    """
    descriptor = open_regular(file.path)
    try:
        before = version_of(descriptor)
        file_bytes, _ = before
        claimed_bytes = _claimed(os.pread(descriptor, HEADER_BYTES_MAX, 0), file)
        bytes_max = expanded_bytes_max(file_bytes, limits)
        if claimed_bytes > bytes_max:
            raise RecordingLimitError(
                f"{file_bytes} compressed bytes claim to become {claimed_bytes}",
                path=file.path,
                hint="if it is trusted, raise reading.chunk_bytes_max to its full size",
            )
        with scratch_folder(scratch_dir, needed_bytes=max(claimed_bytes, file_bytes)) as folder:
            copy = folder / f"expanded.{file.container}"
            torn = _expand(descriptor, copy, bytes_max=bytes_max, path=file.path)
            spare = bool(torn) and has_spare_bytes(
                lambda at, size: os.pread(descriptor, size, at), file_bytes
            )
            torn = "" if spare else torn
            if version_of(descriptor) != before:
                raise RecordingChangedError(
                    "the file was written to while it was expanded", path=file.path
                )
            size_bytes = copy.stat().st_size
            if not size_bytes:
                raise DamagedRecordingError(
                    f"nothing can be decompressed: {torn or 'no content'}", path=file.path
                )
            expanded = RecordingFile(path=copy, size_bytes=size_bytes, container=file.container)
            yield ExpandedFile(file=expanded, torn=torn, spare=spare)
    finally:
        os.close(descriptor)


def _claimed(head: bytes, file: RecordingFile) -> int:
    """Check that the file is a zstd file, and read how big it claims to become; 0 if unsaid."""
    if not head:
        raise DamagedRecordingError("the file is empty", path=file.path)
    if not is_frame(head):
        raise NotARecordingError("not a zstd file", path=file.path)
    return content_size(head) or 0


def _expand(descriptor: int, copy: Path, *, bytes_max: int, path: Path) -> str:
    """Decompress into a file; return why the stream broke off, or empty text."""
    written = 0
    checked = 0
    try:
        with copy.open("xb") as target:
            for data in _decompressed(descriptor):
                if isinstance(data, str):
                    return data
                written += target.write(data)
                if written > bytes_max:
                    raise RecordingLimitError(
                        f"the file expands to more than {bytes_max} bytes",
                        path=path,
                        hint="if it is trusted, raise reading.chunk_bytes_max to its full size",
                    )
                if written - checked > _CHECK_BYTES:
                    checked = written
                    check_free(copy.parent, needed_bytes=_CHECK_BYTES)
    except OSError as error:
        raise ScratchSpaceError(
            f"the expanded copy cannot be written: {error.strerror}",
            folder=copy.parent.parent,
            needed_bytes=written,
        ) from error
    return ""


def _decompressed(descriptor: int) -> Iterator[bytes | str]:
    """Yield the content of a compressed file and, where the stream breaks off, the reason.

    The codec hands over nothing of a read that it cannot fill. So after a break the stream is read
    again up to where the last whole read ended, and from there byte by byte.
    """
    done = 0
    with _stream(descriptor) as stream:
        try:
            for data in pieces_of(stream, _READ_BYTES):
                yield data
                done += len(data)
        except OSError as error:
            reason = str(error)
        else:
            return
    tail = bytearray()
    with _stream(descriptor) as stream:
        try:
            for _ in islice(pieces_of(stream, _READ_BYTES), done // _READ_BYTES):
                pass
            for data in pieces_of(stream, 1):
                tail += data
        except OSError:
            yield bytes(tail)
    yield reason


@contextmanager
def _stream(descriptor: int) -> Iterator[Any]:
    """Open a file's descriptor from its start as a stream of decompressed bytes."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        try:
            yield stream
        finally:
            stream.close()


def has_compressed(block: ChannelBlock | MixedChannels) -> bool:
    """Tell whether some payload begins as a zstd frame does, and as none of CDR does."""
    # Single bytes are read much faster than four at any alignment, and CDR begins with a zero.
    held = block.ends - block.starts >= len(ZSTD_MAGIC)
    starts = block.starts[held]
    likely = starts[block.data[starts] == ZSTD_MAGIC[0]]
    if not len(likely):
        return False
    heads = block.data[likely[:, np.newaxis] + np.arange(len(ZSTD_MAGIC))]
    return bool((heads == np.frombuffer(ZSTD_MAGIC, dtype=np.uint8)).all(axis=1).any())


def decompress_messages(
    block: ChannelBlock, limits: ReadLimits, *, dropped: Counter[str], contradictions: Counter[str]
) -> Iterator[ChannelBlock]:
    """Decompress the payloads of a block that was recorded in compression mode MESSAGE.

    A payload that begins as CDR does is no frame, and is kept as it is.

    The codec has to be called once per message. Costs one copy of the payloads beside that.

    Args:
        block: Messages whose payloads are one zstd frame each, or should be.
        limits: The longest payload allowed, which is checked before anything is allocated.
        dropped: Counts payloads that cannot be decompressed, by reason.
        contradictions: Counts those that were not compressed.

    Yields:
        Blocks of about 8 MiB, in the order of the messages; none where nothing is left.
    """
    rows: list[int] = []
    payloads: list[bytes] = []
    size_bytes = 0
    data = block.data.data
    bounds = zip(block.starts.tolist(), block.ends.tolist(), strict=True)
    for row, (start, end) in enumerate(bounds):
        payload = _payload(
            data[start:end], bytes_max=limits.message_bytes_max, contradictions=contradictions
        )
        if isinstance(payload, str):
            dropped[payload] += 1
            continue
        rows.append(row)
        payloads.append(payload)
        size_bytes += len(payload)
        if size_bytes >= BLOCK_BYTES:
            yield _block(block, rows, payloads)
            rows, payloads, size_bytes = [], [], 0
    if rows:
        yield _block(block, rows, payloads)


def _payload(frame: memoryview, *, bytes_max: int, contradictions: Counter[str]) -> bytes | str:
    """Decompress one payload, or say why that cannot be done."""
    head = frame[:HEADER_BYTES_MAX].tobytes()
    if not is_frame(head):
        if not _begins_as_cdr(head):
            return NOT_COMPRESSED
        contradictions[PLAIN] += 1
        return frame.tobytes()
    claimed_bytes = content_size(head)
    if claimed_bytes is not None and claimed_bytes > bytes_max:
        return TOO_LONG
    try:
        if claimed_bytes is None:
            return _unsized(frame, bytes_max=bytes_max)
        payload: bytes = pa.decompress(
            pa.py_buffer(frame), decompressed_size=claimed_bytes, codec="zstd", asbytes=True
        )
    except OSError:
        return TORN_PAYLOAD
    return payload


def _begins_as_cdr(head: bytes) -> bool:
    return len(head) >= ENCAPSULATION_BYTES and head[0] == 0 and head[1] <= CDR_KIND_MAX


def _unsized(frame: memoryview, *, bytes_max: int) -> bytes | str:
    """Decompress a frame that does not say how much it holds, up to the limit."""
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(frame)), "zstd") as stream:
        payload = bytearray()
        for piece in pieces_of(stream, min(_READ_BYTES, bytes_max + 1)):
            payload += piece
            if len(payload) > bytes_max:
                return TOO_LONG
    return bytes(payload)


def _block(block: ChannelBlock, rows: list[int], payloads: list[bytes]) -> ChannelBlock:
    """Put decompressed payloads together with what belongs to their messages."""
    lengths = np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads))
    ends = np.cumsum(lengths)
    return ChannelBlock(
        channel=block.channel,
        log_times_ns=block.log_times_ns[np.array(rows, dtype=np.int64)],
        data=np.frombuffer(b"".join(payloads), dtype=np.uint8),
        starts=ends - lengths,
        ends=ends,
    )
