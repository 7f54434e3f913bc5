"""The corners of the vendor's rules, one by one, each judged by the vendor and by what we know."""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rosbags.typesys import Stores

from bridge.mapping import plan_topic
from bridge.model import DecodedBlock
from tests.mapping.recorded import through_decoder
from tests.mapping.rosmsg import (
    arrow_type,
    changed,
    decoded,
    message_type,
    topic,
    typestore,
    zero,
)
from tests.mapping.vendor import canonical, rows_of, unpacked, vendor_rows

JAZZY = typestore()
NOETIC = typestore(Stores.ROS1_NOETIC)
NAN, INF = float("nan"), float("inf")


def rows(sample: list[Any], store: Any = JAZZY) -> list[dict[str, Any]]:
    """Our rows, which must be the vendor's."""
    msgtype = sample[0].__msgtype__
    definition = message_type(store, msgtype)
    plan = plan_topic(topic(msgtype), definition, arrow_type(definition))
    ours = rows_of(plan.apply(decoded(store, msgtype, sample)))
    theirs = vendor_rows(msgtype, sample)
    if msgtype == "sensor_msgs/msg/Image":
        theirs = [unpacked(row) for row in theirs]
    assert canonical(ours) == canonical(theirs)
    return ours


def variants(name: str, store: Any = JAZZY, **values: Any) -> list[dict[str, Any]]:
    """Our rows of zero messages in which single fields take the given values in turn."""
    base = zero(store, name)
    lengths = {len(options) for options in values.values()}
    assert len(lengths) == 1
    sample = [
        changed(base, **{path: options[index] for path, options in values.items()})
        for index in range(lengths.pop())
    ]
    return rows(sample, store)


def test_header_is_null_only_without_stamp_and_frame() -> None:
    """Full, frame only, seconds only, nanoseconds only, nothing."""
    found = variants(
        "sensor_msgs/msg/Joy",
        header__frame_id=["map", "map", "", "", ""],
        header__stamp__sec=[5, 0, 5, 0, 0],
        header__stamp__nanosec=[6, 0, 0, 6, 0],
    )
    assert [row["header"] is None for row in found] == [False, False, False, False, True]
    assert found[1]["header"]["timestamp"] == {"seconds": 0, "nanoseconds": 0}
    assert found[2]["header"]["frame_id"] == ""


def test_sequence_number_of_ros_1_counts_samples() -> None:
    """A number of 0 stays 0; that of a null header is lost, as with the vendor."""
    found = variants(
        "sensor_msgs/msg/Joy",
        NOETIC,
        header__frame_id=["map", "map", ""],
        header__seq=[0, 9, 9],
    )
    assert [row["header"] and row["header"]["sample_counter"] for row in found] == [0, 9, None]


def test_header_as_a_topic_is_never_null() -> None:
    """The columns of a Header topic are filled even with zeros."""
    found = rows([zero(JAZZY, "std_msgs/msg/Header")])
    assert found[0]["timestamp"] == {"seconds": 0, "nanoseconds": 0}
    assert found[0]["frame_id"] == ""


COVARIANCES = {
    "zero": np.zeros(9),
    "nan": np.full(9, NAN),
    "negative": np.full(9, -2.0),
    "minus one leads": np.array([-1.0] + [0.0] * 8),
    "minus one leads a positive": np.array([-1.0, 0.5] + [0.0] * 7),
    "one tiny positive": np.array([0.0] * 8 + [5e-324]),
    "nan with a positive": np.array([NAN, 1.0] + [NAN] * 7),
    "infinite": np.array([INF] + [0.0] * 8),
}
KEPT = [False, False, False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("msgtype", "field", "column"),
    [
        ("sensor_msgs/msg/Imu", "linear_acceleration_covariance", "acceleration"),
        ("sensor_msgs/msg/Imu", "angular_velocity_covariance", "angular_velocity"),
        ("sensor_msgs/msg/NavSatFix", "position_covariance", "position"),
        ("sensor_msgs/msg/MagneticField", "magnetic_field_covariance", "magnetic_field"),
    ],
)
def test_covariance_is_kept_with_a_positive_element(msgtype: str, field: str, column: str) -> None:
    """All elements are kept, -1 and NaN included, or the matrix is null."""
    found = variants(msgtype, **{field: list(COVARIANCES.values())})
    assert [row[column]["covariance"] is not None for row in found] == KEPT


def test_orientation_is_null_only_by_its_first_element() -> None:
    """-1 says that there is none; a quaternion of zeros is one."""
    found = variants("sensor_msgs/msg/Imu", orientation_covariance=list(COVARIANCES.values()))
    assert [row["orientation"] is None for row in found] == [
        name.startswith("minus one") for name in COVARIANCES
    ]
    assert found[0]["orientation"]["w"] == 0.0


def test_covariance_of_a_fix_decides_about_its_type() -> None:
    """Without matrix no type, whatever the message says; with a matrix even type 0."""
    positive = np.eye(3).reshape(-1)
    found = variants(
        "sensor_msgs/msg/NavSatFix",
        position_covariance=[np.zeros(9), positive, positive],
        position_covariance_type=[2, 0, 3],
    )
    assert [row["position"]["covariance_type"] for row in found] == [None, 0, 3]


def test_status_of_a_fix_is_null_where_unknown() -> None:
    """-1 is no fix, below that nothing is known."""
    found = variants("sensor_msgs/msg/NavSatFix", status__status=[-2, -1, 0, 2])
    assert [row["status"] and row["status"]["status"] for row in found] == [None, -1, 0, 2]


def test_empty_child_frame_is_null_in_transforms_and_text_in_odometry() -> None:
    """The two types differ, on the vendor's side and so on ours."""
    transforms = variants("geometry_msgs/msg/TransformStamped", child_frame_id=["", "lidar", "é"])
    assert [row["target_frame_id"] for row in transforms] == [None, "lidar", "é"]
    odometry = variants("nav_msgs/msg/Odometry", child_frame_id=["", "base"])
    assert [row["target_frame_id"] for row in odometry] == ["", "base"]


def test_binning_needs_both_directions() -> None:
    """One-sided binning is null, as with the vendor."""
    found = variants(
        "sensor_msgs/msg/CameraInfo",
        NOETIC,
        binning_x=[0, 1, 2, 2, 1],
        binning_y=[0, 1, 1, 4, 2],
    )
    assert [row["binning"] and (row["binning"]["x"], row["binning"]["y"]) for row in found] == [
        None, None, None, (2.0, 4.0), None,
    ]  # fmt: skip


def test_region_is_null_where_nothing_is_set() -> None:
    """All zero is null, rectification alone is a region."""
    found = variants(
        "sensor_msgs/msg/CameraInfo",
        NOETIC,
        roi__do_rectify=[False, True, False, False],
        roi__width=[0, 0, 640, 0],
        roi__y_offset=[0, 0, 0, 3],
    )
    assert [row["roi"] is None for row in found] == [True, False, False, False]
    assert found[3]["roi"]["offset"]["y"] == 3.0


def test_calibration_is_found_under_both_spellings() -> None:
    """ROS 1 writes D, K, R, P; ROS 2 d, k, r, p."""
    intrinsic, distortion = np.arange(9.0), np.array([0.5])
    old = variants("sensor_msgs/msg/CameraInfo", NOETIC, K=[intrinsic], D=[distortion])
    new = variants("sensor_msgs/msg/CameraInfo", k=[intrinsic], d=[distortion])
    for row in (*old, *new):
        assert row["intrinsic_parameters"] == intrinsic.tolist()
        assert row["distortion_parameters"] == [0.5]


@pytest.mark.parametrize(
    "name", ["temperature", "current", "charge", "capacity", "design_capacity"]
)
def test_battery_value_that_is_not_measured_is_null(name: str) -> None:
    """NaN becomes null in all but voltage and percentage."""
    found = variants("sensor_msgs/msg/BatteryState", **{name: [NAN, 1.5, INF]})
    assert [row[name] for row in found] == [None, 1.5, INF]


def test_battery_voltage_and_cells() -> None:
    """NaN stays in voltage and inside cell lists; no cells are null."""
    found = variants(
        "sensor_msgs/msg/BatteryState",
        voltage=[NAN, 1.0],
        cell_voltage=[np.zeros(0, np.float32), np.array([NAN, 3.5], np.float32)],
    )
    assert np.isnan(found[0]["voltage"])
    assert found[0]["cell_voltage"] is None
    assert found[1]["cell_voltage"][1] == 3.5
    assert np.isnan(found[1]["cell_voltage"][0])


def test_scan_without_intensities_has_null() -> None:
    """No intensities are null, no ranges an empty list, infinities stay."""
    floats = np.array([INF, NAN, 0.5], np.float32)
    empty = np.zeros(0, np.float32)
    found = variants(
        "sensor_msgs/msg/LaserScan", ranges=[floats, empty], intensities=[empty, floats]
    )
    assert [row["intensities"] is None for row in found] == [True, False]
    assert found[1]["ranges"] == []


def test_echoes_keep_empty_inner_lists() -> None:
    """An empty echo list stays; no echo lists at all are null for intensities only."""
    echo = JAZZY.types["sensor_msgs/msg/LaserEcho"]
    lists = [echo(np.zeros(0, np.float32)), echo(np.array([1, 2], np.float32))]
    found = variants(
        "sensor_msgs/msg/MultiEchoLaserScan", ranges=[lists, []], intensities=[[], lists]
    )
    assert [row["intensities"] for row in found] == [None, [[], [1.0, 2.0]]]
    assert [row["ranges"] for row in found] == [[[], [1.0, 2.0]], []]


FORMATS = {
    "jpeg": "jpeg",
    "JPEG": "jpeg",
    " jpeg ": "jpeg",
    "jpg": "jpg",
    "rgb8; jpeg compressed bgr8": "jpeg",
    "bgr8; png compressed bgr8": "png",
    "mono8; jpeg compressed ": "jpeg",
    "compressed jpeg": "jpeg",
    "h264": "h264",
    "hevc": "hevc",
    "tiff": "tiff",
    "png": "png",
    "raw": "raw",
    "16UC1; compressedDepth png": "png",
    "16UC1; compressedDepth": "png",
    "16UC1; compressedDepth rvl": "raw",
    "compressedDepth": "raw",
    "webp": "raw",
    "theora": "raw",
}


def test_format_of_a_compressed_image_is_parsed_as_the_vendor_does() -> None:
    """Every spelling of the transports, and those that only look like one."""
    found = variants("sensor_msgs/msg/CompressedImage", format=list(FORMATS))
    assert [row["format"] for row in found] == list(FORMATS.values())


def test_image_keeps_its_bytes_whatever_their_number() -> None:
    """Padded rows, too few and too many bytes, no size at all; byte order 0 and 1, 2 dropped."""
    found = variants(
        "sensor_msgs/msg/Image",
        height=[2, 2, 2, 0, 1, 1],
        width=[3, 3, 3, 0, 1, 1],
        step=[12, 12, 12, 0, 1, 1],
        data=[np.arange(size, dtype=np.uint8) for size in (24, 20, 30, 0, 1, 1)],
        is_bigendian=[0, 0, 0, 0, 1, 2],
    )
    assert [len(row["data"]) for row in found] == [24, 20, 30, 0, 1]
    assert found[4]["is_bigendian"] is True


def test_temperature_is_kelvin_in_double_precision() -> None:
    """The sum is made in doubles; variances that are no variances are null."""
    found = variants(
        "sensor_msgs/msg/Temperature",
        temperature=[25.1, -25.1, NAN, 0.0],
        variance=[0.5, 0.0, -1.0, NAN],
    )
    assert [row["value"] for row in found[:2]] == [298.25, 248.04999999999998]
    assert [row["variance"] for row in found] == [0.5, None, None, None]


@pytest.mark.parametrize(
    ("msgtype", "field"),
    [
        ("std_msgs/msg/Header", "stamp__nanosec"),
        ("sensor_msgs/msg/Imu", "header__stamp__nanosec"),
        ("nav_msgs/msg/MapMetaData", "map_load_time__nanosec"),
        ("builtin_interfaces/msg/Duration", "nanosec"),
    ],
)
def test_stamp_beyond_a_second_is_dropped_alone(msgtype: str, field: str) -> None:
    """Nanoseconds of a second or more are no time; the messages around it stay."""
    sample = [changed(zero(JAZZY, msgtype), **{field: ns}) for ns in (1, 10**9, 10**9 - 1)]
    assert len(rows(sample)) == 2


def test_bad_stamp_deep_in_a_sequence_drops_the_message_it_belongs_to() -> None:
    """One transform of one TFMessage is bad: that message goes, with its good transforms."""
    good = zero(JAZZY, "geometry_msgs/msg/TransformStamped")
    bad = changed(good, header__stamp__nanosec=2**32 - 1)
    tf = JAZZY.types["tf2_msgs/msg/TFMessage"]
    for broken in ([good, bad], [bad, good], [bad]):
        found = rows([tf([good]), tf([]), tf(broken), tf([good, good, good])])
        assert [len(row["transforms"]) for row in found] == [1, 0, 3]


def test_signalling_nan_survives() -> None:
    """Bits of a float that any arithmetic would change are the same afterwards."""
    msgtype = "std_msgs/msg/Float32"
    raw = pa.py_buffer(np.array([0x7F800001], np.uint32))
    data = pa.Array.from_buffers(pa.float32(), 1, [None, raw])
    messages = pa.StructArray.from_arrays([data], names=["data"])
    plan = plan_topic(topic(msgtype), message_type(JAZZY, msgtype), messages.type)
    block = plan.apply(DecodedBlock(log_times_ns=np.zeros(1, np.int64), messages=messages))

    assert np.frombuffer(block.batch.column("data").buffers()[1], np.uint32)[0] == 0x7F800001


def ros1(msgtype: str, text: str, payloads: list[bytes]) -> tuple[list[dict[str, Any]], set[str]]:
    """Our rows of payloads of ROS 1, and why messages were dropped."""
    _, _, block = through_decoder(msgtype, text, payloads, encoding="ros1msg")
    return rows_of(block), set(block.dropped)


def test_both_parts_of_a_duration_of_ros_1_have_a_sign() -> None:
    """A negative part of a second is taken from the seconds (wiki.ros.org/msg, section 2.1.1)."""
    parts = [(1, 5), (-1, -5), (0, -1), (-1, 999_999_995), (-(2**31), -1), (0, -(10**9))]
    found, dropped = ros1(
        "std_msgs/Duration", "duration data\n", [struct.pack("<ii", *each) for each in parts]
    )
    assert [(row["seconds"], row["nanoseconds"]) for row in found] == [
        (1, 5), (-2, 999_999_995), (-1, 999_999_999), (-1, 999_999_995),
    ]  # fmt: skip
    assert dropped == {"stamp with nanoseconds of a second or more"}


def test_seconds_of_a_time_of_ros_1_have_none() -> None:
    """What the platform's signed seconds cannot hold is dropped, and never becomes a past."""
    payloads = [struct.pack("<II", sec, 7) for sec in (0, 2**31 - 1, 2**31, 2**32 - 1)]
    for msgtype, text, head, tail in (
        ("std_msgs/Time", "time data\n", b"", b""),
        ("std_msgs/Header", "uint32 seq\ntime stamp\nstring frame_id\n", b"\0" * 4, b"\0" * 4),
        ("geometry_msgs/PointStamped", "Header header\nPoint point\n"
         + "=" * 80 + "\nMSG: geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z\n",
         b"\0" * 4, b"\1\0\0\0f" + b"\0" * 24),
    ):  # fmt: skip
        found, dropped = ros1(msgtype, text, [head + each + tail for each in payloads])
        times = [row.get("timestamp") or row.get("header", {}).get("timestamp") or row
                 for row in found]  # fmt: skip
        assert [time["seconds"] for time in times] == [0, 2**31 - 1], msgtype
        assert dropped == {"stamp after 2038, which the platform's seconds cannot hold"}


def test_generic_types_of_ros_1_keep_every_sign() -> None:
    """As single values, in lists and in arrays: the wire's numbers, nothing wrapped."""
    text = (
        "duration d\ntime t\nduration[] ds\ntime[1] ts\nbyte b\nchar c\nbyte[] bs\n"
        "char[2] cs\nint8 i\nuint8 u\n"
    )
    payload = struct.pack("<iiII", -1, -2, 2**32 - 1, 3)
    payload += struct.pack("<Iii", 1, -4, -5) + struct.pack("<II", 2**31, 6)
    payload += struct.pack("<bBIbbBBbB", -1, 200, 2, -2, 127, 255, 0, -128, 255)
    found, dropped = ros1("acme_msgs/Signs", text, [payload])

    def time(sec: int, nanosec: int) -> dict[str, int]:
        return {"sec": sec, "nanosec": nanosec}

    (row,) = found
    row.pop("timestamp_ns", None)
    assert row == {
        "d": time(-1, -2), "t": time(2**32 - 1, 3), "ds": [time(-4, -5)], "ts": [time(2**31, 6)],
        "b": -1, "c": 200, "bs": [-2, 127], "cs": [255, 0], "i": -128, "u": 255,
    }  # fmt: skip
    assert not dropped
