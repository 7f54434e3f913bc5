"""The recordings that are timed, written by the `mcap` library and rosbags, not by us."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore

START_NS = 1_760_000_000_000_000_000
CHUNK_BYTES = 768 << 10
"""As rosbag2 writes them."""

DISTINCT_BYTES = 4 << 20
"""Messages repeat after so many bytes: well beyond a chunk, so that repetition helps no codec."""

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
NOISE = np.random.default_rng(seed=6726)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of recording.

    Attributes:
        name: What it is called in tables.
        msgtype: The ROS type of its only topic.
        make: Makes the i-th distinct message.
        rate_hz: Messages a second of record time.
        messages: How many there are at scale 1.
        vendor_messages: How many the vendor's injector is timed on.
        compression: Of the chunks: `none` as rosbag2 does by default, `zstd` or `lz4`.
    """

    name: str
    msgtype: str
    make: Callable[[int], Any]
    rate_hz: float
    messages: int
    vendor_messages: int
    compression: str = "none"


def write_case(case: Case, path: Path, *, messages: int) -> None:
    """Write a recording of a case.

    Args:
        case: What to write.
        path: The `.mcap` file.
        messages: How many messages.
    """
    definition, _ = STORE.generate_msgdef(case.msgtype, ros_version=2)
    payloads = _distinct(case, messages)
    step_ns = round(1e9 / case.rate_hz)
    with path.open("wb") as stream:
        writer = Writer(
            stream, chunk_size=CHUNK_BYTES, compression=CompressionType[case.compression.upper()]
        )
        writer.start(profile="ros2", library="benchmark")
        schema = writer.register_schema(case.msgtype, "ros2msg", definition.encode())
        channel = writer.register_channel(f"/{case.name}", "cdr", schema)
        for number in range(messages):
            time_ns = START_NS + number * step_ns
            writer.add_message(channel, time_ns, payloads[number % len(payloads)], time_ns)
        writer.finish()  # type: ignore[no-untyped-call]


def _distinct(case: Case, messages: int) -> list[bytes]:
    payloads: list[bytes] = []
    total_bytes = 0
    while len(payloads) < messages and total_bytes < DISTINCT_BYTES:
        message = case.make(len(payloads))
        payloads.append(bytes(STORE.serialize_cdr(message, case.msgtype)))
        total_bytes += len(payloads[-1])
    return payloads


def _header(number: int) -> Any:
    stamp_ns = START_NS + number * 10_000_000
    stamp = TYPES["builtin_interfaces/msg/Time"](
        sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000
    )
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id="base_link")


def _vector() -> Any:
    x, y, z = NOISE.normal(size=3)
    return TYPES["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def _quaternion() -> Any:
    x, y, z, w = NOISE.normal(size=4)
    return TYPES["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)


def imu(number: int) -> Any:
    known = np.diag([0.01, 0.01, 0.02]).ravel()
    return TYPES["sensor_msgs/msg/Imu"](
        header=_header(number),
        orientation=_quaternion(),
        orientation_covariance=known,
        angular_velocity=_vector(),
        angular_velocity_covariance=known,
        linear_acceleration=_vector(),
        linear_acceleration_covariance=known,
    )


def odometry(number: int) -> Any:
    x, y, z = NOISE.normal(size=3)
    covariance = np.diag([0.01] * 6).ravel()
    pose = TYPES["geometry_msgs/msg/Pose"](
        position=TYPES["geometry_msgs/msg/Point"](x=x, y=y, z=z), orientation=_quaternion()
    )
    twist = TYPES["geometry_msgs/msg/Twist"](linear=_vector(), angular=_vector())
    return TYPES["nav_msgs/msg/Odometry"](
        header=_header(number),
        child_frame_id="base_footprint",
        pose=TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=covariance),
        twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=covariance),
    )


def transforms(number: int) -> Any:
    return TYPES["tf2_msgs/msg/TFMessage"](
        transforms=[
            TYPES["geometry_msgs/msg/TransformStamped"](
                header=_header(number),
                child_frame_id=f"link_{link}",
                transform=TYPES["geometry_msgs/msg/Transform"](
                    translation=_vector(), rotation=_quaternion()
                ),
            )
            for link in range(10)
        ]
    )


def joints(number: int) -> Any:
    return TYPES["sensor_msgs/msg/JointState"](
        header=_header(number),
        name=[f"joint_{joint}" for joint in range(12)],
        position=NOISE.normal(size=12),
        velocity=NOISE.normal(size=12),
        effort=NOISE.normal(size=12),
    )


def scan(number: int) -> Any:
    return TYPES["sensor_msgs/msg/LaserScan"](
        header=_header(number),
        angle_min=-3.14,
        angle_max=3.14,
        angle_increment=6.28 / 1080,
        time_increment=0.0,
        scan_time=0.1,
        range_min=0.1,
        range_max=30.0,
        ranges=NOISE.uniform(0.1, 30, 1080).astype(np.float32),
        intensities=NOISE.uniform(0, 255, 1080).astype(np.float32),
    )


def _image(number: int, width: int, height: int) -> Any:
    columns = np.linspace(0, 200, width)[None, :, None]
    rows = np.linspace(0, 50, height)[:, None, None]
    pixels = columns + rows + NOISE.integers(0, 6, (height, width, 3))
    return TYPES["sensor_msgs/msg/Image"](
        header=_header(number),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.astype(np.uint8).ravel(),
    )


def image_vga(number: int) -> Any:
    return _image(number, 640, 480)


def image_full_hd(number: int) -> Any:
    return _image(number, 1920, 1080)


def compressed_image(number: int) -> Any:
    # A JPEG does not compress any further, and neither does noise.
    return TYPES["sensor_msgs/msg/CompressedImage"](
        header=_header(number),
        format="rgb8; jpeg compressed bgr8",
        data=NOISE.integers(0, 256, 200_000, dtype=np.uint8),
    )


def cloud(number: int) -> Any:
    points = np.zeros(60_000, dtype=[(axis, "<f4") for axis in ("x", "y", "z", "i")])
    for axis in ("x", "y", "z"):
        points[axis] = np.round(NOISE.normal(0, 20, points.size), 2)
    points["i"] = NOISE.integers(0, 256, points.size)
    field = TYPES["sensor_msgs/msg/PointField"]
    return TYPES["sensor_msgs/msg/PointCloud2"](
        header=_header(number),
        height=1,
        width=points.size,
        fields=[
            field(name=name, offset=4 * place, datatype=7, count=1)
            for place, name in enumerate(("x", "y", "z", "intensity"))
        ],
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )


CASES = (
    Case(name="imu", msgtype="sensor_msgs/msg/Imu", make=imu, rate_hz=200,
         messages=1_000_000, vendor_messages=2_000),
    Case(name="odometry", msgtype="nav_msgs/msg/Odometry", make=odometry, rate_hz=100,
         messages=400_000, vendor_messages=1_000),
    Case(name="tf", msgtype="tf2_msgs/msg/TFMessage", make=transforms, rate_hz=100,
         messages=200_000, vendor_messages=800),
    Case(name="joints", msgtype="sensor_msgs/msg/JointState", make=joints, rate_hz=100,
         messages=400_000, vendor_messages=2_000),
    Case(name="scan", msgtype="sensor_msgs/msg/LaserScan", make=scan, rate_hz=20,
         messages=40_000, vendor_messages=1_000),
    Case(name="image_vga", msgtype="sensor_msgs/msg/Image", make=image_vga, rate_hz=30,
         messages=600, vendor_messages=40),
    Case(name="image_full_hd", msgtype="sensor_msgs/msg/Image", make=image_full_hd, rate_hz=30,
         messages=90, vendor_messages=8),
    Case(name="cloud", msgtype="sensor_msgs/msg/PointCloud2", make=cloud, rate_hz=10,
         messages=600, vendor_messages=60),
    Case(name="imu_zstd", msgtype="sensor_msgs/msg/Imu", make=imu, rate_hz=200,
         messages=1_000_000, vendor_messages=2_000, compression="zstd"),
    Case(name="cloud_zstd", msgtype="sensor_msgs/msg/PointCloud2", make=cloud, rate_hz=10,
         messages=600, vendor_messages=60, compression="zstd"),
    Case(name="image_vga_zstd", msgtype="sensor_msgs/msg/Image", make=image_vga, rate_hz=30,
         messages=600, vendor_messages=40, compression="zstd"),
    Case(name="jpeg", msgtype="sensor_msgs/msg/CompressedImage", make=compressed_image, rate_hz=30,
         messages=2_000, vendor_messages=150),
)  # fmt: skip
