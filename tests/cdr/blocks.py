"""Making blocks for tests, and comparing values with NaN equal to itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bridge.model import MessageBlock


def block_of(payloads: Sequence[bytes], *, gap: bytes = b"") -> MessageBlock:
    """Lay payloads side by side with a gap before each; record times count up from 100."""
    lengths = np.array([len(payload) for payload in payloads], dtype=np.int64)
    starts = np.cumsum(lengths + len(gap)) - lengths
    return MessageBlock(
        topic=0,
        log_times_ns=np.arange(100, 100 + len(payloads), dtype=np.int64),
        data=np.frombuffer(gap + gap.join(payloads), dtype=np.uint8),
        starts=starts,
        ends=starts + lengths,
    )


def same(left: Any, right: Any) -> bool:
    """Compare nested values; NaN equals NaN, and zeros equal only with their sign."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and list(left) == list(right)
            and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and bool(left == right)
