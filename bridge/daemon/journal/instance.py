"""The bridge's own name: made once, kept beside the journal, so that it survives losing that."""

import os
import uuid
from pathlib import Path

from bridge.errors import JournalError

INSTANCE_FILE = "instance"


def instance_id(folder: Path) -> str:
    """Give this bridge's name, making and keeping one at the first call.

    Args:
        folder: The state folder; made if missing.

    Raises:
        JournalError: It can be neither read nor written.
    """
    path = folder / INSTANCE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and (known := path.read_text(encoding="ascii").strip()):
            return known
        made = uuid.uuid4().hex
        replace_file(path, made + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"instance file {path}: {error}") from error
    return made


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that after a power cut the old or the new one is there, whole.

    Raises:
        OSError: It cannot be written; the old one is untouched then.
    """
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: It cannot be opened or synced.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
