"""A server that speaks the current revision badly: a topic's name picks what goes wrong with it.

| name contains | what happens |
|---|---|
| `refuse-create` | topic_create is refused: bad locator |
| `refuse-put` | the put is refused: missing permission |
| `reject-schema` | the put is refused: unsupported schema |
| `stall` | the put is never read |
| `stall-end` | the put is read, its end is never answered |
| `lax` | a message without payload is no error, so that an aborted put looks complete |
| `trickle` | the put is read, one batch each 50 ms |
| `break` | the put fails with an internal error at the second batch |
| `early` | the put ends without an error after the first batch |
| `lose-row` | one row fewer than was sent is reported |
| `garbage-create` | topic_create answers bytes that are no JSON |
| `other-create` | topic_create answers with the envelope of another action |
| `empty-create` | topic_create answers without a uuid |
| `garbage-info` | the flight info carries bytes that are no JSON |
| `echo-key` | topic_create fails with a text that repeats the API key |
| `die-put` | the process dies at the first batch |
| `die-finalize` | the process dies when the session is finalised |
| `hang-finalize` | the finalisation is never answered |
| `break-read` | a read fails with an internal error after its first batch |
| `stall-read` | a read never goes on after its first batch |
| `garbage-read` | a read gives rows without their time |

A sequence whose name contains `no-session` is created, but no session in it.

Run as a program it prints its port and serves until it is killed or dies.
"""

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.ontology import Integer64

LIMIT_BYTES = 1_000_000
HANG_S = 30.0


class KeyReader(flight.ServerMiddlewareFactory):  # type: ignore[misc]  # pyarrow is untyped
    """Keeps the API key of the last call."""

    last = ""

    def start_call(self, _info: Any, headers: dict[str, list[str]]) -> None:
        KeyReader.last = (headers.get("mosaico-api-key-token") or [""])[0]


class BadServer(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow is untyped
    """Holds names and counts in memory, no data."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        middleware = {"key": KeyReader()}
        super().__init__(f"grpc://127.0.0.1:{port}", middleware=middleware, **options)
        self.sequences: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.released = threading.Event()

    def do_action(self, _context: Any, action: Any) -> Iterator[bytes]:
        request = json.loads(action.body.to_pybytes())
        self.calls.append(action.type)
        answer = getattr(self, f"do_{action.type}", None)
        if answer is None:
            raise pa.ArrowInvalid(f"Bad request: no available action for string `{action.type}`.")
        response = answer(request)
        if isinstance(response, bytes):
            yield response
        else:
            yield json.dumps({"action": action.type, "response": response}).encode()

    def do_info(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": "0.7.0",
            "semver": {"major": 0, "minor": 7, "patch": 0, "pre": ""},
            "config": {"grpc_max_decode_message_size": LIMIT_BYTES},
        }

    def do_sequence_create(self, request: dict[str, Any]) -> None:
        self.sequences[request["locator"]] = {"session": "", "topics": {}}

    def do_session_create(self, request: dict[str, Any]) -> dict[str, str]:
        sequence = self.sequences[request["locator"]]
        if "no-session" in request["locator"]:
            raise flight.FlightInternalError("Internal error: database failure.")
        sequence["session"] = str(uuid.uuid4())
        return {"uuid": sequence["session"], "locator": f"{request['locator']}:SESSION"}

    def do_topic_create(self, request: dict[str, Any]) -> dict[str, str] | bytes:
        locator = request["locator"]
        if "refuse-create" in locator:
            raise pa.ArrowInvalid(f"{locator} is not a valid locator.")
        if "garbage-create" in locator:
            return b"\x00\x01 what?"
        if "other-create" in locator:
            return b'{"action":"session_create","response":{"uuid":"x"}}'
        if "empty-create" in locator:
            return b'{"action":"topic_create","response":null}'
        if "echo-key" in locator:
            raise flight.FlightInternalError(f"cannot use {KeyReader.last}")
        topics = self.sequences[locator.partition("/")[0]]["topics"]
        topics[locator] = {"rows": 0, "locked": False}
        return {"uuid": str(uuid.uuid4())}

    def do_topic_delete(self, request: dict[str, Any]) -> None:
        self.sequences[request["locator"].partition("/")[0]]["topics"].pop(request["locator"], None)

    def do_topic_notification_create(self, _request: dict[str, Any]) -> None:
        """Take it."""

    def do_sequence_notification_create(self, _request: dict[str, Any]) -> None:
        """Take it."""

    def do_session_delete(self, _request: dict[str, Any]) -> None:
        """Take it."""

    def do_sequence_delete(self, request: dict[str, Any]) -> None:
        self.sequences.pop(request["locator"])

    def do_session_finalize(self, request: dict[str, Any]) -> None:
        for sequence in self.sequences.values():
            if sequence["session"] == request["session_uuid"]:
                names = " ".join(sequence["topics"])
                if "die-finalize" in names:
                    os._exit(9)
                if "hang-finalize" in names:
                    self.released.wait(HANG_S)

    def list_flights(self, _context: Any, _criteria: bytes) -> Iterator[flight.FlightInfo]:
        for name in self.sequences:
            yield flight.FlightInfo(None, flight.FlightDescriptor.for_path(name), [], -1, -1)

    def get_flight_info(self, _context: Any, descriptor: Any) -> flight.FlightInfo:
        name = json.loads(descriptor.command)["resource_locator"]
        if "/" in name:
            return self.topic_info(descriptor, name)
        sequence = self.sequences[name]
        topics = sequence["topics"]
        told = {
            "created_at_ns": 1,
            "resource_locator": name,
            "user_metadata": {},
            "sessions": [
                {"locator": f"{name}:SESSION", "created_at_ns": 1, "topics": list(topics)}
            ],
        }
        endpoints = [
            flight.FlightEndpoint(b"", [], None, self._describe(locator, topic))
            for locator, topic in topics.items()
        ]
        return flight.FlightInfo(
            pa.schema([]), descriptor, endpoints, app_metadata=json.dumps(told).encode()
        )

    def topic_info(self, descriptor: Any, locator: str) -> flight.FlightInfo:
        topic = self.sequences[locator.partition("/")[0]]["topics"][locator]
        endpoint = flight.FlightEndpoint(locator.encode(), [], None, self._describe(locator, topic))
        return flight.FlightInfo(Integer64.schema, descriptor, [endpoint])

    def do_get(self, _context: Any, ticket: Any) -> flight.FlightDataStream:
        locator = ticket.ticket.decode()
        column = "other" if "garbage-read" in locator else "timestamp_ns"
        schema = pa.schema([(column, pa.int64())])
        return flight.GeneratorStream(schema, self._rows(locator, schema))

    def _rows(self, locator: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        batch = pa.record_batch([pa.array([1, 2], pa.int64())], schema=schema)
        yield batch
        if "break-read" in locator:
            raise flight.FlightInternalError("Internal error: database failure.")
        if "stall-read" in locator:
            self.released.wait(HANG_S)
        yield batch

    def _describe(self, locator: str, topic: dict[str, Any]) -> bytes:
        if "garbage-info" in locator:
            return b"\xff\xfe"
        rows = topic["rows"] - ("lose-row" in locator)
        told = {
            "created_at_ns": 1,
            "locked": topic["locked"],
            "resource_locator": locator,
            "user_metadata": {},
            "data_info": {"total_row_count": rows, "total_bytes": 1, "total_chunks_count": 1},
        }
        return json.dumps(told).encode()

    def do_put(self, context: Any, descriptor: Any, reader: Any, _writer: Any) -> None:
        locator = json.loads(descriptor.command)["resource_locator"]
        topic = self.sequences[locator.partition("/")[0]]["topics"][locator]
        if "refuse-put" in locator:
            raise flight.FlightUnauthorizedError(
                "Unauthorized: provided API key does not have WRITE permissions."
            )
        if "reject-schema" in locator:
            raise pa.ArrowInvalid("Unsupported schema: missing timestamp field in schema.")
        if locator.endswith("stall"):
            self.released.wait(HANG_S)
            return
        self._read(locator, topic, reader)
        if "stall-end" in locator:
            self.released.wait(HANG_S)
        topic["locked"] = not context.is_cancelled()

    def _read(self, locator: str, topic: dict[str, Any], reader: Any) -> None:
        for count, chunk in enumerate(reader):
            if chunk.data is None:
                if "lax" in locator:
                    continue
                raise flight.FlightInternalError("Unsupported stream message, stream aborted.")
            if "die-put" in locator:
                os._exit(9)
            if "break" in locator and count == 1:
                raise flight.FlightInternalError("Internal error: database failure.")
            if "early" in locator:
                return
            if "trickle" in locator:
                time.sleep(0.05)
            topic["rows"] += chunk.data.num_rows


def main() -> None:
    server = BadServer()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
