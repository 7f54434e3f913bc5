"""Recordings go in as files and come out as rows: judged by rosbags, read by us and the vendor."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.bags import load_recording
from bridge.cli import write_drive
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.errors import AlreadyExistsError, EmptyRecordingError
from bridge.ingest import (
    Identity,
    IngestOptions,
    IngestReport,
    TopicOptions,
    TopicOutcome,
    VerificationLevel,
    ingest,
)
from tests.recordings import mcap_messages, plain, real_bag

OPTIONS = IngestOptions(identity=Identity(instance="test"), verification=VerificationLevel.READBACK)

START_NS = 1_760_000_000_000_000_000

Row = dict[str, Any]


def xyz(value: Row) -> list[float]:
    return [value["x"], value["y"], value["z"]]


def total(data: list[int] | bytes) -> list[int]:
    return [len(data), sum(data)]


# What is compared of a message, seen as rosbags decodes it and as the platform's row.
VIEWS: dict[str, tuple[str, Callable[[Row], Any], Callable[[Row], Any]]] = {
    "sensor_msgs/msg/Imu": (
        "IMU",
        lambda ros: [xyz(ros["linear_acceleration"]), xyz(ros["angular_velocity"])],
        lambda row: [xyz(row["acceleration"]), xyz(row["angular_velocity"])],
    ),
    "nav_msgs/msg/Odometry": (
        "MotionState",
        lambda ros: [xyz(ros["pose"]["pose"]["position"]), ros["child_frame_id"]],
        lambda row: [xyz(row["pose"]["position"]), row["target_frame_id"]],
    ),
    "tf2_msgs/msg/TFMessage": (
        "FrameTransform",
        lambda ros: [
            [each["child_frame_id"], xyz(each["transform"]["translation"])]
            for each in ros["transforms"]
        ],
        lambda row: [
            [each["target_frame_id"], xyz(each["translation"])] for each in row["transforms"]
        ],
    ),
    "sensor_msgs/msg/JointState": (
        "RobotJoint",
        lambda ros: [ros["name"], ros["position"], ros["velocity"], ros["effort"]],
        lambda row: [row["names"], row["positions"], row["velocities"], row["efforts"]],
    ),
    "sensor_msgs/msg/NavSatFix": (
        "GPS",
        lambda ros: [ros["latitude"], ros["longitude"], ros["altitude"], ros["status"]["status"]],
        lambda row: [*xyz(row["position"]), row["status"]["status"]],
    ),
    "sensor_msgs/msg/Image": (
        "Image",
        lambda ros: [ros["width"], ros["step"], ros["encoding"], total(ros["data"])],
        lambda row: [row["width"], row["stride"], row["encoding"], picture(row["data"])],
    ),
    "sensor_msgs/msg/PointCloud2": (
        "PointCloud2",
        lambda ros: [ros["width"], ros["point_step"], total(ros["data"])],
        lambda row: [row["width"], row["point_step"], picture(row["data"])],
    ),
    "std_msgs/msg/String": ("String", lambda ros: ros["data"], lambda row: row["data"]),
    "diagnostic_msgs/msg/DiagnosticArray": (
        "DiagnosticArray",
        lambda ros: ros["status"][0]["values"],
        lambda row: row["status"][0]["values"],
    ),
    "rcl_interfaces/msg/Log": (
        "Log",
        lambda ros: [ros["msg"], ros["line"], ros["level"]],
        lambda row: [row["msg"], row["line"], row["level"]],
    ),
}


def picture(data: bytes | list[int]) -> list[int]:
    """Sum up bytes; the vendor's script sends the sum already."""
    return total(data) if isinstance(data, bytes) else data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[MosaicoClient]:
    with MosaicoClient.connect("127.0.0.1", server.port) as connected:
        yield connected


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    return write_drive(folder, name="drive", start_ns=START_NS, duration_s=3.0)


def expected_rows(bag: Path) -> dict[str, tuple[str, list[tuple[int, Any]]]]:
    """Give by platform topic the tag, times and compared values in order, as rosbags decodes."""
    expected = {}
    for topic, messages in mcap_messages(bag).items():
        store = get_typestore(Stores.EMPTY)
        _, msgtype, definition, _ = messages[0]
        store.register(get_types_from_msg(definition, msgtype))
        tag, view, _ = VIEWS[msgtype]
        rows = [
            (time_ns, view(plain(store.deserialize_cdr(payload, msgtype))))
            for time_ns, _, _, payload in messages
        ]
        expected[topic if topic.startswith("/") else f"/{topic}"] = (tag, rows)
    return expected


def tag_views() -> dict[str, Callable[[Row], Any]]:
    return {tag: view for tag, _, view in VIEWS.values()}


def our_rows(client: MosaicoClient, sequence: str) -> dict[str, tuple[str, list[Any]]]:
    handler = client.sequence_handler(sequence)
    assert handler is not None
    seen = {}
    for name in handler.topics:
        topic = handler.topic_handler(name)
        view = tag_views()[topic.ontology_tag]
        rows = [(row["timestamp_ns"], view(row)) for row in topic.rows()]
        seen[name] = (topic.ontology_tag, rows)
    return seen


def vendor_rows(server: EmbeddedServer, sequence: str) -> dict[str, tuple[str, list[Any]]]:
    script = Path(__file__).with_name("vendor_reads.py")
    done = subprocess.run(
        [sys.executable, script, str(server.port), sequence],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        name: (
            topic["tag"],
            [(time_ns, tag_views()[topic["tag"]](row)) for time_ns, row in topic["rows"]],
        )
        for name, topic in json.loads(done.stdout).items()
    }


def send(client: MosaicoClient, bag: Path, options: IngestOptions = OPTIONS) -> IngestReport:
    return ingest(load_recording(bag), client=client, options=options)


@pytest.fixture(scope="module")
def drive_report(client: MosaicoClient, drive: Path) -> IngestReport:
    return send(client, drive)


def by_value(rows: dict[str, tuple[str, list[Any]]]) -> dict[str, tuple[str, list[Any]]]:
    """Order rows by time and value: equal stamps have no order on the platform."""
    return {name: (tag, sorted(each, key=repr)) for name, (tag, each) in rows.items()}


def test_the_drive_arrives_as_rosbags_decodes_it(
    client: MosaicoClient, drive: Path, drive_report: IngestReport
) -> None:
    """Same topics, counts, times and values, read back by our client."""
    assert drive_report.complete
    assert drive_report.verification is VerificationLevel.READBACK
    assert by_value(our_rows(client, drive_report.sequence)) == by_value(expected_rows(drive))


def test_the_vendor_sdk_reads_the_drive_as_typed_models(
    server: EmbeddedServer, drive: Path, drive_report: IngestReport
) -> None:
    """The unmodified SDK sees the same topics and values through its own models."""
    seen = vendor_rows(server, drive_report.sequence)

    assert by_value(seen) == by_value(expected_rows(drive))


@pytest.mark.parametrize("name", ["wbag_mcap", "talker_mcap"])
def test_real_recordings_arrive_as_rosbags_decodes_them(
    server: EmbeddedServer, client: MosaicoClient, name: str
) -> None:
    """Recordings made by others arrive whole and read the same through both clients."""
    bag = real_bag(name)
    report = send(client, bag)
    expected = by_value(expected_rows(bag))

    assert report.complete
    assert by_value(our_rows(client, report.sequence)) == expected
    assert by_value(vendor_rows(server, report.sequence)) == expected


def test_a_second_ingest_sends_nothing(
    client: MosaicoClient, drive: Path, drive_report: IngestReport
) -> None:
    """The same content is recognised on the platform, under any path."""
    elsewhere = drive.parent / "elsewhere"
    if not elsewhere.exists():
        elsewhere.mkdir()
        for file in drive.glob("*.mcap"):
            (elsewhere / file.name).write_bytes(file.read_bytes())
    before = client.list_sequences()
    options = IngestOptions(
        identity=Identity(instance="another"), sequence_name=drive_report.sequence
    )
    report = send(client, elsewhere, options)

    assert client.list_sequences() == before
    assert report.messages_sent == drive_report.messages_sent
    assert any("already" in note for note in report.notes)
    assert (report.verification, report.complete) == (VerificationLevel.COUNTS, True)


def test_what_an_earlier_try_left_out_is_noticed(client: MosaicoClient, tmp_path: Path) -> None:
    """A sequence with fewer rows than the recording counts is not taken for the whole of it."""
    bag = write_drive(tmp_path, name="less", start_ns=START_NS + 6, duration_s=1.0, splits=1)
    thinned = {"/imu/*": TopicOptions(every_nth=2)}
    send(client, bag, IngestOptions(identity=Identity(instance="test"), topic_options=thinned))
    report = send(client, bag)
    imu = next(topic for topic in report.topics if topic.name == "/imu/data")

    assert imu.messages_skipped == {"not_on_platform": 50}
    assert not report.complete


def test_other_content_under_the_name_is_left_alone(
    client: MosaicoClient, drive_report: IngestReport, tmp_path: Path
) -> None:
    """A name that belongs to something else is an error, and the something else stays."""
    other = write_drive(tmp_path, name="other", start_ns=START_NS + 1, duration_s=1.0, splits=1)
    options = IngestOptions(identity=Identity(instance="test"), sequence_name=drive_report.sequence)
    with pytest.raises(AlreadyExistsError, match="something else"):
        send(client, other, options)

    handler = client.sequence_handler(drive_report.sequence)
    assert handler is not None
    assert handler.is_locked


def test_remains_of_an_earlier_try_are_replaced(client: MosaicoClient, tmp_path: Path) -> None:
    """A sequence that this bridge left half written is removed and sent again, once."""
    bag = write_drive(tmp_path, name="again", start_ns=START_NS + 2, duration_s=1.0, splits=1)
    report = send(client, bag)
    handler = client.sequence_handler(report.sequence)
    assert handler is not None
    metadata = dict(handler.user_metadata)
    client.sequence_delete(report.sequence)
    left = client.sequence_create(report.sequence, metadata)
    left.__enter__()
    left.abandon()
    again = send(client, bag)

    assert again.complete
    assert client.list_sequences().count(report.sequence) == 1
    assert sum(len(rows) for _, rows in our_rows(client, report.sequence).values()) == (
        again.messages_sent
    )


def test_half_written_work_of_another_bridge_is_left_alone(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """Two bridges on one recording never remove each other's work."""
    bag = write_drive(tmp_path, name="shared", start_ns=START_NS + 3, duration_s=1.0, splits=1)
    report = send(client, bag)
    handler = client.sequence_handler(report.sequence)
    assert handler is not None
    metadata = dict(handler.user_metadata)
    client.sequence_delete(report.sequence)
    other = client.sequence_create(report.sequence, metadata)
    other.__enter__()
    options = IngestOptions(identity=Identity(instance="somebody else"))
    with pytest.raises(AlreadyExistsError, match="being written by bridge test"):
        send(client, bag, options)

    assert report.sequence in client.list_sequences()
    other.abandon()


def test_filtered_and_thinned_topics_are_accounted_for(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """What is left out by choice is counted, and the recording still counts as complete."""
    bag = write_drive(tmp_path, name="chosen", start_ns=START_NS + 4, duration_s=1.0, splits=1)
    options = IngestOptions(
        identity=Identity(instance="test"),
        topics=("!/camera/*",),
        topic_options={"/imu/*": TopicOptions(every_nth=10, rename="imu")},
    )
    report = send(client, bag, options)
    topics = {topic.name: topic for topic in report.topics}

    assert report.complete
    camera, imu = topics["/camera/front/image_raw"], topics["/imu/data"]
    assert (camera.outcome, camera.messages_sent) == (TopicOutcome.FILTERED, 0)
    assert camera.messages_skipped == {"filtered": 10}
    assert (imu.platform_name, imu.messages_sent) == ("/imu", 10)
    assert imu.messages_skipped == {"downsampled": 90}


def test_the_hashes_of_the_files_are_reported_on_request(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """Every file's SHA-256 is in the report by its name, and only where it was asked for."""
    bag = write_drive(tmp_path, name="hashed", start_ns=START_NS + 7, duration_s=1.0, splits=2)
    options = IngestOptions(identity=Identity(instance="test"), hash_files=True)

    assert send(client, bag, options).sha256 == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in bag.glob("*.mcap")
    }
    client.sequence_delete(next(name for name in client.list_sequences() if "hashed" in name))
    assert send(client, bag).sha256 == {}


def test_a_recording_with_nothing_to_send_creates_nothing(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """The platform never sees a sequence that would stay empty."""
    bag = write_drive(tmp_path, name="nothing", start_ns=START_NS + 5, duration_s=1.0, splits=1)
    before = client.list_sequences()
    options = IngestOptions(identity=Identity(instance="test"), topics=("/no/such/topic",))
    with pytest.raises(EmptyRecordingError, match="nothing"):
        send(client, bag, options)

    assert client.list_sequences() == before


def test_a_topic_that_cannot_be_decoded_does_not_stop_the_rest(client: MosaicoClient) -> None:
    """The other topics arrive; the report and the platform say which is missing and why."""
    report = send(client, real_bag("service_events_mcap"))
    by_name = {topic.name: topic for topic in report.topics}

    assert by_name["/test_topic1"].messages_sent == 1
    assert by_name["/test_topic2"].messages_sent == 1
    left_out = [topic for topic in report.topics if topic.outcome is TopicOutcome.SKIPPED]
    notes = [note.message for note in client.list_sequence_notify(report.sequence)]
    assert all(topic.reason for topic in left_out)
    assert report.complete is not bool(left_out)
    assert all(topic.name in "".join(notes) for topic in left_out)
