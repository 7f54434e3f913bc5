"""What rows cannot show is in the topic's metadata on the platform, and counted in the report."""

from pathlib import Path

from mcap.writer import Writer

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, ingest
from tests.mapping.recorded import definition_text, serialised
from tests.mapping.rosmsg import changed, typestore, zero

START_NS = 1_760_000_000_000_000_000
MSGTYPE = "sensor_msgs/msg/CompressedImage"
TEXTS = ["16UC1; compressedDepth rvl", "webp", "webp"]


def write(path: Path) -> None:
    """One topic of images in formats that the platform has no name for, and many beside it."""
    store = typestore()
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        schema = writer.register_schema(
            MSGTYPE, "ros2msg", definition_text(store, MSGTYPE).encode()
        )
        for name in ("/depth", "/empty"):
            channel = writer.register_channel(name, "cdr", schema)
            for index, text in enumerate(TEXTS if name == "/depth" else ["", ""]):
                message = changed(zero(store, MSGTYPE), format=text)
                writer.add_message(
                    channel,
                    log_time=START_NS + index,
                    publish_time=START_NS + index,
                    data=serialised(store, message),
                )
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


def test_formats_arrive_as_recorded(tmp_path: Path) -> None:
    """The topic is created when its first images are known, and says what they were."""
    write(tmp_path / "drive.mcap")
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        options = IngestOptions(identity=Identity(instance="test"))
        report = ingest(load_recording(tmp_path / "drive.mcap"), client=client, options=options)
        handler = client.topic_handler(report.sequence, "/depth")
        assert handler is not None
        mapping = handler.user_metadata["_ros_"]["mapping"]

    assert mapping["formats"] == sorted(set(TEXTS))
    assert [topic.noted for topic in report.topics] == [
        {"formats": {TEXTS[0]: 1, "webp": 2}},
        {"formats": {"": 2}},
    ]
    assert report.complete
