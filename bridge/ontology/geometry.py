"""Models of geometry_msgs: points, poses, motions, forces, frames."""

import pyarrow as pa

from bridge.ontology.model import Model
from bridge.ontology.pieces import (
    COVARIANT,
    HEADER_COLUMN,
    MOTION,
    POSE,
    TRANSFORM,
    VECTOR2,
    VECTOR3,
    VECTOR4,
    required,
)

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
