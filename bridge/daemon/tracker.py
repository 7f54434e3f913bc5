"""From what scans see to what the journal holds: new, growing, complete, copied, moved, gone.

Owns everything between "there is something" and "it is in the queue": it enters recordings,
waits on the monotonic clock until the completeness rules let them go, identifies them by content,
and recognises content it knows under another path. Used from the loop's thread only.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.bags import fingerprint, load_recording
from bridge.config import WatchSettings
from bridge.daemon.clock import Clock
from bridge.daemon.completeness import Verdict, gather, judge
from bridge.daemon.entry import Entry, Failure, Sighting
from bridge.daemon.journal import Journal
from bridge.daemon.scan import Found, Scanner, look_at, place
from bridge.daemon.states import IN_WORK, State
from bridge.daemon.writers import Writer, WriterCheck, writer_of
from bridge.errors import EmptyRecordingError, JournalError, RecordingError, RecordingVanishedError
from bridge.model import Recording

# So many new recordings are entered per scan, oldest first, so that no turn of the loop is long.
NEW_PER_SCAN_MAX = 2000
# Something must be missing in so many scans in a row before it counts as gone.
MISSING_SCANS = 2

PROVISIONAL = frozenset({State.DISCOVERED, State.SETTLING})
ON_THE_PLATFORM = frozenset({State.FINALISED, State.PARTIAL})
# In these states a recording still needs its source.
NEEDS_SOURCE = frozenset({State.READY, State.WAITING, State.REJECTED})


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A recording that is not complete yet.

    Attributes:
        entry: What the journal has of it.
        found: What the last scan saw; None until there was one.
        changed_s: Since when it looks like that, monotonic.
        closed: Its files that a writer has closed since.
    """

    entry: Entry
    found: Found | None
    changed_s: float
    closed: set[Path] = field(default_factory=set)


class Tracker:
    """Keeps the journal in step with the folder.

    Args:
        journal: The journal.
        settings: What to watch and how long to wait.
        clock: Where the time comes from.
        check_writer: How to find out whether somebody writes.
        on_forget: Told of entries that turned out to be content known already.
    """

    def __init__(
        self,
        journal: Journal,
        settings: WatchSettings,
        *,
        clock: Clock,
        check_writer: WriterCheck = writer_of,
        on_forget: Callable[[Entry], None] = lambda _entry: None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._folder = settings.folder.absolute()
        self._scanner = Scanner(self._folder, recursive=settings.recursive, ignore=settings.ignore)
        self._clock = clock
        self._check_writer = check_writer
        self._on_forget = on_forget
        self._found: dict[Path, Found] = {}
        self._missing: dict[Path, int] = {}
        self._sightings: dict[Path, Sighting] = {}
        self._candidates: dict[Path, Candidate] = {}
        self._unjudged: deque[Path] = deque()
        self.more_to_enter = False
        self.next_verdict_s: float | None = None
        self._reload()

    def adopt(self, settings: WatchSettings) -> None:
        """Go by other settings from now on; folder and depth stay what they are."""
        if settings.ignore != self._settings.ignore:
            self._scanner = Scanner(
                settings.folder.absolute(), recursive=settings.recursive, ignore=settings.ignore
            )
        self._settings = settings

    def unchanged(self, entry: Entry) -> bool:
        """Tell whether the files of a recording still look as they did when it was identified."""
        seen = self._found.get(entry.path)
        sighting = self._sightings.get(entry.path)
        if seen is None or sighting is None or sighting.entry_id != entry.id:
            return False
        now = look_at(seen.recording)
        return now is not None and now.signature == sighting.signature

    def found(self, entry: Entry) -> Found | None:
        """Give what the last scan saw of a recording."""
        return self._found.get(entry.path)

    def forget(self, entry: Entry) -> None:
        """Take note that a recording is not in the journal any more; it may be entered again."""
        self._sightings = {
            path: sighting
            for path, sighting in self._sightings.items()
            if sighting.entry_id != entry.id
        }
        self._candidates.pop(entry.path, None)

    def scan(self, closed: set[Path]) -> int:
        """Look at the folder and take note of what is new, changed or gone.

        Args:
            closed: Files that a writer has closed since the last scan, by events.

        Returns:
            How many recordings are there.

        Raises:
            RecordingError: The folder is not there or may not be read; nothing is concluded then.
            JournalError: The journal cannot be written; everything is looked at again then.
        """
        found = self._scanner.scan()
        news = sorted(
            (path for path in found if self._is_news(path, found[path])),
            key=lambda path: (found[path].modified_ns, path),
        )
        self.more_to_enter = len(news) > NEW_PER_SCAN_MAX
        self._found = found
        try:
            with self._journal.transaction():
                for path in news[:NEW_PER_SCAN_MAX]:
                    self._enter(path, found[path])
                for path in [*self._sightings, *self._candidates]:
                    if path not in found:
                        self._miss(path)
        except JournalError:
            self._reload()
            raise
        for path in self._missing.keys() & found.keys():
            del self._missing[path]
        for path in closed:
            for candidate in (self._candidates.get(path), self._candidates.get(path.parent)):
                if candidate is not None:
                    candidate.closed.add(path)
        self._unjudged = deque(self._candidates)
        self.next_verdict_s = None
        return len(found)

    def judge(self, *, budget_s: float) -> bool:
        """Apply the completeness rules to what waits for them, for a bounded time.

        Returns:
            Whether some still wait.

        Raises:
            JournalError: The journal cannot be written; everything is looked at again then.
        """
        end_s = self._clock.monotonic_s() + budget_s
        try:
            with self._journal.transaction():
                while self._unjudged and self._clock.monotonic_s() < end_s:
                    path = self._unjudged.popleft()
                    candidate = self._candidates.get(path)
                    if candidate is not None and candidate.found is not None:
                        self._judge(path, candidate, candidate.found)
        except JournalError:
            self._reload()
            raise
        return bool(self._unjudged)

    # -- what is there ---------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take the journal's word for everything; waiting begins anew."""
        now_s = self._clock.monotonic_s()
        self._sightings = self._journal.sightings()
        self._candidates = {
            entry.path: Candidate(entry=entry, found=None, changed_s=now_s)
            for entry in self._journal.recordings(states=PROVISIONAL)
        }
        self._unjudged.clear()

    def _is_news(self, path: Path, found: Found) -> bool:
        candidate = self._candidates.get(path)
        if candidate is not None:
            if candidate.found is None or candidate.found.signature != found.signature:
                candidate.changed_s = self._clock.monotonic_s()
                candidate.closed.clear()
            candidate.found = found
            return False
        sighting = self._sightings.get(path)
        return sighting is None or sighting.signature != found.signature

    def _enter(self, path: Path, found: Found) -> None:
        """Enter what is new, or looks other than when it was identified."""
        sighting = self._sightings.get(path)
        if sighting is not None:
            known = self._journal.get(sighting.entry_id)
            if known is not None and known.state in IN_WORK:
                # The worker notices by itself; a scan after it comes back here.
                return
        entry = self._journal.discover(
            path,
            name=found.recording.name,
            size_bytes=found.size_bytes,
            modified_ns=found.modified_ns,
            priority=place(path.relative_to(self._folder), self._settings.first),
        )
        self._candidates[path] = Candidate(
            entry=entry, found=found, changed_s=self._clock.monotonic_s()
        )

    def _miss(self, path: Path) -> None:
        """Take note that something was not seen; after some scans, that it is gone."""
        self._missing[path] = self._missing.get(path, 0) + 1
        if self._missing[path] < MISSING_SCANS:
            return
        candidate = self._candidates.pop(path, None)
        if candidate is not None:
            self._journal.move(
                candidate.entry.id, State.VANISHED, "disappeared before it was complete"
            )
        sighting = self._sightings.get(path)
        entry = None if sighting is None else self._journal.get(sighting.entry_id)
        if entry is not None and entry.state in IN_WORK:
            # Its files are open; whether it can be finished shows when the worker is done.
            return
        self._lose_sight(path)
        if entry is not None and entry.path == path and entry.state in NEEDS_SOURCE:
            self._lose(entry, "disappeared before it was sent")
        del self._missing[path]

    def _stands(self, entry: Entry) -> bool:
        """Tell whether the last scan saw a recording where the journal has it, unchanged."""
        found = self._found.get(entry.path)
        sighting = self._sightings.get(entry.path)
        return found is not None and sighting == Sighting(
            entry_id=entry.id, signature=found.signature
        )

    def _lose(self, entry: Entry, reason: str) -> None:
        """Go on with a copy of a recording whose source is gone, or call it vanished."""
        for copy in self._journal.duplicates(entry.id):
            if self._stands(copy):
                self._lose_sight(copy.path)
                self._drop(copy)
                self._journal.note(entry.id, path=copy.path)
                self._sight(copy.path, entry, self._found[copy.path])
                return
        self._journal.move(entry.id, State.VANISHED, reason)

    # -- what is complete ------------------------------------------------------------------------

    def _judge(self, path: Path, candidate: Candidate, found: Found) -> None:
        now_s = self._clock.monotonic_s()
        current = look_at(found.recording)
        if current is None:
            return
        if current.signature != found.signature:
            candidate.found, candidate.changed_s = current, now_s
            candidate.closed.clear()
        quiet_s = now_s - candidate.changed_s

        def check(file: Path) -> Writer:
            writer = self._check_writer(file)
            closed = writer is Writer.UNKNOWN and file in candidate.closed
            return Writer.NOBODY if closed else writer

        try:
            recording = load_recording(path)
            facts = gather(recording, check=check)
            verdict = judge(
                facts,
                quiet_s=quiet_s,
                settle_s=self._settings.settle_s,
                stale_s=self._settings.stale_s,
            )
            if verdict.complete:
                self._identify(recording, candidate, current, verdict)
                return
            self._settle(candidate, verdict.reason, verdict.wait_s)
        except RecordingVanishedError:
            return
        except RecordingError as error:
            self._refuse(path, candidate, current, error, quiet_s)

    def _settle(self, candidate: Candidate, reason: str, wait_s: float | None) -> None:
        entry = candidate.entry
        if entry.state is State.DISCOVERED:
            candidate.entry = self._journal.move(entry.id, State.SETTLING, reason)
        elif entry.reason != reason:
            self._journal.note(entry.id, reason=reason)
            candidate.entry = self._journal.get(entry.id) or entry
        if wait_s is not None:
            due_s = self._clock.monotonic_s() + wait_s
            if self.next_verdict_s is None or due_s < self.next_verdict_s:
                self.next_verdict_s = due_s

    def _refuse(
        self, path: Path, candidate: Candidate, found: Found, error: RecordingError, quiet_s: float
    ) -> None:
        """Wait for something that is no recording (yet) to become one, then give up on it."""
        stale_s = self._settings.stale_s
        if quiet_s < stale_s:
            self._settle(candidate, error.message, stale_s - quiet_s)
            return
        empty = isinstance(error, EmptyRecordingError)
        self._journal.move(
            candidate.entry.id,
            State.EMPTY if empty else State.QUARANTINED,
            error.message,
            failure=Failure.of(error),
        )
        self._sight(path, candidate.entry, found)
        del self._candidates[path]

    def _identify(
        self, recording: Recording, candidate: Candidate, found: Found, verdict: Verdict
    ) -> None:
        """Bring a complete recording into the queue, unless its content is known."""
        path = recording.path
        content = fingerprint(recording)
        current = look_at(found.recording)
        if current is None or current.signature != found.signature:
            # It changed just now; the next look decides.
            return
        entry = candidate.entry
        known = self._journal.with_content(content)
        del self._candidates[path]
        if known is None and self._is_unwanted_change(entry):
            self._journal.move(
                entry.id, State.IGNORED, "it changed after it was sent", fingerprint=content
            )
            self._sight(path, entry, found)
        elif known is None:
            self._queue(path, entry, found, verdict, content)
        elif known.path == path or not self._stands(known):
            self._drop(entry)
            self._journal.note(known.id, path=path)
            self._sight(path, known, found)
            if known.state is State.VANISHED:
                self._journal.move(known.id, State.READY, "it is back")
            elif known.state is State.DISPOSED:
                self._journal.move(known.id, State.FINALISED, "it was put into the folder again")
        else:
            self._journal.move(
                entry.id,
                State.IGNORED,
                f"same content as {known.path}",
                fingerprint=content,
                duplicate_of=known.id,
            )
            self._sight(path, entry, found)

    def _is_unwanted_change(self, entry: Entry) -> bool:
        """Tell whether a recording took the place of one that is on the platform, unwelcome."""
        older = None if entry.supersedes is None else self._journal.get(entry.supersedes)
        if older is None or self._settings.on_change == "new":
            return False
        return older.path == entry.path and older.state in ON_THE_PLATFORM

    def _queue(
        self, path: Path, entry: Entry, found: Found, verdict: Verdict, content: str
    ) -> None:
        self._journal.move(
            entry.id,
            State.READY,
            verdict.reason,
            fingerprint=content,
            salvage=verdict.salvage,
            size_bytes=found.size_bytes,
            modified_ns=found.modified_ns,
        )
        self._sight(path, entry, found)

    # -- the journal and what is kept of it here -------------------------------------------------

    def _sight(self, path: Path, entry: Entry, found: Found) -> None:
        """Remember what stands at a path, and what does not stand there any more."""
        before = self._sightings.get(path)
        self._journal.sight(path, entry_id=entry.id, signature=found.signature)
        self._sightings[path] = Sighting(entry_id=entry.id, signature=found.signature)
        if before is None or before.entry_id == entry.id:
            return
        old = self._journal.get(before.entry_id)
        if old is not None and old.path == path and old.state in NEEDS_SOURCE:
            self._lose(old, "other content stands in its place now")

    def _lose_sight(self, path: Path) -> None:
        self._journal.lose_sight(path)
        self._sightings.pop(path, None)

    def _drop(self, entry: Entry) -> None:
        """Take an entry out of the journal that turned out to be known content."""
        self._journal.forget(entry.id)
        self._on_forget(entry)
