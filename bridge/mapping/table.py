"""Which ROS type becomes which model, and by which function: the whole of it, in one table."""

from dataclasses import dataclass

import pyarrow as pa

import bridge.ontology as to
from bridge.mapping.cameras import camera_info, compressed_image, image, image_as_png, region
from bridge.mapping.clouds import cloud_columns, point_cloud
from bridge.mapping.fleet import (
    ffmpeg_packet,
    foxglove_image,
    gps_fix,
    livox_points,
    pose_array,
    radar_scan,
    sensor_combined,
    sensor_gps,
    vehicle_odometry,
)
from bridge.mapping.geometry import (
    frame_transform,
    grid_cells,
    inertia,
    map_metadata,
    occupancy_grid,
    odometry,
    path,
    polygon,
    transform,
    transform_stamped,
    wrench,
)
from bridge.mapping.pieces import (
    Build,
    header_columns,
    inside,
    motion_columns,
    pose_columns,
    same_names,
    stamp_columns,
    stamped,
    with_covariance,
    xyz_columns,
    xyzw_columns,
)
from bridge.mapping.sensors import (
    battery_state,
    fluid_pressure,
    imu,
    joint_state,
    joy,
    laser_scan,
    magnetic_field,
    multi_echo_laser_scan,
    nav_sat_fix,
    nav_sat_status,
    range_reading,
    sentence,
    temperature,
)


@dataclass(frozen=True, slots=True)
class Mapping:
    """How messages of one ROS type become rows of one ontology model.

    Attributes:
        ros_type: The ROS type, as `pkg/msg/Name`.
        model: What its messages become.
        columns: Makes the model's columns; those it leaves out are null.
        observes: Whether it notes what belongs into the topic's metadata, so that the topic is
            created with its first batch at the earliest.
    """

    ros_type: str
    model: to.Model
    columns: Build
    observes: bool = False

    @property
    def tag(self) -> str:
        """The tag of the model."""
        return self.model.tag

    def bind(self, arrow_type: pa.StructType) -> "Mapping":
        """Give the mapping for messages of a type; this one is the same for all."""
        del arrow_type
        return self


RAW_IMAGE = Mapping("sensor_msgs/msg/Image", to.Image, image)

PNG_IMAGE = Mapping("sensor_msgs/msg/Image", to.Image, image_as_png)
"""Takes the place of the raw one where the user asks for PNG."""

STOCK_MAPPINGS: tuple[Mapping, ...] = (
    Mapping("builtin_interfaces/msg/Time", to.Time, stamp_columns),
    Mapping("builtin_interfaces/msg/Duration", to.Duration, stamp_columns),
    Mapping("std_msgs/msg/Header", to.Header, header_columns),
    Mapping("std_msgs/msg/String", to.String, same_names(data=pa.string())),
    Mapping("std_msgs/msg/Bool", to.Boolean, same_names(data=pa.bool_())),
    Mapping("std_msgs/msg/Int8", to.Integer8, same_names(data=pa.int8())),
    Mapping("std_msgs/msg/Int16", to.Integer16, same_names(data=pa.int16())),
    Mapping("std_msgs/msg/Int32", to.Integer32, same_names(data=pa.int32())),
    Mapping("std_msgs/msg/Int64", to.Integer64, same_names(data=pa.int64())),
    Mapping("std_msgs/msg/UInt8", to.Unsigned8, same_names(data=pa.uint8())),
    Mapping("std_msgs/msg/UInt16", to.Unsigned16, same_names(data=pa.uint16())),
    Mapping("std_msgs/msg/UInt32", to.Unsigned32, same_names(data=pa.uint32())),
    Mapping("std_msgs/msg/UInt64", to.Unsigned64, same_names(data=pa.uint64())),
    Mapping("std_msgs/msg/Float32", to.Floating32, same_names(data=pa.float32())),
    Mapping("std_msgs/msg/Float64", to.Floating64, same_names(data=pa.float64())),
    Mapping("geometry_msgs/msg/Vector3", to.Vector3d, xyz_columns),
    Mapping("geometry_msgs/msg/Vector3Stamped", to.Vector3d, stamped("vector", xyz_columns)),
    Mapping("geometry_msgs/msg/Point", to.Point3d, xyz_columns),
    Mapping("geometry_msgs/msg/PointStamped", to.Point3d, stamped("point", xyz_columns)),
    Mapping("geometry_msgs/msg/Quaternion", to.Quaternion, xyzw_columns),
    Mapping(
        "geometry_msgs/msg/QuaternionStamped",
        to.Quaternion,
        stamped("quaternion", xyzw_columns),
    ),
    Mapping("geometry_msgs/msg/Pose", to.Pose, pose_columns),
    Mapping("geometry_msgs/msg/PoseStamped", to.Pose, stamped("pose", pose_columns)),
    Mapping("geometry_msgs/msg/PoseWithCovariance", to.Pose, with_covariance("pose", pose_columns)),
    Mapping(
        "geometry_msgs/msg/PoseWithCovarianceStamped",
        to.Pose,
        stamped("pose", with_covariance("pose", pose_columns)),
    ),
    Mapping("geometry_msgs/msg/Twist", to.Velocity, motion_columns),
    Mapping("geometry_msgs/msg/TwistStamped", to.Velocity, stamped("twist", motion_columns)),
    Mapping(
        "geometry_msgs/msg/TwistWithCovariance",
        to.Velocity,
        with_covariance("twist", motion_columns),
    ),
    Mapping(
        "geometry_msgs/msg/TwistWithCovarianceStamped",
        to.Velocity,
        stamped("twist", with_covariance("twist", motion_columns)),
    ),
    Mapping("geometry_msgs/msg/Accel", to.Acceleration, motion_columns),
    Mapping("geometry_msgs/msg/AccelStamped", to.Acceleration, stamped("accel", motion_columns)),
    Mapping(
        "geometry_msgs/msg/AccelWithCovariance",
        to.Acceleration,
        with_covariance("accel", motion_columns),
    ),
    Mapping(
        "geometry_msgs/msg/AccelWithCovarianceStamped",
        to.Acceleration,
        stamped("accel", with_covariance("accel", motion_columns)),
    ),
    Mapping("geometry_msgs/msg/Transform", to.Transform, transform),
    Mapping("geometry_msgs/msg/TransformStamped", to.Transform, transform_stamped),
    Mapping("geometry_msgs/msg/Wrench", to.ForceTorque, wrench),
    Mapping("geometry_msgs/msg/WrenchStamped", to.ForceTorque, stamped("wrench", wrench)),
    Mapping("geometry_msgs/msg/Polygon", to.Polygon, polygon),
    Mapping("geometry_msgs/msg/PolygonStamped", to.Polygon, stamped("polygon", polygon)),
    Mapping("geometry_msgs/msg/Inertia", to.Inertia, inertia),
    Mapping("geometry_msgs/msg/InertiaStamped", to.Inertia, stamped("inertia", inertia)),
    Mapping("tf2_msgs/msg/TFMessage", to.FrameTransform, frame_transform),
    Mapping("nav_msgs/msg/Odometry", to.MotionState, odometry),
    Mapping("nav_msgs/msg/Path", to.RobotPath, path),
    Mapping("nav_msgs/msg/MapMetaData", to.MapMetadata, map_metadata),
    Mapping("nav_msgs/msg/OccupancyGrid", to.OccupancyGrid, occupancy_grid),
    Mapping("nav_msgs/msg/GridCells", to.GridCells, grid_cells),
    Mapping("sensor_msgs/msg/Imu", to.IMU, imu, observes=True),
    Mapping("sensor_msgs/msg/NavSatFix", to.GPS, nav_sat_fix),
    Mapping("sensor_msgs/msg/NavSatStatus", to.GPSStatus, nav_sat_status),
    Mapping("sensor_msgs/msg/BatteryState", to.BatteryState, battery_state),
    Mapping("sensor_msgs/msg/JointState", to.RobotJoint, joint_state),
    Mapping("sensor_msgs/msg/LaserScan", to.LaserScan, laser_scan),
    Mapping("sensor_msgs/msg/MultiEchoLaserScan", to.MultiEchoLaserScan, multi_echo_laser_scan),
    Mapping("sensor_msgs/msg/MagneticField", to.Magnetometer, magnetic_field),
    Mapping("sensor_msgs/msg/Joy", to.Joy, joy),
    Mapping("sensor_msgs/msg/Temperature", to.Temperature, temperature),
    Mapping("sensor_msgs/msg/FluidPressure", to.Pressure, fluid_pressure),
    RAW_IMAGE,
    Mapping("sensor_msgs/msg/CompressedImage", to.CompressedImage, compressed_image, observes=True),
    Mapping("sensor_msgs/msg/CameraInfo", to.CameraInfo, camera_info),
    Mapping("sensor_msgs/msg/RegionOfInterest", to.ROI, region),
    Mapping("sensor_msgs/msg/PointCloud2", to.PointCloud2, point_cloud),
    Mapping("nmea_msgs/msg/Sentence", to.NMEASentence, sentence),
)
"""Stock types of ROS, most of them as the vendor's bridge has them."""

FLEET_MAPPINGS: tuple[Mapping, ...] = (
    Mapping("foxglove_msgs/msg/CompressedVideo", to.CompressedImage, foxglove_image, observes=True),
    Mapping("foxglove_msgs/msg/CompressedImage", to.CompressedImage, foxglove_image, observes=True),
    Mapping(
        "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
        to.CompressedImage,
        ffmpeg_packet,
        observes=True,
    ),
    Mapping("tf/msg/tfMessage", to.FrameTransform, frame_transform),
    Mapping("gps_msgs/msg/GPSFix", to.GPS, gps_fix),
    Mapping("gps_common/msg/GPSFix", to.GPS, gps_fix),
    Mapping("livox_ros_driver/msg/CustomMsg", to.Lidar, livox_points),
    Mapping("livox_ros_driver2/msg/CustomMsg", to.Lidar, livox_points),
    Mapping("livox_interfaces/msg/CustomMsg", to.Lidar, livox_points),
    Mapping("px4_msgs/msg/SensorCombined", to.IMU, sensor_combined),
    Mapping("px4_msgs/msg/VehicleOdometry", to.MotionState, vehicle_odometry),
    Mapping("px4_msgs/msg/SensorGps", to.GPS, sensor_gps),
    Mapping("radar_msgs/msg/RadarScan", to.Radar, radar_scan),
    Mapping("geometry_msgs/msg/PoseArray", to.RobotPath, pose_array),
    Mapping("geometry_msgs/msg/VelocityStamped", to.Velocity, stamped("velocity", motion_columns)),
    Mapping("geometry_msgs/msg/Point32", to.Point3d, xyz_columns),
    Mapping("geometry_msgs/msg/PolygonInstance", to.Polygon, inside("polygon", polygon)),
    Mapping(
        "geometry_msgs/msg/PolygonInstanceStamped",
        to.Polygon,
        stamped("polygon", inside("polygon", polygon)),
    ),
    Mapping("rosgraph_msgs/msg/Clock", to.Time, inside("clock", stamp_columns)),
    Mapping("std_msgs/msg/Time", to.Time, inside("data", stamp_columns)),
    Mapping("std_msgs/msg/Duration", to.Duration, inside("data", stamp_columns)),
)
"""Types that the vendor's bridge leaves generic, and whose content has a model."""

DEFAULT_MAPPINGS: dict[str, Mapping] = {
    mapping.ros_type: mapping for mapping in (*STOCK_MAPPINGS, *FLEET_MAPPINGS)
}
"""ROS type -> mapping. Every other type keeps its own fields, see `plan.py`."""

ALTERNATIVES: tuple[Mapping, ...] = (
    *(
        Mapping("sensor_msgs/msg/PointCloud2", model, cloud_columns(model), observes=True)
        for model in (to.Lidar, to.Radar, to.RGBDCamera, to.ToFCamera, to.StereoCamera)
    ),
    # Range.msg calls readings beyond the limits normal; the platform's readers refuse them, and
    # one such row ends the merged stream of a whole sequence.
    Mapping("sensor_msgs/msg/Range", to.Range, range_reading),
)
"""Mappings that are taken only where the user asks for their model by tag."""
