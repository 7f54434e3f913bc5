"""Definitions and names as recorders in the field write them: what arrives is read back.

Every input is made here, after public reports; the folder of inputs rebuilt by others is read,
too, where it is present.
"""

import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mcap.writer import Writer

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.definitions import DefinitionSources
from bridge.embedded import EmbeddedServer
from bridge.ingest import (
    Identity,
    IngestOptions,
    IngestReport,
    TopicOptions,
    VerificationLevel,
    ingest,
)
from tests.bags.rosbag1 import rosbag1_files as ros1

FIELD = Path(__file__).parent.parent.parent.parent / "shared" / "field"

RULE = "=" * 80 + "\n"
T_NS = 1_700_000_000_000_000_000
CDR = b"\0\1\0\0"
CDR2 = b"\0\7\0\0"
D_CDR2 = b"\0\x09\0\0"

Rows = dict[str, list[dict[str, Any]]]


class Sent(NamedTuple):
    """A topic to record: its name, type, definition and encoding, and the payloads."""

    topic: str
    msgtype: str
    text: str
    encoding: str
    payloads: tuple[bytes, ...]


def text_of(value: str) -> bytes:
    return struct.pack("<I", len(value.encode()) + 1) + value.encode() + b"\0"


def write(path: Path, topics: Iterable[Sent]) -> Path:
    """Record topics into an MCAP file with the `mcap` library."""
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start("", "test")
        for topic in topics:
            schema = writer.register_schema(topic.msgtype, topic.encoding, topic.text.encode())
            encoding = "ros1" if topic.encoding == "ros1msg" else "cdr"
            channel = writer.register_channel(topic.topic, encoding, schema)
            for payload in topic.payloads:
                writer.add_message(channel, T_NS, payload, T_NS)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosaicoClient]:
    folder = tmp_path_factory.mktemp("platform")
    with (
        EmbeddedServer(folder) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as connected,
    ):
        yield connected


def send(client: MosaicoClient, path: Path, **options: Any) -> tuple[IngestReport, Rows]:
    """Ingest a file; give the report, and by topic what is on the platform afterwards."""
    report = ingest(
        load_recording(path),
        client=client,
        options=IngestOptions(
            identity=Identity(instance="test"),
            verification=VerificationLevel.READBACK,
            **({"definitions": DefinitionSources()} | options),
        ),
    )
    handler = client.sequence_handler(report.sequence)
    assert handler is not None
    rows = {}
    for name in handler.topics:
        found = list(handler.topic_handler(name).rows())
        rows[name] = [{k: v for k, v in row.items() if k != "timestamp_ns"} for row in found]
    return report, rows


def values(rows: Rows) -> dict[str, Any]:
    """Give the only value of the only row of each topic."""
    found = {}
    for name, (row,) in rows.items():
        (found[name],) = row.values()
    return found


MINE = (
    "bag_empty_definition", "constants", "dds_recorder", "glued_separator", "idl_forms",
    "idl_nested_sequence", "missing_dependency", "same_layout", "service_event", "topic_names",
)  # fmt: skip


@pytest.mark.parametrize("folder", MINE)
def test_inputs_from_public_reports_arrive(
    client: MosaicoClient, tmp_path: Path, folder: str
) -> None:
    """Each file brings the topics and rows that its report says it holds."""
    if not FIELD.exists():
        pytest.skip(f"no inputs from public reports at {FIELD}")
    cases = json.loads((FIELD / "cases.json").read_text())
    files = [FIELD / name for name in cases if name.startswith(f"{folder}/")]
    for file in files or sorted((FIELD / folder).glob("a.*")):
        copy = tmp_path / f"{folder}_{file.parent.name}_{file.name}"
        copy.write_bytes(file.read_bytes())
        _, rows = send(client, copy)
        expected = cases.get(f"{folder}/{file.name}", {}).get("topics")
        counts = {name: len(found) for name, found in rows.items()}

        assert counts == (expected or counts), file
        assert counts, file


STRING = ("std_msgs/msg/String", "string data\n", "ros2msg")


def test_names_of_topics(client: MosaicoClient, tmp_path: Path) -> None:
    """Acceptable names stay with those who have them, and the report shows what became of all."""
    number = ("std_msgs/msg/Int32", "int32 data\n", "ros2msg")
    recorded = [
        Sent("odom", *STRING, (CDR + text_of("no slash"),)),
        Sent("/odom", *STRING, (CDR + text_of("slash"),)),
        Sent("/t", *STRING, (CDR + text_of("t"),)),
        Sent("/t", *number, (CDR + struct.pack("<i", 5),)),
        Sent("/t_2", *STRING, (CDR + text_of("the real t_2"),)),
        Sent("/a b", *STRING, (CDR + text_of("blank"),)),
        Sent("/a_b", *STRING, (CDR + text_of("none"),)),
        Sent("/gyro", *STRING, (CDR + text_of("renamed"),)),
    ]
    renamed = {"/gyro": TopicOptions(rename="odom")}
    report, rows = send(client, write(tmp_path / "names.mcap", recorded), topic_options=renamed)

    assert values(rows) == {
        "/odom": "slash",
        "/odom_2": "no slash",
        "/odom_3": "renamed",
        "/t": "t",
        "/t_2": "the real t_2",
        "/t_3": 5,
        "/a_b": "none",
        "/a_b_2": "blank",
    }
    assert [topic.shown_name for topic in report.topics] == [
        "/odom_2", "/odom", "/t", "/t_3", "/t_2", "/a_b_2", "/a_b", "/odom_3"
    ]  # fmt: skip


def test_a_topic_is_its_layout(client: MosaicoClient, tmp_path: Path) -> None:
    """Texts that differ in anything else are one topic, whatever language they are in."""
    idl = "module f { module msg { struct S { string<9> data; }; }; };"
    nested = "P p\n" + RULE
    recorded = [
        *(
            Sent("/t", "f/msg/S", text, encoding, (CDR + text_of(f"{number}"),))
            for number, (text, encoding) in enumerate(
                [
                    ("string data\n", "ros2msg"),
                    ("# a comment\n\nstring   data  # another\n", "ros2msg"),
                    ("uint8 A=1\nstring<=5 data\n", "ros2msg"),
                    (idl, "ros2idl"),
                ]
            )
        ),
        Sent("/t", "f/msg/S", "string text\n", "ros2msg", (CDR + text_of("other"),)),
        Sent("/n", "f/msg/N", f"{nested}MSG: f/P\nint8 x\n", "ros2msg", (CDR + b"\1",)),
        Sent("/n", "f/msg/N", f"g/P p\n{RULE}MSG: g/P\nint8 x # y\n", "ros2msg", (CDR + b"\2",)),
        Sent("/n", "f/msg/N", f"{nested}MSG: f/P\nuint8 x\n", "ros2msg", (CDR + b"\3",)),
    ]
    _, rows = send(client, write(tmp_path / "layouts.mcap", recorded))

    firsts = {
        name: [value for row in found for value in row.values()] for name, found in rows.items()
    }
    assert firsts == {
        "/t": ["0", "1", "2", "3"],
        "/t_2": ["other"],
        "/n": [{"x": 1}, {"x": 2}],
        "/n_2": [{"x": 3}],
    }


def idl(declared: str, members: str, *, name: str = "T") -> str:
    return f"module f {{ module msg {{ {declared} struct {name} {{ {members} }}; }}; }};"


INT = struct.Struct("<i").pack


def one(topic: str, text: str, payload: bytes, encoding: str = "omgidl") -> Sent:
    return Sent(topic, "f/msg/T", text, encoding, (payload,))


FORMS: dict[str, tuple[Sent, Any]] = {
    sent.topic: (sent, expected)
    for sent, expected in [
        (one("/bounded", idl("", "sequence<string<3>> x;"), CDR + INT(1) + text_of("abcd")),
         ["abcd"]),
        (one("/nested", idl("", "sequence<sequence<long>> x;"),
             CDR + struct.pack("<IIiiIi", 2, 2, 10, 20, 1, 30)), [[10, 20], [30]]),
        (one("/enum", idl("enum C { R, @value(7) G };", "C x;"), CDR + INT(7)), 7),
        (one("/byte_enum", idl("@bit_bound(8) enum C { R, G };", "C x;"), CDR + b"\1"), 1),
        (one("/enums", idl("enum C { R, G };", "sequence<C> x;"),
             CDR + struct.pack("<Iii", 2, 1, 0)), [1, 0]),
        (one("/enums_2", idl("enum C { R, G };", "sequence<C> x;"),
             CDR2 + struct.pack("<IIii", 12, 2, 1, 0)), [1, 0]),
        (one("/mask", idl("@bit_bound(8) bitmask M { A, B };", "M x;"), CDR + b"\3"), 3),
        (one("/grid", idl("", "short x[2][2];"), CDR + struct.pack("<4h", 1, 2, 3, 4)),
         [[1, 2], [3, 4]]),
        (one("/grid_2", idl("", "short x[2][2];"), CDR2 + struct.pack("<4h", 1, 2, 3, 4)),
         [[1, 2], [3, 4]]),
        (one("/constant", idl("const long N = 1 + 1;", "long x[N];"),
             CDR + struct.pack("<2i", 5, 6)), [5, 6]),
        (one("/wide", idl('module T_Constants { const wstring A = L"x"; };', "long x;"),
             CDR + INT(4)), 4),
        (one("/appendable", idl("", "long x;"), D_CDR2 + struct.pack("<Iiq", 12, 8, 0)), 8),
        (one("/slack", "string x\n", CDR + text_of("a") + bytes(64), "ros2msg"), "a"),
        (one("/latin", "string x\n", CDR + struct.pack("<I", 5) + b"\xb0C \xff\0", "ros2msg"),
         "\ufffdC \ufffd"),
        (one("/too_long", "string<=2 x\n", CDR + text_of("longer"), "ros2msg"), "longer"),
        (one("/rclpy", "wstring x\n",
             CDR + struct.pack("<I3I", 3, *b"abc") + bytes(33), "ros2msg"), "abc"),
        (one("/constant_like_field", "string A=[1]\nstring B=\nuint8 lower=3\nint32 x\n",
             CDR + INT(3), "ros2msg"), 3),
        (one("/glued", "P x" + RULE + "MSG: f/P\nint32 y", CDR + INT(9), "ros2msg"), {"y": 9}),
        (Sent("/ros1_constant", "f/T", "string A=# text\nint32 x\n", "ros1msg", (INT(3),)), 3),
        (Sent("ros_info", "f/msg/I", f"f/G x\n{RULE}MSG: fastdds/f/msg/G\nuint8 y\n", "ros2msg",
              (CDR + b"\1",)), {"y": 1}),
        (Sent("rt/m", "f::msg::dds_::T_",
              "module f { module msg { module dds_ { struct T_ { long x; }; }; }; };", "omgidl",
              (CDR + INT(4),)), 4),
        (Sent("/status", "DdsStatus", "string x\n", "ros2msg", (CDR + text_of("d"),)), "d"),
    ]
}  # fmt: skip


def test_forms_of_definitions_and_payloads(client: MosaicoClient, tmp_path: Path) -> None:
    """Every topic brings its value; texts that had to be repaired are counted."""
    path = write(tmp_path / "forms.mcap", [sent for sent, _ in FORMS.values()])
    report, rows = send(client, path)
    topics = {topic.name: topic for topic in report.topics}

    assert values(rows) == {f"/{name.lstrip('/')}": value for name, (_, value) in FORMS.items()}
    assert {name for name, topic in topics.items() if topic.messages_repaired} == {"/latin"}
    assert topics["/latin"].messages_repaired == {"invalid_utf8": 1}
    assert report.complete


def test_names_of_enumerators_are_kept(client: MosaicoClient, tmp_path: Path) -> None:
    """The platform has the number; the topic's metadata has what it means."""
    text = idl("enum C { R, G }; struct P { C c; };", "sequence<P> many; C x;")
    payload = CDR + struct.pack("<Iii", 1, 1, 0)
    report, rows = send(client, write(tmp_path / "enum.mcap", [one("/e", text, payload)]))
    handler = client.topic_handler(report.sequence, "/e")

    assert rows["/e"] == [{"many": [{"c": 1}], "x": 0}]
    assert handler is not None
    assert handler.user_metadata["_ros_"]["enumerations"] == [
        {"field": "many.c", "names": {"R": 0, "G": 1}},
        {"field": "x", "names": {"R": 0, "G": 1}},
    ]


LEFT_OUT = {
    "optional": (idl("", "@optional long x;"), CDR + b"\1\0\0\0" + INT(4), "is optional"),
    "union": (idl("union U switch (long) { case 1: long a; };", "U x;"), CDR + INT(1), "a union"),
    "mutable": (idl("@mutable struct P { long a; };", "P x;"), CDR + INT(1), "is mutable"),
    "parameters": (idl("", "long x;"), b"\0\x0b\0\0" + INT(1) * 3, "mutable_encapsulation"),
}


@pytest.mark.parametrize(("text", "payload", "reason"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_cannot_be_decoded_is_left_out_with_the_true_reason(
    client: MosaicoClient, tmp_path: Path, text: str, payload: bytes, reason: str
) -> None:
    """No wrong value is ever sent, and nothing beside it is lost."""
    beside = Sent("/beside", *STRING, (CDR + text_of("x"),))
    path = write(
        tmp_path / f"{reason.rsplit(maxsplit=1)[-1]}.mcap", [one("/m", text, payload), beside]
    )
    report, rows = send(client, path)
    topic = report.topics[0]

    assert not rows.get("/m")
    assert len(rows["/beside"]) == 1
    assert reason in topic.reason + " ".join(topic.messages_skipped)
    assert not report.complete


INFO = CDR + struct.pack("<B3xiI16s4xq", 0, 1, 5, bytes(16), 9)
EVENTS = [
    Sent("/add", "f/srv/Add_Event", f"{RULE}SRV: f/srv/Add\nint64 a\n---\nint64 sum\n", "unknown",
         (INFO + struct.pack("<I4xqI", 1, 3, 0),)),
    Sent("/set", "f/srv/Set_Event",
         f"{RULE}SRV: f/srv/Set\ng/P p\n---\nbool ok\n\n{RULE}MSG: g/P\nfloat32 x\n", "ros2msg",
         (INFO + struct.pack("<IfI", 1, 2.5, 0),)),
    Sent("/fib/_action/feedback", "f/action/Fib_FeedbackMessage",
         f"{RULE}ACTION: f/action/Fib\nint32 n\n---\nint32[] s\n---\nint32[] p\n", "unknown",
         (CDR + bytes(16) + struct.pack("<Iii", 2, 0, 1),)),
    Sent("/fib/_action/get_result", "f/action/Fib_GetResult_Event",
         f"{RULE}ACTION: f/action/Fib\nint32 n\n---\nint32[] s\n---\nint32[] p\n", "unknown",
         (INFO + struct.pack("<IIb3xIi", 0, 1, 4, 1, 7),)),
]  # fmt: skip


def test_service_events_and_actions(client: MosaicoClient, tmp_path: Path) -> None:
    """As rosbag2 embeds them, in MCAP: a title first, and the encoding `unknown`."""
    _, rows = send(client, write(tmp_path / "events.mcap", EVENTS))

    assert {name: len(found) for name, found in rows.items()} == {
        event.topic: 1 for event in EVENTS
    }
    assert rows["/add"][0]["info"]["sequence_number"] == 9
    assert rows["/add"][0]["request"] == [{"a": 3}]
    assert rows["/set"][0]["request"] == [{"p": {"x": 2.5}}]
    assert rows["/fib/_action/feedback"][0]["feedback"] == {"p": [0, 1]}
    assert rows["/fib/_action/get_result"][0]["response"] == [{"status": 4, "result": {"s": [7]}}]


def test_service_events_from_sqlite(client: MosaicoClient, tmp_path: Path) -> None:
    """There the text is filed under the service's name."""
    path = tmp_path / "events.db3"
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,"
            " type_description_hash TEXT NOT NULL);"
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,"
            " encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,"
            " type_description_hash TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
            "INSERT INTO schema VALUES(4, 'jazzy');"
        )
        for number, event in enumerate(EVENTS):
            name = event.text.split()[2]
            database.execute(
                "INSERT INTO topics VALUES(?, ?, ?, 'cdr', '', '')",
                (number, event.topic, event.msgtype),
            )
            database.execute(
                "INSERT INTO message_definitions VALUES(?, ?, ?, ?, '')",
                (number, name, event.encoding, event.text),
            )
            database.execute(
                "INSERT INTO messages VALUES(?, ?, ?, ?)",
                (number, number, T_NS, event.payloads[0]),
            )
    database.close()
    _, rows = send(client, path)

    assert {name: len(found) for name, found in rows.items()} == {
        event.topic: 1 for event in EVENTS
    }


def test_a_type_that_is_missing_comes_from_wherever_it_is_known(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """Stock types, and what other topics of the recording embed."""
    pose = struct.pack("<7d", 1, 2, 3, 0, 0, 0, 1)
    recorded = [
        Sent("/tf", "tf2_msgs/msg/TFMessage", "geometry_msgs/TransformStamped[] transforms\n",
             "ros2msg", (CDR + INT(0),)),
        Sent("/a", "f/msg/A", "g/Odd odd\n", "ros2msg", (CDR + b"\7",)),
        Sent("/b", "f/msg/B", f"g/Odd odd\nint8 x\n{RULE}MSG: g/Odd\nint8 y\n", "ros2msg",
             (CDR + b"\1\2",)),
        Sent("/odd", "g/msg/Odd", "", "unknown", (CDR + b"\5",)),
        Sent("/pose", "f/msg/P", "geometry_msgs/Pose pose\n", "ros2msg", (CDR + pose,)),
    ]  # fmt: skip
    report, rows = send(client, write(tmp_path / "missing.mcap", recorded))

    assert rows["/tf"] == [{"transforms": []}]
    assert rows["/a"] == [{"odd": {"y": 7}}]
    assert rows["/odd"] == [{"y": 5}]
    assert rows["/pose"][0]["pose"]["position"] == {"x": 1, "y": 2, "z": 3}
    assert report.complete


def test_a_type_on_which_other_topics_disagree_is_not_guessed(
    client: MosaicoClient, tmp_path: Path
) -> None:
    """Two embedded versions are none."""
    recorded = [
        Sent("/a", "f/msg/A", "g/Odd odd\n", "ros2msg", (CDR + b"\7",)),
        *(
            Sent(f"/{kind}", "f/msg/B", f"g/Odd odd\n{RULE}MSG: g/Odd\n{kind} y\n", "ros2msg",
                 (CDR + b"\1",))
            for kind in ("int8", "uint8")
        ),
    ]  # fmt: skip
    report, rows = send(client, write(tmp_path / "disagree.mcap", recorded))

    assert "/a" not in rows
    assert "f/msg/A uses g/msg/Odd" in report.topics[0].reason


def test_the_hint_helps_when_it_is_followed(client: MosaicoClient, tmp_path: Path) -> None:
    """What is missing is named; once its package is in a folder, the topic arrives."""
    lacking = Sent("/a", "f/msg/A", "g/Odd odd\n", "ros2msg", (CDR + b"\7",))
    beside = Sent("/beside", *STRING, (CDR + text_of("x"),))
    path = write(tmp_path / "lacking.mcap", [lacking, beside])
    report, _ = send(client, path)
    reason = report.topics[0].hint

    assert "g/msg/*.msg" in reason
    assert "definitions.folders" in reason
    (tmp_path / "defs/g/msg").mkdir(parents=True)
    (tmp_path / "defs/g/msg/Odd.msg").write_text("int8 y\n")
    beside = Sent("/beside", *STRING, (CDR + text_of("another recording"),))
    again = write(tmp_path / "again.mcap", [lacking, beside])
    sources = DefinitionSources(folders=(tmp_path / "defs",))
    report, rows = send(client, again, definitions=sources)

    assert rows["/a"] == [{"odd": {"y": 7}}]
    source = client.topic_handler(report.sequence, "/a")
    assert source is not None
    block = source.user_metadata["_ros_"]
    assert block["definition_source"] == f"embedded, {tmp_path}/defs"


HEADER = struct.pack("<IIII3s", 7, 100, 200, 3, b"map")
POINT = struct.pack("<3d", 1, 2, 3)
POINT_MD5 = "4a842b65f413084dc2b10fb484ea7f17"
VECTOR_MD5 = "4a842b65f413084dc2b10fb484ea7f17"
POINT_STAMPED_MD5 = "c63aecb41bfdfd6b7e1fac37c7cbe7bf"
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"

# Topic, type, md5, definition, payload, and what arrives or why nothing does.
CONNECTIONS: list[tuple[str, str, str, str, bytes, Any]] = [
    ("/point", "geometry_msgs/Point", POINT_MD5, "", POINT, {"x": 1, "y": 2, "z": 3}),
    ("/stamped", "geometry_msgs/PointStamped", POINT_STAMPED_MD5, "", HEADER + POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/lacks", "geometry_msgs/PointStamped", POINT_STAMPED_MD5,
     "Header header\ngeometry_msgs/Point point\n", HEADER + POINT, {"x": 1, "y": 2, "z": 3}),
    ("/comment", "geometry_msgs/Point", POINT_MD5, "# x, y, z\n", POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/cut", "geometry_msgs/Point", POINT_MD5, "float64 x\nfloat64 y\n", POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/cut_in_a_word", "geometry_msgs/Point", POINT_MD5, "float64 x\nfloat6", POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/cut_below", "geometry_msgs/PointStamped", POINT_STAMPED_MD5,
     f"Header header\ngeometry_msgs/Point point\n{RULE}MSG: geometry_msgs/Point\nfloat64 x\n",
     HEADER + POINT, {"x": 1, "y": 2, "z": 3}),
    ("/vector", "geometry_msgs/Vector3", VECTOR_MD5, "", POINT, {"x": 1, "y": 2, "z": 3}),
    ("/cut_vector", "geometry_msgs/Vector3", VECTOR_MD5, "float64 x\nfloat64 y", POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/cut_unknown", "f/Cut", "2" * 32, "float64 x\nfloat6", POINT, "not understood: 'float6'"),
    ("/kept", "f/Kept", "2" * 32, "float64 x\nfloat64 y\nfloat64 z\n", POINT,
     {"x": 1, "y": 2, "z": 3}),
    ("/empty", "std_msgs/Empty", EMPTY_MD5, "", b"", None),
    ("/nothing", "f/Nothing", EMPTY_MD5, "", b"", None),
    ("/other", "geometry_msgs/Point", "0" * 32, "", POINT, "has the md5 " + "0" * 32),
    ("/unknown", "f/Unknown", "1" * 32, "", POINT, "no definition of f/msg/Unknown"),
    ("/wildcard", "f/Wildcard", "*", "", POINT, "no definition of f/msg/Wildcard"),
]  # fmt: skip


def bag(path: Path) -> Path:
    """Write a ROS 1 bag that was never closed, which needs no index."""
    records = b""
    for number, (topic, kind, md5, text, payload, _) in enumerate(CONNECTIONS):
        said = {"topic": topic, "type": kind, "md5sum": md5, "message_definition": text}
        fields = {"op": b"\x07", "topic": topic.encode(), "conn": ros1.number(number)}
        data = ros1.header({key: value.encode() for key, value in said.items()})
        records += ros1.record(fields, data) + ros1.message(number, T_NS, payload)
    chunk = {"op": b"\x05", "compression": b"none", "size": ros1.number(len(records))}
    path.write_bytes(ros1.MAGIC + ros1.bag_record(0, 0, 0) + ros1.record(chunk, records))
    return path


def test_ros1_connections_without_a_definition(client: MosaicoClient, tmp_path: Path) -> None:
    """Known by md5 and type, or left out with the reason; no row without data is ever sent."""
    report, rows = send(client, bag(tmp_path / "hollow.bag"))
    reasons = {topic.name: topic.reason for topic in report.topics}

    for topic, *_, expected in CONNECTIONS:
        if isinstance(expected, dict):
            (row,) = rows[topic]
            assert {key: row.get(key) for key in "xyz"} == expected, topic
        elif expected is None:
            assert len(rows[topic]) == 1, topic
        else:
            assert topic not in rows
            assert expected in reasons[topic]
