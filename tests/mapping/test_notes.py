"""What rows cannot show is noted: fields without a place, formats as recorded, -1 for none."""

from typing import Any

import numpy as np
import pytest

from bridge.mapping import TopicOptions
from bridge.mapping.source import Note
from tests.mapping.recorded import definition_text, serialised, through_decoder
from tests.mapping.rosmsg import changed, typestore, zero

STORE = typestore()


def noted(msgtype: str, messages: list[Any], text: str = "", ontology: str = "") -> Any:
    """The plan and the mapped block of messages."""
    text = text or definition_text(STORE, msgtype)
    payloads = [serialised(STORE, message) for message in messages]
    plan, _, block = through_decoder(
        msgtype, text, payloads, options=TopicOptions(ontology=ontology)
    )
    return plan, block


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ("uint8 sensor\n", ["sensor"]),
        ("builtin_interfaces/Time when\nfloat32[] raw\n", ["when", "raw"]),
        ("", []),
    ],
)
def test_fields_of_a_fork_without_a_place_are_counted(more: str, left_out: list[str]) -> None:
    """A fork of a stock type keeps its model, and its further fields are named and counted."""
    msgtype = "sensor_msgs/msg/Temperature"
    head, rest = definition_text(STORE, msgtype).split("\n" + "=" * 80, 1)
    text = f"{head}\n{more}" + "\n" + "=" * 80 + rest
    plan, _, _ = through_decoder(msgtype, text, [])
    message = serialised(STORE, zero(STORE, msgtype)) + bytes(16)
    _, _, block = through_decoder(msgtype, text, [message, message])

    assert plan.kind == "mapped"
    assert plan.left_out == tuple(left_out)
    assert plan.user_metadata["_ros_"]["mapping"].get("left_out", []) == left_out
    assert dict(block.notes.get(Note.LEFT_OUT, {})) == dict.fromkeys(left_out, 2)


def test_fields_inside_lists_of_messages_are_looked_at() -> None:
    """What a mapping does not read is found at any depth, also in elements of sequences."""
    msgtype = "tf2_msgs/msg/TFMessage"
    text = definition_text(STORE, msgtype).replace(
        "string child_frame_id", "string child_frame_id\nuint8 parts"
    )
    plan, _, _ = through_decoder(msgtype, text, [])
    assert plan.left_out == ("transforms[].parts",)


def test_formats_are_kept_as_recorded() -> None:
    """Codec names are lossy, so the texts themselves are noted, for the topic's metadata."""
    msgtype = "sensor_msgs/msg/CompressedImage"
    texts = ["bgr8; jpeg compressed bgr8", "webp", "webp", ""]
    plan, block = noted(msgtype, [changed(zero(STORE, msgtype), format=text) for text in texts])

    assert plan.mapping.observes
    assert dict(block.notes[Note.FORMATS]) == {texts[0]: 1, "webp": 2, "": 1}
    metadata = plan.metadata({str(note): texts for note, texts in block.notes.items()})
    assert metadata["_ros_"]["mapping"]["formats"] == ["", texts[0], "webp"]
    assert "formats" not in plan.user_metadata["_ros_"]["mapping"]


def test_quantities_that_are_not_measured_are_told_from_unknown_covariances() -> None:
    """Null either way in the rows, as with the vendor; the note says which have a -1."""
    msgtype = "sensor_msgs/msg/Imu"
    absent, unknown = zero(STORE, msgtype), zero(STORE, msgtype)
    absent.linear_acceleration_covariance[0] = -1
    unknown.angular_velocity_covariance[0] = 0.5
    plan, block = noted(msgtype, [absent, unknown, absent])

    assert plan.mapping.observes
    assert dict(block.notes[Note.NOT_MEASURED]) == {"linear_acceleration_covariance": 2}
    assert [row["covariance"] for row in block.batch.column("acceleration").to_pylist()] == [
        None
    ] * 3


def test_columns_of_clouds_without_a_place_are_named() -> None:
    """Taken apart, a cloud's other columns are noted, and how it was organised."""
    types = STORE.types
    fields = [
        types["sensor_msgs/msg/PointField"](name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "normal_x"))
    ]
    message = changed(
        zero(STORE, "sensor_msgs/msg/PointCloud2"),
        height=1,
        width=1,
        point_step=16,
        fields=fields,
        data=np.zeros(16, np.uint8),
    )
    plan, block = noted("sensor_msgs/msg/PointCloud2", [message], ontology="Lidar")

    assert plan.mapping.observes
    assert set(block.notes[Note.LEFT_OUT]) == {"row_step", "is_dense", "data.normal_x"}
