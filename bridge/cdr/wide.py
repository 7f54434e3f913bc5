"""Wide strings: where they lie, and their UTF-16 code units as Arrow text."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import LOST, Cursor, Lone, Move
from bridge.cdr.fixed import view_of
from bridge.cdr.layout import WideLayout
from bridge.cdr.source import Positions, Source
from bridge.cdr.steps import Repairs, offsets_of

INVALID_UTF16 = "invalid_utf16"

_HIGH_SURROGATE, _LOW_SURROGATE, _BEHIND_SURROGATES = 0xD800, 0xDC00, 0xE000
_REPLACEMENT, _NO_CHARACTER = 0xFFFD, 0xFFFF
_TWO_BYTES, _THREE_BYTES, _FOUR_BYTES, _BEHIND_UNICODE = 0x80, 0x800, 0x10000, 0x110000


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
        points[bad] = _REPLACEMENT
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
