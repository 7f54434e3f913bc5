"""The query: every operator on every kind of field, and what makes a result."""

from typing import Any

import pyarrow as pa
import pytest

from tests.contract import protobuf
from tests.contract.wire import Wire, batch, refused

POSE = pa.struct([("x", pa.float64()), ("tag", pa.string())])
RICH = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        ("speed", pa.float64()),
        ("count", pa.uint64()),
        ("frame", pa.string()),
        ("flag", pa.bool_()),
        ("poses", pa.list_(POSE)),
        ("axes", pa.list_(pa.float32())),
        ("pair", pa.list_(pa.float64(), 2)),
        ("inner", pa.struct([("deep", pa.struct([("z", pa.int16())]))])),
    ]
)
ROWS: list[dict[str, Any]] = [
    {
        "timestamp_ns": 10,
        "speed": 1.5,
        "count": 2**64 - 1,
        "frame": "base_link",
        "flag": True,
        "poses": [{"x": 1.0, "tag": "a"}, {"x": 9.0, "tag": "b"}],
        "axes": [0.5, 1.0],
        "pair": [1.0, 2.0],
        "inner": {"deep": {"z": -3}},
    },
    {
        "timestamp_ns": 20,
        "speed": float("nan"),
        "count": 0,
        "frame": None,
        "flag": False,
        "poses": [],
        "axes": None,
        "pair": [3.0, 4.0],
        "inner": None,
    },
]


@pytest.fixture
def rich(wire: Wire, name: str) -> str:
    """Give a finalized sequence with one topic of many kinds of columns."""
    sensors = [{"name": "left", "hz": 10}, {"name": "right", "hz": 20}]
    metadata = {"driver": {"id": "d1"}, "run": 7, "wet": False, "sensors": sensors}
    session = wire.session(wire.sequence(name, metadata | {"tags": ["night", "wet"]}))
    topic = wire.topic(session, "a/rich", tag="Rich", storage="ragged", metadata={"rate": 2.5})
    wire.put(topic, pa.RecordBatch.from_pylist(ROWS, schema=RICH), schema=RICH)
    wire.do("session_finalize", session_uuid=session["uuid"])
    return name


def found(wire: Wire, rich: str, **request: Any) -> bool:
    """Tell whether a query finds the rich topic of this test's sequence."""
    sequence = {"name": {"$eq": rich}} | request.pop("sequence", {})
    result = wire.query(sequence=sequence, **request)
    assert result in ({}, {rich: [f"{rich}/a/rich"]})
    return bool(result)


@pytest.mark.parametrize("request_", [{}, {"sequence": {}, "topic": {}, "ontology": {}}])
def test_no_filter_finds_nothing(wire: Wire, rich: str, request_: dict[str, Any]) -> None:
    """A query that asks nothing gives nothing, not everything."""
    assert rich
    assert wire.do("query", **request_) == {"items": []}


def test_answer_names_topics_with_their_tag(wire: Wire, rich: str) -> None:
    """A topic in an answer has a locator and a tag, nothing else."""
    (item,) = wire.do("query", sequence={"name": {"$eq": rich}})["items"]
    assert item == {
        "sequence": rich,
        "topics": [{"locator": f"{rich}/a/rich", "ontology_tag": "Rich"}],
    }


def test_sequence_without_topics_is_never_found(wire: Wire, name: str) -> None:
    """Topics drive the results."""
    wire.sequence(name)
    assert wire.query(sequence={"name": {"$eq": name}}) == {}


def test_topic_name_begins_with_a_slash(wire: Wire, rich: str) -> None:
    """A topic's name is its locator after the sequence, slash included."""
    assert found(wire, rich, topic={"name": {"$eq": "/a/rich"}})
    assert not found(wire, rich, topic={"name": {"$eq": "a/rich"}})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"$eq": "Rich"}, True),
        ({"$eq": "rich"}, False),
        ({"$neq": "Rich"}, False),
        ({"$neq": "Other"}, True),
        ({"$lt": "S"}, True),
        ({"$lt": "Rich"}, False),
        ({"$leq": "Rich"}, True),
        ({"$gt": "Q"}, True),
        ({"$geq": "Rich"}, True),
        ({"$between": ["R", "S"]}, True),
        ({"$outside": ["R", "S"]}, False),
        ({"$in": ["A", "Rich"]}, True),
        ({"$in": ["A"]}, False),
        ({"$in": []}, True),
        ({"$ex": None}, True),
        ({"$nex": None}, False),
    ],
)
def test_text_fields(
    wire: Wire,
    rich: str,
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    """Names, tags and formats have every operator; in the protobuf generation no order."""
    order = {"$lt", "$leq", "$gt", "$geq", "$between", "$outside"}
    if wire.is_protobuf and (condition.keys() & order or condition == {"$in": []}):
        with refused("INVALID_ARGUMENT", "field `topic.ontology_tag`"):
            found(wire, rich, topic={"ontology_tag": condition})
        return
    assert found(wire, rich, topic={"ontology_tag": condition}) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Rich", True),
        ("ich", False),
        ("R*", True),
        ("*", True),
        ("*i?h", True),
        ("R?ch?", False),
        ("[QR]ich", True),
        ("[^R]ich", False),
        ("R.ch", False),
        ("Ric(h)", False),
        ("Ric#", False),
    ],
)
def test_match_is_a_glob_over_the_whole(
    wire: Wire,
    rich: str,
    pattern: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """`$match` takes `* ? # [...]`, everything else literally, and matches whole strings."""
    assert found(wire, rich, topic={"ontology_tag": {"$match": pattern}}) is expected
    assert wire.query(
        sequence={"name": {"$eq": rich}},
        ontology={"Rich.poses[?].tag": {"$match": pattern.replace("Rich", "a")}},
    ) == ({rich: [f"{rich}/a/rich"]} if pattern in {"Rich", "*"} else {})


def test_digits_match_a_hash(wire: Wire, name: str) -> None:
    """`#` is one digit."""
    wire.recorded(f"{name}-7", imu=batch(1))
    wire.recorded(f"{name}-x", imu=batch(1))
    assert wire.query(sequence={"name": {"$match": f"{name}-#"}}).keys() == {f"{name}-7"}


def test_creation_time(wire: Wire, rich: str) -> None:
    """Sequences and topics are found by when they were made."""
    created_ns = wire.described(f"{rich}/a/rich")["created_at_ns"]
    for condition, expected in (
        ({"$eq": created_ns}, True),
        ({"$lt": created_ns}, False),
        ({"$between": [created_ns, created_ns]}, True),
        ({"$outside": [0, created_ns - 1]}, True),
        ({"$ex": None}, True),
    ):
        assert found(wire, rich, topic={"created_at_ns": condition}) is expected
    assert found(wire, rich, sequence={"created_at_ns": {"$leq": created_ns}})
    with refused("INVALID_ARGUMENT", "Bad request: "):
        found(wire, rich, topic={"created_at_ns": {"$match": "1*"}})


@pytest.mark.parametrize(
    ("path", "condition", "expected"),
    [
        ("driver.id", {"$eq": "d1"}, True),
        ("driver.id", {"$neq": "d1"}, False),
        ("driver.id", {"$match": "d#"}, True),
        ("driver.id", {"$in": ["d1", "d2"]}, True),
        ("driver.id", {"$ex": None}, True),
        ("driver.name", {"$ex": None}, False),
        ("driver.name", {"$nex": None}, True),
        ("driver.name", {"$neq": "x"}, False),
        ("driver", {"$ex": None}, True),
        ("run", {"$eq": 7}, True),
        ("run", {"$eq": 7.0}, True),
        ("run", {"$gt": 6.5}, True),
        ("run", {"$outside": [6, 8]}, False),
        ("run", {"$in": [1, 7]}, True),
        ("wet", {"$eq": False}, True),
        ("wet", {"$eq": True}, False),
        ("wet", {"$neq": True}, True),
    ],
)
def test_metadata(
    wire: Wire,
    rich: str,
    path: str,
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    """Metadata is compared at dotted paths, as text, number or truth."""
    assert found(wire, rich, sequence={"user_metadata": {path: condition}}) is expected


@pytest.mark.parametrize(
    ("path", "condition", "expected"),
    [
        ("*.id", {"$eq": "d1"}, True),
        ("*", {"$eq": 7}, True),
        ("*", {"$eq": 8}, False),
        ("*.id.*", {"$ex": None}, False),
        ("*.nobody", {"$nex": None}, True),
        ("**", {"$eq": "left"}, True),
        ("**.hz", {"$gt": 15}, True),
        ("**.hz", {"$gt": 25}, False),
        ("sensors[*].hz", {"$between": [9, 11]}, True),
        ("sensors[*].name", {"$eq": "middle"}, False),
        ("sensors[1].name", {"$eq": "right"}, True),
        ("sensors.1.name", {"$eq": "right"}, True),
        ("sensors[2].name", {"$ex": None}, False),
        ("sensors.*", {"$ex": None}, False),
        ("driver[*]", {"$ex": None}, False),
        ("tags[*]", {"$eq": "wet"}, True),
    ],
)
def test_metadata_by_wildcards(
    wire: Wire,
    rich: str,
    path: str,
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    """`*` is one level, `**` any depth, `[*]` each element; one value that fits is enough."""
    assert found(wire, rich, sequence={"user_metadata": {path: condition}}) is expected


@pytest.mark.parametrize(
    ("path", "condition", "expected"),
    [
        ("tags", {"$in": ["dry", "wet"]}, True),
        ("tags", {"$match": "n?ght"}, True),
        ("tags", {"$match": "*night*wet*"}, False),
        ("driver", {"$match": "*"}, False),
    ],
)
def test_lists_in_metadata_are_tested_by_element(
    protobuf_wire: Wire,
    rich: str,
    path: str,
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    """`$in` and `$match` look at each element of a list, and find nothing in an object."""
    assert found(protobuf_wire, rich, sequence={"user_metadata": {path: condition}}) is expected


@pytest.mark.parametrize("path", ["a*", "a[b]", "a[", "***"])
def test_wildcard_that_is_none_is_refused(wire: Wire, path: str) -> None:
    """It is never taken for a key that nothing has."""
    with refused("INVALID_ARGUMENT", "Found invalid key in user metadata"):
        wire.do("query", sequence={"user_metadata": {path: {"$ex": None}}})


def test_metadata_of_topics(wire: Wire, rich: str) -> None:
    """Topics have metadata of their own."""
    assert found(wire, rich, topic={"user_metadata": {"rate": {"$between": [2, 3]}}})
    assert not found(wire, rich, topic={"user_metadata": {"run": {"$eq": 7}}})


@pytest.mark.parametrize(
    ("path", "condition", "expected"),
    [
        ("speed", {"$eq": 1.5}, True),
        ("speed", {"$gt": 1.5}, False),
        ("speed", {"$geq": 1.5}, True),
        ("speed", {"$lt": 2}, True),
        ("speed", {"$leq": 1}, False),
        ("speed", {"$between": [1, 2]}, True),
        ("speed", {"$outside": [1, 2]}, False),
        ("speed", {"$in": [0, 1.5]}, True),
        ("speed", {"$in": [0, 2]}, False),
        ("speed", {"$eq": "1.5"}, False),
        ("count", {"$eq": 2**64 - 1}, True),
        ("count", {"$gt": 2**63}, True),
        ("count", {"$lt": 0}, False),
        ("count", {"$geq": -1}, True),
        ("count", {"$gt": 0.5}, True),
        ("frame", {"$eq": "base_link"}, True),
        ("frame", {"$neq": "base_link"}, False),
        ("frame", {"$match": "base*"}, True),
        ("frame", {"$gt": "a"}, True),
        ("frame", {"$nex": None}, True),
        ("frame", {"$ex": None}, True),
        ("flag", {"$eq": True}, True),
        ("flag", {"$neq": True}, True),
        ("inner.deep.z", {"$eq": -3}, True),
        ("inner.deep.z", {"$gt": 0}, False),
        ("inner.deep.z", {"$lt": 1e300}, True),
        ("inner.deep.z", {"$lt": 70000}, True),
        ("inner.deep", {"$ex": None}, True),
        ("inner.none", {"$ex": None}, False),
        ("timestamp_ns", {"$eq": 20}, True),
        ("timestamp_ns", {"$gt": 20}, False),
        ("poses[?].x", {"$gt": 8.0}, True),
        ("poses[?].x", {"$gt": 9.0}, False),
        ("poses[?].tag", {"$eq": "b"}, True),
        ("poses[0].x", {"$eq": 1.0}, True),
        ("poses[0].x", {"$eq": 9.0}, False),
        ("poses[1].x", {"$eq": 9.0}, True),
        ("poses[2].x", {"$ex": None}, False),
        ("axes[!]", {"$leq": 1.0}, True),
        ("axes[!]", {"$lt": 1.0}, False),
        ("axes[?]", {"$eq": 0.5}, True),
        ("axes", {"$eq": [0.5, 1.0]}, True),
        ("axes", {"$eq": [0.5]}, False),
        ("axes", {"$eq": [1.0, 0.5]}, False),
        ("axes", {"$neq": [0.5]}, True),
        ("pair", {"$eq": [3, 4]}, True),
        ("pair[1]", {"$eq": 4}, True),
        ("pair[?]", {"$gt": 3.5}, True),
        ("speed[?]", {"$ex": None}, False),
        ("poses.x", {"$ex": None}, False),
    ],
)
def test_contents(
    wire: Wire,
    rich: str,
    path: str,
    condition: dict[str, Any],
    expected: bool,  # noqa: FBT001
) -> None:
    """Columns, fields of structs and elements of lists are compared where they lie."""
    (operand,) = condition.values()
    if wire.is_protobuf and isinstance(operand, int) and operand >= 2**63:
        condition = dict.fromkeys(condition, float(operand))  # what a message can say
        expected &= "$eq" not in condition
    assert found(wire, rich, ontology={f"Rich.{path}": condition}) is expected


def test_conditions_on_one_tag_hold_in_one_row(wire: Wire, rich: str) -> None:
    """Two conditions that no single row meets find nothing."""
    one = {"Rich.speed": {"$eq": 1.5}}
    assert found(wire, rich, ontology=one | {"Rich.flag": {"$eq": True}})
    assert not found(wire, rich, ontology=one | {"Rich.flag": {"$eq": False}})


def test_tags_meet_in_the_sequence(wire: Wire, name: str) -> None:
    """With several tags a sequence must have all; their topics are united."""
    for suffix, tags in (("both", ("A", "B")), ("one", ("A",))):
        session = wire.session(wire.sequence(f"{name}-{suffix}"))
        for tag in tags:
            wire.put(wire.topic(session, f"t{tag}", tag=tag), batch(10))
        wire.put(wire.topic(session, "other", tag="A"), batch(90))
    contents = {"A.value.x": {"$eq": 1.0}, "B.timestamp_ns": {"$eq": 10}}
    both = f"{name}-both"
    result = wire.query(sequence={"name": {"$match": f"{name}-*"}}, ontology=contents)
    assert result == {both: [f"{both}/tA", f"{both}/tB"]}


def test_filters_bound_the_search(wire: Wire, name: str) -> None:
    """Contents are searched only in the topics that the other filters select."""
    session = wire.session(wire.sequence(name))
    for path in ("left", "right"):
        wire.put(wire.topic(session, path), batch(10, 20))
    ontology = {"Probe.value.x": {"$gt": 1.5}}
    everywhere = wire.query(sequence={"name": {"$eq": name}}, ontology=ontology)
    assert everywhere == {name: [f"{name}/left", f"{name}/right"]}
    request = {"topic": {"name": {"$eq": "/left"}}, "ontology": ontology}
    assert wire.query(sequence={"name": {"$eq": name}}, **request) == {name: [f"{name}/left"]}


def test_match_in_a_late_chunk_is_found(wire: Wire, name: str) -> None:
    """A row is found in whichever chunk it lies."""
    topic = wire.topic(wire.session(wire.sequence(name)), "imu")
    wire.put(topic, *(batch(*range(start, start + 10)) for start in range(0, 300, 10)))
    for value, expected in ((29.5, True), (0.0, True), (14.25, False), (30.0, False)):
        result = wire.query(
            sequence={"name": {"$eq": name}}, ontology={"Probe.value.x": {"$eq": value}}
        )
        assert bool(result) is expected, value


@pytest.mark.parametrize(
    "request_",
    [
        {"sequence": []},
        {"sequence": {"name": "run"}},
        {"sequence": {"name": {}}},
        {"sequence": {"name": {"$eq": "a", "$neq": "b"}}},
        {"sequence": {"user_metadata": {"a": 1}}},
        {"ontology": {"Rich.speed": {"$between": [1, "a"]}}},
        {"ontology": {"include_timestamp_range": True}},
    ],
)
def test_query_of_another_shape_is_refused(json_wire: Wire, request_: dict[str, Any]) -> None:
    """What is no filter at all is refused."""
    with refused("INVALID_ARGUMENT", "Bad request: "):
        json_wire.do("query", **request_)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"topic": {"name": {"$gt": "a"}}}, "`topic.name`"),
        ({"topic": {"name": {"$between": ["a", "b"]}}}, "`topic.name`"),
        ({"topic": {"serialization_format": {"$eq": 1}}}, "`topic.serialization_format`"),
        ({"topic": {"created_at_ns": {"$in": [1]}}}, "`topic.created_at_ns`"),
        ({"sequence": {"user_metadata": {"wet": {"$gt": True}}}}, "`sequence.user_metadata.wet`"),
        ({"ontology": {"Rich.flag": {"$leq": False}}}, "`Rich.flag`"),
        ({"ontology": {"Rich.speed": {"$match": 1}}}, "`Rich.speed`"),
        ({"sequence": {"user_metadata": {"a--b": {"$ex": None}}}}, "Found invalid key in user met"),
        ({"sequence": {"user_metadata": {"": {"$ex": None}}}}, "Found invalid key in user metadat"),
        ({"sequence": {"user_metadata": {"é": {"$ex": None}}}}, "Found invalid key in user metada"),
        (
            {"sequence": {"user_metadata": {"a*": {"$ex": None}}}},
            "Found invalid key in user metada",
        ),
        (
            {"sequence": {"user_metadata": {"a[": {"$ex": None}}}},
            "Found invalid key in user metada",
        ),
    ],
)
def test_query_that_the_protobuf_generation_has_not_is_refused(
    protobuf_wire: Wire, request_: dict[str, Any], text: str
) -> None:
    """Each kind of field and operand has its operators."""
    with refused("INVALID_ARGUMENT", text):
        protobuf_wire.do("query", **request_)


def test_condition_that_is_none_is_refused(protobuf_wire: Wire) -> None:
    """No operator, no operand, no condition."""
    no_operator = protobuf.field(1, protobuf.field(1, b""))
    no_condition = protobuf.field(3, protobuf.field(1, protobuf.field(1, b"Rich.x")))
    no_message = b"\x0a\x09a"
    for content in (no_operator, no_condition, no_message):
        with refused("INVALID_ARGUMENT", "Bad request: "):
            protobuf_wire.results("query", protobuf.field(1, content))


@pytest.mark.parametrize(
    "request_",
    [
        {"sequence": {"name": {"$like": "a"}}},
        {"sequence": {"name": {"$eq": 1}}},
        {"sequence": {"name": {"$in": "a"}}},
        {"sequence": {"name": {"$match": ""}}},
        {"sequence": {"name": {"$match": "x" * 257}}},
        {"sequence": {"name": {"$match": "[z-a]"}}},
        {"sequence": {"created_at_ns": {"$eq": "today"}}},
        {"sequence": {"user_metadata": {"a": {"$eq": None}}}},
        {"topic": {"ontology_tag": {"$between": ["a"]}}},
        {"topic": {"ontology_tag": {"$between": ["b", "a"]}}},
        {"ontology": {"Rich.speed": {"$between": [2, 1]}}},
        {"ontology": {"Rich.speed": {"$gt": [1]}}},
        {"ontology": {"Rich.axes": {"$eq": [1.0] * 1025}}},
        {"ontology": {"Rich.poses[x]": {"$ex": None}}},
    ],
)
def test_bad_query_is_refused(wire: Wire, request_: dict[str, Any]) -> None:
    """A filter that makes no sense is refused, not read as something else."""
    with refused("INVALID_ARGUMENT", "Bad request: "):
        wire.do("query", **request_)


def test_unknown_fields_are_ignored(json_wire: Wire, rich: str) -> None:
    """Sections and fields that are not known do no harm."""
    assert found(json_wire, rich, topic={"color": {"$eq": 1}}, layer={"x": 1})
