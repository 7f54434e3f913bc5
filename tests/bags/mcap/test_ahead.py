"""Loading ahead: the order of the file, errors in their place, big chunks one at a time."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from bridge.bags.mcap.chunk import Piece
from bridge.bags.mcap.scan import ChunkAt, OtherAt, Segment
from bridge.bags.mcap.stretch import (
    AHEAD,
    AHEAD_BYTES_MAX,
    JOINED_AHEAD,
    StretchAt,
    load_ahead,
    loaders,
)
from bridge.errors import RecordingChangedError


@dataclass(slots=True)
class Loads:
    """Loads chunks of a given size, each of which holds its own position."""

    size_bytes: int
    fails_at: int = -1
    begun: list[int] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, stretch: StretchAt) -> tuple[Piece, ...]:
        with self.guard:
            self.begun.append(stretch.start)
        time.sleep(random.random() / 200)
        if stretch.start == self.fails_at:
            raise RecordingChangedError("shorter")
        return (Piece(data=np.full(self.size_bytes, stretch.start % 251, np.uint8), slices=None),)


def segments_of(count: int, size_bytes: int) -> Iterator[Segment | StretchAt]:
    for number in range(count):
        start = number * size_bytes
        if number % 5 == 4:
            yield OtherAt(start=start, end=start + 10, opcode=0x0C)
        else:
            end = start + size_bytes
            yield StretchAt(chunks=(ChunkAt(start=start, end=end, index_end=end),))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with loaders() as pool:
        yield pool


def test_chunks_come_in_the_order_of_the_file(threads: ThreadPoolExecutor) -> None:
    """However long each takes to load, and with other records between them."""
    seen = list(load_ahead(segments_of(40, 100), Loads(300), threads))

    assert [segment for segment, _ in seen] == list(segments_of(40, 100))
    for segment, pieces in seen:
        if isinstance(segment, StretchAt):
            (piece,) = pieces
            assert piece.data is not None
            assert piece.data[0] == segment.start % 251
        else:
            assert pieces == ()


def test_only_a_few_chunks_are_loaded_before_they_are_asked_for(
    threads: ThreadPoolExecutor,
) -> None:
    """A caller that stops asking stops the loading, too."""
    load = Loads(300)
    ahead = load_ahead(segments_of(40, 100), load, threads)
    for _ in range(3):
        next(ahead)
    time.sleep(0.1)

    assert 3 < len(load.begun) <= 3 + AHEAD + 1
    ahead.close()


@pytest.mark.parametrize(
    ("in_file_bytes", "in_memory_bytes"),
    [(AHEAD_BYTES_MAX + 1, 300), (100, AHEAD_BYTES_MAX + 1)],
    ids=["plain", "compressed"],
)
def test_big_chunks_are_loaded_one_at_a_time(
    threads: ThreadPoolExecutor, in_file_bytes: int, in_memory_bytes: int
) -> None:
    """No second one is begun before the first was handed over."""
    load = Loads(in_memory_bytes)
    ahead = load_ahead(segments_of(8, in_file_bytes), load, threads)
    for number, (segment, _) in enumerate(ahead):
        if isinstance(segment, StretchAt) and number:
            assert load.begun[-1] == segment.start


def test_one_stretch_of_several_chunks_is_loaded_ahead(threads: ThreadPoolExecutor) -> None:
    """So that the disk does not wait while another is cut, and memory holds few of them."""
    chunks = [ChunkAt(start=at, end=at + 100, index_end=at + 100) for at in range(0, 4000, 100)]
    joined = [StretchAt(chunks=pair) for pair in zip(chunks[::2], chunks[1::2], strict=True)]
    load = Loads(300)
    for number, (segment, _) in enumerate(load_ahead(joined, load, threads)):
        time.sleep(0.02)
        # How much they hold is known with the first.
        ahead = min(number + JOINED_AHEAD, len(joined) - 1) if number else 0

        assert segment == joined[number]
        assert max(load.begun) == joined[ahead].start


def test_an_error_comes_in_its_place(threads: ThreadPoolExecutor) -> None:
    """What stands before the chunk that cannot be read is still handed over."""
    seen = []
    with pytest.raises(RecordingChangedError):
        for segment, _ in load_ahead(segments_of(20, 100), Loads(300, fails_at=700), threads):
            seen.append(segment)

    assert seen == list(segments_of(7, 100))


def test_who_gives_up_half_way_waits_for_no_thread(threads: ThreadPoolExecutor) -> None:
    """The garbage collector closes generators in any thread, also in one that is being born."""
    goes_on = threading.Event()

    def load(stretch: StretchAt) -> tuple[Piece, ...]:
        assert stretch.start <= 100 or goes_on.wait(60)
        return (Piece(data=np.zeros(300, np.uint8), slices=None),)

    ahead = load_ahead(segments_of(40, 100), load, threads)
    next(ahead)
    next(ahead)
    giving_up = threading.Thread(target=ahead.close)
    giving_up.start()
    giving_up.join(10)
    waits = giving_up.is_alive()
    goes_on.set()

    assert not waits
