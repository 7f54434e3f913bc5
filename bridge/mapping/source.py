"""What a mapping reads: the decoded fields of one ROS type, by name, with types checked.

A `Source` is a struct array seen from one level of a message. Going into a nested message or into
the elements of a sequence gives another `Source`; rows found bad at any depth are reported to the
top, where the message they belong to is dropped. A field that is missing or of an unsuitable type
raises, already when the mapping is tried on an empty array at planning time, and the topic then
takes the generic way instead.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.errors import DefinitionError
from bridge.mapping.columns import Mask, as_binary, as_numpy, list_offsets, list_values


class Rejects:
    """The messages of a block that cannot be mapped; each counts once, by the first reason.

    Attributes:
        bad: Shape (rows,): True for messages to drop.
        reasons: Their number by reason.
    """

    __slots__ = ("bad", "reasons")

    def __init__(self, rows: int) -> None:
        self.bad: Mask = np.zeros(rows, np.bool_)
        self.reasons: Counter[str] = Counter()

    def add(self, bad: Mask, reason: str) -> None:
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

    __slots__ = ("_report", "array", "path", "rows")

    def __init__(
        self, array: pa.StructArray, path: str, report: Callable[[Mask, str], None]
    ) -> None:
        self.array = array
        self.rows = len(array)
        self.path = path
        self._report = report

    def has(self, name: str) -> bool:
        """Say whether the definition has a field."""
        return bool(self.array.type.get_field_index(name) >= 0)

    def field(self, name: str) -> pa.Array:
        """Give a field as it was decoded.

        Raises:
            DefinitionError: The definition has no such field.
        """
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
        """Give a field of `columns` doubles each as numpy, shape (rows, columns).

        Raises:
            DefinitionError: The field is missing or something else.
        """
        array = self.field(name)
        if array.type != pa.list_(pa.float64(), columns):
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
        array = self.field(name)
        if not pa.types.is_struct(array.type):
            raise self._misfit(name, f"is {array.type}, not a message")
        return Source(array, f"{self.path}.{name}", self._report)

    def items(self, name: str) -> tuple["Source", NDArray[np.int32]]:
        """Go into the elements of a sequence of messages.

        Returns:
            All elements of all rows one after another, and the boundaries of the rows among
            them, shape (rows + 1,), starting at 0.

        Raises:
            DefinitionError: The field is missing or no sequence of messages.
        """
        array = self.field(name)
        if not pa.types.is_list(array.type) or not pa.types.is_struct(array.type.value_type):
            raise self._misfit(name, f"is {array.type}, not a sequence of messages")
        offsets = list_offsets(array)

        def lift(bad: Mask, reason: str) -> None:
            owners = np.searchsorted(offsets, np.flatnonzero(bad), side="right") - 1
            lifted = np.zeros(self.rows, np.bool_)
            lifted[owners] = True
            self._report(lifted, reason)

        return Source(list_values(array), f"{self.path}.{name}[]", lift), offsets

    def reject(self, bad: Mask, reason: str) -> None:
        """Drop the messages that the True rows of `bad`, shape (rows,), belong to."""
        if bad.any():
            self._report(bad, reason)

    def _misfit(self, name: str, complaint: str) -> DefinitionError:
        msgtype = self.path.split(".", maxsplit=1)[0]
        return DefinitionError(f"field {name} of {self.path} {complaint}", msgtype=msgtype)


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
