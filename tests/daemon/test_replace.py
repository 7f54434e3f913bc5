"""Recordings that change after they were sent: linked, replaced, or kept with a reason."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from bridge.client import MosaicoClient
from bridge.daemon.events.events import IngestFinished
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.observe.event_log import EventLog
from bridge.daemon.observe.metrics import Metrics
from bridge.embedded import EmbeddedServer, Permission
from bridge.ingest import IngestReport, Removal, Replacement
from bridge.mapping import BRIDGE_KEY
from tests.daemon.observe.situations import entry
from tests.daemon.watch.desk import Desk, whole
from tests.servers.served import KeyedEmbeddedServer

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


class Place:
    """A bridge, the platform it sends to, and one recording that is changed in place."""

    def __init__(self, bridge: "Bridge", server: EmbeddedServer) -> None:
        self.bridge = bridge
        self.port = server.port
        bridge.send_to(server.port)
        bridge.overrides["watch.on_change"] = "replace"

    def send(self, text: str, *, cut: int = 0, messages: int = 50) -> Mapping[str, Any]:
        """Put content in the recording's place, let it be sent, and give the report."""
        content = self.bridge.mcap_bytes(text * 20, messages)
        self.bridge.drop("drive.mcap", content[: len(content) - cut])
        self.bridge.daemon().run_once()
        with Journal.read(self.bridge.state) as journal:
            entry = journal.at(self.bridge.watched / "drive.mcap")
            assert entry is not None
            return journal.report(entry.id) or {}

    def states(self) -> list[str]:
        """Give the states of all recordings that ever stood in the place, oldest first."""
        with Journal.read(self.bridge.state) as journal:
            entries = sorted(journal.recordings(), key=lambda entry: entry.id)
            return [str(entry.state) for entry in entries]

    def marks(self, key: str | None = None) -> dict[str, Any]:
        """Give what finished sequences on the platform say of their origin."""
        choices = {} if key is None else {"api_key": key}
        with MosaicoClient.connect("127.0.0.1", self.port, **choices) as client:  # type: ignore[arg-type]  # one choice
            handlers = [client.sequence_handler(name) for name in client.list_sequences()]
            return {
                handler.name: handler.user_metadata[BRIDGE_KEY]
                for handler in handlers
                if handler is not None and handler.is_locked
            }


def test_newer_content_takes_the_place_of_the_older(bridge: "Bridge") -> None:
    """The newer sequence is there whole and names the older one, which is gone; also a third."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        first = place.send("one")
        second = place.send("two")
        marks = place.marks()
        third = place.send("three")
        last = place.marks()

    assert list(marks) == [second["sequence"]]
    assert marks[second["sequence"]]["supersedes"] == {
        "sequence": first["sequence"],
        "fingerprint": first["fingerprint"],
    }
    assert second["replaced"] == {
        "removal": Removal.REMOVED, "sequence": first["sequence"], "reason": "",
    }  # fmt: skip
    assert list(last) == [third["sequence"]]
    assert place.states() == ["superseded", "superseded", "finalised"]


@pytest.mark.slow
def test_older_content_that_comes_back_replaces_in_turn(bridge: "Bridge") -> None:
    """Restored from a backup, the first version is sent again and the second makes room."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        first = place.send("one")
        place.send("two")
        again = place.send("one")
        marks = place.marks()

    assert list(marks) == [first["sequence"]] == [again["sequence"]]
    assert place.states() == ["finalised", "superseded"]


def test_without_replacing_both_stay_and_are_linked(bridge: "Bridge") -> None:
    """With `new` the newer sequence names the older one, and nothing is deleted."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        bridge.overrides["watch.on_change"] = "new"
        first = place.send("one")
        second = place.send("two")
        marks = place.marks()

    assert set(marks) == {first["sequence"], second["sequence"]}
    assert marks[second["sequence"]]["supersedes"]["sequence"] == first["sequence"]
    assert second["replaced"] is None
    assert place.states() == ["finalised", "finalised"]


def test_keyed_platform_keeps_what_is_finalised(bridge: "Bridge") -> None:
    """Where finalised sequences can never be deleted, both stay and the report says why."""
    with KeyedEmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        first = place.send("one")
        second = place.send("two")
        marks = place.marks()

    assert set(marks) == {first["sequence"], second["sequence"]}
    assert second["replaced"]["removal"] == Removal.KEPT
    assert "locked" in second["replaced"]["reason"]
    assert place.states() == ["finalised", "finalised"]


def test_key_without_the_permission_keeps_both(bridge: "Bridge") -> None:
    """A key that may write and not delete costs the replacement, not the recording."""
    payload = "w" * 32
    token = f"msco_{payload}_{zlib.crc32(payload.encode()):08x}"
    keys = {token: Permission.WRITE}
    with EmbeddedServer(bridge.folder / "platform", api_keys=keys) as server:
        place = Place(bridge, server)
        bridge.overrides["server.api_key"] = token
        first = place.send("one")
        second = place.send("two")
        marks = place.marks(token)

    assert set(marks) == {first["sequence"], second["sequence"]}
    assert second["replaced"]["removal"] == Removal.KEPT
    assert "does not delete" in second["replaced"]["reason"]
    assert place.states() == ["finalised", "finalised"]


def test_partial_newer_content_replaces_nothing(bridge: "Bridge") -> None:
    """A newer file that is cut off goes up as far as it goes, and the whole older one stays."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        bridge.overrides["watch.stale_s"] = 0.3
        first = place.send("one")
        second = place.send("two", cut=60)
        marks = place.marks()

    assert set(marks) == {first["sequence"], second["sequence"]}
    assert "does not hold all" in second["replaced"]["reason"]
    assert place.states() == ["finalised", "partial"]


@pytest.mark.slow
def test_foreign_sequence_is_never_removed(bridge: "Bridge") -> None:
    """What another bridge put there from the same content is not ours to delete."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        first = place.send("one")
        (bridge.state / "instance").write_text("f" * 32 + "\n")
        second = place.send("two")
        marks = place.marks()

    assert set(marks) == {first["sequence"], second["sequence"]}
    assert "not this one" in second["replaced"]["reason"]


def test_kill_between_the_two_steps_is_made_good(bridge: "Bridge") -> None:
    """When the newer sequence is finalised and the older still there, the next try removes it."""
    with EmbeddedServer(bridge.folder / "platform") as server:
        place = Place(bridge, server)
        bridge.overrides["watch.on_change"] = "new"
        first = place.send("one")
        second = place.send("two")
        assert len(place.marks()) == 2
        bridge.overrides["watch.on_change"] = "replace"
        with Journal.own(bridge.state) as journal:
            # As after a kill: the platform has it, the journal does not know yet.
            (newer,) = journal.recordings(limit=1)
            journal.move(newer.id, State.READY, "the bridge ended while this was in work")
        bridge.daemon().run_once()
        marks = place.marks()

    assert first["sequence"] != second["sequence"]
    assert list(marks) == [second["sequence"]]
    assert place.states() == ["superseded", "finalised"]


def test_change_of_what_was_ignored_is_still_a_change(desk: Desk, tmp_path: Path) -> None:
    """The third version of a recording is ignored too, although the second never was sent."""
    assert tmp_path.exists()
    desk.choices["watch.on_change"] = "ignore"
    desk.restart()
    for content in ("one", "two", "three"):
        desk.put("a.mcap", whole(content))
        desk.look()
        if content == "one":
            desk.send("a.mcap")
    states = sorted(str(entry.state) for entry in desk.journal.recordings())

    assert states == ["finalised", "ignored", "ignored"]


@pytest.mark.parametrize("between", ["vanished", "sent"])
def test_replaced_is_the_last_that_was_sent(desk: Desk, between: str) -> None:
    """A version that never reached the platform does not hide the one that did."""
    for content in ("one", "two", "three"):
        desk.put("a.mcap", whole(content))
        desk.look()
        if content == "one" or (content == "two" and between == "sent"):
            current = desk.journal.at(desk.folder / "a.mcap")
            assert current is not None
            desk.journal.move(current.id, State.SENDING, "")
            desk.journal.move(current.id, State.FINALISED, "", sequence=content)
    newest = desk.journal.at(desk.folder / "a.mcap")
    assert newest is not None
    older = desk.journal.predecessor(newest)

    assert older is not None
    assert older.sequence == ("one" if between == "vanished" else "two")


@pytest.mark.parametrize("removal", list(Removal))
def test_replacements_are_counted_and_told(
    removal: Removal, caplog: pytest.LogCaptureFixture
) -> None:
    """Each outcome moves its counter; only an older sequence that stays is a warning."""
    metrics = Metrics(CollectorRegistry())
    report = IngestReport(
        recording="/r/a", sequence="newer", fingerprint="f",
        replaced=Replacement(removal=removal, sequence="older", reason="the key may not"),
    )  # fmt: skip
    with caplog.at_level("INFO"):
        for observer in (metrics, EventLog()):
            observer.hear(IngestFinished(entry=entry(), report=report))
    counted = [
        line
        for line in metrics.exposition().decode().splitlines()
        if line.startswith("mosaico_bridge_superseded_total{") and line.endswith(" 1.0")
    ]
    warned = [record for record in caplog.records if record.levelname == "WARNING"]

    assert counted == [f'mosaico_bridge_superseded_total{{outcome="{removal}"}} 1.0']
    assert ["the key may not" in record.getMessage() for record in warned] == (
        [True] if removal is Removal.KEPT else []
    )
