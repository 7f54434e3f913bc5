"""A recording on a platform as it is in the field: nested names, deadlocks, lost files, NUL."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import load_recording
from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter
from bridge.errors import (
    BrokenLinkError,
    NestedTopicError,
    PlatformBusyError,
    TransientError,
    VerificationError,
)
from bridge.ingest import Identity, IngestOptions, IngestReport, VerificationLevel, ingest
from tests.ingest.test_resume import Kept, rows
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.server import OldServer
from tests.servers.old.session import SessionServer

OPTIONS = IngestOptions(identity=Identity(instance="test", resumes=True, final=False))
MESSAGES = 5


def write(path: Path, topics: dict[str, str]) -> Path:
    """Write a recording of texts: of each topic the same one, so many times."""
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        for name, text in topics.items():
            channel = writer.register_channel(name, "cdr", schema)
            coded = text.encode() + b"\0"
            data = b"\0\1\0\0" + len(coded).to_bytes(4, "little") + coded
            for index in range(MESSAGES):
                writer.add_message(channel, log_time=index, publish_time=index, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return path


@contextlib.contextmanager
def platform(revision: str) -> Iterator[tuple[OldServer, MosaicoClient]]:
    kind = KeyedServer if revision.startswith("G1") else SessionServer
    with (
        kind(revision) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        yield server, client


def send(client: MosaicoClient, bag: Path, kept: Kept, **changes: Any) -> IngestReport:
    return ingest(
        load_recording(bag),
        client=client,
        options=replace(OPTIONS, **changes),
        events=kept,
        upload=kept.upload,
    )


@pytest.mark.parametrize("revision", ["G1.0", "G1.2"])
def test_topic_above_a_whole_one_begins_the_sequence_again(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting it alone would take the whole one's data along; every message arrives instead."""
    bag = write(tmp_path / "nested.mcap", {"/cam": "image", "/cam/info": "info"})
    kept = Kept()
    with platform(revision) as (server, client):
        end = KeyedServer.end

        def breaks(server: KeyedServer, topic: Any, batches: Any) -> None:
            if topic is server.topics.get(f"{next(iter(server.sequences))}/cam"):
                raise server.fail("broken", "error during data streaming :: broken pipe")
            end(server, topic, batches)

        monkeypatch.setattr(KeyedServer, "end", breaks)
        with pytest.raises(TransientError, match="broken pipe"):
            send(client, bag, kept)
        (name,) = server.sequences
        assert server.topics[f"{name}/cam/info"]["locked"]
        monkeypatch.undo()
        report = send(client, bag, kept)

        assert rows(client, report.sequence) == {"/cam": MESSAGES, "/cam/info": MESSAGES}
        assert report.complete
        assert server.sequences[report.sequence]["locked"]


@pytest.mark.parametrize("revision", ["G1.0", "G1.2"])
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
def test_topic_that_cannot_be_dropped_says_so(
    policy: OnErrorPolicy, revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused topic above a whole one: nothing is deleted with it, and the error names both."""
    bag = write(tmp_path / "nested.mcap", {"/cam": "image", "/cam/info": "info", "/other": "x"})
    with platform(revision) as (server, client):
        end = KeyedServer.end

        def refuses(server: KeyedServer, topic: Any, batches: Any) -> None:
            if topic is server.topics.get(f"{next(iter(server.sequences))}/cam"):
                raise pa.ArrowInvalid("invalid schema: no such column")
            end(server, topic, batches)

        monkeypatch.setattr(KeyedServer, "end", refuses)
        with pytest.raises(NestedTopicError, match=r"/cam cannot be sent .*no such column") as told:
            send(client, bag, Kept(), on_error=policy)
        assert "cannot be dropped" in told.value.message
        assert "/cam/info" in told.value.message
        assert "ingest.topics" in told.value.hint
        if policy is OnErrorPolicy.Delete:
            assert server.sequences == {}
        else:
            # What is whole stays, unfinished, and the error says why it is not final.
            (name,) = server.sequences
            assert not server.sequences[name]["locked"]
            assert len(server.topics[f"{name}/cam/info"]["batches"]) == 1
            assert "/cam/info" in told.value.facts()["notes"]

        # As the hint says.
        left_out = replace(OPTIONS, topics=("!/cam",))
        report = ingest(load_recording(bag), client=client, options=left_out)
        assert rows(client, report.sequence) == {"/cam/info": MESSAGES, "/other": MESSAGES}


@pytest.mark.parametrize("revision", ["G1.0", "G1.2"])
def test_two_dozen_topics_of_one_tag_arrive_in_one_attempt(revision: str, tmp_path: Path) -> None:
    """Where two that end at the same moment deadlock, they end one after the other."""
    bag = write(tmp_path / "many.mcap", {f"/t{number}": "x" for number in range(24)})
    with platform(revision) as (server, client):
        server.faults.end_s = 0.02
        report = send(client, bag, Kept())
        assert rows(client, report.sequence) == {f"/t{number}": MESSAGES for number in range(24)}
        assert set(server.faults.ends.values()) == {1}


def test_topic_without_files_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were sent and nothing stored cannot both be, however well the stream ended."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x"})
    kept = Kept()
    with platform("G1.0") as (server, client):
        honest = SequenceWriter.receipts

        def emptied(writer: SequenceWriter) -> Any:
            for topic in server.topics.values():
                topic["batches"].clear()
            return honest(writer)

        monkeypatch.setattr(SequenceWriter, "receipts", emptied)
        with pytest.raises(VerificationError, match="sent 5, the platform has nothing stored"):
            send(client, bag, kept, verification=VerificationLevel.CLOSED)
        monkeypatch.undo()
        # What is in doubt is not taken up, also where it could not be removed.
        assert kept.upload is not None
        assert kept.upload.session_uuid == ""
        assert server.sequences == {}
        report = send(client, bag, kept)
        assert rows(client, report.sequence) == {"/t": MESSAGES}


def test_nul_costs_nothing_but_is_counted(tmp_path: Path) -> None:
    """A platform that refuses it gets what it can keep, and the report says of what."""
    bag = write(tmp_path / "bag.mcap", {"/nul": "a\0b", "/t": "ab"})
    with platform("G1.0") as (_, client):
        report = send(client, bag, Kept(), metadata={"driver": "a\0b"})
        assert report.complete
        handler = client.topic_handler(report.sequence, "/nul")
        assert handler is not None
        assert {row["data"] for row in handler.rows()} == {"a\ufffdb"}
    changed = {topic.name: topic.texts_changed for topic in report.topics}
    assert changed == {"/nul": MESSAGES, "/t": 0}
    assert any("5 texts of /nul with U+0000" in note for note in report.notes)
    assert any("1 text of the metadata with U+0000" in note for note in report.notes)


def test_reading_back_is_not_tried_where_it_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level is what can be proven without it, and the report says why."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x"})
    with platform("G1.0") as (server, client):
        revision = replace(client._dialect.revision, row_bytes_readable=1)
        monkeypatch.setattr(client._dialect, "revision", revision)
        monkeypatch.delattr(type(server), "do_get")
        report = send(client, bag, Kept(), verification=VerificationLevel.READBACK)
    assert report.verification is VerificationLevel.CLOSED
    assert any("would end the platform's server" in note for note in report.notes)


def test_unknown_times_are_read(tmp_path: Path) -> None:
    """A platform that gives no times of rows that it counts is read, not believed to be empty."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x"})
    with platform("G2c") as (server, client):
        server.faults.masked = {"interval"}
        report = send(client, bag, Kept())
    assert report.verification is VerificationLevel.COUNTS


@pytest.mark.parametrize("revision", ["G1.2", "G2b"])
def test_lost_answers_cost_nothing(revision: str, tmp_path: Path) -> None:
    """The end of a put and the commit took effect: one attempt, one sequence, all rows."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x", "/u": "y"})
    with platform(revision) as (server, client):
        server.faults.lost_verdicts = 1
        server.faults.lost_answers = {"sequence_finalize", "session_finalize"}
        report = send(client, bag, Kept())
        assert rows(client, report.sequence) == {"/t": MESSAGES, "/u": MESSAGES}
        assert report.complete


@pytest.mark.parametrize("revision", ["G1.2", "G2b"])
def test_topic_whose_creation_was_not_heard_of_is_made_again(revision: str, tmp_path: Path) -> None:
    """The next attempt finds a topic without a known token, and no row of it is lost."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x"})
    kept = Kept()
    with platform(revision) as (server, client):
        server.faults.lost_answers = {"topic_create"}
        with pytest.raises(BrokenLinkError):
            send(client, bag, kept)
        report = send(client, bag, kept)
        assert rows(client, report.sequence) == {"/t": MESSAGES}


def test_database_that_fails_leaves_what_can_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the platform's trouble, also in what would be the last attempt."""
    bag = write(tmp_path / "bag.mcap", {"/t": "x", "/u": "x"})
    kept = Kept()
    identity = replace(OPTIONS.identity, final=True)
    with platform("G1.2") as (server, client):
        ends = iter(range(10))
        end = KeyedServer.end

        def deadlocks(server: KeyedServer, topic: Any, batches: Any) -> None:
            if next(ends) == 1:
                raise server.fail("database", "backend error :: deadlock detected")
            end(server, topic, batches)

        monkeypatch.setattr(KeyedServer, "end", deadlocks)
        with pytest.raises(PlatformBusyError, match="deadlock"):
            send(client, bag, kept, identity=identity)
        assert sum(topic["locked"] for topic in server.topics.values()) == 1
        report = send(client, bag, kept, identity=identity)
        assert rows(client, report.sequence) == {"/t": MESSAGES, "/u": MESSAGES}
