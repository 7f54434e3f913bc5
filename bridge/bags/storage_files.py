"""Opening the storage files of a recording, each with the reader of its format."""

import errno
import resource
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bridge.bags.compression import expand_file
from bridge.bags.container import ContainerReader, ReadLimits
from bridge.bags.mcap.reader import McapReader
from bridge.bags.rosbag1.reader import open_rosbag1
from bridge.bags.source import FileSource
from bridge.bags.sqlite.reader import open_sqlite3
from bridge.bags.zstd_source import ZstdSource
from bridge.errors import RecordingError
from bridge.model import Container, RecordingFile

DESCRIPTORS_PER_FILE = 4
"""The file itself, and what SQLite or a working copy add to it."""

DESCRIPTORS_SPARE = 256
"""What the rest of the process may have open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFile:
    """An open storage file.

    Attributes:
        file: Which one, with the format that its bytes tell.
        source: Its bytes as they are on disk.
        container: The reader of its messages.
        torn: Why the end of a compressed file is missing; empty where it is not.
    """

    file: RecordingFile
    source: FileSource
    container: ContainerReader
    torn: str = ""


def allow_descriptors(files: int) -> None:
    """Raise the process's soft limit of open files, within the hard one, to what reading needs.

    All files of a recording are open at once; a day of short splits is more than the usual 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files * DESCRIPTORS_PER_FILE + DESCRIPTORS_SPARE
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def is_lack_of_descriptors(error: BaseException) -> bool:
    """Tell whether a file could not be opened because too many others are."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.EMFILE, errno.ENFILE}


def open_storage_file(
    file: RecordingFile, *, limits: ReadLimits, scratch_dir: Path | None, stack: ExitStack
) -> StorageFile:
    """Open a storage file; whatever is opened is closed by the stack.

    A compressed MCAP file is read as a stream, twice: once to find its end. The other formats need
    to be read here and there and are expanded into scratch space.

    Raises:
        RecordingError: The file cannot be read at all; see the readers of the formats.
        ScratchSpaceError: A working copy is needed and does not fit.
    """
    source = FileSource(file.path)
    stack.callback(source.close)
    torn = ""
    plain = file
    try:
        if file.container is Container.MCAP:
            content = ZstdSource(source, limits=limits) if file.compression else source
            torn = content.torn
            container: ContainerReader = McapReader(content, limits=limits)
        else:
            if file.compression:
                expanded = stack.enter_context(
                    expand_file(file, limits=limits, scratch_dir=scratch_dir)
                )
                plain, torn = expanded.file, expanded.torn
            container = _open_plain(plain, limits=limits, scratch_dir=scratch_dir)
    except RecordingError as error:
        # A working copy means nothing to a user.
        error.path = file.path
        raise
    stack.callback(container.close)
    return StorageFile(file=file, source=source, container=container, torn=torn)


def _open_plain(
    file: RecordingFile, *, limits: ReadLimits, scratch_dir: Path | None
) -> ContainerReader:
    if file.container is Container.SQLITE3:
        return open_sqlite3(file, limits=limits, scratch_dir=scratch_dir)
    return open_rosbag1(file, limits=limits)
