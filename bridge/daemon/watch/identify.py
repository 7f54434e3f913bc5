"""What a complete recording is: new, known from another place, changed since it was sent, or back.

Decides by content, through the journal. Used from the loop's thread only.

What is left of a recording that was sent, after a cleaner or an interrupted disposal took files
away, is that recording still. All other groups of files are queued, whatever of them was sent
before: the worker asks the platform for each part and sends only those that are not there.
"""

from dataclasses import replace
from pathlib import Path

from bridge.bags import Content
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import DELIVERED, State
from bridge.daemon.watch.paths_seen import PathsSeen
from bridge.daemon.watch.scan import Found
from bridge.daemon.watch.watched_folder import WatchedFolder
from bridge.model import Recording


class Identifier:
    """Brings complete recordings into the queue, unless their content is known.

    Args:
        journal: The journal.
        paths_seen: What is where.
    """

    def __init__(self, journal: Journal, paths_seen: PathsSeen) -> None:
        self._journal = journal
        self._paths_seen = paths_seen

    def settle(
        self,
        recording: Recording,
        entry: Entry,
        *,
        content: Content,
        found: Found,
        watched: WatchedFolder,
        reason: str,
        salvage: bool,
    ) -> None:
        """Decide what becomes of a complete recording.

        Args:
            recording: The recording.
            entry: What the journal has of it so far; taken out where it is known content.
            content: Its identity and that of its parts.
            found: How it looked just before and after that was computed.
            watched: The watched folder it is in.
            reason: Why it counts as complete.
            salvage: Whether it is taken although something of it is missing.
        """
        known = self._journal.with_content(content.fingerprint)
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
        whole = self._whole_of(recording, content)
        if whole is not None:
            self._is_left_of(whole, recording, entry, found)
            return
        state, why = State.READY, reason
        if self._is_ignored_change(entry, content, watched):
            state, why = State.IGNORED, "it changed after it was sent"
        self._journal.keep_parts(entry.id, content.parts)
        self._journal.move(
            entry.id,
            state,
            why,
            fingerprint=content.fingerprint,
            salvage=salvage,
            size_bytes=found.size_bytes,
            modified_ns=found.modified_ns,
        )
        self._paths_seen.see(recording.path, entry, found)

    def _whole_of(self, recording: Recording, content: Content) -> Entry | None:
        """Find the recording that this is the rest of: on the platform, and not here any more.

        A cleaner, or a disposal that was interrupted, leaves the last splits of what was sent.
        """
        here = {part.identity: part for part in content.parts}
        for whole in self._journal.holders(content.parts[0], beside=recording.path.parent):
            if (
                whole.state not in DELIVERED
                or bool(whole.split_of) != (recording.split is not None)
                or (whole.path != recording.path and self._paths_seen.in_place(whole))
            ):
                continue
            parts = self._journal.parts(whole.id)
            known = {part.identity for part in parts}
            by_name = {(part.name, part.size_bytes) for part in parts if not part.identity}
            if all(
                identity in known or (part.name, part.size_bytes) in by_name
                for identity, part in here.items()
            ):
                return whole
        return None

    def _is_left_of(self, whole: Entry, recording: Recording, entry: Entry, found: Found) -> None:
        gone = len(self._journal.parts(whole.id)) - len(recording.files)
        self._paths_seen.drop(entry)
        self._journal.note(
            whole.id,
            path=recording.path,
            reason=f"all of it was sent before, as {whole.sequence or whole.name}; "
            f"{gone} of its files are not here any more",
        )
        self._paths_seen.see(recording.path, whole, found)

    def _is_ignored_change(self, entry: Entry, content: Content, watched: WatchedFolder) -> bool:
        """Say whether a file of it is another than when it was sent, and is to be left alone.

        A file that was not there before is no change of those that were.
        """
        if watched.settings.watch.on_change != "ignore":
            return False
        older = self._journal.predecessor(entry)
        if older is None:
            return False
        sent = {part.name: part.identity for part in self._journal.parts(older.id)}
        changed = any(sent.get(part.name) not in {None, part.identity} for part in content.parts)
        return changed or not sent

    def _known(
        self,
        path: Path,
        entry: Entry,
        known: Entry,
        *,
        content: Content,
        found: Found,
        watched: WatchedFolder,
    ) -> None:
        here = replace(known, path=path)
        # A change that is left alone is so in its place; elsewhere the same is a recording.
        taken_up = known.state is State.IGNORED and not self._is_ignored_change(
            here, content, watched
        )
        if known.path != path and not taken_up and self._paths_seen.in_place(known):
            self._journal.move(
                entry.id,
                State.IGNORED,
                f"same content as {known.path}",
                fingerprint=content.fingerprint,
                duplicate_of=known.id,
            )
            self._journal.keep_parts(entry.id, content.parts)
            self._paths_seen.see(path, entry, found)
            return
        self._paths_seen.drop(entry)
        self._journal.note(known.id, path=path)
        # Under another name they have other names, too; and older journals do not know them.
        self._journal.keep_parts(known.id, content.parts)
        self._paths_seen.see(path, known, found)
        if known.state is State.VANISHED:
            self._journal.move(known.id, State.READY, "it is back")
        elif known.state in {State.DISPOSED, State.LOST}:
            # Perhaps because the platform has lost it.
            self._journal.move(
                known.id,
                State.READY,
                "it was put into the folder again; is it still on the platform?",
            )
        elif known.state is State.SUPERSEDED:
            # Its sequence is gone; now it supersedes what was here in its place.
            supersedes = entry.supersedes if entry.supersedes != known.id else known.supersedes
            self._journal.move(known.id, State.READY, "it is back", supersedes=supersedes)
        elif taken_up:
            self._journal.move(known.id, State.READY, "the settings do not leave it out any more")
