"""Every model the platform's ontology has, by tag."""

from bridge.ontology.cameras import ROI, CameraInfo, CompressedImage, Image
from bridge.ontology.geometry import (
    Acceleration,
    ForceTorque,
    FrameTransform,
    Inertia,
    Point2d,
    Point3d,
    Polygon,
    Pose,
    Quaternion,
    Transform,
    Vector2d,
    Vector3d,
    Vector4d,
    Velocity,
)
from bridge.ontology.model import Model
from bridge.ontology.navigation import (
    GridCells,
    MapMetadata,
    MotionState,
    OccupancyGrid,
    RobotPath,
)
from bridge.ontology.pointclouds import (
    Lidar,
    PointCloud2,
    PointField,
    Radar,
    RGBDCamera,
    StereoCamera,
    ToFCamera,
)
from bridge.ontology.scalars import (
    Boolean,
    Duration,
    Floating16,
    Floating32,
    Floating64,
    Header,
    Integer8,
    Integer16,
    Integer32,
    Integer64,
    String,
    Time,
    Unsigned8,
    Unsigned16,
    Unsigned32,
    Unsigned64,
)
from bridge.ontology.sensors import (
    GPS,
    IMU,
    BatteryState,
    GPSStatus,
    Joy,
    LaserScan,
    Magnetometer,
    MultiEchoLaserScan,
    NMEASentence,
    Pressure,
    Range,
    RobotJoint,
    Temperature,
)

MODELS: dict[str, Model] = {
    model.tag: model
    for model in (
        Boolean, Integer8, Integer16, Integer32, Integer64,
        Unsigned8, Unsigned16, Unsigned32, Unsigned64,
        Floating16, Floating32, Floating64, String, Time, Duration, Header,
        Vector2d, Vector3d, Vector4d, Point2d, Point3d, Quaternion,
        Pose, Velocity, Acceleration, Transform, FrameTransform, ForceTorque, Inertia, Polygon,
        MotionState, RobotPath, MapMetadata, GridCells, OccupancyGrid,
        IMU, GPS, GPSStatus, NMEASentence, BatteryState, RobotJoint, LaserScan,
        MultiEchoLaserScan, Magnetometer, Joy, Temperature, Pressure, Range,
        Image, CompressedImage, CameraInfo, ROI,
        PointCloud2, PointField, Lidar, Radar, RGBDCamera, ToFCamera, StereoCamera,
    )
}  # fmt: skip
"""Tag -> model. A tag alone does not decide a topic's columns: topics of unlisted ROS types carry
the last part of their type's name as tag, and that may equal one of these."""
