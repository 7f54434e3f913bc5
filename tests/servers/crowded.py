"""The embedded server in any dialect, with a platform's troubles under many calls at once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.session.dialect import Dialect
from tests.contract import protobuf
from tests.servers.served import SERVERS, Revision

DATABASE_FAILURE = "Internal error: database failure. See the logs for more details."
DEADLOCK = "facade error :: database error :: deadlock detected"


@dataclass(slots=True, kw_only=True)
class Crowd:
    """Counts the calls of one kind that are in the server at once, and fails those too many.

    Attributes:
        most: Calls with one key that go well at once.
        takes_s: How long each takes at the least.
        failure: What the others hear.
        entered: Calls so far, by key.
        failed: How many of them failed.
        peak: The most that were there at once, over all keys.
        on_enter: Called at each.
    """

    most: int = 1_000
    takes_s: float = 0.01
    failure: str = DATABASE_FAILURE
    entered: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    peak: int = 0
    on_enter: Callable[[], None] = lambda: None
    _inside: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def __call__(self, key: str = "") -> Iterator[None]:
        with self._lock:
            self.entered[key] += 1
            self._inside[key] += 1
            self.peak = max(self.peak, self._inside.total())
            too_many = self._inside[key] > self.most
            self.failed += too_many
        self.on_enter()
        try:
            time.sleep(self.takes_s)
            if too_many:
                raise Refusal(Status.INTERNAL, self.failure)
            yield
        finally:
            with self._lock:
                self._inside[key] -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What goes wrong.

    Attributes:
        creations: The calls of topic_create; all have one key.
        ends: The ends of puts; on the keyed revision those of one ontology tag have one key.
        refused: A topic whose locator contains this is never created; empty for none.
    """

    creations: Crowd = field(default_factory=Crowd)
    ends: Crowd = field(default_factory=Crowd)
    refused: str = ""


class _GatedReader:
    """Passes a put on, and its end through the crowd of ends."""

    def __init__(self, reader: Any, ends: Callable[[], None]) -> None:
        self._reader, self._ends = reader, ends

    @property
    def schema(self) -> Any:
        return self._reader.schema

    def read_chunk(self) -> Any:
        try:
            return self._reader.read_chunk()
        except StopIteration:
            self._ends()
            raise


def crowded_server(
    folder: Path, revision: Revision, troubles: Troubles, **options: Any
) -> EmbeddedServer:
    """Make a server of a revision over a folder, with troubles."""
    spoken = SERVERS[revision].dialect
    tags: dict[str, str] = {}
    create = spoken.actions["topic_create"]

    def topic_create(archive: Archive, request: Mapping[str, Any]) -> Iterator[Any]:
        locator = request["name" if revision == "G1.2" else "locator"]
        if troubles.refused and troubles.refused in locator:
            raise Refusal(Status.INVALID_ARGUMENT, f"{locator} is not a valid locator.")
        tags[locator] = request["ontology_tag"]
        with troubles.creations():
            yield from create.run(archive, request)

    def put(archive: Archive, context: Any, descriptor: Any, reader: Any) -> None:
        locator = _locator(descriptor)
        key = tags.get(locator, "") if revision == "G1.2" else ""

        def end() -> None:
            with troubles.ends(key):
                pass

        spoken.put(archive, context, descriptor, _GatedReader(reader, end))

    class Crowded(EmbeddedServer):
        dialect: Dialect = replace(  # type: ignore[misc]  # a class variable of the class above
            spoken,
            actions={**spoken.actions, "topic_create": replace(create, run=topic_create)},
            put=put,
        )

    return Crowded(folder, **options)


def _locator(descriptor: Any) -> str:
    command = descriptor.command
    if not command.startswith(b"{"):
        return str(protobuf.decode(protobuf.COMMANDS["put"], command)["resource_locator"])
    return str(json.loads(command)["resource_locator"])
