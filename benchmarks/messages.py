"""The messages of the benchmarks: what a vehicle records, with noise that no codec sees through."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

START_NS = 1_760_000_000_000_000_000

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
NOISE = np.random.default_rng(seed=6726)

MakeMessage = Callable[[int], Any]
"""Makes the i-th distinct message of a topic."""


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


def pose(number: int) -> Any:
    x, y, z = NOISE.normal(size=3)
    return TYPES["geometry_msgs/msg/PoseStamped"](
        header=_header(number),
        pose=TYPES["geometry_msgs/msg/Pose"](
            position=TYPES["geometry_msgs/msg/Point"](x=x, y=y, z=z), orientation=_quaternion()
        ),
    )


def velocity(number: int) -> Any:
    return TYPES["geometry_msgs/msg/TwistStamped"](
        header=_header(number),
        twist=TYPES["geometry_msgs/msg/Twist"](linear=_vector(), angular=_vector()),
    )


def position(number: int) -> Any:
    latitude, longitude, altitude = NOISE.normal((45.0, 7.0, 240.0), 0.01)
    return TYPES["sensor_msgs/msg/NavSatFix"](
        header=_header(number),
        status=TYPES["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        position_covariance=np.diag([1.0, 1.0, 4.0]).ravel(),
        position_covariance_type=2,
    )


def temperature(number: int) -> Any:
    return TYPES["sensor_msgs/msg/Temperature"](
        header=_header(number), temperature=NOISE.normal(40), variance=0.1
    )


def magnetic_field(number: int) -> Any:
    return TYPES["sensor_msgs/msg/MagneticField"](
        header=_header(number),
        magnetic_field=_vector(),
        magnetic_field_covariance=np.diag([0.1] * 3).ravel(),
    )


def speed(_: int) -> Any:
    return TYPES["std_msgs/msg/Float64"](data=NOISE.normal(12.0))


def state(number: int) -> Any:
    return TYPES["std_msgs/msg/String"](data=f"state {number}")
