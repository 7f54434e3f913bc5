"""Point clouds: as they were recorded, or taken apart into one list for each quantity.

Clouds of one layout (same fields, same step, same byte order), which is nearly always all of a
topic, are read with one strided view per quantity. The rules are those of the platform's own
override adapters: fields are found by name, others are left out, the bytes must be exactly as many
as the points need, numbers must fit the model's type.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.mapping.columns import Mask, absent, as_numpy, lengths, list_offsets, lists
from bridge.mapping.pieces import Build, Columns, header, list_of, same_names
from bridge.mapping.source import Note, Source
from bridge.ontology import Model, PointField

DATATYPE_MIN, DATATYPE_MAX = 1, 8

NUMPY_OF_DATATYPE = (None, "i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
"""numpy's name for each `PointField.datatype`, which count from 1."""

UNKNOWN_DATATYPE = "point cloud with a field of unknown datatype"

HOMES: dict[str, dict[str, tuple[str, ...]]] = {
    "Lidar": {
        "beam_id": ("ring", "channel", "line"),
        "near_ir": ("ambient",),
        "confidence": ("tag", "flags"),
        "point_timestamp": ("t", "time", "timestamp"),
    }
}
"""Names that drivers give a model's columns, by tag; the column's own name comes first."""

ABSOLUTE_TIME = "timestamp"
"""A column of moments; other times count from the start of the scan."""

_UNITS_PER_S = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e6, 1.0))
"""Least moment that must be in a unit, and how many of the unit are a second: ns, us, ms, s."""

_SHAPE = same_names(
    height=pa.uint32(),
    width=pa.uint32(),
    is_bigendian=pa.bool_(),
    point_step=pa.uint32(),
    row_step=pa.uint32(),
    is_dense=pa.bool_(),
)

_FIELD = same_names(name=pa.string(), offset=pa.uint32(), datatype=pa.int64(), count=pa.uint32())


def point_cloud(source: Source) -> Columns:
    """Map a PointCloud2 without looking at its points; the bytes are not copied."""
    return {
        "header": header(source),
        **_SHAPE(source),
        "fields": list_of(source, "fields", PointField.struct, _point_field),
        "data": source.binary("data"),
    }


def _point_field(source: Source) -> Columns:
    datatype = source.numbers("datatype", pa.uint8())
    source.reject(
        (datatype < DATATYPE_MIN) | (datatype > DATATYPE_MAX),
        UNKNOWN_DATATYPE,
    )
    return _FIELD(source)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where clouds keep their quantities, and which clouds do so.

    Attributes:
        rows: Indices of the clouds, rising.
        step: Bytes of a point.
        fields: Offset and numpy type by name; fields of several values a point are left out.
        names: All fields, those left out too.
    """

    rows: NDArray[np.int64]
    step: int
    fields: dict[str, tuple[int, np.dtype[Any]]]
    names: frozenset[str]


def cloud_columns(model: Model) -> Build:
    """Make the mapping of PointCloud2 to a model with a list per quantity."""
    quantities = model.fields[1:]
    homes = HOMES.get(model.tag, {})

    def columns(source: Source) -> Columns:
        points = _points(source)
        data = source.binary("data")
        parts: list[list[pa.Array]] = []
        order: list[NDArray[np.int64]] = []
        for layout in _layouts(source):
            names = {
                q.name: _first(layout.fields, (q.name, *homes.get(q.name, ()))) for q in quantities
            }
            missing = [q.name for q in quantities if not q.nullable and not names[q.name]]
            if missing:
                points[layout.rows] = 0
                _reject_rows(source, layout.rows, f"point cloud without field {missing[0]}")
            for left in layout.names.difference(names.values()):
                source.note(Note.LEFT_OUT, f"data.{left}", len(layout.rows))
            parts.append(
                [_lists(source, layout, points, data, q, names[q.name]) for q in quantities]
            )
            order.append(layout.rows)
        if len(parts) == 1:
            arrays = parts[0]
        else:
            back = pa.array(np.argsort(np.concatenate([np.empty(0, np.int64), *order])))
            arrays = [
                pa.concat_arrays([pa.array([], q.type), *(part[index] for part in parts)]).take(
                    back
                )
                for index, q in enumerate(quantities)
            ]
        named = dict(zip((q.name for q in quantities), arrays, strict=True))
        return {"header": header(source)} | named

    return columns


def _first(fields: Collection[str], names: Iterable[str]) -> str:
    return next((name for name in names if name in fields), "")


def _points(source: Source) -> NDArray[np.int64]:
    """Count the points of each cloud, shape (rows,); 0 for those whose bytes are not as many."""
    points = source.numbers("height", pa.uint32()).astype(np.int64)
    points *= source.numbers("width", pa.uint32())
    step = source.numbers("point_step", pa.uint32()).astype(np.int64)
    sizes = lengths(source.binary("data"))
    # Compared by division, because hostile sizes overflow the product; `points` itself may already
    # have overflowed, into the negative.
    whole = np.maximum(step, 1)
    fits = (step > 0) & (sizes % whole == 0) & (sizes // whole == points)
    wrong: Mask = (points != 0) & ~fits
    source.reject(wrong, "point cloud whose size is not height x width x point_step")
    points[wrong] = 0
    return points


def _layouts(source: Source) -> Iterator[Layout]:
    """Sort the clouds by layout; linear in the clouds for each distinct one."""
    items, offsets = source.items("fields")
    names = items.column("name", pa.string()).dictionary_encode()
    datatype = items.numbers("datatype", pa.uint8())
    unknown: Mask = (datatype < DATATYPE_MIN) | (datatype > DATATYPE_MAX)
    items.reject(unknown, UNKNOWN_DATATYPE)
    table = np.column_stack(
        (
            as_numpy(names.indices).astype(np.int64),
            items.numbers("offset", pa.uint32()),
            np.where(unknown, 0, datatype),
            items.numbers("count", pa.uint32()),
        )
    )
    counts = np.diff(offsets)
    step = source.numbers("point_step", pa.uint32())
    big = source.numbers("is_bigendian", pa.bool_())
    left = np.ones(source.rows, np.bool_)
    while left.any():
        first = int(np.argmax(left))
        alike = left & (counts == counts[first]) & (step == step[first]) & (big == big[first])
        rows = np.flatnonzero(alike)
        fields = table[offsets[rows][:, None] + np.arange(counts[first])]
        rows = rows[(fields == fields[0]).all(axis=(1, 2))]
        left[rows] = False
        yield Layout(
            rows,
            int(step[first]),
            {
                str(names.dictionary[code]): (int(offset), _dtype(int(kind), big=bool(big[first])))
                for code, offset, kind, count in fields[0]
                if count == 1 and kind
            },
            frozenset(str(names.dictionary[code]) for code in fields[0][:, 0]),
        )


def _dtype(datatype: int, *, big: bool) -> np.dtype[Any]:
    return np.dtype(f"{'>' if big else '<'}{NUMPY_OF_DATATYPE[datatype]}")


def _lists(
    source: Source,
    layout: Layout,
    points: NDArray[np.int64],
    data: pa.BinaryArray,
    quantity: pa.Field,
    name: str,
) -> pa.ListArray:
    """Read one quantity of all clouds of a layout; one strided copy of its values.

    `name` is the field that it is read from; empty where there is none.
    """
    kind = quantity.type
    if not name:
        return absent(kind, len(layout.rows))
    offset, dtype = layout.fields[name]
    counts = points[layout.rows]
    if offset + dtype.itemsize > layout.step and counts.any():
        _reject_rows(source, layout.rows[counts > 0], "point cloud with a field beyond its points")
        counts = np.zeros_like(counts)
    boundaries = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=boundaries[1:])
    values = np.empty(0, dtype)
    if boundaries[-1]:
        raw = _bytes_of(data, layout.rows, counts)
        values = np.ndarray((int(boundaries[-1]),), dtype, raw, offset, (layout.step,))
    is_own = name == quantity.name
    if quantity.name == "point_timestamp" and not is_own:
        values = seconds_from_start(values, boundaries, absolute=name == ABSOLUTE_TIME)
    fitted, survives = _fit(values, np.dtype(kind.value_type.to_pandas_dtype()))
    valid = None
    if not survives.all():
        owners = np.searchsorted(boundaries, np.flatnonzero(~survives), side="right") - 1
        if is_own:
            reason = f"point cloud whose {quantity.name} does not fit its type"
            _reject_rows(source, layout.rows[owners], reason)
        else:
            # A guess about the driver's name for it does not cost the cloud.
            valid = np.ones(len(layout.rows), np.bool_)
            valid[owners] = False
            source.note(Note.LEFT_OUT, f"data.{name}", len(valid) - int(valid.sum()))
    return lists(kind, boundaries, pa.array(fitted), valid=valid)


def seconds_from_start(
    times: NDArray[Any], boundaries: NDArray[np.int32], *, absolute: bool
) -> NDArray[np.float64]:
    """Give times of points in seconds from the start of their scan.

    Args:
        times: Shape (n,): whole nanoseconds, or seconds where they are floating point. Moments may
            be in any unit, which their size shows.
        boundaries: Shape (clouds + 1,): where each cloud starts among them, and the last one ends.
        absolute: Whether they may be moments; those of a cloud whose earliest is a second or more
            are, and count from it.

    Returns:
        Shape (n,); NaN for points whose moment is zero or not a number.
    """
    per_s = 1.0 if times.dtype.kind == "f" else 1e9
    if not absolute or not len(times):
        offsets: NDArray[np.float64] = times.astype(np.float64) / np.float64(per_s)
        return offsets
    with np.errstate(invalid="ignore"):
        known = times > 0
    latest = float(times[known].max(initial=0))
    per_s = next((per_s for least, per_s in _UNITS_PER_S if latest >= least), per_s)
    counts = np.diff(boundaries)
    highest = times.dtype.type(np.inf if times.dtype.kind == "f" else np.iinfo(times.dtype).max)
    earliest = np.minimum.reduceat(np.where(known, times, highest), boundaries[:-1][counts > 0])
    moments = earliest >= per_s
    start = np.repeat(np.where(moments, earliest, times.dtype.type(0)), counts[counts > 0])
    # Subtracted before they are floating point, which has no room for nanoseconds since 1970.
    since: NDArray[np.float64] = (times - start).astype(np.float64) / np.float64(per_s)
    since[~known & np.repeat(moments, counts[counts > 0])] = np.nan
    return since


def _bytes_of(
    data: pa.BinaryArray, rows: NDArray[np.int64], counts: NDArray[np.int64]
) -> pa.Buffer:
    """Give the bytes of some clouds one after another; a copy only where some are left out."""
    used = rows[counts > 0]
    if len(used) != len(data):
        data = data.take(pa.array(used))
    start = int(np.frombuffer(data.buffers()[1], np.int32)[data.offset])
    return data.buffers()[2].slice(start, int(list_offsets(data)[-1]))


def _fit(values: NDArray[Any], target: np.dtype[Any]) -> tuple[NDArray[Any], Mask]:
    """Convert numbers, and find which survive it: whole numbers must stay what they are."""
    with np.errstate(invalid="ignore", over="ignore"):
        fitted = values.astype(target)
        if target.kind == "f":
            return fitted, np.ones(len(values), np.bool_)
        survives = (fitted.astype(values.dtype) == values) & ((fitted < 0) == (values < 0))
    return fitted, survives


def _reject_rows(source: Source, rows: NDArray[np.int64], reason: str) -> None:
    bad = np.zeros(source.rows, np.bool_)
    bad[rows] = True
    source.reject(bad, reason)
