"""Models of cameras: images, their calibration and regions."""

import pyarrow as pa

from bridge.ontology.model import Model, SerializationFormat
from bridge.ontology.pieces import HEADER_COLUMN, REGION, VECTOR2, optional, required

Image = Model(
    tag="Image",
    fields=(
        HEADER_COLUMN,
        required("data", pa.binary()),
        required("format", pa.string()),
        required("width", pa.int32()),
        required("height", pa.int32()),
        required("stride", pa.int32()),
        required("encoding", pa.string()),
        optional("is_bigendian", pa.bool_()),
    ),
    serialization_format=SerializationFormat.IMAGE,
)
"""`format` is `raw` (the bytes as recorded) or `png` (a grey PNG of stride x height bytes)."""

CompressedImage = Model(
    tag="CompressedImage",
    fields=(
        HEADER_COLUMN,
        required("data", pa.binary()),
        required("format", pa.string()),
    ),
    serialization_format=SerializationFormat.IMAGE,
)

ROI = Model(tag="ROI", fields=REGION)

CameraInfo = Model(
    tag="CameraInfo",
    fields=(
        HEADER_COLUMN,
        required("height", pa.uint32()),
        required("width", pa.uint32()),
        required("distortion_model", pa.string()),
        required("distortion_parameters", pa.list_(pa.float64())),
        required("intrinsic_parameters", pa.list_(pa.float64(), 9)),
        required("rectification_parameters", pa.list_(pa.float64(), 9)),
        required("projection_parameters", pa.list_(pa.float64(), 12)),
        optional("binning", pa.struct(VECTOR2)),
        optional("roi", pa.struct(REGION)),
    ),
)
