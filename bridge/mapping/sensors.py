"""sensor_msgs and nmea_msgs, except cameras and clouds."""

import numpy as np
import pyarrow as pa

from bridge.mapping.columns import as_numpy, list_offsets, list_values, lists, nullable, struct
from bridge.mapping.pieces import (
    NOT_MEASURED,
    Columns,
    covariance,
    covariance_lists,
    headed,
    header,
    known,
    same_names,
    vector3,
    xyzw_columns,
)
from bridge.mapping.source import Source
from bridge.ontology import GPSStatus, Point3d, Quaternion

KELVIN_AT_ZERO_CELSIUS = 273.15

STATUS_NO_FIX = -1

_FLOATS = pa.list_(pa.float32())

_SCAN = same_names(
    angle_min=pa.float32(),
    angle_max=pa.float32(),
    angle_increment=pa.float32(),
    time_increment=pa.float32(),
    scan_time=pa.float32(),
    range_min=pa.float32(),
    range_max=pa.float32(),
)

_BATTERY_VERBATIM = same_names(
    voltage=pa.float32(),
    percentage=pa.float32(),
    power_supply_status=pa.uint8(),
    power_supply_health=pa.uint8(),
    power_supply_technology=pa.uint8(),
    present=pa.bool_(),
    location=pa.string(),
    serial_number=pa.string(),
)


def imu(source: Source) -> Columns:
    """Map an Imu; a leading -1 in the orientation's covariance says that there is none."""
    linear = covariance(source, "linear_acceleration_covariance", 9)
    turning = covariance(source, "angular_velocity_covariance", 9)
    columns: Columns = {
        "header": header(source),
        "acceleration": vector3(source["linear_acceleration"], covariance=linear),
        "angular_velocity": vector3(source["angular_velocity"], covariance=turning),
    }
    if source.has("orientation") and source.has("orientation_covariance"):
        columns["orientation"] = _orientation(source)
    return columns


def _orientation(source: Source) -> pa.StructArray:
    matrix = source.matrix("orientation_covariance", 9)
    children = xyzw_columns(source["orientation"])
    children["covariance"] = covariance_lists(matrix, known(matrix))
    return struct(Quaternion.struct, children, source.rows, valid=matrix[:, 0] != NOT_MEASURED)


nav_sat_status = same_names(status=pa.int8(), service=pa.uint16())
"""Map a NavSatStatus."""


def nav_sat_fix(source: Source) -> Columns:
    """Map a NavSatFix; the covariance's type counts only with a covariance."""
    matrix = source.matrix("position_covariance", 9)
    valid = known(matrix)
    kind = source.column("position_covariance_type", pa.int16())
    position = struct(
        Point3d.struct,
        {
            "x": source.column("latitude", pa.float64()),
            "y": source.column("longitude", pa.float64()),
            "z": source.column("altitude", pa.float64()),
            "covariance": covariance_lists(matrix, valid),
            "covariance_type": nullable(kind, valid),
        },
        source.rows,
    )
    status = source["status"]
    columns = nav_sat_status(status)
    known_status = as_numpy(columns["status"]) >= STATUS_NO_FIX
    return {
        "header": header(source),
        "position": position,
        "status": struct(GPSStatus.struct, columns, source.rows, valid=known_status),
    }


def battery_state(source: Source) -> Columns:
    """Map a BatteryState; what the driver does not measure (NaN, no cells) becomes null."""
    columns = {"header": header(source)} | _BATTERY_VERBATIM(source)
    for name in ("temperature", "current", "charge", "capacity", "design_capacity"):
        values = source.column(name, pa.float32())
        columns[name] = nullable(values, ~np.isnan(as_numpy(values)))
    for name in ("cell_voltage", "cell_temperature"):
        columns[name] = null_if_empty(source.column(name, _FLOATS))
    return columns


def null_if_empty(array: pa.ListArray) -> pa.ListArray:
    """Null out empty lists."""
    offsets = list_offsets(array)
    return lists(array.type, offsets, list_values(array), valid=np.diff(offsets) > 0)


def joint_state(source: Source) -> Columns:
    """Map a JointState."""
    doubles = pa.list_(pa.float64())
    return {
        "header": header(source),
        "names": source.column("name", pa.list_(pa.string())),
        "positions": source.column("position", doubles),
        "velocities": source.column("velocity", doubles),
        "efforts": source.column("effort", doubles),
    }


def laser_scan(source: Source) -> Columns:
    """Map a LaserScan; no intensities become null."""
    return {
        "header": header(source),
        **_SCAN(source),
        "ranges": source.column("ranges", _FLOATS),
        "intensities": null_if_empty(source.column("intensities", _FLOATS)),
    }


def multi_echo_laser_scan(source: Source) -> Columns:
    """Map a MultiEchoLaserScan; no intensities become null."""
    return {
        "header": header(source),
        **_SCAN(source),
        "ranges": _echoes(source, "ranges"),
        "intensities": null_if_empty(_echoes(source, "intensities")),
    }


def _echoes(source: Source, name: str) -> pa.ListArray:
    items, offsets = source.items(name)
    return lists(pa.list_(_FLOATS), offsets, items.column("echoes", _FLOATS))


def magnetic_field(source: Source) -> Columns:
    """Map a MagneticField, in tesla."""
    uncertain = covariance(source, "magnetic_field_covariance", 9)
    return {
        "header": header(source),
        "magnetic_field": vector3(source["magnetic_field"], covariance=uncertain),
    }


def variance(source: Source) -> pa.DoubleArray:
    """Map the field `variance`; null unless positive."""
    values = source.column("variance", pa.float64())
    return nullable(values, as_numpy(values) > 0)


def temperature(source: Source) -> Columns:
    """Map a Temperature, from degrees Celsius to kelvin."""
    celsius = source.numbers("temperature", pa.float64())
    return {
        "variance": variance(source),
        "header": header(source),
        "value": pa.array(celsius + KELVIN_AT_ZERO_CELSIUS),
    }


def fluid_pressure(source: Source) -> Columns:
    """Map a FluidPressure, in pascal."""
    return {
        "variance": variance(source),
        "header": header(source),
        "value": source.column("fluid_pressure", pa.float64()),
    }


_RANGE = same_names(
    radiation_type=pa.uint8(),
    field_of_view=pa.float32(),
    min_range=pa.float32(),
    max_range=pa.float32(),
    range=pa.float32(),
)


def range_reading(source: Source) -> Columns:
    """Map a Range; older definitions have no variance."""
    columns = {"header": header(source)} | _RANGE(source)
    if source.has("variance"):
        columns["variance"] = variance(source)
    return columns


joy = headed(same_names(axes=_FLOATS, buttons=pa.list_(pa.int32())))
"""Map a Joy."""

sentence = headed(same_names(sentence=pa.string()))
"""Map an NMEA Sentence."""
