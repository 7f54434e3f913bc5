"""Reading Arrow's decompressing streams piece by piece, without losing memory to damaged ones."""

from collections.abc import Iterator
from typing import Any


def pieces_of(stream: Any, size_bytes: int) -> Iterator[bytes]:
    """Yield what a stream holds in pieces of one size; only the last may be shorter.

    A stream's own `read` never frees the bytes it was to fill when it raises (pyarrow 26), which
    costs so much for each damaged message. Reading into a buffer of ours costs a copy instead.

    Raises:
        OSError: The stream breaks off or is damaged; nothing of that piece can be had.
        pyarrow.ArrowException: Likewise.
    """
    buffer = bytearray(size_bytes)
    view = memoryview(buffer)
    while got := stream.readinto(buffer):
        yield bytes(view[:got])
