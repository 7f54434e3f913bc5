"""An unfinished sequence that is deleted on the platform at any moment of its upload."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.errors import BridgeError, UploadGoneError
from bridge.ingest import BatchTargets, Identity, IngestOptions, NoEvents, OpenUpload, ingest
from bridge.model import Recording
from tests.servers.served import Revision, embedded_server

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
