"""Looks, at the start, whether other users of the machine can read keys or change our files.

Nothing is refused for it: a bridge that does not start loses more than one that complains. What is
found goes to the log and to `check`.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bridge.config import Settings
from bridge.daemon.journal.schema import unusable_state
from bridge.files import is_there

log = logging.getLogger(__name__)

PRIVATE_FOLDER_MODE = 0o700


def check_permissions(settings: Settings, *, file: Path | None = None) -> list[str]:
    """Make the state folder if there is none, closed to others, and warn of what is too open.

    Args:
        settings: All settings.
        file: The settings file they came from, which may hold an API key.

    Returns:
        A sentence for each finding, as logged.

    Raises:
        JournalError: The state folder cannot be made or written.
    """
    folder = settings.state.folder
    try:
        folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unusable_state(folder, error) from error
    findings = too_open(settings, file=file)
    for finding in findings:
        log.warning(finding)
    return findings


def too_open(settings: Settings, *, file: Path | None = None) -> list[str]:
    """Tell what other users of this machine could read or change; only looks.

    Args:
        settings: All settings.
        file: The settings file they came from, which may hold an API key.
    """
    folder = settings.state.folder
    return [*(_open_folder(folder) if is_there(folder) else ()), *_open_keys(settings, file)]


def _open_folder(folder: Path) -> Iterator[str]:
    facts = folder.stat()
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield f"others may write into the state folder {folder}; close it: chmod 700 {folder}"
    elif facts.st_uid not in {os.geteuid(), 0}:
        yield f"the state folder {folder} belongs to another user, who can change the journal"


def _open_keys(settings: Settings, file: Path | None) -> Iterator[str]:
    server, archive = settings.server, settings.backfill
    told = (archive.secret_key, archive.session_token, archive.account_key, archive.sas_token)
    secrets = {
        "server.api_key_file": server.api_key_file,
        "server.tls_key_file": server.tls_key_file,
        "the settings file with server.api_key": file if server.api_key is not None else None,
        "backfill.secret_key_file": archive.secret_key_file,
        "the settings file with keys of [backfill]": file if any(told) else None,
    }
    for name, path in secrets.items():
        # A missing file is reported where it is needed.
        if path is not None and is_there(path) and _open_to_others(path):
            yield f"{name} = {path} can be read by others on this machine; chmod 600 {path}"


def _open_to_others(path: Path) -> bool:
    """Tell whether more users can read a file than must: a group only where it is not ours."""
    facts = path.stat()
    # root:bridge 0640 is the usual way to hand a service its key; there the group is how we read.
    needless = stat.S_IRGRP if facts.st_uid == os.geteuid() else 0
    return bool(facts.st_mode & (stat.S_IROTH | needless))
