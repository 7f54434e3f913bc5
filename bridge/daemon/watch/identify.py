"""What a complete recording is: new, known from another place, changed since it was sent, or back.

Decides by content, through the journal. Used from the loop's thread only.
"""

from pathlib import Path

from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.paths_seen import PathsSeen
from bridge.daemon.watch.scan import Found
from bridge.daemon.watch.units import files_of, sent_otherwise
from bridge.daemon.watch.watched_folder import WatchedFolder
from bridge.model import Recording


class Identifier:
    """Brings complete recordings into the queue, unless their content is known.

    Args:
        journal: The journal.
        sightings: What stands where.
    """

    def __init__(self, journal: Journal, sightings: PathsSeen) -> None:
        self._journal = journal
        self._paths_seen = sightings

    def settle(
        self,
        recording: Recording,
        entry: Entry,
        *,
        content: str,
        found: Found,
        watched: WatchedFolder,
        reason: str,
        salvage: bool,
    ) -> None:
        """Decide what becomes of a complete recording.

        Args:
            recording: The recording.
            entry: What the journal has of it so far; taken out where it is known content.
            content: Its fingerprint.
            found: How it looked just before and after the fingerprint was taken.
            watched: The watched folder it lies in.
            reason: Why it counts as complete.
            salvage: Whether it is taken although something of it is missing.
        """
        known = self._journal.with_content(content)
        if known is not None:
            self._known(
                recording.path,
                entry,
                known,
                content=content,
                found=found,
                watched=watched,
            )
            return
        state, why = State.READY, reason
        if sent := sent_otherwise(recording, found, self._journal, entry):
            state, why = State.IGNORED, sent
        elif watched.settings.watch.on_change == "ignore" and self._journal.predecessor(entry):
            state, why = State.IGNORED, "it changed after it was sent"
        self._journal.move(
            entry.id,
            state,
            why,
            fingerprint=content,
            salvage=salvage,
            size_bytes=found.size_bytes,
            modified_ns=found.modified_ns,
            files=files_of(recording),
        )
        self._paths_seen.see(recording.path, entry, found)

    def _known(
        self,
        path: Path,
        entry: Entry,
        known: Entry,
        *,
        content: str,
        found: Found,
        watched: WatchedFolder,
    ) -> None:
        if known.path != path and self._paths_seen.stands(known):
            self._journal.move(
                entry.id,
                State.IGNORED,
                f"same content as {known.path}",
                fingerprint=content,
                duplicate_of=known.id,
            )
            self._paths_seen.see(path, entry, found)
            return
        self._paths_seen.drop(entry)
        self._journal.note(known.id, path=path)
        self._paths_seen.see(path, known, found)
        if known.state is State.VANISHED:
            self._journal.move(known.id, State.READY, "it is back")
        elif known.state is State.DISPOSED:
            self._journal.move(known.id, State.FINALISED, "it was put into the folder again")
        elif known.state is State.SUPERSEDED:
            # Its sequence is gone; now it supersedes what stood here in its place.
            supersedes = entry.supersedes if entry.supersedes != known.id else known.supersedes
            self._journal.move(known.id, State.READY, "it is back", supersedes=supersedes)
        elif known.state is State.IGNORED and not self._stays_ignored(known, watched):
            self._journal.move(known.id, State.READY, "the settings do not leave it out any more")

    def _stays_ignored(self, entry: Entry, watched: WatchedFolder) -> bool:
        if watched.settings.watch.on_change == "ignore" and self._journal.predecessor(entry):
            return True
        found = self._paths_seen.found.get(entry.path)
        return found is not None and bool(
            sent_otherwise(found.recording, found, self._journal, entry)
        )
