"""Damaged recordings: what is intact arrives, and the sequence itself describes the rest."""

import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType, Writer

from bridge.bags import ReadLimits, load_recording
from bridge.bags.mcap import stretch as mcap_stretch
from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter, TopicWriter
from bridge.embedded import EmbeddedServer
from bridge.errors import TransientError
from bridge.ingest import (
    BatchTargets,
    Identity,
    IngestOptions,
    IngestReport,
    NoEvents,
    OpenUpload,
    TopicOutcome,
    TopicReport,
    ingest,
)
from bridge.mapping import BRIDGE_KEY
from tests.bags.mcap.mcap_files import place_messages

MESSAGES = 400

TOKEN = f"msco_{'w' * 32}_{zlib.crc32(b'w' * 32):08x}"

# Small batches, so that a good part is on the platform before the damage is met.
OPTIONS = IngestOptions(
    identity=Identity(instance="test"),
    batches=BatchTargets(max_batch_size_records=20),
    reading=ReadLimits(keep_doubtful_chunks=False),
)


def string(text: str) -> bytes:
    """A little-endian CDR string."""
    data = text.encode() + b"\x00"
    return b"\x00\x01\x00\x00" + len(data).to_bytes(4, "little") + data


def write(path: Path, *, checksums: bool = True) -> Path:
    """A recording of many chunks that was closed properly."""
    with path.open("wb") as stream:
        writer = Writer(
            stream, chunk_size=2000, compression=CompressionType.NONE, enable_crcs=checksums
        )
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/chatter", "cdr", schema)
        for number in range(MESSAGES):
            writer.add_message(channel, number + 1, string(f"message {number:06}"), number + 1)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read chunk by chunk: the damage shows when something was sent, as in long recordings."""
    monkeypatch.setattr(mcap_stretch, "STRETCH_BYTES_MAX", 0)


def damage(path: Path, share: float) -> Counter[int]:
    """Alter one byte of a chunk there; give the times of the messages in all the others."""
    data = bytearray(path.read_bytes())
    placed = place_messages(bytes(data))
    hit = placed[int(share * len(placed))]
    data[hit.end - 2] ^= 0xFF
    path.write_bytes(data)
    return Counter(each.seen.log_time for each in placed if each.chunk != hit.chunk)


class Heard(NoEvents):
    """Remembers which stages were reported, how often, and the last upload."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.upload: OpenUpload | None = None

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.upload = upload

    def stage_finished(self, *, stage: str, seconds: float) -> None:
        del seconds
        self.stages[stage] += 1


def send(
    path: Path, tmp_path: Path, options: IngestOptions = OPTIONS, **server_options: Any
) -> tuple[IngestReport, dict[str, Any], Counter[int], list[str], Counter[str]]:
    """Ingest into a new server.

    Returns:
        Report, the bridge's block of the metadata, the times that arrived, the notifications, and
        how often each stage was gone through.
    """
    heard = Heard()
    keys: dict[str, str] = server_options.get("api_keys", {})
    with (
        EmbeddedServer(tmp_path / "platform", **server_options) as server,
        MosaicoClient.connect("127.0.0.1", server.port, api_key=next(iter(keys), "")) as client,
    ):
        report = ingest(load_recording(path), client=client, options=options, events=heard)
        (name,) = client.list_sequences()
        handler = client.sequence_handler(name)
        assert handler is not None
        assert handler.is_locked
        times = Counter(row["timestamp_ns"] for row in handler.topic_handler("/chatter").rows())
        notes = [note.message for note in client.list_sequence_notify(name)]
        return report, dict(handler.user_metadata[BRIDGE_KEY]), times, notes, heard.stages


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("on_error", list(OnErrorPolicy))
def test_damage_inside_a_closed_recording_is_told_by_its_sequence(
    tmp_path: Path, share: float, on_error: OnErrorPolicy
) -> None:
    """What was sent before it showed is replaced: one sequence, that says what it lacks."""
    path = write(tmp_path / "drive.mcap")
    intact = damage(path, share)
    options = replace(OPTIONS, on_error=on_error)
    report, block, times, notes, stages = send(path, tmp_path, options)
    (loss,) = report.losses
    (told,) = block["salvaged"]["ranges"]

    assert times == intact
    assert told == {
        "file": "drive.mcap",
        "start_bytes": loss.start_bytes,
        "end_bytes": loss.end_bytes,
        "reason": "the chunk's checksum is wrong",
    }
    assert block["salvaged"]["lost_ranges"] == 1
    assert block["salvaged"]["lost_bytes"] == loss.end_bytes - loss.start_bytes
    assert block["salvaged"]["recovered_messages"] == intact.total() < MESSAGES
    assert (report.complete, report.messages_sent) == (False, intact.total())
    assert "checksum" in "".join(notes)
    assert (stages["open"], stages["survey"]) == (2, 1)


def test_chunk_whose_checksum_is_wrong_arrives_with_the_doubt_told(tmp_path: Path) -> None:
    """All but the altered message is what was recorded, and nothing shows which one it is."""
    path = write(tmp_path / "drive.mcap")
    intact = damage(path, 0.5)
    options = replace(OPTIONS, reading=ReadLimits())
    report, block, times, notes, _ = send(path, tmp_path, options)

    assert not intact - times
    assert times.total() >= MESSAGES - 1
    assert not report.complete
    assert report.messages_unverifiable == MESSAGES - intact.total()
    assert block["salvaged"]["lost_bytes"] == 0
    assert "checksum" in block["salvaged"]["ranges"][0]["reason"]
    assert "checksum" in "".join(notes)


def test_healthy_recording_is_read_once(tmp_path: Path) -> None:
    """Nobody pays for damage that is not there."""
    report, block, times, notes, stages = send(write(tmp_path / "drive.mcap"), tmp_path)

    assert times.total() == MESSAGES
    assert "salvaged" not in block
    assert not notes
    assert report.complete
    assert not report.messages_unverifiable
    assert (stages["open"], stages["survey"]) == (1, 0)


def test_messages_without_a_checksum_are_told(tmp_path: Path) -> None:
    """Recorders leave checksums out by default: the report says what nobody can vouch for."""
    report, *_ = send(write(tmp_path / "drive.mcap", checksums=False), tmp_path)

    assert report.complete
    assert report.messages_unverifiable == MESSAGES
    assert report.as_json()["messages_unverifiable"] == MESSAGES


def test_cut_recording_is_surveyed_before_anything_is_sent(tmp_path: Path) -> None:
    """A recorder that lost its power: the sequence says so, and nothing has to be replaced."""
    path = write(tmp_path / "drive.mcap")
    placed = place_messages(path.read_bytes())
    cut = placed[MESSAGES // 2].end + 3
    path.write_bytes(path.read_bytes()[:cut])
    report, block, times, _, stages = send(path, tmp_path)

    assert times == Counter(each.seen.log_time for each in placed if each.end <= cut)
    assert block["healthy"] is False
    assert block["salvaged"]["recovered_messages"] == report.messages_sent == times.total()
    assert block["salvaged"]["lost_ranges"] == len(report.losses) > 0
    assert (stages["open"], stages["survey"]) == (1, 1)


def test_key_that_may_not_delete_goes_on_and_notifies(tmp_path: Path) -> None:
    """What was sent cannot be taken back; the notification says what its metadata does not."""
    path = write(tmp_path / "drive.mcap")
    intact = damage(path, 0.5)
    report, block, times, notes, stages = send(path, tmp_path, api_keys={TOKEN: "write"})

    assert times == intact
    assert "salvaged" not in block
    assert len(report.losses) == 1
    assert any("checksum" in note for note in notes)
    assert (stages["open"], stages["survey"]) == (1, 0)


def test_broken_upload_of_a_salvaged_recording_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that mentions the damage is kept; what is whole in it is not sent again."""
    path = write(tmp_path / "drive.mcap")
    intact = damage(path, 0.5)
    created: list[str] = []
    create, finalize = SequenceWriter.topic_create, SequenceWriter.finalize

    def creating(writer: SequenceWriter, name: str, *rest: Any) -> TopicWriter:
        created.append(writer.name)
        return create(writer, name, *rest)

    def breaking(_: SequenceWriter) -> None:
        monkeypatch.setattr(SequenceWriter, "finalize", finalize)
        raise TransientError("the line broke")

    monkeypatch.setattr(SequenceWriter, "topic_create", creating)
    monkeypatch.setattr(SequenceWriter, "finalize", breaking)
    heard = Heard()
    identity = Identity(instance="test", resumes=True, final=False)
    options = replace(OPTIONS, identity=identity)
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        send_again = partial(
            ingest, load_recording(path), client=client, options=options, events=heard
        )
        with pytest.raises(TransientError):
            send_again()
        before = len(created)
        report = send_again(upload=heard.upload)
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        block = handler.user_metadata[BRIDGE_KEY]

        assert before == len(created) == 2
        assert client.list_sequences() == [report.sequence]
        assert report.messages_sent == block["salvaged"]["recovered_messages"] == intact.total()


def test_topics_of_one_name_have_accounts_of_their_own(tmp_path: Path) -> None:
    """A foreign channel beside a good one of the same name costs only itself."""
    path = tmp_path / "drive.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        foreign = writer.register_schema("std_msgs/msg/String", "jsonschema", b"{}")
        for number in range(7):
            channel = writer.register_channel("/chatter", "cdr", schema)
            writer.add_message(channel, number + 1, string("x"), number + 1)
        channel = writer.register_channel("/chatter", "json", foreign)
        for number in range(3):
            writer.add_message(channel, number + 1, b"{}", number + 1)
        writer.finish()  # type: ignore[no-untyped-call]
    report, *_ = send(path, tmp_path)
    accounts: dict[TopicOutcome, TopicReport] = {topic.outcome: topic for topic in report.topics}

    assert len(report.topics) == 2
    assert accounts[TopicOutcome.MAPPED].messages_sent == 7
    assert accounts[TopicOutcome.MAPPED].messages_skipped == {}
    assert list(accounts[TopicOutcome.SKIPPED].messages_skipped.values()) == [3]
