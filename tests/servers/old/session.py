"""The session generation before 0.7: G2a, G2b and G2c."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
from pyarrow import flight

from tests.servers.old.server import Json, OldServer, at
from tests.servers.old.shelf import Shelf


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
        if kind in {"database", "nul"}:
            return flight.FlightInternalError("Internal error: database failure. See ...")
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
        response = self.act(action)
        yield json.dumps({"action": action.type, "response": response}).encode()

    def clusterize(self, request: Json) -> list[tuple[int, int]]:
        """Cluster the rows that meet the conditions, one time after the other."""
        rows = [
            row
            for batch in self.topic(request["locator"])["batches"]
            for row in batch.to_pylist()
            if all(
                self.holds(condition, at(row, path.partition(".")[2]))
                for path, condition in request["ontology"].items()
            )
        ]
        window = request.get("timestamp_range") or {"start_ns": -(2**63), "end_ns": 2**63 - 1}
        found: list[tuple[int, int]] = []
        for time_ns in sorted(row["timestamp_ns"] for row in rows):
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

    def list_notifications(self, request: Json) -> Json:
        self.require(request["locator"])
        return super().list_notifications(request)

    def purge_notifications(self, request: Json) -> None:
        self.require(request["locator"])
        super().purge_notifications(request)

    def require(self, locator: str) -> None:
        """Look a sequence or topic up, which this generation does before anything else."""
        self.topic(locator) if "/" in locator else self.sequence(locator)

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
        topic = self.new_topic(
            request, request["locator"], session=session["uuid"], uploading=False
        )
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
        if not self.faults.looked_up():
            raise self.fail("database", "")
        if "/" in locator:
            topic = self.topic(locator)
            is_known = topic["batches"] and "schema" not in self.faults.masked
            fields = list(topic["batches"][0].schema) if is_known else []
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
        span = None if "interval" in self.faults.masked else self.span(topic)
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
        if topic["locked"] or topic["uploading"]:
            done = "has already been uploaded and finalized"
            state = done if topic["locked"] else "is already uploading data"
            raise pa.ArrowInvalid(f"Topic `{command['resource_locator']}` {state}.")
        topic["uploading"] = True
        self.receive(context, topic, reader, "Unsupported stream message, stream aborted.")

    def end(self, topic: Json, batches: Shelf) -> None:
        with self.faults.ending(topic["properties"]["ontology_tag"]):
            super().end(topic, batches)
