"""What is where: the last look at each path, beside the journal's entry for it.

Owns the journal's sightings and what follows when a recording loses its place: a copy goes on for
it, or it is gone. Used from the loop's thread only.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bridge.daemon.journal.entry import Entry, Sighting
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import DELIVERED, State, allowed
from bridge.daemon.watch.scan import Found, look_at

# In these states a recording still needs its source.
NEEDS_SOURCE = frozenset({State.READY, State.WAITING, State.REJECTED, State.VANISHED})


class PathsSeen:
    """Remembers what is where.

    Args:
        journal: The journal.
        on_forget: Called for entries that turned out to be content known already.

    Attributes:
        found: What the last scan saw, by path; set by the scanner.
    """

    def __init__(self, journal: Journal, *, on_forget: Callable[[Entry], None]) -> None:
        self._journal = journal
        self._on_forget = on_forget
        # By path as text, as there may be very many.
        self._seen: dict[str, Sighting] = {}
        self.found: dict[Path, Found] = {}
        self.reload()

    def reload(self) -> None:
        """Take the journal's word for everything."""
        self._seen = self._journal.sightings()

    def look(self, found: dict[Path, Found]) -> None:
        """Take what a scan saw; where it is as it was, one text of the signature is kept."""
        self.found = found
        for path, now in found.items():
            text, signature = str(path), now.signature
            before = self._seen.get(text)
            if before and before.signature == signature and before.signature is not signature:
                self._seen[text] = replace(before, signature=signature)

    def missing(self) -> list[Path]:
        """List where something was seen and the last scan has found nothing."""
        there = {str(path) for path in self.found}
        return [Path(path) for path in self._seen if path not in there]

    def at(self, path: Path) -> Sighting | None:
        """Give what was seen at a path when it was identified."""
        return self._seen.get(str(path))

    def unchanged(self, entry: Entry) -> bool:
        """Say whether the files of a recording still look as they did when it was identified."""
        seen = self.found.get(entry.path)
        sighting = self.at(entry.path)
        if seen is None or sighting is None or sighting.entry_id != entry.id:
            return False
        now = look_at(seen.recording)
        return now is not None and now.signature == sighting.signature

    def in_place(self, entry: Entry) -> bool:
        """Say whether the last scan saw a recording where the journal has it, unchanged."""
        found = self.found.get(entry.path)
        sighting = self.at(entry.path)
        return found is not None and sighting == Sighting(
            entry_id=entry.id, signature=found.signature
        )

    def see(self, path: Path, entry: Entry, found: Found) -> None:
        """Remember what is at a path, and what is not there any more."""
        before = self.at(path)
        self._journal.sight(path, entry_id=entry.id, signature=found.signature)
        self._seen[str(path)] = Sighting(entry_id=entry.id, signature=found.signature)
        if before is None or before.entry_id == entry.id:
            return
        old = self._journal.get(before.entry_id)
        if old is not None and old.duplicate_of == entry.id:
            # It is no copy any more, but the recording itself.
            self.drop(old)
        elif old is not None and old.path == path:
            if old.state in DELIVERED and self._go_on_with_copy(old):
                return  # Its content still stands in a folder: newer content replaces none.
            self.give_up(old, State.VANISHED, "other content is in its place now")

    def lose(self, path: Path) -> None:
        """Forget what was at a path."""
        self._journal.lose_sight(path)
        self._seen.pop(str(path), None)

    def drop(self, entry: Entry) -> None:
        """Take an entry out of the journal that turned out to be known content."""
        self._journal.forget(entry.id)
        self._on_forget(entry)

    def forget(self, entry: Entry) -> None:
        """Take note that a recording is in no place any more; what is found there is news."""
        self._seen = {
            path: sighting for path, sighting in self._seen.items() if sighting.entry_id != entry.id
        }

    def give_up(self, entry: Entry, state: State, reason: str) -> None:
        """Go on with a copy of a recording whose source is lost to us, or bring it into a state.

        One that does not need its source any more, or cannot come into that state, stays as it is.
        """
        if entry.state not in NEEDS_SOURCE:
            return
        if self._go_on_with_copy(entry):
            if entry.state is State.VANISHED:
                reason = "its file is gone; a copy of it goes in its place"
                self._journal.move(entry.id, State.READY, reason)
        elif allowed(entry.state, state):
            self._journal.move(entry.id, state, reason)

    def _go_on_with_copy(self, entry: Entry) -> bool:
        """Let the first copy that stands in a folder be the recording; False for no copy."""
        for copy in self._journal.duplicates(entry.id):
            if self.in_place(copy):
                found = self.found[copy.path]
                self.lose(copy.path)
                self.drop(copy)
                self._journal.note(entry.id, path=copy.path)
                self.see(copy.path, entry, found)
                return True
        return False
