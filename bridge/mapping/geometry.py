"""geometry_msgs, tf2_msgs and nav_msgs, where they are more than the shared pieces."""

import numpy as np
import pyarrow as pa

from bridge.mapping.columns import lengths, nullable, struct
from bridge.mapping.pieces import (
    Columns,
    covariance,
    header,
    list_of,
    motion,
    pose,
    pose_columns,
    quaternion,
    stamp,
    stamped,
    vector3,
    xyz_columns,
)
from bridge.mapping.source import Source
from bridge.ontology import MapMetadata, Point3d, Pose, Transform

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


def odometry(source: Source) -> Columns:
    """Map an Odometry; an empty child frame stays empty text."""
    moved, moving = source["pose"], source["twist"]
    return {
        "header": header(source),
        "pose": pose(moved["pose"], covariance=covariance(moved, "covariance", 36)),
        "velocity": motion(moving["twist"], covariance=covariance(moving, "covariance", 36)),
        "target_frame_id": source.column("child_frame_id", pa.string()),
    }


def path(source: Source) -> Columns:
    """Map a Path; every pose keeps its own header."""
    build = stamped("pose", pose_columns)
    return {"header": header(source), "poses": list_of(source, "poses", Pose.struct, build)}


def map_metadata(source: Source) -> Columns:
    """Map a MapMetaData."""
    return {
        "map_load_time": stamp(source["map_load_time"]),
        "resolution": source.column("resolution", pa.float32()),
        "width": source.column("width", pa.uint32()),
        "height": source.column("height", pa.uint32()),
        "origin": pose(source["origin"]),
    }


def occupancy_grid(source: Source) -> Columns:
    """Map an OccupancyGrid."""
    info = source["info"]
    return {
        "header": header(source),
        "info": struct(MapMetadata.struct, map_metadata(info), info.rows),
        "data": source.column("data", pa.list_(pa.int8())),
    }


def grid_cells(source: Source) -> Columns:
    """Map a GridCells."""
    return {
        "header": header(source),
        "cell_width": source.column("cell_width", pa.float32()),
        "cell_height": source.column("cell_height", pa.float32()),
        "cells": list_of(source, "cells", Point3d.struct, xyz_columns),
    }
