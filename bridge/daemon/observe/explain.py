"""Why a path is, or is not, taken: the completeness rule that fires, and the story so far."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.bags import load_recording, load_seen, load_split
from bridge.config import LiveSettings, Settings
from bridge.daemon.journal.clock import Clock, SystemClock
from bridge.daemon.journal.entry import Entry, Transition
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import IN_WORK, MEANING, QUEUED
from bridge.daemon.watch.completeness import FileFacts, Rule, Verdict, gather, judge
from bridge.daemon.watch.open_files import WriterCheck, writer_of
from bridge.daemon.watch.scan import look_at
from bridge.daemon.watch.watched_folder import WatchedFolder, watched_folder_of, watched_folders_of
from bridge.errors import JournalError, RecordingError
from bridge.facade import later
from bridge.model import Recording
from bridge.units import SECOND_NS

# Needed only for what is still to be sent.
uplink = later("bridge.daemon.uplink.uplink")

EXPLAIN_PATIENCE_S = 60.0
"""So long a person waits for a slow disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What can be said about a path.

    Attributes:
        path: The path.
        summary: One sentence for a person.
        watched: Whether the bridge looks at this path at all.
        verdict: Which completeness rule fires now; None where there is no recording. How long
            the files have been quiet is judged by their times here, by its own clock in the
            daemon.
        files: What was seen of each storage file.
        notes: What is odd about the files on disk.
        entry: What the journal has of it, or None.
        story: Its states so far, first step first.
    """

    path: Path
    summary: str
    watched: bool
    verdict: Verdict | None = None
    files: tuple[FileFacts, ...] = ()
    notes: tuple[str, ...] = ()
    entry: Entry | None = None
    story: tuple[Transition, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        verdict, entry = self.verdict, self.entry
        return {
            "path": str(self.path),
            "summary": self.summary,
            "watched": self.watched,
            "rule": None if verdict is None else str(verdict.rule),
            "complete": verdict is not None and verdict.complete,
            "reason": "" if verdict is None else verdict.reason,
            "files": [
                {"path": str(file.path), "end": str(file.end), "writer": str(file.writer)}
                for file in self.files
            ],
            "notes": list(self.notes),
            "state": None if entry is None else str(entry.state),
            "story": [
                {"at_ns": step.at_ns, "state": str(step.after), "reason": step.reason}
                for step in self.story
            ],
        }


def explain(
    path: Path,
    settings: Settings,
    *,
    clock: Clock | None = None,
    check_writer: WriterCheck = writer_of,
) -> Explanation:
    """Say why a path is, or is not, taken.

    Args:
        path: A recording, or anything else.
        settings: All settings.
        clock: Where the time comes from.
        check_writer: How to find out whether somebody writes.
    """
    path = path.absolute()
    clock = clock or SystemClock()
    entry, story, unread = _from_journal(path, settings.state.folder)
    watched = watched_folder_of(path, watched_folders_of(LiveSettings(settings)))
    seen = None if watched is None else _seen(path, watched)
    is_watched = seen is not None
    settings = settings if watched is None else watched.settings
    load = load_split if settings.ingest.unit == "split" else load_recording
    known = f"the journal says {entry.state}: {entry.reason}" if entry is not None else ""
    try:
        recording = load(path) if seen is None else load_seen(seen)
    except RecordingError as error:
        return Explanation(
            path=path,
            summary="; ".join(filter(None, (f"no recording: {error.message}", known))),
            watched=is_watched,
            notes=unread,
            entry=entry,
            story=story,
        )
    found = look_at(recording)
    facts = gather(recording, check=check_writer)
    modified_ns = 0 if found is None else found.modified_ns
    quiet_s = max(0.0, (clock.wall_ns() - modified_ns) / SECOND_NS)
    verdict = judge(
        facts,
        quiet_s=quiet_s,
        settle_s=settings.watch.settle_s,
        stale_s=settings.watch.stale_s,
    )
    return Explanation(
        path=path,
        summary=_split_named(recording)
        + _summary(verdict, entry, watched=is_watched, read=not unread)
        + _uplink_reason(entry, settings, clock),
        watched=is_watched,
        verdict=verdict,
        files=tuple(facts.files),
        notes=(*recording.notes, *unread),
        entry=entry,
        story=story,
    )


def _split_named(recording: Recording) -> str:
    """Say which part of what a recording is, where it is one."""
    split = recording.split
    if split is None:
        return ""
    number = "a split" if split.index is None else f"split {split.index}"
    return f"{number} of {split.recording}, a sequence of its own; "


def _summary(verdict: Verdict, entry: Entry | None, *, watched: bool, read: bool) -> str:
    complete = "complete" if verdict.complete else "not complete"
    parts = [f"{complete} ({verdict.rule}): {verdict.reason}"]
    if verdict.rule is not Rule.OPEN_FOR_WRITING and verdict.wait_s is not None:
        parts.append(f"looked at again in {verdict.wait_s:.0f} s")
    if not watched:
        parts.append("the bridge does not look here")
    elif entry is None:
        parts += ["the journal does not know it yet"] if read else []
    else:
        parts.append(f"the journal says {entry.state} ({MEANING[entry.state]}): {entry.reason}")
    return "; ".join(parts)


def _uplink_reason(entry: Entry | None, settings: Settings, clock: Clock) -> str:
    """Say why nothing may be sent now, of a recording that is still to be sent."""
    if entry is None or entry.state not in QUEUED | IN_WORK:
        return ""
    budgets = uplink.Uplink(LiveSettings(settings), folder=settings.state.folder, clock=clock)
    reason = budgets.status.reason
    return f"; {reason}" if reason else ""


def _from_journal(
    path: Path, folder: Path
) -> tuple[Entry | None, tuple[Transition, ...], tuple[str, ...]]:
    """Give what the journal knows of a path, and a note where there is none to be read."""
    try:
        with Journal.read(folder) as journal:
            entry = journal.at(path)
            return entry, () if entry is None else tuple(journal.transitions(entry.id)), ()
    except JournalError as error:
        return None, (), (f"what a bridge knows of it is not shown: {error.message}",)


def _seen(path: Path, watched: WatchedFolder) -> Recording | None:
    """Give what a scan finds at exactly this path; None where that is no recording."""
    watched.scan(patience_s=EXPLAIN_PATIENCE_S)
    found = watched.found.get(path)
    return None if found is None else found.recording
