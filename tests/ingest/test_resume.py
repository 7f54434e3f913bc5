"""A try that broke off is taken up by the next: what is whole stays, the rest is sent."""

import contextlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bags import load_recording
from bridge.cli import write_drive
from bridge.client import MosaicoClient, SequenceWriter, TopicReceipt, TopicWriter
from bridge.definitions import DefinitionSources
from bridge.errors import TransientError
from bridge.ingest import (
    Identity,
    IngestOptions,
    IngestReport,
    NoEvents,
    OpenUpload,
    TopicOutcome,
    TopicReport,
    ingest,
)
from bridge.ingest.open_upload import GROUP_BYTES_MIN, groups_of, is_whole
from bridge.ontology import MODELS
from tests.ingest.platforms import EVERY_REVISION, platform

START_NS = 1_760_000_000_000_000_000
IDENTITY = Identity(instance="test", resumes=True, final=False)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    return write_drive(folder, name="drive", start_ns=START_NS, duration_s=0.5, splits=2)


class Kept(NoEvents):
    """Keeps what an upload needs, as a journal does."""

    def __init__(self) -> None:
        self.upload: OpenUpload | None = None

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.upload = OpenUpload.from_json(upload.as_json())


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics that were created on the platform, in order."""
    names: list[str] = []
    create = SequenceWriter.topic_create

    def creating(writer: SequenceWriter, name: str, *rest: Any) -> TopicWriter:
        names.append(name)
        return create(writer, name, *rest)

    monkeypatch.setattr(SequenceWriter, "topic_create", creating)
    return names


def send(client: MosaicoClient, bag: Path, kept: Kept, **identity: Any) -> IngestReport:
    options = IngestOptions(identity=replace(IDENTITY, **identity))
    return ingest(
        load_recording(bag), client=client, options=options, events=kept, upload=kept.upload
    )


def break_at(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, number: int) -> None:
    """Let the n-th call of a method break, and all others through."""
    whole, calls = getattr(owner, method), iter(range(10_000))

    def breaking(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            raise TransientError("the line broke")
        return whole(*arguments, **named)

    monkeypatch.setattr(owner, method, breaking)


def rows(client: MosaicoClient, sequence: str) -> dict[str, int]:
    """Read every topic back."""
    client.clear_sequence_handlers_cache()
    client.clear_topic_handlers_cache()
    handler = client.sequence_handler(sequence)
    assert handler is not None
    assert handler.is_locked
    return {
        topic: sum(batch.num_rows for batch in handler.topic_handler(topic).batches())
        for topic in handler.topics
    }


def yields(report: IngestReport) -> dict[str, int | None]:
    return {
        topic.platform_name: topic.messages_recorded
        for topic in report.topics
        if topic.platform_name
    }


@pytest.mark.parametrize("revision", EVERY_REVISION)
def test_a_commit_that_broke_sends_nothing_again(
    revision: str, drive: Path, tmp_path: Path, created: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every topic whole only the commit is left, on every revision of the platform."""
    kept = Kept()
    break_at(monkeypatch, SequenceWriter, "finalize", 0)
    with platform(revision, tmp_path) as client:
        with pytest.raises(TransientError):
            send(client, drive, kept)
        before = len(created)
        report = send(client, drive, kept)

        assert len(created) == before
        assert report.complete
        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [report.sequence]


class Replaced(Kept):
    """Puts other files in the place of a recording's, by rename, while its topics go in groups."""

    def __init__(self, before: Kept, bag: Path, other: Path) -> None:
        super().__init__()
        self.upload = before.upload
        self.pairs = list(
            zip(sorted(other.glob("*.mcap")), sorted(bag.glob("*.mcap")), strict=True)
        )

    def upload_changed(self, *, upload: OpenUpload) -> None:
        super().upload_changed(upload=upload)
        while self.pairs:
            source, target = self.pairs.pop()
            source.replace(target)


def test_files_that_are_replaced_between_two_groups_are_sent_as_they_were(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pass reads what was judged: no sequence with topics of two recordings."""
    bag = tmp_path / "drive"
    shutil.copytree(drive, bag)
    other = write_drive(
        tmp_path / "other", name="drive", start_ns=START_NS, duration_s=1.5, splits=2
    )
    kept = Kept()
    with platform("G2d", tmp_path / "platform") as client:
        with monkeypatch.context() as patch, pytest.raises(TransientError):
            break_at(patch, TopicWriter, "write_batch", 4)
            send(client, bag, kept)
        assert kept.upload is not None
        assert kept.upload.tries
        report = send(client, bag, replaced := Replaced(kept, bag, other))
        fresh = ingest(
            load_recording(drive),
            client=client,
            options=IngestOptions(identity=IDENTITY),
        )

        assert not replaced.pairs
        assert fresh.already_there
        assert rows(client, report.sequence) == yields(fresh)


@pytest.mark.parametrize("revision", EVERY_REVISION)
def test_a_sequence_whose_creation_was_not_heard_of_is_created_again(
    revision: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported before it exists; the next try finds nothing to resume, and starts over."""
    kept = Kept()
    enter = SequenceWriter.__enter__

    def entering(writer: SequenceWriter) -> SequenceWriter:
        enter(writer)
        raise TransientError("the answer was lost")

    with platform(revision, tmp_path) as client:
        with monkeypatch.context() as patch, pytest.raises(TransientError):
            patch.setattr(SequenceWriter, "__enter__", entering)
            send(client, drive, kept)
        assert kept.upload is not None
        assert not kept.upload.started
        assert client.list_sequences() == [kept.upload.sequence]
        report = send(client, drive, kept)

        assert report.complete
        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [report.sequence]


@pytest.mark.parametrize("revision", ["G1.2", "G2a", "G2d"])
def test_only_what_is_not_whole_is_sent_again(
    revision: str, drive: Path, tmp_path: Path, created: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A break while topics are ended costs the topic it hits, and the accounts come out even."""
    kept = Kept()
    break_at(monkeypatch, TopicWriter, "end", 3)
    with platform(revision, tmp_path) as client:
        with pytest.raises(TransientError):
            send(client, drive, kept)
        assert kept.upload is not None
        whole, before = set(kept.upload.rows), len(created)
        report = send(client, drive, kept)

        assert len(whole) == before - 1
        assert not whole & set(created[before:])
        assert report.complete
        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [report.sequence]
        assert [topic.messages_sent for topic in report.topics] == [
            topic.messages_recorded for topic in report.topics
        ]


def test_a_topic_with_other_rows_is_sent_again_alone(
    drive: Path, tmp_path: Path, created: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed stream is not believed: the platform's count has to be the recording's."""
    kept = Kept()
    break_at(monkeypatch, SequenceWriter, "finalize", 0)
    with platform("G2d", tmp_path) as client:
        with pytest.raises(TransientError):
            send(client, drive, kept)
        upload = kept.upload
        assert upload is not None
        handler = client.topic_handler(upload.sequence, "/odom")
        assert handler is not None
        batch = next(iter(handler.batches()))
        with (
            pytest.raises(ZeroDivisionError),
            client.sequence_resume(upload.sequence, upload.session_uuid, upload.session) as writer,
        ):
            writer.topic_delete("/odom")
            model = MODELS[handler.ontology_tag]
            with writer.topic_create("/odom", {}, model) as topic:
                topic.write_batch(batch.slice(1).cast(model.schema))
            writer.abandon()
            raise ZeroDivisionError
        before = len(created)
        report = send(client, drive, kept)

        assert created[before:] == ["/odom"]
        assert rows(client, report.sequence) == yields(report)
        # Measured once, too, although it was read twice.
        assert yields(report) == {
            topic.platform_name: topic.quality.messages
            for topic in report.topics
            if topic.quality is not None and topic.platform_name
        }


@pytest.mark.parametrize(
    "change", [{"config_hash": "other settings"}, {"instance": "test"}], ids=["settings", "same"]
)
def test_other_settings_start_again(
    change: dict[str, str],
    drive: Path,
    tmp_path: Path,
    created: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Topics made by other settings are not mixed with those made by the present ones."""
    kept = Kept()
    break_at(monkeypatch, SequenceWriter, "finalize", 0)
    with platform("G2d", tmp_path) as client:
        with pytest.raises(TransientError):
            send(client, drive, kept)
        before = len(created)
        report = send(client, drive, kept, **change)

        assert (len(created) == 2 * before) == ("config_hash" in change)
        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [report.sequence]


@pytest.mark.parametrize("revision", ["G1.2", "G2d", pytest.param("G3b", marks=pytest.mark.slow)])
def test_a_session_that_is_gone_starts_again(
    revision: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody deleted meanwhile is not waited for."""
    kept = Kept()
    break_at(monkeypatch, SequenceWriter, "finalize", 0)
    with platform(revision, tmp_path) as client:
        with pytest.raises(TransientError):
            send(client, drive, kept)
        assert kept.upload is not None
        client.sequence_delete(kept.upload.sequence)
        report = send(client, drive, kept)

        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [report.sequence]


@settings(max_examples=50)
@given(
    sizes=st.dictionaries(st.integers(0, 99), st.integers(0, 100 * GROUP_BYTES_MIN), max_size=40),
    breaks=st.integers(0, 9),
)
def test_groups_hold_each_topic_once_and_small_ones_together(
    sizes: dict[int, int], breaks: int
) -> None:
    """Nothing is left out, big topics come last and alone, and there are never many passes."""
    groups = groups_of(sizes, breaks=breaks)
    room = max(sum(sizes.values()) / 4 ** min(breaks, 2), GROUP_BYTES_MIN)

    assert sorted(topic for group in groups for topic in group) == sorted(sizes)
    assert all(len(group) == 1 or sum(sizes[t] for t in group) <= room for group in groups)
    assert len(groups) <= (33 if breaks else 1)
    largest = [max(sizes[topic] for topic in group) for group in groups]
    assert largest == sorted(largest)


@pytest.mark.parametrize(
    ("row_count", "remembered", "end_ns", "locked", "whole"),
    [
        (3, None, 9, True, True),
        (3, 2, 9, True, True),
        (2, 3, 9, True, False),
        (3, 3, 8, True, False),
        (3, 3, 9, False, False),
        (None, 3, 9, True, True),
        (None, 3, None, True, True),
        (None, 2, 9, True, False),
        (None, None, 9, True, False),
    ],
)
def test_whole_is_what_platform_and_recording_agree_on(
    *, row_count: int | None, remembered: int | None, end_ns: int | None, locked: bool, whole: bool
) -> None:
    """The platform's count decides; where it gives none, what was remembered; doubt means no."""
    topic = TopicReport(
        name="/t", msgtype="t", outcome=TopicOutcome.MAPPED, messages_sent=3, start_ns=1, end_ns=9
    )
    receipt = TopicReceipt(
        row_count=row_count, start_ns=1, end_ns=end_ns, locked=locked, size_bytes=None
    )

    assert is_whole(topic, receipt, remembered) is whole


def thing_bag(path: Path) -> Path:
    """Write a sqlite3 bag of a type whose definition it does not carry."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
            "INSERT INTO schema VALUES (3, 'humble');"
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
            "INSERT INTO topics VALUES (1, '/one', 'my_msgs/msg/Thing', 'cdr', ''),"
            " (2, '/two', 'my_msgs/msg/Thing', 'cdr', '');"
        )
        payload = b"\0\1\0\0" + (0xFFFFFFFF).to_bytes(4, "little")
        database.executemany(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            [(topic, stamp, payload) for stamp in range(5) for topic in (1, 2)],
        )
        database.commit()
    return path


@pytest.mark.parametrize("revision", EVERY_REVISION)
def test_other_definitions_are_other_terms(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reload puts into a definition folder decides all rows, not those of the rest."""
    bag = thing_bag(tmp_path / "things.db3")
    definition = tmp_path / "definitions" / "my_msgs" / "msg" / "Thing.msg"
    definition.parent.mkdir(parents=True)
    sources = DefinitionSources(folders=(tmp_path / "definitions",))
    options = IngestOptions(identity=IDENTITY, definitions=sources)
    kept = Kept()
    with platform(revision, tmp_path / "platform") as client:
        for text in ("uint32 value", "int32 value"):
            definition.write_text(text)
            with monkeypatch.context() as broken, contextlib.suppress(TransientError):
                if text.startswith("uint"):
                    break_at(broken, SequenceWriter, "finalize", 0)
                ingest(
                    load_recording(bag),
                    client=client,
                    options=options,
                    events=kept,
                    upload=kept.upload,
                )
        (name,) = client.list_sequences()
        client.clear_sequence_handlers_cache()
        handler = client.sequence_handler(name)
        assert handler is not None
        values = {
            topic: [row["value"] for row in handler.topic_handler(topic).rows()]
            for topic in handler.topics
        }
    assert values == {"/one": [-1] * 5, "/two": [-1] * 5}
