"""One look at the watched folder: which recordings are there, and how they look from outside.

No file is opened but `metadata.yaml` and, for its times, what has the name of a split, and those in
a thread of their own. A recording's signature covers names, sizes, times and inodes of its files;
as long as it stays the same nothing has been written. Folders that look as they did the last time
are not searched again.
"""

import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bridge.bags import (
    METADATA_FILE,
    SIDECAR_SUFFIXES,
    Span,
    StorageName,
    listed_names,
    look_into,
    read_spans,
    recordings_in,
    split_up,
)
from bridge.daemon.watch.aside import Aside
from bridge.errors import RecordingError
from bridge.files import entries_in
from bridge.model import Container, Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A recording as a scan saw it.

    Attributes:
        recording: The recording, by names alone.
        signature: What its files look like from outside, as one hash.
        size_bytes: Size of its storage files.
        modified_ns: Newest modification time of its storage files.
    """

    recording: Recording
    signature: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One folder as it was seen last.

    Attributes:
        listing: What is in it, name, size, times, inode and mode of each entry, as one number: it
            is compared often, and kept for every folder. None to look again in any case.
        found: The recordings directly in it.
        folders: The folders in it to look into.
    """

    listing: int | None
    found: tuple[Found, ...]
    folders: tuple[Path, ...]


LISTS_PATIENCE_S = 0.2
"""So long one scan waits for all lists together."""

SPANS_KEPT_MAX = 20_000
"""The times of so many files of a folder are remembered; then they are read again."""

Stamp = tuple[int, int, int, int]


class ListUnreadError(Exception):
    """A folder's evidence is still being read; no error for anybody but the scan."""


class Evidence:
    """What each folder's files say of what belongs together, read beside the loop.

    That is the list in a `metadata.yaml`, and the times of files with the names of splits. A scan
    goes by names alone, and these files may hold anything. Reading them is waited for a moment, as
    it usually takes no longer; a scan that finds them unread leaves the folder as it was, and the
    next one finds them. Used from the loop's thread.
    """

    def __init__(self) -> None:
        self._aside: Aside[tuple[Path, Stamp], Sequence[str]] = Aside()
        self._known: dict[Path, tuple[Stamp, Sequence[str]]] = {}
        self._asked: set[tuple[Path, Stamp]] = set()
        self._spans_aside: Aside[Path, dict[Path, tuple[Stamp, Span | None]]] = Aside()
        self._spans: dict[Path, dict[Path, tuple[Stamp, Span | None]]] = {}
        self._spans_asked: set[Path] = set()
        self._end_s = 0.0

    def begin(self) -> None:
        """Start a scan, which may wait for a moment."""
        self._end_s = time.monotonic() + LISTS_PATIENCE_S

    def keep(self, folders: Collection[Path]) -> None:
        """Forget all folders but these."""
        for known in (self._known, self._spans):
            for folder in known.keys() - set(folders):
                del known[folder]

    def listed_in(self, folder: Path) -> Sequence[str]:
        """Give the files that the `metadata.yaml` of a folder lists; none where it is unusable.

        Raises:
            ListUnreadError: It is still being read.
        """
        stamp = _stamp(folder / METADATA_FILE)
        key = (folder, stamp)
        if key not in self._asked and self._known.get(folder, (None, ()))[0] != stamp:
            self._asked.add(key)
            self._aside.ask(key, partial(listed_names, folder))
        while key in self._asked:
            left_s = self._end_s - time.monotonic()
            for (read, then), names in self._aside.answers(wait_s=max(0.0, left_s)).items():
                self._asked.discard((read, then))
                self._known[read] = (then, names)
            if left_s <= 0 and key in self._asked:
                raise ListUnreadError
        return self._known[folder][1]

    def spans_in(self, folder: Path, files: Sequence[StorageName]) -> Sequence[Span | None]:
        """Give the times of files in a folder; None where they say none.

        Raises:
            ListUnreadError: They are still being read.
        """
        stamps = {named: _stamp(folder / named.name) for named in files}
        known = self._spans.setdefault(folder, {})
        if len(known) > SPANS_KEPT_MAX:
            # Most are of files that have gone since.
            known.clear()
        lacking = {
            named: stamp
            for named, stamp in stamps.items()
            if known.get(folder / named.name, (None, None))[0] != stamp
        }
        if lacking and folder not in self._spans_asked:
            self._spans_asked.add(folder)
            self._spans_aside.ask(folder, partial(_stamped_spans, folder, lacking))
        while folder in self._spans_asked:
            left_s = self._end_s - time.monotonic()
            for read, spans in self._spans_aside.answers(wait_s=max(0.0, left_s)).items():
                self._spans_asked.discard(read)
                self._spans.setdefault(read, {}).update(spans)
            if left_s <= 0 and folder in self._spans_asked:
                raise ListUnreadError
        return [known.get(folder / named.name, (None, None))[1] for named in files]


def _stamped_spans(
    folder: Path, stamps: dict[StorageName, Stamp]
) -> dict[Path, tuple[Stamp, Span | None]]:
    spans = read_spans(folder, list(stamps))
    return {
        folder / named.name: (stamp, span)
        for (named, stamp), span in zip(stamps.items(), spans, strict=True)
    }


def _stamp(path: Path) -> Stamp:
    try:
        facts = os.lstat(path)
    except OSError:
        return (0, 0, 0, 0)
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class Scanner:
    """Looks at a folder again and again.

    Args:
        folder: The watched folder, absolute.
        recursive: Look into subfolders too.
        ignore: Glob patterns relative to the folder; what matches, or is in what matches, is
            left out.
        by_split: Split recordings into their splits.
        evidence: Reads what files say of what belongs together.
    """

    def __init__(
        self,
        folder: Path,
        *,
        recursive: bool,
        ignore: Sequence[str] = (),
        by_split: bool = False,
        evidence: Evidence | None = None,
    ) -> None:
        self._folder = folder
        self._recursive = recursive
        self._ignore = tuple(ignore)
        self._by_split = by_split
        self._evidence = Evidence() if evidence is None else evidence
        self._seen: dict[Path, Seen] = {}
        self.changed = True
        self.unread = False

    @property
    def folders(self) -> int:
        """How many folders the last scan looked into."""
        return len(self._seen)

    def scan(self) -> dict[Path, Found]:
        """Look at the whole folder.

        Afterwards `changed` says whether anything is other than at the last scan, and `unread`
        whether some folder was left as it was because its evidence is still being read.

        Cost: one listing with one `stat` per entry for each folder; where that shows a change,
        the folder's recordings are found again. Folders that vanish meanwhile or may not be
        entered are left out.

        Raises:
            RecordingError: The folder itself is not there or may not be read.
        """
        seen: dict[Path, Seen] = {}
        waiting = [self._folder]
        self._evidence.begin()
        while waiting:
            folder = waiting.pop()
            try:
                seen[folder] = self._look_into(folder)
            except RecordingError:
                if folder == self._folder:
                    raise
                continue
            if self._recursive:
                waiting.extend(seen[folder].folders)
        self.changed = seen.keys() != self._seen.keys() or any(
            seen[folder] is not self._seen[folder] for folder in seen
        )
        self._seen = seen
        self.unread = any(one.listing is None for one in seen.values())
        self._evidence.keep(seen)
        return {found.recording.path: found for folder in seen.values() for found in folder.found}

    def _look_into(self, folder: Path) -> Seen:
        # Listed before it is searched: what changes in between makes the next listing differ.
        listing = _listing(folder)
        before = self._seen.get(folder)
        if before is not None and before.listing == listing:
            return before
        try:
            recordings, folders = recordings_in(
                folder,
                is_root=folder == self._folder,
                listed_in=self._evidence.listed_in,
                spans_in=self._evidence.spans_in,
            )
        except ListUnreadError:
            # The next look comes as soon as it is read; until then nothing has changed.
            folders = [folder / name for name in look_into(folder).folders]
            return Seen(
                listing=None,
                found=() if before is None else before.found,
                folders=tuple(folders),
            )
        if self._by_split:
            recordings = [part for recording in recordings for part in split_up(recording)]
        looks = (
            look_at(recording)
            for recording in recordings
            if not ignored(recording.path.relative_to(self._folder), self._ignore)
        )
        return Seen(
            listing=listing,
            found=tuple(found for found in looks if found is not None),
            folders=tuple(folders),
        )


def _listing(folder: Path) -> int:
    """Look at every entry of a folder; equal numbers mean that nothing has changed.

    The sum of 64-bit hashes does not depend on the order in which the entries come.
    """
    total = 0
    with entries_in(folder) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            # A folder's own times change with what is in it; that is seen when it is listed.
            times = (0, 0) if stat.S_ISDIR(facts.st_mode) else _times(facts)
            total += hash((entry.name, facts.st_size, *times, facts.st_ino, facts.st_mode))
    return total


def _times(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_mtime_ns, facts.st_ctime_ns


def look_at(
    recording: Recording, *, lstat: Callable[[Path], os.stat_result] = os.lstat
) -> Found | None:
    """See what a recording looks like from outside; None if part of it is gone."""
    identity = hashlib.sha256()
    size_bytes = modified_ns = 0
    try:
        for file in recording.files:
            facts = lstat(file.path)
            fields = (facts.st_size, *_times(facts), facts.st_ino, facts.st_mode)
            identity.update(repr((file.path.name, *fields)).encode())
            size_bytes += facts.st_size
            modified_ns = max(modified_ns, facts.st_mtime_ns)
        for path in _companions_of(recording):
            try:
                facts = lstat(path)
            except FileNotFoundError:
                continue
            identity.update(repr((path.name, facts.st_size, facts.st_mtime_ns)).encode())
    except OSError:
        return None
    return Found(
        recording=recording,
        signature=identity.hexdigest(),
        size_bytes=size_bytes,
        modified_ns=modified_ns,
    )


def ignored(path: Path, patterns: Sequence[str]) -> bool:
    """Say whether a path, relative to the watched folder, matches a pattern or is below one."""
    return place(path, patterns) < len(patterns)


def place(path: Path, patterns: Sequence[str]) -> int:
    """Give the position of the first pattern that a path or a folder above it matches.

    Args:
        path: Relative to the watched folder.
        patterns: Glob patterns; their number is given where none matches.
    """
    if not patterns:
        return 0
    names = [str(path), *(str(parent) for parent in path.parents)]
    for position, pattern in enumerate(patterns):
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return position
    return len(patterns)


def _companions_of(recording: Recording) -> Iterator[Path]:
    """List files that are no storage but tell, when they change, that something goes on."""
    for file in recording.files:
        if file.container is Container.SQLITE3:
            for suffix in SIDECAR_SUFFIXES:
                yield file.path.with_name(file.path.name + suffix)
    if recording.files and recording.files[0].path != recording.path:
        yield recording.path / METADATA_FILE
