"""Strings, wide ones too: where they lie, and their characters as Arrow text.

What is not UTF-8 or UTF-16 becomes U+FFFD.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.cdr.cursor import LOST, Cursor, Lone, Move
from bridge.cdr.fixed import view_of
from bridge.cdr.layout import WideLayout
from bridge.cdr.source import ARROW_OFFSET_MAX, Positions, Source
from bridge.cdr.steps import LocatedRepeated, Repairs, is_repeated, may_repeat, offsets_of
from bridge.errors import DecodeError

INVALID_UTF16 = "invalid_utf16"

_HIGH_SURROGATE, _LOW_SURROGATE, _BEHIND_SURROGATES = 0xD800, 0xDC00, 0xE000
_REPLACED, _NO_CHARACTER = 0xFFFD, 0xFFFF
_TWO_BYTES, _THREE_BYTES, _FOUR_BYTES, _BEHIND_UNICODE = 0x80, 0x800, 0x10000, 0x110000

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WideTextStep:
    """A `wstring`: a length, then code units.

    Attributes:
        move: The padding before the length.
        layout: How wide a unit is and what the length counts.
    """

    move: Move
    layout: WideLayout

    def advance(self, cursor: Cursor) -> None:
        """Step behind the string."""
        self._enter(cursor)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the string."""
        lone.at = self.move.applied(lone.at)
        units, rest = lone.take_length(), 0
        if self.layout.counts_bytes:
            units, rest = divmod(units, self.layout.unit_bytes)
        lone.at += units * self.layout.unit_bytes
        if rest:
            lone.at = LOST

    def locate(self, cursor: Cursor) -> "LocatedWideText":
        """Step behind the string and remember where its code units lay."""
        starts, units = self._enter(cursor)
        return LocatedWideText(text=self, starts=starts, units=units)

    def _enter(self, cursor: Cursor) -> tuple[Positions, Positions]:
        self.move.apply(cursor.at)
        units = cursor.take_lengths()
        starts = cursor.where()
        if self.layout.counts_bytes:
            bad = units % self.layout.unit_bytes != 0
            units //= self.layout.unit_bytes
            cursor.at += units * self.layout.unit_bytes
            if bad.any():
                cursor.lose(bad)
        else:
            cursor.at += units * self.layout.unit_bytes
        return starts, units


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedWideText:
    """A wide string's code units in every row: starts and numbers of units, shape (n,)."""

    text: WideTextStep
    starts: Positions
    units: Positions

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the units out and write them as UTF-8, as one Arrow string array."""
        unit_bytes = self.text.layout.unit_bytes
        raw = source.ragged(self.starts, self.units * unit_bytes)
        units = view_of(raw, f"u{unit_bytes}", int(self.units.sum()))
        if source.swap:
            units = units.byteswap()
        return [utf8_array(units.astype(np.int64), self.units, repairs)]


def utf8_array(units: NDArray[np.int64], lengths: Positions, repairs: Repairs) -> pa.Array:
    """Write rows of UTF-16 code units as a string array; what is not UTF-16 becomes U+FFFD.

    Units beyond 16 bits, which some writers of four bytes a unit produce, are taken as the code
    points they are. A NUL at the end of a row is a terminator and left out. Cost: some thirty
    passes over the units.

    Args:
        units: int64, shape (m,): the units of all rows, one row behind the other.
        lengths: int64, shape (n,): units of each row.
        repairs: Where to note rows with lone surrogates or values that are no code points, and
            how many characters no text has.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lasts = offsets[1:][lengths > 0] - 1
    kept = np.ones(len(units), dtype=bool)
    kept[lasts[units[lasts] == 0]] = False
    is_high = (units >= _HIGH_SURROGATE) & (units < _LOW_SURROGATE)
    is_low = (units >= _LOW_SURROGATE) & (units < _BEHIND_SURROGATES)
    opens = is_high.copy()
    opens[lasts] = False
    opens[:-1] &= is_low[1:]
    closes = np.zeros(len(units), dtype=bool)
    closes[1:] = opens[:-1]
    points = units.copy()
    low_after = units[np.flatnonzero(opens) + 1]
    points[opens] = (
        _FOUR_BYTES + ((units[opens] - _HIGH_SURROGATE) << 10) + (low_after - _LOW_SURROGATE)
    )
    kept &= ~closes
    bad = (is_high & ~opens) | (is_low & ~closes) | (units >= _BEHIND_UNICODE)
    if bad.any():
        rows = np.repeat(np.arange(len(lengths)), lengths)
        rows_bad = np.zeros(len(lengths), dtype=bool)
        rows_bad[rows[bad]] = True
        repairs.add(INVALID_UTF16, rows_bad)
        points[bad] = _REPLACED
    is_odd = bad | ((units == 0) & kept) | (units == _NO_CHARACTER)
    repairs.implausible += int(np.count_nonzero(is_odd))
    text, ends = encode_utf8(points, kept)
    row_ends = np.concatenate([[0], ends])[offsets]
    return pa.Array.from_buffers(
        pa.string(),
        len(lengths),
        [None, pa.py_buffer(offsets_of(np.diff(row_ends))), pa.py_buffer(text)],
    )


def encode_utf8(
    points: NDArray[np.int64], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], Positions]:
    """Encode code points, shape (m,), skipping those not kept.

    Returns:
        The bytes, and for each point where its bytes end, shape (m,).
    """
    sizes = 1 + (points >= _TWO_BYTES) + (points >= _THREE_BYTES) + (points >= _FOUR_BYTES)
    sizes *= kept
    ends = np.cumsum(sizes)
    text = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for size, lead in ((1, 0x00), (2, 0xC0), (3, 0xE0), (4, 0xF0)):
        chosen = sizes == size
        first, values = ends[chosen] - size, points[chosen]
        for index in range(size):
            payload = values >> (6 * (size - 1 - index))
            text[first + index] = lead | payload if index == 0 else 0x80 | (payload & 0x3F)
    return text, ends
