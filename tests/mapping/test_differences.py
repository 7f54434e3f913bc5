"""Where we part from the vendor on purpose; each reason stands in docs/mapping.md."""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mosaicolabs.bridges.ros.adapters.sensor_msgs import NavSatStatusAdapter
from mosaicolabs.models.core.message import Message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from bridge.mapping import GENERIC, TopicOptions
from bridge.ontology import GPSStatus, Range
from tests.mapping.recorded import definition_text, serialised, through_decoder
from tests.mapping.rosmsg import changed, typestore, zero
from tests.mapping.vendor import rows_of, vendor_row

JAZZY = typestore()
LITTLE_ENDIAN = b"\x00\x01\x00\x00"  # encapsulation: CDR, little endian, no options


def registered(text: str, msgtype: str) -> Typestore:
    """A type store of ROS 2 with a type of our own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(text, msgtype))
    return store


def mapped(message: Any, store: Typestore = JAZZY, **options: Any) -> tuple[Any, list[Any]]:
    """The plan and our rows for one message, through bytes."""
    msgtype = message.__msgtype__
    plan, decoded, block = through_decoder(
        msgtype,
        definition_text(store, msgtype),
        [serialised(store, message)],
        options=TopicOptions(**options),
    )
    assert not decoded.dropped
    assert not block.dropped
    return plan, rows_of(block)


def test_raw_images_stay_raw() -> None:
    """The vendor compresses every image to PNG while it reads; we store what was recorded."""
    pixels = np.arange(12, dtype=np.uint8)
    message = changed(zero(JAZZY, "sensor_msgs/msg/Image"), height=3, width=4, step=4, data=pixels)
    theirs = vendor_row("sensor_msgs/msg/Image", message)
    _, ours = mapped(message)

    assert theirs is not None
    assert theirs["format"] == "png"
    assert ours[0] | {"data": b"", "format": ""} == theirs | {"data": b"", "format": ""}
    assert (ours[0]["format"], ours[0]["data"]) == ("raw", pixels.tobytes())


@pytest.mark.parametrize(
    ("text", "theirs", "ours"),
    [
        ("bgr8; jpeg", None, "jpeg"),
        ("bgr8;PNG", "raw", "png"),
        ("rgb8;jpeg compressed bgr8", "raw", "jpeg"),
        ("rgb8; png compressedDepth", "raw", "png"),
        ("jpeg compressed", "raw", "jpeg"),
        ("16UC1; compressedDepth rvl", "raw", "raw"),
        ("a compressed compressedDepth", None, "raw"),
        ("bgr8; webp", None, "raw"),
        ("  ", None, "raw"),
        ("", "png", "raw"),
        ("h265", "raw", "hevc"),
        ("H265", "raw", "hevc"),
        ("hevc_nvenc", "raw", "hevc"),
        ("avc", "raw", "h264"),
        ("libx264", "raw", "h264"),
        ("mjpeg", "raw", "jpeg"),
        ("MJPG", "raw", "jpeg"),
        ("bgr8; mjpeg compressed bgr8", "raw", "jpeg"),
    ],
)
def test_no_format_string_costs_a_compressed_image(
    text: str, theirs: str | None, ours: str
) -> None:
    """The codec that the string names is found wherever it stands; the vendor drops or misnames."""
    zeroed = zero(JAZZY, "sensor_msgs/msg/CompressedImage")
    message = changed(zeroed, format=text, data=np.arange(5, dtype=np.uint8))
    row = vendor_row("sensor_msgs/msg/CompressedImage", message)
    _, mine = mapped(message)

    assert (row and row["format"]) == theirs
    assert (mine[0]["format"], mine[0]["data"]) == (ours, bytes(range(5)))


def test_camera_that_was_never_calibrated_is_kept() -> None:
    """D1: the vendor takes an empty `d` for a missing one and stops; we store no parameters."""
    message = zero(JAZZY, "sensor_msgs/msg/CameraInfo")
    _, ours = mapped(message)
    theirs = vendor_row("sensor_msgs/msg/CameraInfo", changed(message, d=np.zeros(1)))

    assert vendor_row("sensor_msgs/msg/CameraInfo", message) is None
    assert theirs is not None
    assert ours == [theirs | {"distortion_parameters": []}]


def test_bounded_sequence_is_a_list() -> None:
    """D2: a sequence shorter than its bound is no error; the vendor makes it a fixed list."""
    primitive = changed(zero(JAZZY, "shape_msgs/msg/SolidPrimitive"), dimensions=np.array([1.5]))
    plan, ours = mapped(primitive)

    assert plan.model.schema.field("dimensions").type == pa.list_(pa.float64())
    assert ours[0]["dimensions"] == [1.5]


def test_byte_is_unsigned() -> None:
    """D3: 0x80 and above are values like others."""
    array = changed(
        zero(JAZZY, "std_msgs/msg/ByteMultiArray"), data=np.array([0x7F, -128, -1], np.int8)
    )
    _, ours = mapped(array)

    assert ours[0]["data"] == [0x7F, 0x80, 0xFF]


def test_empty_messages_are_kept() -> None:
    """D4: a topic of empty messages has rows, and so has one with an empty message inside."""
    plan, ours = mapped(zero(JAZZY, "std_msgs/msg/Empty"))
    assert plan.kind == "generic"
    assert len(ours) == 1
    assert len(plan.model.fields) == 1

    store = registered("std_msgs/Empty nothing\nint32 after\n", "a_msgs/msg/Holder")
    _, ours = mapped(changed(zero(store, "a_msgs/msg/Holder"), after=7), store)
    assert ours[0]["after"] == 7


def test_fields_may_be_named_like_keywords() -> None:
    """D5: `class` and `from` are names like others."""
    text = "int32 class\nint32 from\n"
    plan, _, block = through_decoder(
        "a_msgs/msg/Words", text, [LITTLE_ENDIAN + struct.pack("<ii", 1, 2)]
    )
    assert plan.model.schema.names == ["timestamp_ns", "class", "from"]
    assert rows_of(block)[0]["from"] == 2


def test_wide_strings_are_text() -> None:
    """D6: a wstring arrives as text."""
    payload = LITTLE_ENDIAN + struct.pack("<III", 2, ord("h"), ord("é"))
    _, _, block = through_decoder("a_msgs/msg/Wide", "wstring text\n", [payload])
    assert rows_of(block)[0]["text"] == "hé"


def test_definition_may_be_idl() -> None:
    """D7: a type without a model may be defined in IDL."""
    text = """================================================================================
IDL: a_msgs/msg/Speed
module a_msgs { module msg { struct Speed { float value; }; }; };
"""
    plan, _, block = through_decoder(
        "a_msgs/msg/Speed", text, [LITTLE_ENDIAN + struct.pack("<f", 1.5)], encoding="ros2idl"
    )
    assert plan.model.tag == "Speed"
    assert rows_of(block)[0]["value"] == 1.5


def test_same_name_in_two_packages_keeps_both_definitions() -> None:
    """D9: every topic says what its type was, also where tag and columns equal another's."""
    plans = [
        through_decoder(f"{package}/msg/Status", "uint8 OK=0\nuint8 code\n", [])[0]
        for package in ("a_msgs", "b_msgs")
    ]
    blocks = [plan.user_metadata["_ros_"] for plan in plans]

    assert plans[0].model == plans[1].model
    assert [block["msgtype"] for block in blocks] == ["a_msgs/msg/Status", "b_msgs/msg/Status"]
    assert all(block["enums"] == {"OK": 0} for block in blocks)
    assert all(block["msgdef"] == "uint8 OK=0\nuint8 code\n" for block in blocks)


def test_field_named_like_the_record_time_is_renamed() -> None:
    """D12: the message's own `timestamp_ns` gets another name, and the metadata says which."""
    text = "int64 timestamp_ns\nint64 timestamp_ns_\n"
    plan, _, block = through_decoder(
        "a_msgs/msg/Clock", text, [LITTLE_ENDIAN + struct.pack("<qq", 5, 6)]
    )
    row = rows_of(block)[0]

    assert plan.model.schema.names == ["timestamp_ns", "timestamp_ns__", "timestamp_ns_"]
    assert (row["timestamp_ns__"], row["timestamp_ns_"]) == (5, 6)
    assert plan.user_metadata["_ros_"]["mapping"]["renamed_fields"] == {
        "timestamp_ns__": "timestamp_ns"
    }


def test_range_becomes_the_range_model_where_it_is_asked_for() -> None:
    """Generic like the vendor's; asked for the model, its own reader takes our rows."""
    message = changed(
        zero(JAZZY, "sensor_msgs/msg/Range"),
        header__frame_id="sonar",
        radiation_type=1,
        field_of_view=0.5,
        min_range=0.25,
        max_range=4.0,
        range=1.5,
        variance=0.125,
    )
    msgtype = "sensor_msgs/msg/Range"
    plan, _, block = through_decoder(
        msgtype,
        definition_text(JAZZY, msgtype),
        [serialised(JAZZY, message)],
        options=TopicOptions(ontology="Range"),
    )
    usual, rows = mapped(message)
    read = Message._from_pa_record_batch(block.batch, "Range").data

    assert (usual.kind, usual.reason, usual.model.tag) == ("generic", "", "Range")
    assert (rows[0]["range"], rows[0]["header"]["frame_id"]) == (1.5, "sonar")
    assert (plan.model, plan.kind) == (Range, "mapped")
    assert (read.header.frame_id, read.radiation_type, read.range) == ("sonar", 1, 1.5)
    assert (read.field_of_view, read.min_range, read.max_range) == (0.5, 0.25, 4.0)
    assert (read.variance, read.variance_type) == (0.125, None)


def test_range_of_older_distributions_has_no_variance() -> None:
    """The field came later; without it the variance is null."""
    text = (
        "std_msgs/Header header\nuint8 radiation_type\nfloat32 field_of_view\n"
        "float32 min_range\nfloat32 max_range\nfloat32 range\n"
        + "=" * 80
        + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
        + "=" * 80
        + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
    )
    plan, _, _ = through_decoder(
        "sensor_msgs/msg/Range", text, [], options=TopicOptions(ontology="Range")
    )
    assert (plan.model, plan.reason) == (Range, "")


def test_status_of_a_receiver_becomes_its_model() -> None:
    """The vendor's adapter exists but is not registered; asked directly, it gives our row."""
    message = changed(zero(JAZZY, "sensor_msgs/msg/NavSatStatus"), status=-1, service=9)
    plan, ours = mapped(message)

    assert plan.model == GPSStatus
    assert ours == [
        vendor_row("sensor_msgs/msg/NavSatStatus", message, adapter=NavSatStatusAdapter)
    ]


def test_header_the_vendor_calls_malformed_is_kept_in_generic_rows() -> None:
    """A field `header` that is no header, or one with a strange stamp, is data like other data."""
    store = registered("uint32 header\n", "a_msgs/msg/Framed")
    _, ours = mapped(changed(zero(store, "a_msgs/msg/Framed"), header=3), store)
    assert ours[0]["header"] == 3

    strange = changed(zero(JAZZY, "sensor_msgs/msg/Illuminance"), header__stamp__nanosec=10**9)
    _, ours = mapped(strange)
    assert ours[0]["header"]["stamp"]["nanosec"] == 10**9


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("float32 temperature\n", "field variance of sensor_msgs/msg/Temperature is missing"),
        ("string temperature\nfloat64 variance\n", "is string, which does not fit into double"),
        ("float64 temperature\nfloat64 variance\nuint8 header\n", "is uint8, not a message"),
    ],
)
def test_variant_of_a_stock_type_goes_generic(text: str, complaint: str) -> None:
    """A vendor's own idea of a stock type loses no message; the metadata says why it is generic."""
    plan, _, _ = through_decoder("sensor_msgs/msg/Temperature", text, [])

    assert plan.kind == "generic"
    assert complaint in plan.reason
    assert plan.user_metadata["_ros_"]["mapping"] == {"kind": "generic", "reason": plan.reason}
    assert plan.model.tag == "Temperature"


def test_narrower_variant_of_a_stock_type_is_widened() -> None:
    """Single precision where the model has doubles is no reason to give up the model."""
    text = "float32 temperature\nfloat32 variance\n"
    plan, _, block = through_decoder(
        "sensor_msgs/msg/Temperature", text, [LITTLE_ENDIAN + struct.pack("<ff", 0.5, 0.25)]
    )
    assert plan.kind == "mapped"
    assert rows_of(block)[0]["value"] == 273.65
    assert rows_of(block)[0]["header"] is None


def test_user_may_keep_the_fields_of_any_type() -> None:
    """Asked for generic, a listed type keeps its ROS fields."""
    plan, ours = mapped(zero(JAZZY, "sensor_msgs/msg/Temperature"), ontology=GENERIC)

    assert (plan.kind, plan.reason, plan.model.tag) == ("generic", "", "Temperature")
    assert ours[0]["temperature"] == 0.0
    assert ours[0]["header"] == {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}
