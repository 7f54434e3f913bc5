"""Decides which sources may go, lets them go, and keeps the journal in step.

Disposal needs a complete report at or above the configured level, files that look as they did
when they were identified, and a platform that is not the embedded server. Used from the loop's
thread only.
"""

import shutil
import sys
from pathlib import Path

from bridge.bags import METADATA_FILE, STORAGE_SUFFIXES, look_into, read_hints
from bridge.config import DisposalSettings
from bridge.daemon.dispose.disposal import delete, finish_folder, move, quarantine
from bridge.daemon.dispose.emergency import Emergency
from bridge.daemon.dispose.retention import Source, due
from bridge.daemon.events.events import DaemonObserver, Disposed, Troubled
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.tracker import Tracker
from bridge.daemon.watch.watched_folder import WatchedFolder
from bridge.errors import RecordingError, Trouble
from bridge.ingest import VerificationLevel

LEVELS = tuple(VerificationLevel)
DISPOSED_PER_SWEEP_MAX = 50


class Disposer:
    """Moves or deletes sources that are safe on the platform, and quarantines poison.

    Args:
        journal: The journal.
        tracker: Knows whether a recording still looks as it did.
        watched: The watched folder, with the settings in force in it.
        instance_id: This bridge's own name, for reports.
        observer: Told of what was done.
        clock: Where the time comes from.
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
    ) -> None:
        self._journal = journal
        self._tracker = tracker
        self._watched = watched
        self._folder = watched.folder
        # Fixed at the start: the embedded server lives on this disk, so nothing is disposed of.
        self._embedded = watched.settings.uses_embedded_server
        self._instance_id = instance_id
        self._observer = observer
        self._clock = clock
        self._complaints: set[tuple[int, str]] = set()
        self._emptied = EmptiedFolders(journal, watched=self._folder)
        self._emergency = Emergency(
            journal,
            tracker=tracker,
            watched=watched,
            free_bytes=self._free_bytes,
            observer=observer,
            complain=self._complain,
        )

    @property
    def _settings(self) -> DisposalSettings:
        return self._watched.settings.disposal

    @property
    def _keeps(self) -> bool:
        return self._embedded or self._settings.mode == "keep"

    def sweep(self) -> None:
        """Dispose of what is finalised and still there; also what a kill left half done.

        Likewise with poison, whether a worker or a scan found it out.
        """
        if self._settings.quarantine_folder is not None:
            for entry_id in self._journal.quarantined_in(self._folder):
                entry = self._journal.get(entry_id)
                if entry is not None and entry.failure is not None:
                    self._quarantine(entry, entry.failure)
        if not self._keeps:
            self._dispose_of_what_is_due()
            self._emptied.sweep(self._settings)
        if not self._embedded:
            self._emergency.sweep()

    def _dispose_of_what_is_due(self) -> None:
        needed = LEVELS.index(VerificationLevel(self._settings.verification))
        sources = [
            Source(entry_id=entry_id, sent_ns=sent_ns, size_bytes=size_bytes)
            for entry_id, sent_ns, size_bytes in self._journal.arrived_in(
                self._folder, levels=LEVELS[needed:]
            )
        ]
        now = due(
            sources, self._settings, now_ns=self._clock.wall_ns(), free_bytes=self._free_bytes()
        )
        for entry_id in now[:DISPOSED_PER_SWEEP_MAX]:
            if (entry := self._journal.get(entry_id)) is not None:
                self._dispose(entry)

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            # Unknown is not a reason to let anything go before its time.
            return sys.maxsize

    def ended(self, entry: Entry, failure: Failure | None) -> None:
        """Take care of a recording that has just come out of work."""
        retained = self._settings.retain_days or self._settings.retain_count
        if entry.state is State.FINALISED and not self._keeps and not retained:
            self._dispose(entry)
        elif entry.state is State.QUARANTINED and failure is not None:
            self._quarantine(entry, failure)

    def _dispose(self, entry: Entry) -> None:
        found = self._tracker.found(entry)
        if (
            not self._is_enough(entry.verification)
            or found is None
            or not self._tracker.unchanged(entry)
        ):
            return
        archive = self._settings.archive_folder
        target = None
        try:
            if self._settings.mode == "delete":
                delete(found.recording)
            else:
                assert archive is not None, "checked with the settings"
                target = move(found.recording, self._folder, archive.absolute())
        except OSError as error:
            self._complain(entry, f"cannot {self._settings.mode} {entry.path}: {error.strerror}")
            return
        done = "deleted" if target is None else f"moved to {target}"
        entry = self._journal.move(entry.id, State.DISPOSED, done)
        self._emptied.note(entry)
        self._observer.hear(
            Disposed(
                entry=entry,
                mode=self._settings.mode,
                target=target,
                size_bytes=found.size_bytes,
            )
        )

    def _is_enough(self, verification: str) -> bool:
        """Return whether a level of proof lets a source go."""
        if verification not in LEVELS:
            return False
        needed = VerificationLevel(self._settings.verification)
        return LEVELS.index(VerificationLevel(verification)) >= LEVELS.index(needed)

    def _quarantine(self, entry: Entry, failure: Failure) -> None:
        folder = self._settings.quarantine_folder
        found = self._tracker.found(entry)
        # Only the recording's own fault moves it; a defect of ours leaves it where it is.
        if folder is None or found is None or failure.trouble is not Trouble.POISON:
            return
        report = {
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
        try:
            target = quarantine(found.recording, self._folder, folder.absolute(), report)
        except OSError as error:
            self._complain(entry, f"cannot move {entry.path} to quarantine: {error.strerror}")
            return
        self._journal.note(entry.id, reason=f"{entry.reason}; moved to {target}")

    def _complain(self, entry: Entry, message: str) -> None:
        """Report once what cannot be done; the next sweep tries again."""
        if (entry.id, message) in self._complaints:
            return
        self._complaints.add((entry.id, message))
        self._observer.hear(
            Troubled(
                failure=Failure(
                    error="DisposalFailed",
                    message=message,
                    hint="the bridge needs write permission to both folders",
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

    def sweep(self, settings: DisposalSettings) -> None:
        """Clear the folders that are done; what cannot be cleared is tried again."""
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
