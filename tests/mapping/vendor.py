"""The vendor's own bridge as the judge: one message in, one row or an error out."""

import io
import math
from collections.abc import Sequence
from typing import Any

import mosaicolabs.bridges.ros.adapters  # noqa: F401 - registers the adapters
import pyarrow as pa
from mosaicolabs.bridges.ros import ROSBridge, ROSMessage
from mosaicolabs.bridges.ros.helpers import _to_dict
from PIL import Image

from bridge.mapping import MappedBlock
from tests.mapping.rosmsg import LOG_TIME_NS

ADAPTERS: dict[str, Any] = dict(ROSBridge.get_default_adapters())


def vendor_row(
    msgtype: str, message: Any, *, log_time_ns: int = LOG_TIME_NS, adapter: Any = None
) -> dict[str, Any] | None:
    """The row the vendor makes of a message, or None where it refuses."""
    data, constants = _to_dict(message)
    try:
        wrapped = ROSMessage(log_time_ns, "/topic", msgtype, data, constants)
        translated = (adapter or ADAPTERS[msgtype]).translate(wrapped)
        batch = translated._to_pa_record_batch()
    except Exception:  # noqa: BLE001 - the vendor raises Exception itself
        return None
    row: dict[str, Any] = batch.to_pylist()[0]
    return row


def vendor_rows(msgtype: str, messages: Sequence[Any], adapter: Any = None) -> list[dict[str, Any]]:
    """The rows the vendor makes of messages recorded a nanosecond apart, refused ones left out."""
    rows = [
        vendor_row(msgtype, message, log_time_ns=LOG_TIME_NS + index, adapter=adapter)
        for index, message in enumerate(messages)
    ]
    return [row for row in rows if row is not None]


def canonical(value: Any) -> Any:
    """A value that compares by what it means: NaN equals NaN, 0.0 is not -0.0, bytes of a PNG."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    return value


def unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """An Image row with its bytes as recorded, whatever the format they are stored in."""
    if row["format"] != "png":
        return row
    picture = Image.open(io.BytesIO(row["data"]))
    assert picture.mode == "L"
    assert picture.size == (row["stride"], row["height"])
    return row | {"data": picture.tobytes(), "format": "raw"}


def rows_of(block: MappedBlock) -> list[dict[str, Any]]:
    """Our rows, after checking that the batch is what its schema says, through the wire."""
    block.batch.validate(full=True)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.batch.schema) as writer:
        writer.write_batch(block.batch)
    received = pa.ipc.open_stream(sink.getvalue()).read_all()
    received.validate(full=True)
    rows: list[dict[str, Any]] = received.to_pylist()
    return rows
