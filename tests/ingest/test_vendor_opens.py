"""What we write opens everywhere: the vendor's SDK reads, merges, queries and exports all of it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import Reader

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, ingest
from bridge.mapping import DEFAULT_MAPPINGS
from tests.mapping.recorded import definition_text, serialised
from tests.mapping.rosmsg import changed, plain, typestore, zero
from tests.mapping.vendor import canonical

START_NS = 1_760_000_000_000_000_000
MESSAGES = 4
STORE = typestore()
SCRIPT = Path(__file__).with_name("vendor_opens.py")
OTHER = {
    "diagnostic_msgs/msg/DiagnosticArray",
    "sensor_msgs/msg/Range",
    "std_msgs/msg/ByteMultiArray",
}


# Without a model.
OTHER = {
    "diagnostic_msgs/msg/DiagnosticArray",
    "sensor_msgs/msg/Range",
    "std_msgs/msg/ByteMultiArray",
}
# The vendor's exporter has no way back from these models.
NOT_EXPORTED = {
    "livox_interfaces/msg/CustomMsg",
    "livox_ros_driver/msg/CustomMsg",
    "livox_ros_driver2/msg/CustomMsg",
    "radar_msgs/msg/RadarScan",
    "sensor_msgs/msg/NavSatStatus",
}
# Types that only we map come back as the type that the vendor has for the model.
AS_MODEL = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "sensor_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/CompressedImage": "sensor_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/CompressedVideo": "sensor_msgs/msg/CompressedImage",
    "geometry_msgs/msg/Point32": "geometry_msgs/msg/Point",
    "geometry_msgs/msg/PolygonInstance": "geometry_msgs/msg/Polygon",
    "geometry_msgs/msg/PolygonInstanceStamped": "geometry_msgs/msg/Polygon",
    "geometry_msgs/msg/PoseArray": "nav_msgs/msg/Path",
    "geometry_msgs/msg/VelocityStamped": "geometry_msgs/msg/Twist",
    "gps_common/msg/GPSFix": "sensor_msgs/msg/NavSatFix",
    "gps_msgs/msg/GPSFix": "sensor_msgs/msg/NavSatFix",
    "px4_msgs/msg/SensorCombined": "sensor_msgs/msg/Imu",
    "px4_msgs/msg/SensorGps": "sensor_msgs/msg/NavSatFix",
    "px4_msgs/msg/VehicleOdometry": "nav_msgs/msg/Odometry",
    "rosgraph_msgs/msg/Clock": "builtin_interfaces/msg/Time",
    "std_msgs/msg/Duration": "builtin_interfaces/msg/Duration",
    "std_msgs/msg/Time": "builtin_interfaces/msg/Time",
    "tf/msg/tfMessage": "tf2_msgs/msg/TFMessage",
}
# Of an empty message; the exporter takes zero for unknown, and the codec's name for the format.
DIFFERENT = {
    "sensor_msgs/msg/BatteryState": {
        "temperature", "current", "charge", "capacity", "design_capacity",
    },
    "sensor_msgs/msg/CompressedImage": {"format"},
}  # fmt: skip


def name_of(msgtype: str) -> str:
    return "/" + msgtype.replace("/msg/", "/")


def filled(msgtype: str, number: int) -> Any:
    """A message in which everything is set, and nothing contradicts anything; the last is zero."""
    if number == MESSAGES - 1:
        return zero(STORE, msgtype)
    message = STORE.types[msgtype](
        **{name: _filled(node, name, number) for name, node in STORE.fielddefs[msgtype][1]}
    )
    if msgtype == "sensor_msgs/msg/PointCloud2":
        point = STORE.types["sensor_msgs/msg/PointField"]
        fields = [
            point(name=axis, offset=4 * at, datatype=7, count=1) for at, axis in enumerate("xyz")
        ]
        message = changed(
            message, fields=fields, height=1, width=2, point_step=12, row_step=24,
            data=np.arange(24, dtype=np.uint8),
        )  # fmt: skip
    if msgtype == "sensor_msgs/msg/Image":
        message = changed(
            message, encoding="mono8", height=1, width=2, step=2, data=np.arange(2, dtype=np.uint8)
        )
    if msgtype == "sensor_msgs/msg/CompressedImage":
        message = changed(message, format="jpeg")
    if msgtype == "sensor_msgs/msg/Range":
        message = changed(message, min_range=0.0, max_range=9.0, range=1.0)
    return message


def _filled(node: Any, name: str, number: int) -> Any:
    kind, content = node
    if kind == Nodetype.NAME:
        return filled(content, number)
    if kind == Nodetype.BASE:
        if "string" in content[0]:
            return f"{name}{number}"
        if content[0] == "bool":
            return True
        return 1.5 + number if content[0].startswith("float") else 1 if content[0] == "uint8" else 2
    (element, size) = content
    length = size if kind == Nodetype.ARRAY else 2
    if element[0] == Nodetype.BASE and "string" not in element[1][0]:
        kinds = {"bool": "?", "byte": "u1", "char": "u1", "octet": "u1"}
        return np.arange(1, length + 1).astype(kinds.get(element[1][0], element[1][0]))
    return [_filled(element, name, number) for _ in range(length)]


def recorded(path: Path) -> None:
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        for msgtype in sorted({*DEFAULT_MAPPINGS, *OTHER}):
            text = definition_text(STORE, msgtype).encode()
            schema = writer.register_schema(msgtype, "ros2msg", text)
            channel = writer.register_channel(name_of(msgtype), "cdr", schema)
            for number in range(MESSAGES):
                at = START_NS + number
                data = serialised(STORE, filled(msgtype, number))
                writer.add_message(channel, log_time=at, publish_time=at, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


@pytest.mark.slow
def test_vendor_opens_everything(tmp_path: Path) -> None:
    """Typed, merged, in a window, by query, as data frames, and as a bag again."""
    recorded(tmp_path / "drive.mcap")
    with EmbeddedServer(tmp_path / "platform") as server:
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            options = IngestOptions(identity=Identity(instance="test"))
            report = ingest(load_recording(tmp_path / "drive.mcap"), client=client, options=options)
        assert report.complete
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(server.port), report.sequence, str(START_NS),
             str(tmp_path / "bag")],
            check=False, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout[done.stdout.index('{"typed"') :])
    recorded_types = sorted({*DEFAULT_MAPPINGS, *OTHER})
    for msgtype in recorded_types:
        kinds = seen["typed"][name_of(msgtype)]
        mapping = DEFAULT_MAPPINGS.get(msgtype)
        tag = mapping.tag if mapping else msgtype.rpartition("/")[2]
        # Of a tag that is a model too, the SDK makes a class of its own for other columns.
        assert {kind.partition("__")[0] for kind in kinds} == {tag}, msgtype
        assert len(kinds) == MESSAGES, msgtype
    topics = {name_of(msgtype) for msgtype in recorded_types}
    assert seen["merged"] == dict.fromkeys(topics, MESSAGES)
    assert seen["windowed"] == dict.fromkeys(topics, 1)
    assert {topic for topic, found in seen["queried"].items() if found} == topics
    assert seen["frames"].keys() >= topics
    came_back = compared(tmp_path / "bag")
    assert set(recorded_types) - came_back.keys() == NOT_EXPORTED
    for msgtype, (exported, count, differing) in came_back.items():
        assert (exported, count) == (AS_MODEL.get(msgtype, msgtype), MESSAGES)
        assert differing == DIFFERENT.get(msgtype, set()), msgtype


def test_documentation_names_what_does_not_come_back() -> None:
    """The page lists the types that are not exported, and those that come back as others."""
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
    section = page.partition("## Back to a bag")[2].partition("\n## ")[0]
    for msgtype in NOT_EXPORTED | DIFFERENT.keys():
        assert f"`{msgtype.rpartition('/')[2]}`" in section, msgtype
    listed = dict(re.findall(r"^\| `(\S+)` \| `(\S+)` \|$", section, re.MULTILINE))
    assert listed == AS_MODEL


def compared(folder: Path) -> dict[str, tuple[str, int, set[str]]]:
    """What came back of each type: as which type, how often, and the fields that differ."""
    (bag,) = (found.parent for found in folder.rglob("metadata.yaml"))
    came_back: dict[str, tuple[str, int, set[str]]] = {}
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            msgtype = connection.topic[1:].replace("/", "/msg/")
            _, number, differing = came_back.get(msgtype, ("", 0, set()))
            message = STORE.deserialize_cdr(data, connection.msgtype)
            if connection.msgtype == msgtype:
                differing |= set(different(plain(filled(msgtype, number)), plain(message)))
            came_back[msgtype] = (connection.msgtype, number + 1, differing)
    return came_back


def different(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Give the paths of fields that are not equal."""
    if isinstance(before, dict):
        for name, value in before.items():
            yield from different(value, after[name], f"{path}.{name}" if path else name)
    elif canonical(before) != canonical(after):
        yield path
