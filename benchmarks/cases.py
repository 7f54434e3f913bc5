"""The recordings that are timed: which topics, how often, how long."""

from dataclasses import dataclass

from benchmarks import messages as of
from benchmarks.messages import MakeMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One topic of a recording.

    Attributes:
        topic: Its name.
        msgtype: Its ROS type.
        make: Makes the i-th distinct message.
        rate_hz: Messages a second of record time.
    """

    topic: str
    msgtype: str
    make: MakeMessage
    rate_hz: float

    @property
    def step_ns(self) -> int:
        """Time from message to message."""
        return round(1e9 / self.rate_hz)

    def count(self, seconds: float) -> int:
        """Messages in so much record time, at least one."""
        return max(1, round(self.rate_hz * seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of recording.

    Attributes:
        name: What it is called in tables.
        streams: Its topics.
        seconds: Record time at scale 1.
        vendor_seconds: Record time that the vendor's injector is timed on.
        storage: `mcap`, `db3` or `bag`.
        compression: Of MCAP chunks: `none` as rosbag2 does by default, `zstd` or `lz4`.
    """

    name: str
    streams: tuple[Stream, ...]
    seconds: float
    vendor_seconds: float
    storage: str = "mcap"
    compression: str = "none"

    def counts(self, seconds: float) -> dict[str, int]:
        """Messages of each topic in so much record time."""
        return {stream.topic: stream.count(seconds) for stream in self.streams}


def stream(topic: str, msgtype: str, make: MakeMessage, rate_hz: float) -> Stream:
    """Shorten the tables below."""
    return Stream(topic=topic, msgtype=msgtype, make=make, rate_hz=rate_hz)


DRIVE = (
    stream("/imu/front", "sensor_msgs/msg/Imu", of.imu, 200),
    stream("/imu/rear", "sensor_msgs/msg/Imu", of.imu, 200),
    stream("/odom", "nav_msgs/msg/Odometry", of.odometry, 50),
    stream("/tf", "tf2_msgs/msg/TFMessage", of.transforms, 50),
    stream("/joint_states", "sensor_msgs/msg/JointState", of.joints, 100),
    stream("/scan/front", "sensor_msgs/msg/LaserScan", of.scan, 20),
    stream("/scan/rear", "sensor_msgs/msg/LaserScan", of.scan, 20),
    stream("/camera/left/image_raw", "sensor_msgs/msg/Image", of.image_vga, 10),
    stream("/camera/right/image_raw", "sensor_msgs/msg/Image", of.image_vga, 10),
    stream("/camera/front/compressed", "sensor_msgs/msg/CompressedImage", of.compressed_image, 30),
    stream("/camera/rear/compressed", "sensor_msgs/msg/CompressedImage", of.compressed_image, 30),
    stream("/lidar/points", "sensor_msgs/msg/PointCloud2", of.cloud, 10),
    stream("/lidar/rear/points", "sensor_msgs/msg/PointCloud2", of.cloud, 10),
    stream("/pose", "geometry_msgs/msg/PoseStamped", of.pose, 50),
    stream("/velocity", "geometry_msgs/msg/TwistStamped", of.velocity, 50),
    stream("/fix", "sensor_msgs/msg/NavSatFix", of.position, 10),
    stream("/temperature", "sensor_msgs/msg/Temperature", of.temperature, 1),
    stream("/magnetic_field", "sensor_msgs/msg/MagneticField", of.magnetic_field, 50),
    stream("/speed", "std_msgs/msg/Float64", of.speed, 100),
    stream("/state", "std_msgs/msg/String", of.state, 2),
)
"""20 topics, 50.5 MB for each second."""

DRIVE_SECONDS = 80.0
"""4 GB at scale 1."""


def _single(
    name: str,
    msgtype: str,
    make: MakeMessage,
    *,
    rate_hz: float,
    messages: int,
    vendor_messages: int,
    compression: str = "none",
) -> Case:
    return Case(
        name=name,
        streams=(stream(f"/{name}", msgtype, make, rate_hz),),
        seconds=messages / rate_hz,
        vendor_seconds=vendor_messages / rate_hz,
        compression=compression,
    )


CASES = (
    _single("imu", "sensor_msgs/msg/Imu", of.imu,
            rate_hz=200, messages=1_000_000, vendor_messages=2_000),
    _single("odometry", "nav_msgs/msg/Odometry", of.odometry,
            rate_hz=100, messages=400_000, vendor_messages=1_000),
    _single("tf", "tf2_msgs/msg/TFMessage", of.transforms,
            rate_hz=100, messages=200_000, vendor_messages=800),
    _single("joints", "sensor_msgs/msg/JointState", of.joints,
            rate_hz=100, messages=400_000, vendor_messages=2_000),
    _single("scan", "sensor_msgs/msg/LaserScan", of.scan,
            rate_hz=20, messages=40_000, vendor_messages=1_000),
    _single("image_vga", "sensor_msgs/msg/Image", of.image_vga,
            rate_hz=30, messages=600, vendor_messages=40),
    _single("image_full_hd", "sensor_msgs/msg/Image", of.image_full_hd,
            rate_hz=30, messages=90, vendor_messages=8),
    _single("cloud", "sensor_msgs/msg/PointCloud2", of.cloud,
            rate_hz=10, messages=600, vendor_messages=60),
    _single("jpeg", "sensor_msgs/msg/CompressedImage", of.compressed_image,
            rate_hz=30, messages=2_000, vendor_messages=150),
    _single("imu_zstd", "sensor_msgs/msg/Imu", of.imu,
            rate_hz=200, messages=1_000_000, vendor_messages=2_000, compression="zstd"),
    _single("cloud_zstd", "sensor_msgs/msg/PointCloud2", of.cloud,
            rate_hz=10, messages=600, vendor_messages=60, compression="zstd"),
    _single("image_vga_zstd", "sensor_msgs/msg/Image", of.image_vga,
            rate_hz=30, messages=600, vendor_messages=40, compression="zstd"),
    Case(name="mixed", streams=DRIVE, seconds=DRIVE_SECONDS, vendor_seconds=2, compression="zstd"),
    Case(name="mixed_db3", streams=DRIVE, seconds=DRIVE_SECONDS, vendor_seconds=2, storage="db3"),
    Case(name="mixed_bag", streams=DRIVE, seconds=DRIVE_SECONDS, vendor_seconds=2, storage="bag"),
)  # fmt: skip
