"""Real recordings: every message decodes as rosbags decodes it."""

from pathlib import Path

import mcap.reader
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.typesys import Stores, get_typestore

from bridge.cdr import Decoder
from bridge.definitions import parse_definition
from bridge.model import Definition, Serialization
from tests.cdr.blocks import block_of, same
from tests.cdr.rosbags_values import from_rosbags

BAGS = Path(__file__).parents[3] / "shared" / "bags"
ENCODINGS = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}


def files_of(path: Path) -> list[Path]:
    """Give the storage files, since rosbags reads nothing of some folders, but all of each file."""
    return [path] if path.is_file() else sorted([*path.glob("*.mcap"), *path.glob("*.db3")])


def recording(name: str) -> Path:
    path = BAGS / name
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "cdr_test_sqlite3",
        "convert_b_mcap",
        "jackal_imu_odom.bag",
        "talker_mcap",
        "tf_example",
        "wbag_mcap",
        "wbag_sqlite3",
    ],
)
def test_recording_decodes_as_rosbags_decodes_it(name: str) -> None:
    """Each topic of a real recording gives the values that rosbags reads from it, in order."""
    compared = sum(compare(file) for file in files_of(recording(name)))

    assert compared > 0


def compare(file: Path) -> int:
    """Compare all messages of a file; give how many there were."""
    store = get_typestore(Stores.ROS2_JAZZY)
    is_ros1 = file.suffix == ".bag"
    serialization = Serialization.ROS1 if is_ros1 else Serialization.CDR
    compared = 0
    with AnyReader([file], default_typestore=store) as reader:
        for connection in reader.connections:
            messages = [bytes(raw) for _, _, raw in reader.messages([connection])]
            if not messages:
                continue
            text = connection.msgdef.data
            if connection.msgdef.format is MessageDefinitionFormat.NONE:
                text, _ = store.generate_msgdef(connection.msgtype)
            encoding = "ros1msg" if is_ros1 else ENCODINGS.get(connection.msgdef.format, "ros2msg")
            kind = parse_definition(connection.msgtype, Definition(encoding=encoding, text=text))
            decoded = Decoder(kind, serialization=serialization).decode(block_of(messages))
            expected = [
                from_rosbags(kind, reader.deserialize(raw, connection.msgtype)) for raw in messages
            ]

            assert not decoded.dropped
            assert decoded.leftover == 0
            assert same(expected, decoded.messages.to_pylist())
            compared += len(messages)
    return compared


def test_service_events_decode_to_the_last_byte() -> None:
    """Events whose definition is a raw service file decode, each using up its payload exactly."""
    path = recording("service_events_mcap") / "bag_with_topics_and_service_events.mcap"
    with path.open("rb") as file:
        events = [
            (schema, message.data)
            for schema, _, message in mcap.reader.make_reader(file).iter_messages()
            if schema is not None and schema.name.endswith("_Event")
        ]
    schema = events[0][0]
    kind = parse_definition(
        schema.name, Definition(encoding=schema.encoding, text=schema.data.decode())
    )
    payloads = [payload for _, payload in events]
    decoded = Decoder(kind).decode(block_of(payloads))
    rows = decoded.messages.to_pylist()

    assert len(rows) == len(payloads) > 0
    assert {row["info"]["event_type"] for row in rows} == {0, 3}
    assert decoded.leftover == 0
    for row in rows:
        is_request = row["info"]["event_type"] == 0
        assert (len(row["request"]), len(row["response"])) == ((1, 0) if is_request else (0, 1))
    assert sum(Decoder(kind).decode(block_of([raw[:-1] for raw in payloads])).dropped.values()) > 0


def test_definition_that_is_not_whole_shows() -> None:
    """In this recording /rosout is defined as its first field only: read, but not silently."""
    path = recording("talker_sqlite3")
    with AnyReader(files_of(path), default_typestore=get_typestore(Stores.EMPTY)) as reader:
        connection = next(item for item in reader.connections if item.topic == "/rosout")
        payloads = [bytes(raw) for _, _, raw in reader.messages([connection])]
    definition = Definition(encoding="ros2msg", text=connection.msgdef.data)
    decoded = Decoder(parse_definition(connection.msgtype, definition)).decode(block_of(payloads))

    assert not decoded.dropped
    assert decoded.leftover == len(payloads) > 0
