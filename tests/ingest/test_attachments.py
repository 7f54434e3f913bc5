"""Metadata records and attachments of an MCAP file: small ones travel along, others are named."""

from pathlib import Path

from mcap.writer import Writer

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, ingest
from bridge.ingest.attachments import ATTACHMENTS_MAX, RECORDS_BYTES_MAX, carried_metadata
from bridge.mapping import BRIDGE_KEY


def test_what_a_recorder_noted_is_in_the_sequences_metadata(tmp_path: Path) -> None:
    """The platform shows the driver's name; the calibration file is named with its size."""
    path = tmp_path / "drive.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2", library="recorder 7")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/chatter", "cdr", schema)
        writer.add_message(channel, 1, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00", 1)
        writer.add_metadata("trip", {"driver": "Ada", "route.id": "7"})
        writer.add_metadata("large", {"text": "x" * 20_000})
        writer.add_metadata("rosbag2", {"ROS_DISTRO": "jazzy", "serialized_metadata": "..."})
        writer.add_attachment(1, 1, "camera.yaml", "text/yaml", bytes(5000))
        writer.finish()  # type: ignore[no-untyped-call]
    options = IngestOptions(identity=Identity(instance="test"))
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=options)
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        recorded = handler.user_metadata[BRIDGE_KEY]["recorded"]

    assert recorded == {
        "ros_distro": "jazzy",
        "library": "recorder 7",
        # The platform takes no dots in keys.
        "metadata_records": {"trip": {"driver": "Ada", "route_id": "7"}},
        "metadata_records_omitted": {"large": 20_012},
        "attachments": [
            {
                "file": "drive.mcap",
                "name": "camera.yaml",
                "media_type": "text/yaml",
                "size_bytes": 5000,
            }
        ],
    }
    assert "1 attachment in the files only; the sequence's metadata names them" in report.notes
    assert report.complete


def test_there_is_a_bound_to_what_travels_along() -> None:
    """Hundreds of records and attachments are counted, and the sequence stays creatable."""
    carried = carried_metadata(
        {
            "metadata": {f"record {number}": {"text": "x" * 7000} for number in range(20)},
            "attachments": [{"name": str(number)} for number in range(100)],
        }
    )
    kept, omitted = carried["metadata_records"], carried["metadata_records_omitted"]

    assert len(kept) == RECORDS_BYTES_MAX // 7012
    assert len(kept) + len(omitted) == 20
    assert len(carried["attachments"]) == ATTACHMENTS_MAX
    assert carried["attachments_omitted"] == 100 - ATTACHMENTS_MAX
