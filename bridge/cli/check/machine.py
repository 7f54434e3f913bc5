"""The part of `check` that looks at this machine: settings, folders, disks, clock, port."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bridge.cli.check import Finding, fail, ok, warn
from bridge.cli.check.folders import can_be_made, check_folders, nearest, user
from bridge.cli.options import disk_folders
from bridge.cli.running import ask_daemon, daemon_runs
from bridge.cli.terminal import Exit, size
from bridge.config import Settings, api_key, archive_secrets
from bridge.daemon import Journal, measure_disks, too_open
from bridge.errors import BridgeError, ConfigError, JournalError
from bridge.facade import later
from bridge.files import file_system, is_folder, is_network_kind
from bridge.mapping import custom_mappings, fill_placeholders, sequence_name
from bridge.units import address_text

# Needed only where a distribution is named.
definitions = later("bridge.definitions")

# A clock before this was never set; one after will be wrong for long after we are gone.
YEARS = range(2025, 2100)
EVERYWHERE = "std_msgs/msg/String"
IN_MEMORY = frozenset({"tmpfs", "ramfs"})


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
    yield from check_folders(settings)
    yield from _state(settings)
    yield from _scratch(settings)
    yield _journal(settings)
    yield from _disks(settings)
    yield _clock()
    yield from _definitions(settings)
    yield _http(settings)


def _ingest(settings: Settings) -> Iterator[Finding]:
    """Try what settings show only when they are used: mappings, templates, variables."""
    try:
        hostname = socket.gethostname()
        custom_mappings(settings.mappings)
        constants = fill_placeholders(
            settings.metadata, environment=dict(os.environ), hostname=hostname
        )
        name = sequence_name(
            settings.ingest.sequence_name,
            stem="drive",
            start_ns=time.time_ns(),
            identity="0" * 64,
            hostname=hostname,
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
        # Every command hides these, too, and ends where their file cannot be read.
        archive_secrets(settings.backfill)
    except ConfigError as error:
        return fail("key file", error.message, hint=error.hint, code=Exit.BAD_CONFIG)
    if key is None:
        return ok("key file", "no API key is configured")
    return ok("key file", "the API key can be read")


def _state(settings: Settings) -> Iterator[Finding]:
    folder = settings.state.folder.absolute()
    if not can_be_made(folder):
        hint = "give the bridge a state.folder of its own"
        yield fail("state.folder", f"{folder} cannot be written by {user()}", hint=hint)
        return
    made = "can be written" if is_folder(folder) else "will be made"
    yield ok("state.folder", f"{folder} {made}")
    kind = file_system(folder)
    if kind in IN_MEMORY:
        yield warn(
            "state.folder",
            f"{folder} is in memory ({kind}): a reboot forgets what was sent, and every recording "
            "has to be asked for again",
            hint="put state.folder on a disk",
        )
    if is_network_kind(kind):
        yield warn(
            "state.folder",
            f"{folder} is on a network file system ({kind}), on which SQLite's locks and logs "
            "cannot be relied upon",
            hint="put state.folder on a disk of this machine",
        )


def _scratch(settings: Settings) -> Iterator[Finding]:
    """Look at the folder of `backfill`, where the settings name one."""
    folder = settings.backfill.scratch_folder
    if folder is not None and not can_be_made(folder):
        detail = f"{folder.absolute()} cannot be written by {user()}"
        yield fail("backfill.scratch_folder", detail, hint="`backfill` needs one that it may write")


def _journal(settings: Settings) -> Finding:
    runs = {True: "a bridge runs", False: "no bridge runs", None: "whether one runs is not known"}
    running = runs[daemon_runs(settings.state.folder)]
    try:
        with Journal.read(settings.state.folder) as journal:
            known = sum(journal.counts().values())
    except JournalError as error:
        with suppress(OSError):
            # Not `is_there`: that there is none and that we may not know are two things.
            if not (settings.state.folder / "journal.db").exists():
                return ok("journal", f"none yet; {running}")
        return fail("journal", error.message, hint=error.hint)
    return ok("journal", f"recordings known: {known:,}; {running}")


def _disks(settings: Settings) -> Iterator[Finding]:
    folders = disk_folders(settings)
    least = settings.state.disk_free_min_bytes
    for disk in measure_disks({role: nearest(folder) for role, folder in folders.items()}):
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
    distro = settings.definitions.distro
    if distro and definitions.stock_type(EVERYWHERE, distro=distro) is None:
        hint = "it is the name of a ROS distribution in small letters, as in humble"
        yield warn("definitions", f"no stock types of {distro!r} are known", hint=hint)
    for folder in settings.definitions.folders:
        if not is_folder(folder) or not os.access(folder, os.R_OK | os.X_OK):
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
        detail = f"{address_text(host, port)} cannot be listened on: {error.strerror}"
        return fail(
            "http",
            detail,
            hint="choose another http.port, and an http.host of this machine",
            code=Exit.BAD_CONFIG,
        )
    return ok(
        "http", f"{address_text(host, port)} is free" if port else "a free port will be taken"
    )
