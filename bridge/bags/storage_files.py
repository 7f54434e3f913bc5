"""Opening the storage files of a recording, each with the reader of its format."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bridge.bags.container import ContainerReader, ReadLimits
from bridge.bags.mcap import McapReader
from bridge.bags.source import FileSource
from bridge.bags.sqlite import open_sqlite3
from bridge.errors import DamagedRecordingError
from bridge.model import Container, RecordingFile


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFile:
    """An open storage file.

    Attributes:
        file: Which one, with the format that its bytes tell.
        source: Its bytes as they are on disk.
        container: The reader of its messages.
    """

    file: RecordingFile
    source: FileSource
    container: ContainerReader


def open_storage_file(
    file: RecordingFile, *, limits: ReadLimits, scratch_dir: Path | None, stack: ExitStack
) -> StorageFile:
    """Open a storage file; whatever is opened is closed by the stack.

    Raises:
        RecordingError: The file cannot be read at all; see the readers of the formats.
        ScratchSpaceError: A working copy is needed and does not fit.
    """
    source = FileSource(file.path)
    stack.callback(source.close)
    container = _open_container(file, source, limits=limits, scratch_dir=scratch_dir)
    stack.callback(container.close)
    return StorageFile(file=file, source=source, container=container)


def _open_container(
    file: RecordingFile, source: FileSource, *, limits: ReadLimits, scratch_dir: Path | None
) -> ContainerReader:
    if file.container is Container.MCAP and not file.compression:
        return McapReader(source, limits=limits)
    if file.container is Container.SQLITE3 and not file.compression:
        return open_sqlite3(file, limits=limits, scratch_dir=scratch_dir)
    raise DamagedRecordingError(
        f"{file.compression or 'plain'} {file.container} files cannot be read", path=file.path
    )
