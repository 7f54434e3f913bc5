"""Damaged and hostile MCAP files: everything intact is read, nothing twice, nothing altered.

What may be missing is told by an independent walk of the undamaged file: a message stands on the
bytes of its record, or of its whole chunk where that is compressed or carries a checksum.
"""

import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, IndexType

from bridge.bags.container import ReadLimits
from bridge.errors import BridgeError, NotARecordingError
from tests.bags.mcap import mcap_files as made
from tests.bags.mcap.mcap_files import REAL, SHARED, Seen

needs_shared = pytest.mark.skipif(not REAL, reason=f"no recordings in {SHARED}")

VARIANTS = {
    f"{compression.name} {'index' if index else 'bare'} {'crc' if crcs else 'no crc'}": {
        "compression": compression,
        "index_types": IndexType.ALL if index else IndexType.NONE,
        "repeat_channels": index,
        "repeat_schemas": index,
        "use_statistics": index,
        "enable_crcs": crcs,
    }
    for compression in CompressionType
    for index in (True, False)
    for crcs in (True, False)
} | {
    "unchunked": {"use_chunking": False},
    "unchunked bare": {
        "use_chunking": False,
        "repeat_channels": False,
        "repeat_schemas": False,
        "use_statistics": False,
    },
}

CRC_FIELD = slice(9 + 24, 9 + 28)
"""Where a chunk record keeps the checksum of its records."""


class Damage(NamedTuple):
    """Bytes that replace those of a file from a position on."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def hits(self, start: int, end: int) -> bool:
        return start < self.end and self.start < end


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS), scope="module")
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("variant") / "a.mcap"
    made.write_with_library(path, made.sample(150), chunk_size=2048, **request.param)
    return path.read_bytes()


def check_cuts(data: bytes, path: Path, cuts: range) -> Counter[str]:
    """Cut a file at places; every message before the cut must come out, and no other."""
    placed = made.place_messages(data)
    outcome: Counter[str] = Counter()
    for cut in cuts:
        path.write_bytes(data[:cut])
        expected = Counter(place.seen for place in placed if place.end <= cut)
        if cut < len(made.MAGIC):
            with pytest.raises(NotARecordingError):
                made.read_with_ours(path)
            continue
        ours = made.read_with_ours(path)
        found = Counter(ours.messages)
        every = Counter(place.seen for place in placed)
        assert not expected - found, f"cut at {cut}: messages before the cut are missing"
        assert not found - every, f"cut at {cut}: messages that were never recorded"
        assert not ours.healthy, f"cut at {cut}: taken for a whole file"
        outcome["files"] += 1
        outcome["messages"] += found.total()
        outcome["recovered from torn chunks"] += (found - expected).total()
    return outcome


def check_damage(data: bytes, path: Path, damage: Damage) -> Counter[str]:
    """Damage a file; every message on intact bytes must come out, or be counted as skipped.

    Where doubtful chunks are to be dropped, nothing altered may come out of a chunk with a
    checksum. Two things excuse a message that does not come out: the only declaration of its
    channel is damaged, or its chunk's checksum itself is. Where doubtful chunks are kept, more
    comes out, and the doubt is told.
    """
    placed = made.place_messages(data)
    damaged = bytearray(data)
    damaged[damage.start : damage.end] = damage.data
    path.write_bytes(damaged[: len(data)])
    ours = made.read_with_ours(path, limits=ReadLimits(keep_doubtful_chunks=False))
    found = Counter(ours.messages)
    every = Counter(place.seen for place in placed)
    kept = made.read_with_ours(path)
    doubted = bool(kept.tally.losses)
    more = len(kept.messages) > len(ours.messages)
    assert not found - Counter(kept.messages), f"{damage}: keeping doubtful chunks costs messages"
    assert doubted or Counter(kept.messages) == found, f"{damage}: kept without a word of doubt"
    assert not more or kept.tally.unverified_messages, f"{damage}: doubtful and called verified"
    undeclared = any(damage.hits(*place) for place in made.place_declarations(data))
    expected: Counter[Seen] = Counter()
    for place in placed:
        start, end = place.chunk if place.chunk and place.has_crc else (place.start, place.end)
        at = place.chunk[0] if place.chunk else 0
        checksum_hit = place.chunk and damage.hits(at + CRC_FIELD.start, at + CRC_FIELD.stop)
        if not damage.hits(start, end) and not checksum_hit:
            expected[place.seen] += 1
    missing, extra = expected - found, found - every
    skipped = sum(ours.tally.skipped.values())
    assert undeclared or missing.total() <= skipped, f"{damage}: intact messages are missing"
    if any(place.has_crc and damage.hits(*(place.chunk or (0, 0))) for place in placed):
        assert undeclared or not extra, f"{damage}: altered in spite of a checksum"
    assert not extra or ours.tally.unverified_messages, f"{damage}: altered and called verified"
    silent = not ours.tally.losses and not skipped and not ours.tally.extras["unknown records"]
    assert undeclared or extra or not silent or found == every, f"{damage}: lost without a word"
    # A damaged message may come out as the twin of another, so twins are counted against the hits.
    hit = sum(damage.hits(place.start, place.end) for place in placed)
    assert undeclared or extra.total() <= hit, f"{damage}: read twice, or altered without cause"
    return Counter(files=1, messages=found.total(), lost=(every - found).total())


def random_damage(size: int, seed: int) -> Damage:
    """Make a stretch of zeros or random bytes somewhere in a file."""
    chance = random.Random(seed)
    start = chance.randrange(len(made.MAGIC), size)
    length = min(chance.choice([1, 1, 2, 4, 9, 30, 100, 500, 3000]), size - start)
    return Damage(start, bytes(length) if chance.random() < 0.5 else chance.randbytes(length))


def test_every_variant_cut_anywhere_gives_what_is_before_the_cut(
    variant: bytes, tmp_path: Path
) -> None:
    """A recorder that lost its power costs what was not on disk, whatever the layout."""
    outcome = check_cuts(variant, tmp_path / "a.mcap", range(0, len(variant), 101))
    assert outcome["messages"] > 0


def test_every_variant_damaged_anywhere_gives_what_is_intact(
    variant: bytes, tmp_path: Path
) -> None:
    """Damage in the middle costs what it hit; reading goes on behind it."""
    outcome: Counter[str] = Counter()
    for seed in range(25):
        outcome += check_damage(variant, tmp_path / "a.mcap", random_damage(len(variant), seed))
    assert outcome["lost"] > 0


@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_cut_here_and_there(path: Path, tmp_path: Path) -> None:
    """A recorder's file cut at every 797th byte gives exactly what is before the cut, at least."""
    data = path.read_bytes()
    check_cuts(data, tmp_path / "a.mcap", range(0, len(data), 797))


@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_damaged_here_and_there(path: Path, tmp_path: Path) -> None:
    """A recorder's file with a stretch overwritten gives everything else."""
    data = path.read_bytes()
    for seed in range(20):
        check_damage(data, tmp_path / "a.mcap", random_damage(len(data), seed))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.timeout(3600)
@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_cut_at_every_byte(path: Path, tmp_path: Path) -> None:
    """A recorder's file cut at every single byte gives what is before the cut, at least."""
    data = path.read_bytes()
    outcome = check_cuts(data, tmp_path / "a.mcap", range(len(data)))
    assert outcome["files"] == len(data) - len(made.MAGIC)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.timeout(3600)
@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_damaged_at_thousands_of_places(path: Path, tmp_path: Path) -> None:
    """Thousands of random stretches of damage cost what they hit and nothing else."""
    data = path.read_bytes()
    outcome: Counter[str] = Counter()
    for seed in range(3000):
        outcome += check_damage(data, tmp_path / "a.mcap", random_damage(len(data), seed))
    assert outcome["files"] == 3000


def test_losses_name_their_bytes(tmp_path: Path) -> None:
    """A loss covers the damage, names file and reason, and says whether a checksum could tell."""
    path = tmp_path / "a.mcap"
    made.write_with_library(path, made.sample(150), compression=CompressionType.ZSTD)
    data = bytearray(path.read_bytes())
    chunk = made.place_messages(bytes(data))[0].chunk
    assert chunk is not None
    data[chunk[1] - 10] ^= 0xFF
    path.write_bytes(data)
    (loss,) = made.read_with_ours(path).tally.losses
    assert loss.path == path
    assert loss.start_bytes <= chunk[1] - 10 < loss.end_bytes
    assert loss.reason
    assert loss.verifiable


@pytest.mark.parametrize("kept", [True, False])
def test_chunk_with_a_wrong_checksum_is_kept_with_the_doubt_told_or_dropped(
    tmp_path: Path, *, kept: bool
) -> None:
    """Something of the chunk is altered; whether its messages are wanted is a setting."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    good = made.chunk(made.message(1, 2), crc=None)
    bad = made.chunk(made.message(1, 1), crc=12345)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(declared + bad + good))
    ours = made.read_with_ours(path, limits=ReadLimits(keep_doubtful_chunks=kept))
    assert [message.log_time for message in ours.messages] == ([1, 2] if kept else [2])
    assert ours.tally.unverified_messages == (1 if kept else 0)
    (loss,) = ours.tally.losses
    assert loss.reason.startswith("the chunk's checksum is wrong")
    assert loss.end_bytes - loss.start_bytes == (0 if kept else len(bad))


def test_message_whose_length_lies_is_not_believed(tmp_path: Path) -> None:
    """Messages found inside of what another claims as its payload are real, the other is not."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    liar = made.record(5, made.message(1, 1)[9:], length=22 + 4 + 60)
    rest = b"".join(made.message(1, time, bytes(20)) for time in (2, 3, 4, 5))
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(declared + made.message(1, 0) + liar + rest))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [0, 2, 3, 4, 5]
    (loss,) = ours.tally.losses
    assert loss.end_bytes - loss.start_bytes == len(liar)
    assert not loss.verifiable


def test_damage_that_an_index_leaves_out_is_still_a_loss(tmp_path: Path) -> None:
    """A damaged message between two that a message index points to is reported."""
    first, last = made.message(1, 1), made.message(1, 3)
    middle = made.record(5, made.message(1, 2)[9:], length=1 << 40)
    body = made.chunk(first + middle + last)
    index = made.message_index(1, [(1, 0), (3, len(first + middle))])
    path = tmp_path / "a.mcap"
    declared = made.schema(1) + made.channel(1, 1, "/a")
    path.write_bytes(made.finished(declared + body + index))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [1, 3]
    (loss,) = ours.tally.losses
    assert loss.end_bytes - loss.start_bytes == len(middle)


def test_only_declared_channels_lead_back(tmp_path: Path) -> None:
    """Bytes that look like messages of a channel nobody declared are part of the damage."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    lookalikes = b"".join(made.message(9, time) for time in range(5))
    rest = b"".join(made.message(1, time) for time in (1, 2, 3))
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(declared + b"\x00" * 9 + lookalikes + b"\x00" * 9 + rest))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [1, 2, 3]
    assert not ours.tally.skipped


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_chunk_over_the_limit_is_refused_before_it_takes_memory(
    tmp_path: Path, compression: str
) -> None:
    """A chunk may be real and still too large; the next one is read."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    large = made.chunk(made.message(1, 1, bytes(3 << 20)), compression=compression)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(declared + large + made.chunk(made.message(1, 2))))
    ours = made.read_with_ours(path, limits=ReadLimits(chunk_bytes_max=1 << 20))
    assert [message.log_time for message in ours.messages] == [2]
    (loss,) = ours.tally.losses
    assert loss.reason.endswith(f"the limit is {1 << 20} (reading.chunk_bytes_max)")


@pytest.mark.parametrize("chunked", [True, False])
def test_checksum_of_the_data_section_is_checked_where_it_is_the_only_one(
    tmp_path: Path, *, chunked: bool
) -> None:
    """One altered payload byte in a file without chunk checksums is known before it is read."""
    path = tmp_path / "a.mcap"
    made.write_with_library(
        path, made.sample(150), use_chunking=chunked, enable_crcs=False, enable_data_crcs=True
    )
    whole = made.read_with_ours(path)
    assert (whole.healthy, whole.tally.unverified_messages) == (True, 0)
    data = bytearray(path.read_bytes())
    data[made.place_messages(bytes(data))[50].end - 1] ^= 1
    path.write_bytes(data)
    ours = made.read_with_ours(path)
    assert not ours.healthy
    assert len(ours.messages) == ours.tally.unverified_messages == 150
    (loss,) = ours.tally.losses
    assert "data section's checksum" in loss.reason


def test_messages_of_lost_declarations_are_counted(tmp_path: Path) -> None:
    """Where every declaration is lost, messages are still found, and counted as undecodable."""
    rest = b"".join(made.message(1, time) for time in range(5))
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(bytes(50) + rest))
    assert made.read_with_ours(path).skipped == {("", "unknown_channel"): 5}


def test_zero_filled_tail_is_no_message(tmp_path: Path) -> None:
    """What a file system leaves after a power cut, zeros, ends the file and invents nothing."""
    path = tmp_path / "a.mcap"
    made.write_with_library(path, made.sample(150), use_chunking=False)
    data = path.read_bytes()
    placed = made.place_messages(data)
    path.write_bytes(data[: placed[99].end] + bytes(100_000))
    ours = made.read_with_ours(path)
    assert sorted(ours.messages) == sorted(place.seen for place in placed[:100])
    assert not ours.healthy


def test_nothing_but_zeros_behind_the_magic_is_not_closed(tmp_path: Path) -> None:
    """The magic at the start of a file is not the one at its end."""
    path = tmp_path / "a.mcap"
    path.write_bytes(made.MAGIC + bytes(1000))
    ours = made.read_with_ours(path)
    assert not ours.healthy
    assert ours.tally.losses


BOMBS = {
    "honest bomb": made.chunk(bytes(300 << 20), compression="zstd"),
    "lying bomb": made.chunk(b"", packed=made.chunk(bytes(64 << 20), compression="zstd")[60:],
                             compression="zstd", claimed_bytes=100),
    "claims 2**62": made.chunk(b"x" * 100, compression="zstd", claimed_bytes=1 << 62),
    "claims beyond lz4": made.chunk(b"x" * 100, compression="lz4", claimed_bytes=100 << 20),
    "claims too little": made.chunk(b"x" * 1000, compression="lz4", claimed_bytes=10),
    "claims too much": made.chunk(b"x" * 1000, compression="lz4", claimed_bytes=1001),
    "claims too much, zstd": made.chunk(b"x" * 1000, compression="zstd", claimed_bytes=1001),
    "unknown compression": made.chunk(b"x" * 100, packed=b"y" * 50).replace(
        made.text(""), made.text("brotli"), 1
    ),
    "record of 2**62 inside": made.chunk(made.record(5, b"x" * 40, length=1 << 62)),
    "record of 2**64 - 1 inside": made.chunk(made.record(5, b"x" * 40, length=(1 << 64) - 1)),
    "record of 2**62 outside": made.record(5, b"x" * 40, length=1 << 62),
    "chunk of 2**63": made.record(6, b"x" * 40, length=1 << 63),
    "zeros": bytes(100_000),
    "ones": b"\x01" * 100_000,
    "fives": b"\x05\x16" + b"\x00" * 7 + b"\x05" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=list(BOMBS))
@pytest.mark.timeout(20)
def test_poison_costs_itself_only(tmp_path: Path, bomb: bytes) -> None:
    """A claim beyond all bounds is refused before memory is taken; messages around it arrive."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    path = tmp_path / "a.mcap"
    before = made.chunk(declared + made.message(1, 1), crc=None)
    after = made.chunk(made.message(1, 2), crc=None)
    path.write_bytes(made.finished(before + bomb + after))
    tracemalloc.start()
    ours = made.read_with_ours(path, limits=ReadLimits(chunk_bytes_max=64 << 20))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [message.log_time for message in ours.messages] == [1, 2]
    assert ours.tally.losses
    assert peak_bytes < 100 << 20


def test_overlapping_chunks_of_a_lying_summary_are_read_once(tmp_path: Path) -> None:
    """Chunk indexes that overlap are not believed; the file is walked instead."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    body = made.chunk(declared + made.message(1, 1))
    start = len(made.MAGIC + made.header())
    indexes = b"".join(made.chunk_index(start + n, len(body), {}, 0) for n in range(20))
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, declared + indexes + made.statistics({1: 1})))
    assert [message.log_time for message in made.read_with_ours(path).messages] == [1]


@pytest.mark.timeout(60)
def test_megabytes_of_candidates_do_not_hang(tmp_path: Path) -> None:
    """Bytes that look like heads of messages all over are searched in bounded time."""
    path = tmp_path / "a.mcap"
    declared = made.schema(1) + made.channel(1, 1, "/a") + made.message(1, 1)
    heads = (made.message(1, 7, b"")[:24] + b"\x00") * 80_000
    path.write_bytes(made.finished(declared + b"\x00" + heads))
    ours = made.read_with_ours(path)
    assert ours.messages[0].log_time == 1


RECORDS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        made.record,
        st.integers(0, 255),
        st.binary(max_size=60),
        length=st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 60),
    ),
    st.builds(made.schema, st.integers(0, 3)),
    st.builds(made.channel, st.integers(0, 3), st.integers(0, 3), st.sampled_from(["/a", ""])),
    st.builds(made.message, st.integers(0, 3), st.integers(0, 2**64 - 1), st.binary(max_size=9)),
)

PARTS = st.one_of(
    RECORDS,
    st.builds(
        made.chunk,
        st.lists(RECORDS, max_size=5).map(b"".join),
        compression=st.sampled_from(["", "lz4", "zstd"]),
        crc=st.none() | st.just(0) | st.just(1),
        claimed_bytes=st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 300),
    ),
    st.builds(
        made.message_index,
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 200)), max_size=4),
    ),
    st.builds(
        made.chunk_index,
        st.integers(0, 300),
        st.integers(0, 300),
        st.dictionaries(st.integers(0, 3), st.integers(0, 300), max_size=2),
        st.integers(0, 100),
    ),
    st.builds(made.statistics, st.dictionaries(st.integers(0, 3), st.integers(0, 9), max_size=3)),
)


def check_fuzz(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        made.read_with_ours(path, limits=ReadLimits(chunk_bytes_max=1 << 20))
    except BridgeError:
        return


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=st.lists(PARTS, max_size=8), summary=st.lists(PARTS, max_size=4), whole=st.booleans())
def test_fuzzed_files_end_in_messages_or_our_errors(
    tmp_path: Path, *, body: list[bytes], summary: list[bytes], whole: bool
) -> None:
    """Records of any kind in any order never lead to a foreign error or a hang."""
    data = made.finished(b"".join(body), b"".join(summary))
    check_fuzz(tmp_path / "a.mcap", data if whole else made.MAGIC + b"".join(body))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.timeout(3600)
@settings(max_examples=20_000, suppress_health_check=list(HealthCheck))
@given(body=st.lists(PARTS, max_size=12), summary=st.lists(PARTS, max_size=6), whole=st.booleans())
def test_fuzzed_files_at_length(
    tmp_path: Path, *, body: list[bytes], summary: list[bytes], whole: bool
) -> None:
    """The same for as long as somebody has patience."""
    data = made.finished(b"".join(body), b"".join(summary))
    check_fuzz(tmp_path / "a.mcap", data if whole else made.MAGIC + b"".join(body))
