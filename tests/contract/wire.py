"""Raw Flight calls of the session generation, for tests: JSON in, JSON out, nothing hidden."""

import json
import re
import time
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

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


def command(**fields: Any) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(json.dumps(fields).encode())


def batch(*times_ns: int, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Make rows whose contents tell their time."""
    return pa.RecordBatch.from_pylist(
        [
            {"timestamp_ns": each, "value": {"x": each / 10, "y": each % 7}, "label": f"at {each}"}
            for each in times_ns
        ],
        schema=schema,
    )


class Wire:
    """A connection to a server, with the calls a test needs most."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.client = flight.FlightClient(url, **options)
        self.opened: dict[str, str] = {}  # the last session of each sequence, by uuid

    def close(self) -> None:
        self.client.close()

    def results(self, action: str, body: bytes) -> list[bytes]:
        return [result.body.to_pybytes() for result in self.client.do_action((action, body))]

    def do(self, action: str, **request: Any) -> Any:
        """Do an action with one response, and check its envelope."""
        (body,) = self.results(action, json.dumps(request).encode())
        envelope = json.loads(body)
        assert envelope.keys() == {"action", "response"}
        assert envelope["action"] == action
        return envelope["response"]

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
        descriptor = command(resource_locator=topic[0], topic_uuid=topic[1])
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
            command(resource_locator=locator, timestamp_ns_start=start_ns, timestamp_ns_end=end_ns)
        )

    def described(
        self, topic: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> dict[str, Any]:
        """Give the JSON that describes a topic."""
        (endpoint,) = self.info(topic, start_ns, end_ns).endpoints
        described: dict[str, Any] = json.loads(endpoint.app_metadata)
        return described

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
