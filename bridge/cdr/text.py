"""Strings: where they lie, and their bytes as Arrow text; what is not UTF-8 becomes U+FFFD."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor, Lone, Move
from bridge.cdr.repeated import LocatedRepeated, is_repeated, may_repeat
from bridge.cdr.source import ARROW_OFFSET_MAX, Positions, Source
from bridge.cdr.steps import Repairs, offsets_of
from bridge.errors import DecodeError

INVALID_UTF8 = "invalid_utf8"

_REPLACEMENT = "\ufffd".encode()
_NOT_ASCII = 0x80

# UTF-8 by its first byte (RFC 3629, section 4): how many bytes follow, and what the second may be.
# Overlong forms, surrogates and code points beyond U+10FFFF all show in the second byte.
_FOLLOWERS_MAX = 3
_FOLLOWERS = np.zeros(256, dtype=np.int8)
_FOLLOWERS[0xC2:0xE0], _FOLLOWERS[0xE0:0xF0], _FOLLOWERS[0xF0:0xF5] = 1, 2, 3
_IS_CONTINUATION = np.zeros(256, dtype=bool)
_IS_CONTINUATION[0x80:0xC0] = True
_SECOND_MIN = np.full(256, 0x80, dtype=np.uint8)
_SECOND_MIN[0xE0], _SECOND_MIN[0xF0] = 0xA0, 0x90
_SECOND_MAX = np.full(256, 0xBF, dtype=np.uint8)
_SECOND_MAX[0xED], _SECOND_MAX[0xF4] = 0x9F, 0x8F


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStep:
    """A `string`: a length, then that many bytes of UTF-8, in CDR with a NUL behind them.

    Attributes:
        move: The padding before the length.
        terminated: Whether the length includes a NUL. A length of 0 and a missing NUL are
            tolerated as Fast-CDR does when it reads.
    """

    move: Move
    terminated: bool

    def advance(self, cursor: Cursor) -> None:
        """Step behind the string."""
        self.move.apply(cursor.at)
        lengths = cursor.take_lengths()
        cursor.at += lengths

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the string."""
        lone.at = self.move.applied(lone.at)
        length = lone.take_length()
        lone.at += length

    def locate(self, cursor: Cursor) -> "LocatedText | LocatedRepeated":
        """Step behind the string and remember where its bytes lay."""
        self.move.apply(cursor.at)
        if may_repeat(cursor):
            row = cursor.row(0)
            first = self._locate_each(row)
            size_bytes = int(row.at[0] - cursor.at[0])
            if is_repeated(cursor, size_bytes):
                cursor.at += size_bytes
                return LocatedRepeated(first=first, rows=len(cursor))
        return self._locate_each(cursor)

    def _locate_each(self, cursor: Cursor) -> "LocatedText":
        lengths = cursor.take_lengths()
        starts = cursor.where()
        cursor.at += lengths
        return LocatedText(text=self, starts=starts, lengths=lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedText:
    """A string's bytes in every row: starts and lengths (terminators included), shape (n,)."""

    text: TextStep
    starts: Positions
    lengths: Positions

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the bytes out as one Arrow string array."""
        lengths = self.lengths
        if self.text.terminated and len(lengths):
            lasts = np.maximum(self.starts + lengths - 1, 0)
            lengths = lengths - ((source.data[lasts] == 0) & (lengths > 0))
        return [text_array(source, self.starts, lengths, repairs)]


def text_array(source: Source, starts: Positions, lengths: Positions, repairs: Repairs) -> pa.Array:
    """Copy byte ranges, shape (n,), into a string array; what is not UTF-8 becomes U+FFFD.

    Cost: one copy, one validation; some thirty passes more only where something is invalid.

    Raises:
        DecodeError: The text with its replacements is beyond Arrow's 32-bit offsets.
    """
    raw = pa.Array.from_buffers(
        pa.binary(),
        len(starts),
        [None, pa.py_buffer(offsets_of(lengths)), source.ragged(starts, lengths)],
    )
    try:
        return pc.cast(raw, pa.string())
    except pa.ArrowInvalid:
        text, offsets, repaired = repaired_utf8(
            np.frombuffer(raw.buffers()[2], dtype=np.uint8),
            np.frombuffer(raw.buffers()[1], dtype=np.int32, count=len(raw) + 1),
        )
    repairs.add(INVALID_UTF8, repaired)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), len(starts), buffers)


def repaired_utf8(
    data: NDArray[np.uint8], offsets: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], Positions, NDArray[np.bool_]]:
    """Replace what is not UTF-8 in the rows of a binary array.

    As Unicode recommends (version 15, section 3.9, "Substitution of Maximal Subparts") and Python
    does: one U+FFFD for a start of a sequence that goes no further, and for every other byte. Each
    row is followed by NULs in a private copy, as many as can be missing from a sequence, so that
    one cut by the end of its row does not reach into the next.

    Args:
        data: uint8, shape (m,): the bytes of all rows.
        offsets: int32, shape (n + 1,).

    Returns:
        The bytes; int64, shape (n + 1,), where each row starts in them; bool, shape (n,), which
        rows were changed.

    Raises:
        DecodeError: The result is beyond Arrow's 32-bit offsets.
    """
    count, size = len(offsets) - 1, int(offsets[-1])
    rows = np.repeat(np.arange(count), np.diff(offsets))
    places = np.arange(size) + rows * _FOLLOWERS_MAX
    guarded = np.zeros(size + count * _FOLLOWERS_MAX, dtype=np.uint8)
    guarded[places] = data[:size]
    followers = _followers(guarded)
    wanted = _FOLLOWERS[guarded]
    is_whole = (followers == wanted) & ((guarded < _NOT_ASCII) | (wanted > 0))
    follows = np.zeros(len(guarded), dtype=bool)
    kept = is_whole.copy()
    for distance in range(1, _FOLLOWERS_MAX + 1):
        reached = followers[:-distance] >= distance
        follows[distance:] |= reached
        kept[distance:] |= reached & is_whole[:-distance]
    replaced = ~follows & ~is_whole
    sizes = np.zeros(len(guarded), dtype=np.int64)
    sizes[places] = kept[places]
    sizes[replaced] = len(_REPLACEMENT)
    ends = np.cumsum(sizes)
    if len(ends) and int(ends[-1]) > ARROW_OFFSET_MAX:
        raise DecodeError("text that is not UTF-8 grows beyond what Arrow can address")
    text = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    chosen = places[kept[places]]
    text[ends[chosen] - 1] = guarded[chosen]
    for index, byte in enumerate(_REPLACEMENT):
        text[ends[replaced] - len(_REPLACEMENT) + index] = byte
    behind = offsets.astype(np.int64) + np.arange(count + 1) * _FOLLOWERS_MAX
    row_starts = np.concatenate([[0], ends])[behind]
    changed = np.zeros(count, dtype=bool)
    changed[rows[replaced[places]]] = True
    return text, row_starts, changed


def _followers(data: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Count how many of the bytes behind each byte go on with the sequence that it starts."""
    wanted, continues = _FOLLOWERS[data], _IS_CONTINUATION[data]
    found = np.zeros(len(data), dtype=np.int8)
    goes_on = wanted[:-1] > 0
    goes_on &= (data[1:] >= _SECOND_MIN[data[:-1]]) & (data[1:] <= _SECOND_MAX[data[:-1]])
    found[:-1] += goes_on
    for distance in range(2, _FOLLOWERS_MAX + 1):
        goes_on = goes_on[:-1] & (wanted[:-distance] >= distance) & continues[distance:]
        found[:-distance] += goes_on
    return found
