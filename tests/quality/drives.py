"""A drive with known faults, written into any container by rosbags and the `mcap` library."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from tests.quality.reference import SECOND_NS, Recorded

START_NS = 1_760_000_000 * SECOND_NS
IMU = "sensor_msgs/msg/Imu"
IMAGE = "sensor_msgs/msg/CompressedImage"
TEXT = "std_msgs/msg/String"
LOST = "rosbag2_interfaces/msg/MessagesLostEvent"
LOST_STAT = "rosbag2_interfaces/msg/MessagesLostEventTopicStat"

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(
    get_types_from_msg(
        "string topic_name\nuint64 messages_lost_in_transport\nuint64 messages_lost_in_recorder",
        LOST_STAT,
    )
)
STORE.register(
    get_types_from_msg(
        f"string node_name\n{LOST_STAT.replace('/msg', '')}[] messages_lost_statistics", LOST
    )
)
ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)

GAP_S = 1.5
DRIFT_S = 0.020
FROZEN_FROM = 60
SEQ_MISSING = 7


@dataclass(frozen=True, kw_only=True)
class Said:
    """A message before it is serialised."""

    topic: str
    msgtype: str
    time_ns: int
    stamp_ns: int | None = None
    seq: int = 0
    value: float = 0.0


def drive() -> list[Said]:
    """Ten seconds: a gap and a drift, a camera that hangs, a clock that is set back."""
    said: list[Said] = []
    time_ns = START_NS
    for index in range(850):
        time_ns += 10_000_000 + (int(GAP_S * SECOND_NS) - 10_000_000 if index == 400 else 0)
        delay_ns = 5_000_000 + int(DRIFT_S * SECOND_NS * (time_ns - START_NS) / (10 * SECOND_NS))
        seq = index + (SEQ_MISSING if index > 700 else 0)
        said.append(
            Said(topic="/imu", msgtype=IMU, time_ns=time_ns, stamp_ns=time_ns - delay_ns,
                 seq=seq, value=index)
        )  # fmt: skip
    for index in range(100):
        time_ns = START_NS + index * 100_000_000 + 3
        said.append(
            Said(topic="/camera", msgtype=IMAGE, time_ns=time_ns, stamp_ns=time_ns - 40_000_000,
                 seq=index, value=min(index, FROZEN_FROM))
        )  # fmt: skip
    for index in range(50):
        # Set back by two seconds, half way; and one time said twice.
        time_ns = START_NS + (index - (index == 11)) * 200_000_000 + 5
        time_ns -= 2 * SECOND_NS if index >= 25 else 0
        said.append(Said(topic="/text", msgtype=TEXT, time_ns=time_ns, value=index))
    # In the order of time, but for what a clock that jumps makes of it.
    merged: list[Said] = sorted(
        (one for one in said if one.topic != "/text"), key=lambda one: one.time_ns
    )
    places = [one.time_ns for one in merged]
    texts = [one for one in said if one.topic == "/text"]
    for index, one in enumerate(reversed(texts)):
        merged.insert(bisect.bisect(places, START_NS + (len(texts) - 1 - index) * 200_000_000), one)
    return merged


def recorded(said: Sequence[Said], *, ros1: bool = False) -> dict[str, list[Recorded]]:
    """What the slow reference takes."""
    found: dict[str, list[Recorded]] = {}
    for one in said:
        found.setdefault(one.topic, []).append(
            Recorded(
                time_ns=one.time_ns,
                stamp_ns=one.stamp_ns,
                seq=one.seq if ros1 and one.stamp_ns is not None else None,
                rest=one.value,
            )
        )
    return found


def message(one: Said, *, ros1: bool) -> Any:
    store = ROS1_STORE if ros1 else STORE
    types = store.types
    if one.msgtype == TEXT:
        return types[TEXT](data=f"text {one.value}")
    assert one.stamp_ns is not None
    seconds, nanoseconds = divmod(one.stamp_ns, SECOND_NS)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    header = types["std_msgs/msg/Header"](
        stamp=stamp, frame_id="base", **({"seq": one.seq} if ros1 else {})
    )
    if one.msgtype == IMAGE:
        data = np.full(2000, int(one.value), dtype=np.uint8)
        return types[IMAGE](header=header, format="jpeg", data=data)
    vector, zeros = types["geometry_msgs/msg/Vector3"], np.zeros(9)
    return types[IMU](
        header=header,
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=zeros,
        angular_velocity=vector(x=0.0, y=0.0, z=one.value),
        angular_velocity_covariance=zeros,
        linear_acceleration=vector(x=0.0, y=0.0, z=9.81),
        linear_acceleration_covariance=zeros,
    )


def payload(one: Said) -> bytes:
    return bytes(STORE.serialize_cdr(message(one, ros1=False), one.msgtype))


def write(folder: Path, container: str, said: Sequence[Said]) -> Path:
    """Write a drive as `mcap`, `mcap_zstd`, `sqlite3` or `bag`; gives what to load."""
    folder.mkdir(parents=True, exist_ok=True)
    types = {one.topic: one.msgtype for one in said}
    if container == "bag":
        path = folder / "drive.bag"
        with rosbag1.Writer(path) as writer:
            connections = {
                topic: writer.add_connection(topic, msgtype, typestore=ROS1_STORE)
                for topic, msgtype in types.items()
            }
            for one in said:
                raw = ROS1_STORE.serialize_ros1(message(one, ros1=True), one.msgtype)
                writer.write(connections[one.topic], one.time_ns, raw)
        return path
    if container == "sqlite3":
        path = folder / "drive"
        with rosbag2.Writer(path, version=9) as writer:
            links = {
                topic: writer.add_connection(topic, msgtype, typestore=STORE)
                for topic, msgtype in types.items()
            }
            for one in said:
                writer.write(links[one.topic], one.time_ns, payload(one))
        return path
    path = folder / "drive.mcap"
    write_mcap(path, {topic: types[topic] for topic in types}, [
        (one.topic, one.time_ns, payload(one)) for one in said
    ])  # fmt: skip
    return path


def write_mcap(
    path: Path, types: dict[str, str], messages: Sequence[tuple[str, int, bytes]]
) -> None:
    """Write messages in the order given, in many small chunks."""
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=20_000)
        writer.start(profile="ros2")
        channels = {}
        for topic, msgtype in types.items():
            text, _ = STORE.generate_msgdef(msgtype, ros_version=2)
            schema = writer.register_schema(msgtype, "ros2msg", text.encode())
            channels[topic] = writer.register_channel(topic, "cdr", schema)
        for topic, time_ns, raw in messages:
            writer.add_message(channels[topic], log_time=time_ns, publish_time=time_ns, data=raw)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


def lost_event(counts: dict[str, tuple[int, int]]) -> bytes:
    """A recorder's report, serialised."""
    stat = STORE.types[LOST_STAT]
    event = STORE.types[LOST](
        node_name="/rosbag2_recorder",
        messages_lost_statistics=[
            stat(topic_name=topic, messages_lost_in_transport=one, messages_lost_in_recorder=other)
            for topic, (one, other) in counts.items()
        ],
    )
    return bytes(STORE.serialize_cdr(event, LOST))
