"""nav_msgs: odometry, paths and maps."""

import pyarrow as pa

from bridge.mapping.columns import struct
from bridge.mapping.pieces import (
    Columns,
    covariance,
    header,
    list_of,
    motion,
    pose,
    pose_columns,
    stamp,
    stamped,
    xyz_columns,
)
from bridge.mapping.source import Source
from bridge.ontology import MapMetadata, Point3d, Pose


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
