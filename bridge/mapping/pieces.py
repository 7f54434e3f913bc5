"""The columns that many models share: stamp, header, covariance, vectors, poses, motions.

Every function takes a `Source` and gives arrays of `source.rows` values, whether the source is a
topic's messages or the elements of a sequence inside them. The rules are those of the platform's
own adapters: a header with neither stamp nor frame is null, a covariance without a positive
element is null.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.mapping.columns import absent, as_numpy, lengths, lists, struct
from bridge.mapping.source import Note, Source
from bridge.ontology import Header, Pose, Quaternion, Time, Vector3d, Velocity
from bridge.units import SECOND_NS

Columns = dict[str, pa.Array]
Build = Callable[[Source], Columns]


COVARIANCE_TYPE = pa.list_(pa.float64())

NOT_MEASURED = -1.0
"""What drivers put at the start of the covariance of a quantity that they do not have."""

BAD_STAMP = "stamp with nanoseconds of a second or more"
LATE_STAMP = "stamp after 2038, which the platform's seconds cannot hold"


def stamp_columns(source: Source) -> Columns:
    """Map sec and nanosec; messages whose nanoseconds are a second or more are dropped.

    Those of a Duration in ROS 1 are signed; a negative part of a second is taken from the seconds.
    The seconds of a Time in ROS 1 have no sign, but those of the platform have one.
    """
    if source.field("sec").type == pa.uint32():
        unsigned = as_numpy(source.column("sec", pa.uint32()))
        source.reject(unsigned > np.iinfo(np.int32).max, LATE_STAMP)
        seconds = pa.array(unsigned.view(np.int32))
    else:
        seconds = source.column("sec", pa.int32())
    if source.field("nanosec").type == pa.int32():
        signed = source.numbers("nanosec", pa.int64())
        source.reject(np.abs(signed) >= SECOND_NS, BAD_STAMP)
        whole = as_numpy(seconds).astype(np.int64) + signed // SECOND_NS
        source.reject(whole < np.iinfo(np.int32).min, BAD_STAMP)
        return {
            "seconds": pa.array(whole.astype(np.int32)),
            "nanoseconds": pa.array((signed % SECOND_NS).astype(np.uint32)),
        }
    nanoseconds = source.column("nanosec", pa.uint32())
    source.reject(as_numpy(nanoseconds) >= SECOND_NS, BAD_STAMP)
    return {"seconds": seconds, "nanoseconds": nanoseconds}


def stamp(source: Source) -> pa.StructArray:
    """Map a builtin Time or Duration to a struct."""
    return struct(Time.struct, stamp_columns(source), source.rows)


def header_columns(source: Source) -> Columns:
    """Map the fields of a Header, valid or not; ROS 1 counts samples, ROS 2 does not."""
    columns: Columns = {
        "timestamp": stamp(source["stamp"]),
        "frame_id": source.column("frame_id", pa.string()),
    }
    if source.has("seq"):
        columns["sample_counter"] = source.column("seq", pa.uint64())
    return columns


def header(source: Source) -> pa.StructArray:
    """Map the field `header`; null for all rows where the message has no such field."""
    if not source.has("header"):
        return absent(Header.struct, source.rows)
    return header_struct(source["header"])


def header_struct(source: Source) -> pa.StructArray:
    """Map a Header to a struct; null where stamp and frame are both empty."""
    columns = header_columns(source)
    timestamp = columns["timestamp"]
    valid = lengths(columns["frame_id"]) > 0
    for index in range(2):
        valid |= as_numpy(timestamp.field(index)) != 0
    return struct(Header.struct, columns, source.rows, valid=valid)


def covariance(source: Source, name: str, size: int) -> pa.ListArray:
    """Map a covariance matrix; null where no element is positive, or without the field."""
    if not source.has(name):
        return absent(COVARIANCE_TYPE, source.rows)
    matrix = source.matrix(name, size)
    valid = known(matrix)
    if not valid.all():
        # Null either way; a -1 says that the driver has no such quantity at all.
        unmeasured = int(np.count_nonzero(matrix[:, 0] == NOT_MEASURED))
        source.note(Note.NOT_MEASURED, source.place(name), unmeasured)
    return covariance_lists(matrix, valid)


def known(matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find which matrices have a positive element.

    Args:
        matrix: Shape (n, k).

    Returns:
        Shape (n,). Cost: one strided pass where every first element is positive, two flat passes
        where nothing is, which are the usual cases; else k strided passes.
    """
    valid: NDArray[np.bool_] = matrix[:, 0] > 0
    if valid.all():
        return valid
    positive: NDArray[np.bool_] = matrix > 0
    if positive.any():
        valid = np.logical_or.reduce(positive, axis=1)
    return valid


def covariance_lists(matrix: NDArray[np.float64], valid: NDArray[np.bool_]) -> pa.ListArray:
    """Make nullable lists of the rows of a matrix; copies only where some are null."""
    rows, size = matrix.shape
    if not valid.any():
        return absent(COVARIANCE_TYPE, rows)
    kept = matrix if valid.all() else matrix[valid]
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(valid * np.int32(size), out=offsets[1:])
    return lists(COVARIANCE_TYPE, offsets, pa.array(kept.reshape(-1)), valid=valid)


def coordinates(source: Source, names: tuple[str, ...]) -> Columns:
    """Map fields of doubles that keep their names."""
    return {name: source.column(name, pa.float64()) for name in names}


def xyz_columns(source: Source) -> Columns:
    """Map a Vector3, Point or Point32."""
    return coordinates(source, ("x", "y", "z"))


def xyzw_columns(source: Source) -> Columns:
    """Map a Quaternion."""
    return coordinates(source, ("x", "y", "z", "w"))


def vector3(source: Source, **more: pa.Array) -> pa.StructArray:
    """Map a Vector3, Point or Point32 to a struct, with further children if given."""
    return struct(Vector3d.struct, xyz_columns(source) | more, source.rows)


def quaternion(source: Source) -> pa.StructArray:
    """Map a Quaternion to a struct."""
    return struct(Quaternion.struct, xyzw_columns(source), source.rows)


def pose_columns(source: Source) -> Columns:
    """Map a Pose."""
    return {
        "position": vector3(source["position"]),
        "orientation": quaternion(source["orientation"]),
    }


def pose(source: Source, **more: pa.Array) -> pa.StructArray:
    """Map a Pose to a struct, with further children if given."""
    return struct(Pose.struct, pose_columns(source) | more, source.rows)


def motion_columns(source: Source) -> Columns:
    """Map a Twist or an Accel."""
    return {"linear": vector3(source["linear"]), "angular": vector3(source["angular"])}


def motion(source: Source, **more: pa.Array) -> pa.StructArray:
    """Map a Twist or an Accel to a struct, with further children if given."""
    return struct(Velocity.struct, motion_columns(source) | more, source.rows)


def stamped(inner: str, build: Build) -> Build:
    """Map a message that adds a header to another one."""

    def columns(source: Source) -> Columns:
        return {"header": header(source)} | build(source[inner])

    return columns


def inside(name: str, build: Build) -> Build:
    """Map a message by one of its fields."""

    def columns(source: Source) -> Columns:
        return build(source[name])

    return columns


def with_covariance(inner: str, build: Build) -> Build:
    """Map a message that adds a 6x6 covariance to another one."""

    def columns(source: Source) -> Columns:
        return build(source[inner]) | {"covariance": covariance(source, "covariance", 36)}

    return columns


def headed(build: Build) -> Build:
    """Map a message that has a header among its own fields."""

    def columns(source: Source) -> Columns:
        return {"header": header(source)} | build(source)

    return columns


def same_names(**types: pa.DataType) -> Build:
    """Map fields that keep their names."""

    def columns(source: Source) -> Columns:
        return {name: source.column(name, value_type) for name, value_type in types.items()}

    return columns


def list_of(source: Source, name: str, kind: pa.StructType, build: Build) -> pa.ListArray:
    """Map a sequence of messages, all elements of all rows in one go."""
    items, offsets = source.items(name)
    return lists(pa.list_(kind), offsets, struct(kind, build(items), items.rows))
