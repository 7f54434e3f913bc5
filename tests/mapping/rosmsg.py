"""ROS messages for tests: made with rosbags' types, turned into Arrow the slow and obvious way."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from bridge.model import (
    ArrayType,
    Constant,
    DecodedBlock,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
    Serialization,
    Topic,
)
from tests.mapping.fleet_types import FLEET_TYPES

NMEA_SENTENCE = "std_msgs/Header header\nstring sentence\n"

NUMBERS: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "byte": pa.uint8(),
    "char": pa.uint8(),
    "octet": pa.uint8(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    **{f"int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
}

LOG_TIME_NS = 1_700_000_000_300_000_000


@functools.cache
def typestore(distro: Stores = Stores.ROS2_JAZZY) -> Typestore:
    """The stock types of a distribution, nmea_msgs, and what fleets record."""
    store = get_typestore(distro)
    store.register(get_types_from_msg(NMEA_SENTENCE, "nmea_msgs/msg/Sentence"))
    for name, text in FLEET_TYPES.items():
        if name not in store.fielddefs:
            store.register(get_types_from_msg(text, name))
    return store


def message_type(store: Typestore, name: str) -> MessageType:
    """A definition of rosbags' as the nouns that our parts exchange."""
    constants, fields = store.fielddefs[name]
    return MessageType(
        name=name,
        fields=tuple((field, _field_type(store, node)) for field, node in fields),
        constants=tuple(
            Constant(name=key, type_name=kind, value=value) for key, kind, value in constants
        ),
    )


def _field_type(store: Typestore, node: Any) -> FieldType:
    kind, content = node
    if kind == Nodetype.BASE:
        return PrimitiveType(name=content[0], bound=content[1])
    if kind == Nodetype.NAME:
        return message_type(store, content)
    element = _field_type(store, content[0])
    if kind == Nodetype.ARRAY:
        return ArrayType(element=element, length=content[1])
    return SequenceType(element=element, bound=content[1])


def arrow_type(kind: FieldType, item: str = "item") -> pa.DataType:
    """The Arrow type that decoding gives a field; `item` names the elements of message lists."""
    if isinstance(kind, PrimitiveType):
        return NUMBERS.get(kind.name, pa.string())
    if isinstance(kind, MessageType):
        return pa.struct([pa.field(name, arrow_type(inner, name)) for name, inner in kind.fields])
    element = pa.field(
        item if isinstance(kind.element, MessageType) else "item", arrow_type(kind.element)
    )
    return pa.list_(element, kind.length) if isinstance(kind, ArrayType) else pa.list_(element)


def plain(value: Any) -> Any:
    """A rosbags message as dictionaries and lists."""
    if hasattr(value, "__dataclass_fields__"):
        names = [
            name
            for name, field in value.__dataclass_fields__.items()
            if name != "__msgtype__" and "ClassVar" not in str(field.type)
        ]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def decoded(
    store: Typestore, name: str, messages: Sequence[Any], *, spare_rows: int = 0
) -> DecodedBlock:
    """Messages as the decoder gives them.

    `spare_rows` puts that many copies of the first message before and after and slices them away,
    so that every array has an offset.
    """
    kind = arrow_type(message_type(store, name))
    rows = [plain(message) for message in messages]
    padding = rows[:1] * spare_rows
    array = pa.array(padding + rows + padding, kind)
    return DecodedBlock(
        log_times_ns=LOG_TIME_NS + np.arange(len(rows), dtype=np.int64),
        messages=array.slice(len(padding), len(rows)),
    )


def topic(msgtype: str, name: str = "/topic", **more: Any) -> Topic:
    """A topic as a reader of recordings would describe it."""
    values: dict[str, Any] = {
        "index": 0,
        "name": name,
        "msgtype": msgtype,
        "serialization": Serialization.CDR,
        "message_type": None,
        "definition_source": "embedded",
    }
    return Topic(**(values | more))


FLOAT64 = st.floats() | st.sampled_from([0.0, -0.0, -1.0, 1e-300])
FLOAT32 = st.floats(width=32) | st.sampled_from([0.0, -0.0, -1.0])
TEXT = st.text(max_size=6) | st.just("")

SPECIAL: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("builtin_interfaces/msg/Time", "sec"): st.sampled_from([0, 0, 1, -5, 2**31 - 1, -(2**31)]),
    ("builtin_interfaces/msg/Time", "nanosec"): st.sampled_from([0] * 8 + [1, 10**9 - 1, 10**9]),
    ("builtin_interfaces/msg/Duration", "nanosec"): st.integers(0, 10**9),
    ("sensor_msgs/msg/NavSatStatus", "status"): st.integers(-3, 2),
    ("sensor_msgs/msg/PointField", "datatype"): st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 7, 0, 9]),
    ("sensor_msgs/msg/Image", "is_bigendian"): st.sampled_from([0, 1, 0, 1, 2]),
    ("sensor_msgs/msg/Image", "height"): st.integers(0, 3) | st.integers(0, 2**32 - 1),
    ("sensor_msgs/msg/Image", "step"): st.integers(0, 3) | st.integers(0, 2**32 - 1),
    ("sensor_msgs/msg/CameraInfo", "binning_x"): st.integers(0, 3),
    ("sensor_msgs/msg/CameraInfo", "binning_y"): st.integers(0, 3),
    ("sensor_msgs/msg/RegionOfInterest", "x_offset"): st.integers(0, 1),
    ("sensor_msgs/msg/RegionOfInterest", "y_offset"): st.integers(0, 1),
    ("sensor_msgs/msg/RegionOfInterest", "height"): st.integers(0, 1),
    ("sensor_msgs/msg/RegionOfInterest", "width"): st.integers(0, 2**32 - 1) | st.just(0),
    ("sensor_msgs/msg/CompressedImage", "format"): st.sampled_from(
        [
            "", "jpeg", "JPEG", " jpeg ", "rgb8; jpeg compressed bgr8", "compressed jpeg",
            "16UC1; compressedDepth", "16UC1; compressedDepth png", "bgr8; jpeg", "webp",
            "compressed compressedDepth", "compressedDepth", " ",
        ]
    ) | TEXT,
}  # fmt: skip
"""Fields whose interesting values chance would not find."""


@functools.cache
def messages(store: Typestore, name: str) -> st.SearchStrategy[Any]:
    """Any message of a type."""
    fields = {
        field: SPECIAL[name, field] if (name, field) in SPECIAL else _values(store, node)
        for field, node in store.fielddefs[name][1]
    }
    return st.builds(store.types[name], **fields)


def _values(store: Typestore, node: Any) -> st.SearchStrategy[Any]:
    kind, content = node
    if kind == Nodetype.NAME:
        return messages(store, content)
    if kind == Nodetype.BASE:
        return _scalars(content[0])
    element, size = content
    if element[0] == Nodetype.BASE and element[1][0] not in {"string", "wstring"}:
        length: Any = size if kind == Nodetype.ARRAY else st.integers(0, size or 5)
        dtype = np.dtype(NUMBERS[element[1][0]].to_pandas_dtype())
        fill = st.sampled_from([0, 0, 1] if dtype.kind in "ub" else [0, -1, 1])
        return npst.arrays(dtype, length, elements=_scalars(element[1][0]), fill=fill)
    low, high = (size, size) if kind == Nodetype.ARRAY else (0, size or 3)
    return st.lists(_values(store, element), min_size=low, max_size=high)


def _scalars(name: str) -> st.SearchStrategy[Any]:
    if name in {"string", "wstring"}:
        return TEXT
    if name == "bool":
        return st.booleans()
    if name == "float64":
        return FLOAT64
    if name == "float32":
        return FLOAT32
    bounds = np.iinfo(NUMBERS[name].to_pandas_dtype())
    low, high = int(bounds.min), int(bounds.max)
    return st.integers(low, high) | st.sampled_from([0, 1, low, high])


def zero(store: Typestore, name: str) -> Any:
    """A message whose every field is zero or empty."""
    return store.types[name](
        **{field: _zero(store, node) for field, node in store.fielddefs[name][1]}
    )


def _zero(store: Typestore, node: Any) -> Any:
    kind, content = node
    if kind == Nodetype.NAME:
        return zero(store, content)
    if kind == Nodetype.BASE:
        return "" if "string" in content[0] else NUMBERS[content[0]].to_pandas_dtype()(0).item()
    element, size = content
    length = size if kind == Nodetype.ARRAY else 0
    if element[0] == Nodetype.BASE and "string" not in element[1][0]:
        return np.zeros(length, NUMBERS[element[1][0]].to_pandas_dtype())
    return [_zero(store, element) for _ in range(length)]


def changed(message: Any, **values: Any) -> Any:
    """A deep copy with other values; `a__b` reaches into a nested message."""
    copied = copy.deepcopy(message)
    for path, value in values.items():
        *steps, last = path.split("__")
        setattr(functools.reduce(getattr, steps, copied), last, value)
    return copied
