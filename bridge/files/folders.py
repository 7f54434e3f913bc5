"""A folder held open: whatever is done in it goes through the descriptor, by name.

Others may write to a watched folder, and put a link where a folder was at any moment. So a path is
walked once, step by step, and no step below the starting folder follows a link; from then on names
are looked up in what was opened, wherever it has been moved to.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Self

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
COPY_CHUNK_BYTES = 8 << 20


class OpenFolder:
    """An open folder; a context manager.

    Args:
        descriptor: The open folder; closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, start: Path, below: PurePath | str = "") -> Self:
        """Open a folder.

        Args:
            start: A folder that settings name; links on the way to it are followed.
            below: The way from there; links on it are not followed.

        Raises:
            OSError: It is not there, may not be entered, or a step below the start is a link
                (`ELOOP` or `ENOTDIR`).
        """
        folder = cls(os.open(start, FOLDER_FLAGS))
        for name in PurePath(below).parts:
            with folder:
                folder = folder.enter(name)
        return folder

    def enter(self, name: str) -> Self:
        """Open a folder in it, which is no link.

        Raises:
            OSError: It is not there, may not be entered, or is a link.
        """
        if name in {"", ".", ".."}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        return type(self)(os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=self.descriptor))

    def make(self, below: PurePath | str) -> Self:
        """Open a folder below it, making what is missing on the way.

        Raises:
            OSError: It cannot be made or entered.
        """
        folder = type(self)(os.dup(self.descriptor))
        for name in PurePath(below).parts:
            with folder:
                try:
                    os.mkdir(name, dir_fd=folder.descriptor)
                except FileExistsError:
                    folder = folder.enter(name)
                else:
                    folder.sync()
                    folder = folder.enter(name)
        return folder

    def status(self, name: str) -> os.stat_result:
        """Look at an entry, not at what it links to.

        Raises:
            OSError: There is none, or it may not be looked at.
        """
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def has(self, name: str) -> bool:
        """Say whether there is an entry of a name."""
        try:
            self.status(name)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """List the entries."""
        with os.scandir(self.descriptor) as found:
            return [entry.name for entry in found]

    def open_file(self, name: str) -> int:
        """Open a regular file for reading and return its descriptor, which the caller closes.

        Raises:
            OSError: It is not there, may not be read, or is no regular file.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self.descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return descriptor

    def unlink(self, name: str) -> None:
        """Remove a name.

        Raises:
            OSError: It cannot be removed.
        """
        os.unlink(name, dir_fd=self.descriptor)

    def rename(self, name: str, target: "OpenFolder", new_name: str) -> None:
        """Bring an entry into a folder of the same file system, in place of what is there.

        Raises:
            OSError: It cannot be moved; `EXDEV` where it is another file system.
        """
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)

    def remove_empty(self, name: str) -> bool:
        """Remove a folder in it if nothing is in that; False if there is.

        Raises:
            OSError: It cannot be removed for another reason.
        """
        try:
            os.rmdir(name, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            raise
        return True

    def copy(
        self, name: str, target: "OpenFolder", new_name: str, *, check: Callable[[], None]
    ) -> None:
        """Copy a file, with its times and permissions, into another folder, durably.

        A kill leaves nothing, a hidden draft, or the whole copy.

        Args:
            name: The file here.
            target: The folder to copy into.
            new_name: Its name there.
            check: Called between two pieces of 8 MiB; what it raises ends the copy.

        Raises:
            OSError: It cannot be read or written, or it changed meanwhile.
        """
        draft = f".{new_name}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source = self.open_file(name)
        try:
            with contextlib.suppress(FileNotFoundError):
                target.unlink(draft)
            made = os.open(draft, flags, mode=0o600, dir_fd=target.descriptor)
            try:
                _copy_durably(source, made, check)
            except BaseException:
                target.unlink(draft)
                raise
            finally:
                os.close(made)
        finally:
            os.close(source)
        target.rename(draft, target, new_name)
        target.sync()

    def sync(self) -> None:
        """Make the names in it durable.

        Raises:
            OSError: The disk does not take them.
        """
        os.fsync(self.descriptor)

    def close(self) -> None:
        """Close it; may be called again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy_durably(source: int, target: int, check: Callable[[], None]) -> None:
    before = os.fstat(source)
    while piece := os.read(source, COPY_CHUNK_BYTES):
        check()
        left = memoryview(piece)
        while left:
            left = left[os.write(target, left) :]
    after = os.fstat(source)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise OSError(errno.EBUSY, "it was written while it was copied")
    os.fchmod(target, stat.S_IMODE(before.st_mode))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.fsync(target)
