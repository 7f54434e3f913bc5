"""Models of nav_msgs: motion, paths and maps."""

import pyarrow as pa

from bridge.ontology.model import Model
from bridge.ontology.pieces import (
    COVARIANT,
    HEADER_COLUMN,
    MAP_METADATA,
    MOTION,
    POSE,
    VECTOR3,
    optional,
    required,
)

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
