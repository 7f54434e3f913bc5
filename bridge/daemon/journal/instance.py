"""The bridge's own name: made once, kept beside the journal, so that it survives losing that."""

import logging
import re
import time
import uuid
from pathlib import Path

from bridge.errors import JournalError
from bridge.files import replace_file
from bridge.ingest import Sender

log = logging.getLogger(__name__)

INSTANCE_FILE = "instance"
MACHINE_FILE = "instance.machine"
# What a name may be made of: ours are hexadecimal digits, people may choose others.
NAME = re.compile(r"[0-9A-Za-z._-]{1,100}")


def instance_id(folder: Path) -> str:
    """Give this bridge's name, making and keeping one at the first call.

    A file that holds no name (cut, overwritten, a folder of that name) is set aside and a new name
    made: what a bridge of the old name left unfinished on the platform is another's from then on.

    Args:
        folder: The state folder; made if missing.

    Raises:
        JournalError: It can be neither read nor written.
    """
    path = folder / INSTANCE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (known := _read(path)) is not None:
            return known
        made = uuid.uuid4().hex
        replace_file(path, made + "\n")
    except OSError as error:
        raise JournalError(
            f"instance file {path}: {error.strerror}",
            hint="the bridge's user needs permission to read and write its state.folder",
        ) from error
    return made


def copied_from_elsewhere(folder: Path) -> str:
    """Say so if a state folder was used on another machine; empty where it was not.

    The machine is written down beside the name at the first call. Unknown machines say nothing.

    Args:
        folder: The state folder, with a name in it.
    """
    path, machine = folder / MACHINE_FILE, Sender.here().machine
    if not machine:
        return ""
    try:
        known = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
        if known == machine:
            return ""
        replace_file(path, machine + "\n")
    except OSError:
        # The journal, on the same disk, reports its trouble.
        return ""
    if not known:
        return ""
    return f"{folder} was used on another machine before: is this one a copy of it?"


def _read(path: Path) -> str | None:
    """Give the name; None where there is none, or what was there has been set aside."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        content = b"/"
    known = content.decode("ascii", "replace").strip()
    if NAME.fullmatch(known):
        return known
    if content:
        aside = path.with_name(f"{path.name}.bad-{time.time_ns()}")
        path.rename(aside)
        log.error("%s holds no name; it is set aside as %s, and a new one made", path, aside.name)
    return None
