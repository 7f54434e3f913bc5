"""The keyed generation as the description of its protocol has it: G1.0, G1.1 and G1.2."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyarrow import flight

from tests.servers.old.server import Json, OldServer
from tests.servers.old.shelf import Shelf


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
            "nul": 'backend error :: invalid byte sequence for encoding "UTF8": 0x00',
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
        response = self.act(action)
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
        """Delete a topic; the files of all topics below it lie in its folder, and go with it."""
        if self.topic(request["name"])["locked"]:
            raise self.fail("locked", "sequence is locked")
        for below in self.topics_of(request["name"]).values():
            below["batches"].clear()
        del self.topics[request["name"]]

    def topic_system_info(self, request: Json) -> Json:
        """Describe a topic; the files of topics below it count as its own."""
        topic = self.topic(request["name"])
        counted = [topic, *self.topics_of(request["name"]).values()]
        return {
            "chunks_number": sum(len(one["batches"]) for one in counted),
            "total_size_bytes": sum(map(self.size, counted)),
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
        if not self.faults.looked_up():
            raise flight.FlightInternalError("repository error :: not found")
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

    def end(self, topic: Json, batches: Shelf) -> None:
        """Take what came, unless another topic of the tag ends at the same moment."""
        with self.faults.ending(topic["properties"]["ontology_tag"]) as together:
            if self.faults.end_s and together > 1:
                raise flight.FlightInternalError("backend error :: deadlock detected")
            super().end(topic, batches)
