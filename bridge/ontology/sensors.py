"""Models of sensor_msgs and nmea_msgs, cameras and clouds apart."""

import pyarrow as pa

from bridge.ontology.model import Model
from bridge.ontology.pieces import (
    GPS_STATUS,
    HEADER_COLUMN,
    VARIANT,
    VECTOR3,
    VECTOR4,
    optional,
    required,
)

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
