"""The messages of the protobuf generation: the platform's bytes, numbers and types, both ways.

What is expected here was computed from the platform's sources, not with `bridge.protobuf`.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.protobuf import (
    MalformedError,
    NotJsonError,
    NotProtobufError,
    decode_answer,
    decode_facts,
    decode_put,
    decode_request,
    decode_resource,
    encode_answer,
    encode_facts,
    encode_put,
    encode_request,
    encode_resource,
)

PART = Path(__file__).parents[2] / "bridge/protobuf"
NS = 1_735_689_600_000_000_000
LONG_QUERY = (
    "0a360a0d0a0b080a12071a0572756e5f2a1a250a230a12494d552e616363656c65726174696f6e2e781a0d08"
    "051209110000000000001440"
)
DONE_BYTES = (
    "088080dc82ec8f9a8b18108094c7dfef8f9a8b181801220a72756e5f30312f696d752a03494d5530013a097b"
    "226b223a2276227d420f0a0608904e10ae4e100718ff062001520b72756e5f30313a30314a51"
)
SEQUENCE_BYTES = (
    "088080dc82ec8f9a8b18120672756e5f30311a230a0b72756e5f30313a30314a51108180dc82ec8f9a8b1822"
    "0a72756e5f30312f696d7522077b2261223a317d"
)
MATCH = {"sequence": {"name": {"$match": "run_*"}}}

# Requests by action: what is asked, and its bytes.
REQUESTS: list[tuple[str, dict[str, Any], str]] = [
    ("info", {}, ""),
    ("sequence_delete", {"locator": "run_01"}, "0a0672756e5f3031"),
    (
        "sequence_create",
        {"locator": "run_01", "user_metadata": {"a": 1}},
        "0a0672756e5f303112077b2261223a317d",
    ),
    (
        "topic_create",
        {
            "locator": "run_01/imu",
            "session_uuid": "U1",
            "serialization_format": "default",
            "ontology_tag": "IMU",
            "user_metadata": {},
        },
        "0a0a72756e5f30312f696d751202553118012203494d552a027b7d",
    ),
    ("session_finalize", {"session_uuid": "U1"}, "0a025531"),
    (
        "sequence_notification_create",
        {"locator": "run_01", "notification_type": "error", "msg": "x"},
        "0a0672756e5f303112056572726f721a0178",
    ),
    (
        "query",
        MATCH | {"ontology": {"IMU.acceleration.x": {"$gt": 5.0}}},
        LONG_QUERY,
    ),
]

# The same query as JSON, as G3a wants it.
MATCH_AS_JSON = (
    "0a287b2273657175656e6365223a7b226e616d65223a7b22246d61746368223a2272756e5f2a227d7d7d"
)

CONDITIONS: list[tuple[dict[str, Any], str]] = [
    ({"$eq": False}, "080112022000"),
    ({"$eq": 0}, "080112020800"),
    ({"$ex": None}, "080b"),
]

INFO = {
    "version": "0.8.0-dev",
    "semver": {"major": 0, "minor": 8, "patch": 0, "pre": "dev"},
    "config": {
        "grpc_max_decode_message_size": 52_428_800,
        "grpc_max_encode_message_size": 536_870_912,
        "grpc_target_encode_message_size": 26_214_400,
    },
}
NOTHING = {"interval": None, "total_row_count": 0, "total_bytes": 0, "total_chunks_count": 0}
OPEN_TOPIC = {
    "created_at_ns": NS,
    "completed_at_ns": None,
    "locked": False,
    "resource_locator": "run_01/imu",
    "ontology_tag": "IMU",
    "serialization_format": "default",
    "user_metadata": None,
    "data_info": NOTHING,
    "time_window_info": None,
    "session_locator": "run_01:01JQ",
}
DONE_TOPIC = OPEN_TOPIC | {
    "completed_at_ns": NS + 1_000_000_000,
    "locked": True,
    "user_metadata": {"k": "v"},
    "data_info": {
        "interval": {"start_ns": 10_000, "end_ns": 10_030},
        "total_row_count": 7,
        "total_bytes": 895,
        "total_chunks_count": 1,
    },
}
SEQUENCE = {
    "created_at_ns": NS,
    "resource_locator": "run_01",
    "sessions": [
        {
            "locator": "run_01:01JQ",
            "created_at_ns": NS + 1,
            "completed_at_ns": None,
            "topics": ["run_01/imu"],
            "locked": False,
        }
    ],
    "user_metadata": {"a": 1},
}
FACTS: list[tuple[Any, dict[str, Any], str]] = [
    (
        "topic",
        OPEN_TOPIC,
        "088080dc82ec8f9a8b18220a72756e5f30312f696d752a03494d5530014200520b72756e5f30313a30314a51",
    ),
    (
        "topic",
        DONE_TOPIC,
        DONE_BYTES,
    ),
    (
        "sequence",
        SEQUENCE,
        SEQUENCE_BYTES,
    ),
]

# By message: number, type of each field; `?` is one whose presence is told, `*` any number.
FIELDS: dict[str, str] = {
    "TimestampRange": "1 int64?, 2 int64?",
    "Empty": "",
    "ResourceLocator": "1 string",
    "SessionUuid": "1 string",
    "NotificationCreate": "1 string, 2 string, 3 string",
    "SequenceCreate": "1 string, 2 bytes",
    "TopicCreate": "1 string, 2 string, 3 enum, 4 string, 5 bytes",
    "TopicClusterizeParams": "1 string, 2 uint64, 3 bytes, 4 message?",
    "TopicFilterIntersect": "1 message*, 2 uint64",
    "QueryRequest": "1 bytes",
    "ResourceUuid": "1 string",
    "SessionCreate": "1 string, 2 string",
    "NotificationItem": "1 string, 2 string, 3 string, 4 string",
    "NotificationList": "1 message*",
    "QueryItemTopic": "1 string, 2 string",
    "QueryItem": "1 string, 2 message*",
    "QueryResponse": "1 message*",
    "TopicFilterClusterize": "1 message?, 2 uint64",
    "SemVer": "1 uint64, 2 uint64, 3 uint64, 4 string",
    "ServerConfig": "1 uint64, 2 uint64, 3 uint64",
    "ServerInfo": "1 string, 2 message?, 3 message?",
    "Resource": "1 string, 2 message?",
    "DoPut": "1 string, 2 string",
    "SessionAppMetadata": "1 string, 2 int64, 3 int64?, 4 string*, 5 bool",
    "SequenceAppMetadata": "1 int64, 2 string, 3 message*, 4 bytes",
    "TimeWindowInfo": "1 message?, 2 uint64",
    "DataInfo": "1 message?, 2 uint64, 3 uint64, 4 uint64",
    "TopicAppMetadata": "1 int64, 2 int64?, 3 bool, 4 string, 5 string, 6 enum, 7 bytes, "
    "8 message?, 9 message?, 10 string",
    "IntegerArray": "1 int64*",
    "FloatArray": "1 double*",
    "TextArray": "1 string*",
    "BooleanArray": "1 bool*",
    "Value": "1 int64?, 2 double?, 3 string?, 4 bool?, 5 message?, 6 message?, 7 message?, "
    "8 message?",
    "Condition": "1 enum, 2 message?",
    "SequenceFilter": "1 message?, 2 message?, 3 message*",
    "TopicFilter": "1 message?, 2 message?, 3 message?, 4 message?, 5 message*",
    "OntologyPredicate": "1 string, 2 uint32, 3 message?",
    "OntologyFilter": "1 message*",
    "Filter": "1 message?, 2 message?, 3 message?",
}


def generated() -> Any:
    from bridge.protobuf.generated import mosaico_bridge_pb2  # noqa: PLC0415 - tests/ loads few

    return mosaico_bridge_pb2


@pytest.mark.parametrize(("action", "request_", "expected"), REQUESTS)
def test_request_has_the_platforms_bytes(
    action: str, request_: dict[str, Any], expected: str
) -> None:
    """A request is what the platform's own encoder makes of it, and reads as what it was."""
    body = encode_request(action, request_)
    assert body.hex() == expected
    again = decode_request(action, body)
    asked = {
        section: {k: v for k, v in fields.items() if v} if isinstance(fields, dict) else fields
        for section, fields in again.items()
    }
    assert asked == request_


def test_filter_may_be_json() -> None:
    """G3a has the query as JSON in the field where G3b has a message; both are read."""
    body = encode_request("query", MATCH, typed_filters=False)
    assert body.hex() == MATCH_AS_JSON
    assert decode_request("query", body) == MATCH


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_condition_has_the_platforms_bytes(condition: dict[str, Any], expected: str) -> None:
    """A false and a zero are sent; existence has no operand."""
    body = encode_request("query", {"sequence": {"name": condition}})
    assert body.hex().endswith(expected)
    assert decode_request("query", body)["sequence"]["name"] == condition


@pytest.mark.parametrize(
    "condition",
    [
        {"$in": ["a", "b"]},
        {"$between": [1, 2]},
        {"$outside": [1.5, 2.5]},
        {"$eq": [True, False]},
        {"$leq": -5},
        {"$nex": None},
        {"$match": "*"},
    ],
)
def test_condition_comes_back(condition: dict[str, Any]) -> None:
    """Each kind of operand, alone and in lists, on fields, metadata and data."""
    asked = {
        "sequence": {"user_metadata": {"driver.id": condition}},
        "topic": {"created_at_ns": condition, "user_metadata": {"a": condition}},
        "ontology": {"IMU.acceleration.x": condition},
    }
    again = decode_request("query", encode_request("query", asked))
    assert again["sequence"]["user_metadata"] == {"driver.id": condition}
    assert again["topic"] == asked["topic"]
    assert again["ontology"] == asked["ontology"]


def test_numbers_of_both_kinds_are_floats() -> None:
    """A list holds values of one kind, so whole numbers beside others become such."""
    asked = {"ontology": {"IMU.acceleration.x": {"$between": [1, 2.5]}}}
    body = encode_request("query", asked)
    (value,) = decode_request("query", body)["ontology"]["IMU.acceleration.x"].values()
    assert list(map(type, value)) == [float, float]


@pytest.mark.parametrize("operand", [[], [1, "a"], [True, 1], 2**63, [2**64]])
def test_operand_that_no_message_has_is_refused(operand: object) -> None:
    """Empty and mixed lists and huge numbers are errors here, not at the server."""
    with pytest.raises(ValueError, match=r"IMU\.x"):
        encode_request("query", {"ontology": {"IMU.x": {"$in": operand}}})


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((None, None), "0a0a72756e5f30312f696d75"),
        ((1000, 2000), "0a0a72756e5f30312f696d75120608e80710d00f"),
        ((0, None), "0a0a72756e5f30312f696d7512020800"),
    ],
)
def test_resource_has_the_platforms_bytes(
    window: tuple[int | None, int | None], expected: str
) -> None:
    """Commands and tickets: no window is no field, and a bound of zero is sent."""
    body = encode_resource("run_01/imu", *window)
    assert body.hex() == expected
    assert decode_resource(body) == ("run_01/imu", *window)


def test_window_without_bounds_is_none() -> None:
    """A range that is there without its bounds is as good as none."""
    assert decode_resource(bytes.fromhex("0a0161" + "1200")) == ("a", None, None)


def test_put_has_the_platforms_bytes() -> None:
    """The command that a put starts with."""
    body = encode_put("run_01/imu", "U2")
    assert body.hex() == "0a0a72756e5f30312f696d7512025532"
    assert decode_put(body) == {"resource_locator": "run_01/imu", "topic_uuid": "U2"}


@pytest.mark.parametrize(("about", "facts", "expected"), FACTS)
def test_facts_have_the_platforms_bytes(about: Any, facts: dict[str, Any], expected: str) -> None:
    """Descriptions of sequences and topics, with an empty message for no data."""
    body = encode_facts(about, facts)
    assert body.hex() == expected
    assert decode_facts(about, body) == facts


def test_message_without_anything_in_it_is_sent() -> None:
    """Where presence is told, nothing inside is something else than nothing at all."""
    assert encode_facts("topic", {"data_info": {}, "time_window_info": None}) == b"\x42\x00"


def test_answers_have_the_platforms_bytes() -> None:
    """The answer to `info`, one of two texts, one that is empty, and none."""
    assert encode_answer("info", INFO).hex() == (
        "0a09302e382e302d6465761207100822036465761a100880808019108080808002188080c00c"
    )
    assert decode_answer("info", encode_answer("info", INFO)) == INFO
    session = {"uuid": "U1", "locator": "run_01:01JQ"}
    assert encode_answer("session_create", session).hex() == "0a025531120b72756e5f30313a30314a51"
    assert encode_answer("query", {"items": []}) == b""
    assert decode_answer("query", b"") == {"items": []}
    assert encode_answer("sequence_create", None) == b""
    assert decode_answer("sequence_create", b"") is None


def test_stream_may_end_its_answers_with_a_line_feed() -> None:
    """Clusters are read with the byte that ends them in JSON and without it."""
    found = {"ts": {"start_ns": 1, "end_ns": 2}, "id": 0}
    body = encode_answer("topic_filter_clusterize", found)
    assert decode_answer("topic_filter_clusterize", body) == found
    assert decode_answer("topic_filter_clusterize", body + b"\n") == found
    with pytest.raises(NotProtobufError):
        decode_answer("query", body + b"\n")


@pytest.mark.parametrize("body", [b"{}", b'{"locator":"a","user_metadata":{}}', b"\x0a\x01\xff"])
def test_other_bytes_are_refused(body: bytes) -> None:
    """JSON is never a message, nor is a text that is not UTF-8."""
    with pytest.raises(NotProtobufError):
        decode_request("sequence_create", body)


def test_unknown_fields_and_repetitions_are_no_errors() -> None:
    """A field from a later platform is skipped; of a field that comes twice the last one counts."""
    body = encode_request("sequence_delete", {"locator": "a"})
    again = encode_request("sequence_delete", {"locator": "b"})
    assert decode_request("sequence_delete", body + b"\xf8\x07\x01" + again) == {"locator": "b"}


def test_metadata_that_is_no_json_is_refused() -> None:
    """Metadata are JSON in a field of bytes; nothing at all is none."""
    with pytest.raises(NotJsonError):
        decode_request("sequence_create", bytes.fromhex("0a0161" + "12017b"))
    assert decode_request("sequence_create", b"\x0a\x01a")["user_metadata"] is None


@pytest.mark.parametrize("number", [0, 4])
def test_format_that_does_not_exist(number: int) -> None:
    """As a request it is refused with its number; a later platform's is shown as that."""
    request = generated().TopicCreate(locator="a/b", serialization_format=number)
    with pytest.raises(MalformedError, match=f"unknown serialization format: {number}"):
        decode_request("topic_create", request.SerializeToString())
    facts = generated().TopicAppMetadata(serialization_format=number).SerializeToString()
    assert decode_facts("topic", facts)["serialization_format"] == (str(number) if number else "")


def test_text_that_utf8_cannot_carry_is_replaced() -> None:
    """Half a surrogate pair, as in names of files that are not UTF-8, does not stop a message."""
    body = encode_request(
        "sequence_notification_create",
        {"locator": "a", "notification_type": "error", "msg": "file \udcff"},
    )
    assert decode_request("sequence_notification_create", body)["msg"] == "file ?"


def test_fields_have_the_platforms_numbers() -> None:
    """Every message has exactly the platform's fields, by number, type and presence."""
    types = {2: "float", 1: "double", 3: "int64", 4: "uint64", 8: "bool", 9: "string",
             11: "message", 12: "bytes", 13: "uint32", 14: "enum"}  # fmt: skip
    described = {}
    for name, message in generated().DESCRIPTOR.message_types_by_name.items():
        fields = []
        for field in sorted(message.fields, key=lambda field: field.number):
            held = getattr(generated().__dict__[name](), field.name)
            mark = "*" if hasattr(held, "extend") or hasattr(held, "update") else "?"
            shown = mark if mark == "*" or field.has_presence else ""
            fields.append(f"{field.number} {types[field.type]}{shown}")
        described[name] = ", ".join(fields)
    assert described == FIELDS


def test_generated_code_is_of_the_proto_file(tmp_path: Path) -> None:
    """What is checked in is what the compiler makes of the file beside it."""
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PART}", f"--python_out={tmp_path}",
         "mosaico_bridge.proto"],
        check=True,
    )  # fmt: skip
    # Compilers of other versions write other code around the same description.
    text = (tmp_path / "mosaico_bridge_pb2.py").read_text(encoding="utf-8")
    described = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes)
    ]
    assert generated().DESCRIPTOR.serialized_pb in described
