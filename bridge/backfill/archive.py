"""What an archive holds: its files, listed and grouped into recordings by the watcher's rules.

Nothing in an archive is ever changed.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pyarrow import fs

from bridge.backfill.store import Store, StoredSource, open_store, span_of_database
from bridge.bags import (
    METADATA_FILE,
    SIDECAR_SUFFIXES,
    FolderContent,
    Span,
    StorageName,
    is_searched,
    is_storage_name,
    listed_names,
    others_of,
    read_spans,
    recordings_of,
    span_in,
    split_up,
)
from bridge.config import BackfillSettings
from bridge.errors import BridgeError, RecordingVanishedError, UnreadableStorageError
from bridge.mapping import sidecars_of
from bridge.model import Container, Recording, Split
from bridge.units import SECOND_NS

ASKED_AT_ONCE = 16
"""So many small files are read from a store at the same time."""

NO_STEPS = frozenset({"", ".", ".."})
"""Steps of keys that would lead elsewhere, or nowhere, as paths of a machine."""

METADATA_BYTES_MAX = 1 << 20
"""A longer metadata.yaml is not read, as in a watched folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file of an archive, as it was listed.

    Attributes:
        name: Its name.
        key: Where it is, as the archive's file system wants it.
        size_bytes: Its size.
        modified_ns: When it was written last, wall clock of the store.
    """

    name: str
    key: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRecording:
    """A recording of an archive, as the names in it tell.

    Attributes:
        archive: The archive that it is in, by its URL.
        url: Where it is; names it in the manifest.
        place: Its path below the archive.
        recording: What it is; its paths are those of the archive, not of this machine's disks,
            unless `is_local`.
        files: Its storage files, in order.
        beside: What else belongs to it: metadata.yaml, logs of databases, sidecars.
        is_local: Whether it is in a folder of this machine and read where it is.
        root: The archive's folder, where that is one of this machine.
    """

    archive: str
    url: str
    place: str
    recording: Recording
    files: tuple[ArchivedFile, ...]
    beside: tuple[ArchivedFile, ...] = ()
    is_local: bool = False
    root: Path = Path()

    @property
    def size_bytes(self) -> int:
        """How much would have to be copied."""
        return sum(file.size_bytes for file in (*self.files, *self.beside))

    @property
    def modified_ns(self) -> int:
        """When its newest file was written."""
        return max(file.modified_ns for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What an archive holds.

    Attributes:
        recordings: The recordings, by place.
        others: URLs of files that belong to no recording.
        unreadable: URLs of folders that may not be read, each with the reason.
    """

    recordings: tuple[ArchivedRecording, ...]
    others: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


def list_archive(url: str, settings: BackfillSettings, *, by_split: bool = False) -> Listing:
    """List what an archive holds.

    Args:
        url: A folder of this machine or of a store, or one file.
        settings: How to get at it.
        by_split: Whether each split is a recording of its own.

    Raises:
        CommandLineError: The URL is none that can be read.
        RecordingVanishedError: There is nothing there.
        UnreadableStorageError: The store does not answer, or refuses.
    """
    store = open_store(url, settings)
    with store.reading(url):
        kind = store.system.get_file_info(store.root).type
    if kind is fs.FileType.NotFound:
        raise RecordingVanishedError(
            f"there is no archive at {url}",
            hint="is the share mounted, and the path right?"
            if store.is_local
            else "are bucket and folder right? case matters",
        )
    # Some clients mark a folder by an empty object of its name.
    is_named = store.is_local or is_storage_name(PurePosixPath(store.root).name)
    is_one = kind is fs.FileType.File and is_named
    folder = str(PurePosixPath(store.root).parent) if is_one else store.root
    look = _LocalLook if store.is_local else _StoreLook
    found = look(store, folder, only="" if folder == store.root else store.root)
    recordings = found.recordings()
    if by_split:
        recordings = [split for recording in recordings for split in _splits(recording, store)]
    return Listing(
        recordings=tuple(sorted(recordings, key=lambda each: each.place)),
        others=tuple(sorted(found.others)),
        unreadable=tuple(found.unreadable),
    )


class _Look:
    """A look at an archive: files by folder, then recordings in each.

    Args:
        store: The archive.
        folder: The folder that is looked at, with all in it.
        only: The one file that was named; empty for all.
    """

    def __init__(self, store: Store, folder: str, *, only: str) -> None:
        self.store = store
        self.folder = folder
        self.only = only
        self.others: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.files: dict[str, dict[str, ArchivedFile]] = {}

    def content(self, folder: str) -> FolderContent:
        """Give what is in a folder, as the rules of grouping want it."""
        inside = self.files[folder].items()
        return FolderContent.of_names(
            Path(folder), ((name, file.size_bytes) for name, file in inside)
        )

    def made(
        self, contents: Iterable[FolderContent], listed_in: Callable[[Path], Sequence[str]]
    ) -> list[ArchivedRecording]:
        """Group the files into recordings; those that are in none are noted."""
        found: list[ArchivedRecording] = []
        for content in contents:
            folder = str(content.path)
            inside = self.files[folder]
            # A bucket, or one file that was named, is no recording with everything in it.
            is_root = bool(self.only) or (folder == self.folder and folder.count("/") < 1)
            grouped = recordings_of(
                content,
                is_root=is_root,
                listed_in=listed_in,
                spans_in=self.spans_in,
            )
            found += [self._made(recording) for recording in grouped]
            self.others += [self.store.url_of(inside[name].key) for name in others_of([*inside])]
        owned = {self.store.url_of(file.key) for each in found for file in each.beside}
        self.others = [url for url in self.others if url not in owned]
        if self.only:
            found = [each for each in found if str(each.recording.path) == self.only]
            self.others = [] if found else [self.store.url_of(self.only)]
        return found

    def spans_in(self, folder: Path, files: Sequence[StorageName]) -> list[Span | None]:
        """Read the times of files whose names are those of splits."""
        return read_spans(folder, files)

    def _made(self, recording: Recording) -> ArchivedRecording:
        key = str(recording.path)
        inside = self.files[str(recording.files[0].path.parent)]
        names = [file.path.name for file in recording.files]
        beside = [name + suffix for name in names for suffix in SIDECAR_SUFFIXES]
        beside += [METADATA_FILE] * (recording.path != recording.files[0].path)
        others = self.files.get(str(recording.path.parent), {})
        sidecars = [path.name for path in sidecars_of(recording.path) if path.name in others]
        return ArchivedRecording(
            archive=self.store.url,
            url=self.store.url_of(key),
            place=os.path.relpath(key, self.folder) if key != self.folder else recording.name,
            recording=recording,
            files=tuple(inside[name] for name in names),
            beside=(
                *(inside[name] for name in beside if name in inside),
                *(others[name] for name in sidecars[:1]),
            ),
            is_local=self.store.is_local,
            root=Path(self.folder) if self.store.is_local else Path(),
        )


class _StoreLook(_Look):
    """A look at a store: one listing of everything below a folder."""

    def recordings(self) -> list[ArchivedRecording]:
        """Find the recordings; `others` and `unreadable` are known afterwards."""
        selector = fs.FileSelector(self.folder, recursive=not self.only)
        with self.store.reading(self.store.url):
            listed = self.store.system.get_file_info(selector)
        for info in listed:
            folder, name = os.path.split(info.path)
            below = folder[len(self.folder) :].split("/")
            if info.type is not fs.FileType.File or not info.path.startswith(self.only):
                continue
            if NO_STEPS & {*info.path.split("/")}:
                why = "a step of its name is empty or made of dots, which no file of a machine has"
                self.unreadable.append((self.store.url_of(info.path), why))
                continue
            if not all(map(is_searched, filter(None, below))):
                continue
            file = ArchivedFile(
                name=name, key=info.path, size_bytes=info.size, modified_ns=info.mtime_ns or 0
            )
            self.files.setdefault(folder, {})[name] = file
        contents = [self.content(folder) for folder in self.files]
        told = self._told([each for each in contents if each.storage and each.has_metadata])
        return self.made(contents, told.__getitem__)

    def spans_in(self, folder: Path, files: Sequence[StorageName]) -> list[Span | None]:
        """Read the times of files from their summaries, many at a time."""
        inside = self.files[str(folder)]
        with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
            return list(pool.map(lambda named: self._span_of(inside, named), files))

    def _span_of(self, inside: Mapping[str, ArchivedFile], named: StorageName) -> Span | None:
        file = inside[named.name]
        logs = (inside.get(named.name + suffix) for suffix in SIDECAR_SUFFIXES)
        if named.compression or any(log is not None and log.size_bytes for log in logs):
            # What a database's log holds is not in the database yet.
            return None
        with closing(StoredSource(self.store, file.key, file.size_bytes)) as source:
            try:
                if named.container is Container.SQLITE3:
                    return span_of_database(source)
                return span_in(named.container, source)
            except (UnreadableStorageError, RecordingVanishedError):
                raise
            except BridgeError:
                # Damaged; what it says of itself is nothing to go by.
                return None

    def _told(self, contents: Sequence[FolderContent]) -> Mapping[Path, Sequence[str]]:
        """Read which files the metadata.yaml of each folder lists, many at a time."""
        with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
            paths = [content.path for content in contents]
            return dict(zip(paths, pool.map(self._listed_in, paths), strict=True))

    def _listed_in(self, folder: Path) -> Sequence[str]:
        file = self.files[str(folder)][METADATA_FILE]
        with (
            self.store.reading(self.store.url_of(file.key)),
            self.store.system.open_input_file(file.key) as stream,
        ):
            text = stream.read(METADATA_BYTES_MAX + 1)
        with tempfile.TemporaryDirectory() as copies:
            (Path(copies) / METADATA_FILE).write_bytes(text)
            return listed_names(Path(copies))


class _LocalLook(_Look):
    """A look at a folder of this machine, which follows no symlinks, as the watcher does."""

    def recordings(self) -> list[ArchivedRecording]:
        """Find the recordings; `others` and `unreadable` are known afterwards."""
        waiting = [self.folder]
        while waiting:
            inner = waiting.pop()
            try:
                waiting += self._noted(inner)
            except BridgeError as error:
                if inner == self.folder:
                    raise
                self.unreadable.append((inner, error.message.removeprefix(f"{inner} ")))
        return self.made([self.content(folder) for folder in self.files], listed_names)

    def _noted(self, folder: str) -> list[str]:
        """Take note of a folder's files; gives the folders in it to look into next."""
        deeper: list[str] = []
        inside: dict[str, ArchivedFile] = {}
        with self.store.reading(folder), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    deeper += [entry.path] * (is_searched(entry.name) and not self.only)
                elif entry.is_file(follow_symlinks=False) and entry.path.startswith(self.only):
                    facts = entry.stat(follow_symlinks=False)
                    inside[entry.name] = ArchivedFile(
                        name=entry.name,
                        key=entry.path,
                        size_bytes=facts.st_size,
                        modified_ns=facts.st_mtime_ns,
                    )
                else:
                    # A link, a pipe, a device: not looked into, and not kept quiet about.
                    self.others.append(entry.path)
        self.files[folder] = inside
        return deeper


def _splits(recording: ArchivedRecording, store: Store) -> list[ArchivedRecording]:
    """Make each split a recording of its own."""
    splits = split_up(recording.recording)
    if splits == [recording.recording]:
        return [recording]
    by_name = {file.name: file for file in recording.files}
    found = []
    for split in splits:
        assert split.split is not None
        file = by_name[split.path.name]
        # By the folder's place all splits of a recording know each other, wherever they are copied.
        told = Split(
            recording=split.split.recording,
            folder=Path("/" + store.url_of(str(split.path.parent))),
            index=split.split.index,
            followed=split.split.followed,
        )
        own = {file.name + suffix for suffix in SIDECAR_SUFFIXES} | {METADATA_FILE}
        found.append(
            replace(
                recording,
                url=store.url_of(file.key),
                place=f"{recording.place}/{file.name}",
                recording=replace(split, split=told),
                files=(file,),
                beside=tuple(each for each in recording.beside if each.name in own),
            )
        )
    return found


def is_young(recording: ArchivedRecording, *, settle_s: float, now_ns: int) -> bool:
    """Say whether a recording may still be written, by the time of its newest file."""
    return now_ns - recording.modified_ns < settle_s * SECOND_NS
