"""From what scans see to what is in the queue: new, growing, complete, changed, gone.

Enters recordings, waits on the monotonic clock until the completeness rules let them go, and
notices what has disappeared. Used from the loop's thread only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bridge.bags import ACTIVE_BAG_SUFFIX
from bridge.config import Settings
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import IN_WORK, PROVISIONAL, State
from bridge.daemon.watch.aside import Aside
from bridge.daemon.watch.completeness import Inspection, inspect
from bridge.daemon.watch.identify import Identifier
from bridge.daemon.watch.open_files import WriterCheck, writer_of
from bridge.daemon.watch.paths_seen import PathsSeen
from bridge.daemon.watch.scan import Found
from bridge.daemon.watch.watched_folder import WatchedFolder, watched_folder_of
from bridge.errors import (
    EmptyRecordingError,
    JournalError,
    RecordingError,
    RecordingVanishedError,
    UnreadableStorageError,
)

# So many new recordings are entered per scan, oldest first, so that no turn of the loop is long.
NEW_PER_SCAN_MAX = 2000
# So many recordings are looked into, or wait for it, at a time.
ASKED_MAX = 64
# Something must be missing in so many scans in a row before it counts as gone.
MISSING_SCANS = 2

# So long after a disk gave no bytes it is asked again.
UNREADABLE_AGAIN_S = 5.0


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
    """Keeps the journal in step with the watched folders.

    Args:
        journal: The journal.
        watched_folders: The watched folders.
        clock: Where the time comes from.
        check_writer: How to find out whether somebody writes.
        on_forget: Called for entries that turned out to be content known already.
    """

    def __init__(
        self,
        journal: Journal,
        watched_folders: Sequence[WatchedFolder],
        *,
        clock: Clock,
        check_writer: WriterCheck = writer_of,
        on_forget: Callable[[Entry], None] = lambda _entry: None,
    ) -> None:
        self._journal = journal
        self._watched_folders = tuple(watched_folders)
        self._clock = clock
        self._check_writer = check_writer
        self._paths_seen = PathsSeen(journal, on_forget=on_forget)
        self._identifier = Identifier(journal, self._paths_seen)
        self._missing: dict[Path, int] = {}
        self._candidates: dict[Path, Candidate] = {}
        self._unjudged: deque[Path] = deque()
        # What is being moved or deleted: half gone it would look like another recording.
        self._held: dict[object, frozenset[Path]] = {}
        self._aside: Aside[Path, Inspection] = Aside()
        # What was gone when it was opened, while a copy of it may be there.
        self._gone_at_opening: set[int] = set()
        # Whether another look at the same files can come to nothing new.
        self._at_rest = False
        # Whether a folder is still being looked at.
        self.pending = False
        # Whether what a folder's files say of what belongs together is still being read.
        self.unread = False
        self.more_to_enter = False
        self.next_verdict_s: float | None = None
        self._take_candidates()

    def settings_for(self, path: Path) -> Settings | None:
        """Give the settings as they hold where a path lies; None outside the watched folders."""
        watched = watched_folder_of(path, self._watched_folders)
        return None if watched is None else watched.settings

    def unchanged(self, entry: Entry) -> bool:
        """Say whether the files of a recording still look as they did when it was identified.

        Of what is being moved or deleted they do not, and of a folder whose disk does not answer
        nobody knows: asking it here would stop the loop.
        """
        watched = watched_folder_of(entry.path, self._watched_folders)
        if watched is not None and watched.pending:
            return False
        return not self._is_held(entry.path) and self._paths_seen.unchanged(entry)

    def hold(self, holder: object, paths: Iterable[Path]) -> None:
        """Conclude nothing about these paths until the same holder names others, or none."""
        self._held[holder] = frozenset(paths)
        self._at_rest = False

    def _is_held(self, path: Path) -> bool:
        return any(path in paths for paths in self._held.values())

    def found(self, entry: Entry) -> Found | None:
        """Give what the last scan saw of a recording."""
        return self._paths_seen.found.get(entry.path)

    def is_there(self, entry: Entry) -> bool:
        """Say whether the last scan saw a recording in its place; what nobody looked for, is."""
        watched = watched_folder_of(entry.path, self._watched_folders)
        if watched is not None and not watched.scans:
            return True
        return self._paths_seen.in_place(entry)

    def vanished(self, entry: Entry) -> None:
        """Take note that a recording was gone when it was opened; what is found there is news.

        It may be back already, and look as it did.
        """
        self._at_rest = False
        self._paths_seen.forget(entry)
        self._gone_at_opening.add(entry.id)

    def forget(self, entry: Entry) -> None:
        """Take note that a recording is not in the journal any more; it may be entered again."""
        self._at_rest = False
        self._paths_seen.forget(entry)
        self._candidates.pop(entry.path, None)

    def scan(self, closed: Iterable[Path]) -> None:
        """Look at the folders and take note of what is new, changed or gone.

        Of a folder that is not there or may not be read nothing is concluded.

        Args:
            closed: Files that a writer has closed since the last scan, by events.

        Raises:
            JournalError: The journal cannot be written; everything is looked at again then.
        """
        for watched in self._watched_folders:
            watched.scan()
        self.pending = any(watched.pending for watched in self._watched_folders)
        self.unread = any(watched.unread for watched in self._watched_folders)
        if self._at_rest and not any(watched.changed for watched in self._watched_folders):
            return
        found: dict[Path, Found] = {}
        for watched in self._watched_folders:
            found |= watched.found
        news = self._take_in(found)
        for path in closed:
            for candidate in (self._candidates.get(path), self._candidates.get(path.parent)):
                if candidate is not None:
                    candidate.closed.add(path)
        self._unjudged = deque(self._candidates)
        self.next_verdict_s = None
        self._at_rest = not news and not self._missing and not self._candidates

    def _take_in(self, found: dict[Path, Found]) -> list[Path]:
        """Enter what is new and miss what is not there; returns what is news."""
        news = sorted(
            (path for path in found if self._is_news(path, found[path])),
            key=lambda path: (found[path].modified_ns, path),
        )
        self.more_to_enter = len(news) > NEW_PER_SCAN_MAX
        self._paths_seen.look(found)
        try:
            with self._journal.transaction():
                for path in news[:NEW_PER_SCAN_MAX]:
                    self._enter(path, found[path])
                lost = [path for path in self._candidates if path not in found]
                for path in [*self._paths_seen.missing(), *lost]:
                    if not self._is_held(path):
                        self._miss(path)
                for entry in filter(None, map(self._journal.get, self._gone_at_opening)):
                    if entry.state is State.VANISHED:
                        self._paths_seen.give_up(entry, State.VANISHED, entry.reason)
        except JournalError:
            self._reload()
            raise
        self._gone_at_opening.clear()
        for path in self._missing.keys() & found.keys():
            del self._missing[path]
        return news

    def judge(self, *, budget_s: float) -> bool:
        """Apply the completeness rules to what waits for them, for a bounded time.

        Returns:
            Whether some still wait.

        Raises:
            JournalError: The journal cannot be written; everything is looked at again then.
        """
        end_s = self._clock.monotonic_s() + budget_s
        while self._unjudged or self._aside.pending:
            self._ask()
            answers = self._aside.answers(wait_s=budget_s)
            try:
                with self._journal.transaction():
                    for path, inspection in answers.items():
                        self._take(path, inspection)
            except JournalError:
                self._reload()
                raise
            if self._clock.monotonic_s() >= end_s:
                break
        return bool(self._unjudged or self._aside.pending)

    def _ask(self) -> None:
        """Have a bounded number of recordings looked into."""
        while self._unjudged and self._aside.pending < ASKED_MAX:
            path = self._unjudged.popleft()
            candidate = self._candidates.get(path)
            if candidate is not None and candidate.found is not None:
                self._inspect(path, candidate, candidate.found)

    # -- what is there ---------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take the journal's word for everything; waiting starts again."""
        self._aside.forget()
        self._paths_seen.reload()
        self._take_candidates()

    def _take_candidates(self) -> None:
        now_s = self._clock.monotonic_s()
        self._candidates = {
            entry.path: Candidate(entry=entry, found=None, changed_s=now_s)
            for entry in self._journal.recordings(states=PROVISIONAL)
        }
        self._gone_at_opening |= {one.id for one in self._journal.vanished_with_copies()}
        self._unjudged.clear()
        self._at_rest = False

    def _is_news(self, path: Path, found: Found) -> bool:
        if self._is_held(path):
            return False
        candidate = self._candidates.get(path)
        if candidate is not None:
            if candidate.found is None or candidate.found.signature != found.signature:
                candidate.changed_s = self._clock.monotonic_s()
                candidate.closed.clear()
            candidate.found = found
            return False
        sighting = self._paths_seen.at(path)
        return sighting is None or sighting.signature != found.signature

    def _enter(self, path: Path, found: Found) -> None:
        """Enter what is new, or looks other than when it was identified."""
        sighting = self._paths_seen.at(path)
        known = None if sighting is None else self._journal.get(sighting.entry_id)
        if known is not None and known.state in IN_WORK:
            # The worker notices by itself; a scan after it comes back here.
            return
        # Of what was disposed of nothing was here that could have changed: only its name came back.
        older = None if known is None or known.state is State.DISPOSED else known
        watched = watched_folder_of(path, self._watched_folders)
        assert watched is not None, "what was found is in a watched folder"
        split = found.recording.split
        entry = self._journal.discover(
            path,
            name=found.recording.name,
            size_bytes=found.size_bytes,
            modified_ns=found.modified_ns,
            priority=watched.priority(path),
            split_of="" if split is None else split.recording,
            split_index=None if split is None else split.index,
            supersedes=None if older is None else older.id,
        )
        self._candidates[path] = Candidate(
            entry=entry, found=found, changed_s=self._clock.monotonic_s()
        )

    def _miss(self, path: Path) -> None:
        """Take note that something was not seen; after some scans, that it is gone."""
        watched = watched_folder_of(path, self._watched_folders)
        if watched is not None and (watched.problem is not None or watched.pending):
            # Nobody could look, or has not yet.
            return
        left_out = _why_left_out(path, watched)
        self._missing[path] = self._missing.get(path, 0) + 1
        if self._missing[path] < MISSING_SCANS and not left_out:
            return
        state = State.IGNORED if left_out else State.VANISHED
        candidate = self._candidates.pop(path, None)
        if candidate is not None and path.name.endswith(ACTIVE_BAG_SUFFIX) and not left_out:
            # Its recorder has closed it, under the name that it has now.
            self._paths_seen.drop(candidate.entry)
        elif candidate is not None:
            reason = left_out or "disappeared before it was complete"
            self._journal.move(candidate.entry.id, state, reason)
        sighting = self._paths_seen.at(path)
        entry = None if sighting is None else self._journal.get(sighting.entry_id)
        if entry is not None and entry.state in IN_WORK:
            # Its files are open; whether it can be finished shows when the worker is done.
            return
        self._paths_seen.lose(path)
        if entry is not None and entry.path == path:
            self._paths_seen.give_up(entry, state, left_out or "disappeared before it was sent")
        del self._missing[path]

    # -- what is complete ------------------------------------------------------------------------

    def _inspect(self, path: Path, candidate: Candidate, found: Found) -> None:
        watched = watched_folder_of(path, self._watched_folders)
        if watched is None:
            return
        question = partial(
            inspect,
            found,
            quiet_s=self._clock.monotonic_s() - candidate.changed_s,
            watch=watched.settings.watch,
            check_writer=self._check_writer,
            closed=frozenset(candidate.closed),
        )
        self._aside.ask(path, question)

    def _take(self, path: Path, inspection: Inspection) -> None:
        """Draw the consequences of a look, if the recording still looks as it did then."""
        watched = watched_folder_of(path, self._watched_folders)
        candidate = self._candidates.get(path)
        if candidate is None or candidate.found is None or watched is None:
            return
        found, verdict = inspection.found, inspection.verdict
        if candidate.found.signature != inspection.asked.signature:
            # A scan has seen it change since.
            self._unjudged.append(path)
            return
        if found.signature != inspection.asked.signature:
            candidate.found, candidate.changed_s = found, self._clock.monotonic_s()
            candidate.closed.clear()
        if isinstance(inspection.error, RecordingVanishedError):
            return
        if isinstance(inspection.error, UnreadableStorageError):
            # The disk's trouble is not the recording's, however long it lasts.
            self._settle(candidate, inspection.error.message, UNREADABLE_AGAIN_S)
        elif inspection.error is not None:
            quiet_s = self._clock.monotonic_s() - candidate.changed_s
            wait_s = watched.settings.watch.stale_s - quiet_s
            self._refuse(path, candidate, found, inspection.error, wait_s)
        elif verdict is not None and not verdict.complete:
            self._settle(candidate, verdict.reason, verdict.wait_s)
        elif verdict is not None and inspection.content is not None:
            assert inspection.recording is not None
            del self._candidates[path]
            self._identifier.settle(
                inspection.recording,
                candidate.entry,
                content=inspection.content,
                found=found,
                watched=watched,
                reason=verdict.reason,
                salvage=verdict.salvage,
            )

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
        self, path: Path, candidate: Candidate, found: Found, error: RecordingError, wait_s: float
    ) -> None:
        """Wait for something that is no recording (yet) to become one, then give up on it."""
        if wait_s > 0:
            self._settle(candidate, error.message, wait_s)
            return
        empty = isinstance(error, EmptyRecordingError)
        self._journal.move(
            candidate.entry.id,
            State.EMPTY if empty else State.QUARANTINED,
            error.message,
            failure=Failure.of(error),
        )
        self._paths_seen.see(path, candidate.entry, found)
        del self._candidates[path]


def _why_left_out(path: Path, watched: WatchedFolder | None) -> str:
    """Say which setting excludes a path; empty where none does."""
    if watched is None:
        return "no watched folder holds it any more"
    return "the settings leave it out (watch.ignore, watch.recursive)" * watched.leaves_out(path)
