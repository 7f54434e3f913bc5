"""Loading the chunks of an MCAP file a few ahead, in threads: codecs and checksums run beside.

Order stays that of the file. Big ones, and stretches of many, are loaded one at a time, so that no
more of a file is in memory than some megabytes beyond what is being cut.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from bridge.bags.mcap.pieces import Piece
from bridge.bags.mcap.scan import Segment
from bridge.bags.mcap.stretch import StretchAt

LOADERS = 2
"""Threads that load; the codecs and checksums release the interpreter lock."""

AHEAD = 3
"""How many segments may wait behind the one that is asked for."""

AHEAD_BYTES_MAX = 4 << 20
"""What has more bytes than this, compressed or not, is not loaded ahead."""

Pieces = tuple[Piece, ...]


def load_ahead(
    segments: Iterable[Segment | StretchAt], load: Callable[[StretchAt], Pieces]
) -> Generator[tuple[Segment | StretchAt, Pieces], None, None]:
    """Yield the segments in order, stretches of chunks with what they hold.

    Args:
        segments: In file order.
        load: Loads a stretch; called by several threads at once.
    """
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="load-chunks") as loaders:
        waiting: deque[tuple[Segment | StretchAt, Future[Pieces] | None]] = deque()
        depth = 0
        for segment in segments:
            room = depth if segment.end - segment.start <= AHEAD_BYTES_MAX else 0
            while len(waiting) > room:
                first, loading = waiting.popleft()
                pieces = () if loading is None else loading.result()
                depth = _depth_after(pieces) if pieces else depth
                yield first, pieces
            if not isinstance(segment, StretchAt):
                waiting.append((segment, None))
            elif room:
                waiting.append((segment, loaders.submit(load, segment)))
            else:
                # Another thread would only be waited for.
                pieces = load(segment)
                depth = _depth_after(pieces)
                yield segment, pieces
        for first, loading in waiting:
            yield first, () if loading is None else loading.result()


def _depth_after(pieces: Pieces) -> int:
    """Tell how many more may wait, by what a stretch keeps in memory; a shared buffer counts once.

    How much chunks hold is known when the first is loaded; those of a file are much alike.
    """
    sizes = {id(piece.data): len(piece.data) for piece in pieces if piece.data is not None}
    return AHEAD if sum(sizes.values()) <= AHEAD_BYTES_MAX else 0
