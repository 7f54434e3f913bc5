"""Types of fleets, through bytes: values, units and frames as their definitions document them."""

import math
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.mapping.source import Note
from tests.mapping.recorded import definition_text, serialised, through_decoder
from tests.mapping.rosmsg import changed, typestore, zero
from tests.mapping.vendor import canonical, rows_of

STORE = typestore()
NAN = math.nan


def mapped(message: Any, **values: Any) -> tuple[Any, dict[str, Any], Any]:
    """The plan, our row of a message, and the notes."""
    message = changed(message, **values)
    msgtype = message.__msgtype__
    plan, decoded, block = through_decoder(
        msgtype, definition_text(STORE, msgtype), [serialised(STORE, message)]
    )
    assert (plan.kind, plan.reason, dict(decoded.dropped)) == ("mapped", "", {})
    (row,) = rows_of(block)
    return plan, row, block.notes


def xyz(value: dict[str, Any]) -> list[float]:
    return [value["x"], value["y"], value["z"]]


@pytest.mark.parametrize(
    ("text", "codec"), [("h264", "h264"), ("h265", "hevc"), ("av1", "raw"), ("webp", "raw")]
)
@pytest.mark.parametrize("name", ["CompressedVideo", "CompressedImage"])
def test_video_of_foxglove(name: str, text: str, codec: str) -> None:
    """Stamp and frame become the header, the format a codec's name; no byte is changed."""
    plan, row, notes = mapped(
        zero(STORE, f"foxglove_msgs/msg/{name}"),
        timestamp__sec=7,
        frame_id="camera",
        data=np.arange(200, dtype=np.uint8),
        format=text,
    )
    assert (row["format"], row["data"]) == (codec, bytes(range(200)))
    assert row["header"]["timestamp"] == {"seconds": 7, "nanoseconds": 0}
    assert row["header"]["frame_id"] == "camera"
    assert (plan.left_out, dict(notes[Note.FORMATS])) == ((), {text: 1})


@pytest.mark.parametrize(
    ("text", "codec"),
    [("hevc", "hevc"), ("libx264", "h264"), ("h264;yuv420p;bgr8", "h264"), ("hevc_nvenc", "hevc")],
)
def test_packets_of_ffmpeg(text: str, codec: str) -> None:
    """The encoding names the codec, or an encoder of it; what is not kept is named."""
    plan, row, _ = mapped(
        zero(STORE, "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"),
        header__frame_id="camera",
        encoding=text,
        data=np.arange(5, dtype=np.uint8),
    )
    assert (row["format"], row["data"], row["header"]["frame_id"]) == (
        codec,
        b"\0\1\2\3\4",
        "camera",
    )
    assert set(plan.left_out) == {"width", "height", "pts", "flags", "is_bigendian"}


@pytest.mark.parametrize("package", ["gps_msgs", "gps_common"])
def test_fix_of_a_receiver(package: str) -> None:
    """Course and speed become north, east and up; a dilution of 0 is unknown."""
    fix = changed(
        zero(STORE, f"{package}/msg/GPSFix"),
        latitude=45.0,
        longitude=7.5,
        altitude=240.0,
        track=90.0,
        speed=3.0,
        climb=-0.5,
        hdop=0.8,
        status__status=-1,
        status__satellites_used=12,
        status__motion_source=4,
        position_covariance=np.array([4.0, 0, 0, 0, 4, 0, 0, 0, 9]),
        position_covariance_type=2,
    )
    _, row, _ = mapped(fix)
    assert xyz(row["position"]) == [45.0, 7.5, 240.0]
    assert (row["position"]["covariance"][8], row["position"]["covariance_type"]) == (9.0, 2)
    assert xyz(row["velocity"]) == pytest.approx([0.0, 3.0, -0.5])
    assert row["status"] == {
        "status": -1,
        "service": 0,
        "satellites": 12,
        "hdop": 0.8,
        "vdop": None,
    }
    _, still, _ = mapped(fix, status__motion_source=0, status__satellites_used=300)
    assert (still["velocity"], still["status"]["satellites"]) == (None, None)


@pytest.mark.parametrize("package", ["livox_ros_driver", "livox_ros_driver2", "livox_interfaces"])
def test_points_of_livox(package: str) -> None:
    """Points become lists; times are seconds from the first point."""
    point = STORE.types[f"{package}/msg/CustomPoint"]
    plan, row, _ = mapped(
        zero(STORE, f"{package}/msg/CustomMsg"),
        header__frame_id="livox",
        points=[
            point(offset_time=at * 1000, x=at, y=2.0, z=3.0, reflectivity=200, tag=16, line=at)
            for at in range(3)
        ],
    )
    assert (plan.model.tag, row["x"], row["reflectivity"]) == ("Lidar", [0, 1, 2], [200] * 3)
    assert (row["beam_id"], row["confidence"]) == ([0, 1, 2], [16] * 3)
    assert row["point_timestamp"] == [0.0, 1e-6, 2e-6]
    assert (row["intensity"], row["header"]["frame_id"]) == (None, "livox")
    assert set(plan.left_out) == {"timebase", "point_num", "lidar_id", "rsvd"}


def test_inertial_data_of_px4() -> None:
    """Forward, right, down, as recorded; an invalid acceleration is not a number."""
    reading = changed(
        zero(STORE, "px4_msgs/msg/SensorCombined"),
        timestamp=1_500_007,
        gyro_rad=np.array([0.5, 1.5, 2.5], np.float32),
        accelerometer_m_s2=np.array([0.0, 0.25, -9.75], np.float32),
    )
    _, row, _ = mapped(reading)
    assert row["header"]["timestamp"] == {"seconds": 1, "nanoseconds": 500_007_000}
    assert row["header"]["frame_id"] == "base_link_frd"
    assert xyz(row["angular_velocity"]) == [0.5, 1.5, 2.5]
    assert (xyz(row["acceleration"]), row["orientation"]) == ([0.0, 0.25, -9.75], None)
    _, row, _ = mapped(reading, accelerometer_timestamp_relative=2**31 - 1)
    assert canonical(xyz(row["acceleration"])) == ["nan"] * 3


def test_odometry_of_px4() -> None:
    """The quaternion starts with w; each frame is named where its number has a name."""
    message = changed(
        zero(STORE, "px4_msgs/msg/VehicleOdometry"),
        timestamp_sample=2_000_000,
        pose_frame=1,
        velocity_frame=3,
        position=np.array([1, 2, 3], np.float32),
        q=np.array([0.5, 0.1, 0.2, 0.3], np.float32),
        velocity=np.array([4, 5, 6], np.float32),
        angular_velocity=np.array([7, 8, 9], np.float32),
        position_variance=np.array([1, 2, 3], np.float32),
        orientation_variance=np.array([4, 5, 6], np.float32),
        velocity_variance=np.array([NAN, NAN, NAN], np.float32),
    )
    _, row, _ = mapped(message)
    turned = [row["pose"]["orientation"][axis] for axis in "xyzw"]
    assert (row["header"]["frame_id"], row["target_frame_id"]) == ("odom_ned", "base_link_frd")
    assert row["header"]["timestamp"] == {"seconds": 2, "nanoseconds": 0}
    assert (xyz(row["pose"]["position"]), turned) == (
        [1, 2, 3],
        [float(np.float32(value)) for value in (0.1, 0.2, 0.3, 0.5)],
    )
    assert row["pose"]["covariance"][::7] == [1, 2, 3, 4, 5, 6]
    assert sum(row["pose"]["covariance"]) == 21
    assert xyz(row["velocity"]["linear"]) == [4, 5, 6]
    assert row["velocity"]["linear"]["header"]["frame_id"] == "base_link_frd"
    assert row["velocity"]["linear"]["covariance"] is None
    assert xyz(row["velocity"]["angular"]) == [7, 8, 9]

    _, row, _ = mapped(message, pose_frame=9, velocity_frame=2, q=np.array([NAN, 1, 1, 1], "f4"))
    assert row["header"]["frame_id"] is None
    assert row["velocity"]["linear"]["header"]["frame_id"] == "odom_frd"
    assert canonical([row["pose"]["orientation"][axis] for axis in "xyzw"]) == ["nan"] * 4


@pytest.mark.parametrize(
    ("fix_type", "status"),
    [(0, -1), (1, -1), (2, 0), (3, 0), (4, 1), (5, 2), (6, 2), (8, 0), (99, 0)],
)
def test_receiver_of_px4(fix_type: int, status: int) -> None:
    """Degrees and the height above the ellipsoid; accuracies become variances; down becomes up."""
    fix = changed(
        zero(STORE, "px4_msgs/msg/SensorGps"),
        latitude_deg=45.0,
        longitude_deg=7.5,
        altitude_msl_m=190.0,
        altitude_ellipsoid_m=240.0,
        fix_type=fix_type,
        eph=2.0,
        epv=3.0,
        hdop=0.5,
        vdop=NAN,
        vel_n_m_s=1.0,
        vel_e_m_s=2.0,
        vel_d_m_s=3.0,
        vel_ned_valid=True,
        satellites_used=9,
    )
    _, row, _ = mapped(fix)
    assert (row["status"]["status"], row["status"]["satellites"]) == (status, 9)
    assert (row["status"]["hdop"], row["status"]["vdop"]) == (0.5, None)
    assert xyz(row["velocity"]) == [1.0, 2.0, -3.0]
    if status < 0:
        assert canonical(xyz(row["position"])) == ["nan"] * 3
        assert row["position"]["covariance"] is None
    else:
        assert xyz(row["position"]) == [45.0, 7.5, 240.0]
        assert row["position"]["covariance"] == [4, 0, 0, 0, 4, 0, 0, 0, 9]
    _, row, _ = mapped(fix, vel_ned_valid=False)
    assert row["velocity"] is None


# As of PX4 1.11 to 1.13 (odometry), 1.11 to 1.14 (receiver), and the package of older versions.
OLD_PX4 = {
    "px4_msgs/msg/VehicleOdometry": (
        (
            "uint64 timestamp\nuint64 timestamp_sample\nuint8 LOCAL_FRAME_NED=0\n"
            "uint8 local_frame\n"
            "float32 x\nfloat32 y\nfloat32 z\nfloat32[4] q\nfloat32[4] q_offset\n"
            "float32[21] pose_covariance\nuint8 velocity_frame\nfloat32 vx\nfloat32 vy\n"
            "float32 vz\nfloat32 rollspeed\nfloat32 pitchspeed\nfloat32 yawspeed\n"
            "float32[21] velocity_covariance\nuint8 reset_counter\n"
        ),
        "position_variance",
    ),
    "px4_msgs/msg/SensorGps": (
        (
            "uint64 timestamp\nuint32 device_id\nint32 lat\nint32 lon\nint32 alt\n"
            "int32 alt_ellipsoid\nfloat32 s_variance_m_s\nfloat32 c_variance_rad\nuint8 fix_type\n"
            "float32 eph\nfloat32 epv\nfloat32 hdop\nfloat32 vdop\nint32 noise_per_ms\n"
            "float32 vel_m_s\nfloat32 vel_n_m_s\nfloat32 vel_e_m_s\nfloat32 vel_d_m_s\n"
            "bool vel_ned_valid\nuint8 satellites_used\n"
        ),
        "latitude_deg",
    ),
}


@pytest.mark.parametrize("msgtype", OLD_PX4)
def test_older_layouts_of_px4_keep_their_fields_and_say_why(msgtype: str) -> None:
    """Another layout than the one that the mapping knows is generic, with the field it lacks."""
    text, lacking = OLD_PX4[msgtype]
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, msgtype))
    message = changed(zero(store, msgtype), timestamp=1_500_007)
    plan, _, block = through_decoder(msgtype, text, [serialised(store, message)])
    (row,) = rows_of(block)

    assert plan.kind == "generic"
    assert lacking in plan.reason
    assert plan.user_metadata["_ros_"]["mapping"]["reason"] == plan.reason
    assert row["timestamp"] == 1_500_007
    assert row.keys() - {"timestamp_ns"} == {name for name, _ in store.fielddefs[msgtype][1]}


def test_px4_messages_with_a_version_or_fewer_counters_map() -> None:
    """`MESSAGE_VERSION` and fields that no column comes from make no difference."""
    text = (
        "uint32 MESSAGE_VERSION = 1\nuint64 timestamp\nfloat32[3] gyro_rad\n"
        "uint32 gyro_integral_dt\nint32 accelerometer_timestamp_relative\n"
        "float32[3] accelerometer_m_s2\nuint32 accelerometer_integral_dt\n"
    )
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, "px4_msgs/msg/SensorCombined"))
    message = changed(
        zero(store, "px4_msgs/msg/SensorCombined"), gyro_rad=np.array([1, 2, 3], np.float32)
    )
    plan, _, block = through_decoder(
        "px4_msgs/msg/SensorCombined", text, [serialised(store, message)]
    )
    (row,) = rows_of(block)

    assert plan.model.tag == "IMU"
    assert xyz(row["angular_velocity"]) == [1, 2, 3]


def test_returns_of_a_radar() -> None:
    """Polar coordinates become x ahead, y left and z up; a positive azimuth is to the left."""
    one = STORE.types["radar_msgs/msg/RadarReturn"]
    plan, row, _ = mapped(
        zero(STORE, "radar_msgs/msg/RadarScan"),
        returns=[
            one(range=2.0, azimuth=azimuth, elevation=elevation, doppler_velocity=-1.5, amplitude=9)
            for azimuth, elevation in ((0.0, 0.0), (math.pi / 2, 0.0), (0.0, math.pi / 6))
        ],
    )
    points = np.array([row["x"], row["y"], row["z"]]).T
    assert points == pytest.approx(np.array([[2, 0, 0], [0, 2, 0], [math.sqrt(3), 0, 1]]), abs=1e-6)
    assert (row["range"], row["doppler_velocity"]) == ([2.0] * 3, [-1.5] * 3)
    assert plan.left_out == ("returns[].amplitude",)


def test_geometry_and_time_beside_the_vendors() -> None:
    """Poses of an array, a velocity with its frame, a polygon with an id, plain times."""
    types = STORE.types
    point = types["geometry_msgs/msg/Point32"]
    _, row, _ = mapped(
        zero(STORE, "geometry_msgs/msg/PoseArray"),
        header__frame_id="map",
        poses=[changed(zero(STORE, "geometry_msgs/msg/Pose"), position__x=1.5)],
    )
    assert (row["header"]["frame_id"], row["poses"][0]["position"]["x"]) == ("map", 1.5)
    assert row["poses"][0]["header"] is None

    plan, row, _ = mapped(
        zero(STORE, "geometry_msgs/msg/VelocityStamped"),
        header__frame_id="odom",
        velocity__linear__x=2.0,
        velocity__angular__z=0.5,
    )
    assert (row["linear"]["x"], row["angular"]["z"]) == (2.0, 0.5)
    assert plan.left_out == ("body_frame_id", "reference_frame_id")

    for name, path in (
        ("PolygonInstance", "polygon"),
        ("PolygonInstanceStamped", "polygon__polygon"),
    ):
        _, row, _ = mapped(
            zero(STORE, f"geometry_msgs/msg/{name}"), **{f"{path}__points": [point(x=1, y=2, z=3)]}
        )
        assert xyz(row["points"][0]) == [1, 2, 3]

    _, row, _ = mapped(zero(STORE, "geometry_msgs/msg/Point32"), x=0.5)
    assert row["x"] == 0.5
    for name, path in (
        ("rosgraph_msgs/msg/Clock", "clock"),
        ("std_msgs/msg/Time", "data"),
        ("std_msgs/msg/Duration", "data"),
    ):
        plan, row, _ = mapped(zero(STORE, name), **{f"{path}__sec": 5, f"{path}__nanosec": 6})
        assert (row["seconds"], row["nanoseconds"]) == (5, 6)

    transform = changed(zero(STORE, "geometry_msgs/msg/TransformStamped"), child_frame_id="arm")
    plan, row, _ = mapped(zero(STORE, "tf/msg/tfMessage"), transforms=[transform])
    assert (plan.model.tag, row["transforms"][0]["target_frame_id"]) == ("FrameTransform", "arm")
