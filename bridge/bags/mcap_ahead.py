"""Loading the chunks of an MCAP file a few ahead, in threads: codecs and checksums run beside.

Order stays that of the file. Big chunks are loaded one at a time, so that no more of a file is in
memory than some megabytes beyond what is being cut.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from bridge.bags.mcap_pieces import Piece
from bridge.bags.mcap_scan import ChunkAt, Segment

LOADERS = 2
"""Threads that load; the codecs release the interpreter lock."""

AHEAD = 3
"""How many segments may wait behind the one that is asked for."""

AHEAD_BYTES_MAX = 4 << 20
"""Chunks of more than this, compressed or not, are not loaded ahead."""


def load_ahead(
    segments: Iterable[Segment], load: Callable[[ChunkAt], Piece]
) -> Generator[tuple[Segment, Piece | None], None, None]:
    """Yield the segments in order, chunks with what they hold.

    Args:
        segments: In file order.
        load: Loads a chunk; called by several threads at once.
    """
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="load-chunks") as loaders:
        waiting: deque[tuple[Segment, Future[Piece] | None]] = deque()
        # How much chunks hold is known when the first is loaded; those of a file are much alike.
        depth = 0
        for segment in segments:
            room = depth if _is_light(segment) else 0
            while len(waiting) > room:
                first, loading = waiting.popleft()
                piece = None if loading is None else loading.result()
                if piece is not None and piece.data is not None:
                    depth = AHEAD if len(piece.data) <= AHEAD_BYTES_MAX else 0
                yield first, piece
            begun = loaders.submit(load, segment) if isinstance(segment, ChunkAt) else None
            waiting.append((segment, begun))
        for first, loading in waiting:
            yield first, None if loading is None else loading.result()


def _is_light(segment: Segment) -> bool:
    return not isinstance(segment, ChunkAt) or segment.end - segment.start <= AHEAD_BYTES_MAX
