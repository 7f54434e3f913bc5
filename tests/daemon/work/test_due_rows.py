"""What a turn of the loop costs while many of recordings wait for their next try."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.journal.view import JournalView

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

WAITING = 400


def crowd(bridge: "Bridge", *, due_ns: int) -> None:
    """Let thousands of recordings wait, all of which are there and unchanged."""
    with Journal.own(bridge.state) as journal:
        for number in range(WAITING):
            entry = journal.discover(
                bridge.watched / f"drive_{number:05}.mcap", name=f"drive_{number:05}",
                size_bytes=10, modified_ns=number,
            )  # fmt: skip
            journal.move(entry.id, State.READY, "complete", fingerprint=f"{number:064}")
            journal.move(entry.id, State.SENDING, "attempt 1")
            journal.move(entry.id, State.WAITING, "broken", due_ns=due_ns)


def test_a_turn_does_not_read_what_is_not_due(
    bridge: "Bridge", monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one look at everything, turns ask the journal for what is due and read no other row."""
    # The cap that a wrong clock is held to must be far away, too.
    bridge.overrides["retry.backoff_max_s"] = 3600.0
    crowd(bridge, due_ns=2**62)
    read: list[int] = []
    plain = JournalView.queue

    def counted(self: JournalView, state: State, **given: Any) -> Any:
        found = plain(self, state, **given)
        if state is State.WAITING and given.get("limit", 0) > 1:
            read.append(len(found))
        return found

    monkeypatch.setattr(JournalView, "queue", counted)
    with bridge.running():
        bridge.wait_for(lambda: sum(read) >= WAITING)
        bridge.drop("fresh.mcap", bridge.mcap_bytes("fresh"))
        bridge.await_state("fresh.mcap", State.FINALISED)

    # One look for something to take, one for when the first of them is due.
    assert sum(read) < 3 * WAITING


def test_only_splits_are_remembered_of_what_was_disposed_of(tmp_path: Path) -> None:
    """The start asks for the folders of disposed splits, and reads no other recording."""
    with Journal.own(tmp_path / "state") as journal:
        for number in range(20):
            split_of = "long" if number < 3 else ""
            entry = journal.discover(
                tmp_path / f"folder_{number}" / "x.mcap", name=f"x{number}", size_bytes=1,
                modified_ns=1, split_of=split_of,
            )  # fmt: skip
            for state in (State.READY, State.SENDING, State.FINALISED, State.DISPOSED):
                journal.move(entry.id, state, "a test")
        found = journal.folders_of_disposed_splits()

    assert found == {tmp_path / f"folder_{number}" for number in range(3)}
