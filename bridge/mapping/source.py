"""What a mapping reads: the decoded fields of one ROS type, by name, with types checked.

A `Source` is a struct array seen from one level of a message. Going into a nested message or into
the elements of a sequence gives another `Source`; rows found bad at any depth are reported to the
top, where the message they belong to is dropped. A field that is missing or of an unsuitable type
raises, already when the mapping is tried on an empty array at planning time, and the topic then
takes the generic way instead.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.errors import DefinitionError
from bridge.mapping.columns import Mask, as_binary, as_numpy, list_offsets, list_values


class Note(StrEnum):
    """What a mapping notes about messages that become rows: what the rows cannot show.

    `LEFT_OUT`: fields, or columns of a point cloud, that the model has no place for. `FORMATS`: the
    format of compressed images as recorded. `NOT_MEASURED`: quantities that the driver marks as not
    measured, by a -1 at the start of their covariance.
    """

    LEFT_OUT = "left_out"
    FORMATS = "formats"
    NOT_MEASURED = "not_measured"


LEFT_OUT = str(Note.LEFT_OUT)
"""The same as a report has it."""

Notes = dict[Note, Counter[str]]
"""Number of messages by what was noted about them."""


class Ledger:
    """What a mapping did with the messages of a block, and which of their fields it read.

    A message that cannot be mapped counts once, by the first reason.

    Attributes:
        bad: Shape (rows,): True for messages to drop.
        reasons: Their number by reason.
        notes: What was noted.
        fields_read: Paths of the fields that were read, from the type's name on.
    """

    __slots__ = ("bad", "fields_read", "notes", "reasons")

    def __init__(self, rows: int) -> None:
        self.bad: Mask = np.zeros(rows, np.bool_)
        self.reasons: Counter[str] = Counter()
        self.notes: Notes = {}
        self.fields_read: set[str] = set()

    def note(self, note: Note, text: str, messages: int) -> None:
        """Note something about so many messages."""
        if messages:
            self.notes.setdefault(note, Counter())[text] += messages

    def reject(self, bad: Mask, reason: str) -> None:
        """Drop the rows that are True in `bad`, shape (rows,)."""
        fresh = int(np.count_nonzero(bad & ~self.bad))
        if fresh:
            self.reasons[reason] += fresh
            self.bad |= bad


class Source:
    """Decoded messages, or one level inside them, as columns.

    Attributes:
        array: The struct array, without nulls.
        rows: Its length.
        path: Where in the message this is, for errors; the type's name at the top.
    """

    __slots__ = ("_ledger", "_report", "array", "path", "rows")

    def __init__(
        self,
        array: pa.StructArray,
        path: str,
        ledger: Ledger,
        report: Callable[[Mask, str], None] | None = None,
    ) -> None:
        self.array = array
        self.rows = len(array)
        self.path = path
        self._ledger = ledger
        self._report = report or ledger.reject

    def has(self, name: str) -> bool:
        """Say whether the definition has a field."""
        return bool(self.array.type.get_field_index(name) >= 0)

    def field(self, name: str) -> pa.Array:
        """Give a field as it was decoded.

        Raises:
            DefinitionError: The definition has no such field.
        """
        self._ledger.fields_read.add(f"{self.path}.{name}")
        return self._field(name)

    def _field(self, name: str) -> pa.Array:
        index = self.array.type.get_field_index(name)
        if index < 0:
            raise self._misfit(name, "is missing")
        return self.array.field(index)

    def column(self, name: str, value_type: pa.DataType) -> pa.Array:
        """Give a field as a column of a type that holds every value of the field's own type.

        Cost: nothing where the types are equal, one cast where the field is narrower.

        Raises:
            DefinitionError: The field is missing, or its values might not fit.
        """
        array = self.field(name)
        if array.type == value_type:
            return array
        if not _widens(array.type, value_type):
            raise self._misfit(name, f"is {array.type}, which does not fit into {value_type}")
        return array.cast(value_type)

    def numbers(self, name: str, value_type: pa.DataType) -> NDArray[Any]:
        """Give a field of numbers as numpy; see `column`."""
        return as_numpy(self.column(name, value_type))

    def matrix(self, name: str, columns: int) -> NDArray[np.float64]:
        """Give a field of `columns` floats or doubles each as numpy, shape (rows, columns).

        Raises:
            DefinitionError: The field is missing or something else.
        """
        array = self.field(name)
        if array.type not in {pa.list_(pa.float64(), columns), pa.list_(pa.float32(), columns)}:
            raise self._misfit(name, f"is {array.type}, not float64[{columns}]")
        return as_numpy(array.flatten()).astype(np.float64, copy=False).reshape(-1, columns)

    def binary(self, name: str) -> pa.BinaryArray:
        """Give a field of uint8[] as bytes, without copying them.

        Raises:
            DefinitionError: The field is missing or something else.
        """
        array = self.field(name)
        if array.type != pa.list_(pa.uint8()):
            raise self._misfit(name, f"is {array.type}, not uint8[]")
        return as_binary(array)

    def __getitem__(self, name: str) -> "Source":
        """Go into a nested message.

        Raises:
            DefinitionError: The field is missing or no message.
        """
        array = self._field(name)
        if not pa.types.is_struct(array.type):
            raise self._misfit(name, f"is {array.type}, not a message")
        return Source(array, f"{self.path}.{name}", self._ledger, self._report)

    def within(self, array: pa.StructArray, name: str) -> "Source":
        """Go into messages that were taken out of a field, one for each row."""
        return Source(array, f"{self.path}.{name}", self._ledger, self._report)

    def items(self, name: str) -> tuple["Source", NDArray[np.int32]]:
        """Go into the elements of a sequence of messages.

        Returns:
            All elements of all rows one after another, and the boundaries of the rows among
            them, shape (rows + 1,), starting at 0.

        Raises:
            DefinitionError: The field is missing or no sequence of messages.
        """
        array = self._field(name)
        if not pa.types.is_list(array.type) or not pa.types.is_struct(array.type.value_type):
            raise self._misfit(name, f"is {array.type}, not a sequence of messages")
        offsets = list_offsets(array)

        def lift(bad: Mask, reason: str) -> None:
            owners = np.searchsorted(offsets, np.flatnonzero(bad), side="right") - 1
            lifted = np.zeros(self.rows, np.bool_)
            lifted[owners] = True
            self._report(lifted, reason)

        return Source(list_values(array), f"{self.path}.{name}[]", self._ledger, lift), offsets

    def reject(self, bad: Mask, reason: str) -> None:
        """Drop the messages that the True rows of `bad`, shape (rows,), belong to."""
        if bad.any():
            self._report(bad, reason)

    def place(self, name: str) -> str:
        """Give the path of a field from the message on."""
        return f"{self.path}.{name}".partition(".")[2]

    def note(self, note: Note, text: str, messages: int) -> None:
        """Note something about so many messages, for the report and the topic's metadata."""
        self._ledger.note(note, text, messages)

    def _misfit(self, name: str, complaint: str) -> DefinitionError:
        msgtype = self.path.split(".", maxsplit=1)[0]
        return DefinitionError(f"field {name} of {self.path} {complaint}", msgtype=msgtype)


def fields_left(arrow_type: pa.StructType, path: str, read: set[str]) -> Iterator[str]:
    """Give the fields of a message that were not read, whole messages where nothing in them was.

    Args:
        arrow_type: The decoded fields.
        path: The type's name, or the path of a field inside it.
        read: Paths of the fields that were read.
    """
    for child in arrow_type:
        here = f"{path}.{child.name}"
        if here in read:
            continue
        inner, inside = child.type, here
        if pa.types.is_list(inner) or pa.types.is_fixed_size_list(inner):
            inner, inside = inner.value_type, f"{here}[]"
        if pa.types.is_struct(inner) and any(name.startswith(f"{inside}.") for name in read):
            yield from fields_left(inner, inside, read)
        else:
            yield here


def _widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Say whether every value of one type can be held by another without loss."""
    if pa.types.is_list(wide):
        if not (pa.types.is_list(narrow) or pa.types.is_fixed_size_list(narrow)):
            return False
        inner, outer = narrow.value_type, wide.value_type
        return bool(inner == outer) or _widens(inner, outer)
    if not (_is_number(narrow) and _is_number(wide)):
        return False
    return bool(np.can_cast(narrow.to_pandas_dtype(), wide.to_pandas_dtype(), "safe"))


def _is_number(value_type: pa.DataType) -> Any:
    return pa.types.is_integer(value_type) or pa.types.is_floating(value_type)
