"""What the servers of older protocol revisions share: data, reading, notifications.

They are written from the protocol's description, keep their data in the store of the embedded
server and know nothing of the client's own tables.
"""

import json
import operator
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import flight

from tests.servers.old.faults import POOL_TIMED_OUT, Faults, extreme_texts, holds_nul
from tests.servers.old.shelf import Shelf

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
        self.faults = Faults()

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
        if not len(times):
            return None
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

    def act(self, action: Any) -> Any:
        """Do an action that has one answer, with what may go wrong around it."""
        request = json.loads(action.body.to_pybytes())
        if action.type != "version" and not self.faults.looked_up():
            raise self.fail("database", POOL_TIMED_OUT)
        if holds_nul(request):
            raise self.fail("nul", "")
        response = self.actions[action.type](request)
        self.faults.lose_answer(action.type)
        return response

    def receive(self, context: Any, topic: Json, reader: Any, empty_message: str) -> None:
        field = reader.schema.field("timestamp_ns")
        assert field.type == pa.int64()
        batches = Shelf(self.folder)
        for chunk in reader:
            if chunk.data is None:
                raise self.fail("aborted", empty_message)
            batches.append(chunk.data)
        if context.is_cancelled():
            return
        self.end(topic, batches)
        topic["locked"] = True
        topic["completed_ns"] = time.time_ns()
        self.faults.lose_verdict()

    def end(self, topic: Json, batches: Shelf) -> None:
        """Take what a put has brought: it takes the place of what an earlier one did."""
        texts = (text for batch in batches for column in batch for text in extreme_texts(column))
        if any(map(holds_nul, texts)):
            raise self.fail("nul", "")
        topic["batches"] = batches

    def found(self, request: Json, name_field: str) -> dict[str, list[str]]:
        """Give the topics that meet all conditions, by sequence; times of creation are ignored."""
        self.queries.append(request)
        result: dict[str, list[str]] = {}
        for locator, topic in self.topics.items():
            name, _, path = locator.partition("/")
            sequence = {name_field: name, "user_metadata": self.sequences[name]["metadata"]}
            known = {name_field: f"/{path}", "user_metadata": topic["metadata"]}
            if (
                self.meets(request.get("sequence", {}), sequence)
                and self.meets(request.get("topic", {}), known | topic["properties"])
                and self.matches(topic, request.get("ontology", {}))
            ):
                result.setdefault(name, []).append(locator)
        return result

    def meets(self, conditions: Json, values: Json) -> bool:
        metadata = conditions.get("user_metadata", {})
        wanted = conditions | {f"user_metadata.{key}": one for key, one in metadata.items()}
        return all(
            self.holds(condition, at(values, path))
            for path, condition in wanted.items()
            if path != "user_metadata" and path.partition(".")[0] in values
        )

    def matches(self, topic: Json, conditions: Json) -> bool:
        """Look for one row that meets all conditions."""
        wanted = {path: one for path, one in conditions.items() if isinstance(one, dict)}
        tags = {path.partition(".")[0] for path in wanted}
        if not wanted:
            return True
        if tags != {topic["properties"]["ontology_tag"]}:
            return False
        rows = (row for batch in topic["batches"] for row in batch.to_pylist())
        return any(
            all(self.holds(one, at(row, path.partition(".")[2])) for path, one in wanted.items())
            for row in rows
        )

    def holds(self, condition: Json, value: Any) -> bool:
        ((name, operand),) = condition.items()
        if name in {"$ex", "$nex"}:
            return (value is None) == (name == "$nex")
        if name == "$match":
            pattern = operand if self.revision == "G2c" else f"*{operand}*"
            return fnmatchcase(str(value), pattern)
        return value is not None and bool(OPERATORS[name](value, operand))


def at(value: Any, path: str) -> Any:
    """Follow a dotted path; None where it leads nowhere."""
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$neq": operator.ne,
    "$lt": operator.lt,
    "$leq": operator.le,
    "$gt": operator.gt,
    "$geq": operator.ge,
    "$in": lambda value, operand: value in operand,
    "$between": lambda value, operand: operand[0] <= value <= operand[1],
    "$outside": lambda value, operand: not operand[0] <= value <= operand[1],
}
