"""A realistic message of every type in the mapping table, and blocks made of them."""

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg

from benchmarks import messages as of
from benchmarks.messages import NOISE, STORE, TYPES, MakeMessage
from bridge.model import Definition, MessageBlock

STORE.register(
    get_types_from_msg("std_msgs/Header header\nstring sentence\n", "nmea_msgs/msg/Sentence")
)

ITEMS = 8
"""Elements of a sequence."""

MADE: dict[str, MakeMessage] = {
    "sensor_msgs/msg/Image": of.image_vga,
    "sensor_msgs/msg/CompressedImage": of.compressed_image,
    "sensor_msgs/msg/PointCloud2": of.cloud,
    "sensor_msgs/msg/LaserScan": of.scan,
    "sensor_msgs/msg/JointState": of.joints,
    "sensor_msgs/msg/NavSatFix": of.position,
    "tf2_msgs/msg/TFMessage": of.transforms,
}
"""Types whose fields depend on each other, or whose size matters; all others are filled."""


def is_known(msgtype: str) -> bool:
    """Say whether messages of a type can be made: stock types and those registered here."""
    return msgtype in TYPES


def sample(msgtype: str, count: int) -> list[Any]:
    """Make messages of a type."""
    make = MADE.get(msgtype)
    return [make(number) if make else _filled(msgtype) for number in range(count)]


def definition(msgtype: str) -> Definition:
    """Give the text that a recorder would embed."""
    text, _ = STORE.generate_msgdef(msgtype, ros_version=2)
    return Definition(encoding="ros2msg", text=text)


def block_of(
    msgtype: str,
    messages: list[Any],
    *,
    bytes_max: int,
    rows_max: int,
    start_ns: int,
    step_ns: int,
) -> MessageBlock:
    """Serialise messages and repeat them until a bound is met."""
    payloads = [bytes(STORE.serialize_cdr(message, msgtype)) for message in messages]
    rows = min(rows_max, max(len(payloads), bytes_max * len(payloads) // sum(map(len, payloads))))
    chosen = [payloads[number % len(payloads)] for number in range(rows)]
    ends = np.cumsum([len(payload) for payload in chosen], dtype=np.int64)
    return MessageBlock(
        topic=0,
        log_times_ns=start_ns + step_ns * np.arange(rows, dtype=np.int64),
        data=np.frombuffer(b"".join(chosen), np.uint8),
        starts=np.concatenate(([0], ends[:-1])),
        ends=ends,
    )


def _filled(msgtype: str) -> Any:
    fields = STORE.fielddefs[msgtype][1]
    return TYPES[msgtype](**{name: _value(node) for name, node in fields})


def _value(node: Any) -> Any:
    kind, content = node
    if kind == Nodetype.NAME:
        return _filled(content)
    if kind == Nodetype.BASE:
        return _scalar(content[0])
    (element_kind, element), length = content
    count = length if kind == Nodetype.ARRAY else ITEMS
    if element_kind == Nodetype.BASE and element[0] not in {"string", "wstring"}:
        return np.array([_scalar(element[0]) for _ in range(count)], dtype=_dtype(element[0]))
    return [_value((element_kind, element)) for _ in range(count)]


def _scalar(name: str) -> Any:
    if name in {"string", "wstring"}:
        return "base_link"
    if name == "bool":
        return True
    if name.startswith("float"):
        return float(np.float32(NOISE.normal()))
    return int(NOISE.integers(1, 100))


def _dtype(name: str) -> str:
    return {"bool": "bool", "byte": "uint8", "octet": "uint8", "char": "uint8"}.get(name, name)
