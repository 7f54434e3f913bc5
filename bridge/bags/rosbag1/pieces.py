"""The chunks of a ROS 1 bag one after another, decompressed, with what is lost of them.

Messages outside chunks, which only damage leaves there, are handed over as if they were chunks.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.rosbag1.chunk import Chunk, read_chunk
from bridge.bags.rosbag1.decompress import decompress
from bridge.bags.rosbag1.records import ENTRY_BYTES, Op, Record
from bridge.bags.rosbag1.walk import Gap, walk
from bridge.bags.source import Source
from bridge.model import Loss

STRAY_BYTES = 1 << 20
"""Bytes of records outside chunks that are handed over together."""


class ChunkReader:
    """Reads the chunks between two positions of a bag; can do so again and again."""

    def __init__(self, source: Source, *, start: int, stop: int, limits: ReadLimits) -> None:
        self._source = source
        self._start = start
        self._stop = stop
        self._limits = limits

    def chunks(self, losses: list[Loss]) -> Iterator[Chunk]:
        """Yield the chunks in file order; holds one of them at a time.

        Args:
            losses: Where lost parts of the file are noted.
        """
        strays: list[Record] = []
        for piece, entries in self._indexed():
            stray = isinstance(piece, Record) and piece.op in {Op.MESSAGE, Op.CONNECTION}
            if isinstance(piece, Record) and stray:
                strays.append(piece)
            if strays and (not stray or piece.end - strays[0].start >= STRAY_BYTES):
                yield from self._strays(strays, losses)
                strays = []
            if isinstance(piece, Gap):
                self._lose(losses, piece.start, piece.end, piece.reason)
            elif piece.op is Op.CHUNK:
                yield from self._chunk(piece, entries, losses)
        if strays:
            yield from self._strays(strays, losses)

    def _indexed(self) -> Iterator[tuple[Record | Gap, list[NDArray[np.int64]]]]:
        """Yield what the walk finds, each with the offsets of the index records behind it."""
        held: Record | Gap | None = None
        entries: list[NDArray[np.int64]] = []
        chunk_bytes_max = self._limits.chunk_bytes_max
        for piece in walk(self._source, self._start, self._stop, chunk_bytes_max=chunk_bytes_max):
            if isinstance(piece, Record) and piece.op is Op.INDEX:
                entries.append(self._offsets(piece))
                continue
            if held is not None:
                yield held, entries
            held, entries = piece, []
        if held is not None:
            yield held, entries

    def _offsets(self, record: Record) -> NDArray[np.int64]:
        """Read the offsets of an index record; its walk has checked that its length fits."""
        if record.end - record.data_start > self._limits.chunk_bytes_max:
            return np.zeros(0, dtype=np.int64)
        data = self._source.read_at(record.data_start, record.end - record.data_start)
        rows = np.frombuffer(data, dtype="<u4").reshape(-1, ENTRY_BYTES // 4)
        return rows[:, 2].astype(np.int64)

    def _chunk(
        self, record: Record, entries: list[NDArray[np.int64]], losses: list[Loss]
    ) -> Iterator[Chunk]:
        """Decompress a chunk and find its records."""
        size_bytes = record.number("size")
        compression = record.text("compression")
        stored_bytes = record.end - record.data_start
        if max(size_bytes, stored_bytes) > self._limits.chunk_bytes_max:
            reason = (
                f"a chunk of {max(size_bytes, stored_bytes)} bytes is over reading.chunk_bytes_max"
            )
            self._lose(losses, record.start, record.end, reason)
            return
        stored = self._source.read_at(record.data_start, stored_bytes)
        data, reason = decompress(stored, compression=compression, size_bytes=size_bytes)
        proposed = np.concatenate([np.zeros(0, dtype=np.int64), *entries])
        chunk = read_chunk(data, proposed, path=self._source.path)
        if compression == "none":
            for gap in chunk.gaps:
                shift = record.data_start
                self._lose(losses, shift + gap.start, shift + gap.end, gap.reason)
            if reason and not chunk.gaps:
                self._lose(losses, record.end, record.end, reason)
        elif reason:
            self._lose(losses, record.data_start, record.end, f"{reason}; {len(data)} bytes kept")
        elif chunk.gaps:
            lost = sum(gap.end - gap.start for gap in chunk.gaps)
            reason = f"{lost} of {len(data)} decompressed bytes belong to no valid record"
            self._lose(losses, record.data_start, record.end, reason)
        yield chunk

    def _strays(self, records: list[Record], losses: list[Loss]) -> Iterator[Chunk]:
        """Hand over records outside chunks as one chunk."""
        start, end = records[0].start, records[-1].end
        if end - start > self._limits.chunk_bytes_max:
            self._lose(
                losses, start, end, "a record outside chunks is over reading.chunk_bytes_max"
            )
            return
        data = self._source.read_at(start, end - start)
        offsets = [record.start - start for record in records if record.op is Op.MESSAGE]
        yield read_chunk(data, np.array(offsets, dtype=np.int64), path=self._source.path)

    def _lose(self, losses: list[Loss], start: int, end: int, reason: str) -> None:
        losses.append(
            Loss(
                path=self._source.path,
                start_bytes=start,
                end_bytes=end,
                reason=reason,
                verifiable=False,
            )
        )
