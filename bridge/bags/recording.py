"""From a path to a `Recording`: which files belong to it, in which order, and what is odd.

The files are the truth. `metadata.yaml` only adds hints, and a note where it disagrees.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from bridge.bags.endings import End, Span, end_of, spans_of
from bridge.bags.formats import (
    SIDECAR_SUFFIXES,
    StorageName,
    is_temporary,
    sniff,
    storage_name,
)
from bridge.bags.grouping import File, group_files, listed_stems, split_name
from bridge.bags.identity import may_hold
from bridge.bags.metadata import METADATA_FILE, listed_files, read_hints
from bridge.errors import (
    EmptyRecordingError,
    NotARecordingError,
    RecordingError,
    RecordingVanishedError,
)
from bridge.files import entries_in
from bridge.model import Recording, RecordingFile


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContent:
    """What one folder holds, by one look at it.

    Attributes:
        path: The folder.
        storage: The storage files and their sizes, by what their names tell.
        folders: Names of the folders in it that are neither hidden nor temporary.
        has_metadata: Whether there is a `metadata.yaml`.
    """

    path: Path
    storage: tuple[File, ...]
    folders: tuple[str, ...]
    has_metadata: bool

    @classmethod
    def of_names(cls, path: Path, files: Iterable[tuple[str, int]]) -> Self:
        """Make one from the names and sizes of files that are no files of this machine.

        Folders in it are the caller's business.
        """
        names = list(files)
        storage = [(named, size) for name, size in names if (named := storage_name(name))]
        return cls(
            path=path,
            storage=tuple(sorted(storage, key=lambda item: item[0].name)),
            folders=(),
            has_metadata=any(name == METADATA_FILE for name, _ in names),
        )


def is_searched(folder_name: str) -> bool:
    """Say whether recordings are looked for in a folder of that name."""
    return not is_temporary(folder_name) and folder_name != "lost+found"


def look_into(folder: Path, *, prefix: str = "") -> FolderContent:
    """List a folder's storage files and folders; symlinks, FIFOs and devices are left out.

    Args:
        folder: The folder.
        prefix: Only what has a name that begins so, `metadata.yaml` aside: in a folder of
            thousands the others cost next to nothing.

    Raises:
        RecordingVanishedError: There is no such folder any more.
        RecordingError: The folder may not be read.
    """
    storage: list[File] = []
    folders: list[str] = []
    has_metadata = False
    with entries_in(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix) and entry.name != METADATA_FILE:
                continue
            if entry.is_dir(follow_symlinks=False):
                if is_searched(entry.name):
                    folders.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                has_metadata |= entry.name == METADATA_FILE
                named = storage_name(entry.name)
                if named is not None:
                    storage.append((named, _size(entry)))
    return FolderContent(
        path=folder,
        storage=tuple(sorted(storage, key=lambda item: item[0].name)),
        folders=tuple(sorted(folders)),
        has_metadata=has_metadata,
    )


def load_recording(path: Path) -> Recording:
    """Load what a person named: a rosbag2 folder, a lone file, or the first of lone splits.

    Raises:
        NotARecordingError: There is nothing of a recording, or more than one.
        EmptyRecordingError: The file is empty, or all files of the folder are.
        RecordingVanishedError: There is nothing at the path.
        RecordingError: The path may not be read.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError as error:
        hint = "is the path right, and its disk mounted?"
        raise RecordingVanishedError(
            "there is nothing at this path", path=path, hint=hint
        ) from error
    except OSError as error:
        raise RecordingError(
            f"the path cannot be read: {error.strerror}",
            path=path,
            hint="the bridge's user needs permission to enter all folders of the path",
        ) from error
    if stat.S_ISDIR(mode):
        return _load_folder(look_into(path))
    if not stat.S_ISREG(mode):
        raise NotARecordingError(
            "not a regular file or folder", path=path, hint="symlinks are not followed, by design"
        )
    return _load_file(path)


def _load_folder(content: FolderContent) -> Recording:
    folder = content.path
    if not content.storage:
        hint = "a recording is a .mcap, .db3 or .bag file, or a folder of these"
        if content.has_metadata:
            hint = "its metadata.yaml is there, but none of the files it was written for"
        raise NotARecordingError("the folder holds no storage files", path=folder, hint=hint)
    hints, notes = read_hints(folder) if content.has_metadata else ({}, ())
    # Somebody who names a folder says that it is a recording; without a list it is as with a lost
    # one.
    group, *others = group_files(
        content.storage,
        folder=_folder_name(folder),
        listed=listed_files(hints)[0],
        is_root=False,
        spans=partial(read_spans, folder),
    )
    if others and not group.is_folder:
        raise NotARecordingError(
            f"the folder holds {len(others) + 1} recordings and no metadata.yaml that lists one",
            path=folder,
            hint="name one of the files, or let the bridge watch the folder",
        )
    return _assemble(folder, _folder_name(folder), folder, group.files, hints=hints, notes=notes)


def _load_file(path: Path) -> Recording:
    named = storage_name(path.name)
    if named is None:
        # The name says nothing; the bytes may.
        container, compression = sniff(path, None)
        file = RecordingFile(
            path=path,
            size_bytes=path.stat().st_size,
            container=container,
            compression=compression,
        )
        return Recording(path=path, name=path.stem, files=(file,))
    split = split_name(named, in_own_folder=False)
    if split is not None:
        beside = look_into(path.parent, prefix=split.base)
        spans = partial(read_spans, path.parent)
        for group in group_files(beside.storage, folder="", listed=None, is_root=True, spans=spans):
            if group.files[0][0].name == path.name and len(group.files) > 1:
                return _assemble(path, group.name, path.parent, group.files)
    return _assemble(path, named.stem, path.parent, [(named, path.stat().st_size)])


def read_spans(folder: Path, files: Sequence[StorageName]) -> list[Span | None]:
    """Read the times of storage files in a folder; see `endings.spans_of`."""
    return spans_of(
        [
            RecordingFile(
                path=folder / named.name,
                size_bytes=0,
                container=named.container,
                compression=named.compression,
            )
            for named in files
        ]
    )


def load_seen(seen: Recording) -> Recording:
    """Load a recording that was found by the names of its files; these and no others.

    Raises:
        NotARecordingError: None of the files can be read.
        EmptyRecordingError: All of them are empty.
        RecordingVanishedError: One is gone.
    """
    folder = seen.files[0].path.parent
    group = []
    for file in seen.files:
        named = storage_name(file.path.name)
        assert named is not None, "it was found by its name"
        try:
            group.append((named, file.path.lstat().st_size))
        except FileNotFoundError as error:
            raise RecordingVanishedError("the file is gone", path=file.path) from error
    if seen.path == seen.files[0].path and seen.split is None:
        return _assemble(seen.path, seen.name, folder, group)
    hints, notes = read_hints(folder)
    if seen.split is None:
        return _assemble(seen.path, seen.name, folder, group, hints=hints, notes=notes)
    loaded = _assemble(seen.path, seen.name, folder, group)
    return replace(loaded, hints=hints, notes=(*notes, *loaded.notes), split=seen.split)


def files_of(recording: Recording) -> list[Path]:
    """List the files that reading a recording may open, those that need not be there included."""
    files = [file.path for file in recording.files]
    beside = [path.with_name(path.name + suffix) for path in files for suffix in SIDECAR_SUFFIXES]
    folders = dict.fromkeys(path.parent for path in files)
    return [*files, *beside, *(folder / METADATA_FILE for folder in folders)]


def _assemble(
    path: Path,
    name: str,
    folder: Path,
    group: Sequence[File],
    *,
    hints: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Recording:
    """Look at each file's first bytes and drop what is empty, foreign or there twice."""
    found = list(notes)
    files: list[RecordingFile] = []
    missing: dict[str, str] = {}
    trouble: RecordingError | None = None
    for named, size_bytes in _without_twins(folder, group, found):
        try:
            container, compression = sniff(folder / named.name, named)
        except RecordingError as error:
            trouble = error
            found.append(f"{named.name} is left out: {error.message}")
            missing[named.name] = error.message
            continue
        if container is not named.container:
            found.append(f"{named.name} is {container} in spite of its name")
        files.append(
            RecordingFile(
                path=folder / named.name,
                size_bytes=size_bytes,
                container=container,
                compression=compression,
            )
        )
    if not files:
        if trouble is not None and (len(group) == 1 or isinstance(trouble, EmptyRecordingError)):
            raise trouble
        raise NotARecordingError("none of the files can be read", path=path)
    found.extend(_disagreements(hints or {}, group))
    return Recording(
        path=path,
        name=name,
        files=tuple(files),
        hints=hints or {},
        notes=tuple(found),
        missing=missing | _absent(hints or {}, group),
    )


def _without_twins(folder: Path, group: Sequence[File], notes: list[str]) -> list[File]:
    """Drop one of a compressed file and its plain twin.

    A recorder killed while it compresses leaves both: the plain file is whole then, the compressed
    one perhaps not. A file that cannot prove to be whole gives way to its twin. Files that only
    share a name, as yesterday's compressed one and today's, are both kept.
    """
    by_stem: dict[str, list[File]] = {}
    for named, size_bytes in group:
        by_stem.setdefault(named.stem, []).append((named, size_bytes))
    kept = []
    for twins in by_stem.values():
        plain = [file for file in twins if not file[0].compression]
        if len(twins) == 1 or not plain:
            kept.append(twins[0])
            continue
        named, size_bytes = plain[0]
        ending = end_of(
            RecordingFile(
                path=folder / named.name, size_bytes=size_bytes, container=named.container
            )
        )
        is_whole = ending in {End.PROPER, End.SIDECAR}
        others = [file for file in twins if file[0].compression]
        strangers = [
            file
            for file in others
            if not may_hold(
                folder / file[0].name,
                folder / named.name,
                plain_bytes=size_bytes if is_whole else None,
            )
        ]
        if strangers:
            kept += [*strangers, plain[0]]
            continue
        chosen = plain[0] if is_whole else others[0]
        notes.extend(
            f"{named.name} is left out: the same as {chosen[0].name}"
            for named, _ in twins
            if named is not chosen[0]
        )
        kept.append(chosen)
    return kept


def _disagreements(hints: Mapping[str, Any], group: Sequence[File]) -> list[str]:
    """Say what `metadata.yaml` lists that is not there, and what is there that it does not list."""
    names, notes = listed_files(hints)
    if not names:
        return list(notes)
    listed = set(listed_stems(names, {named.stem for named, _ in group}))
    return [
        *notes,
        *(f"{name} is listed and missing" for name in _absent(hints, group)),
        *(f"{named.name} is not listed" for named, _ in group if named.stem not in listed),
    ]


def _absent(hints: Mapping[str, Any], group: Sequence[File]) -> dict[str, str]:
    """Name the files that `metadata.yaml` lists and that are not there, in whatever form."""
    there = {named.stem for named, _ in group}
    names = listed_files(hints)[0]
    return {
        name: f"{METADATA_FILE} lists it, and it is not there"
        for name, stem in zip(names, listed_stems(names, there), strict=True)
        if stem not in there
    }


def _folder_name(folder: Path) -> str:
    return folder.name or folder.resolve().name


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
