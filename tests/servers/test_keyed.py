"""Revision G1.2 by raw Flight calls: keys, system info, schema metadata, substring queries."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.contract.wire import SCHEMA, batch, command, refused
from tests.servers.served import KeyedEmbeddedServer

NO_ROWS = "backend error :: no rows returned by a query that expected to return at least one row"


class Keyed:
    """A connection that speaks the keyed generation."""

    def __init__(self, url: str) -> None:
        self.client = flight.FlightClient(url)

    def do(self, action: str, **request: Any) -> Any:
        """Do an action and check its envelope; None for an empty one."""
        (result,) = self.client.do_action((action, json.dumps(request).encode()))
        envelope = json.loads(result.body.to_pybytes())
        if envelope == {"action": "empty"}:
            return None
        assert envelope["action"] == action
        return envelope["response"]

    def sequence(self, name: str, metadata: Any = None) -> str:
        key: str = self.do("sequence_create", name=name, user_metadata=metadata or {})["key"]
        return key

    def topic(self, key: str, name: str, **changes: Any) -> str:
        request = {
            "name": name,
            "sequence_key": key,
            "serialization_format": "default",
            "ontology_tag": "probe",
            "user_metadata": {"k": "v"},
        }
        topic_key: str = self.do("topic_create", **request | changes)["key"]
        return topic_key

    def begin_put(self, name: str, key: str) -> flight.FlightStreamWriter:
        return self.client.do_put(command(resource_locator=name, key=key), SCHEMA)[0]

    def put(self, name: str, key: str, *batches: pa.RecordBatch) -> None:
        writer = self.begin_put(name, key)
        for each in batches:
            writer.write_batch(each)
        writer.close()

    def recorded(self, name: str, **topics: pa.RecordBatch) -> None:
        key = self.sequence(name, {"driver": {"id": "d1"}, "run": 7})
        for path, each in topics.items():
            self.put(f"{name}/{path}", self.topic(key, f"{name}/{path}"), each)
        self.do("sequence_finalize", name=name, key=key)

    def info(self, name: str, **window: int) -> flight.FlightInfo:
        return self.client.get_flight_info(command(resource_locator=name, **window))

    def read(self, name: str, **window: int) -> pa.Table:
        (endpoint,) = self.info(name, **window).endpoints
        return self.client.do_get(endpoint.ticket).read_all()


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    with KeyedEmbeddedServer(tmp_path) as server:
        connected = Keyed(f"grpc://{server.address}")
        yield connected
        connected.client.close()


def test_whole_exchange(keyed: Keyed) -> None:
    """The worked exchange of the protocol: create, put, finalize, describe, read, window."""
    key = keyed.sequence("run_01", {"a": {"b": 1}})
    name = "run_01/imu/front"
    keyed.put(name, keyed.topic(key, name), batch(1004, 1001, 1000), batch(1003, 1002))
    assert keyed.do("sequence_finalize", name="run_01", key=key) is None

    info = keyed.info("run_01")
    assert info.schema.names == []
    assert info.schema.metadata[b"mosaico:context"] == b"sequence"
    assert json.loads(info.schema.metadata[b"mosaico:user_metadata"]) == {"a": {"b": 1}}
    (endpoint,) = info.endpoints
    assert [location.uri for location in endpoint.locations] == [b"mosaico:/run_01/imu/front"]
    assert json.loads(endpoint.app_metadata) == {"timestamp": {"min": 1000, "max": 1004}}

    topic = keyed.info(name)
    assert topic.schema.names == SCHEMA.names
    assert {
        key: value if key == b"mosaico:context" else json.loads(value)
        for key, value in topic.schema.metadata.items()
    } == {
        b"mosaico:context": b"topic",
        b"mosaico:properties": {"serialization_format": "default", "ontology_tag": "probe"},
        b"mosaico:user_metadata": {"k": "v"},
    }
    table = keyed.read(name)
    assert table.schema.metadata == topic.schema.metadata
    assert table.column("timestamp_ns").to_pylist() == [1000, 1001, 1002, 1003, 1004]
    window = keyed.read(name, timestamp_ns_start=1001, timestamp_ns_end=1003)
    assert window.column("timestamp_ns").to_pylist() == [1001, 1002]
    assert keyed.read(name, timestamp_ns_start=5, timestamp_ns_end=5).num_rows == 0
    assert [info.descriptor.path for info in keyed.client.list_flights()] == [[b"run_01"]]


def test_system_info(keyed: Keyed) -> None:
    """Sizes, locks and dates are told by actions of their own."""
    keyed.recorded("run", imu=batch(1, 2))
    sequence = keyed.do("sequence_system_info", name="run")
    topic = keyed.do("topic_system_info", name="run/imu")
    assert sequence["is_locked"] is topic["is_locked"] is True
    assert topic["chunks_number"] == 1
    assert sequence["total_size_bytes"] == topic["total_size_bytes"] > 0
    for each in (sequence, topic):
        created = datetime.fromisoformat(each["created_datetime"].replace(" UTC", "+00:00"))
        assert created.year >= 2026


def test_topic_without_data_is_described(keyed: Keyed) -> None:
    """An empty topic has no fields and no range, and cannot be read."""
    key = keyed.sequence("run")
    topic = keyed.topic(key, "run/imu")
    info = keyed.info("run/imu")
    assert info.schema.names == []
    assert json.loads(info.endpoints[0].app_metadata) == {"timestamp": None}
    assert keyed.do("topic_system_info", name="run/imu")["total_size_bytes"] == 0
    with refused("INTERNAL", "missing data :: unable to compute optimal batch size"):
        keyed.read("run/imu")
    keyed.put("run/imu", topic)
    assert keyed.do("topic_system_info", name="run/imu")["is_locked"] is True
    with refused("INTERNAL", "missing data :: unable to compute optimal batch size"):
        keyed.read("run/imu")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("/run", "run"), ("//run.1", "run1"), (" a b ", "ab"), ("é$x", "?x"), ("50%&£!", "50?")],
)
def test_names_are_cleaned_silently(keyed: Keyed, given: str, kept: str) -> None:
    """Names lose what the platform does not like, without a word."""
    keyed.sequence(given)
    assert [info.descriptor.path[0].decode() for info in keyed.client.list_flights()] == [kept]
    with refused("INTERNAL", f"sequence `{kept}` already exists"):
        keyed.sequence(kept)


def test_locks(keyed: Keyed) -> None:
    """A finalized sequence takes no topic and is not removed; nor is a locked topic."""
    key = keyed.sequence("run")
    topic = keyed.topic(key, "run/imu")
    unlocked = "topic unlocked, unable to perform the requested operation over an unlocked topic"
    with refused("INTERNAL", unlocked):
        keyed.do("sequence_finalize", name="run", key=key)
    keyed.put("run/imu", topic, batch(1))
    with refused("INTERNAL", "topic locked, unable to perform modifications"):
        keyed.put("run/imu", topic, batch(2))
    with refused("INTERNAL", "sequence is locked"):
        keyed.do("topic_delete", name="run/imu")
    keyed.do("sequence_finalize", name="run", key=key)
    for action in ("sequence_delete", "sequence_abort"):
        with refused("INTERNAL", "sequence is locked"):
            keyed.do(action, name="run", key=key)
    for call in (
        lambda: keyed.topic(key, "run/gps"),
        lambda: keyed.do("sequence_finalize", name="run", key=key),
    ):
        with refused("INTERNAL", "facade error :: sequence locked, unable to perform"):
            call()


def test_removing(keyed: Keyed) -> None:
    """Open topics and sequences are removed, with the key or without."""
    key = keyed.sequence("run")
    keyed.topic(key, "run/imu")
    assert keyed.do("topic_delete", name="run/imu") is None
    assert keyed.do("sequence_abort", name="run", key=key) is None
    keyed.put("again/imu", keyed.topic(keyed.sequence("again"), "again/imu"), batch(1))
    assert keyed.do("sequence_delete", name="again") is None
    assert list(keyed.client.list_flights()) == []


def test_keys_are_checked(keyed: Keyed) -> None:
    """What is unknown comes first, then the form of a key, then whether it is the right one."""
    key = keyed.sequence("run")
    topic = keyed.topic(key, "run/imu")
    other = str(uuid4())
    for action in ("sequence_finalize", "sequence_abort"):
        with refused("INTERNAL", NO_ROWS):
            keyed.do(action, name="none", key="x")
        with refused("INTERNAL", "malformed key :: "):
            keyed.do(action, name="run", key="x")
        with refused("INTERNAL", "bad key"):
            keyed.do(action, name="run", key=other)
    with refused("INTERNAL", NO_ROWS):
        keyed.put("run/none", topic)
    with refused("INTERNAL", "malformed key :: "):
        keyed.put("run/imu", "x")
    with refused("INTERNAL", "bad key"):
        keyed.put("run/imu", other)


def test_topic_create_checks_in_order(keyed: Keyed) -> None:
    """Taken name, form of the key, its sequence, prefix: the first fault is told."""
    key = keyed.sequence("run")
    keyed.topic(key, "run/imu")
    with refused("INTERNAL", "topic `run/imu` already exists"):
        keyed.topic("x", "run/imu")
    with refused("INTERNAL", "malformed key :: "):
        keyed.topic("x", "other/imu")
    with refused("INTERNAL", NO_ROWS):
        keyed.topic(str(uuid4()), "other/imu")
    with refused("INTERNAL", "facade error :: unauthorized"):
        keyed.topic(key, "other/imu")


def test_refusals(keyed: Keyed) -> None:
    """Unknown actions, malformed bodies and foreign descriptors are all internal errors."""
    with refused("INTERNAL", "action error :: no available action for string `info`"):
        keyed.do("info")
    with refused("INTERNAL", "action error :: body deserialization error: "):
        keyed.do("sequence_create", name="run")
    with refused("INTERNAL", "repository error :: not found"):
        keyed.info("none")
    with refused("INTERNAL", "unsupported descriptor type"):
        keyed.client.get_flight_info(flight.FlightDescriptor.for_path("__probe__"))
    with refused("INTERNAL", "unsupported descriptor type"):
        list(keyed.client.list_flights(b"run"))
    with refused("INTERNAL", "marshal error :: deserialization error :: "):
        keyed.client.get_flight_info(flight.FlightDescriptor.for_command(b"{"))
    with refused("INTERNAL", "marshal error :: deserialization error :: "):
        keyed.client.do_get(flight.Ticket(b"run/imu")).read_all()
    with refused("UNIMPLEMENTED"):
        keyed.client.get_schema(command(resource_locator="run/imu"))


def test_put_refusals(keyed: Keyed) -> None:
    """A bad schema, a message without data and one that is too big are told in this tongue."""
    key = keyed.topic(keyed.sequence("run"), "run/imu")
    descriptor = command(resource_locator="run/imu", key=key)
    for kind, text in ((pa.int32(), "wrong timestamp field type, expected int64"), (None, "miss")):
        schema = pa.schema([("timestamp_ns" if kind else "t", kind or pa.int64())])
        writer, _ = keyed.client.do_put(descriptor, schema)
        with refused("INTERNAL", f"sanitization error :: {text}"):
            writer.close()
    writer = keyed.begin_put("run/imu", key)
    writer.write_batch(batch(1))
    writer.write_metadata(b"abort")
    with refused("INTERNAL", "no data received"):
        writer.close()
    assert keyed.do("topic_system_info", name="run/imu")["is_locked"] is False


def test_notifications(keyed: Keyed) -> None:
    """Notifications are listed and purged; of what does not exist there simply are none."""
    keyed.recorded("run", imu=batch(1))
    for kind, name in (("sequence", "run"), ("topic", "run/imu")):
        request = {"name": name, "notify_type": "error", "msg": "text"}
        assert keyed.do(f"{kind}_notify_create", **request) is None
        (entry,) = keyed.do(f"{kind}_notify_list", name=name)["notifies"]
        assert entry.pop("created_datetime").endswith(" UTC")
        assert entry == request
        assert keyed.do(f"{kind}_notify_purge", name=name) is None
        assert keyed.do(f"{kind}_notify_list", name=name) == {"notifies": []}
        assert keyed.do(f"{kind}_notify_list", name="none") == {"notifies": []}
        assert keyed.do(f"{kind}_notify_purge", name="none") is None
        with refused("INTERNAL", "io error :: unkwnown notify type `info`"):
            keyed.do(f"{kind}_notify_create", **request | {"notify_type": "info"})


@pytest.mark.parametrize(
    ("section", "field", "condition", "expected"),
    [
        ("sequence", "name", {"$match": "riv"}, True),
        ("sequence", "name", {"$match": "r_v%1"}, True),
        ("sequence", "name", {"$match": "d*"}, False),
        ("sequence", "name", {"$match": r"r\_v"}, False),
        ("topic", "name", {"$eq": "/imu"}, True),
        ("topic", "created_timestamp", {"$gt": 0}, True),
        ("sequence", "user_metadata", {"driver.id": {"$eq": "d1"}}, True),
        ("sequence", "user_metadata", {"run": {"$between": [8, 9]}}, False),
        ("ontology", "probe.value.x", {"$gt": 1.5}, True),
        ("ontology", "probe.value.x", {"$gt": 2.5}, False),
    ],
)
def test_query(
    keyed: Keyed, section: str, field: str, condition: dict[str, Any], *, expected: bool
) -> None:
    """Names are matched by substring with SQL's wildcards; the rest as in the other generation."""
    keyed.recorded("drive-1", imu=batch(10, 20))
    items = keyed.do("query", **{section: {field: condition}})["items"]
    found = [{"sequence": "drive-1", "topics": [{"locator": "drive-1/imu"}]}]
    assert items == (found if expected else [])


def test_query_tells_time_ranges(keyed: Keyed) -> None:
    """The range of the matching rows is told when asked for, over all chunks."""
    key = keyed.sequence("run")
    keyed.put("run/imu", keyed.topic(key, "run/imu"), batch(50, 10), batch(30, 40), batch(20))
    ontology = {"probe.value.x": {"$between": [1.5, 4.5]}, "include_timestamp_range": True}
    (item,) = keyed.do("query", ontology=ontology)["items"]
    assert item["topics"] == [{"locator": "run/imu", "timestamp_range": [20, 40]}]
    assert keyed.do("query", ontology={"include_timestamp_range": True}) == {"items": []}


@pytest.mark.parametrize(
    "request_",
    [
        {"sequence": {"name": {"$lt": "a"}}},
        {"sequence": {"user_metadata": {"a": {"$match": "b"}}}},
        {"ontology": {"probe.x": {"$neq": 1}}},
        {"ontology": {"probe.x[?]": {"$gt": 1}}},
        {"ontology": {"include_timestamp_range": 1}},
    ],
)
def test_operators_of_later_revisions_are_refused(keyed: Keyed, request_: dict[str, Any]) -> None:
    """What only later revisions have is refused, not evaluated."""
    with refused("INTERNAL", "marshal error :: deserialization error :: "):
        keyed.do("query", **request_)
