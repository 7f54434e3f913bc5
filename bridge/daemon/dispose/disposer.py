"""Decides which sources may go, has them removed, and keeps the journal in step.

Disposal needs a complete report at or above the configured level, files that look as they did
when they were identified, a platform that says now that it has all of it, and one that is not the
embedded server. Asking, copying and deleting happen in a thread; everything here is used from the
loop's thread only.
"""

import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from bridge.bags import METADATA_FILE, STORAGE_SUFFIXES, look_into, read_hints
from bridge.config import DisposalSettings
from bridge.daemon.dispose.background import Background
from bridge.daemon.dispose.disposal import Source, finish_folder
from bridge.daemon.dispose.emergency import Emergency
from bridge.daemon.dispose.proof import PlatformProof, Proof, Prove
from bridge.daemon.dispose.remover import Batch, Ending, Outcome, Remover, Task
from bridge.daemon.dispose.retention import ROOM_FILE, Retained, Room, due
from bridge.daemon.events.events import DaemonObserver, Disposed, Troubled
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import WatchedFolder
from bridge.errors import RecordingError, Trouble
from bridge.ingest import VerificationLevel, contents_of
from bridge.units import SECOND_NS

DISPOSED_PER_BATCH_MAX = 50
# After no answer the platform is left in peace for as long as between two probes, at most this.
ASK_AGAIN_S = 30.0
PERMISSION_HINT = "the bridge needs write permission to both folders"
FULL_HINT = "make room on the disk that it goes to; it is tried again at every look"
NO_ROOM_HINT = "look for hard links, snapshots, and programs that hold deleted files open"


class Disposer:
    """Moves or deletes sources that are safe on the platform, and quarantines poison.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        watched: The watched folder, with the settings in force in it.
        instance_id: This bridge's own name, for reports.
        observer: Hears of what was done.
        clock: Where the time comes from.
        prove: Asks the platform whether it holds sequences whole.
        wake: Wakes the loop; called from threads.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        tracker: Tracker,
        watched: WatchedFolder,
        instance_id: str,
        observer: DaemonObserver,
        clock: Clock,
        prove: Prove,
        wake: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._watched = watched
        # Fixed at the start: the embedded server lives on this disk, so nothing is disposed of.
        self._embedded = watched.settings.uses_embedded_server
        self._instance_id = instance_id
        self._observer = observer
        self._clock = clock
        self._complaints: set[tuple[int, str]] = set()
        self._emptied = EmptiedFolders(journal, watched=watched.folder)
        self._room = Room(
            watched.folder,
            watched.settings.state.folder / ROOM_FILE,
            clock_s=clock.monotonic_s,
        )
        # What could not be moved or deleted, to be tried after all others.
        self._stuck: set[int] = set()
        self._hand: Background[Outcome] = Background("disposal", wake=wake)
        self._prove = prove
        self._remover = Remover(
            self._hand,
            prove=prove,
            free_bytes=self._free_bytes,
            room_bytes=self._room.free_bytes,
        )
        self._emergency = Emergency(
            journal,
            tracker=tracker,
            watched=watched,
            free_bytes=self._free_bytes,
            room=self._room,
            observer=observer,
            complain=self._complain,
            wake=wake,
        )
        # What has just come out of work, and what came of it that is not in the journal yet.
        self._ended: dict[int, Entry] = {}
        self._outcomes: list[Outcome] = []
        self._ask_again_s = clock.monotonic_s()

    @property
    def _settings(self) -> DisposalSettings:
        return self._watched.settings.disposal

    @property
    def _keeps(self) -> bool:
        return self._embedded or self._settings.mode == "keep"

    @property
    def busy(self) -> bool:
        """Whether something is being disposed of, or is about to be."""
        return bool(self._ended or self._outcomes or self._hand.busy or self._emergency.busy)

    def ended(self, entry: Entry) -> None:
        """Take care of a recording that has just come out of work."""
        goes = entry.state is State.FINALISED and not self._keeps and not self._retains
        moves = entry.state is State.QUARANTINED and self._settings.quarantine_folder is not None
        if goes or moves:
            self._ended[entry.id] = entry

    def work(self) -> None:
        """Bring what came of it into the journal, and go on with what has come out of work.

        Raises:
            JournalError: The journal cannot be written now; call again.
        """
        self._settle()
        if self._ended and not self._hand.busy:
            ended, self._ended = self._ended, {}
            self._quarantine(one for one in ended.values() if one.state is State.QUARANTINED)
            self._dispose(one.id for one in ended.values() if one.state is State.FINALISED)

    def sweep(self) -> None:
        """Dispose of what is finalised and still there; also what a kill left half done.

        Likewise with poison, whether a worker or a scan found it out.
        """
        if not self._embedded:
            self._emergency.sweep()
        if self._hand.busy:
            # The next sweep takes the rest.
            return
        if self._settings.quarantine_folder is not None:
            found = map(self._journal.get, self._journal.quarantined_in(self._watched.folder))
            self._quarantine(entry for entry in found if entry is not None)
        if not self._keeps:
            self._dispose_of_what_is_due()
            if self._emptied.pending:
                self._hand.submit(partial(self._emptied.clear, self._settings))

    def close(self) -> None:
        """End the threads; what they have not done yet is found again at the next start."""
        self._hand.close()
        self._emergency.close()
        if isinstance(self._prove, PlatformProof):
            self._prove.close()
        self._settle()

    # -- deciding --------------------------------------------------------------------------------

    @property
    def _retains(self) -> bool:
        return bool(self._settings.retain_days or self._settings.retain_count)

    def _dispose_of_what_is_due(self) -> None:
        needed = VerificationLevel(self._settings.verification)
        levels = [level for level in VerificationLevel if level.includes(needed)]
        sources = [
            Retained(entry_id=entry_id, sent_ns=sent_ns, size_bytes=size_bytes)
            for entry_id, sent_ns, size_bytes in self._journal.arrived_in(
                self._watched.folder, levels=levels
            )
        ]
        settings = self._settings
        now, spare = due(sources, settings, now_ns=self._clock.wall_ns())
        free_bytes = self._free_bytes()
        makes_room = self._room.may_delete()
        # Sources that are kept for a while go in the end so that the disk does not fill up.
        for_room = self._retains and settings.mode == "delete"
        if (makes_room or not for_room) and self._dispose(now, for_room=for_room):
            # What these make of room is seen before more go for it.
            return
        if free_bytes < settings.free_min_bytes and makes_room:
            target_bytes = max(settings.free_min_bytes, settings.free_target_bytes)
            self._dispose(spare, target_bytes=target_bytes, for_room=True)

    def _dispose(
        self, entry_ids: Iterable[int], *, target_bytes: int | None = None, for_room: bool = False
    ) -> bool:
        """Have recordings moved or deleted; False where there was none that may be."""
        settings = self._settings
        short_of_room = self._free_bytes() < settings.free_min_bytes
        if self._clock.monotonic_s() < self._ask_again_s and not short_of_room:
            return False
        tasks: list[Task] = []
        for entry_id in sorted(entry_ids, key=self._stuck.__contains__):
            entry = self._journal.get(entry_id)
            if entry is not None and (task := self._task(entry, short_of_room=short_of_room)):
                tasks.append(task)
            if len(tasks) == DISPOSED_PER_BATCH_MAX:
                break
        folder = settings.archive_folder if settings.mode == "move" else None
        batch = Batch(
            tasks=tuple(tasks),
            mode=settings.mode,
            folder=None if folder is None else folder.absolute(),
            needed=VerificationLevel(settings.verification),
            target_bytes=target_bytes,
            for_room=for_room,
        )
        return self._submit(batch)

    def _task(self, entry: Entry, *, short_of_room: bool) -> Task | None:
        if entry.state is not State.FINALISED or not self._is_enough(entry.verification):
            return None
        found = self._tracker.found(entry)
        if found is None or not self._tracker.unchanged(entry):
            return None
        report = self._journal.report(entry.id)
        age_s = (self._clock.wall_ns() - entry.changed_ns) / SECOND_NS
        return Task(
            entry_id=entry.id,
            source=Source(
                recording=found.recording, watched=self._watched.folder, signature=found.signature
            ),
            size_bytes=found.size_bytes,
            contents=tuple(contents_of(report)) if report else (),
            remembered=short_of_room and 0 <= age_s <= self._settings.proof_max_age_s,
        )

    def _is_enough(self, verification: str) -> bool:
        """Return whether a level of proof lets a source go."""
        if verification not in tuple(VerificationLevel):
            return False
        needed = VerificationLevel(self._settings.verification)
        return VerificationLevel(verification).includes(needed)

    def _quarantine(self, entries: Iterable[Entry]) -> None:
        """Have recordings moved away that cannot be read."""
        folder = self._settings.quarantine_folder
        if folder is None:
            return
        tasks = []
        for entry in entries:
            found, failure = self._tracker.found(entry), entry.failure
            # Only the recording's own fault moves it; a defect of ours leaves it where it is.
            if found is None or failure is None or failure.trouble is not Trouble.POISON:
                continue
            source = Source(
                recording=found.recording, watched=self._watched.folder, signature=found.signature
            )
            report = self._report(entry, failure)
            tasks.append(
                Task(entry_id=entry.id, source=source, size_bytes=found.size_bytes, report=report)
            )
        self._submit(Batch(tasks=tuple(tasks), mode="quarantine", folder=folder.absolute()))

    def _report(self, entry: Entry, failure: Failure) -> dict[str, object]:
        return {
            "recording": str(entry.path),
            "fingerprint": entry.fingerprint,
            "size_bytes": entry.size_bytes,
            "instance": self._instance_id,
            "failure": failure.as_json(),
            "story": [
                {"at_ns": step.at_ns, "state": str(step.after), "reason": step.reason}
                for step in self._journal.transitions(entry.id)
            ],
            "what_to_do": failure.hint
            or "look at it with `mosaico-bridge inspect`; put it back and `retry` to try again",
        }

    def _submit(self, batch: Batch) -> bool:
        if batch.tasks:
            # Half moved it would look like another recording.
            self._tracker.hold(self, {task.source.recording.path for task in batch.tasks})
            self._hand.submit(partial(self._remover.carry_out, batch))
        return bool(batch.tasks)

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._watched.folder).free
        except OSError:
            # Unknown is not a reason to let anything go before its time.
            return sys.maxsize

    # -- what came of it -------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring what came of it into the journal."""
        was_busy = self._hand.busy
        self._outcomes += self._hand.outcomes()
        while self._outcomes:
            self._take_in(self._outcomes[0])
            self._outcomes.pop(0)
        if was_busy and not self._hand.busy:
            self._tracker.hold(self, ())
        self._emergency.settle()

    def _take_in(self, outcome: Outcome) -> None:
        entry = self._journal.get(outcome.task.entry_id)
        if entry is None:
            return
        match outcome.ending:
            case Ending.GONE:
                self._gone(entry, outcome)
            case Ending.LOST if entry.state is State.FINALISED:
                reason = f"the platform has lost it ({outcome.reason}); it is sent again"
                self._journal.move(entry.id, State.READY, reason, attempts=0)
            case Ending.DOUBTFUL if entry.state is State.FINALISED:
                reason = f"the platform does not hold it whole: {outcome.reason}"
                self._journal.move(entry.id, State.LOST, reason)
            case Ending.UNPROVEN:
                again_s = min(ASK_AGAIN_S, self._watched.settings.retry.backoff_max_s)
                self._ask_again_s = self._clock.monotonic_s() + again_s
                message = f"{entry.path} stays: {outcome.reason}"
                self._complain(entry, message, hint="it goes when the platform answers")
            case Ending.ROOMLESS:
                self._roomless(entry, outcome)
            case Ending.FAILED:
                self._stuck.add(entry.id)
                action = "move" if outcome.mode == "quarantine" else outcome.mode
                where = " to quarantine" if outcome.mode == "quarantine" else ""
                self._complain(
                    entry,
                    f"cannot {action} {entry.path}{where}: {outcome.reason}",
                    hint=FULL_HINT if outcome.disk_full else PERMISSION_HINT,
                )
            case _:
                # It is not what was meant any more; scans see what it is now.
                pass

    def _gone(self, entry: Entry, outcome: Outcome) -> None:
        self._stuck.discard(entry.id)
        if outcome.made_room:
            self._room.made()
        if outcome.mode == "quarantine":
            reason = f"{entry.reason}; moved to {outcome.target}"
            self._journal.note(entry.id, reason=reason)
            return
        if entry.state is not State.FINALISED:
            return
        done = "deleted" if outcome.target is None else f"moved to {outcome.target}"
        if outcome.proof is Proof.REMEMBERED:
            done += ", by the proof of its upload: no answer from the platform, no room on the disk"
        entry = self._journal.move(entry.id, State.DISPOSED, done)
        self._emptied.note(entry)
        self._observer.hear(
            Disposed(
                entry=entry,
                mode=outcome.mode,
                target=outcome.target,
                size_bytes=outcome.task.size_bytes,
                proof=outcome.proof,
            )
        )

    def _roomless(self, entry: Entry, outcome: Outcome) -> None:
        if not outcome.free_bytes:
            self._stuck.add(entry.id)
            self._complain(entry, f"{entry.path} stays: {outcome.reason}", hint=NO_ROOM_HINT)
            return
        self._room.failed(
            free_bytes=outcome.free_bytes,
            expected_bytes=outcome.task.size_bytes,
            crowded=outcome.crowded,
        )
        self._complain(
            entry,
            f"deleting {entry.path} made no room: {outcome.reason}; "
            "nothing more is deleted for room",
            hint=NO_ROOM_HINT,
        )

    def _complain(self, entry: Entry, message: str, *, hint: str = PERMISSION_HINT) -> None:
        """Report once what cannot be done; the next sweep tries again."""
        if (entry.id, message) in self._complaints:
            return
        self._complaints.add((entry.id, message))
        self._observer.hear(
            Troubled(
                failure=Failure(
                    error="DisposalFailed",
                    message=message,
                    hint=hint,
                    facts={"path": str(entry.path)},
                )
            )
        )


class EmptiedFolders:
    """Knows the folders that splits were taken out of, and clears those that are done.

    A recording's metadata.yaml goes last, and only when the recorder is done with it: it is there,
    none of the files that it lists is there any more, and nothing else in the folder looks like a
    recording or the copy of one.

    Args:
        journal: Names the splits that were disposed of before the start.
        watched: The watched folder, absolute.
    """

    def __init__(self, journal: Journal, *, watched: Path) -> None:
        self._watched = watched
        self._folders = {
            folder
            for folder in journal.folders_of_disposed_splits()
            if folder.is_relative_to(watched)
        }

    def note(self, entry: Entry) -> None:
        """Take note that a recording was disposed of."""
        if entry.split_of and entry.path.is_relative_to(self._watched):
            self._folders.add(entry.path.parent)

    @property
    def pending(self) -> bool:
        """Whether there is a folder that splits were taken out of."""
        return bool(self._folders)

    def clear(self, settings: DisposalSettings) -> None:
        """Clear the folders that are done; what cannot be cleared is tried again.

        Lists folders and reads what a recorder wrote, so it is used from the disposer's thread.
        """
        archive = settings.archive_folder if settings.mode == "move" else None
        for folder in tuple(self._folders):
            try:
                if _is_done(folder):
                    finish_folder(folder, self._watched, archive and archive.absolute())
            except OSError:
                continue
            if not (folder / METADATA_FILE).exists() and not folder.is_dir():
                self._folders.discard(folder)


def _is_done(folder: Path) -> bool:
    try:
        content = look_into(folder)
    except RecordingError:
        return False
    if not content.has_metadata or content.storage or content.folders:
        return False
    hints, flaws = read_hints(folder)
    listed = hints.get("relative_file_paths")
    # A torn list may lack the split that comes next.
    if flaws or not isinstance(listed, list) or not listed:
        return False
    names = [path.name for path in folder.iterdir()]
    return not any(suffix in name for name in names for suffix in STORAGE_SUFFIXES)
