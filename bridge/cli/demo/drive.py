"""Writes a short, realistic drive the way a recorder does: split by split, metadata.yaml last.

A small car drives a figure of eight for a few seconds, with IMU, satellite fix, odometry,
transforms, joint states, a camera, a lidar and diagnostics. The bag is written by rosbags, so
that nothing of ours has a hand in what the bridge is shown.
"""

import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from bridge.errors import UsageError
from bridge.units import SECOND_NS

IMAGE_WIDTH, IMAGE_HEIGHT = 320, 240
LIDAR_RINGS, LIDAR_COLUMNS = 16, 512

RATES_HZ = {
    "/imu/data": 100,
    "/odom": 50,
    "/tf": 50,
    "/joint_states": 50,
    "/gps/fix": 10,
    "/camera/front/image_raw": 10,
    "/lidar/points": 10,
    "/diagnostics": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pose:
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    turn_radps: float


def write_drive(
    folder: Path, *, name: str, start_ns: int, duration_s: float = 10.0, splits: int = 3
) -> Path:
    """Write the drive as a rosbag2 folder of MCAP splits.

    Args:
        folder: Where the bag's folder appears.
        name: Name of the bag's folder.
        start_ns: Record time of the first message, nanoseconds since the epoch.
        duration_s: Length of the drive.
        splits: Number of MCAP files.

    Returns:
        The bag's folder.

    Raises:
        UsageError: The bag's folder exists.
    """
    bag = folder / name
    if bag.exists():
        raise UsageError(f"{bag} exists")
    bag.mkdir(parents=True)
    scene = _Scene()
    counts: list[Counter[str]] = []
    with tempfile.TemporaryDirectory(prefix="drive-") as scratch:
        for split in range(splits):
            first_s = duration_s * split / splits
            last_s = duration_s * (split + 1) / splits
            part = Path(scratch) / f"part_{split}"
            counts.append(scene.write_part(part, start_ns, first_s, last_s))
            written = next(part.glob("*.mcap"))
            shutil.move(written, bag / f"{name}_{split}.mcap")
    metadata = _metadata(name, start_ns, duration_s, counts)
    # JSON is YAML; recorders write this file last.
    (bag / "metadata.yaml").write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    return bag


class _Scene:
    """Makes the messages of one moment; deterministic but for the seeded noise."""

    def __init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self.types = self.store.types
        self.noise = np.random.default_rng(seed=6726)
        self.makers = {
            "/imu/data": ("sensor_msgs/msg/Imu", self.imu),
            "/odom": ("nav_msgs/msg/Odometry", self.odometry),
            "/tf": ("tf2_msgs/msg/TFMessage", self.transforms),
            "/joint_states": ("sensor_msgs/msg/JointState", self.joints),
            "/gps/fix": ("sensor_msgs/msg/NavSatFix", self.fix),
            "/camera/front/image_raw": ("sensor_msgs/msg/Image", self.image),
            "/lidar/points": ("sensor_msgs/msg/PointCloud2", self.cloud),
            "/diagnostics": ("diagnostic_msgs/msg/DiagnosticArray", self.diagnostics),
        }

    def write_part(self, path: Path, start_ns: int, first_s: float, last_s: float) -> Counter[str]:
        counts: Counter[str] = Counter()
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = {
                topic: writer.add_connection(topic, msgtype, typestore=self.store)
                for topic, (msgtype, _) in self.makers.items()
            }
            for moment_s, topic in _moments(first_s, last_s):
                msgtype, make = self.makers[topic]
                stamp_ns = start_ns + round(moment_s * SECOND_NS)
                message = make(stamp_ns, _pose_at(moment_s))
                payload = self.store.serialize_cdr(message, msgtype)
                # A recorder receives a message a little after it was stamped.
                writer.write(connections[topic], stamp_ns + 300_000, payload)
                counts[topic] += 1
        return counts

    def header(self, stamp_ns: int, frame: str) -> Any:
        stamp = self.types["builtin_interfaces/msg/Time"](
            sec=stamp_ns // SECOND_NS, nanosec=stamp_ns % SECOND_NS
        )
        return self.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)

    def vector(self, x: float, y: float, z: float) -> Any:
        return self.types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)

    def yaw(self, yaw_rad: float) -> Any:
        return self.types["geometry_msgs/msg/Quaternion"](
            x=0.0, y=0.0, z=math.sin(yaw_rad / 2), w=math.cos(yaw_rad / 2)
        )

    def imu(self, stamp_ns: int, pose: _Pose) -> Any:
        shake = self.noise.normal(0.0, 0.02, 6)
        return self.types["sensor_msgs/msg/Imu"](
            header=self.header(stamp_ns, "imu_link"),
            orientation=self.yaw(pose.yaw_rad),
            orientation_covariance=np.diag([1e-4, 1e-4, 4e-4]).ravel(),
            angular_velocity=self.vector(shake[0], shake[1], pose.turn_radps + shake[2]),
            angular_velocity_covariance=np.diag([4e-4] * 3).ravel(),
            linear_acceleration=self.vector(
                shake[3], pose.speed_mps * pose.turn_radps + shake[4], 9.81 + shake[5]
            ),
            linear_acceleration_covariance=np.diag([4e-4] * 3).ravel(),
        )

    def odometry(self, stamp_ns: int, pose: _Pose) -> Any:
        covariance = np.diag([0.01, 0.01, 0.0, 0.0, 0.0, 0.02]).ravel()
        placed = self.types["geometry_msgs/msg/Pose"](
            position=self.types["geometry_msgs/msg/Point"](x=pose.x_m, y=pose.y_m, z=0.0),
            orientation=self.yaw(pose.yaw_rad),
        )
        moving = self.types["geometry_msgs/msg/Twist"](
            linear=self.vector(pose.speed_mps, 0.0, 0.0),
            angular=self.vector(0.0, 0.0, pose.turn_radps),
        )
        return self.types["nav_msgs/msg/Odometry"](
            header=self.header(stamp_ns, "odom"),
            child_frame_id="base_link",
            pose=self.types["geometry_msgs/msg/PoseWithCovariance"](
                pose=placed, covariance=covariance
            ),
            twist=self.types["geometry_msgs/msg/TwistWithCovariance"](
                twist=moving, covariance=covariance
            ),
        )

    def transforms(self, stamp_ns: int, pose: _Pose) -> Any:
        def link(parent: str, child: str, x: float, y: float, z: float, yaw_rad: float) -> Any:
            return self.types["geometry_msgs/msg/TransformStamped"](
                header=self.header(stamp_ns, parent),
                child_frame_id=child,
                transform=self.types["geometry_msgs/msg/Transform"](
                    translation=self.vector(x, y, z), rotation=self.yaw(yaw_rad)
                ),
            )

        return self.types["tf2_msgs/msg/TFMessage"](
            transforms=[
                link("odom", "base_link", pose.x_m, pose.y_m, 0.0, pose.yaw_rad),
                link("base_link", "lidar_link", 0.4, 0.0, 1.2, 0.0),
                link("base_link", "camera_link", 0.9, 0.0, 0.8, 0.0),
            ]
        )

    def joints(self, stamp_ns: int, pose: _Pose) -> Any:
        wheels = ["front_left", "front_right", "rear_left", "rear_right"]
        spin_radps = pose.speed_mps / 0.3
        return self.types["sensor_msgs/msg/JointState"](
            header=self.header(stamp_ns, ""),
            name=[f"{wheel}_wheel" for wheel in wheels],
            position=np.full(4, spin_radps * (stamp_ns % (60 * SECOND_NS)) / SECOND_NS),
            velocity=np.full(4, spin_radps),
            effort=self.noise.normal(2.0, 0.1, 4),
        )

    def fix(self, stamp_ns: int, pose: _Pose) -> Any:
        metres_per_degree = 111_320.0
        return self.types["sensor_msgs/msg/NavSatFix"](
            header=self.header(stamp_ns, "gps_link"),
            status=self.types["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
            latitude=45.07 + pose.y_m / metres_per_degree,
            longitude=7.68 + pose.x_m / metres_per_degree,
            altitude=239.5 + float(self.noise.normal(0.0, 0.3)),
            position_covariance=np.diag([1.4, 1.4, 4.0]).ravel(),
            position_covariance_type=2,
        )

    def image(self, stamp_ns: int, pose: _Pose) -> Any:
        columns = np.arange(IMAGE_WIDTH, dtype=np.float64)
        rows = np.arange(IMAGE_HEIGHT, dtype=np.float64)[:, None]
        horizon = 110 + 25 * np.sin(columns / 40 + 4 * pose.yaw_rad)
        sky = np.clip(235 - rows * 0.5, 0, 255)
        road = np.clip(60 + (rows - horizon) * 0.6, 0, 255)
        picture = np.where(rows < horizon, sky, road)
        pixels = np.stack([picture * 0.85, picture * 0.95, picture], axis=-1).astype(np.uint8)
        return self.types["sensor_msgs/msg/Image"](
            header=self.header(stamp_ns, "camera_link"),
            height=IMAGE_HEIGHT,
            width=IMAGE_WIDTH,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * IMAGE_WIDTH,
            data=pixels.ravel(),
        )

    def cloud(self, stamp_ns: int, pose: _Pose) -> Any:
        azimuth = np.linspace(-np.pi, np.pi, LIDAR_COLUMNS, endpoint=False)
        elevation = np.radians(np.linspace(-15, 15, LIDAR_RINGS))[:, None]
        distance = 8 + 3 * np.cos(3 * (azimuth + pose.yaw_rad)) + 0 * elevation
        distance = distance + self.noise.normal(0.0, 0.02, distance.shape)
        points = np.zeros(distance.shape, dtype=[(axis, "<f4") for axis in ("x", "y", "z", "i")])
        points["x"] = distance * np.cos(elevation) * np.cos(azimuth)
        points["y"] = distance * np.cos(elevation) * np.sin(azimuth)
        points["z"] = distance * np.sin(elevation)
        points["i"] = 100 / distance
        return self.types["sensor_msgs/msg/PointCloud2"](
            header=self.header(stamp_ns, "lidar_link"),
            height=LIDAR_RINGS,
            width=LIDAR_COLUMNS,
            fields=[
                self.types["sensor_msgs/msg/PointField"](
                    name=field, offset=4 * position, datatype=7, count=1
                )
                for position, field in enumerate(("x", "y", "z", "intensity"))
            ],
            is_bigendian=False,
            point_step=points.itemsize,
            row_step=points.itemsize * LIDAR_COLUMNS,
            data=np.frombuffer(points.tobytes(), dtype=np.uint8),
            is_dense=True,
        )

    def diagnostics(self, stamp_ns: int, pose: _Pose) -> Any:
        values = [
            self.types["diagnostic_msgs/msg/KeyValue"](key="speed", value=f"{pose.speed_mps:.2f}"),
            self.types["diagnostic_msgs/msg/KeyValue"](key="battery", value="87"),
        ]
        status = self.types["diagnostic_msgs/msg/DiagnosticStatus"](
            level=0, name="drive: base", message="OK", hardware_id="demo-car", values=values
        )
        return self.types["diagnostic_msgs/msg/DiagnosticArray"](
            header=self.header(stamp_ns, ""), status=[status]
        )


def _moments(first_s: float, last_s: float) -> Iterator[tuple[float, str]]:
    due = [
        (tick / rate_hz, topic)
        for topic, rate_hz in RATES_HZ.items()
        for tick in range(math.ceil(first_s * rate_hz), math.ceil(last_s * rate_hz))
    ]
    yield from sorted(due)


def _pose_at(moment_s: float) -> _Pose:
    # A lemniscate of Gerono, 20 s a round.
    phase = 2 * math.pi * moment_s / 20
    pace = 2 * math.pi / 20
    x_dot, y_dot = 12 * math.cos(phase) * pace, 12 * math.cos(2 * phase) * pace
    x_dot_dot, y_dot_dot = -12 * math.sin(phase) * pace**2, -24 * math.sin(2 * phase) * pace**2
    speed_mps = math.hypot(x_dot, y_dot)
    return _Pose(
        x_m=12 * math.sin(phase),
        y_m=6 * math.sin(2 * phase),
        yaw_rad=math.atan2(y_dot, x_dot),
        speed_mps=speed_mps,
        turn_radps=(x_dot * y_dot_dot - y_dot * x_dot_dot) / speed_mps**2,
    )


def _metadata(
    name: str, start_ns: int, duration_s: float, counts: list[Counter[str]]
) -> dict[str, Any]:
    total: Counter[str] = sum(counts, Counter())
    types = {topic: msgtype for topic, (msgtype, _) in _Scene().makers.items()}
    part_ns = round(duration_s * SECOND_NS / len(counts))
    files = [
        {
            "path": f"{name}_{split}.mcap",
            "starting_time": {"nanoseconds_since_epoch": start_ns + split * part_ns},
            "duration": {"nanoseconds": part_ns},
            "message_count": part.total(),
        }
        for split, part in enumerate(counts)
    ]
    topics = [
        {
            "topic_metadata": {
                "name": topic,
                "type": types[topic],
                "serialization_format": "cdr",
                "offered_qos_profiles": [],
                "type_description_hash": "",
            },
            "message_count": count,
        }
        for topic, count in total.items()
    ]
    return {
        "rosbag2_bagfile_information": {
            "version": 9,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": round(duration_s * SECOND_NS)},
            "starting_time": {"nanoseconds_since_epoch": start_ns},
            "message_count": total.total(),
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file["path"] for file in files],
            "files": files,
            "custom_data": {"vehicle": "demo-car", "environment": "figure of eight"},
            "ros_distro": "jazzy",
        }
    }
