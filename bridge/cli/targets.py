"""Names recordings on the command line: by the journal's number, or by path."""

from collections.abc import Sequence
from pathlib import Path

from bridge.daemon import Entry, Journal
from bridge.errors import UsageError

TARGETS_HELP = "Recordings: paths, or numbers as `status` shows them."
# SQLite's numbers end at 2**63; longer ones name nothing.
DIGITS_MAX = 18


def find_entries(journal: Journal, targets: Sequence[str]) -> list[Entry]:
    """Give the recordings that are meant, each once, in the order they were named.

    A target of digits is a number where the journal has one; `./17` is always a path.

    Raises:
        UsageError: The journal knows no such recording.
    """
    found: dict[int, Entry] = {}
    for target in targets:
        entry = _find(journal, target)
        if entry is None:
            raise UsageError(
                f"the journal knows no recording {target}",
                hint="`status` lists numbers and paths; a path must be spelt as the bridge "
                "found it, below watch.folder",
            )
        found[entry.id] = entry
    return list(found.values())


def _find(journal: Journal, target: str) -> Entry | None:
    if target.isascii() and target.isdecimal() and len(target) <= DIGITS_MAX:
        entry = journal.get(int(target))
        if entry is not None:
            return entry
    path = Path(target)
    return journal.at(path.absolute()) or journal.at(path.resolve())
