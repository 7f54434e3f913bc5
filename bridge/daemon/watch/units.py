"""Keeps content from being sent twice when its unit or form changes, or only a part is left.

With `ingest.unit` set otherwise than before, a recording that was sent whole is seen again as its
splits, or its splits as a whole; and a recorder that compresses file by file leaves the same
split under another name once that is done. A cleaner that deletes the oldest splits of a recording
that was sent leaves a rest of it. Their bytes differ, so their fingerprints do.
"""

import os

from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import ARRIVED
from bridge.daemon.watch.scan import Found
from bridge.model import Recording

COMPRESSED_SUFFIX = ".zstd"


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
            and whole.state in ARRIVED
            # A split that came later cannot have been part of it.
            and found.modified_ns <= whole.modified_ns
        ):
            return f"it was sent as part of {whole.sequence or whole.name}"
    return ""


def _as_splits(recording: Recording, journal: Journal) -> str:
    parts = {part.path: part for part in journal.splits_of(recording.name) if part.state in ARRIVED}
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
    if not recording.path.name.endswith(COMPRESSED_SUFFIX):
        return ""
    plain = recording.path.with_name(recording.path.name.removesuffix(COMPRESSED_SUFFIX))
    sent = journal.find(plain)
    if sent is None or sent.state not in ARRIVED or not sent.split_of:
        return ""
    return f"it was sent before its recorder compressed it, as {sent.sequence or sent.name}"
