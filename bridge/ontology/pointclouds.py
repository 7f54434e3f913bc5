"""Models of point clouds: the blob as recorded, and the ones with a column per quantity."""

import pyarrow as pa

from bridge.ontology.model import Model
from bridge.ontology.pieces import HEADER_COLUMN, POINT_FIELD, optional, required

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
