"""Types without a model: their own fields as columns, as the vendor's unmodeled types have them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mosaicolabs.bridges.protocols.mcap.converters.ros_converter import RosMsgSchemaConverter
from mosaicolabs.bridges.ros.helpers import _to_dict
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.mapping import DEFAULT_MAPPINGS
from tests.mapping.recorded import definition_text, serialised, through_decoder
from tests.mapping.rosmsg import messages, typestore
from tests.mapping.vendor import canonical, rows_of

JAZZY = typestore()


EMPTY_MEMBER = "structure_needs_at_least_one_member"


def same_as_the_vendors(node: Any) -> bool:
    """Whether the vendor's schema of a field is one we keep (see test_differences for the rest)."""
    kind, content = node
    if kind == Nodetype.NAME:
        return all(
            name != EMPTY_MEMBER and same_as_the_vendors(inner)
            for name, inner in JAZZY.fielddefs[content][1]
        )
    if kind == Nodetype.BASE:
        return content[0] not in {"wstring", "byte", "octet"}
    element, size = content
    bounded = kind == Nodetype.SEQUENCE and size > 0
    return not bounded and same_as_the_vendors(element)


GENERIC_TYPES = sorted(
    name
    for name in JAZZY.fielddefs
    if name not in DEFAULT_MAPPINGS and same_as_the_vendors((Nodetype.NAME, name))
)


def test_most_stock_types_are_generic() -> None:
    """The sweep below is one over many types, not over none."""
    assert len(GENERIC_TYPES) > 60
    assert "diagnostic_msgs/msg/KeyValue" in GENERIC_TYPES
    assert "visualization_msgs/msg/Marker" in GENERIC_TYPES


@pytest.mark.parametrize("msgtype", GENERIC_TYPES)
def test_rows_are_the_fields_under_the_vendors_schema(msgtype: str) -> None:
    """Tag, columns and values are those of the vendor's unmodeled type, for any message."""
    text = definition_text(JAZZY, msgtype)
    schema = RosMsgSchemaConverter.convert_rosmsg(text, msgtype)

    @settings(max_examples=3, suppress_health_check=list(HealthCheck))
    @given(st.lists(messages(JAZZY, msgtype), min_size=1, max_size=3))
    def check(sample: list[Any]) -> None:
        payloads = [serialised(JAZZY, message) for message in sample]
        plan, _, block = through_decoder(msgtype, text, payloads)

        assert (plan.kind, plan.reason) == ("generic", "")
        assert plan.model.tag == msgtype.rsplit("/", maxsplit=1)[-1]
        assert plan.model.struct.equals(schema)
        rows = rows_of(block)
        for row in rows:
            del row["timestamp_ns"]
        assert canonical(rows) == canonical([_to_dict(message)[0] for message in sample])

    check()


WHEEL = "string name\nfloat32 rpm\nuint8[] raw\n"
RIG = """uint8 MODE_IDLE=0
uint8 MODE_RUN=1
std_msgs/Header header
uint8 mode
float64[3] bias
float32[] samples
string[] tags
builtin_interfaces/Duration dt
geometry_msgs/Point[] hull
demo_msgs/Wheel[] wheels
demo_msgs/Wheel[2] axles
"""
RIG_COLUMNS = """header: struct<stamp: struct<sec: int32, nanosec: uint32>, frame_id: string>
mode: uint8
bias: fixed_size_list<item: double>[3]
samples: list<item: float>
tags: list<item: string>
dt: struct<sec: int32, nanosec: uint32>
hull: list<hull: struct<x: double, y: double, z: double>>
wheels: list<wheels: struct<name: string, rpm: float, raw: list<item: uint8>>>
axles: fixed_size_list<axles: struct<name: string, rpm: float, raw: list<item: uint8>>>[2]
"""
RIG_TEXT = (
    RIG
    + "=" * 80
    + """
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
    + "=" * 80
    + """
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
    + "=" * 80
    + """
MSG: builtin_interfaces/Duration
int32 sec
uint32 nanosec
"""
    + "=" * 80
    + """
MSG: geometry_msgs/Point
float64 x
float64 y
float64 z
"""
    + "=" * 80
    + f"\nMSG: demo_msgs/Wheel\n{WHEEL}"
)


def test_custom_type_is_the_one_written_down() -> None:
    """Schema, row and metadata of a type with everything in it, as once noted from the vendor."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(WHEEL, "demo_msgs/msg/Wheel"))
    store.register(get_types_from_msg(RIG, "demo_msgs/msg/Rig"))
    types = store.types

    def wheel(name: str, rpm: float, raw: list[int]) -> Any:
        return types["demo_msgs/msg/Wheel"](name, rpm, np.array(raw, np.uint8))

    def point(x: float) -> Any:
        return types["geometry_msgs/msg/Point"](x, 0.0, 0.0)

    message = types["demo_msgs/msg/Rig"](
        header=types["std_msgs/msg/Header"](
            types["builtin_interfaces/msg/Time"](1_700_000_000, 250_000_000), "base_link"
        ),
        mode=1,
        bias=np.array([0.1, 0.2, 0.3]),
        samples=np.array([1.5, 2.5], np.float32),
        tags=["a", "b"],
        dt=types["builtin_interfaces/msg/Duration"](0, 5_000_000),
        hull=[point(0.0), point(1.0)],
        wheels=[wheel("fl", 12.5, [1, 2]), wheel("fr", 12.75, [])],
        axles=[wheel("f", 1.0, [9]), wheel("r", 2.0, [])],
    )
    plan, _, block = through_decoder("demo_msgs/msg/Rig", RIG_TEXT, [serialised(store, message)])

    assert plan.model.tag == "Rig"
    columns = [f"{field.name}: {field.type}\n" for field in plan.model.fields]
    assert "".join(columns) == RIG_COLUMNS
    assert rows_of(block) == [
        {
            "timestamp_ns": 1_700_000_000_300_000_000,
            "header": {
                "stamp": {"sec": 1_700_000_000, "nanosec": 250_000_000},
                "frame_id": "base_link",
            },
            "mode": 1,
            "bias": [0.1, 0.2, 0.3],
            "samples": [1.5, 2.5],
            "tags": ["a", "b"],
            "dt": {"sec": 0, "nanosec": 5_000_000},
            "hull": [{"x": 0.0, "y": 0.0, "z": 0.0}, {"x": 1.0, "y": 0.0, "z": 0.0}],
            "wheels": [
                {"name": "fl", "rpm": 12.5, "raw": [1, 2]},
                {"name": "fr", "rpm": 12.75, "raw": []},
            ],
            "axles": [
                {"name": "f", "rpm": 1.0, "raw": [9]},
                {"name": "r", "rpm": 2.0, "raw": []},
            ],
        }
    ]
    block_of_metadata = plan.user_metadata["_ros_"]
    assert block_of_metadata["msgtype"] == "demo_msgs/msg/Rig"
    assert block_of_metadata["enums"] == {"MODE_IDLE": 0, "MODE_RUN": 1}
    assert block_of_metadata["msgdef"] == RIG_TEXT
