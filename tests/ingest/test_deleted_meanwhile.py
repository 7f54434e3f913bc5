"""An unfinished sequence that is deleted on the platform at any moment of its upload."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import load_recording
from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter, TopicWriter
from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from bridge.embedded.session.dialect import Action, Answers, Dialect
from bridge.errors import BridgeError, UploadGoneError
from bridge.ingest import BatchTargets, Identity, IngestOptions, NoEvents, OpenUpload, ingest
from bridge.model import Recording
from bridge.ontology import String
from tests.servers.served import SERVERS, Revision, embedded_server

TOPICS = 3
MESSAGES = 60
# More than there are events in such an ingest.
MOMENTS_MAX = 40


class Deleter(NoEvents):
    """Deletes the sequence at the n-th event, if it is there and not finished.

    Where it has a recording, it sends that under the same name then, as another bridge.
    """

    def __init__(
        self, client: MosaicoClient, moment: int, recording: Recording | None = None
    ) -> None:
        self.client = client
        self.recording = recording
        self.moment = moment
        self.seen = 0
        self.deleted = False
        self.upload: OpenUpload | None = None

    def tick(self) -> None:
        self.seen += 1
        if self.seen != self.moment:
            return
        self.client.clear_sequence_handlers_cache()
        handler = self.client.sequence_handler("drive")
        if handler is not None and not handler.is_locked:
            with contextlib.suppress(BridgeError):
                self.client.sequence_delete("drive")
                self.deleted = True
            if self.deleted and self.recording is not None:
                options = IngestOptions(
                    sequence_name="{stem}", identity=Identity(instance="another")
                )
                ingest(self.recording, client=self.client, options=options)

    def started(self, **_: Any) -> None:
        self.tick()

    def topic_planned(self, **_: Any) -> None:
        self.tick()

    def read(self, **_: Any) -> None:
        self.tick()

    def batch_sent(self, **_: Any) -> None:
        self.tick()

    def upload_changed(self, *, upload: OpenUpload) -> None:
        self.upload = upload
        self.tick()

    def stage_finished(self, **_: Any) -> None:
        self.tick()


def write_drive(path: Path) -> None:
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channels = [writer.register_channel(f"/t{n}", "cdr", schema) for n in range(TOPICS)]
        for stamp in range(MESSAGES):
            for channel in channels:
                data = b"\0\1\0\0" + (3).to_bytes(4, "little") + b"hi\0"
                writer.add_message(channel, log_time=stamp, publish_time=stamp, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


def assert_whole(client: MosaicoClient) -> None:
    """See that the sequence is finished and has every row once."""
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler("drive")
    assert handler is not None
    assert handler.is_locked
    rows = [
        sum(batch.num_rows for batch in handler.topic_handler(name).batches())
        for name in handler.topics
    ]
    assert rows == [MESSAGES] * TOPICS


@pytest.mark.parametrize(
    ("revision", "replaced"),
    [
        ("G2d", False),
        ("G1.2", False),
        ("G2d", True),
        ("G1.2", True),
        pytest.param("G3b", False, marks=pytest.mark.slow),
        pytest.param("G3b", True, marks=pytest.mark.slow),
    ],
)
def test_deleted_upload_begins_again_at_any_moment(
    tmp_path: Path, revision: Revision, *, replaced: bool
) -> None:
    """It is never the recording that is blamed, and the next try leaves every row there, once.

    Also where another bridge has sent the recording under the name meanwhile.
    """
    write_drive(tmp_path / "drive.mcap")
    recording = load_recording(tmp_path / "drive.mcap")
    options = IngestOptions(
        sequence_name="{stem}",
        identity=Identity(instance="test", resumes=True),
        batches=BatchTargets(max_batch_size_records=20),
    )
    hit = 0
    for moment in range(1, MOMENTS_MAX):
        with (
            embedded_server(tmp_path / f"platform {moment}", revision) as server,
            MosaicoClient.connect("127.0.0.1", server.port) as client,
            MosaicoClient.connect("127.0.0.1", server.port) as other,
        ):
            deleter = Deleter(other, moment, recording if replaced else None)
            try:
                ingest(recording, client=client, options=options, events=deleter)
            except BridgeError as error:
                if not (error.retryable if replaced else isinstance(error, UploadGoneError)):
                    raise
                assert deleter.deleted
                if replaced:
                    assert_whole(client)
                ingest(recording, client=client, options=options, upload=deleter.upload)
            else:
                assert not deleter.deleted
            hit += deleter.deleted
            assert_whole(client)
        if deleter.seen < moment:
            break

    assert hit >= 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Interposed(Dialect):
    """A dialect that lets something happen before it answers an action.

    Attributes:
        before: Called with the action's name.
    """

    before: Callable[[str], None]

    def answers(self, archive: Archive, name: str, known: Action, body: bytes) -> Answers:
        self.before(name)
        return Dialect.answers(self, archive, name, known, body)


class Usurper:
    """Deletes an unfinished sequence right before the n-th action of others, and takes its name.

    It writes topics of the same names, and leaves one whole and one open until it goes on.
    """

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.seen = 0
        self.writer: SequenceWriter | None = None
        self.open: TopicWriter | None = None
        self.client: MosaicoClient | None = None
        self._busy = False

    def before(self, _action: str) -> None:
        if self.client is None or self._busy or self.writer is not None:
            return
        self.seen += 1
        if self.seen < self.moment:
            return
        self._busy = True
        self.client.clear_sequence_handlers_cache()
        found = self.client.sequence_handler("drive")
        if found is not None and not found.is_locked:
            self.client.sequence_delete("drive")
            self.writer = self.client.sequence_create("drive", {"of": "another"}).__enter__()
            whole = self.writer.topic_create("/t0", {}, String)
            whole.write_batch(self.rows(0))
            whole.close()
            self.open = self.writer.topic_create("/t1", {}, String)
            self.open.write_batch(self.rows(1))
        self._busy = False

    @staticmethod
    def rows(stamp_ns: int) -> pa.RecordBatch:
        return pa.record_batch([pa.array([stamp_ns]), pa.array(["x"])], schema=String.schema)

    def finish(self) -> None:
        """Write the rest, and see that all of it is there, and no word of anybody else."""
        assert self.writer is not None
        assert self.open is not None
        assert self.client is not None
        self.open.write_batch(self.rows(2))
        self.writer.finalize()
        self.client.clear_sequence_handlers_cache()
        handler = self.client.sequence_handler("drive")
        assert handler is not None
        rows = {
            name: [
                stamp for batch in topic.batches() for stamp in batch["timestamp_ns"].to_pylist()
            ]
            for name, topic in handler.topic_handlers().items()
        }
        assert rows == {"/t0": [0], "/t1": [1, 2]}
        assert self.client.list_sequence_notify("drive") == []


@pytest.mark.parametrize("revision", ["G1.2", pytest.param("G2d", marks=pytest.mark.slow)])
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
@pytest.mark.parametrize("resumes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nothing_is_done_to_another_that_has_the_name_by_now(
    tmp_path: Path, revision: Revision, policy: OnErrorPolicy, *, resumes: bool
) -> None:
    """At no moment does what follows an error touch what another is writing under the name.

    Deletions go by name, and so does a topic that was rejected, one that got no rows, a note.
    """
    write_drive(tmp_path / "drive.mcap")
    recording = load_recording(tmp_path / "drive.mcap")
    options = IngestOptions(
        sequence_name="{stem}",
        identity=Identity(instance="test", final=True, resumes=resumes),
        batches=BatchTargets(max_batch_size_records=20),
        on_error=policy,
    )
    hit = 0
    for moment in range(1, MOMENTS_MAX):
        usurper = Usurper(moment)
        server = interposed(tmp_path / f"platform {moment}", revision, usurper)
        with (
            server,
            MosaicoClient.connect("127.0.0.1", server.port) as client,
            MosaicoClient.connect("127.0.0.1", server.port) as other,
        ):
            usurper.client = other
            error: BridgeError | None = None
            try:
                ingest(recording, client=client, options=options)
            except BridgeError as late:
                error = late
            if usurper.writer is None:
                assert error is None
                break
            hit += 1
            assert error is None or error.retryable, error
            usurper.finish()

    assert hit >= 5


def interposed(folder: Path, revision: Revision, usurper: Usurper) -> EmbeddedServer:
    """Make a server of a revision that another bridge gets in between."""
    kind = SERVERS[revision]
    parts = {one.name: getattr(kind.dialect, one.name) for one in fields(Dialect)}
    dialect = Interposed(**parts, before=usurper.before)
    server: EmbeddedServer = type("Interposing", (kind,), {"dialect": dialect})(folder)
    return server
