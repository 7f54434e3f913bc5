"""geometry_msgs and tf2_msgs, where they are more than the shared pieces."""

import numpy as np
import pyarrow as pa

from bridge.mapping.columns import lengths, nullable
from bridge.mapping.pieces import (
    Columns,
    list_of,
    quaternion,
    stamped,
    vector3,
    xyz_columns,
)
from bridge.mapping.source import Source
from bridge.ontology import Point3d, Transform

INERTIA_FIELDS = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")


def transform(source: Source) -> Columns:
    """Map a Transform."""
    return {
        "translation": vector3(source["translation"]),
        "rotation": quaternion(source["rotation"]),
    }


def transform_stamped(source: Source) -> Columns:
    """Map a TransformStamped; an empty child frame becomes null."""
    child = source.column("child_frame_id", pa.string())
    columns = stamped("transform", transform)(source)
    return columns | {"target_frame_id": nullable(child, lengths(child) > 0)}


def frame_transform(source: Source) -> Columns:
    """Map a TFMessage, one row per message."""
    return {"transforms": list_of(source, "transforms", Transform.struct, transform_stamped)}


def wrench(source: Source) -> Columns:
    """Map a Wrench."""
    return {"force": vector3(source["force"]), "torque": vector3(source["torque"])}


def polygon(source: Source) -> Columns:
    """Map a Polygon; its single-precision points are widened."""
    return {"points": list_of(source, "points", Point3d.struct, xyz_columns)}


def inertia(source: Source) -> Columns:
    """Map an Inertia; the six moments become one list of fixed size."""
    moments = [source.numbers(name, pa.float64()) for name in INERTIA_FIELDS]
    flat = pa.array(np.column_stack(moments).reshape(-1))
    return {
        "mass": source.column("m", pa.float64()),
        "center_of_mass": vector3(source["com"]),
        "inertia": pa.FixedSizeListArray.from_arrays(flat, len(INERTIA_FIELDS)),
    }
