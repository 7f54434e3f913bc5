"""Models with a single value, and those of time and headers."""

import pyarrow as pa

from bridge.ontology.model import Model
from bridge.ontology.pieces import HEADER, STAMP, required


def scalar(tag: str, value_type: pa.DataType) -> Model:
    """Make a model whose only column is `data`."""
    return Model(tag=tag, fields=(required("data", value_type),))


Boolean = scalar("Boolean", pa.bool_())
Integer8 = scalar("Integer8", pa.int8())
Integer16 = scalar("Integer16", pa.int16())
Integer32 = scalar("Integer32", pa.int32())
Integer64 = scalar("Integer64", pa.int64())
Unsigned8 = scalar("Unsigned8", pa.uint8())
Unsigned16 = scalar("Unsigned16", pa.uint16())
Unsigned32 = scalar("Unsigned32", pa.uint32())
Unsigned64 = scalar("Unsigned64", pa.uint64())
Floating16 = scalar("Floating16", pa.float16())
Floating32 = scalar("Floating32", pa.float32())
Floating64 = scalar("Floating64", pa.float64())
String = scalar("String", pa.string())

Time = Model(tag="Time", fields=STAMP)
Duration = Model(tag="Duration", fields=STAMP)
Header = Model(tag="Header", fields=HEADER)
