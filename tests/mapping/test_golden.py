"""Rows written down once, from runs of the vendor's bridge, so that both sides cannot drift."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bridge.mapping import TopicOptions, plan_topic
from tests.mapping.rosmsg import arrow_type, decoded, message_type, topic, typestore
from tests.mapping.vendor import rows_of, vendor_row

T = typestore().types


def time(sec: int, nanosec: int) -> Any:
    return T["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)


def header(frame: str = "base_link", sec: int = 1_700_000_000, nanosec: int = 250_000_000) -> Any:
    return T["std_msgs/msg/Header"](stamp=time(sec, nanosec), frame_id=frame)


def vector(x: float, y: float, z: float) -> Any:
    return T["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def quaternion(x: float, y: float, z: float, w: float) -> Any:
    return T["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)


def diagonal(size: int, **entries: float) -> Any:
    matrix = np.zeros(size)
    for index, value in entries.items():
        matrix[int(index[1:])] = value
    return matrix


def pose_with_covariance() -> Any:
    return T["geometry_msgs/msg/PoseWithCovariance"](
        pose=T["geometry_msgs/msg/Pose"](
            position=T["geometry_msgs/msg/Point"](x=1.0, y=2.0, z=0.0),
            orientation=quaternion(0.0, 0.0, 0.70710678, 0.70710678),
        ),
        covariance=diagonal(36, _0=0.25, _7=0.25, _35=0.068),
    )


def transform(head: Any, child: str, x: float, z: float) -> Any:
    return T["geometry_msgs/msg/TransformStamped"](
        header=head,
        child_frame_id=child,
        transform=T["geometry_msgs/msg/Transform"](
            translation=vector(x, 0.0, z), rotation=quaternion(0.0, 0.0, 0.0, 1.0)
        ),
    )


def point_field(name: str, offset: int) -> Any:
    return T["sensor_msgs/msg/PointField"](name=name, offset=offset, datatype=7, count=1)


MESSAGES: dict[str, Any] = {
    "sensor_msgs/msg/Imu": T["sensor_msgs/msg/Imu"](
        header=header(),
        orientation=quaternion(0.0, 0.0, 0.0, 1.0),
        orientation_covariance=diagonal(9, _0=-1.0),
        angular_velocity=vector(0.1, -0.2, 0.3),
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector(0.0, 0.0, 9.81),
        linear_acceleration_covariance=diagonal(9, _0=0.04, _4=0.04, _8=0.04),
    ),
    "sensor_msgs/msg/NavSatFix": T["sensor_msgs/msg/NavSatFix"](
        header=header(),
        status=T["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
        latitude=45.07,
        longitude=7.68,
        altitude=239.5,
        position_covariance=diagonal(9, _0=4.0, _4=4.0, _8=9.0),
        position_covariance_type=2,
    ),
    "nav_msgs/msg/Odometry": T["nav_msgs/msg/Odometry"](
        header=header(),
        child_frame_id="base_footprint",
        pose=pose_with_covariance(),
        twist=T["geometry_msgs/msg/TwistWithCovariance"](
            twist=T["geometry_msgs/msg/Twist"](
                linear=vector(0.5, 0.0, 0.0), angular=vector(0.0, 0.0, 0.1)
            ),
            covariance=np.zeros(36),
        ),
    ),
    "geometry_msgs/msg/PoseWithCovarianceStamped": T["geometry_msgs/msg/PoseWithCovarianceStamped"](
        header=header(), pose=pose_with_covariance()
    ),
    "sensor_msgs/msg/Image": T["sensor_msgs/msg/Image"](
        header=header(),
        height=2,
        width=3,
        encoding="rgb8",
        is_bigendian=0,
        step=9,
        data=np.arange(18, dtype=np.uint8),
    ),
    "sensor_msgs/msg/PointCloud2": T["sensor_msgs/msg/PointCloud2"](
        header=header(),
        height=1,
        width=2,
        fields=[point_field(n, 4 * i) for i, n in enumerate(("x", "y", "z", "intensity"))],
        is_bigendian=False,
        point_step=16,
        row_step=32,
        data=np.array([1, 2, 3, 0.5, 4, 5, 6, 0.25], np.float32).view(np.uint8),
        is_dense=True,
    ),
    "tf2_msgs/msg/TFMessage": T["tf2_msgs/msg/TFMessage"](
        transforms=[
            transform(header(), "lidar", 0.1, 0.2),
            transform(header("", 0, 0), "", 0.0, 0.0),
        ]
    ),
}

HEADER = {
    "timestamp": {"seconds": 1_700_000_000, "nanoseconds": 250_000_000},
    "frame_id": "base_link",
    "sample_counter": None,
}
BARE = {"header": None, "covariance": None, "covariance_type": None}
POSE_COVARIANCE = diagonal(36, _0=0.25, _7=0.25, _35=0.068).tolist()
POSITION = BARE | {"x": 1.0, "y": 2.0, "z": 0.0}
ORIENTATION = BARE | {"x": 0.0, "y": 0.0, "z": 0.70710678, "w": 0.70710678}
IDENTITY = BARE | {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}

ROWS: dict[str, dict[str, Any]] = {
    "sensor_msgs/msg/Imu": {
        "header": HEADER,
        "acceleration": BARE
        | {"covariance": diagonal(9, _0=0.04, _4=0.04, _8=0.04).tolist()}
        | {"x": 0.0, "y": 0.0, "z": 9.81},
        "angular_velocity": BARE | {"x": 0.1, "y": -0.2, "z": 0.3},
        "orientation": None,
    },
    "sensor_msgs/msg/NavSatFix": {
        "header": HEADER,
        "position": {
            "header": None,
            "covariance": diagonal(9, _0=4.0, _4=4.0, _8=9.0).tolist(),
            "covariance_type": 2,
            "x": 45.07,
            "y": 7.68,
            "z": 239.5,
        },
        "velocity": None,
        "status": {"status": 0, "service": 1, "satellites": None, "hdop": None, "vdop": None},
    },
    "nav_msgs/msg/Odometry": {
        "header": HEADER,
        "covariance": None,
        "covariance_type": None,
        "pose": BARE
        | {"covariance": POSE_COVARIANCE, "position": POSITION, "orientation": ORIENTATION},
        "velocity": BARE
        | {
            "linear": BARE | {"x": 0.5, "y": 0.0, "z": 0.0},
            "angular": BARE | {"x": 0.0, "y": 0.0, "z": 0.1},
        },
        "target_frame_id": "base_footprint",
        "acceleration": None,
    },
    "geometry_msgs/msg/PoseWithCovarianceStamped": {
        "header": HEADER,
        "covariance": POSE_COVARIANCE,
        "covariance_type": None,
        "position": POSITION,
        "orientation": ORIENTATION,
    },
    "sensor_msgs/msg/Image": {
        "header": HEADER,
        "data": bytes(range(18)),
        "format": "raw",
        "width": 3,
        "height": 2,
        "stride": 9,
        "encoding": "rgb8",
        "is_bigendian": False,
    },
    "sensor_msgs/msg/PointCloud2": {
        "header": HEADER,
        "height": 1,
        "width": 2,
        "fields": [
            {"name": name, "offset": 4 * index, "datatype": 7, "count": 1}
            for index, name in enumerate(("x", "y", "z", "intensity"))
        ],
        "is_bigendian": False,
        "point_step": 16,
        "row_step": 32,
        "data": base64.b64decode("AACAPwAAAEAAAEBAAAAAPwAAgEAAAKBAAADAQAAAgD4="),
        "is_dense": True,
    },
    "tf2_msgs/msg/TFMessage": {
        "transforms": [
            BARE
            | {
                "header": HEADER,
                "translation": BARE | {"x": 0.1, "y": 0.0, "z": 0.2},
                "rotation": IDENTITY,
                "target_frame_id": "lidar",
            },
            BARE
            | {
                "translation": BARE | {"x": 0.0, "y": 0.0, "z": 0.0},
                "rotation": IDENTITY,
                "target_frame_id": None,
            },
        ]
    },
}


@pytest.mark.parametrize("msgtype", sorted(ROWS))
def test_row_is_the_one_written_down(msgtype: str) -> None:
    """Our row of a known message is the known row."""
    definition = message_type(typestore(), msgtype)
    plan = plan_topic(topic(msgtype), definition, arrow_type(definition))
    block = plan.apply(decoded(typestore(), msgtype, [MESSAGES[msgtype]]))

    assert rows_of(block) == [{"timestamp_ns": 1_700_000_000_300_000_000} | ROWS[msgtype]]


@pytest.mark.parametrize("msgtype", sorted(set(ROWS) - {"sensor_msgs/msg/Image"}))
def test_vendor_still_gives_the_row_written_down(msgtype: str) -> None:
    """The installed vendor's adapter gives it too."""
    row = vendor_row(msgtype, MESSAGES[msgtype])

    assert row == {"timestamp_ns": 1_700_000_000_300_000_000} | ROWS[msgtype]


def test_png_image_decodes_to_the_vendors_picture() -> None:
    """Asked for PNG, we write a grey picture with the same pixels as the vendor's."""
    msgtype = "sensor_msgs/msg/Image"
    definition = message_type(typestore(), msgtype)
    plan = plan_topic(
        topic(msgtype), definition, arrow_type(definition), options=TopicOptions(image_format="png")
    )
    ours = rows_of(plan.apply(decoded(typestore(), msgtype, [MESSAGES[msgtype]])))[0]
    theirs = vendor_row(msgtype, MESSAGES[msgtype])
    assert theirs is not None
    pictures = [Image.open(io.BytesIO(row.pop("data"))) for row in (ours, theirs)]

    assert [(picture.mode, picture.size) for picture in pictures] == [("L", (9, 2))] * 2
    assert [picture.tobytes() for picture in pictures] == [bytes(range(18))] * 2
    assert ours == theirs
    assert ours["format"] == "png"
