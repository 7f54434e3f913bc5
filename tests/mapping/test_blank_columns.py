"""Columns of nothing: zeros and nulls of every kind, which share their bytes."""

import numpy as np
import pyarrow as pa
import pytest

from bridge.mapping.columns import absent, zeros

KIND = pa.struct(
    [
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("text", pa.string()),
        ("matrix", pa.list_(pa.float64(), 9)),
        ("values", pa.list_(pa.int32())),
    ]
)
ZERO = {"number": 0.0, "flag": False, "text": "", "matrix": [0.0] * 9, "values": []}


@pytest.mark.parametrize("rows", [0, 1, 8, 1000])
def test_blank_columns_are_what_they_say(rows: int) -> None:
    """Zeros below nulls, too."""
    plain, nulls = zeros(KIND, rows), absent(KIND, rows)

    assert plain.to_pylist() == [ZERO] * rows
    assert nulls.to_pylist() == [None] * rows
    assert nulls.field("matrix").to_pylist() == [ZERO["matrix"]] * rows


@pytest.mark.parametrize("rows", [100_000, 300_000])
def test_long_blank_columns_are_valid(rows: int) -> None:
    """Also where one column is longer than what columns share."""
    for column in (zeros(KIND, rows), absent(KIND, rows)):
        column.validate(full=True)
        assert len(column) == rows
        assert not np.any(column.field("number").to_numpy())


def test_what_columns_share_cannot_be_written() -> None:
    """One that is changed in place would change all others."""
    column = zeros(pa.int64(), 10)

    assert not np.frombuffer(column.buffers()[1], dtype=np.int64).flags.writeable
