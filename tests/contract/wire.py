"""Raw Flight calls of the session generation, for tests: nothing hidden, in either encoding.

Both are asked and answer as JSON has it; `ProtobufWire` has G3's bytes in between.
"""

import json
import re
import time
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.contract import protobuf

SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("value", pa.struct([("x", pa.float64()), ("y", pa.int32())])),
        pa.field("label", pa.string()),
    ]
)

# What pyarrow makes of each status. A pyarrow server cannot send ALREADY_EXISTS,
# FAILED_PRECONDITION or OUT_OF_RANGE, so for these the common base, or what a client sees anyway,
# must do.
CLASSES: dict[str, type[Exception]] = {
    "INVALID_ARGUMENT": pa.ArrowInvalid,
    "NOT_FOUND": pa.lib.ArrowKeyError,
    "ALREADY_EXISTS": pa.ArrowException,
    "FAILED_PRECONDITION": pa.ArrowInvalid,
    "OUT_OF_RANGE": pa.ArrowInvalid,
    "PERMISSION_DENIED": flight.FlightUnauthorizedError,
    "CANCELLED": flight.FlightCancelledError,
    "ABORTED": flight.FlightInternalError,
    "INTERNAL": flight.FlightInternalError,
    "UNIMPLEMENTED": pa.lib.ArrowNotImplementedError,
}


def refused(status: str, text: str | None = None) -> AbstractContextManager[object]:
    """Expect a call to be refused with a status and a text."""
    return pytest.raises(CLASSES[status], match=None if text is None else re.escape(text))


def batch(*times_ns: int, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Make rows whose contents tell their time."""
    return pa.RecordBatch.from_pylist(
        [
            {"timestamp_ns": each, "value": {"x": each / 10, "y": each % 7}, "label": f"at {each}"}
            for each in times_ns
        ],
        schema=schema,
    )


def command(**fields: Any) -> flight.FlightDescriptor:
    """Make the descriptor of a command in JSON."""
    return flight.FlightDescriptor.for_command(json.dumps(fields).encode())


class Wire:
    """A connection to a server, with the calls a test needs most."""

    is_protobuf = False
    version = (0, 7)

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.client = flight.FlightClient(url, **options)
        self.opened: dict[str, str] = {}  # the last session of each sequence, by uuid

    def close(self) -> None:
        self.client.close()

    def results(self, action: str, body: bytes) -> list[bytes]:
        return [result.body.to_pybytes() for result in self.client.do_action((action, body))]

    def request(self, action: str, **request: Any) -> bytes:
        """Encode the request of an action."""
        del action  # JSON is the same for all
        return json.dumps(request).encode()

    def answer(self, action: str, body: bytes) -> Any:
        """Take the response out of its envelope, which is checked."""
        envelope = json.loads(body)
        assert envelope.keys() == {"action", "response"}
        assert envelope["action"] == action
        return envelope["response"]

    def do(self, action: str, **request: Any) -> Any:
        """Do an action with one response."""
        (body,) = self.results(action, self.request(action, **request))
        return self.answer(action, body)

    def stream(self, action: str, **request: Any) -> list[Any]:
        """Do a streaming action; checks that each result is a line of its own."""
        bodies = self.results(action, self.request(action, **request))
        assert all(body.endswith(b"\n") for body in bodies)
        return [self.answer(action, body) for body in bodies]

    def command(self, **fields: Any) -> flight.FlightDescriptor:
        """Make the descriptor of a command; with a `topic_uuid` that of a put."""
        return command(**fields)

    def facts(self, _about: str, metadata: bytes) -> dict[str, Any]:
        """Decode how a sequence or topic is described."""
        described: dict[str, Any] = json.loads(metadata)
        return described

    def sequence(self, name: str, metadata: Any = None) -> str:
        self.do("sequence_create", locator=name, user_metadata=metadata or {})
        return name

    def session(self, sequence: str) -> dict[str, str]:
        opened: dict[str, str] = self.do("session_create", locator=sequence)
        self.opened[sequence] = opened["uuid"]
        return opened

    def topic(
        self,
        session: dict[str, str],
        path: str,
        *,
        tag: str = "Probe",
        storage: str = "default",
        metadata: Any = None,
    ) -> tuple[str, str]:
        """Create a topic; gives its locator and uuid."""
        locator = f"{session['locator'].partition(':')[0]}/{path}"
        created = self.do(
            "topic_create",
            session_uuid=session["uuid"],
            locator=locator,
            serialization_format=storage,
            ontology_tag=tag,
            user_metadata=metadata or {},
        )
        return locator, created["uuid"]

    def begin_put(
        self, topic: tuple[str, str], schema: pa.Schema = SCHEMA
    ) -> flight.FlightStreamWriter:
        descriptor = self.command(resource_locator=topic[0], topic_uuid=topic[1])
        return self.client.do_put(descriptor, schema)[0]

    def put(
        self, topic: tuple[str, str], *batches: pa.RecordBatch, schema: pa.Schema = SCHEMA
    ) -> None:
        """Put batches and end the stream cleanly."""
        writer = self.begin_put(topic, schema)
        try:
            for each in batches:
                writer.write_batch(each)
            writer.done_writing()
        finally:
            writer.close()

    def await_upload(self, topic: tuple[str, str]) -> None:
        """Wait until the server has taken notice of a put, which is after `do_put` returns.

        Asks to finalize the session, which is refused for one reason before and another after.
        """
        session = self.opened[topic[0].partition("/")[0]]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with pytest.raises(pa.ArrowInvalid) as caught:
                self.do("session_finalize", session_uuid=session)
            if "is already uploading data." in str(caught.value):
                return
            assert "DoPut not called" in str(caught.value)
            time.sleep(0.01)
        raise AssertionError("the upload never began")

    def recorded(self, name: str, **topics: pa.RecordBatch) -> str:
        """Make a finalized sequence of topics with one batch each."""
        session = self.session(self.sequence(name))
        for path, each in topics.items():
            self.put(self.topic(session, path), each)
        self.do("session_finalize", session_uuid=session["uuid"])
        return name

    def info(
        self, locator: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> flight.FlightInfo:
        return self.client.get_flight_info(
            self.command(
                resource_locator=locator, timestamp_ns_start=start_ns, timestamp_ns_end=end_ns
            )
        )

    def described(
        self, topic: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> dict[str, Any]:
        """Describe a topic."""
        (endpoint,) = self.info(topic, start_ns, end_ns).endpoints
        return self.facts("topic", endpoint.app_metadata)

    def sequence_facts(self, name: str) -> dict[str, Any]:
        """Describe a sequence."""
        return self.facts("sequence", self.info(name).app_metadata)

    def read(self, topic: str, start_ns: int | None = None, end_ns: int | None = None) -> pa.Table:
        (endpoint,) = self.info(topic, start_ns, end_ns).endpoints
        return self.client.do_get(endpoint.ticket).read_all()

    def times(
        self, topic: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[int]:
        times: list[int] = self.read(topic, start_ns, end_ns).column("timestamp_ns").to_pylist()
        return times

    def query(self, **request: Any) -> dict[str, list[str]]:
        """Query; gives topic locators by sequence."""
        items = self.do("query", **request)["items"]
        return {item["sequence"]: [topic["locator"] for topic in item["topics"]] for item in items}


class ProtobufWire(Wire):
    """The same in protobuf; filters as messages (G3b) or as JSON (G3a)."""

    is_protobuf = True
    version = (0, 8)
    filters = "typed"

    def request(self, action: str, **request: Any) -> bytes:
        values = {"query": request} if action == "query" else request
        return protobuf.encode(protobuf.REQUESTS[action], values, filters=self.filters)

    def answer(self, action: str, body: bytes) -> Any:
        """Decode an answer; without one there is exactly one result of no bytes."""
        if action not in protobuf.ANSWERS:
            assert body == b""
            return None
        return protobuf.decode(protobuf.ANSWERS[action], body)

    def stream(self, action: str, **request: Any) -> list[Any]:
        bodies = self.results(action, self.request(action, **request))
        return [self.answer(action, body) for body in bodies]

    def command(self, **fields: Any) -> flight.FlightDescriptor:
        start_ns = fields.pop("timestamp_ns_start", None)
        end_ns = fields.pop("timestamp_ns_end", None)
        if start_ns is not None or end_ns is not None:
            fields["timestamp_range"] = {"start_ns": start_ns, "end_ns": end_ns}
        kind = "put" if "topic_uuid" in fields else "resource"
        return flight.FlightDescriptor.for_command(protobuf.encode(protobuf.COMMANDS[kind], fields))

    def facts(self, about: str, metadata: bytes) -> dict[str, Any]:
        """Decode how something is described; of topics only this encoding gives the session."""
        described = protobuf.decode(protobuf.FACTS[about], metadata)
        if about == "topic":
            sequence = described["resource_locator"].partition("/")[0]
            assert described.pop("session_locator").startswith(f"{sequence}:")
        return described


class ProtobufWireOfJsonFilters(ProtobufWire):
    """The protobuf generation before its filters became messages (G3a)."""

    filters = "json"


WIRES = {"G2d": Wire, "G3b": ProtobufWire, "G3a": ProtobufWireOfJsonFilters}
