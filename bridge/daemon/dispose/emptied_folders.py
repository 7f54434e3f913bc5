"""The folder of a recording whose splits were disposed of one by one: its metadata.yaml goes last.

Only when the recorder is done with it: `metadata.yaml` is there, none of the files that it lists is
there any more, and nothing else in the folder looks like a recording or the copy of one. Used
from the loop's thread only.
"""

from pathlib import Path

from bridge.bags import METADATA_FILE, STORAGE_SUFFIXES, look_into, read_hints
from bridge.config import DisposalSettings
from bridge.daemon.dispose.disposal import finish_folder
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.errors import RecordingError


class Leftovers:
    """Knows the folders that splits were taken out of, and clears those that are done.

    Args:
        journal: Names the splits that were disposed of before the start.
        watched: The watched folder, absolute.
    """

    def __init__(self, journal: Journal, *, watched: Path) -> None:
        self._watched = watched
        self._folders: set[Path] = set()
        for entry in journal.recordings(states={State.DISPOSED}):
            self.note(entry)

    def note(self, entry: Entry) -> None:
        """Take note that a recording was disposed of."""
        if entry.split_of and entry.path.is_relative_to(self._watched):
            self._folders.add(entry.path.parent)

    def sweep(self, settings: DisposalSettings) -> None:
        """Clear the folders that are done; what cannot be cleared is tried again."""
        archive = settings.archive_folder if settings.mode == "move" else None
        for folder in tuple(self._folders):
            try:
                if _is_done(folder):
                    finish_folder(folder, self._watched, archive and archive.absolute())
            except OSError:
                continue
            if not (folder / METADATA_FILE).exists() and not folder.is_dir():
                self._folders.discard(folder)


def _is_done(folder: Path) -> bool:
    try:
        content = look_into(folder)
    except RecordingError:
        return False
    if not content.has_metadata or content.storage or content.folders:
        return False
    hints, flaws = read_hints(folder)
    listed = hints.get("relative_file_paths")
    # A torn list may lack the split that comes next.
    if flaws or not isinstance(listed, list) or not listed:
        return False
    names = [path.name for path in folder.iterdir()]
    return not any(suffix in name for name in names for suffix in STORAGE_SUFFIXES)
