"""Recordings with known faults: what is measured, found, reported and said on the platform."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bridge.bags import load_recording, open_recording
from bridge.client import MosaicoClient, SequenceWriter, TopicWriter
from bridge.daemon.observe.notifications import is_own_note
from bridge.embedded import EmbeddedServer
from bridge.errors import TransientError
from bridge.ingest import (
    Identity,
    IngestOptions,
    IngestReport,
    NoEvents,
    OpenUpload,
    TopicOptions,
    VerificationLevel,
    dry_run,
    held_whole,
    ingest,
)
from bridge.quality import Expectation, Finding, TopicFigures
from tests.ingest.platforms import platform
from tests.quality import drives
from tests.quality.drives import DRIFT_S, FROZEN_FROM, GAP_S, SEQ_MISSING, drive, write
from tests.quality.reference import check

OPTIONS = IngestOptions(identity=Identity(instance="test", resumes=True, final=False))
CONTAINERS = ("mcap", "sqlite3", "bag")


def measured(report: IngestReport) -> dict[str, TopicFigures]:
    return {topic.name: topic.quality for topic in report.topics if topic.quality is not None}


def looked_at(path: Path, options: IngestOptions = OPTIONS) -> IngestReport:
    with open_recording(load_recording(path)) as reader:
        return dry_run(reader, options)[0]


@pytest.mark.parametrize("container", CONTAINERS)
def test_known_faults_are_measured(container: str, tmp_path: Path) -> None:
    """In all containers, and as a slow look at the same messages says."""
    said = drive()
    figures = measured(looked_at(write(tmp_path, container, said)))
    for topic, messages in drives.recorded(said, ros1=container == "bag").items():
        check(figures[topic], messages)
    imu, camera, text = figures["/imu"], figures["/camera"], figures["/text"]
    assert imu.gap_s == GAP_S
    assert imu.delay_drift_s == pytest.approx(DRIFT_S, rel=0.01)
    assert imu.seq_missing == (SEQ_MISSING if container == "bag" else None)
    assert (camera.repeated, camera.compared) == (99 - FROZEN_FROM, 99)
    assert (text.times_back, text.times_repeated, text.stamped) == (1, 1, None)
    # The gap shows as bars that are empty, or nearly.
    assert min(imu.bars[10:-10]) < max(imu.bars) / 4


def test_splits_are_one_recording(tmp_path: Path) -> None:
    """What is between two files is a gap like others, and no message is new after it."""
    said = drive()
    folder = tmp_path / "drive"
    folder.mkdir()
    types = {one.topic: one.msgtype for one in said}
    for number, part in enumerate((said[:333], said[333:700], said[700:])):
        drives.write_mcap(
            folder / f"drive_{number}.mcap",
            types,
            [(one.topic, one.time_ns, drives.payload(one)) for one in part],
        )
    figures = measured(looked_at(folder))
    for topic, messages in drives.recorded(said).items():
        check(figures[topic], messages)


def test_what_is_left_out_is_measured_as_recorded(tmp_path: Path) -> None:
    """Thinning out changes nothing; of a topic that is not sent only the times are known."""
    said = drive()
    options = replace(
        OPTIONS,
        topics=("!/camera",),
        topic_options={"/imu": TopicOptions(every_nth=7)},
    )
    report = looked_at(write(tmp_path, "mcap", said), options)
    figures = measured(report)
    check(figures["/imu"], drives.recorded(said)["/imu"])
    camera = figures["/camera"]
    assert (camera.messages, camera.compared, camera.stamped) == (100, 0, 0)
    assert camera.rate_hz == pytest.approx(10)
    sent = {topic.name: topic.messages_sent for topic in report.topics}
    assert sent == {"/imu": 122, "/camera": 0, "/text": 50}


EXPECTED = {
    "/imu": Expectation(min_hz=99, max_gap_s=1.0, max_delay_ms=20, required=True),
    "/cam*": Expectation(min_hz=9.5, max_gap_s=0.5, max_repeated_share=0.1),
    "/lidar/*": Expectation(min_hz=10, required=True),
    "*": Expectation(max_gap_s=100),
}
KINDS = {
    ("/imu", "min_hz"),
    ("/imu", "max_gap_s"),
    ("/imu", "max_delay_ms"),
    ("/camera", "max_repeated_share"),
    ("/lidar/*", "required"),
}


class Kept(NoEvents):
    """Keeps what an upload needs, as a journal does."""

    def __init__(self) -> None:
        self.upload: OpenUpload | None = None

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.upload = OpenUpload.from_json(upload.as_json())


def kinds(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    assert len({(one.topic, one.kind) for one in findings}) == len(findings)
    return {(one.topic, str(one.kind)) for one in findings}


def test_findings_are_said_on_the_platform_and_hold_nothing_up(tmp_path: Path) -> None:
    """All rows arrive, the sequence is whole, and a notification says what falls short."""
    options = replace(OPTIONS, expectations=EXPECTED)
    said = drive()
    path = write(tmp_path, "mcap", said)
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=options)
        notes = client.list_sequence_notify(report.sequence)
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        rows = {
            topic: sum(batch.num_rows for batch in handler.topic_handler(topic).batches())
            for topic in handler.topics
        }
        again = ingest(load_recording(path), client=client, options=options)

    assert kinds(report.findings) == KINDS
    assert report.complete
    assert rows == {"/imu": 850, "/camera": 100, "/text": 50}
    (note,) = [one.message for one in notes]
    assert note.startswith("quality: /camera: ")
    assert all(finding.text in note for finding in report.findings)
    # It is ours, so that the bridge does not report it as news of the platform.
    assert is_own_note(note)
    # Nothing was read the second time, so nothing is known.
    assert again.already_there
    assert again.quality is None
    assert measured(again) == {}


@pytest.mark.parametrize("at", [1, 3])
def test_a_resumed_upload_counts_each_message_once(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier try sent whole is measured too, and what it sent in part only once."""
    options = replace(
        OPTIONS,
        expectations=EXPECTED,
        topics=("!/text",),
        batches=replace(OPTIONS.batches, max_batch_size_records=300),
    )
    said = drive()
    path = write(tmp_path, "mcap", said)
    kept, calls, write_batch = Kept(), iter(range(1000)), TopicWriter.write_batch

    def breaking(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise TransientError("the line broke")
        return write_batch(*arguments, **named)

    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        with monkeypatch.context() as patch, pytest.raises(TransientError):
            patch.setattr(TopicWriter, "write_batch", breaking)
            ingest(load_recording(path), client=client, options=options, events=kept)
        report = ingest(
            load_recording(path), client=client, options=options, events=kept, upload=kept.upload
        )
    figures = measured(report)
    expected = drives.recorded(said)
    check(figures["/imu"], expected["/imu"])
    check(figures["/camera"], expected["/camera"])
    assert figures["/text"].messages == 50
    assert kinds(report.findings) == KINDS


def test_a_commit_that_broke_leaves_the_figures_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every topic whole nothing is sent again, and everything is measured once."""
    said = drive()
    path = write(tmp_path, "mcap", said)
    kept = Kept()

    def breaking(_writer: SequenceWriter) -> None:
        raise TransientError("the line broke")

    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        with monkeypatch.context() as patch, pytest.raises(TransientError):
            patch.setattr(SequenceWriter, "finalize", breaking)
            ingest(load_recording(path), client=client, options=OPTIONS, events=kept)
        report = ingest(
            load_recording(path), client=client, options=OPTIONS, events=kept, upload=kept.upload
        )
    for topic, messages in drives.recorded(said).items():
        check(measured(report)[topic], messages)


def test_what_the_recorder_reports_lost(tmp_path: Path) -> None:
    """Reports are added up by topic; of topics that no report names nothing is lost."""
    path = tmp_path / "drive.mcap"
    events = "/events/rosbag2_messages_lost"
    reports = [{"/imu": (3, 1)}, {"/imu": (0, 2), "/gone": (5, 0)}, {}]
    said = [one for one in drive() if one.topic != "/camera"]
    messages = [(one.topic, one.time_ns, drives.payload(one)) for one in said]
    messages += [
        (events, drives.START_NS + index, drives.lost_event(counts))
        for index, counts in enumerate(reports)
    ]
    types = {one.topic: one.msgtype for one in said} | {events: drives.LOST}
    drives.write_mcap(path, types, messages)
    expectations = {"/imu": Expectation(max_lost=5), "/text": Expectation(max_lost=0)}
    report = looked_at(path, replace(OPTIONS, expectations=expectations))
    figures = measured(report)
    assert (figures["/imu"].lost_transport, figures["/imu"].lost_recorder) == (3, 3)
    assert figures["/text"].lost == 0
    assert kinds(report.findings) == {("/imu", "max_lost")}
    # Without reports nothing is known.
    assert measured(looked_at(write(tmp_path / "b", "mcap", said)))["/imu"].lost is None


VENDOR_READS = """
import json, sys, warnings
warnings.simplefilter("ignore")
from mosaicolabs import MosaicoClient
port, sequence = sys.argv[1:]
with MosaicoClient.connect(host="localhost", port=int(port)) as client:
    handler = client.sequence_handler(sequence)
    stream = client.topic_handler(sequence, "/_bridge/quality").get_data_streamer()
    rows = [[type(row.data).__name__, row.timestamp_ns, row.data.data] for row in stream]
    json.dump([sorted(handler.topics), rows], sys.stdout)
"""


def test_figures_are_a_topic_where_that_is_wanted(tmp_path: Path) -> None:
    """The vendor's SDK reads it typed; nothing that is compared with the recording changes."""
    said = drive()
    path = write(tmp_path, "mcap", said)
    options = replace(
        OPTIONS,
        expectations=EXPECTED,
        quality_topic=True,
        verification=VerificationLevel.READBACK,
    )
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=options)
        script = subprocess.run(
            [sys.executable, "-c", VENDOR_READS, str(server.port), report.sequence],
            check=True,
            capture_output=True,
            text=True,
        )
        holding = held_whole(client, report.contents)[report.sequence]
        again = ingest(load_recording(path), client=client, options=options)
        read = ingest(load_recording(path), client=client, options=options, resend=True)

    topics, rows = json.loads(script.stdout)
    assert topics == ["/_bridge/quality", "/camera", "/imu", "/text"]
    assert {kind for kind, _, _ in rows} == {"String"}
    assert {time_ns for _, time_ns, _ in rows} == {max(one.time_ns for one in said)}
    plain = {row["topic"]: row for row in (json.loads(text) for _, _, text in rows)}
    for name, figures in measured(report).items():
        row = plain[name]
        assert TopicFigures.from_json({key: row[key] for key in asdict(figures)}) == figures
    assert [one["kind"] for one in plain["/camera"]["findings"]] == ["max_repeated_share"]
    assert [one["topic"] for one in plain[""]["findings"]] == ["/lidar/*"]
    assert report.verification is VerificationLevel.READBACK
    assert report.messages_sent == 1000
    assert set(report.contents[0].topics) == {"/camera", "/imu", "/text"}
    assert holding.proves(VerificationLevel.COUNTS)
    assert again.already_there
    assert read.already_there
    assert not read.shortfalls


@pytest.mark.parametrize("revision", ["G1.2", "G2d"])
def test_the_topic_of_figures_survives_a_commit_that_broke(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither sent twice nor a reason to send the others again."""
    path = write(tmp_path, "mcap", drive())
    options = replace(OPTIONS, quality_topic=True)
    kept, created = Kept(), []
    create = SequenceWriter.topic_create

    def creating(writer: SequenceWriter, name: str, *rest: Any) -> TopicWriter:
        created.append(name)
        return create(writer, name, *rest)

    def breaking(_writer: SequenceWriter) -> None:
        raise TransientError("the line broke")

    monkeypatch.setattr(SequenceWriter, "topic_create", creating)
    with platform(revision, tmp_path / "platform") as client:
        with monkeypatch.context() as patch, pytest.raises(TransientError):
            patch.setattr(SequenceWriter, "finalize", breaking)
            ingest(load_recording(path), client=client, options=options, events=kept)
        report = ingest(
            load_recording(path), client=client, options=options, events=kept, upload=kept.upload
        )
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        assert handler.is_locked
        rows = sum(batch.num_rows for batch in handler.topic_handler("/_bridge/quality").batches())

    assert rows == 3
    assert sorted(created) == ["/_bridge/quality", "/camera", "/imu", "/text"]
