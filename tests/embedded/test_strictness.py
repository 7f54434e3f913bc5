"""What the server refuses because the platform does, and what must not leave it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from tests.contract.wire import SCHEMA, Wire, batch, refused
from tests.servers.keyed.actions import find_sequence


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with EmbeddedServer(tmp_path / "data") as server:
        connected = Wire(f"grpc://{server.address}")
        yield connected
        connected.close()


DATABASE = ("INTERNAL", "Internal error: database failure")


def test_nul_in_names_metadata_and_notifications(wire: Wire) -> None:
    """The platform's database refuses it, and nothing is made."""
    session = wire.session(wire.sequence("run"))
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: wire.sequence("a\0b"),
        lambda: wire.sequence("ab", {"driver": ["a\0b"]}),
        lambda: wire.topic(session, "a\0b"),
        lambda: wire.topic(session, "t", metadata={"k\0": 1}),
        lambda: wire.do(
            "sequence_notification_create", locator="run", notification_type="error", msg="\0"
        ),
        lambda: wire.query(sequence={"name": {"$eq": "\0"}}),
        lambda: wire.info("a\0b"),
    )
    for attempt in attempts:
        with refused(*DATABASE):
            attempt()
    assert [info.descriptor.path for info in wire.client.list_flights()] == [[b"run"]]


@pytest.mark.parametrize(
    ("labels", "is_taken"),
    [(["a", "a\0"], False), (["\0", "b"], False), (["a", "b\0", "c"], True)],
    ids=["largest", "smallest", "between"],
)
def test_nul_in_data(wire: Wire, labels: list[str], *, is_taken: bool) -> None:
    """It breaks a batch whose smallest or largest text holds it; the topic stays uploading."""
    topic = wire.topic(wire.session(wire.sequence("run")), "t")
    rows = [
        {"timestamp_ns": number, "value": {"x": 0.0, "y": 0}, "label": label}
        for number, label in enumerate(labels)
    ]
    written = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    if is_taken:
        wire.put(topic, written)
        assert wire.read(topic[0]).column("label").to_pylist() == labels
        return
    with refused(*DATABASE):
        wire.put(topic, written)
    with refused("FAILED_PRECONDITION", "is already uploading data."):
        wire.put(topic, batch(1))


ODD_BODIES = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"\\ud800"', b"[" * 5000, b"\x0a\x03run"]
ODD_LOCATORS: tuple[Any, ...] = (None, 1, [], {}, "", "\ud800")
ODD_BODIES += [json.dumps({"locator": odd}).encode() for odd in ODD_LOCATORS]


def put(wire: Wire, body: bytes) -> None:
    writer, _ = wire.client.do_put(flight.FlightDescriptor.for_command(body), SCHEMA)
    writer.close()


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_no_traceback_leaves_the_server(wire: Wire, body: bytes) -> None:
    """Whatever is asked: a refusal in the platform's words, without a line of our code."""
    actions = ("sequence_delete", "session_create", "query", "topic_filter_clusterize", "no\0such")
    calls: list[Callable[[], Any]] = [
        *(lambda name=name: wire.results(name, body) for name in actions),
        lambda: wire.client.get_flight_info(flight.FlightDescriptor.for_command(body)),
        lambda: wire.client.get_schema(flight.FlightDescriptor.for_command(body)),
        lambda: wire.client.do_get(flight.Ticket(body)).read_all(),
        lambda: list(wire.client.list_flights(body or b"x")),
        lambda: put(wire, body),
    ]
    for call in calls:
        try:
            call()
        except (pa.ArrowException, OSError) as error:
            said = str(error).partition("gRPC client debug context")[0]
            assert "Traceback" not in said
            assert ".py" not in said


def test_empty_name_is_nothing_at_all(tmp_path: Path) -> None:
    """It finds no sequence and no session, and deletes none."""
    archive = Archive(tmp_path, message_bytes_max=1000)
    archive.catalogue.add_sequence(uuid="u", locator="run", user_metadata="{}")
    sequence = find_sequence(archive, "run")
    archive.catalogue.add_session(sequence, uuid="s", locator="run:1")
    assert archive.catalogue.sequence(locator="") is None
    assert archive.catalogue.sequence(uuid="") is None
    assert archive.catalogue.sequence(locator="u") is None
    assert archive.catalogue.sequence(uuid="run") is None
    assert archive.catalogue.session(uuid="", locator="") is None
    assert archive.catalogue.session(locator="s") is None
    archive.close()
