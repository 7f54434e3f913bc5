"""The one place that deletes what is not on the platform: when the disk is about to be full.

Only where `disposal.emergency` says so, only below its own watermark, and only as much as it
takes, so that the recorder does not stop. What arrived goes first, then what arrived in part, then
the oldest of what did not. A recording that is still written, that a worker
reads or that was left alone by choice stays. Used from the loop's thread only.
"""

from collections.abc import Callable

from bridge.daemon.dispose.disposal import delete
from bridge.daemon.dispose.retention import Source, making_room
from bridge.daemon.events.events import DaemonObserver, Disposed, Troubled
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State, allowed
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import WatchedFolder

MODE = "emergency"
# Least loss first.
ORDER = (
    frozenset({State.FINALISED}),
    frozenset({State.PARTIAL, State.EMPTY}),
    frozenset({State.READY, State.WAITING, State.REJECTED, State.QUARANTINED}),
)
DELETED_PER_SWEEP_MAX = 50


class Emergency:
    """Makes room at any price, if it was told to.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        watched: The watched folder, with the settings in force in it.
        free_bytes: Measures the free space of its disk.
        observer: Told of every deletion.
        complain: Told of what cannot be deleted.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        tracker: Tracker,
        watched: WatchedFolder,
        free_bytes: Callable[[], int],
        observer: DaemonObserver,
        complain: Callable[[Entry, str], None],
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._watched = watched
        self._free_bytes = free_bytes
        self._observer = observer
        self._complain = complain

    def sweep(self) -> None:
        """Delete as much as it takes, if there is an emergency."""
        settings = self._watched.settings.disposal
        if not settings.emergency:
            return
        free_bytes, target_bytes = self._free_bytes(), settings.emergency_free_min_bytes
        if free_bytes >= target_bytes:
            return
        by_id = {entry.id: entry for entry in self._candidates()}
        sources = [
            Source(entry_id=entry.id, sent_ns=entry.changed_ns, size_bytes=entry.size_bytes)
            for entry in by_id.values()
        ]
        gone = making_room(sources, free_bytes=free_bytes, target_bytes=target_bytes)
        for entry_id in gone[:DELETED_PER_SWEEP_MAX]:
            self._delete(by_id[entry_id], free_bytes)

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

    def _delete(self, entry: Entry, free_bytes: int) -> None:
        found = self._tracker.found(entry)
        assert found is not None, "only what was found is a candidate"
        try:
            delete(found.recording)
        except OSError as error:
            self._complain(entry, f"cannot delete {entry.path}: {error.strerror}")
            return
        arrived = entry.state is State.FINALISED
        reason = f"deleted in an emergency: {free_bytes} bytes were free; it was {entry.state}"
        after = State.DISPOSED if arrived else State.VANISHED
        if allowed(entry.state, after):
            entry = self._journal.move(entry.id, after, reason)
        else:
            self._journal.note(entry.id, reason=f"{entry.reason}; {reason}")
            entry = self._journal.get(entry.id) or entry
        self._observer.hear(
            Disposed(entry=entry, mode=MODE, target=None, size_bytes=found.size_bytes)
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
