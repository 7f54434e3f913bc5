"""Servers of the older protocol revisions, written from the protocol's description.

They keep their data in the store of the embedded server and differ in what goes over the wire:
`KeyedServer` is G1.0, G1.1 or G1.2, `SessionServer` is G2a, G2b or G2c. They know nothing of the
client's own tables.
"""

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import flight

from tests.client.shelf import Shelf

Json = dict[str, Any]

PROPERTIES = ("serialization_format", "ontology_tag")


class OldServer(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow is untyped
    """What both generations share: the shelf, reading, and the notifications."""

    notification_word: str
    message_list_word: str
    locator_word: str
    actions: dict[str, Callable[[Json], Any]]

    def __init__(self, revision: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._kept = tempfile.TemporaryDirectory()
        self.folder = Path(self._kept.name)
        self.revision = revision
        self.sequences: dict[str, Json] = {}
        self.topics: dict[str, Json] = {}
        self.notifications: list[Json] = []
        self.queries: list[Json] = []

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._kept.cleanup()

    def fail(self, kind: str, text: str) -> Any:
        raise NotImplementedError

    def sequence(self, name: str) -> Json:
        if name not in self.sequences:
            raise self.fail("not found", "sequence")
        return self.sequences[name]

    def topic(self, locator: str) -> Json:
        if locator not in self.topics:
            raise self.fail("not found", "topic")
        return self.topics[locator]

    def topics_of(self, name: str) -> dict[str, Json]:
        return {key: topic for key, topic in self.topics.items() if key.startswith(f"{name}/")}

    def new_topic(self, request: Json, locator: str, **more: Any) -> Json:
        if locator in self.topics:
            raise self.fail("already exists", f"topic `{locator}` already exists")
        topic = {
            "key": str(uuid.uuid4()),
            "created_ns": time.time_ns(),
            "completed_ns": None,
            "locked": False,
            "metadata": request["user_metadata"],
            "properties": {key: request[key] for key in PROPERTIES},
            "batches": Shelf(self.folder),
            **more,
        }
        self.topics[locator] = topic
        return topic

    def span(self, topic: Json) -> tuple[int, int] | None:
        if not topic["batches"]:
            return None
        times = pa.Table.from_batches(topic["batches"]).column("timestamp_ns")
        return pc.min(times).as_py(), pc.max(times).as_py()

    def size(self, topic: Json) -> int:
        return sum(int(batch.nbytes) for batch in topic["batches"])

    def schema_metadata(self, context: str, resource: Json) -> Json:
        told = {
            "mosaico:context": context,
            "mosaico:user_metadata": json.dumps(resource["metadata"]),
        }
        if context == "topic":
            told["mosaico:properties"] = json.dumps(resource["properties"])
        return told

    def notify(self, request: Json) -> None:
        if request[f"{self.notification_word}_type"] != "error":
            raise self.fail("invalid", "invalid notification type")
        self.notifications.append(
            {
                "name": request[self.locator_word],
                f"{self.notification_word}_type": "error",
                "msg": request["msg"],
                "created_datetime": self.clock_text(),
            }
        )

    def clock_text(self) -> str:
        raise NotImplementedError

    def list_notifications(self, request: Json) -> Json:
        name = request[self.locator_word]
        return {self.message_list_word: [n for n in self.notifications if n["name"] == name]}

    def purge_notifications(self, request: Json) -> None:
        name = request[self.locator_word]
        self.notifications = [n for n in self.notifications if n["name"] != name]

    def notification_actions(self) -> dict[str, Callable[[Json], Any]]:
        calls = {
            "create": self.notify,
            "list": self.list_notifications,
            "purge": self.purge_notifications,
        }
        return {
            f"{kind}_{self.notification_word}_{verb}": call
            for kind in ("sequence", "topic")
            for verb, call in calls.items()
        }

    def list_flights(self, _context: Any, criteria: bytes) -> Iterator[flight.FlightInfo]:
        assert criteria in {b"", b"/"}
        for name in self.sequences:
            endpoint = flight.FlightEndpoint(name.encode(), [])
            yield flight.FlightInfo(None, flight.FlightDescriptor.for_path(name), [endpoint])

    def read(self, locator: str, start_ns: int | None, end_ns: int | None) -> Any:
        """Stream rows as the server does: sorted, texts as views, metadata of its own."""
        topic = self.topic(locator)
        if not topic["batches"]:
            raise self.fail("no data", locator)
        table = pa.Table.from_batches(topic["batches"]).sort_by("timestamp_ns")
        times = table.column("timestamp_ns")
        keep = pc.and_(
            pc.greater_equal(times, -(2**63) if start_ns is None else start_ns),
            pc.less(times, 2**63 - 1 if end_ns is None else end_ns),
        )
        table = table.filter(keep)
        views = {pa.string(): pa.string_view(), pa.binary(): pa.binary_view()}
        fields = [field.with_type(views.get(field.type, field.type)) for field in table.schema]
        metadata = self.schema_metadata("topic", topic) | self.more_schema_metadata(topic, table)
        schema = pa.schema(fields, metadata=metadata)
        return flight.RecordBatchStream(table.cast(schema))

    def more_schema_metadata(self, _topic: Json, _table: pa.Table) -> Json:
        return {}

    def receive(self, context: Any, topic: Json, reader: Any, empty_message: str) -> None:
        field = reader.schema.field("timestamp_ns")
        assert field.type == pa.int64()
        for chunk in reader:
            if chunk.data is None:
                raise self.fail("aborted", empty_message)
            topic["batches"].append(chunk.data)
        if not context.is_cancelled():
            topic["locked"] = True
            topic["completed_ns"] = time.time_ns()

    def found(self, request: Json, name_field: str) -> dict[str, list[str]]:
        """Evaluate the equality of names and `$gt` on top-level columns, which tests need."""
        self.queries.append(request)
        wanted = request.get("sequence", {}).get(name_field, {}).get("$eq")
        conditions = request.get("ontology", {})
        result: dict[str, list[str]] = {}
        for locator, topic in self.topics.items():
            name = locator.partition("/")[0]
            if wanted in {None, name} and self.matches(topic, conditions):
                result.setdefault(name, []).append(locator)
        return result

    def matches(self, topic: Json, conditions: Json) -> bool:
        for path, operand in conditions.items():
            if not isinstance(operand, dict):
                continue
            tag, column = path.split(".", maxsplit=1)
            if topic["properties"]["ontology_tag"] != tag or not topic["batches"]:
                return False
            values = pa.Table.from_batches(topic["batches"]).column(column)
            if not pc.any(pc.greater(values, operand["$gt"])).as_py():
                return False
        return True


class KeyedServer(OldServer):
    """G1.0, G1.1, G1.2."""

    notification_word = "notify"
    message_list_word = "notifies"
    locator_word = "name"

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.actions = {
            "sequence_create": self.sequence_create,
            "sequence_delete": self.sequence_delete,
            "sequence_abort": self.sequence_abort,
            "sequence_finalize": self.sequence_finalize,
            "sequence_system_info": self.sequence_system_info,
            "topic_create": self.topic_create,
            "topic_delete": self.topic_delete,
            "topic_system_info": self.topic_system_info,
            "query": self.query,
            **self.notification_actions(),
        }

    def fail(self, kind: str, text: str) -> Any:
        """Everything is INTERNAL, told apart by its words only."""
        texts = {
            "not found": "facade error :: repository error :: backend error :: no rows returned "
            "by a query that expected to return at least one row",
            "no data": "facade error :: missing data :: unable to compute optimal batch size",
        }
        return flight.FlightInternalError(texts.get(kind, text))

    def clock_text(self) -> str:
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"{stamp[:-3]} UTC" if self.revision == "G1.0" else f"{stamp}789 UTC"

    def do_action(self, _context: Any, action: Any) -> Iterator[bytes]:
        if action.type not in self.actions:
            text = f"action error :: no available action for string `{action.type}`"
            raise flight.FlightInternalError(text)
        response = self.actions[action.type](json.loads(action.body.to_pybytes()))
        if response is None:
            yield b'{"action":"empty"}'
        else:
            yield json.dumps({"action": action.type, "response": response}).encode()

    def sequence_create(self, request: Json) -> Json:
        name = request["name"]
        if name in self.sequences:
            raise self.fail("already exists", f"sequence `{name}` already exists")
        self.sequences[name] = {
            "key": str(uuid.uuid4()),
            "metadata": request["user_metadata"],
            "locked": False,
            "created": self.clock_text(),
        }
        return {"key": self.sequences[name]["key"]}

    def sequence_delete(self, request: Json) -> None:
        if self.sequence(request["name"])["locked"]:
            raise self.fail("locked", "sequence is locked")
        for locator in self.topics_of(request["name"]):
            del self.topics[locator]
        del self.sequences[request["name"]]

    def sequence_abort(self, request: Json) -> None:
        if self.sequence(request["name"])["key"] != request["key"]:
            raise self.fail("key", "bad key")
        self.sequence_delete(request)

    def sequence_finalize(self, request: Json) -> None:
        sequence = self.sequence(request["name"])
        if sequence["key"] != request["key"]:
            raise self.fail("key", "bad key")
        if not all(topic["locked"] for topic in self.topics_of(request["name"]).values()):
            text = "facade error :: topic unlocked, unable to perform the requested operation"
            raise self.fail("unlocked", text)
        sequence["locked"] = True

    def sequence_system_info(self, request: Json) -> Json:
        sequence = self.sequence(request["name"])
        return {
            "total_size_bytes": sum(map(self.size, self.topics_of(request["name"]).values())),
            "is_locked": sequence["locked"],
            "created_datetime": sequence["created"],
        }

    def topic_create(self, request: Json) -> Json:
        name = request["name"].partition("/")[0]
        if self.sequence(name)["key"] != request["sequence_key"]:
            raise self.fail("not found", "")
        topic = self.new_topic(request, request["name"], created=self.clock_text())
        return {"key": topic["key"]}

    def topic_delete(self, request: Json) -> None:
        if self.topic(request["name"])["locked"]:
            raise self.fail("locked", "sequence is locked")
        del self.topics[request["name"]]

    def topic_system_info(self, request: Json) -> Json:
        topic = self.topic(request["name"])
        return {
            "chunks_number": len(topic["batches"]),
            "total_size_bytes": self.size(topic),
            "is_locked": topic["locked"],
            "created_datetime": topic["created"],
        }

    def query(self, request: Json) -> Json:
        ranges = request.get("ontology", {}).get("include_timestamp_range")
        assert ranges is None or self.revision != "G1.0"
        items = []
        for name, locators in self.found(request, "name").items():
            topics: list[Any] = list(locators)
            if self.revision != "G1.0":
                topics = [{"locator": each} for each in locators]
                for topic in topics:
                    if ranges:
                        topic["timestamp_range"] = self.span(self.topics[topic["locator"]])
            items.append({"sequence": name, "topics": topics})
        return {"items": items}

    def get_flight_info(self, _context: Any, descriptor: Any) -> flight.FlightInfo:
        by_path = descriptor.descriptor_type == flight.DescriptorType.PATH
        if by_path != (self.revision == "G1.0"):
            raise flight.FlightInternalError("unsupported descriptor type")
        request = (
            {"resource_locator": descriptor.path[0].decode()}
            if by_path
            else json.loads(descriptor.command)
        )
        locator = request["resource_locator"]
        if locator in self.sequences:
            metadata = self.schema_metadata("sequence", self.sequences[locator])
            schema = pa.schema([], metadata=metadata)
            named = list(self.topics_of(locator))
        elif locator in self.topics:
            topic = self.topics[locator]
            if not topic["batches"] and self.revision != "G1.2":
                raise flight.FlightInternalError("store error :: object not found at chunk")
            fields = topic["batches"][0].schema if topic["batches"] else []
            schema = pa.schema(list(fields), metadata=self.schema_metadata("topic", topic))
            named = [locator]
        else:
            raise flight.FlightInternalError("repository error :: not found")
        endpoints = [self.endpoint(each, request) for each in named]
        return flight.FlightInfo(schema, descriptor, endpoints)

    def endpoint(self, locator: str, request: Json) -> flight.FlightEndpoint:
        if self.revision == "G1.0":
            return flight.FlightEndpoint(locator.encode(), [])
        bounds = [request.get(f"timestamp_ns_{end}") for end in ("start", "end")]
        ticket = json.dumps([locator, *bounds]).encode()
        told = b""
        if self.revision == "G1.2":
            span = self.span(self.topics[locator])
            stamps = {"min": span[0], "max": span[1]} if span else None
            told = json.dumps({"timestamp": stamps}).encode()
        return flight.FlightEndpoint(ticket, [f"mosaico:/{locator}"], None, told)

    def do_get(self, _context: Any, ticket: Any) -> Any:
        if self.revision == "G1.0":
            return self.read(ticket.ticket.decode(), None, None)
        return self.read(*json.loads(ticket.ticket))

    def do_put(self, context: Any, descriptor: Any, reader: Any, _writer: Any) -> None:
        command = json.loads(descriptor.command)
        if self.revision == "G1.0":
            locator, key = command["topic"]["name"], command["topic"]["key"]
        else:
            locator, key = command["resource_locator"], command["key"]
        topic = self.topic(locator)
        if topic["key"] != key:
            raise self.fail("key", "bad key")
        self.receive(context, topic, reader, "no data received")


class SessionServer(OldServer):
    """G2a, G2b, G2c."""

    notification_word = "notification"
    message_list_word = "notifications"
    locator_word = "locator"
    versions: ClassVar = {"G2a": (0, 4, 3), "G2b": (0, 5, 0), "G2c": (0, 6, 2)}

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.actions = {
            "version": self.version,
            "sequence_create": self.sequence_create,
            "sequence_delete": self.sequence_delete,
            "session_create": self.session_create,
            "session_finalize": self.session_finalize,
            "session_delete": self.session_delete,
            "topic_create": self.topic_create,
            "topic_delete": self.topic_delete,
            "query": self.query,
            **self.notification_actions(),
        }
        self.streams = (
            {"topic_filter_clusterize": self.clusterize, "topic_filter_intersect": self.intersect}
            if revision == "G2c"
            else {}
        )

    def fail(self, kind: str, text: str) -> Any:
        if kind == "not found":
            return pa.lib.ArrowKeyError(" not found.")
        if kind == "aborted":
            return flight.FlightInternalError(text)
        return pa.ArrowInvalid(" already exists." if kind == "already exists" else text)

    def clock_text(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")

    def do_action(self, _context: Any, action: Any) -> Iterator[bytes]:
        if action.type in self.streams:
            spans = self.streams[action.type](json.loads(action.body.to_pybytes()))
            for number, (start_ns, end_ns) in enumerate(spans):
                told = {"ts": {"start_ns": start_ns, "end_ns": end_ns}, "id": number}
                yield json.dumps({"action": action.type, "response": told}).encode() + b"\n"
            return
        if action.type not in self.actions:
            text = f"Bad request: no available action for string `{action.type}`."
            raise pa.ArrowInvalid(text)
        response = self.actions[action.type](json.loads(action.body.to_pybytes()))
        yield json.dumps({"action": action.type, "response": response}).encode()

    def clusterize(self, request: Json) -> list[tuple[int, int]]:
        """Cluster the rows that meet `$gt` conditions, one time after the other."""
        table = pa.Table.from_batches(self.topic(request["locator"])["batches"])
        for path, operand in request["ontology"].items():
            column = table.column(path.partition(".")[2])
            table = table.filter(pc.greater(column, operand["$gt"]))
        window = request.get("timestamp_range") or {"start_ns": -(2**63), "end_ns": 2**63 - 1}
        found: list[tuple[int, int]] = []
        for time_ns in sorted(table.column("timestamp_ns").to_pylist()):
            if not window["start_ns"] <= time_ns < window["end_ns"]:
                continue
            gap_ns = request["clustering_dt_ns"]
            if found and (gap_ns == 0 or time_ns - found[-1][1] <= gap_ns):
                found[-1] = (found[-1][0], time_ns)
            else:
                found.append((time_ns, time_ns))
        return found

    def intersect(self, request: Json) -> list[tuple[int, int]]:
        """Give what the clusters of two topics have in common; no tolerance."""
        assert request["intersect_dt_ns"] == 0
        one, two = (self.clusterize(topic) for topic in request["topics"])
        overlaps = [(max(a, c), min(b, d)) for a, b in one for c, d in two]
        return sorted(overlap for overlap in overlaps if overlap[0] <= overlap[1])

    def version(self, _request: Json) -> Json:
        numbers = self.versions[self.revision]
        semver = dict(zip(("major", "minor", "patch"), numbers, strict=True)) | {"pre": ""}
        return {"version": ".".join(map(str, numbers)), "semver": semver}

    def sequence_create(self, request: Json) -> None:
        name = request["locator"]
        if name in self.sequences:
            raise self.fail("already exists", "")
        self.sequences[name] = {
            "metadata": request["user_metadata"],
            "created_ns": time.time_ns(),
            "sessions": {},
        }

    def sequence_delete(self, request: Json) -> None:
        self.sequence(request["locator"])
        for locator in self.topics_of(request["locator"]):
            del self.topics[locator]
        del self.sequences[request["locator"]]

    def session_create(self, request: Json) -> Json:
        session = str(uuid.uuid4())
        locator = f"{request['locator']}:{uuid.uuid4().hex[:26].upper()}"
        self.sequence(request["locator"])["sessions"][session] = {
            "locator": locator,
            "created_ns": time.time_ns(),
            "completed_ns": None,
        }
        return {"uuid": session} | ({} if self.revision == "G2a" else {"locator": locator})

    def session(self, wanted: str) -> tuple[str, Json]:
        for name, sequence in self.sequences.items():
            for session, facts in sequence["sessions"].items():
                if wanted in {session, facts["locator"]}:
                    return name, facts | {"uuid": session}
        raise self.fail("not found", "session")

    def session_topics(self, session: str) -> dict[str, Json]:
        return {key: topic for key, topic in self.topics.items() if topic["session"] == session}

    def session_finalize(self, request: Json) -> None:
        name, session = self.session(request["session_uuid"])
        topics = self.session_topics(session["uuid"])
        if not topics:
            raise pa.ArrowInvalid(f"Session `{session['locator']} is empty.`.")
        if not all(topic["locked"] for topic in topics.values()):
            raise pa.ArrowInvalid("Topic `x` is already uploading data.")
        self.sequences[name]["sessions"][session["uuid"]]["completed_ns"] = time.time_ns()

    def session_delete(self, request: Json) -> None:
        wanted = request["session_uuid"] if self.revision == "G2a" else request["locator"]
        name, session = self.session(wanted)
        for locator in self.session_topics(session["uuid"]):
            del self.topics[locator]
        del self.sequences[name]["sessions"][session["uuid"]]

    def topic_create(self, request: Json) -> Json:
        _, session = self.session(request["session_uuid"])
        topic = self.new_topic(request, request["locator"], session=session["uuid"])
        return {"uuid": topic["key"]}

    def topic_delete(self, request: Json) -> None:
        self.topic(request["locator"])
        del self.topics[request["locator"]]

    def query(self, request: Json) -> Json:
        ranges = request.get("ontology", {}).get("include_timestamp_range")
        assert ranges is None or self.revision != "G2c"
        field = "name" if self.revision == "G2c" else "locator"
        items = []
        for name, locators in self.found(request, field).items():
            topics: list[Json] = [{"locator": each} for each in locators]
            for topic in topics:
                stored = self.topics[topic["locator"]]
                if self.revision == "G2c":
                    topic["ontology_tag"] = stored["properties"]["ontology_tag"]
                elif ranges:
                    topic["timestamp_range"] = self.span(stored)
            items.append({"sequence": name, "topics": topics})
        return {"items": items}

    def get_flight_info(self, _context: Any, descriptor: Any) -> flight.FlightInfo:
        if descriptor.descriptor_type != flight.DescriptorType.CMD:
            raise pa.ArrowInvalid("Unsupported descriptor.")
        request = json.loads(descriptor.command)
        locator = request["resource_locator"]
        if "/" in locator:
            topic = self.topic(locator)
            fields = list(topic["batches"][0].schema) if topic["batches"] else []
            schema = pa.schema(fields, metadata=self.schema_metadata("topic", topic))
            return flight.FlightInfo(schema, descriptor, [self.endpoint(locator, request)])
        sequence = self.sequence(locator)
        sessions = [
            {
                ("uuid" if self.revision == "G2a" else "locator"): (
                    session if self.revision == "G2a" else facts["locator"]
                ),
                "created_at_ns": facts["created_ns"],
                "completed_at_ns": facts["completed_ns"],
                "locked": facts["completed_ns"] is not None,
                "topics": list(self.session_topics(session)),
            }
            for session, facts in sequence["sessions"].items()
        ]
        told = {
            "created_at_ns": sequence["created_ns"],
            "resource_locator": locator,
            "sessions": sessions,
        }
        schema = pa.schema([], metadata=self.schema_metadata("sequence", sequence))
        endpoints = [self.endpoint(each, request) for each in reversed(self.topics_of(locator))]
        return flight.FlightInfo(
            schema, descriptor, endpoints, app_metadata=json.dumps(told).encode()
        )

    def endpoint(self, locator: str, request: Json) -> flight.FlightEndpoint:
        topic = self.topics[locator]
        span = self.span(topic)
        info = {
            "chunks_number": len(topic["batches"]),
            "total_bytes": self.size(topic),
            "timestamp": {"start_ns": span[0], "end_ns": span[1]} if span else None,
        }
        told = {
            "created_at_ns": topic["created_ns"],
            "completed_at_ns": topic["completed_ns"],
            "locked": topic["locked"],
            "resource_locator": locator,
            "info": info if topic["locked"] else None,
        }
        bounds = [request.get(f"timestamp_ns_{end}") for end in ("start", "end")]
        ticket = json.dumps([locator, *bounds]).encode()
        locations = [f"mosaico:/{locator}"] if self.revision == "G2a" else []  # 0.3.x needs it
        return flight.FlightEndpoint(ticket, locations, None, json.dumps(told).encode())

    def more_schema_metadata(self, topic: Json, table: pa.Table) -> Json:
        if self.revision != "G2c":
            return {}
        counts = {"message_count": table.num_rows}
        return {"mosaico:properties": json.dumps(topic["properties"] | counts)}

    def do_get(self, _context: Any, ticket: Any) -> Any:
        return self.read(*json.loads(ticket.ticket))

    def do_put(self, context: Any, descriptor: Any, reader: Any, _writer: Any) -> None:
        command = json.loads(descriptor.command)
        topic = self.topic(command["resource_locator"])
        if topic["key"] != command["topic_uuid"]:
            raise flight.FlightUnauthorizedError(
                "Unauthorized: received uuid does not match the topic uuid."
            )
        self.receive(context, topic, reader, "Unsupported stream message, stream aborted.")
