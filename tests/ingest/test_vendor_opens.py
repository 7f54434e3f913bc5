"""What we write opens everywhere: the vendor's SDK reads, merges, queries and exports all of it."""

import json
import re
import subprocess
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mcap.writer import Writer
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import Reader

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, ingest
from bridge.mapping import DEFAULT_MAPPINGS
from bridge.ontology import Model
from tests.mapping.recorded import definition_text, serialised
from tests.mapping.rosmsg import NUMBERS, changed, plain, typestore, zero
from tests.mapping.vendor import canonical

START_NS = 1_760_000_000_000_000_000
FILLED = 4
MESSAGES = 40
STORE = typestore()
SCRIPT = Path(__file__).with_name("vendor_opens.py")
PAGE = Path(__file__).parents[2] / "docs" / "mapping.md"


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
TEXTS = ["", "a", "/map", "Größe 世界", "😀\t\n", " ", "'\"\\", "null", "x" * 300]
# Values that a mapping drops its message for, which has tests of its own.
WITHIN = {
    ("Time", "nanosec"): (0, 10**9), ("Duration", "nanosec"): (0, 10**9),
    ("PointField", "datatype"): (1, 9), ("Image", "is_bigendian"): (0, 2),
    ("Image", "height"): (0, 2**31), ("Image", "width"): (0, 2**31), ("Image", "step"): (0, 2**31),
    ("CameraInfo", "binning_x"): (0, 4), ("CameraInfo", "binning_y"): (0, 4),
    ("SensorCombined", "timestamp"): (0, 2**50), ("SensorGps", "timestamp"): (0, 2**50),
    ("VehicleOdometry", "timestamp"): (0, 2**50),
    ("VehicleOdometry", "timestamp_sample"): (0, 2**50),
}  # fmt: skip


def name_of(msgtype: str) -> str:
    return "/" + msgtype.replace("/msg/", "/")


def section() -> str:
    """What the documentation says of the way back."""
    page = PAGE.read_text(encoding="utf-8")
    return page.partition("## Back to a bag")[2].partition("\n## ")[0]


def documented() -> dict[str, set[str]]:
    """The fields of each type that come back as others, as the documentation lists them."""
    rows = re.findall(r"^\| `(\S+)` \| (`.+`) \| [^`|]+.* \|$", section(), re.MULTILINE)
    assert rows
    found: dict[str, set[str]] = defaultdict(set)
    for msgtype, fields in rows:
        found[msgtype] |= set(re.findall(r"`([^`]+)`", fields))
    return found


def made(msgtype: str, number: int) -> Any:
    """The first messages are filled, then comes one of zeros, and random ones follow."""
    if number < FILLED - 1:
        return filled(msgtype, number)
    if number < FILLED:
        return zero(STORE, msgtype)
    return chance(msgtype, np.random.default_rng([zlib.crc32(msgtype.encode()), number]))


def chance(msgtype: str, draw: np.random.Generator) -> Any:
    """A message of random values, the edges of every type among them."""
    fields = {}
    for name, node in STORE.fielddefs[msgtype][1]:
        bounds = WITHIN.get((msgtype.rpartition("/")[2], name))
        fields[name] = int(draw.integers(*bounds)) if bounds else _chance(node, name, draw)
    return STORE.types[msgtype](**fields)


def _chance(node: Any, name: str, draw: np.random.Generator) -> Any:
    kind, content = node
    if kind == Nodetype.NAME:
        return chance(content, draw)
    if kind == Nodetype.BASE:
        return _random_scalar(content[0], draw)
    element, size = content
    length = size if kind == Nodetype.ARRAY else int(draw.integers(0, min(size or 5, 5) + 1))
    if element[0] != Nodetype.BASE or "string" in element[1][0]:
        return [_chance(element, name, draw) for _ in range(length)]
    values = [_random_scalar(element[1][0], draw) for _ in range(length)]
    if "covariance" in name and draw.random() < 0.5:
        values = [0.0 if draw.random() < 0.5 else -1.5] * length
        values[0] = -1.0 if draw.random() < 0.5 else values[0]
    return np.array(values, NUMBERS[element[1][0]].to_pandas_dtype())


def _random_scalar(name: str, draw: np.random.Generator) -> Any:
    if "string" in name:
        return TEXTS[draw.integers(len(TEXTS))]
    kind = np.dtype(NUMBERS[name].to_pandas_dtype())
    if kind.kind == "b":
        return bool(draw.integers(2))
    if kind.kind == "f":
        limits = np.finfo(kind.type)
        edges = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, limits.max, limits.smallest_subnormal]
        return float(kind.type(draw.choice(edges) if draw.random() < 0.5 else draw.normal() * 9))
    # rosbags writes the byte of ROS 2 with a sign.
    low, high = (0, 127) if name == "byte" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if draw.random() < 0.5:
        return int(draw.choice(np.array([0, 1, low, high], kind)))
    return int(draw.integers(low, high, dtype=kind, endpoint=True))


def filled(msgtype: str, number: int) -> Any:
    """A message in which everything is set, and nothing contradicts anything."""
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
                data = serialised(STORE, made(msgtype, number))
                writer.add_message(channel, log_time=at, publish_time=at, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


def opened(port: int, sequence: str, bag: Path) -> Any:
    """What the vendor's SDK sees of a sequence, which it also writes as a bag."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(port), sequence, str(START_NS), str(bag)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout[done.stdout.index('{"typed"') :])


@pytest.mark.slow
def test_vendor_opens_everything(tmp_path: Path) -> None:
    """Typed, merged, in a window, by query, as data frames, and as a bag again; random values."""
    recorded(tmp_path / "drive.mcap")
    with EmbeddedServer(tmp_path / "platform") as server:
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            options = IngestOptions(identity=Identity(instance="test"))
            report = ingest(load_recording(tmp_path / "drive.mcap"), client=client, options=options)
        assert report.complete
        seen = opened(server.port, report.sequence, tmp_path / "bag")
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
    for msgtype, (exported, count, _) in came_back.items():
        assert (exported, count) == (AS_MODEL.get(msgtype, msgtype), MESSAGES)
    assert {each: fields for each, (_, _, fields) in came_back.items() if fields} == documented()


@pytest.mark.slow
def test_binary_in_a_generic_type_reads_fast_and_is_not_exported(tmp_path: Path) -> None:
    """Why `uint8[]` of generic types stays a list: the exporter skips a topic with bytes in it."""
    text = "uint8[] data\n"
    metadata = {"_ros_": {"msgtype": "acme_msgs/msg/Video", "msgdef": text}}
    frames = [bytes(range(200))] * 3
    with EmbeddedServer(tmp_path / "platform") as server:
        with (
            MosaicoClient.connect("127.0.0.1", server.port) as client,
            client.sequence_create("drive", {}) as sequence,
        ):
            for kind in (pa.binary(), pa.list_(pa.uint8())):
                model = Model(tag="Video", fields=(pa.field("data", kind),))
                columns = [
                    pa.array(range(START_NS, START_NS + len(frames)), pa.int64()),
                    pa.array(frames if pa.types.is_binary(kind) else map(list, frames), kind),
                ]
                name = "/binary" if pa.types.is_binary(kind) else "/list"
                writer = sequence.topic_create(name, metadata, model)
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=model.schema))
        seen = opened(server.port, "drive", tmp_path / "bag")
    assert {topic: len(kinds) for topic, kinds in seen["typed"].items()} == {
        "/binary": len(frames),
        "/list": len(frames),
    }
    (bag,) = (found.parent for found in (tmp_path / "bag").rglob("metadata.yaml"))
    with Reader(bag) as reader:
        assert {connection.topic for connection, _, _ in reader.messages()} == {"/list"}


def test_documentation_names_what_does_not_come_back() -> None:
    """The page lists the types that are not exported, and those that come back as others."""
    for msgtype in NOT_EXPORTED:
        assert f"`{msgtype.rpartition('/')[2]}`" in section(), msgtype
    listed = dict(re.findall(r"^\| `(\S+)` \| `(\S+)` \|$", section(), re.MULTILINE))
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
                differing |= set(different(plain(made(msgtype, number)), plain(message)))
            came_back[msgtype] = (connection.msgtype, number + 1, differing)
    return came_back


def different(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Give the paths of fields that are not equal."""
    if isinstance(before, dict):
        for name, value in before.items():
            yield from different(value, after[name], f"{path}.{name}" if path else name)
    elif canonical(before) != canonical(after):
        yield path
