"""Copies of recordings, in scratch space that all jobs of a machine share within one bound.

A copy is made of whole objects, in ranges read side by side, and compared with what was listed
before and after: size, and the store's own mark of its content. Nothing is read through a cache.
What a killed job leaves behind is removed by the next that needs room.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.backfill.archive import ArchivedFile, ArchivedRecording
from bridge.backfill.store import Store
from bridge.bags import (
    EDGE_BYTES,
    SCRATCH_PREFIX,
    Content,
    content_of,
    content_of_edges,
    scratch_folder,
    sweep_scratch,
)
from bridge.errors import ConfigError, RecordingChangedError, ScratchSpaceError
from bridge.model import Container, Recording

RANGE_BYTES = 8 << 20
RANGES_AT_ONCE = 4
"""So many ranges of so many bytes are in memory at a time for each copy that is made."""

EXPANSION = 4
"""A file compressed as a whole is counted as so many times its size beside its copy."""

WAIT_S = 0.1
LEDGER_FILE = "ledger.lock"
SIZE_FILE = "bytes"
COPIES_FOLDER = "copies"

Moved = Callable[[int], None]


class StoppedError(Exception):
    """The run was stopped, so that what waits need not wait any longer."""


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file that processes of a machine share; it ends with the process.

    Yields:
        Whether the lock is held; without `wait` somebody else may hold it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def needed_bytes(recording: ArchivedRecording) -> int:
    """Give how much scratch space a recording takes: its copy, and working copies of that."""
    copy = 0 if recording.is_local else recording.size_bytes
    logs = {file.name for file in recording.beside if file.size_bytes}
    for told, file in zip(recording.recording.files, recording.files, strict=True):
        if told.compression:
            copy += EXPANSION * file.size_bytes
        elif told.container is Container.SQLITE3 and {f"{file.name}-wal"} & logs:
            copy += file.size_bytes
    return copy


@contextmanager
def room(
    folder: Path, *, wanted_bytes: int, bytes_max: int, stopped: threading.Event
) -> Iterator[Path]:
    """Wait for room in the scratch space of a machine, and give a folder there.

    Args:
        folder: The scratch space.
        wanted_bytes: How much will be written.
        bytes_max: The most that all jobs together may take.
        stopped: Ends the waiting.

    Raises:
        ScratchSpaceError: It will never fit, or the disk is full and nobody is about to free it.
        StoppedError: The run was stopped.
    """
    if wanted_bytes > bytes_max:
        raise ScratchSpaceError(
            f"{wanted_bytes} bytes of scratch space are needed and {bytes_max} are allowed",
            folder=folder,
            needed_bytes=wanted_bytes,
            hint="raise --scratch-max (backfill.scratch_bytes_max)",
        )
    with ExitStack() as kept:
        while (own := _reserve(folder, wanted_bytes, bytes_max, kept)) is None:
            if stopped.wait(WAIT_S):
                raise StoppedError
        yield own


def _reserve(folder: Path, wanted_bytes: int, bytes_max: int, kept: ExitStack) -> Path | None:
    """Take room if there is any; None while others have it."""
    try:
        with locked(folder / LEDGER_FILE):
            sweep_scratch(folder)
            taken_bytes = [_size_in(other) for other in folder.glob(f"{SCRATCH_PREFIX}*")]
            if sum(taken_bytes) + wanted_bytes > bytes_max:
                return None
            try:
                own = kept.enter_context(scratch_folder(folder, needed_bytes=wanted_bytes))
            except ScratchSpaceError:
                if any(taken_bytes):
                    return None
                raise
            (own / SIZE_FILE).write_text(str(wanted_bytes), encoding="ascii")
            return own
    except OSError as error:
        raise unusable(folder, error, needed_bytes=wanted_bytes) from error


def require_scratch(folder: Path) -> None:
    """Refuse scratch space that cannot be made or written, which every recording would fail by.

    Raises:
        ConfigError: It cannot.
    """
    try:
        with (
            locked(folder / LEDGER_FILE, wait=False),
            tempfile.NamedTemporaryFile(prefix=SCRATCH_PREFIX, dir=folder),
        ):
            pass
    except OSError as error:
        told = unusable(folder, error)
        raise ConfigError(told.message, key="backfill.scratch_folder", hint=told.hint) from error


def unusable(folder: Path, error: OSError, *, needed_bytes: int = 0) -> ScratchSpaceError:
    """Give the error for scratch space that cannot be made or written."""
    taken = isinstance(error, FileExistsError | NotADirectoryError)
    why = "a file is in its place" if taken else error.strerror
    return ScratchSpaceError(
        f"the scratch folder {folder.absolute()} cannot be made or written: {why}",
        folder=folder,
        needed_bytes=needed_bytes,
        hint="point --scratch (backfill.scratch_folder) at a folder that this user may write",
    )


def _size_in(folder: Path) -> int:
    try:
        return int((folder / SIZE_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        # It goes just now, or is a working copy of something else.
        return 0


def identity_of(recording: ArchivedRecording, store: Store) -> tuple[Content, tuple[str, ...]]:
    """Tell what a recording is by the ends of its files, without copying it.

    Returns:
        Its identity, and the store's mark of each file's content; of files of this machine none.

    Raises:
        RecordingChangedError: A file is not as it was listed.
        RecordingError: A file is gone.
        UnreadableStorageError: The store does not answer.
    """
    if recording.is_local:
        return content_of(recording.recording), ("",) * len(recording.files)
    marks: list[str] = []
    edges = []
    for file in recording.files:
        with store.reading(store.url_of(file.key)), store.system.open_input_file(file.key) as open_:
            marks.append(_mark(store, file, open_))
            head = open_.read_at(min(EDGE_BYTES, file.size_bytes), 0)
            start = max(0, file.size_bytes - EDGE_BYTES)
            tail = open_.read_at(file.size_bytes - start, start) if start else head
            edges.append((file.name, file.size_bytes, head, tail))
    return content_of_edges(edges), tuple(marks)


def _mark(store: Store, file: ArchivedFile, opened: Any) -> str:
    """Give the store's mark of a file's content: its ETag, or else when it was written.

    Raises:
        RecordingChangedError: It has another size than it was listed with.
    """
    if opened.size() != file.size_bytes:
        raise RecordingChangedError(
            f"the object has {opened.size()} bytes and was listed with {file.size_bytes}",
            path=Path(store.url_of(file.key)),
        )
    told = {str(key).lower(): value for key, value in (opened.metadata() or {}).items()}
    tag = told.get("etag")
    if tag is None:
        tag = str(store.system.get_file_info(file.key).mtime_ns).encode()
    return str(tag.decode("utf-8", "replace")).strip('"')


def copy(
    recording: ArchivedRecording,
    store: Store,
    folder: Path,
    *,
    marks: tuple[str, ...],
    moved: Moved,
    stopped: threading.Event,
) -> Recording:
    """Copy a recording into a folder; gives it as it is there.

    Args:
        recording: What to copy.
        store: Where it is.
        folder: Where to; a new folder in it is made.
        marks: The store's mark of each of its files when its identity was taken.
        moved: Called with the bytes that have arrived, again and again.
        stopped: Ends the copying.

    Raises:
        RecordingChangedError: A file is another than before, or became one.
        RecordingVanishedError: A file is gone.
        ScratchSpaceError: It cannot be written.
        StoppedError: The run was stopped.
        UnreadableStorageError: The store does not answer.
    """
    parent = recording.recording.path.parent

    def target_of(path: Path) -> Path:
        return folder / COPIES_FOLDER / path.relative_to(parent)

    known = dict(zip((file.key for file in recording.files), marks, strict=True))
    with ThreadPoolExecutor(max_workers=RANGES_AT_ONCE) as pool:
        for file in (*recording.files, *recording.beside):
            copying = _Copying(store, file, target_of(Path(file.key)), moved, stopped)
            copying.run(pool, mark=known.get(file.key, ""))
    told = recording.recording
    files = tuple(replace(file, path=target_of(file.path)) for file in told.files)
    return replace(told, path=target_of(told.path), files=files)


class _Copying:
    """One file on its way into scratch space."""

    def __init__(
        self,
        store: Store,
        file: ArchivedFile,
        target: Path,
        moved: Moved,
        stopped: threading.Event,
    ) -> None:
        self.store = store
        self.file = file
        self.target = target
        self.moved = moved
        self.stopped = stopped
        self.url = store.url_of(file.key)

    def run(self, pool: ThreadPoolExecutor, *, mark: str) -> None:
        with self._writing():
            self.target.parent.mkdir(parents=True, exist_ok=True)
            target = os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        try:
            with self._writing():
                os.ftruncate(target, self.file.size_bytes)
            with self.store.reading(self.url):
                source = self.store.system.open_input_file(self.file.key)
                before = _mark(self.store, self.file, source)
            self._require_same(mark or before, before)
            with source:
                ranges = range(0, self.file.size_bytes, RANGE_BYTES)
                list(pool.map(lambda start: self._piece(source, target, start), ranges))
            with (
                self.store.reading(self.url),
                self.store.system.open_input_file(self.file.key) as again,
            ):
                self._require_same(before, _mark(self.store, self.file, again))
        finally:
            os.close(target)

    def _piece(self, source: Any, target: int, start: int) -> None:
        if self.stopped.is_set():
            raise StoppedError
        size_bytes = min(RANGE_BYTES, self.file.size_bytes - start)
        with self.store.reading(self.url):
            piece = memoryview(source.read_at(size_bytes, start))
        if len(piece) != size_bytes:
            raise RecordingChangedError("the object ends early", path=Path(self.url))
        with self._writing():
            while piece:
                written = os.pwrite(target, piece, start)
                piece, start = piece[written:], start + written
        self.moved(size_bytes)

    def _require_same(self, before: str, now: str) -> None:
        if before != now:
            raise RecordingChangedError(
                f"the object is another than before: {before} became {now}", path=Path(self.url)
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ScratchSpaceError(
                f"the copy cannot be written: {error.strerror}",
                folder=self.target.parent,
                needed_bytes=self.file.size_bytes,
                hint="free some space, or point --scratch at another disk",
            ) from error


def pause(seconds: float, stopped: threading.Event) -> None:
    """Wait, unless the run is stopped.

    Raises:
        StoppedError: It is.
    """
    if stopped.wait(max(0.0, seconds)):
        raise StoppedError
