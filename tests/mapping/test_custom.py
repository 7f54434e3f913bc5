"""The user's own mappings: the worked examples of the documentation, and what may be wrong."""

import re
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.errors import ConfigError
from bridge.mapping import (
    CustomMapping,
    DeclarativeMapping,
    TopicOptions,
    TopicPlan,
    custom_mappings,
    plan_topic,
    plugin_mappings,
)
from bridge.ontology import IMU, Header, Temperature
from tests.mapping.rosmsg import arrow_type, changed, decoded, message_type, topic, zero
from tests.mapping.vendor import rows_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")

STORE = get_typestore(Stores.ROS2_JAZZY)
for _name, _text in {
    "Oil": "float64 celsius\nfloat32 left\nfloat32 right\n",
    "EngineStatus": "std_msgs/Header header\nacme_msgs/Oil oil\nint16 gear\n",
    "OilStatus": "std_msgs/Header header\nacme_msgs/Oil oil\n",
    "Axle": "float32 left_kmh\nfloat32 right_kmh\n",
    "VideoFrame": "std_msgs/Header header\nuint8[] payload\n",
    "WheelSpeeds": "std_msgs/Header header\nacme_msgs/Axle front\nint16[] ticks\n",
}.items():
    STORE.register(get_types_from_msg(_text, f"acme_msgs/msg/{_name}"))


def example(language: str, containing: str) -> str:
    """A block of the documentation."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def planned(msgtype: str, *custom: CustomMapping, ontology: str = "") -> TopicPlan:
    definition = message_type(STORE, msgtype)
    return plan_topic(
        topic(msgtype),
        definition,
        arrow_type(definition),
        custom=custom,
        options=TopicOptions(ontology=ontology),
    )


def written(ros_type: str, ontology: str, **fields: Any) -> DeclarativeMapping:
    return DeclarativeMapping.from_table(
        {"ros_type": ros_type, "ontology": ontology, "fields": fields}, key="mappings.0"
    )


def test_documented_table_maps_to_a_model_of_the_platform() -> None:
    """The first example: a nested field with an offset, a header, a constant."""
    tables = tomllib.loads(example("toml", "EngineStatus"))["mappings"]
    plan = planned("acme_msgs/msg/EngineStatus", *custom_mappings(tables, plugins=False))
    message = changed(
        zero(STORE, "acme_msgs/msg/EngineStatus"), header__frame_id="oil", oil__celsius=90.5
    )
    rows = rows_of(plan.apply(decoded(STORE, "acme_msgs/msg/EngineStatus", [message])))

    assert (plan.model, plan.kind, plan.reason) == (Temperature, "mapped", "")
    assert rows[0]["value"] == 363.65
    assert rows[0]["header"]["frame_id"] == "oil"
    assert (rows[0]["variance"], rows[0]["variance_type"]) == (None, 1)


def test_media_of_a_type_of_ones_own_become_binary() -> None:
    """The documentation's example: what readers open quickly, byte for byte."""
    tables = tomllib.loads(example("toml", "VideoFrame"))["mappings"]
    sample = [
        changed(zero(STORE, "acme_msgs/msg/VideoFrame"), payload=np.arange(size, dtype=np.uint8))
        for size in (0, 3, 255)
    ]
    plan = planned("acme_msgs/msg/VideoFrame", *custom_mappings(tables, plugins=False))
    found = rows_of(plan.apply(decoded(STORE, "acme_msgs/msg/VideoFrame", sample)))

    assert pa.types.is_binary(plan.model.schema.field("data").type)
    assert [row["data"] for row in found] == [bytes(range(size)) for size in (0, 3, 255)]
    assert {row["format"] for row in found} == {"h264"}


def test_documented_table_makes_a_new_model() -> None:
    """The second example: a tag of one's own, nested columns, a factor."""
    tables = tomllib.loads(example("toml", "WheelSpeeds"))["mappings"]
    plan = planned("acme_msgs/msg/WheelSpeeds", *custom_mappings(tables, plugins=False))
    message = changed(
        zero(STORE, "acme_msgs/msg/WheelSpeeds"), front__left_kmh=36.0, front__right_kmh=18.0
    )
    rows = rows_of(plan.apply(decoded(STORE, "acme_msgs/msg/WheelSpeeds", [message])))

    front = pa.struct([("left_mps", pa.float64()), ("right_mps", pa.float64())])
    assert plan.model.tag == "WheelSpeeds"
    assert plan.model.struct == pa.struct(
        [("header", Header.struct), ("front", front), ("unit", pa.string())]
    )
    assert rows[0]["header"] is None
    assert rows[0]["front"] == {"left_mps": 10.0, "right_mps": 5.0}
    assert rows[0]["unit"] == "m/s"


def test_documented_plugin_is_found_and_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third example, installed as a package with its entry point, maps and drops rows."""
    (tmp_path / "acme_mosaico.py").write_text(example("python", "oil_temperature"), "utf-8")
    info = tmp_path / "acme_mosaico-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-mosaico\nVersion: 1.0\n")
    group = tomllib.loads(example("toml", "entry-points"))["project"]["entry-points"]
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for name, points in group.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_mosaico", raising=False)

    plan = planned("acme_msgs/msg/OilStatus", *custom_mappings((), plugins=True))
    nan = float("nan")
    base = zero(STORE, "acme_msgs/msg/OilStatus")
    sample = [
        changed(base, oil__left=left, oil__right=right)
        for left, right in ((10.0, 20.0), (nan, nan), (nan, 30.0))
    ]
    block = plan.apply(decoded(STORE, "acme_msgs/msg/OilStatus", sample))

    assert plan.model == Temperature
    assert [row["value"] for row in rows_of(block)] == [288.15, 303.15]
    assert block.dropped == {"no oil sensor alive": 1}


@pytest.mark.parametrize(
    ("content", "target", "complaint"),
    [
        ("x = 1", "bad_plugin:x", "not a Mapping or several"),
        ("x = [1]", "bad_plugin:x", "offers int"),
        ("raise OSError('boom')", "bad_plugin:x", "boom"),
        ("", "bad_plugin:x", "cannot be loaded"),
    ],
)
def test_bad_plugin_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, target: str, complaint: str
) -> None:
    """The error names the plug-in, its package and what is wrong."""
    (tmp_path / "bad_plugin.py").write_text(content)
    info = tmp_path / "bad_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mosaico_bridge.mappings]\nbroken = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_plugin", raising=False)

    with pytest.raises(ConfigError, match=complaint) as caught:
        plugin_mappings()
    assert "plug-in broken of bad-plugin" in caught.value.message


def test_no_plugin_is_installed_here() -> None:
    """The tests above do not leak, and the environment brings none of its own."""
    assert list(entry_points(group="mosaico_bridge.mappings")) == []
    assert custom_mappings(()) == ()


def test_parts_of_models_take_whole_messages() -> None:
    """A vector becomes a vector; a model's part may also be given piece by piece."""
    mapping = written(
        "geometry_msgs/Twist",
        "IMU",
        acceleration="linear",
        **{"angular_velocity.x": "angular.z", "angular_velocity.z": {"constant": 2}},
    )
    plan = planned("geometry_msgs/msg/Twist", mapping)
    message = changed(zero(STORE, "geometry_msgs/msg/Twist"), linear__y=3.0, angular__z=4.0)
    row = rows_of(plan.apply(decoded(STORE, "geometry_msgs/msg/Twist", [message])))[0]

    assert plan.model == IMU
    assert row["acceleration"]["y"] == 3.0
    turning = row["angular_velocity"]
    assert (turning["x"], turning["y"], turning["z"]) == (4.0, None, 2.0)
    assert row["orientation"] is None


def test_numbers_that_do_not_fit_drop_their_message() -> None:
    """Narrowing is allowed where asked for; a message whose value does not survive it is not."""
    mapping = written("std_msgs/msg/Float64", "Unsigned8", data={"source": "data", "factor": 2})
    plan = planned("std_msgs/msg/Float64", mapping)
    values = [0.5, 0.25, -1.0, 127.5, 128.0, float("nan"), float("inf"), 1e300]
    base = zero(STORE, "std_msgs/msg/Float64")
    block = plan.apply(
        decoded(STORE, "std_msgs/msg/Float64", [changed(base, data=value) for value in values])
    )
    assert [row["data"] for row in rows_of(block)] == [1, 255]
    assert block.dropped == {"data does not fit into uint8": 6}


def test_negative_integers_do_not_wrap_around() -> None:
    """-1 is no large unsigned number."""
    plan = planned("std_msgs/msg/Int64", written("std_msgs/msg/Int64", "Unsigned64", data="data"))
    base = zero(STORE, "std_msgs/msg/Int64")
    block = plan.apply(
        decoded(STORE, "std_msgs/msg/Int64", [changed(base, data=-1), changed(base, data=7)])
    )
    assert [row["data"] for row in rows_of(block)] == [7]


def test_bytes_and_lists_go_where_they_fit() -> None:
    """uint8[] becomes bytes where the model has bytes; lists of numbers widen."""
    base = zero(STORE, "std_msgs/msg/UInt8MultiArray")
    message = changed(base, data=np.array([1, 2], np.uint8))
    mapping = written(
        "std_msgs/msg/UInt8MultiArray",
        "CompressedImage",
        data="data",
        format={"constant": "jpeg"},
    )
    plan = planned("std_msgs/msg/UInt8MultiArray", mapping)
    row = rows_of(plan.apply(decoded(STORE, "std_msgs/msg/UInt8MultiArray", [message])))[0]
    assert (row["data"], row["format"]) == (b"\x01\x02", "jpeg")

    mapping = written("acme_msgs/msg/WheelSpeeds", "Joy", axes="ticks", buttons="ticks")
    plan = planned("acme_msgs/msg/WheelSpeeds", mapping)
    message = changed(zero(STORE, "acme_msgs/msg/WheelSpeeds"), ticks=np.array([5, -6], np.int16))
    row = rows_of(plan.apply(decoded(STORE, "acme_msgs/msg/WheelSpeeds", [message])))[0]
    assert (row["axes"], row["buttons"]) == ([5.0, -6.0], [5, -6])


def test_first_mapping_that_fits_is_taken() -> None:
    """One that does not fit leaves the topic to the next, and the metadata says so."""
    wrong = written("std_msgs/msg/Int8", "Speed", value="speed.value")
    right = written("std_msgs/msg/Int8", "Gear", gear="data")
    plan = planned("std_msgs/msg/Int8", wrong, right)
    assert (plan.model.tag, plan.kind) == ("Gear", "mapped")
    assert plan.reason == "there is no field speed.value in std_msgs/msg/Int8"

    plan = planned("std_msgs/msg/Int8", wrong)
    assert (plan.model.tag, plan.kind) == ("Integer8", "mapped")


def test_mapping_of_text_to_a_number_does_not_fit() -> None:
    """What can never work is found at planning, and the built-in mapping goes on."""
    plan = planned("std_msgs/msg/String", written("std_msgs/msg/String", "Integer8", data="data"))
    assert plan.model.tag == "String"
    assert "does not fit into int8" in plan.reason
    scaled = written("std_msgs/msg/String", "Integer8", data={"source": "data", "factor": 2})
    assert "only numbers" in planned("std_msgs/msg/String", scaled).reason


def test_user_may_choose_between_mappings_by_tag() -> None:
    """With two mappings of a type, the topic's ontology choice decides."""
    gear = written("std_msgs/msg/Int8", "Gear", gear="data")
    assert planned("std_msgs/msg/Int8", gear).model.tag == "Gear"
    assert planned("std_msgs/msg/Int8", gear, ontology="Integer8").model.tag == "Integer8"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"ontology": "A", "fields": {"a": "a"}}, "mappings.0.ros_type"),
        ({"ros_type": "a/msg/B", "fields": {"a": "a"}}, "mappings.0.ontology"),
        ({"ros_type": "a/msg/B", "ontology": 3, "fields": {"a": "a"}}, "mappings.0.ontology"),
        ({"ros_type": "a/msg/B", "ontology": "A"}, "mappings.0.fields"),
        ({"ros_type": "a/msg/B", "ontology": "A", "fields": {}}, "mappings.0.fields"),
        ({"ros_type": "a/msg/B", "ontology": "A", "feilds": {}}, "mappings.0.feilds"),
    ],
)
def test_wrong_table_is_a_configuration_error(table: dict[str, Any], key: str) -> None:
    """A missing, misspelt or mistyped key is named."""
    with pytest.raises(ConfigError) as caught:
        custom_mappings([table], plugins=False)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("ontology", "fields", "key"),
    [
        ("A", {"a": 3}, "a"),
        ("A", {"a": {"factor": 2}}, "a"),
        ("A", {"a": {"source": ""}}, "a"),
        ("A", {"a": {"source": "b..c"}}, "a"),
        ("A", {"a": {"source": "b", "factor": "2"}}, "a.factor"),
        ("A", {"a": {"source": "b", "offset": True}}, "a.offset"),
        ("A", {"a": {"source": "b", "scale": 2}}, "a.scale"),
        ("A", {"a": {"constant": [1]}}, "a"),
        ("A", {"a": {"constant": 1, "factor": 2}}, "a"),
        ("A", {"a": "b", "a.b": "c"}, "a.b"),
        ("A", {"a.b": "c", "a": "b"}, "a"),
        ("A", {"a..b": "c"}, "a..b"),
        ("A", {"timestamp_ns": "b"}, "timestamp_ns"),
        ("Integer8", {"value": "b"}, "value"),
        ("Integer8", {"data.x": "b"}, "data"),
        ("Integer8", {"data": {"constant": 300}}, "data"),
        ("Integer8", {"data": {"constant": "text"}}, "data"),
        ("IMU", {"header": "header"}, ""),
        ("Pose", {"position": "a", "orientation.v": "b"}, "orientation.v"),
    ],
)
def test_wrong_field_is_a_configuration_error(
    ontology: str, fields: dict[str, Any], key: str
) -> None:
    """A field that cannot be meant is named before any recording is touched."""
    with pytest.raises(ConfigError) as caught:
        written("std_msgs/msg/Int8", ontology, **fields)
    assert caught.value.key == f"mappings.0.fields.{key}".rstrip(".")
