"""The part of `check` that looks at the watched folders, and at where recordings go from there."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bridge.bags import find_recordings
from bridge.cli.check import Finding, fail, ok, warn
from bridge.config import Settings
from bridge.daemon import Writer, writer_of
from bridge.errors import RecordingError
from bridge.files import file_system, is_folder, is_there
from bridge.model import Recording
from bridge.units import counted

# Watches are counted per user, for all programs together; this part of them is taken for free.
WATCHES_SHARE = 0.8
# Files cannot be younger than now; clocks of recorder and bridge may differ by so much.
FUTURE_S = 24 * 3600.0
WATCHES_MAX = Path("/proc/sys/fs/inotify/max_user_watches")
PROCESS_STATUS = Path("/proc/self/status")
CAP_LEASE = 28
KERNELS_OWN = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "securityfs"})


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Look at every watched folder with the settings that hold in it, changing nothing."""
    for name, inside in settings.watched.items():
        yield from _watched(f"folders.{name}" if name else "watch.folder", inside)
        yield from _disposal(f"folders.{name}.disposal" if name else "disposal", inside)
    yield from _watches(settings)


def _watched(name: str, settings: Settings) -> Iterator[Finding]:
    folder = settings.watch.folder.absolute()
    try:
        there = folder.is_dir()
    except OSError as error:
        hint = f"give the bridge's user ({user()}) permission to enter the folders above it"
        yield fail(name, f"{folder} cannot be read: {error.strerror}", hint=hint)
        return
    if not there:
        yield fail(name, f"{folder} is not there, or no folder", hint="is it mounted? create it")
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        hint = "give the bridge's user read and search permission"
        yield fail(name, f"{folder} cannot be read by {user()}", hint=hint)
        return
    try:
        found = find_recordings(folder, recursive=settings.watch.recursive)
    except RecordingError as error:
        yield fail(name, error.message, hint=error.hint)
        return
    locked = [file for file in _files(found) if not os.access(file, os.R_OK)]
    if locked:
        yield warn(
            name,
            f"{counted(len(locked), 'file')} of {counted(len(found), 'recording')} cannot be read,"
            f" such as {locked[0]}",
            hint="give the bridge's user read permission, for example through the group",
        )
    else:
        yield ok(name, f"{folder} can be read; recordings in it: {len(found)}")
    yield _lease(folder, found)
    yield from _future(found)


def _lease(folder: Path, found: list[Recording]) -> Finding:
    """Tell whether it can be known that nobody has a file open for writing."""
    readable = [file for file in _files(found) if os.access(file, os.R_OK)]
    if readable:
        known = writer_of(readable[-1]) is not Writer.UNKNOWN
        tried = f"tried on {readable[-1]}"
    else:
        known = may_lease() or folder.stat().st_uid == os.geteuid()
        tried = "there is no file yet to try it on"
    if known:
        return ok("writers", f"the kernel says who has a file open for writing ({tried})")
    return warn(
        "writers",
        f"the kernel does not say who has a file open for writing ({tried}); recordings wait for "
        "watch.settle_s",
        hint="grant CAP_LEASE (the systemd unit does), or run as the owner of the recordings",
    )


def _future(found: list[Recording]) -> Iterator[Finding]:
    """Report files from the future, which only a clock that is or was wrong can make."""
    stamps_s = [(file.stat().st_mtime, file) for file in _files(found) if is_there(file)]
    newest_s, file = max(stamps_s, default=(0.0, Path()))
    ahead_s = newest_s - time.time()
    if ahead_s > FUTURE_S:
        yield warn(
            "clock",
            f"{file} was written {ahead_s / 3600:,.0f} hours from now: this clock is behind, or "
            "the recorder's was ahead",
            hint="set the clocks of both; recordings are taken all the same",
        )


def _watches(settings: Settings) -> Iterator[Finding]:
    """Compare the folders to watch with what the kernel lets one user watch."""
    most = watches_max()
    count = sum(_folders(inside) for inside in settings.watched.values())
    if most is None:
        return
    if count > WATCHES_SHARE * most:
        yield warn(
            "watches",
            f"{count:,} folders are to be watched, and all programs of a user may watch {most:,}; "
            "without a watch a recording is found every watch.rescan_interval_s only",
            hint=f"sysctl fs.inotify.max_user_watches={4 * count}",
        )
    else:
        yield ok("watches", f"{counted(count, 'folder')} to watch; the kernel allows {most:,}")


def _folders(settings: Settings) -> int:
    folder = settings.watch.folder
    if not settings.watch.recursive:
        return 1
    return sum(1 for _ in os.walk(folder))


def _disposal(name: str, settings: Settings) -> Iterator[Finding]:
    disposal, folder = settings.disposal, settings.watch.folder
    if disposal.mode != "keep" and settings.uses_embedded_server:
        yield warn(
            name,
            f"mode {disposal.mode} has no effect: with the embedded server everything is kept",
            hint="set server.host",
        )
    elif disposal.mode != "keep" and is_folder(folder) and not os.access(folder, os.W_OK):
        hint = "give its user write permission; under systemd also ReadWritePaths="
        yield fail(name, f"mode {disposal.mode}, but {folder} is not writable", hint=hint)
    for key in ("archive_folder", "quarantine_folder"):
        target: Path | None = getattr(disposal, key)
        if target is None:
            continue
        if not can_be_made(target):
            hint = "create it and let the bridge's user write there"
            yield fail(f"{name}.{key}", f"{target} cannot be written by {user()}", hint=hint)
        elif is_folder(folder) and nearest(target).stat().st_dev != folder.stat().st_dev:
            yield ok(f"{name}.{key}", f"{target} is on another disk: files are copied there")
        else:
            yield ok(f"{name}.{key}", f"{target} can be written")


def _files(recordings: list[Recording]) -> Iterator[Path]:
    for recording in recordings:
        for file in recording.files:
            yield file.path


def nearest(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if is_there(one))


def can_be_made(folder: Path) -> bool:
    """Tell whether a folder can be written, or made where there is none."""
    found = nearest(folder)
    # In those of the kernel root has every permission, and nothing can be made.
    writable = os.access(found, os.W_OK | os.X_OK) and file_system(found) not in KERNELS_OWN
    return is_folder(found) and writable


def user() -> str:
    """Name the user that this runs as."""
    return f"user {os.geteuid()}"


def watches_max() -> int | None:
    """Give how many folders all programs of one user may watch; None where that is not known."""
    try:
        return int(WATCHES_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def may_lease() -> bool:
    """Tell whether this process has CAP_LEASE, as root does."""
    try:
        lines = PROCESS_STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> CAP_LEASE & 1)
