"""A part is on the platform once, whatever it is grouped with; what the platform holds is asked."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import content_of, find_recordings, load_recording, load_seen
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.errors import BusyElsewhereError, ServerError, TransientError
from bridge.ingest import (
    Held,
    Identity,
    IngestOptions,
    IngestReport,
    NoEvents,
    OpenUpload,
    SequenceContent,
    TopicRows,
    VerificationLevel,
    contents_of,
    held_whole,
    ingest,
)
from bridge.ingest.delivered import find_delivered
from bridge.ingest.holding import ASKED_AT_ONCE
from bridge.mapping import BRIDGE_KEY
from bridge.model import Recording
from tests.ingest.platforms import EVERY_REVISION, platform

OPTIONS = IngestOptions(identity=Identity(instance="test"))
SPLITS = 5
MESSAGES = 4


def split_bytes(number: int, messages: int = MESSAGES) -> bytes:
    """Make one split of a longer recording; every message tells which it is by its time."""
    stream = BytesIO()
    writer = McapWriter(stream)
    writer.start(profile="ros2", library=f"split {number}")
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/chatter", "cdr", schema)
    for index in range(messages):
        stamp = 1_000_000 * number + index
        payload = b"\0\1\0\0" + (2).to_bytes(4, "little") + b"x\0"
        writer.add_message(channel, log_time=stamp, publish_time=stamp, data=payload)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("splits")
    paths = [folder / f"drive_{number}.mcap" for number in range(SPLITS)]
    for number, path in enumerate(paths):
        path.write_bytes(split_bytes(number))
    return paths


def group(*paths: Path) -> Recording:
    """Give some splits as one recording."""
    files = tuple(load_recording(path).files[0] for path in paths)
    return Recording(path=paths[0], name="drive", files=files)


def times_on(client: MosaicoClient) -> Counter[int]:
    """Count how often each message is on the platform, by reading it back."""
    found: Counter[int] = Counter()
    client.clear_sequence_handlers_cache()
    for name in client.list_sequences():
        handler = client.sequence_handler(name)
        assert handler is not None
        assert handler.is_locked
        for topic in handler.topics:
            for batch in handler.topic_handler(topic).batches():
                found.update(batch.column("timestamp_ns").to_pylist())
    return found


def once(*numbers: int) -> Counter[int]:
    """Give the messages of splits, each once."""
    return Counter(1_000_000 * number + index for number in numbers for index in range(MESSAGES))


@pytest.mark.parametrize("revision", EVERY_REVISION)
def test_only_parts_that_are_not_there_are_sent(
    revision: str, splits: list[Path], tmp_path: Path
) -> None:
    """Whatever the group looks like: each message is on the platform once, and linked."""
    with platform(revision, tmp_path) as client:
        first = ingest(group(*splits[:2]), client=client, options=OPTIONS)
        alone = ingest(group(splits[3]), client=client, options=OPTIONS)
        whole = ingest(group(*splits), client=client, options=OPTIONS)
        again = ingest(group(*splits[1:4]), client=client, options=OPTIONS)
        handler = client.sequence_handler(whole.sequence)
        assert handler is not None

        assert times_on(client) == once(*range(SPLITS))
        assert set(handler.user_metadata[BRIDGE_KEY]["follows"]) == {first.sequence, alone.sequence}
    assert whole.complete
    assert (whole.parts_before, whole.parts) == (3, 5)
    assert f"3 of 5 parts were sent before, as {first.sequence}, {alone.sequence}" in whole.notes
    assert (again.parts_before, again.parts) == (3, 3)
    assert again.complete
    held = {content.sequence: set(content.parts) for content in whole.contents}
    parts = [part.identity for part in content_of(group(*splits)).parts]
    assert held == {
        first.sequence: set(parts[:2]),
        alone.sequence: {parts[3]},
        whole.sequence: {parts[2], parts[4]},
    }


@pytest.mark.parametrize("revision", ["G1.2", "G2d", pytest.param("G3b", marks=pytest.mark.slow)])
def test_what_others_sent_together_is_known_under_any_name(
    revision: str, splits: list[Path], tmp_path: Path
) -> None:
    """A split of a recording that was sent whole is recognised by itself and in another folder."""
    copy = tmp_path / "renamed.mcap"
    shutil.copy(splits[2], copy)
    with platform(revision, tmp_path / "platform") as client:
        whole = ingest(group(*splits), client=client, options=OPTIONS)
        lone = ingest(load_recording(copy), client=client, options=OPTIONS)

        assert times_on(client) == once(*range(SPLITS))
    assert lone.sequence == whole.sequence
    assert lone.complete


def test_a_question_that_fails_is_no_absence(
    splits: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer nothing is sent; the attempt fails and may be repeated."""
    with platform("G2d", tmp_path) as client:
        ingest(group(splits[0]), client=client, options=OPTIONS)

        def broken(_request: object) -> list[dict[str, object]]:
            raise TransientError("the database is away")

        with monkeypatch.context() as patched:
            patched.setattr(client._dialect, "query", broken)
            with pytest.raises(TransientError, match="away"):
                ingest(
                    group(splits[0]),
                    client=client,
                    options=replace(OPTIONS, sequence_name="renamed_{id}"),
                )
        assert times_on(client) == once(0)


def test_another_bridge_that_sends_the_same_part_is_waited_for(
    splits: list[Path], tmp_path: Path
) -> None:
    """Its sequence may become whole; ours would double it."""
    part = content_of(group(splits[0])).parts[0]
    marks = {"instance": "other", "fingerprint": "f" * 64, "parts": {f"p{part.identity}": "x"}}
    with platform("G2d", tmp_path) as client:
        writer = client.sequence_create("theirs", {BRIDGE_KEY: marks})
        writer.__enter__()
        ingest_topic(writer)
        with pytest.raises(BusyElsewhereError, match="theirs"):
            ingest(group(*splits[:2]), client=client, options=OPTIONS)


class Meanwhile(NoEvents):
    """Does something between the questions and the creation of the sequence; keeps the upload."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act
        self.upload: OpenUpload | None = None

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.upload = upload
        act, self.act = self.act, None
        if act is not None:
            act()


class Bridge:
    """One of two bridges that group the same files in ways of their own."""

    def __init__(self, name: str, address: str, prefix: str, *recordings: Recording) -> None:
        self.options = IngestOptions(
            identity=Identity(instance=name, final=False, resumes=True),
            sequence_name=f"{prefix}_{{stem}}_{{id}}",
        )
        self.address = address
        self.recordings = recordings
        self.uploads: list[OpenUpload | None] = [None] * len(recordings)
        self.done = False

    def try_all(self, first: Callable[[], object] = lambda: None) -> None:
        """Try each recording once, as a daemon does."""
        host, port = self.address.rsplit(":", 1)
        whole = True
        with MosaicoClient.connect(host, int(port)) as client:
            for place, recording in enumerate(self.recordings):
                events = Meanwhile(first)
                events.upload = self.uploads[place]
                try:
                    ingest(
                        recording,
                        client=client,
                        options=self.options,
                        events=events,
                        upload=events.upload,
                    )
                    self.uploads[place] = None
                except (BusyElsewhereError, TransientError):
                    # Transient is what old platforms say of what is being deleted.
                    left = events.upload
                    self.uploads[place] = left if left is not None and left.started else None
                    whole = False
                first = lambda: None  # noqa: E731
        self.done = whole


@pytest.mark.parametrize("revision", EVERY_REVISION)
@pytest.mark.parametrize("prefixes", [("a", "b"), pytest.param(("b", "a"), marks=pytest.mark.slow)])
def test_two_bridges_that_group_the_same_parts_differently_at_the_same_moment(
    revision: str, prefixes: tuple[str, str], splits: list[Path], tmp_path: Path
) -> None:
    """Both ask before either has created anything: one gives way, and each part is sent once."""
    with platform(revision, tmp_path) as client:
        whole = Bridge("one", client._connection.options.address, prefixes[0], group(*splits))
        alone = Bridge(
            "two",
            client._connection.options.address,
            prefixes[1],
            *(group(path) for path in splits),
        )
        met = threading.Barrier(2)
        threads = [
            threading.Thread(target=one.try_all, args=(lambda: met.wait(20),))
            for one in (whole, alone)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(4):
            for one in (whole, alone):
                one.try_all()

        assert whole.done
        assert alone.done
        assert times_on(client) == once(*range(SPLITS))


def ingest_topic(writer: object) -> None:
    """Open a topic, without which queries do not find a sequence."""
    from bridge.ontology import String  # noqa: PLC0415

    writer.topic_create("/chatter", {}, String)  # type: ignore[attr-defined]


def test_missing_files_make_a_recording_partial(splits: list[Path], tmp_path: Path) -> None:
    """A split that belongs to it and is not here is told, unless the platform has it."""
    lacking = replace(group(*splits[1:3]), missing={"drive_0.mcap": "it is not there"})
    with platform("G2d", tmp_path) as client:
        told = ingest(lacking, client=client, options=OPTIONS)
        handler = client.sequence_handler(told.sequence)
        assert handler is not None
        marks = handler.user_metadata[BRIDGE_KEY]
        notes = client.list_sequence_notify(told.sequence)

        assert not told.complete
        assert marks["missing"] == [{"file": "drive_0.mcap", "reason": "it is not there"}]
        assert any("drive_0.mcap" in note.message for note in notes)
        ingest(group(splits[0]), client=client, options=OPTIONS)
        later = ingest(
            replace(group(*splits[1:4]), missing={"drive_2.mcap": "it is not there"}),
            client=client,
            options=OPTIONS,
        )
        assert later.missing == []


@pytest.mark.parametrize("revision", EVERY_REVISION)
def test_platform_says_whether_it_holds_sequences_whole(
    revision: str, splits: list[Path], tmp_path: Path
) -> None:
    """Many at a time: finalised, same parts, same rows; everything else is no proof."""
    with platform(revision, tmp_path) as client:
        reports = [ingest(group(path), client=client, options=OPTIONS) for path in splits[:3]]
        contents = [content for report in reports for content in contents_of(report.as_json())]
        answers = held_whole(client, contents)
        most = reports[0].verification

        assert all(answers[report.sequence].proves(most) for report in reports)
        assert not answers[reports[0].sequence].proves(VerificationLevel.READBACK)
        assert state_of(client, replace(contents[0], sequence="no_such")) is Held.ABSENT
        assert state_of(client, replace(contents[0], fingerprint="0" * 64)) is Held.OTHER
        assert state_of(client, replace(contents[0], parts=("0" * 64,))) is Held.OTHER
        more = {"/chatter": TopicRows(rows=MESSAGES + 1, start_ns=0, end_ns=10**6)}
        if most is not VerificationLevel.CLOSED:
            assert state_of(client, replace(contents[0], topics=more)) is Held.DIFFERENT
        absent = {"/absent": TopicRows(rows=1)}
        assert state_of(client, replace(contents[0], topics=absent)) is Held.DIFFERENT


def state_of(client: MosaicoClient, content: SequenceContent) -> Held:
    return held_whole(client, [content])[content.sequence].held


def test_unfinished_sequence_is_no_proof_and_no_answer_is_none(
    splits: list[Path], tmp_path: Path
) -> None:
    """What is being written is not whole; a platform that is away raises."""
    with platform("G2d", tmp_path) as client:
        report = ingest(group(splits[0]), client=client, options=OPTIONS)
        writer = client.sequence_create("open", {BRIDGE_KEY: {"fingerprint": "f"}})
        writer.__enter__()
        open_one = SequenceContent(sequence="open", fingerprint="f")
        answers = held_whole(client, [open_one, *report.contents])
        assert answers["open"].held is Held.UNFINISHED
        assert answers[report.sequence].held is Held.WHOLE
        client.sequence_delete("open")


def test_platform_that_is_away_gives_no_answer(splits: list[Path], tmp_path: Path) -> None:
    """No answer is an error, never a sequence that is not there."""
    with EmbeddedServer(tmp_path) as server:
        client = MosaicoClient.connect("127.0.0.1", server.port)
        report = ingest(group(splits[0]), client=client, options=OPTIONS)
    with client, pytest.raises(ServerError):
        held_whole(client, report.contents)


def test_reports_of_versions_without_parts_are_read(splits: list[Path], tmp_path: Path) -> None:
    """What an older version sent is proven by its fingerprint and its rows."""
    with platform("G2d", tmp_path) as client:
        report = ingest(group(splits[0]), client=client, options=OPTIONS)
        plain = report.as_json()
        for key in ("contents", "parts", "parts_before", "missing"):
            del plain[key]
        (content,) = contents_of(plain)
        assert content.parts == ()
        assert held_whole(client, [content])[report.sequence].proves(VerificationLevel.COUNTS)


def test_report_survives_json(splits: list[Path], tmp_path: Path) -> None:
    """What the journal keeps gives the same contents back."""
    with platform("G2d", tmp_path) as client:
        report: IngestReport = ingest(group(*splits[:2]), client=client, options=OPTIONS)
    assert contents_of(report.as_json()) == report.contents


def test_many_parts_sent_together_are_found_by_few_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a journal, in another group: not one question for each of a hundred splits."""
    paths = [tmp_path / f"drive_{number}.mcap" for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(split_bytes(number, 1))
    with platform("G2d", tmp_path / "platform") as client:
        first = ingest(group(*paths), client=client, options=OPTIONS)
        query = client._dialect.query
        questions = []

        def counted(request: object) -> object:
            questions.append(request)
            return query(request)  # type: ignore[arg-type]

        monkeypatch.setattr(client._dialect, "query", counted)
        again = ingest(group(*paths[1:]), client=client, options=OPTIONS)

        assert (again.parts_before, again.parts) == (99, 99)
        assert again.contents[0].sequence == first.sequence
    assert len(questions) <= 10


@pytest.mark.slow
def test_a_thousand_new_parts_are_asked_for_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No revision takes alternatives of keys in one question; none is asked twice, and few wait."""
    paths = [tmp_path / f"drive_{number}.mcap" for number in range(1000)]
    for number, path in enumerate(paths):
        path.write_bytes(split_bytes(number, 1))
    with platform("G2d", tmp_path / "platform") as client:
        query = client._dialect.query
        questions: list[str] = []
        under_way, together = 0, []
        guard = threading.Lock()

        def counted(request: object) -> object:
            nonlocal under_way
            with guard:
                under_way += 1
                questions.append(json.dumps(request, sort_keys=True))
                together.append(under_way)
            try:
                return query(request)  # type: ignore[arg-type]
            finally:
                with guard:
                    under_way -= 1

        monkeypatch.setattr(client._dialect, "query", counted)
        found = find_delivered(client, content_of(group(*paths)), instance="test")

    assert found == []
    assert len(questions) == len(set(questions))
    assert len(questions) <= 1000 + 3
    assert max(together) == ASKED_AT_ONCE


def packed(path: Path, folder: Path) -> Path:
    """Compress a file as a recorder does."""
    target = folder / f"{path.name}.zstd"
    target.write_bytes(pa.compress(path.read_bytes(), codec="zstd", asbytes=True))
    return target


@pytest.mark.parametrize("revision", ["G1.2", "G2d"])
def test_compressed_part_is_the_part_that_it_holds(
    revision: str, splits: list[Path], tmp_path: Path
) -> None:
    """Compressed after it was sent, or decompressed: known, and the platform proves it again."""
    with platform(revision, tmp_path) as client:
        ingest(group(*splits[:2]), client=client, options=OPTIONS)
        later = ingest(
            group(splits[0], packed(splits[1], tmp_path), packed(splits[2], tmp_path)),
            client=client,
            options=OPTIONS,
        )
        back = ingest(group(splits[2]), client=client, options=OPTIONS)
        same = ingest(group(packed(splits[2], tmp_path)), client=client, options=OPTIONS)

        assert times_on(client) == once(0, 1, 2)
        assert (later.parts_before, later.parts) == (2, 3)
        for report in (later, back, same):
            answers = held_whole(client, report.contents)
            assert all(one.proves(VerificationLevel.CLOSED) for one in answers.values())
            assert report.complete
            assert report.verification is not VerificationLevel.NONE


def test_part_that_is_there_twice_is_sent_once(splits: list[Path], tmp_path: Path) -> None:
    """A copy under the name of another split, plain or compressed, adds nothing."""
    copy = tmp_path / "drive_9.mcap"
    shutil.copy(splits[0], copy)
    doubled = group(splits[0], splits[1], copy, packed(splits[1], tmp_path))
    with platform("G2d", tmp_path / "platform") as client:
        report = ingest(doubled, client=client, options=OPTIONS)

        assert times_on(client) == once(0, 1)
        assert report.complete
        assert ingest(doubled, client=client, options=OPTIONS).parts_before == 3


def test_compressed_file_of_other_content_is_no_twin(splits: list[Path], tmp_path: Path) -> None:
    """Today's file has the name of yesterday's compressed one: both are in the recording."""
    shutil.copy(splits[1], tmp_path / "drive.mcap")
    packed(splits[0], tmp_path).rename(tmp_path / "drive.mcap.zstd")
    (seen,) = find_recordings(tmp_path)
    with platform("G2d", tmp_path / "platform") as client:
        ingest(load_seen(seen), client=client, options=OPTIONS)

        assert times_on(client) == once(0, 1)
