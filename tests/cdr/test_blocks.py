"""Copies of many payloads at once: all of them, in order, wherever they lay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import copy_payloads


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40))
    | st.builds(lambda n, k: [n] * k, *[st.integers(0, 40)] * 2),
    slab_bytes=st.integers(1, 100),
    in_place=st.booleans(),
)
def test_payloads_are_copied_one_behind_the_other(
    lengths: list[int], slab_bytes: int, *, in_place: bool
) -> None:
    """From anywhere in another buffer; in their own, to places before them if pieces are small."""
    data = np.frombuffer(np.random.default_rng(0).bytes(60 * len(lengths) + 4), np.uint8).copy()
    starts = np.arange(len(lengths)) * 60 + 7
    payloads = [
        data[at : at + length].tobytes() for at, length in zip(starts, lengths, strict=True)
    ]
    room = data[: sum(lengths)] if in_place else np.empty(sum(lengths), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.cdr.blocks.SLAB_BYTES", slab_bytes)
        copy_payloads(room, data, starts, np.array(lengths, np.int64))

    assert room.tobytes() == b"".join(payloads)
