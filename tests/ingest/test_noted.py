"""What rows cannot show is in the topic's metadata on the platform, and counted in the report."""

from collections import Counter
from pathlib import Path

from mcap.writer import Writer

from bridge.bags import load_recording, open_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, NoEvents, TopicReport, ingest, plan_fields
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


class Heard(NoEvents):
    """Counts what is reported of each topic."""

    def __init__(self) -> None:
        self.planned: Counter[str] = Counter()
        self.read_messages: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def topic_planned(self, *, topic: TopicReport) -> None:
        self.planned[topic.shown_name] += 1

    def messages_read(self, *, topic: str, messages: int) -> None:
        self.read_messages[topic] += messages

    def batch_sent(self, *, topic: str, messages: int, arrow_bytes: int) -> None:
        del arrow_bytes
        self.sent[topic] += messages

    def skipped(self, *, topic: str, reason: str, messages: int) -> None:
        del reason
        self.left_out[topic] += messages


def test_topics_of_one_name_are_reported_by_those_of_the_platform(tmp_path: Path) -> None:
    """Two layouts of one name are two bars, two lines and two tables of fields."""
    with (tmp_path / "drive.mcap").open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        for kind, payloads in (("String", [b"\0\1\0\0\1\0\0\0\0"]), ("Int8", [b"\0\1\0\0\5"] * 2)):
            text = f"{kind.lower()} data\n".encode()
            schema = writer.register_schema(f"std_msgs/msg/{kind}", "ros2msg", text)
            channel = writer.register_channel("/t", "cdr", schema)
            for payload in [*payloads, b"\0\1"]:
                writer.add_message(channel, START_NS, payload, START_NS)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    options = IngestOptions(identity=Identity(instance="test"))
    heard = Heard()
    with open_recording(load_recording(tmp_path / "drive.mcap")) as reader:
        fields = plan_fields(reader, options)
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        ingest(
            load_recording(tmp_path / "drive.mcap"), client=client, options=options, events=heard
        )

    assert fields.keys() == heard.planned.keys() == {"/t", "/t_2"}
    assert heard.read_messages == {"/t": 2, "/t_2": 3}
    assert heard.sent == {"/t": 1, "/t_2": 2}
    assert heard.left_out == {"/t": 1, "/t_2": 1}
