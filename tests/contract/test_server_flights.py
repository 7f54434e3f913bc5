"""ListFlights, GetFlightInfo and GetSchema: what each says of each state."""

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.contract.wire import SCHEMA, Wire, batch, refused


def test_list_gives_every_sequence(wire: Wire, name: str) -> None:
    """Sequences are listed by path, open and finalized, without a schema."""
    wire.recorded(name, imu=batch(1))
    wire.sequence(f"{name}-open")
    listed = {
        info.descriptor.path[0].decode(): info
        for info in wire.client.list_flights(b"/")
        if info.descriptor.path[0].startswith(name.encode())
    }
    assert listed.keys() == {name, f"{name}-open"}
    info = listed[name]
    assert info.schema is None
    assert (info.total_records, info.total_bytes) == (-1, -1)
    (endpoint,) = info.endpoints
    assert endpoint.ticket.ticket == name.encode()
    assert list(endpoint.locations) == []


def test_list_has_no_criteria(wire: Wire) -> None:
    """Nothing below the root can be listed."""
    with refused("INVALID_ARGUMENT", "Unsupported descriptor."):
        list(wire.client.list_flights(b"run"))


@pytest.mark.parametrize("call", ["get_flight_info", "get_schema"])
def test_descriptor_must_be_a_command(wire: Wire, call: str) -> None:
    """A path is refused, and so is a command that is not the request with a locator."""
    ask = getattr(wire.client, call)
    with refused("INVALID_ARGUMENT", "Unsupported descriptor."):
        ask(flight.FlightDescriptor.for_path("run"))
    no_json = (b"", b"{", b"[]", b"{}", b'{"resource_locator":1}')
    no_message = (b"{", b"{}", b'{"resource_locator":"a"}', b"\x0a\x09a")
    for text in no_message if wire.is_protobuf else no_json:
        with refused("INVALID_ARGUMENT", "Bad request: "):
            ask(flight.FlightDescriptor.for_command(text))


def test_info_needs_a_locator_that_exists(wire: Wire, name: str) -> None:
    """Bad, session's and unknown locators are refused, each in its way."""
    for bad in ("", "a b", "a//b", "/a", "a/"):
        with refused("INVALID_ARGUMENT", f"{bad} is not a valid locator."):
            wire.info(bad)
    session = f"{name}:01JQ3E5B8Z4T6W9X2Y7K1M0NPR"
    with refused("INVALID_ARGUMENT", f"Unsupported locator: {session}."):
        wire.info(session)
    for unknown in (name, f"{name}/imu"):
        with refused("NOT_FOUND", " not found."):
            wire.info(unknown)


@pytest.mark.parametrize("window", [(5, 5), (6, 5)])
def test_info_refuses_an_empty_range(wire: Wire, name: str, window: tuple[int, int]) -> None:
    """A window must have room for a time."""
    wire.recorded(name, imu=batch(1))
    with refused("INVALID_ARGUMENT"):
        wire.info(f"{name}/imu", *window)


def test_info_of_sequence_tells_sessions_and_topics(wire: Wire, name: str) -> None:
    """A sequence is described with its sessions; each topic is an endpoint with its own JSON."""
    wire.sequence(name, {"driver": {"id": "d1"}})
    opened = wire.session(name)
    for path in ("imu", "deep/gps"):
        wire.put(wire.topic(opened, path, metadata={"of": path}), batch(1, 2))
    wire.do("session_finalize", session_uuid=opened["uuid"])
    info = wire.info(name)
    assert info.schema.names == []
    assert not info.schema.metadata
    assert info.descriptor == wire.command(
        resource_locator=name, timestamp_ns_start=None, timestamp_ns_end=None
    )
    described = wire.facts("sequence", info.app_metadata)
    (session,) = described.pop("sessions")
    assert described == {
        "created_at_ns": described["created_at_ns"],
        "resource_locator": name,
        "user_metadata": {"driver": {"id": "d1"}},
    }
    assert set(session.pop("topics")) == {f"{name}/imu", f"{name}/deep/gps"}
    assert session == {
        "locator": opened["locator"],
        "created_at_ns": session["created_at_ns"],
        "completed_at_ns": session["completed_at_ns"],
        "locked": True,
    }
    assert described["created_at_ns"] < session["created_at_ns"] < session["completed_at_ns"]
    endpoints = {
        topic["resource_locator"]: topic
        for topic in (wire.facts("topic", endpoint.app_metadata) for endpoint in info.endpoints)
    }
    assert {topic["user_metadata"]["of"] for topic in endpoints.values()} == {"imu", "deep/gps"}
    assert all(list(endpoint.locations) == [] for endpoint in info.endpoints)


def test_endpoints_of_a_sequence_can_be_read(wire: Wire, name: str) -> None:
    """The tickets of a sequence read its topics, in the window that was asked."""
    wire.recorded(name, a=batch(1, 2, 3), b=batch(2, 3, 4))
    read = {
        wire.facts("topic", endpoint.app_metadata)["resource_locator"]: wire.client.do_get(
            endpoint.ticket
        )
        .read_all()
        .column("timestamp_ns")
        .to_pylist()
        for endpoint in wire.info(name, 2, 4).endpoints
    }
    assert read == {f"{name}/a": [2, 3], f"{name}/b": [2, 3]}


NOTHING = {
    "interval": None,
    "total_row_count": 0,
    "total_bytes": 0,
    "total_chunks_count": 0,
}
NO_ROWS = {"interval": None, "row_count": 0}


def check(described: dict[str, Any], *, locked: bool) -> tuple[Any, Any]:
    """Check what all states share; gives data_info and time_window_info."""
    assert described["locked"] is locked
    assert (described["completed_at_ns"] is not None) is locked
    assert described.keys() == {
        "created_at_ns",
        "completed_at_ns",
        "locked",
        "resource_locator",
        "ontology_tag",
        "serialization_format",
        "user_metadata",
        "data_info",
        "time_window_info",
    }
    return described["data_info"], described["time_window_info"]


def test_info_of_topic_never_put(wire: Wire, name: str) -> None:
    """Before its put a topic is open and has nothing, in a window or without."""
    topic = wire.topic(wire.session(wire.sequence(name)), "a", tag="Tag")
    described = wire.described(topic[0])
    assert check(described, locked=False) == (NOTHING, None)
    assert described["ontology_tag"] == "Tag"
    assert check(wire.described(topic[0], 1, 2), locked=False) == (NOTHING, NO_ROWS)
    assert wire.info(topic[0]).schema.names == []


def test_info_of_topic_put_without_rows(wire: Wire, name: str) -> None:
    """A put without rows locks the topic; it has a schema and nothing else."""
    topic = wire.topic(wire.session(wire.sequence(name)), "a")
    wire.put(topic, batch())
    assert check(wire.described(topic[0]), locked=True) == (NOTHING, None)
    assert wire.info(topic[0]).schema.names == SCHEMA.names


def test_info_of_topic_with_rows(wire: Wire, name: str) -> None:
    """The whole topic is told always, the window beside it when asked."""
    topic = wire.topic(wire.session(wire.sequence(name)), "a")
    wire.put(topic, batch(30, 10), batch(20, 25), batch())
    whole, window = check(wire.described(topic[0]), locked=True)
    assert whole.pop("total_bytes") > 0
    assert whole == {
        "interval": {"start_ns": 10, "end_ns": 30},
        "total_row_count": 4,
        "total_chunks_count": 2,
    }
    assert window is None
    for bounds, interval, rows in (
        ((15, 30), (20, 25), 2),
        ((10, 11), (10, 10), 1),
        ((None, 26), (10, 25), 3),
        ((25, None), (25, 30), 2),
        ((10, 31), (10, 30), 4),
    ):
        _, window = check(wire.described(topic[0], *bounds), locked=True)
        expected = {"start_ns": interval[0], "end_ns": interval[1]}
        assert window == {"interval": expected, "row_count": rows}, bounds
    for bounds in ((31, 40), (0, 10), (26, 30), (11, 20)):
        whole, window = check(wire.described(topic[0], *bounds), locked=True)
        assert (whole["total_row_count"], window) == (4, NO_ROWS), bounds


def test_schema_is_the_uploaders(wire: Wire, name: str) -> None:
    """Fields come back with their own metadata, and the schema with its own and nothing more."""
    schema = pa.schema(
        [
            SCHEMA.field("timestamp_ns"),
            pa.field("v", pa.float32(), metadata={"description": "volts"}),
        ],
        metadata={"mine": "yes"},
    )
    topic = wire.topic(wire.session(wire.sequence(name)), "a")
    rows = pa.record_batch([pa.array([1]), pa.array([0.5], pa.float32())], schema=schema)
    wire.put(topic, rows, schema=schema)
    asked = wire.client.get_schema(wire.command(resource_locator=topic[0])).schema
    for each in (asked, wire.info(topic[0]).schema, wire.read(topic[0]).schema):
        assert each.equals(schema, check_metadata=True)


def test_schema_before_the_put_has_no_fields(wire: Wire, name: str) -> None:
    """A topic that was never put has an empty schema."""
    topic = wire.topic(wire.session(wire.sequence(name)), "a")
    assert wire.client.get_schema(wire.command(resource_locator=topic[0])).schema.names == []


def test_schema_is_for_topics(wire: Wire, name: str) -> None:
    """Sequences have no schema, and unknown topics neither."""
    wire.sequence(name)
    with refused("INVALID_ARGUMENT", f"{name} is not a valid topic locator."):
        wire.client.get_schema(wire.command(resource_locator=name))
    with refused("NOT_FOUND", " not found."):
        wire.client.get_schema(wire.command(resource_locator=f"{name}/imu"))


def test_other_calls_are_not_implemented(wire: Wire) -> None:
    """Handshake, ListActions and DoExchange do not exist."""
    with refused("UNIMPLEMENTED"):
        list(wire.client.list_actions())
    with refused("UNIMPLEMENTED"):
        wire.client.authenticate_basic_token("user", "word")
    writer, reader = wire.client.do_exchange(flight.FlightDescriptor.for_command(b"{}"))
    with refused("UNIMPLEMENTED"):
        reader.read_chunk()
    with refused("UNIMPLEMENTED"):
        writer.close()
