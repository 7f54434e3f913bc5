"""Types that fleets record beside the stock ones: video, receivers, Livox, PX4, radar.

Units and frames are those that the definitions of the types document. What they call unknown is
null, or NaN where the platform's readers want a number. Values stay in the frame they were recorded
in, and the header names it.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.mapping.cameras import codecs
from bridge.mapping.columns import Mask, as_numpy, constant, lengths, lists, nullable, struct
from bridge.mapping.pieces import (
    Columns,
    covariance_lists,
    header,
    known,
    list_of,
    pose_columns,
    stamp,
)
from bridge.mapping.source import Source
from bridge.ontology import GPSStatus, Header, Point3d, Pose, Quaternion, Time, Vector3d, Velocity
from bridge.units import SECOND_NS

INT8_MAX = 127

# -- video ----------------------------------------------------------------------------------------


def foxglove_image(source: Source) -> Columns:
    """Map a CompressedVideo or CompressedImage of Foxglove: stamp and frame, but no header."""
    timestamp = stamp(source["timestamp"])
    frame = source.column("frame_id", pa.string())
    valid = lengths(frame) > 0
    for part in range(2):
        valid |= as_numpy(timestamp.field(part)) != 0
    columns = {"timestamp": timestamp, "frame_id": frame}
    return {
        "header": struct(Header.struct, columns, source.rows, valid=valid),
        "data": source.binary("data"),
        "format": codecs(source, "format"),
    }


def ffmpeg_packet(source: Source) -> Columns:
    """Map an FFMPEGPacket; its encoding is a codec, with the encoder's name or pixels behind it."""
    return {
        "header": header(source),
        "data": source.binary("data"),
        "format": codecs(source, "encoding"),
    }


# -- satellite receivers --------------------------------------------------------------------------


def gps_fix(source: Source) -> Columns:
    """Map a GPSFix: course and speed become a velocity, unknown where there is no motion source."""
    matrix = source.matrix("position_covariance", 9)
    certain = known(matrix)
    kind = source.column("position_covariance_type", pa.int16())
    status = source["status"]
    course = np.deg2rad(source.numbers("track", pa.float64()))
    speed, climb = source.numbers("speed", pa.float64()), source.numbers("climb", pa.float64())
    moves = status.numbers("motion_source", pa.uint16()) != 0
    with np.errstate(invalid="ignore", over="ignore"):
        north, east = speed * np.cos(course), speed * np.sin(course)
    return {
        "header": header(source),
        "position": struct(
            Point3d.struct,
            {
                "x": source.column("latitude", pa.float64()),
                "y": source.column("longitude", pa.float64()),
                "z": source.column("altitude", pa.float64()),
                "covariance": covariance_lists(matrix, certain),
                "covariance_type": nullable(kind, certain),
            },
            source.rows,
        ),
        "velocity": _vector((north, east, climb), valid=moves),
        "status": _status(
            source,
            status.numbers("status", pa.int16()).astype(np.int64),
            status.numbers("satellites_used", pa.uint16()),
        ),
    }


def _status(source: Source, status: NDArray[np.int64], satellites: NDArray[np.uint16]) -> pa.Array:
    """Make a receiver's status; a dilution of precision that is not positive is unknown."""
    columns: Columns = {
        "status": pa.array(status.astype(np.int8)),
        # The bits of NavSatStatus; these messages do not say which systems were used.
        "service": constant(0, pa.uint16(), source.rows),
        "satellites": nullable(pa.array(satellites.astype(np.int8)), satellites <= INT8_MAX),
    }
    for name in ("hdop", "vdop"):
        values = source.numbers(name, pa.float64())
        columns[name] = nullable(pa.array(values), values > 0)
    return struct(GPSStatus.struct, columns, source.rows, valid=np.abs(status) <= INT8_MAX)


# -- PX4 ------------------------------------------------------------------------------------------

BODY_FRAME = "base_link_frd"
"""Forward, right, down, fixed to the vehicle; the names are those of mavros."""

POSE_FRAMES = (None, "odom_ned", "odom_frd")
VELOCITY_FRAMES = (None, "odom_ned", "odom_frd", BODY_FRAME)

NO_ACCELERATION = 2**31 - 1
"""RELATIVE_TIMESTAMP_INVALID."""

FIX_STATUS = np.array([-1, -1, 0, 0, 1, 2, 2, 0, 0], np.int64)
"""NavSatStatus by PX4's fix_type: none, none, 2D, 3D, differential, RTK, RTK, -, extrapolated."""

FIX_2D = 2


def sensor_combined(source: Source) -> Columns:
    """Map a SensorCombined, in the body's frame; no acceleration where its time is invalid."""
    measured = source.numbers("accelerometer_timestamp_relative", pa.int32()) != NO_ACCELERATION
    return {
        "header": _px4_header(source, "timestamp", constant(BODY_FRAME, pa.string(), source.rows)),
        "acceleration": _vector(_triple(source, "accelerometer_m_s2"), measured=measured),
        "angular_velocity": _vector(_triple(source, "gyro_rad")),
    }


def vehicle_odometry(source: Source) -> Columns:
    """Map a VehicleOdometry; position and velocity name their own frames; NaN is unknown."""
    q = source.matrix("q", 4).copy()
    q[np.isnan(q[:, 0])] = np.nan
    attitude = {
        axis: pa.array(np.ascontiguousarray(q[:, at]))
        for axis, at in (("x", 1), ("y", 2), ("z", 3), ("w", 0))
    }
    variances = np.column_stack(
        [source.matrix(f"{name}_variance", 3) for name in ("position", "orientation")]
    )
    pose = {
        "position": _vector(_triple(source, "position")),
        "orientation": struct(Quaternion.struct, attitude, source.rows),
        "covariance": _diagonal(variances),
    }
    moving = _frames(source, "velocity_frame", VELOCITY_FRAMES)
    turning = constant(BODY_FRAME, pa.string(), source.rows)
    velocity = {
        "linear": _vector(
            _triple(source, "velocity"),
            header=_frame_header(moving),
            covariance=_diagonal(source.matrix("velocity_variance", 3)),
        ),
        "angular": _vector(_triple(source, "angular_velocity"), header=_frame_header(turning)),
    }
    return {
        "header": _px4_header(
            source, "timestamp_sample", _frames(source, "pose_frame", POSE_FRAMES)
        ),
        "pose": struct(Pose.struct, pose, source.rows),
        "velocity": struct(Velocity.struct, velocity, source.rows),
        "target_frame_id": turning,
    }


def sensor_gps(source: Source) -> Columns:
    """Map a SensorGps; the altitude is that above the ellipsoid, as in a NavSatFix."""
    fix = np.minimum(source.numbers("fix_type", pa.uint8()), len(FIX_STATUS) - 1).astype(np.int64)
    fixed = fix >= FIX_2D
    position = [
        source.numbers(name, pa.float64())
        for name in ("latitude_deg", "longitude_deg", "altitude_ellipsoid_m")
    ]
    accuracy = [source.numbers(name, pa.float64()) for name in ("eph", "eph", "epv")]
    with np.errstate(invalid="ignore", over="ignore"):
        variances = np.column_stack(accuracy) ** 2 * fixed[:, None]
    north, east, down = (
        source.numbers(f"vel_{axis}_m_s", pa.float64()) for axis in ("n", "e", "d")
    )
    moves = source.numbers("vel_ned_valid", pa.bool_())
    return {
        "header": _px4_header(source, "timestamp", None),
        "position": _vector(position, measured=fixed, covariance=_diagonal(variances)),
        "velocity": _vector((north, east, -down), valid=moves),
        "status": _status(
            source, FIX_STATUS[fix], source.numbers("satellites_used", pa.uint8()).astype(np.uint16)
        ),
    }


def _px4_header(source: Source, name: str, frames: pa.Array | None) -> pa.StructArray:
    """Make a header of microseconds; since the system's start, or since 1970 where it is synced."""
    micros = source.numbers(name, pa.uint64())
    seconds = micros // 10**6
    source.reject(seconds > np.iinfo(np.int32).max, "stamp beyond what a header holds")
    stamps = {
        "seconds": pa.array(seconds.astype(np.int32)),
        "nanoseconds": pa.array((micros % 10**6 * (SECOND_NS // 10**6)).astype(np.uint32)),
    }
    columns: Columns = {"timestamp": struct(Time.struct, stamps, source.rows)}
    if frames is not None:
        columns["frame_id"] = frames
    return struct(Header.struct, columns, source.rows)


def _frames(source: Source, name: str, names: tuple[str | None, ...]) -> pa.Array:
    """Name a frame by its number; null for unknown ones."""
    number = source.numbers(name, pa.uint8())
    return pa.array(names).take(pa.array(np.where(number < len(names), number, 0)))


def _frame_header(frames: pa.Array) -> pa.StructArray:
    valid = as_numpy(frames.is_valid())
    return struct(Header.struct, {"frame_id": frames}, len(frames), valid=valid)


# -- lidar and radar ------------------------------------------------------------------------------


def livox_points(source: Source) -> Columns:
    """Map a CustomMsg of Livox; points count nanoseconds from the first one's time."""
    items, offsets = source.items("points")
    floats = {axis: items.column(axis, pa.float32()) for axis in ("x", "y", "z")}
    times = items.numbers("offset_time", pa.uint32()) / np.float64(SECOND_NS)
    columns: Columns = {
        **floats,
        "reflectivity": items.column("reflectivity", pa.uint16()),
        "point_timestamp": pa.array(times),
    }
    for column, name, kind in (("beam_id", "line", pa.uint16()), ("confidence", "tag", pa.uint8())):
        if items.has(name):
            columns[column] = items.column(name, kind)
    return {"header": header(source)} | {
        name: lists(pa.list_(values.type), offsets, values) for name, values in columns.items()
    }


def radar_scan(source: Source) -> Columns:
    """Map a RadarScan; a positive azimuth is to the left, as is y.

    The definition says "anticlockwise [...] as per REP-0103" (radar_msgs/msg/RadarReturn).
    """
    items, offsets = source.items("returns")
    distance, azimuth, elevation = (
        items.numbers(name, pa.float64()) for name in ("range", "azimuth", "elevation")
    )
    with np.errstate(invalid="ignore", over="ignore"):
        flat = distance * np.cos(elevation)
        points = {
            "x": flat * np.cos(azimuth),
            "y": flat * np.sin(azimuth),
            "z": distance * np.sin(elevation),
        }
        columns: Columns = {
            axis: pa.array(values.astype(np.float32)) for axis, values in points.items()
        }
    for name in ("range", "azimuth", "elevation", "doppler_velocity"):
        columns[name] = items.column(name, pa.float32())
    return {"header": header(source)} | {
        name: lists(pa.list_(pa.float32()), offsets, values) for name, values in columns.items()
    }


# -- geometry -------------------------------------------------------------------------------------


def pose_array(source: Source) -> Columns:
    """Map a PoseArray; its poses have no headers of their own."""
    poses = list_of(source, "poses", Pose.struct, pose_columns)
    return {"header": header(source), "poses": poses}


# -- arrays ---------------------------------------------------------------------------------------


def _triple(source: Source, name: str) -> NDArray[np.float64]:
    return source.matrix(name, 3).T


def _vector(
    axes: "NDArray[np.float64] | tuple[NDArray[np.float64], ...] | list[NDArray[np.float64]]",
    *,
    measured: Mask | None = None,
    valid: Mask | None = None,
    **parts: pa.Array,
) -> pa.StructArray:
    """Make vectors of their axes; NaN where not `measured`, null as a whole where not `valid`.

    The platform's readers take vectors that are null, but none with a part that is.
    """
    columns: Columns = {}
    for name, values in zip("xyz", axes, strict=True):
        kept = values if measured is None else np.where(measured, values, np.nan)
        columns[name] = pa.array(np.ascontiguousarray(kept))
    return struct(Vector3d.struct, columns | parts, len(axes[0]), valid=valid)


def _diagonal(variances: NDArray[np.float64]) -> pa.ListArray:
    """Make covariances of their diagonals, shape (rows, n); null where no variance is positive."""
    rows, size = variances.shape
    matrix = np.zeros((rows, size * size), np.float64)
    matrix[:, :: size + 1] = np.nan_to_num(variances, nan=0.0)
    return covariance_lists(matrix, known(matrix))
