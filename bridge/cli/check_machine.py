"""The half of `check` that looks at this machine: settings, folders, disks, clock, leases, port."""

import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bridge.bags import find_recordings
from bridge.cli.exits import Exit
from bridge.cli.findings import Finding, fail, ok, warn
from bridge.cli.running import ask_daemon, daemon_runs
from bridge.cli.terminal import size
from bridge.config import Settings
from bridge.daemon import (
    Journal,
    Writer,
    api_key,
    ingest_options,
    measure_disks,
    too_open,
    writer_of,
)
from bridge.errors import BridgeError, ConfigError, JournalError, RecordingError
from bridge.mapping import fill_placeholders, sequence_name
from bridge.model import Recording

# A clock before this was never set; one after will be wrong for long after we are gone.
YEARS = range(2025, 2100)
CAP_LEASE = 28
PROCESS_STATUS = Path("/proc/self/status")


def check_machine(settings: Settings, *, file: Path | None) -> Iterator[Finding]:
    """Look at everything that needs no platform, changing nothing.

    Args:
        settings: All settings.
        file: The settings file they came from, or None.
    """
    yield from _ingest(settings)
    yield _key_file(settings)
    for sentence in too_open(settings, file=file):
        what, _, remedy = sentence.partition("; ")
        yield warn("permissions", what, hint=remedy)
    yield from _watched(settings)
    yield from _disposal(settings)
    yield _state(settings)
    yield _journal(settings)
    yield from _disks(settings)
    yield _clock()
    yield from _definitions(settings)
    yield _http(settings)


def _ingest(settings: Settings) -> Iterator[Finding]:
    """Try what settings show only when they are used: mappings, templates, variables."""
    try:
        options = ingest_options(settings)
        constants = fill_placeholders(
            options.metadata, environment=options.environment, hostname=options.hostname
        )
        name = sequence_name(
            options.sequence_name,
            stem="drive",
            start_ns=time.time_ns(),
            identity="0" * 64,
            hostname=options.hostname,
            constants=constants,
        )
    except BridgeError as error:
        yield fail("settings", error.message, hint=error.hint, code=Exit.BAD_CONFIG)
        return
    yield ok("settings", f"consistent; a recording drive would be called {name}")
    if settings.mappings:
        yield ok("mappings", f"{len(settings.mappings)} of your own")


def _key_file(settings: Settings) -> Finding:
    try:
        key = api_key(settings)
    except ConfigError as error:
        return fail("key file", error.message, hint=error.hint, code=Exit.BAD_CONFIG)
    if key is None:
        return ok("key file", "no API key is configured")
    return ok("key file", "the API key can be read")


def _watched(settings: Settings) -> Iterator[Finding]:
    folder = settings.watch.folder
    if not folder.is_dir():
        yield fail("watch.folder", f"{folder} is not there", hint="is it mounted? create it")
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        hint = "give the bridge's user read and search permission"
        yield fail("watch.folder", f"{folder} cannot be read by {_user()}", hint=hint)
        return
    try:
        found = find_recordings(folder, recursive=settings.watch.recursive)
    except RecordingError as error:
        yield fail("watch.folder", error.message, hint=error.hint)
        return
    locked = [file for file in _files(found) if not os.access(file, os.R_OK)]
    if locked:
        yield warn(
            "watch.folder",
            f"{len(locked)} files of {len(found)} recordings cannot be read, such as {locked[0]}",
            hint="give the bridge's user read permission, for example through the group",
        )
    else:
        yield ok("watch.folder", f"{folder} can be read; recordings in it: {len(found)}")
    yield _lease(folder, found)


def _lease(folder: Path, found: list[Recording]) -> Finding:
    """Tell whether it can be known that nobody has a file open for writing."""
    readable = [file for file in _files(found) if os.access(file, os.R_OK)]
    if readable:
        known = writer_of(readable[-1]) is not Writer.UNKNOWN
        tried = f"tried on {readable[-1]}"
    else:
        known = _may_lease() or folder.stat().st_uid == os.geteuid()
        tried = "there is no file yet to try it on"
    if known:
        return ok("writers", f"it can be told who has a file open for writing ({tried})")
    return warn(
        "writers",
        f"it cannot be told who has a file open for writing ({tried}); recordings wait for "
        "watch.settle_s",
        hint="grant CAP_LEASE (the systemd unit does), or run as the owner of the recordings",
    )


def _disposal(settings: Settings) -> Iterator[Finding]:
    disposal, folder = settings.disposal, settings.watch.folder
    if disposal.mode != "keep" and settings.uses_embedded_server:
        yield warn(
            "disposal",
            f"mode {disposal.mode} has no effect: with the embedded server everything is kept",
            hint="set server.host",
        )
    elif disposal.mode != "keep" and folder.is_dir() and not os.access(folder, os.W_OK):
        hint = "give its user write permission; under systemd also ReadWritePaths="
        yield fail("disposal", f"mode {disposal.mode}, but {folder} is not writable", hint=hint)
    for key in ("archive_folder", "quarantine_folder"):
        target: Path | None = getattr(disposal, key)
        if target is None:
            continue
        if not _can_be_made(target):
            hint = "create it and let the bridge's user write there"
            yield fail(f"disposal.{key}", f"{target} cannot be written by {_user()}", hint=hint)
        elif folder.is_dir() and _device(target) != folder.stat().st_dev:
            yield ok(f"disposal.{key}", f"{target} is on another disk: files are copied there")
        else:
            yield ok(f"disposal.{key}", f"{target} can be written")


def _state(settings: Settings) -> Finding:
    folder = settings.state.folder
    if not _can_be_made(folder):
        hint = "give the bridge a state.folder of its own"
        return fail("state.folder", f"{folder} cannot be written by {_user()}", hint=hint)
    made = "can be written" if folder.exists() else "will be made"
    return ok("state.folder", f"{folder} {made}")


def _journal(settings: Settings) -> Finding:
    runs = {True: "a bridge runs", False: "no bridge runs", None: "whether one runs is not known"}
    running = runs[daemon_runs(settings.state.folder)]
    try:
        with Journal.read(settings.state.folder) as journal:
            known = sum(journal.counts().values())
    except JournalError as error:
        if not any(settings.state.folder.glob("journal.db")):
            return ok("journal", f"none yet; {running}")
        return fail("journal", error.message, hint=error.hint)
    return ok("journal", f"recordings known: {known:,}; {running}")


def _disks(settings: Settings) -> Iterator[Finding]:
    folders = {"watch": settings.watch.folder, "state": settings.state.folder}
    least = settings.state.disk_free_min_bytes
    for disk in measure_disks({role: _nearest(folder) for role, folder in folders.items()}):
        name = f"disk {disk.role}"
        if disk.free_bytes is None:
            yield fail(name, f"cannot be asked: {disk.problem}")
        elif disk.free_bytes < least:
            detail = f"{size(disk.free_bytes)} free, less than {size(least)}"
            yield fail(name, detail, hint="make room on that disk")
        else:
            yield ok(name, f"{size(disk.free_bytes)} free")


def _clock() -> Finding:
    now = datetime.now(UTC)
    if now.year not in YEARS:
        return warn(
            "clock",
            f"it says {now:%Y-%m-%d}, which cannot be",
            hint="set it (NTP, GPS, RTC): stamps are wrong and TLS certificates are refused",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _definitions(settings: Settings) -> Iterator[Finding]:
    for folder in settings.definitions.folders:
        if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
            hint = "it must hold <package>/msg/<Name>.msg"
            yield fail("definitions", f"{folder} is no folder that can be read", hint=hint)
            continue
        count = sum(1 for kind in ("msg", "idl") for _ in folder.rglob(f"*.{kind}"))
        if count:
            yield ok("definitions", f"{count:,} in {folder}")
        else:
            yield warn("definitions", f"none in {folder}", hint="expected <package>/msg/<Name>.msg")


def _http(settings: Settings) -> Finding:
    host, port = settings.http.host, settings.http.port
    if daemon_runs(settings.state.folder):
        if ask_daemon(settings) is not None:
            return ok("http", f"the running bridge answers on port {port}")
        return warn("http", f"the running bridge does not answer on port {port}")
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        detail = f"{host}:{port} cannot be listened on: {error.strerror}"
        return fail("http", detail, hint="choose another http.port", code=Exit.BAD_CONFIG)
    return ok("http", f"{host}:{port} is free" if port else "a free port will be taken")


def _files(recordings: list[Recording]) -> Iterator[Path]:
    for recording in recordings:
        for file in recording.files:
            yield file.path


def _nearest(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if one.exists())


def _can_be_made(folder: Path) -> bool:
    nearest = _nearest(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _device(folder: Path) -> int:
    return _nearest(folder).stat().st_dev


def _user() -> str:
    return f"user {os.geteuid()}"


def _may_lease() -> bool:
    """Tell whether this process has CAP_LEASE, as root does."""
    try:
        lines = PROCESS_STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> CAP_LEASE & 1)
