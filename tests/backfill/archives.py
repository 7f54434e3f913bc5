"""Archives of recordings whose every message is told from every other, and what became of them.

Written with the `mcap` library and rosbags; counted by reading the rows back.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer
from pyarrow import fs
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore

from bridge.client import MosaicoClient

ROS2 = get_typestore(Stores.ROS2_JAZZY)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
TYPE = "std_msgs/msg/String"
TOPIC = "/words"
START_NS = 1_700_000_000_000_000_000
STEP_NS = 10_000_000
OLD_S = 1_700_000_000
ROOT = Path(__file__).parent.parent.parent
ACCESS_KEY, SECRET_KEY = "reader", "hush-this-is-a-secret"
BUCKET = "drives"
TARGET: tuple[str, ...] = ("--host", "127.0.0.1", "--port")


def words(name: str, count: int, *, padding: int = 0) -> list[str]:
    """Give texts that no other recording has."""
    return [f"{name} {number} {'x' * padding}" for number in range(count)]


def write_mcap(path: Path, texts: Sequence[str], *, first: int = 0) -> None:
    """Write a lone `.mcap` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="ros2", library="test")
        text, _ = ROS2.generate_msgdef(TYPE, ros_version=2)
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", text.encode())
        channel = writer.register_channel(TOPIC, "cdr", schema)
        for number, each in enumerate(texts, start=first):
            data = bytes(ROS2.serialize_cdr(ROS2.types[TYPE](data=each), TYPE))
            time_ns = START_NS + number * STEP_NS
            writer.add_message(channel, time_ns, data, time_ns)
        writer.finish()  # type: ignore[no-untyped-call] # it has no types


def write_mcap_folder(folder: Path, texts: Sequence[str], *, splits: int) -> None:
    """Write a rosbag2 folder of MCAP splits, without metadata.yaml."""
    size = -(-len(texts) // splits)
    for number in range(splits):
        part = texts[number * size : (number + 1) * size]
        write_mcap(folder / f"{folder.name}_{number}.mcap", part, first=number * size)


def write_db3_folder(folder: Path, texts: Sequence[str], *, first: int = 0) -> None:
    """Write a rosbag2 folder of sqlite3, with its metadata.yaml."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection(TOPIC, TYPE, typestore=ROS2)
        for number, each in enumerate(texts):
            data = ROS2.serialize_cdr(ROS2.types[TYPE](data=each), TYPE)
            writer.write(connection, START_NS + (first + number) * STEP_NS, data)


def write_bag(path: Path, texts: Sequence[str], *, first: int = 0) -> None:
    """Write a ROS 1 bag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rosbag1.Writer(path) as writer:
        connection = writer.add_connection(TOPIC, TYPE, typestore=ROS1)
        for number, each in enumerate(texts, start=first):
            data = ROS1.serialize_ros1(ROS1.types[TYPE](data=each), TYPE)
            writer.write(connection, START_NS + number * STEP_NS, data)


def write_archive(folder: Path, count: int, *, messages: int = 6, padding: int = 0) -> Counter[str]:
    """Write recordings of all formats in turn, old enough to count as closed; gives their texts."""
    written: Counter[str] = Counter()
    for number in range(count):
        name = f"drive{number:03}"
        texts = words(name, messages, padding=padding)
        match number % 4:
            case 0:
                write_mcap_folder(folder / "mcap" / name, texts, splits=2)
            case 1:
                write_db3_folder(folder / "db3" / name, texts)
            case 2:
                write_bag(folder / "ros1" / f"{name}.bag", texts)
            case _:
                write_mcap(folder / "lone" / f"{name}.mcap", texts)
        written.update(texts)
    make_old(folder)
    return written


def make_old(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (OLD_S, OLD_S))


def arrived(port: int) -> Counter[str]:
    """Read back every text of every finished sequence of a platform."""
    found: Counter[str] = Counter()
    with MosaicoClient.connect("127.0.0.1", port) as client:
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            assert handler is not None
            if handler.is_locked:
                for topic in handler.topic_handlers().values():
                    found.update(topic.table().column("data").to_pylist())
    return found


def sequences(port: int) -> dict[str, bool]:
    """Name the sequences of a platform, each with whether it is finished."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        found = {name: client.sequence_handler(name) for name in client.list_sequences()}
    return {name: handler is not None and handler.is_locked for name, handler in found.items()}


@dataclass(frozen=True, kw_only=True)
class Store:
    """An S3 server of a test."""

    port: int
    system: Any

    @property
    def settings(self) -> dict[str, str]:
        return {
            "MOSAICO_BRIDGE_BACKFILL__ENDPOINT": f"http://127.0.0.1:{self.port}",
            "MOSAICO_BRIDGE_BACKFILL__ACCESS_KEY": ACCESS_KEY,
            "MOSAICO_BRIDGE_BACKFILL__SECRET_KEY": SECRET_KEY,
            "MOSAICO_BRIDGE_BACKFILL__SETTLE_S": "0",
        }

    def upload(self, folder: Path, *, to: str) -> str:
        """Copy a folder into the bucket, big files in parts; gives its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{BUCKET}/{to}/{path.relative_to(folder)}"
                with self.system.open_output_stream(key) as stream:
                    stream.write(path.read_bytes())
        return f"s3://{BUCKET}/{to}"


@contextmanager
def s3_server() -> Iterator[Store]:
    """Run an S3 server with an empty bucket."""
    command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readlines(1)[-1])
        system = fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        system.create_dir(BUCKET)
        try:
            yield Store(port=port, system=system)
        finally:
            process.stdin.close()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    told: dict[str, Any]
    errors: str
    output: str = ""
    by_result: dict[str, list[str]] = field(default_factory=dict)


def command(url: str, port: int, state: Path, *options: str) -> list[str]:
    target = (*TARGET, str(port)) if TARGET else ()
    rest = ("--state", str(state), "--json")
    return [sys.executable, "-m", "bridge", "backfill", url, *target, *rest, *options]


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MOSAICO_BRIDGE_RETRY__BACKOFF_INITIAL_S": "0.1",
        "MOSAICO_BRIDGE_RETRY__BACKOFF_MAX_S": "0.5",
        **(more or {}),
    }


def backfill(
    url: str, port: int, state: Path, *options: str, more: dict[str, str] | None = None
) -> Ended:
    """Run the command to its end."""
    done = subprocess.run(
        command(url, port, state, *options),
        capture_output=True,
        text=True,
        timeout=280,
        cwd=state.parent,
        env=environment(more),
        check=False,
    )
    return ended(done.returncode, done.stdout, done.stderr)


def ended(code: int, output: str, errors: str) -> Ended:
    told = json.loads(output) if output else {}
    by_result: dict[str, list[str]] = {}
    for each in told.get("recordings", ()):
        by_result.setdefault(each["result"], []).append(each["recording"].rpartition("/")[2])
    return Ended(code=code, told=told, errors=errors, by_result=by_result)
