"""The daemon from folder to journal, with real worker processes whose ingest is scripted."""

from typing import TYPE_CHECKING

from bridge.daemon.journal.states import State
from bridge.daemon.watch import scan
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    import pytest

    from tests.daemon.conftest import Bridge


def test_dropped_recording_is_sent_once(bridge: "Bridge") -> None:
    """A recording goes its whole way, and neither a rescan nor a restart sends it again."""
    bridge.drop("a.mcap")
    with bridge.running():
        bridge.await_state("a.mcap", State.FINALISED)
        bridge.drop("b.mcap")
        bridge.await_state("b.mcap", State.FINALISED)
    with bridge.running() as daemon:
        bridge.drop("c.mcap")
        bridge.await_state("c.mcap", State.FINALISED)
        status = daemon.status

    assert bridge.log("arrived") == ["a", "b", "c"]
    assert bridge.story("a.mcap") == [
        State.DISCOVERED,
        State.READY,
        State.SENDING,
        State.VERIFIED,
        State.FINALISED,
    ]
    assert status is not None
    assert status.gate.reached


def test_once_empties_the_folder_and_returns(bridge: "Bridge") -> None:
    """One pass sends everything that is complete, waits for retries, and leaves what is open."""
    for name in ("a.mcap", "flaky_1.mcap", "poison.mcap"):
        bridge.drop(name)
    path = bridge.drop("open.mcap")
    with path.open("ab"):
        status = bridge.daemon().run_once()

    assert sorted(bridge.log("arrived")) == ["a", "flaky_1"]
    assert status.counts == {"finalised": 2, "quarantined": 1, "settling": 1}
    assert "open for writing" in bridge.entries()["open.mcap"].reason
    assert path.exists()


def test_once_waits_for_what_is_still_being_read(
    bridge: "Bridge", monkeypatch: "pytest.MonkeyPatch"
) -> None:
    """A `metadata.yaml` that a busy machine reads slowly does not end the pass without it."""
    monkeypatch.setattr(scan, "LISTS_PATIENCE_S", 0.0)
    bridge.drop("drive/drive_0.mcap")
    bridge.drop("drive/metadata.yaml", metadata(["drive_0.mcap"]).encode())
    bridge.daemon().run_once()

    assert bridge.log("arrived") == ["drive"]
