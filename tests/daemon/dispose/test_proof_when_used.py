"""The platform is asked right before a source goes: what a journal remembers is no proof."""

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.client import MosaicoClient
from bridge.daemon.dispose.remover import Remover
from bridge.daemon.events.events import Disposed, Event, Observers, Troubled
from bridge.daemon.journal.requests import doubt
from bridge.daemon.journal.states import State
from bridge.daemon.observe.event_log import EventLog
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.ontology import String
from tests.daemon.platforms import chatter, rows_on

if TYPE_CHECKING:
    from bridge.daemon.journal.entry import Failure
    from tests.daemon.conftest import Bridge


class Listener:
    def __init__(self) -> None:
        self.disposed: list[Disposed] = []
        self.troubles: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case Disposed():
                self.disposed.append(event)
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case _:
                pass


def send(bridge: "Bridge", *names: str) -> None:
    """Let recordings arrive whose sources stay for now."""
    for name in names:
        bridge.drop(f"{name}.mcap", bridge.mcap_bytes(name * 9, 5))
    mode = bridge.overrides.get("disposal.mode", "keep")
    bridge.overrides["disposal.mode"] = "keep"
    bridge.daemon().run_once()
    bridge.overrides["disposal.mode"] = mode
    assert {entry.state for entry in bridge.entries().values()} == {State.FINALISED}


def lose(port: int, *names: str) -> None:
    """Delete sequences from the platform, behind the bridge's back."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        for sequence in client.list_sequences():
            if sequence.rsplit("_", 1)[0] in names:
                client.sequence_delete(sequence)


def files(bridge: "Bridge") -> list[str]:
    return sorted(path.name for path in bridge.watched.iterdir())


def test_source_that_the_platform_has_lost_is_sent_again(bridge: "Bridge") -> None:
    """With two of four to retain the others go, but not those that are nowhere else by now."""
    bridge.overrides |= {"disposal.mode": "delete", "disposal.retain_count": 2}
    names = ["r0", "r1", "r2", "r3"]
    with bridge.platform() as server:
        send(bridge, *names)
        lose(server.port, "r0", "r3")
        # Everything is due, so that all are asked for.
        bridge.overrides["disposal.retain_count"] = 0
        with bridge.running():
            bridge.wait_for(lambda: not files(bridge))
            states = bridge.wait_for(
                lambda: {one.state for one in bridge.entries().values()} == {State.DISPOSED}
            )
        arrived = rows_on(server.port)

    assert states
    assert arrived == chatter(dict.fromkeys(names, 5))


def test_backup_copy_of_what_the_platform_lost_is_sent_again(bridge: "Bridge") -> None:
    """What comes back into the folder is asked for: gone from the platform, it is sent again."""
    bridge.overrides["disposal.mode"] = "delete"
    content = bridge.mcap_bytes("backup" * 9, 5)
    with bridge.platform() as server:
        bridge.drop("backup.mcap", content)
        bridge.daemon().run_once()
        assert not files(bridge)
        lose(server.port, "backup")
        assert rows_on(server.port) == {}
        bridge.drop("backup.mcap", content)
        with bridge.running():
            bridge.wait_for(lambda: rows_of(server.port) == chatter({"backup": 5}))
            bridge.wait_for(lambda: not files(bridge))


def rows_of(port: int) -> object:
    try:
        return rows_on(port)
    except AssertionError:
        # Not finished yet.
        return None


@pytest.mark.slow
def test_other_content_under_the_name_keeps_the_source_and_says_so(bridge: "Bridge") -> None:
    """A sequence that was replaced on the platform is no proof; the recording is marked as lost."""
    bridge.overrides["disposal.mode"] = "delete"
    with bridge.platform() as server:
        send(bridge, "drive")
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            (sequence,) = client.list_sequences()
            handler = client.topic_handler(sequence, "/chatter")
            assert handler is not None
            batch = next(iter(handler.batches())).cast(String.schema)
            client.sequence_delete(sequence)
            with client.sequence_create(sequence, {"mine": True}) as writer:
                writer.topic_create("/chatter", {}, String).write_batch(batch)
        bridge.daemon().run_once()

    assert files(bridge) == ["drive.mcap"]
    entry = bridge.entries()["drive.mcap"]
    assert entry.state is State.LOST
    assert "other content" in entry.reason


def test_what_verify_marked_as_lost_is_not_disposed_of(bridge: "Bridge") -> None:
    """A finding of `verify` blocks disposal until a person, or the platform, has the last word."""
    bridge.overrides["disposal.mode"] = "delete"
    with bridge.platform():
        send(bridge, "drive")
        doubt(bridge.state, [bridge.entries()["drive.mcap"].id])
        bridge.daemon().run_once()

    assert files(bridge) == ["drive.mcap"]
    assert bridge.entries()["drive.mcap"].state is State.LOST


@pytest.mark.slow
def test_platform_that_does_not_answer_keeps_the_source(bridge: "Bridge") -> None:
    """No answer, no disposal; told once; with an answer it goes."""
    bridge.overrides["disposal.mode"] = "delete"
    listener = Listener()
    with bridge.platform() as server:
        send(bridge, "drive")
    with bridge.running(listener) as daemon:
        bridge.wait_for(lambda: listener.troubles)
        scans = bridge.wait_for(lambda: daemon.status).watch.scans
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > scans + 3)
        assert files(bridge) == ["drive.mcap"]
        assert len(listener.troubles) == 1
        assert "does not say that it has it" in listener.troubles[0].message
    with bridge.platform():
        bridge.daemon().run_once()
    del server

    assert not files(bridge)


@pytest.mark.parametrize("max_age_s", [3600.0, pytest.param(0.000001, marks=pytest.mark.slow)])
def test_full_disk_may_use_proof_that_is_young(
    bridge: "Bridge", max_age_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Below the watermark, with the platform away, remembered proof counts for a day: loudly."""
    free_bytes = shutil.disk_usage(bridge.watched).free
    bridge.overrides |= {
        "disposal.mode": "delete",
        "disposal.retain_days": 7,
        "disposal.proof_max_age_s": max_age_s,
    }
    with bridge.platform():
        send(bridge, "drive")
    bridge.overrides["disposal.free_min_bytes"] = 2 * free_bytes
    listener, metrics, board = Listener(), Metrics(), LiveState()
    with bridge.running(Observers([listener, metrics, board, EventLog()])):
        bridge.wait_for(lambda: listener.disposed or listener.troubles)

    if max_age_s < 1:
        assert files(bridge) == ["drive.mcap"]
        return
    assert not files(bridge)
    assert [event.proof for event in listener.disposed] == ["remembered"]
    assert "remembered proof" in caplog.text
    assert "mosaico_bridge_disposals_by_remembered_proof_total 1.0" in metrics.exposition().decode()
    assert "remembered proof" in board.look().troubles[0].failure.message
    assert "by the proof of its upload" in bridge.entries()["drive.mcap"].reason


def test_slow_disposal_does_not_hold_the_loop_up(
    bridge: "Bridge", monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a source is copied for minutes (here a while), the loop turns and others arrive."""
    archive = bridge.folder / "archive"
    bridge.overrides |= {"disposal.mode": "move", "disposal.archive_folder": str(archive)}
    slow, go = threading.Event(), threading.Event()
    move = Remover._dispose

    def slowly(remover: Remover, *args: object) -> object:
        slow.set()
        go.wait(30.0)
        return move(remover, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Remover, "_dispose", slowly)
    with bridge.platform() as server, bridge.running() as daemon:
        bridge.drop("first.mcap", bridge.mcap_bytes("first", 5))
        bridge.wait_for(slow.is_set)
        ticks = {daemon.status.ticked_ns for _ in range(1) if daemon.status}
        bridge.drop("second.mcap", bridge.mcap_bytes("second", 5))
        bridge.await_state("second.mcap", State.FINALISED)
        bridge.wait_for(lambda: daemon.status and daemon.status.ticked_ns not in ticks)
        assert bridge.entries()["first.mcap"].state is State.FINALISED
        assert (bridge.watched / "first.mcap").exists()
        go.set()
        bridge.await_state("first.mcap", State.DISPOSED)
        bridge.await_state("second.mcap", State.DISPOSED)
        arrived = rows_on(server.port)

    assert sorted(path.name for path in archive.iterdir()) == ["first.mcap", "second.mcap"]
    assert arrived == chatter({"first": 5, "second": 5})
