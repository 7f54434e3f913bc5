"""The bridge's own name: made once, kept beside the journal, so that it survives losing that."""

import uuid
from pathlib import Path

from bridge.errors import JournalError
from bridge.files import replace_file

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
