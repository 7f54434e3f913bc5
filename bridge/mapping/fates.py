"""What becomes of each field of a message: found out by changing one after the other.

A mapping is any function, so it is asked rather than read: it maps one message in which everything
has a value, and that message again with one field changed; the columns that differ then are where
the field goes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from bridge.mapping.columns import as_numpy
from bridge.mapping.plan import TopicPlan
from bridge.model import DecodedBlock
from bridge.ontology import TIMESTAMP_COLUMN

VALUES = ((1, 2), (3, 2))
"""What numbers usually are, and what the changed one is; 1 is a flag, 3 a state that is in use."""

Fates = dict[str, tuple[str, ...]]
"""Columns by the path of a field; none for a field that no column depends on."""


def field_fates(plan: TopicPlan, arrow_type: pa.StructType) -> Fates | None:
    """Find the columns that each field of a topic's messages goes to.

    Args:
        plan: What becomes of the topic.
        arrow_type: The decoded fields.

    Returns:
        In order of the fields; `x[]` is the elements of a sequence. None where the message made up
        here is none that the mapping takes, such as a cloud whose bytes do not fit its size.

    Cost: two messages for each field.
    """
    paths = list(_leaves(arrow_type))
    fates: dict[str, list[str]] = {".".join(path): [] for path in paths}
    taken = False
    for usual, other in VALUES:
        made = [_value(arrow_type, path, (), usual, other) for path in ((), *paths)]
        decoded = DecodedBlock(
            log_times_ns=np.arange(len(made), dtype=np.int64), messages=pa.array(made, arrow_type)
        )
        batch = plan.apply(decoded).batch
        times = np.asarray(batch.column(TIMESTAMP_COLUMN))
        rows = {int(made): row for row, made in enumerate(times)}
        if 0 not in rows:
            continue
        taken = True
        for index, columns in enumerate(fates.values(), start=1):
            if index in rows:
                columns.extend(_columns(batch, rows[0], rows[index]))
    found = {field: tuple(dict.fromkeys(columns)) for field, columns in fates.items()}
    return found if taken else None


def _columns(batch: pa.RecordBatch, before: int, after: int) -> Iterator[str]:
    """Name the columns that two rows do not share."""
    for index, name in enumerate(batch.schema.names):
        if name != TIMESTAMP_COLUMN:
            array = batch.column(index)
            yield from _differing(array.slice(before, 1), array.slice(after, 1), name)


def _leaves(kind: pa.DataType, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not pa.types.is_struct(kind):
        yield path
        return
    for field in kind:
        inner = _element(field.type)
        below = inner if pa.types.is_struct(inner) else field.type
        yield from _leaves(below, (*path, _step(field)))


def _element(kind: pa.DataType) -> pa.DataType:
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return kind.value_type if is_list else kind


def _value(
    kind: pa.DataType, changed: tuple[str, ...], path: tuple[str, ...], usual: int, other: int
) -> Any:
    """Make up a value in which everything is set, and the leaf at `changed` is something else."""
    if pa.types.is_struct(kind):
        return {
            field.name: _value(field.type, changed, (*path, _step(field)), usual, other)
            for field in kind
        }
    if kind != _element(kind):
        length = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
        return [_value(kind.value_type, changed, path, usual, other)] * length
    is_other = path == changed
    if pa.types.is_boolean(kind):
        return not is_other
    if pa.types.is_string(kind):
        return "b" if is_other else "a"
    return other if is_other else usual


def _step(field: pa.Field) -> str:
    inner = _element(field.type)
    of_messages = inner is not field.type and pa.types.is_struct(inner)
    return f"{field.name}[]" if of_messages else field.name


def _differing(before: pa.Array, after: pa.Array, name: str) -> Iterator[str]:
    kind = before.type
    if before.equals(after):
        return
    if before.null_count == after.null_count == 0 and pa.types.is_floating(_element(kind)):
        # Other than to Arrow, NaN is NaN here.
        one, two = (
            as_numpy(array.flatten() if kind != _element(kind) else array)
            for array in (before, after)
        )
        if np.array_equal(one, two, equal_nan=True):
            return
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        inner = before.flatten(), after.flatten()
        if len(inner[0]) == len(inner[1]) > 0:
            yield from _differing(*inner, f"{name}[]")
            return
    elif pa.types.is_struct(kind) and before.null_count == after.null_count == 0:
        for index, field in enumerate(kind):
            yield from _differing(before.field(index), after.field(index), f"{name}.{field.name}")
        return
    yield name
