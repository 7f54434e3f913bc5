"""Point clouds as they were recorded: the blob and the description of its fields."""

import pyarrow as pa

from bridge.mapping.pieces import Columns, header, list_of, same_names
from bridge.mapping.source import Source
from bridge.ontology import PointField

DATATYPE_MIN, DATATYPE_MAX = 1, 8

UNKNOWN_DATATYPE = "point cloud with a field of unknown datatype"

_SHAPE = same_names(
    height=pa.uint32(),
    width=pa.uint32(),
    is_bigendian=pa.bool_(),
    point_step=pa.uint32(),
    row_step=pa.uint32(),
    is_dense=pa.bool_(),
)

_FIELD = same_names(name=pa.string(), offset=pa.uint32(), datatype=pa.int64(), count=pa.uint32())


def point_cloud(source: Source) -> Columns:
    """Map a PointCloud2 without looking at its points; the bytes are not copied."""
    return {
        "header": header(source),
        **_SHAPE(source),
        "fields": list_of(source, "fields", PointField.struct, _point_field),
        "data": source.binary("data"),
    }


def _point_field(source: Source) -> Columns:
    datatype = source.numbers("datatype", pa.uint8())
    source.reject(
        (datatype < DATATYPE_MIN) | (datatype > DATATYPE_MAX),
        UNKNOWN_DATATYPE,
    )
    return _FIELD(source)
