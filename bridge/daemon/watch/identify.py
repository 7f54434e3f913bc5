"""What a complete recording is: new, known from another place, changed since it was sent, or back.

Decides by content, through the journal. Used from the loop's thread only.

Content is not sent twice when its unit or form changes, or only a part is left. With `ingest.unit`
set otherwise than before, a recording that was sent whole is seen again as its splits, or its
splits as a whole; a recorder that compresses file by file leaves the same split under another name
once that is done; a cleaner that deletes the oldest splits of a recording that was sent leaves a
rest of it. Their bytes differ, so their fingerprints do.
"""

import os
from pathlib import Path

from bridge.bags import COMPRESSION_SUFFIX
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import ON_PLATFORM, State
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
            watched: The watched folder it is in.
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
        if known.path != path and self._paths_seen.in_place(known):
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
            # Its sequence is gone; now it supersedes what was here in its place.
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


def sent_otherwise(recording: Recording, found: Found, journal: Journal, entry: Entry) -> str:
    """Say how a recording's content has come to the platform already; empty where it has not.

    Args:
        recording: A complete recording whose own content the journal does not know.
        found: How it looks.
        journal: The journal.
        entry: What it has of the recording.
    """
    if recording.split is None:
        return _as_splits(recording, journal) or _as_more(recording, journal, entry)
    return _as_whole(recording, found, journal) or _before_compression(recording, journal)


def _as_whole(recording: Recording, found: Found, journal: Journal) -> str:
    split = recording.split
    assert split is not None
    for whole in journal.named(split.recording):
        beside = split.folder in {whole.path, whole.path.parent}
        if (
            beside
            and not whole.split_of
            and whole.state in ON_PLATFORM
            # A split that came later cannot have been part of it.
            and found.modified_ns <= whole.modified_ns
        ):
            return f"it was sent as part of {whole.sequence or whole.name}"
    return ""


def _as_splits(recording: Recording, journal: Journal) -> str:
    parts = {
        part.path: part for part in journal.splits_of(recording.name) if part.state in ON_PLATFORM
    }
    files = recording.files
    if files and all(_is_sent(parts.get(file.path), file.size_bytes) for file in files):
        return f"its {len(files)} splits were sent one by one"
    return ""


def files_of(recording: Recording) -> dict[str, int]:
    """Give the storage files' names and sizes in bytes."""
    return {
        os.fsencode(file.path.name).decode("utf-8", "backslashreplace"): file.size_bytes
        for file in recording.files
    }


def _as_more(recording: Recording, journal: Journal, entry: Entry) -> str:
    older = journal.predecessor(entry)
    left = files_of(recording)
    if older is None or not left.items() < older.files.items():
        return ""
    gone = len(older.files) - len(left)
    return f"it is what is left of {older.sequence or older.name}, {gone} files fewer"


def _is_sent(part: Entry | None, size_bytes: int) -> bool:
    return part is not None and part.size_bytes == size_bytes


def _before_compression(recording: Recording, journal: Journal) -> str:
    if not recording.path.name.endswith(COMPRESSION_SUFFIX):
        return ""
    plain = recording.path.with_name(recording.path.name.removesuffix(COMPRESSION_SUFFIX))
    sent = journal.find(plain)
    if sent is None or sent.state not in ON_PLATFORM or not sent.split_of:
        return ""
    return f"it was sent before its recorder compressed it, as {sent.sequence or sent.name}"
