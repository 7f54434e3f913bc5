"""The one place that deletes what is not on the platform: when the disk is about to be full.

Only where `disposal.emergency` says so, only below its own watermark, and only as much as it
takes, so that the recorder does not stop. What arrived goes first, then what arrived in part, then
the oldest of what did not. A recording that is still written, that a worker reads or that was left
alone by choice stays. Deleting happens in a thread of its own, so that it never waits for a slow
copy; the rest is used from the loop's thread only.
"""

from collections.abc import Callable
from typing import Protocol

from bridge.daemon.dispose.background import Background
from bridge.daemon.dispose.disposal import Source
from bridge.daemon.dispose.remover import Batch, Ending, Outcome, Remover, Task
from bridge.daemon.dispose.retention import Room
from bridge.daemon.events.events import DaemonObserver, Disposed, Troubled
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import IN_WORK, State, allowed
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import WatchedFolder

MODE = "emergency"
# Least loss first.
ORDER = (
    frozenset({State.FINALISED}),
    frozenset({State.PARTIAL, State.EMPTY}),
    frozenset({State.READY, State.WAITING, State.REJECTED, State.QUARANTINED, State.LOST}),
)
DELETED_PER_BATCH_MAX = 50


class Complain(Protocol):
    """Reports once what cannot be done."""

    def __call__(self, entry: Entry, message: str) -> None:
        """Report it."""


class Emergency:
    """Makes room at any price, if it was told to.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        watched: The watched folder, with the settings in force in it.
        free_bytes: Measures the free space of its disk.
        room: Whether deleting makes room on it.
        observer: Hears of every deletion.
        complain: Reports what cannot be deleted.
        wake: Wakes the loop; called from the thread.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        tracker: Tracker,
        watched: WatchedFolder,
        free_bytes: Callable[[], int],
        room: Room,
        observer: DaemonObserver,
        complain: Complain,
        wake: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._watched = watched
        self._free_bytes = free_bytes
        self._room = room
        self._observer = observer
        self._complain = complain
        self._hand: Background[Outcome] = Background("emergency", wake=wake)
        self._remover = Remover(
            self._hand,
            prove=lambda _contents: {},
            free_bytes=free_bytes,
            room_bytes=room.free_bytes,
        )
        self._outcomes: list[Outcome] = []
        self._began_bytes = 0
        self._stuck: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether something is being deleted."""
        return bool(self._outcomes or self._hand.busy)

    def sweep(self) -> None:
        """Have as much deleted as it takes, if there is an emergency."""
        settings = self._watched.settings.disposal
        if not settings.emergency or self._hand.busy:
            return
        free_bytes, target_bytes = self._free_bytes(), settings.emergency_free_min_bytes
        if free_bytes >= target_bytes or not self._room.may_delete():
            return
        self._began_bytes = free_bytes
        # What could not be deleted is tried after all others.
        candidates = sorted(self._candidates(), key=lambda entry: entry.id in self._stuck)
        tasks = tuple(self._task(entry) for entry in candidates[:DELETED_PER_BATCH_MAX])
        batch = Batch(tasks=tasks, mode=MODE, target_bytes=target_bytes, for_room=True)
        self._tracker.hold(self, [task.source.recording.path for task in tasks])
        self._hand.submit(lambda: self._remover.carry_out(batch))

    def settle(self) -> None:
        """Bring what came of it into the journal.

        Raises:
            JournalError: The journal cannot be written now; call again.
        """
        was_busy = self._hand.busy
        self._outcomes += self._hand.outcomes()
        while self._outcomes:
            outcome = self._outcomes[0]
            entry = self._journal.get(outcome.task.entry_id)
            if entry is not None:
                self._take_in(entry, outcome)
            self._outcomes.pop(0)
        if was_busy and not self._hand.busy:
            self._tracker.hold(self, ())

    def close(self) -> None:
        """End the thread."""
        self._hand.close()
        self.settle()

    def _task(self, entry: Entry) -> Task:
        found = self._tracker.found(entry)
        assert found is not None, "only what was found is a candidate"
        source = Source(
            recording=found.recording, watched=self._watched.folder, signature=found.signature
        )
        return Task(entry_id=entry.id, source=source, size_bytes=found.size_bytes)

    def _candidates(self) -> list[Entry]:
        """List what may go, in the order in which it goes."""
        rank = {state: place for place, states in enumerate(ORDER) for state in states}
        entries = [
            entry
            for entry in self._journal.recordings(states=set(rank))
            if self._watched.holds(entry.path)
            and self._tracker.found(entry) is not None
            and self._tracker.unchanged(entry)
        ]
        return sorted(entries, key=lambda one: (rank[one.state], one.modified_ns, one.id))

    def _take_in(self, entry: Entry, outcome: Outcome) -> None:
        match outcome.ending:
            case Ending.GONE:
                self._gone(entry, outcome)
            case Ending.ROOMLESS if outcome.free_bytes:
                self._room.failed(
                    free_bytes=outcome.free_bytes,
                    expected_bytes=outcome.task.size_bytes,
                    crowded=outcome.crowded,
                )
                self._complain(
                    entry,
                    f"deleting {entry.path} made no room: {outcome.reason}; "
                    "nothing more is deleted for room",
                )
            case Ending.ROOMLESS:
                self._stuck.add(entry.id)
                self._complain(entry, f"{entry.path} stays: {outcome.reason}")
            case Ending.FAILED:
                self._stuck.add(entry.id)
                self._complain(entry, f"cannot delete {entry.path}: {outcome.reason}")
            case _:
                pass

    def _gone(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.made_room:
            self._room.made()
        arrived = entry.state is State.FINALISED
        free_bytes = self._began_bytes
        reason = f"deleted in an emergency: {free_bytes} bytes were free; it was {entry.state}"
        after = State.DISPOSED if arrived else State.VANISHED
        if entry.state not in IN_WORK and allowed(entry.state, after):
            entry = self._journal.move(entry.id, after, reason)
        else:
            self._journal.note(entry.id, reason=f"{entry.reason}; {reason}")
            entry = self._journal.get(entry.id) or entry
        size_bytes = outcome.task.size_bytes
        self._observer.hear(
            Disposed(
                entry=entry, mode=MODE, target=None, size_bytes=size_bytes, proof=outcome.proof
            )
        )
        if not arrived:
            self._observer.hear(
                Troubled(
                    failure=Failure(
                        error="EmergencyDeletion",
                        message=f"{entry.path} was deleted although it is not whole on the "
                        f"platform: only {free_bytes} bytes were free",
                        hint="make room on the disk, or let recordings leave it faster",
                        facts={"path": str(entry.path), "reason": entry.reason},
                    )
                )
            )
