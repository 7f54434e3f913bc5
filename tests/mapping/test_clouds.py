"""Point clouds taken apart, against the vendor's override adapters."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mosaicolabs.bridges.ros.adapters import override_msgs

from bridge.errors import ConfigError
from bridge.mapping import MappedBlock, TopicOptions, plan_topic
from bridge.ontology import MODELS
from tests.mapping.rosmsg import (
    arrow_type,
    changed,
    decoded,
    message_type,
    messages,
    topic,
    typestore,
)
from tests.mapping.vendor import canonical, rows_of, vendor_rows

MSGTYPE = "sensor_msgs/msg/PointCloud2"

ADAPTERS = {
    "Lidar": override_msgs.LidarAdapter,
    "Radar": override_msgs.RadarAdapter,
    "RGBDCamera": override_msgs.RGBDCameraAdapter,
    "ToFCamera": override_msgs.ToFCameraAdapter,
    "StereoCamera": override_msgs.StereoCameraAdapter,
}

NUMPY = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


def cloud(
    columns: dict[str, tuple[int, list[float]]],
    *,
    big: bool = False,
    padding: int = 0,
    height: int = 1,
) -> Any:
    """A cloud with a datatype and the values of each field, as tight as the padding lets it."""
    types = typestore().types
    order = ">" if big else "<"
    layout = np.dtype([(name, order + NUMPY[kind]) for name, (kind, _) in columns.items()])
    points = np.zeros(max(len(values) for _, values in columns.values()), layout)
    for name, (_, values) in columns.items():
        points[name] = values
    assert layout.fields is not None
    raw = points.view(np.uint8).reshape(len(points), layout.itemsize)
    raw = np.pad(raw, ((0, 0), (0, padding)))
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=7, nanosec=8), frame_id="lidar"
    )
    fields = [
        types["sensor_msgs/msg/PointField"](
            name=name, offset=layout.fields[name][1], datatype=kind, count=1
        )
        for name, (kind, _) in columns.items()
    ]
    return types[MSGTYPE](
        header=header,
        height=height,
        width=len(points) // height,
        fields=fields,
        is_bigendian=big,
        point_step=layout.itemsize + padding,
        row_step=0,
        data=raw.reshape(-1),
        is_dense=True,
    )


def mapped(tag: str, sample: list[Any], spare_rows: int = 0) -> MappedBlock:
    """Our rows for clouds that the user wants as a model."""
    definition = message_type(typestore(), MSGTYPE)
    plan = plan_topic(
        topic(MSGTYPE), definition, arrow_type(definition), options=TopicOptions(ontology=tag)
    )
    assert (plan.model, plan.kind) == (MODELS[tag], "mapped")
    return plan.apply(decoded(typestore(), MSGTYPE, sample, spare_rows=spare_rows))


def compare(tag: str, sample: list[Any], spare_rows: int = 0) -> MappedBlock:
    block = mapped(tag, sample, spare_rows)
    theirs = vendor_rows(MSGTYPE, sample, ADAPTERS[tag])
    assert canonical(rows_of(block)) == canonical(theirs)
    assert sum(block.dropped.values()) == len(sample) - len(theirs)
    return block


FLOATS = st.floats(width=32) | st.integers(0, 300).map(float)
BYTES = st.integers(0, 255)


@st.composite
def clouds(draw: st.DrawFn, tag: str) -> Any:
    """Clouds of the model's quantities and some others, in any types, orders and sizes."""
    names = [field.name for field in MODELS[tag].fields[1:]] + ["normal_x", "stamp"]
    chosen = draw(st.lists(st.sampled_from(names[3:]), unique=True, max_size=4))
    chosen = draw(st.permutations(names[:3] + chosen))
    if draw(st.integers(0, 9)) == 0:
        chosen = chosen[1:]  # usually a coordinate, which no cloud may lack
    points = draw(st.integers(0, 4))
    columns: dict[str, tuple[int, list[float]]] = {}
    for name in chosen:
        kind = draw(st.sampled_from([7, 7, 8, 2, 4, 5, 1]))
        element: st.SearchStrategy[float] = FLOATS if kind >= 7 else st.integers(0, 127)
        columns[name] = (kind, draw(st.lists(element, min_size=points, max_size=points)))
    message = cloud(columns, big=draw(st.booleans()), padding=draw(st.integers(0, 3)))
    if draw(st.integers(0, 9)) == 0:
        message.data = message.data[: len(message.data) // 2]
    if draw(st.integers(0, 9)) == 0:
        message.fields[0].datatype = 9
    return message


@pytest.mark.parametrize("tag", sorted(ADAPTERS))
def test_columns_equal_the_vendors(tag: str) -> None:
    """Any clouds, of mixed layouts in one block, give the lists of the vendor's adapter."""

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(clouds(tag), min_size=1, max_size=4), st.integers(0, 1))
    def check(sample: list[Any], spare_rows: int) -> None:
        compare(tag, sample, spare_rows)

    check()


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages(typestore(), MSGTYPE), min_size=1, max_size=3))
def test_nonsense_is_dropped_not_crashed_on(sample: list[Any]) -> None:
    """Clouds whose sizes and fields contradict each other are refused on both sides."""
    block = mapped("Lidar", sample)
    assert block.batch.num_rows + sum(block.dropped.values()) == len(sample)


XYZ: dict[str, tuple[int, list[float]]] = {
    "x": (7, [1.0, 2.0]),
    "y": (7, [3.0, 4.0]),
    "z": (7, [5.0, float("nan")]),
}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (XYZ | {"beam_id": (7, [1.0, 2.5])}, "point cloud whose beam_id does not fit its type"),
        (XYZ | {"beam_id": (5, [1, 70000])}, "point cloud whose beam_id does not fit its type"),
        (XYZ | {"beam_id": (1, [1, -1])}, "point cloud whose beam_id does not fit its type"),
        ({"x": XYZ["x"], "z": XYZ["z"]}, "point cloud without field y"),
    ],
)
def test_misfits_are_dropped_alone(
    columns: dict[str, tuple[int, list[float]]], reason: str
) -> None:
    """A cloud with a value its column cannot hold is dropped, those beside it are not."""
    block = compare("Lidar", [cloud(XYZ), cloud(columns), cloud(XYZ)])
    assert block.dropped == {reason: 1}
    assert block.batch.num_rows == 2


def test_clouds_of_mixed_layouts_keep_their_order() -> None:
    """Clouds are read layout by layout, and come back in the order they were recorded."""
    plain, more = XYZ, XYZ | {"intensity": (7, [0.5, 0.25])}
    sample = [
        cloud(columns | {"x": (7, [index, index])})
        for index, columns in enumerate((plain, more, more, plain, more, plain))
    ]
    rows = rows_of(compare("Lidar", sample))
    assert [row["x"][0] for row in rows] == [0, 1, 2, 3, 4, 5]


def test_whole_floats_become_integers_and_wide_floats_narrow() -> None:
    """Intensity as a double is narrowed, a beam number as a whole float becomes one."""
    columns = XYZ | {"beam_id": (7, [1.0, 65535.0]), "intensity": (8, [0.1, 1e300])}
    row = rows_of(compare("Lidar", [cloud(columns)]))[0]
    assert row["beam_id"] == [1, 65535]
    assert row["intensity"] == [pytest.approx(0.1), float("inf")]


def test_quantity_outside_its_point_is_dropped() -> None:
    """A field that claims to lie beyond the point step is no reason to read elsewhere."""
    message = cloud(XYZ)
    message.fields[2].offset = 10
    block = mapped("Lidar", [message, cloud(XYZ)])
    assert block.dropped == {"point cloud with a field beyond its points": 1}


@pytest.mark.parametrize(
    ("height", "width", "step"),
    [
        (2**32 - 1, 2**32 - 1, 12),
        (2**31, 2**32 - 2, 12),
        (1, 2, 2**32 - 1),
        (2**31, 2**31, 4),
        (1, 2, 0),
    ],
)
def test_absurd_sizes_are_dropped(height: int, width: int, step: int) -> None:
    """Sizes whose product overflows are compared with the bytes all the same."""
    absurd = changed(cloud(XYZ), height=height, width=width, point_step=step)
    block = compare("Lidar", [cloud(XYZ), absurd])
    assert block.dropped == {"point cloud whose size is not height x width x point_step": 1}


def test_impossible_model_is_a_configuration_error() -> None:
    """Asking for a model that clouds cannot become names the ones they can."""
    definition = message_type(typestore(), MSGTYPE)
    with pytest.raises(ConfigError) as caught:
        plan_topic(
            topic(MSGTYPE), definition, arrow_type(definition), options=TopicOptions(ontology="IMU")
        )
    assert "Lidar" in caught.value.hint
    assert "PointCloud2" in caught.value.hint
    assert caught.value.key == "topics.*.ontology"


LIDARS: dict[str, tuple[dict[str, tuple[int, list[float]]], dict[str, list[float] | None]]] = {
    "velodyne": (
        {"intensity": (7, [5, 6]), "ring": (4, [0, 31]), "time": (7, [-0.5, 0.25])},
        {"intensity": [5, 6], "beam_id": [0, 31], "point_timestamp": [-0.5, 0.25]},
    ),
    "ouster": (
        {"t": (6, [0, 99_999_999]), "ring": (2, [0, 127]), "ambient": (4, [7, 65535])},
        {"point_timestamp": [0.0, 0.099999999], "beam_id": [0, 127], "near_ir": [7, 65535]},
    ),
    "livox": (
        {"tag": (2, [0, 16]), "line": (2, [3, 5]), "timestamp": (8, [1.7e18, 1.7e18 + 1024e3])},
        {"confidence": [0, 16], "beam_id": [3, 5], "point_timestamp": [0.0, 1024e-6]},
    ),
    "hesai": (
        {"timestamp": (8, [1.7e9 + 0.5, 1.7e9]), "channel": (4, [1, 2])},
        {"point_timestamp": [0.5, 0.0], "beam_id": [1, 2]},
    ),
    "simulated": (
        {"timestamp": (8, [12.5, 12.75])},
        {"point_timestamp": [0.0, 0.25]},
    ),
    "offsets": (
        {"timestamp": (8, [0.0, 0.0625])},
        {"point_timestamp": [0.0, 0.0625]},
    ),
    "its own name": (
        {"beam_id": (4, [1, 2]), "ring": (4, [3, 4])},
        {"beam_id": [1, 2]},
    ),
    "not a number of a beam": (
        {"ring": (7, [0.5, 1.0])},
        {"beam_id": None},
    ),
}


@pytest.mark.parametrize("driver", LIDARS)
def test_columns_of_drivers_find_their_home(driver: str) -> None:
    """What drivers call their columns goes where the model has it, in the model's unit."""
    columns, homes = LIDARS[driver]
    points = {axis: (7, [1.0, 2.0]) for axis in ("x", "y", "z")}
    block = mapped("Lidar", [cloud({**points, **columns})])
    (row,) = rows_of(block)

    assert {name: row[name] for name in homes} == homes
    assert row["x"] == [1.0, 2.0]
    assert not block.dropped


def test_points_without_a_time_have_none() -> None:
    """Moments count from the earliest of their own cloud; zero is no moment."""
    points = {axis: (7, [0.0, 0.0, 0.0]) for axis in ("x", "y", "z")}
    times = ([0.0, 1.7e9 + 1, 1.7e9], [1.7e9 + 10, 1.7e9 + 12, float("nan")])
    block = mapped("Lidar", [cloud({**points, "timestamp": (8, list(some))}) for some in times])

    assert canonical([row["point_timestamp"] for row in rows_of(block)]) == canonical(
        [[float("nan"), 1.0, 0.0], [0.0, 2.0, float("nan")]]
    )
