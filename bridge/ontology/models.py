"""Every model the platform's ontology has, family by family, and the table of them by tag."""

import pyarrow as pa

from bridge.ontology.model import (
    COVARIANT,
    GPS_STATUS,
    HEADER,
    HEADER_COLUMN,
    MAP_METADATA,
    MOTION,
    POINT_FIELD,
    POSE,
    REGION,
    STAMP,
    TRANSFORM,
    VARIANT,
    VECTOR2,
    VECTOR3,
    VECTOR4,
    Model,
    SerializationFormat,
    optional,
    required,
)

# Single values, time and headers.


def scalar(tag: str, value_type: pa.DataType) -> Model:
    """Make a model whose only column is `data`."""
    return Model(tag=tag, fields=(required("data", value_type),))


Boolean = scalar("Boolean", pa.bool_())
Integer8 = scalar("Integer8", pa.int8())
Integer16 = scalar("Integer16", pa.int16())
Integer32 = scalar("Integer32", pa.int32())
Integer64 = scalar("Integer64", pa.int64())
Unsigned8 = scalar("Unsigned8", pa.uint8())
Unsigned16 = scalar("Unsigned16", pa.uint16())
Unsigned32 = scalar("Unsigned32", pa.uint32())
Unsigned64 = scalar("Unsigned64", pa.uint64())
Floating16 = scalar("Floating16", pa.float16())
Floating32 = scalar("Floating32", pa.float32())
Floating64 = scalar("Floating64", pa.float64())
String = scalar("String", pa.string())

Time = Model(tag="Time", fields=STAMP)
Duration = Model(tag="Duration", fields=STAMP)
Header = Model(tag="Header", fields=HEADER)

# geometry_msgs: points, poses, motions, forces, frames.

Vector2d = Model(tag="Vector2d", fields=VECTOR2)
Vector3d = Model(tag="Vector3d", fields=VECTOR3)
Vector4d = Model(tag="Vector4d", fields=VECTOR4)
Point2d = Model(tag="Point2d", fields=VECTOR2)
Point3d = Model(tag="Point3d", fields=VECTOR3)
Quaternion = Model(tag="Quaternion", fields=VECTOR4)
Pose = Model(tag="Pose", fields=POSE)
Velocity = Model(tag="Velocity", fields=MOTION)
Acceleration = Model(tag="Acceleration", fields=MOTION)
Transform = Model(tag="Transform", fields=TRANSFORM)

ForceTorque = Model(
    tag="ForceTorque",
    fields=(
        *COVARIANT,
        required("force", pa.struct(VECTOR3)),
        required("torque", pa.struct(VECTOR3)),
    ),
)

Inertia = Model(
    tag="Inertia",
    fields=(
        HEADER_COLUMN,
        required("mass", pa.float64()),
        required("center_of_mass", pa.struct(VECTOR3)),
        required("inertia", pa.list_(pa.float64(), 6)),
    ),
)
"""`inertia` is ixx, ixy, ixz, iyy, iyz, izz."""

Polygon = Model(
    tag="Polygon", fields=(HEADER_COLUMN, required("points", pa.list_(pa.struct(VECTOR3))))
)

FrameTransform = Model(
    tag="FrameTransform", fields=(required("transforms", pa.list_(pa.struct(TRANSFORM))),)
)

# nav_msgs: motion, paths and maps.

MotionState = Model(
    tag="MotionState",
    fields=(
        *COVARIANT,
        required("pose", pa.struct(POSE)),
        required("velocity", pa.struct(MOTION)),
        required("target_frame_id", pa.string()),
        optional("acceleration", pa.struct(MOTION)),
    ),
)

RobotPath = Model(
    tag="RobotPath", fields=(HEADER_COLUMN, required("poses", pa.list_(pa.struct(POSE))))
)

MapMetadata = Model(tag="MapMetadata", fields=MAP_METADATA)

GridCells = Model(
    tag="GridCells",
    fields=(
        HEADER_COLUMN,
        required("cell_width", pa.float32()),
        required("cell_height", pa.float32()),
        required("cells", pa.list_(pa.struct(VECTOR3))),
    ),
)

OccupancyGrid = Model(
    tag="OccupancyGrid",
    fields=(
        HEADER_COLUMN,
        required("info", pa.struct(MAP_METADATA)),
        required("data", pa.list_(pa.int8())),
    ),
)
"""`data` is 0 to 100, or -1 for unknown, as in ROS."""

# sensor_msgs and nmea_msgs, except cameras and clouds.

IMU = Model(
    tag="IMU",
    fields=(
        HEADER_COLUMN,
        required("acceleration", pa.struct(VECTOR3)),
        required("angular_velocity", pa.struct(VECTOR3)),
        optional("orientation", pa.struct(VECTOR4)),
    ),
)

GPS = Model(
    tag="GPS",
    fields=(
        HEADER_COLUMN,
        required("position", pa.struct(VECTOR3)),
        optional("velocity", pa.struct(VECTOR3)),
        optional("status", pa.struct(GPS_STATUS)),
    ),
)
"""`position` is latitude and longitude in degrees, altitude in metres."""

GPSStatus = Model(tag="GPSStatus", fields=GPS_STATUS)

NMEASentence = Model(tag="NMEASentence", fields=(HEADER_COLUMN, required("sentence", pa.string())))

BatteryState = Model(
    tag="BatteryState",
    fields=(
        HEADER_COLUMN,
        required("voltage", pa.float32()),
        optional("temperature", pa.float32()),
        optional("current", pa.float32()),
        optional("charge", pa.float32()),
        optional("capacity", pa.float32()),
        optional("design_capacity", pa.float32()),
        required("percentage", pa.float32()),
        required("power_supply_status", pa.uint8()),
        required("power_supply_health", pa.uint8()),
        required("power_supply_technology", pa.uint8()),
        required("present", pa.bool_()),
        required("location", pa.string()),
        required("serial_number", pa.string()),
        optional("cell_voltage", pa.list_(pa.float32())),
        optional("cell_temperature", pa.list_(pa.float32())),
    ),
)
"""`percentage` is the fraction 0 to 1 of ROS."""

RobotJoint = Model(
    tag="RobotJoint",
    fields=(
        HEADER_COLUMN,
        required("names", pa.list_(pa.string())),
        required("positions", pa.list_(pa.float64())),
        required("velocities", pa.list_(pa.float64())),
        required("efforts", pa.list_(pa.float64())),
    ),
)

_SCAN = (
    HEADER_COLUMN,
    required("angle_min", pa.float32()),
    required("angle_max", pa.float32()),
    required("angle_increment", pa.float32()),
    required("time_increment", pa.float32()),
    required("scan_time", pa.float32()),
    required("range_min", pa.float32()),
    required("range_max", pa.float32()),
)

LaserScan = Model(
    tag="LaserScan",
    fields=(
        *_SCAN,
        required("ranges", pa.list_(pa.float32())),
        optional("intensities", pa.list_(pa.float32())),
    ),
)

MultiEchoLaserScan = Model(
    tag="MultiEchoLaserScan",
    fields=(
        *_SCAN,
        required("ranges", pa.list_(pa.list_(pa.float32()))),
        optional("intensities", pa.list_(pa.list_(pa.float32()))),
    ),
)

Magnetometer = Model(
    tag="Magnetometer", fields=(HEADER_COLUMN, required("magnetic_field", pa.struct(VECTOR3)))
)
"""`magnetic_field` is in tesla, as in ROS."""

Joy = Model(
    tag="Joy",
    fields=(
        HEADER_COLUMN,
        required("axes", pa.list_(pa.float32())),
        required("buttons", pa.list_(pa.int32())),
    ),
)

Temperature = Model(tag="Temperature", fields=(*VARIANT, required("value", pa.float64())))
"""`value` is in kelvin."""

Pressure = Model(tag="Pressure", fields=(*VARIANT, required("value", pa.float64())))
"""`value` is in pascal."""

Range = Model(
    tag="Range",
    fields=(
        *VARIANT,
        required("radiation_type", pa.uint8()),
        required("field_of_view", pa.float32()),
        required("min_range", pa.float32()),
        required("max_range", pa.float32()),
        required("range", pa.float32()),
    ),
)

# Cameras: images, their calibration and regions.

Image = Model(
    tag="Image",
    fields=(
        HEADER_COLUMN,
        required("data", pa.binary()),
        required("format", pa.string()),
        required("width", pa.int32()),
        required("height", pa.int32()),
        required("stride", pa.int32()),
        required("encoding", pa.string()),
        optional("is_bigendian", pa.bool_()),
    ),
    serialization_format=SerializationFormat.IMAGE,
)
"""`format` is `raw` (the bytes as recorded) or `png` (a grey PNG of stride x height bytes)."""

CompressedImage = Model(
    tag="CompressedImage",
    fields=(
        HEADER_COLUMN,
        required("data", pa.binary()),
        required("format", pa.string()),
    ),
    serialization_format=SerializationFormat.IMAGE,
)

ROI = Model(tag="ROI", fields=REGION)

CameraInfo = Model(
    tag="CameraInfo",
    fields=(
        HEADER_COLUMN,
        required("height", pa.uint32()),
        required("width", pa.uint32()),
        required("distortion_model", pa.string()),
        required("distortion_parameters", pa.list_(pa.float64())),
        required("intrinsic_parameters", pa.list_(pa.float64(), 9)),
        required("rectification_parameters", pa.list_(pa.float64(), 9)),
        required("projection_parameters", pa.list_(pa.float64(), 12)),
        optional("binning", pa.struct(VECTOR2)),
        optional("roi", pa.struct(REGION)),
    ),
)

# Point clouds: the blob as recorded, and the models with a column for each quantity.

PointField = Model(tag="PointField", fields=POINT_FIELD)

PointCloud2 = Model(
    tag="PointCloud2",
    fields=(
        HEADER_COLUMN,
        required("height", pa.uint32()),
        required("width", pa.uint32()),
        required("fields", pa.list_(pa.struct(POINT_FIELD))),
        required("is_bigendian", pa.bool_()),
        required("point_step", pa.uint32()),
        required("row_step", pa.uint32()),
        required("data", pa.binary()),
        required("is_dense", pa.bool_()),
    ),
)


def _cloud(tag: str, **columns: pa.DataType) -> Model:
    """Make a model of points: coordinates that every cloud has, quantities that some have."""
    return Model(
        tag=tag,
        fields=(
            HEADER_COLUMN,
            *(required(axis, pa.list_(pa.float32())) for axis in ("x", "y", "z")),
            *(optional(name, pa.list_(value_type)) for name, value_type in columns.items()),
        ),
    )


Lidar = _cloud(
    "Lidar",
    intensity=pa.float32(),
    reflectivity=pa.uint16(),
    beam_id=pa.uint16(),
    range=pa.float32(),
    near_ir=pa.float32(),
    azimuth=pa.float32(),
    elevation=pa.float32(),
    confidence=pa.uint8(),
    return_type=pa.uint8(),
    point_timestamp=pa.float64(),
)

Radar = _cloud(
    "Radar",
    range=pa.float32(),
    azimuth=pa.float32(),
    elevation=pa.float32(),
    rcs=pa.float32(),
    snr=pa.float32(),
    doppler_velocity=pa.float32(),
    vx=pa.float32(),
    vy=pa.float32(),
    vx_comp=pa.float32(),
    vy_comp=pa.float32(),
    ax=pa.float32(),
    ay=pa.float32(),
    radial_speed=pa.float32(),
)

RGBDCamera = _cloud("RGBDCamera", rgb=pa.float32(), intensity=pa.float32())

ToFCamera = _cloud(
    "ToFCamera",
    rgb=pa.float32(),
    intensity=pa.float32(),
    noise=pa.float32(),
    grayscale=pa.float32(),
)

StereoCamera = _cloud(
    "StereoCamera",
    rgb=pa.float32(),
    intensity=pa.float32(),
    luma=pa.uint8(),
    cost=pa.uint8(),
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
