"""Sources of custom mappings: elements, lists of parts, times of parts, the models' own rules."""

import datetime as dt
import tomllib
from typing import Any

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.errors import ConfigError
from bridge.mapping import MappedBlock, TopicPlan, plan_topic
from bridge.mapping.declarative import DeclarativeMapping
from tests.mapping.rosmsg import arrow_type, decoded, message_type, topic
from tests.mapping.test_custom import example
from tests.mapping.vendor import rows_of

STORE = get_typestore(Stores.ROS2_JAZZY)
for _name, _text in {
    "InertialUnit": "uint64 clock_us\nfloat32[3] gyro_rad\nfloat64[] accel_g\n",
    "Obstacle": (
        "std_msgs/Header header\ngeometry_msgs/Point centre\n"
        "geometry_msgs/Quaternion heading\nstring label\nfloat32 distance\n"
    ),
    "Obstacles": "acme_msgs/Obstacle[] obstacles\nuint16 year\nuint8 month\nuint8 day\n"
    "uint8 hour\nuint8 min\nuint8 sec\nint32 nano\nfloat64 since\n",
    "Frame": "string codec\nuint8[] bytes\nfloat32[36] spread\nfloat64[9] tight\nfloat64 noise\n",
}.items():
    STORE.register(get_types_from_msg(_text, f"acme_msgs/msg/{_name}"))


def made(name: str, **values: Any) -> Any:
    return STORE.types[f"acme_msgs/msg/{name}"](**values)


def obstacle(label: str, x: float = 0.0) -> Any:
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    return made(
        "Obstacle",
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="map"),
        centre=types["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.0),
        heading=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        label=label,
        distance=x * 2,
    )


def obstacles(*found: Any, **values: Any) -> Any:
    date = {"year": 2024, "month": 2, "day": 29, "hour": 23, "min": 59, "sec": 58, "nano": -5}
    return made("Obstacles", obstacles=list(found), **(date | {"since": 0.0} | values))


def mapped(table: dict[str, Any], messages: list[Any]) -> tuple[TopicPlan, MappedBlock]:
    msgtype = messages[0].__msgtype__
    definition = message_type(STORE, msgtype)
    plan = plan_topic(
        topic(msgtype),
        definition,
        arrow_type(definition),
        custom=[DeclarativeMapping.from_table(table)],
    )
    return plan, plan.apply(decoded(STORE, msgtype, messages))


def fields(name: str, ontology: str, **entries: Any) -> dict[str, Any]:
    return {"ros_type": f"acme_msgs/msg/{name}", "ontology": ontology, "fields": entries}


def test_documented_elements_become_vectors() -> None:
    """Elements of arrays and sequences, scaled, and a time of us; too short is dropped."""
    (table,) = tomllib.loads(example("toml", "InertialUnit"))["mappings"]
    whole = made(
        "InertialUnit", clock_us=1_700_000_000_000_007, gyro_rad=[1, 2, 3], accel_g=[4, 5, 6]
    )
    short = made("InertialUnit", clock_us=1, gyro_rad=[0, 0, 0], accel_g=[1.0, 2.0])
    plan, block = mapped(table, [whole, short, whole])
    rows = rows_of(block)

    assert (plan.kind, plan.reason, plan.left_out) == ("mapped", "", ())
    assert [rows[0]["angular_velocity"][axis] for axis in "xyz"] == [1, 2, 3]
    assert [rows[1]["acceleration"][axis] for axis in "xyz"] == [g * 9.80665 for g in (4, 5, 6)]
    assert rows[0]["header"] == {
        "timestamp": {"seconds": 1_700_000_000, "nanoseconds": 7000},
        "frame_id": "imu",
        "sample_counter": None,
    }
    assert block.dropped == {"accel_g has no element 2": 1}


def test_documented_list_of_parts() -> None:
    """Each element of a sequence of messages becomes a part, whole messages the model's own."""
    (table,) = tomllib.loads(example("toml", "Obstacles"))["mappings"]
    plan, block = mapped(table, [obstacles(), obstacles(obstacle("a", 1.0), obstacle("b", 2.0))])
    first, second = (row["transforms"] for row in rows_of(block))

    assert plan.kind == "mapped"
    assert first == []
    assert [(part["target_frame_id"], part["translation"]["x"]) for part in second] == [
        ("a", 1.0),
        ("b", 2.0),
    ]
    assert second[0]["header"]["frame_id"] == "map"
    assert "obstacles[].distance" in plan.left_out


def test_values_of_each_element_and_of_one() -> None:
    """Lists of values, the first and the last element of a sequence of messages, scaled lists."""
    table = fields(
        "Obstacles",
        "Nearest",
        distances="obstacles[].distance",
        halves={"source": "obstacles[].distance", "factor": 0.5},
        first="obstacles[0].label",
        last="obstacles[-1].centre.x",
    )
    _, block = mapped(table, [obstacles(obstacle("a", 1.0), obstacle("b", 3.0)), obstacles()])

    assert rows_of(block) == [
        {
            "timestamp_ns": rows_of(block)[0]["timestamp_ns"],
            "distances": [2.0, 6.0],
            "halves": [1.0, 3.0],
            "first": "a",
            "last": 3.0,
        }
    ]
    assert block.dropped == {"obstacles has no element 0": 1}


def test_time_of_a_date_and_of_seconds() -> None:
    """A UTC date with nanoseconds that may be negative; what is no date is null."""
    date = {"year": "year", "month": "month", "day": "day", "hour": "hour", "minute": "min"}
    table = fields(
        "Obstacles",
        "Fix",
        at={"time": {**date, "second": "sec", "ns": "nano"}},
        since={"time": {"s": "since"}},
    )
    _, block = mapped(
        table, [obstacles(since=-0.25), obstacles(year=0, since=1.5), obstacles(month=13)]
    )
    moment = dt.datetime(2024, 2, 29, 23, 59, 57, tzinfo=dt.UTC)
    rows = rows_of(block)

    assert rows[0]["at"] == {"seconds": int(moment.timestamp()), "nanoseconds": 999_999_995}
    assert rows[0]["since"] == {"seconds": -1, "nanoseconds": 750_000_000}
    assert (rows[1]["at"], rows[2]["at"]) == (None, None)
    assert rows[1]["since"] == {"seconds": 1, "nanoseconds": 500_000_000}


def test_rules_of_models_hold_for_custom_mappings() -> None:
    """Codecs get the platform's names, unknown covariances and variances are null."""
    zeros, some = [0.0] * 35, [*[0.0] * 34, 2.0]
    frames = [
        made("Frame", codec=codec, bytes=[1], spread=[0.0, *spread], tight=[noise] * 9, noise=noise)
        for codec, spread, noise in (("H265", zeros, 0.0), ("bgr8; jpeg", some, 4.0))
    ]
    image = fields("Frame", "CompressedImage", data="bytes", format="codec")
    assert [row["format"] for row in rows_of(mapped(image, frames)[1])] == ["hevc", "jpeg"]

    for source, size in (("spread", 36), ("tight", 9)):
        speed = fields("Frame", "Velocity", covariance=source, covariance_type={"constant": 1})
        unknown, known = rows_of(mapped(speed, frames)[1])
        assert (unknown["covariance"], unknown["covariance_type"]) == (None, None)
        assert (len(known["covariance"]), known["covariance_type"]) == (size, 1)

    heat = fields("Frame", "Temperature", value="noise", variance="noise")
    assert [row["variance"] for row in rows_of(mapped(heat, frames)[1])] == [None, 4.0]

    own = fields("Frame", "Mine", covariance="tight", format="codec")
    assert rows_of(mapped(own, frames)[1])[0] | {"timestamp_ns": 0} == {
        "timestamp_ns": 0,
        "covariance": [0.0] * 9,
        "format": "H265",
    }


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"transforms[].header": "header"}, "names none with"),
        ({"transforms[].header": "a[].header", "transforms[].rotation": "b[].q"}, "another seq"),
        ({"transforms[].target_frame_id": {"constant": "a"}}, "has constants only"),
        ({"transforms": "a", "transforms[].header": "a[].header"}, "given as a whole"),
        ({"transforms[]": "a"}, "is no path into a model"),
        ({"transforms[0].header": "a"}, "is no path into a model"),
        ({"transforms[].header": "a[b].header"}, "has no source path"),
        ({"transforms[].header": "a[-].header"}, "has no source path"),
        ({"transforms[].header": {"time": {"s": "sec"}}}, "cannot be a time"),
        ({"transforms": {"time": {"month": "m"}}}, "without a year"),
        ({"transforms": {"time": {"weeks": "w"}}}, "is unknown"),
        ({"transforms": {"time": {"s": "a[].s"}}}, "takes one of a sequence"),
        ({"transforms": {"time": {}}}, "is no table of parts"),
        ({"transforms": {"time": {"s": "a"}, "factor": 2}}, "something beside"),
    ],
)
def test_mistakes_in_sources_are_named(entries: dict[str, Any], complaint: str) -> None:
    """A table that cannot work is refused when the settings are read."""
    with pytest.raises(ConfigError, match=complaint):
        DeclarativeMapping.from_table(
            {"ros_type": "a_msgs/A", "ontology": "FrameTransform", "fields": entries}
        )


@pytest.mark.parametrize(
    "entries",
    [
        {"x": "obstacles[0]"},
        {"x": "year[0]"},
        {"x": "obstacles[].nothing"},
        {"x": "obstacles.label"},
        {"x": {"time": {"s": "obstacles"}}},
        {"x": "obstacles[]"},
        {"x": {"source": "obstacles[0].label", "factor": 2.0}},
    ],
)
def test_sources_that_do_not_fit_the_messages_go_generic(entries: dict[str, Any]) -> None:
    """A source of the wrong kind loses no message; the metadata says why it is generic."""
    plan, block = mapped(fields("Obstacles", "Vector3d", **entries), [obstacles()])

    assert plan.kind == "generic"
    assert plan.reason
    assert block.batch.num_rows == 1
