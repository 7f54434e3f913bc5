"""Whole compressed files and compressed payloads: whole, cut, lying and bombs."""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bags import load_recording, open_recording, scratch
from bridge.bags.compression import (
    PLAIN,
    ExpandedFile,
    decompress_messages,
    expand_file,
    has_compressed,
)
from bridge.bags.container import ChannelBlock, ReadLimits
from bridge.bags.frames import HEADER_BYTES_MAX, content_size
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingLimitError,
    RecordingVanishedError,
    ScratchSpaceError,
)
from bridge.model import Container, RecordingFile
from tests.bags.sqlite.sqlite_files import create, insert

LIMITS = ReadLimits()

CDR = b"\x00\x01\x00\x00rest"


def compressed(raw: bytes) -> bytes:
    """One frame that says how much it holds."""
    frame: bytes = pa.Codec("zstd").compress(raw, asbytes=True)
    return frame


def streamed(raw: bytes) -> bytes:
    """One frame that does not say how much it holds."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    frame: bytes = sink.getvalue().to_pybytes()
    assert not raw or content_size(frame) is None
    return frame


def file_of(path: Path, content: bytes) -> RecordingFile:
    path.write_bytes(content)
    return RecordingFile(
        path=path, size_bytes=len(content), container=Container.SQLITE3, compression="zstd"
    )


def expanded(file: RecordingFile, scratch_dir: Path) -> tuple[bytes, str]:
    """Expand a file and give its content, checking that nothing stays behind."""
    scratch_dir.mkdir(exist_ok=True)
    with expand_file(file, limits=LIMITS, scratch_dir=scratch_dir) as whole:
        assert isinstance(whole, ExpandedFile)
        assert whole.file.compression == ""
        assert whole.file.size_bytes == whole.file.path.stat().st_size
        assert scratch_dir in whole.file.path.parents
        content = whole.file.path.read_bytes()
    assert not list(scratch_dir.iterdir())
    return content, whole.torn


@pytest.mark.parametrize("size_bytes", [1, 255, 256, 65_791, 65_792, 1_000_000])
@pytest.mark.parametrize("make", [compressed, streamed])
def test_file_is_expanded(tmp_path: Path, size_bytes: int, make: Callable[[bytes], bytes]) -> None:
    """A compressed file comes out as it was, whether its frame tells the size or not."""
    raw = os.urandom(size_bytes)

    assert expanded(file_of(tmp_path / "a.zstd", make(raw)), tmp_path / "s") == (raw, "")


def test_several_frames_are_one_file(tmp_path: Path) -> None:
    """Frames behind each other give their content behind each other."""
    file = file_of(tmp_path / "a.zstd", compressed(b"one") + streamed(b"two"))

    assert expanded(file, tmp_path / "s") == (b"onetwo", "")


def test_cut_file_gives_what_comes_before_the_cut(tmp_path: Path) -> None:
    """Wherever a file is cut, a prefix of its content comes out, up to the last whole block."""
    raw = b"".join(os.urandom(500) + bytes(500) for _ in range(1000))
    frame = compressed(raw)
    lengths = []
    for cut in range(len(frame) // 20, len(frame), len(frame) // 10):
        try:
            content, torn = expanded(file_of(tmp_path / "a.zstd", frame[:cut]), tmp_path / "s")
        except DamagedRecordingError:
            lengths.append(0)
            continue
        assert torn
        assert raw.startswith(content)
        lengths.append(len(content))

    assert lengths == sorted(lengths)
    # A block of zstd holds 128 KiB at most: no more than that is missing before the cut.
    assert lengths[-1] > 0.9 * len(raw) - (128 << 10)


@pytest.mark.parametrize("spare", [b"garbage", bytes(5000), b"\x28"])
def test_bytes_behind_the_last_frame_belong_to_none(tmp_path: Path, spare: bytes) -> None:
    """What follows the last frame takes nothing away, and nothing is missing."""
    content, torn = expanded(
        file_of(tmp_path / "a.zstd", compressed(b"content") + spare), tmp_path / "s"
    )

    assert content == b"content"
    assert not torn


def test_frame_that_is_cut_behind_a_whole_one_is_missing(tmp_path: Path) -> None:
    """What starts like a frame is one, and the rest of it is not there."""
    content, torn = expanded(
        file_of(tmp_path / "a.zstd", compressed(b"content") + compressed(b"more" * 100)[:-4]),
        tmp_path / "s",
    )

    assert content.startswith(b"content")
    assert torn


def test_what_is_no_zstd_file_is_refused(tmp_path: Path) -> None:
    """Empty, foreign and missing files each end in the right error, naming the file."""
    cases = {b"": DamagedRecordingError, b"SQLite format 3\0": NotARecordingError}
    for content, kind in cases.items():
        file = file_of(tmp_path / "a.zstd", content)
        with pytest.raises(kind) as caught, expand_file(file, limits=LIMITS):
            pass
        assert caught.value.path == file.path
    file.path.unlink()
    with pytest.raises(RecordingVanishedError), expand_file(file, limits=LIMITS):
        pass


def test_bombs_are_refused_before_and_while_expanding(tmp_path: Path) -> None:
    """A claim beyond the limit is refused unseen, a stream without a claim when it passes it."""
    limits = ReadLimits(chunk_bytes_max=1 << 20)
    for frame in (compressed(bytes(100 << 20)), streamed(bytes(100 << 20))):
        file = file_of(tmp_path / "a.zstd", frame)
        with (
            pytest.raises(RecordingLimitError) as caught,
            expand_file(file, limits=limits, scratch_dir=tmp_path),
        ):
            pass
        assert caught.value.path == file.path
    assert [path.name for path in tmp_path.iterdir()] == ["a.zstd"]


def test_space_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the whole copy nothing is written, and the error is nobody's fault."""
    monkeypatch.setattr(scratch, "FREE_BYTES_MIN", 1 << 60)
    file = file_of(tmp_path / "a.zstd", compressed(bytes(1000)))

    with pytest.raises(ScratchSpaceError) as caught, expand_file(file, limits=LIMITS):
        pass

    assert caught.value.retryable
    assert caught.value.needed_bytes >= 1000


def block_of(payloads: list[bytes]) -> ChannelBlock:
    """A block with its payloads behind each other in reverse order, with gaps."""
    lengths = np.array([len(payload) for payload in payloads], dtype=np.int64)
    data = b"gap".join([b"", *payloads[::-1]])
    ends = (np.cumsum(lengths[::-1] + 3))[::-1]
    return ChannelBlock(
        channel=7,
        log_times_ns=np.arange(len(payloads), dtype=np.int64),
        data=np.frombuffer(data, dtype=np.uint8),
        starts=ends - lengths,
        ends=ends,
    )


def payloads_of(blocks: list[ChannelBlock]) -> list[tuple[int, bytes]]:
    return [
        (int(time), block.data[start:end].tobytes())
        for block in blocks
        for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True)
    ]


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=20))
def test_payloads_are_decompressed_in_order(messages: list[tuple[bytes, bool]]) -> None:
    """Every payload comes back with its time, whether its frame tells the size or not."""
    block = block_of([(compressed if sized else streamed)(raw) for raw, sized in messages])
    dropped: Counter[str] = Counter()

    found = list(
        decompress_messages(block, limits=LIMITS, dropped=dropped, contradictions=Counter())
    )

    assert payloads_of(found) == [(time, raw) for time, (raw, _) in enumerate(messages)]
    assert {block.channel for block in found} <= {7}
    assert not dropped
    assert has_compressed(block) == bool(messages)


def test_bad_payloads_are_dropped_alone() -> None:
    """Plain, cut, lying and over-long payloads are counted by reason; the others arrive."""
    good = compressed(b"good")
    lying = bytearray(compressed(bytes(300)))
    lying[5] += 1
    block = block_of(
        [
            good,
            b"plain",
            b"",
            compressed(os.urandom(900))[:-5],
            bytes(lying),
            compressed(bytes(5000)),
            streamed(bytes(5000)),
            good[:5],
            streamed(b"late"),
        ]
    )
    dropped: Counter[str] = Counter()

    found = list(
        decompress_messages(
            block,
            limits=ReadLimits(message_bytes_max=4999),
            dropped=dropped,
            contradictions=Counter(),
        )
    )

    assert payloads_of(found) == [(0, b"good"), (8, b"late")]
    assert dropped == {
        "payload is not compressed although the recording says so": 2,
        "compressed payload is damaged": 3,
        "payload is over the size limit": 2,
    }


def test_decompressed_blocks_stay_small() -> None:
    """A small block of well compressed payloads becomes several blocks, not a huge one."""
    block = block_of([compressed(bytes(3 << 20))] * 10)

    found = list(
        decompress_messages(block, limits=LIMITS, dropped=Counter(), contradictions=Counter())
    )

    assert max(part.data.nbytes for part in found) <= 11 << 20
    assert len(payloads_of(found)) == 10


def test_plain_payloads_are_not_taken_for_compressed() -> None:
    """CDR never begins like a frame; an empty block tells nothing."""
    assert not has_compressed(block_of([CDR, CDR]))
    assert has_compressed(block_of([CDR, compressed(CDR)]))
    assert not has_compressed(block_of([]))


@pytest.mark.parametrize("claim", ["MESSAGE", "message", "FILE", "NONE", ""])
@pytest.mark.parametrize("packed", ["all", "none", "first", "last", "every other"])
def test_what_is_compressed_decides_and_no_claim(tmp_path: Path, claim: str, packed: str) -> None:
    """Each payload is read as what it is, in order; plain ones among frames are reported."""
    chosen = {"all": range(20), "first": [0], "last": [19], "every other": range(0, 20, 2)}
    frames = set(chosen.get(packed, ()))
    connection = sqlite3.connect(tmp_path / "a.db3")
    create(connection, 3)
    payloads = [CDR + bytes([n]) for n in range(20)]
    rows = [(1, n, compressed(raw) if n in frames else raw) for n, raw in enumerate(payloads)]
    insert(connection, rows)
    connection.commit()
    connection.close()
    (tmp_path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: sqlite3\n"
        "  relative_file_paths: [a.db3]\n  compression_format: zstd\n"
        f"  compression_mode: {claim}\n"
    )

    with open_recording(load_recording(tmp_path)) as reader:
        found = [
            block.data[start:end].tobytes()
            for block in reader.blocks()
            for start, end in zip(block.starts, block.ends, strict=True)
        ]
        tally = reader.tally

    assert found == payloads
    assert not tally.skipped
    told = (frames or claim.upper() == "MESSAGE") and len(frames) < len(payloads)
    assert tally.contradictions == ({PLAIN: len(payloads) - len(frames)} if told else {})


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_791, 65_792, 1 << 20])
def test_frame_tells_its_content(size: int) -> None:
    """The claimed size is that of the content, for every width of the field."""
    frame = compressed(bytes(size))

    assert content_size(frame[:HEADER_BYTES_MAX]) == size
    assert content_size(frame[:5]) is None


def reserved_bytes() -> int:
    """What this process has for private data, touched or not."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmData:")[1].split()[0]) * 1024


def test_damaged_payloads_cost_no_memory() -> None:
    """Hundreds of torn messages leave nothing behind; a worker has a limit to live within."""
    block = block_of([streamed(os.urandom(400_000))[:300_000]] * 200)
    before = 0
    for _ in range(2):
        before = reserved_bytes()
        dropped: Counter[str] = Counter()
        assert not list(
            decompress_messages(block, limits=LIMITS, dropped=dropped, contradictions=Counter())
        )

    assert dropped == {"compressed payload is damaged": 200}
    assert reserved_bytes() - before < 20 << 20
