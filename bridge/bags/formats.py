"""The storage formats, and how to recognise them by name and first bytes; the bytes decide."""

import os
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import EmptyRecordingError, NotARecordingError
from bridge.files import open_regular
from bridge.model import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFormat:
    """What distinguishes a storage format; `endings` has how its files end.

    Attributes:
        container: The format.
        suffix: The end of its files' names.
        magic: What its files begin with, whatever their version.
        logs: Endings of files beside a storage file that hold a part of its content while it is
            open.
        sidecars: Endings of all files that belong to a storage file, `logs` among them.
    """

    container: Container
    suffix: str
    magic: bytes
    logs: tuple[str, ...] = ()
    sidecars: tuple[str, ...] = ()


FORMATS = (
    StorageFormat(container=Container.MCAP, suffix=".mcap", magic=b"\x89MCAP0\r\n"),
    StorageFormat(
        container=Container.SQLITE3,
        suffix=".db3",
        magic=b"SQLite format 3\x00",
        logs=("-wal", "-journal"),
        sidecars=("-wal", "-shm", "-journal"),
    ),
    StorageFormat(container=Container.ROSBAG1, suffix=".bag", magic=b"#ROSBAG V"),
)

STORAGE_SUFFIXES = tuple(form.suffix for form in FORMATS)
SIDECAR_SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.sidecars)
CONTAINERS = {form.suffix: form.container for form in FORMATS}

OLD_BAG_MAGIC = b"#ROSRECORD V"
"""What bags of ROS 1 began with before format 2.0, which is the only one that is read."""

COMPRESSION_SUFFIX = ".zstd"
COMPRESSION = "zstd"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

PRINTABLE = frozenset(b"\t\n\r\f" + bytes(range(0x20, 0x7F)))
"""What texts consist of; every storage format has other bytes near its start."""

HEAD_BYTES = 256
"""How much of a file is looked at."""

TEMPORARY_SUFFIXES = (
    ".active", ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", "~",
    *SIDECAR_SUFFIXES,
)  # fmt: skip
"""Ends of names that recorders and copying programs give to what is not finished."""

ACTIVE_SUFFIX = ".active"
ACTIVE_BAG_SUFFIX = ".bag" + ACTIVE_SUFFIX
"""How ROS 1 calls a bag that it is writing."""

TEMPORARY_PREFIXES = (".", "~", "#")
"""What such names start with: hidden files (also of rsync and syncthing), editors' locks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageName:
    """What the name of a storage file says.

    Attributes:
        name: The file's name.
        stem: The name without extensions.
        container: The format its extension stands for.
        compression: `"zstd"` when the whole file is compressed, else empty.
    """

    name: str
    stem: str
    container: Container
    compression: str


def is_temporary(name: str) -> bool:
    """Say whether a name is that of an unfinished or hidden file."""
    return name.startswith(TEMPORARY_PREFIXES) or name.lower().endswith(TEMPORARY_SUFFIXES)


def storage_name(name: str) -> StorageName | None:
    """Read the name of a storage file; None for other files and for temporary names.

    What `rosbag record` writes is a `.bag.active` until it is closed, and stays one when the
    recorder is killed; it is a bag that has no proper end yet.
    """
    plain = name.removesuffix(ACTIVE_SUFFIX) if name.endswith(ACTIVE_BAG_SUFFIX) else name
    if is_temporary(plain):
        return None
    compression = ""
    if plain.lower().endswith(COMPRESSION_SUFFIX):
        compression = COMPRESSION
        plain = plain[: -len(COMPRESSION_SUFFIX)]
    stem, suffix = os.path.splitext(plain)  # noqa: PTH122 - ten times a path's, and every scan asks
    container = CONTAINERS.get(suffix.lower())
    if container is None:
        return None
    return StorageName(name=name, stem=stem, container=container, compression=compression)


def is_storage_name(name: str) -> bool:
    """Say whether a name is that of a storage file."""
    return storage_name(name) is not None


def sniff(path: Path, named: StorageName | None) -> tuple[Container, str]:
    """Recognise container and compression of a file by its first bytes.

    Args:
        path: The file.
        named: What its name says; decides where the bytes say nothing, since a damaged file may
            have lost its first bytes and still hold messages.

    Raises:
        EmptyRecordingError: The file is empty.
        NotARecordingError: The bytes or the name are those of something else.
        RecordingVanishedError: There is nothing at the path any more.
    """
    descriptor = open_regular(path)
    try:
        head = os.pread(descriptor, HEAD_BYTES, 0)
    finally:
        os.close(descriptor)
    if not head:
        raise EmptyRecordingError(
            "the file is empty",
            path=path,
            hint="the recorder was stopped before it wrote anything, or a copy failed",
        )
    for form in FORMATS:
        if head.startswith(form.magic):
            return form.container, ""
    if head.startswith(OLD_BAG_MAGIC):
        return Container.ROSBAG1, ""
    if head.startswith(ZSTD_MAGIC):
        if named is not None:
            return named.container, COMPRESSION
        raise NotARecordingError(
            "a compressed file whose name does not say of what",
            path=path,
            hint="compressed recordings are named .mcap.zstd, .db3.zstd or .bag.zstd",
        )
    refuse_text(head, path)
    if named is None:
        raise NotARecordingError(
            "the file is no recording: neither its name nor its first bytes are of a known format",
            path=path,
            hint="recordings are .mcap, .db3 and .bag files, or folders of these",
        )
    return named.container, named.compression


def refuse_text(head: bytes, path: Path) -> None:
    """Refuse files that are text, saying what they probably are.

    Raises:
        NotARecordingError: The first bytes are text.
    """
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise NotARecordingError(
            "the file is a Git LFS pointer, not the recording itself",
            path=path,
            hint="fetch the content with `git lfs pull`",
        )
    if all(byte in PRINTABLE for byte in head):
        raise NotARecordingError(
            "the file is text, not a recording",
            path=path,
            hint="perhaps an error page was saved in its place",
        )
