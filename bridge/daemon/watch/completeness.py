"""Whether a recording is complete: one named rule decides, and says what it waits for.

The rules are applied in order; `docs/reliability.md` lists them. The facts are gathered from the
files here and now; the caller, which has the monotonic clock, says how long they have been quiet.
`inspect` does it all for one recording, and computes what it is when it is complete.
"""

import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bridge.bags import (
    COMPRESSION_SUFFIX,
    METADATA_FILE,
    SIDECAR_SUFFIXES,
    STORAGE_SUFFIXES,
    Content,
    End,
    content_of,
    end_of,
    is_split_of_ros1,
    is_storage_name,
    load_seen,
)
from bridge.config import WatchSettings
from bridge.daemon.watch.open_files import Writer, WriterCheck, writer_of
from bridge.daemon.watch.scan import Found, look_at
from bridge.errors import RecordingError, RecordingVanishedError, UnreadableStorageError
from bridge.model import Recording, Split


class Rule(StrEnum):
    """Why a recording counts as complete or not; the first that fits decides."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    OPEN_FOR_WRITING = "open-for-writing"
    STILL_ARRIVING = "still-arriving"
    NO_PROPER_END = "no-proper-end"
    SIDECAR_PRESENT = "sidecar-present"
    SPLITS_MISSING = "splits-missing"
    METADATA_MISSING = "metadata-missing"
    CUT_OFF = "cut-off"
    CLOSED = "closed"
    QUIET = "quiet"
    SETTLING = "settling"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What was seen of one storage file."""

    path: Path
    end: End
    writer: Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen of a recording.

    Attributes:
        files: Its storage files.
        arriving: Files in its folder with the temporary names of copying programs.
        missing: Storage files that belong to it and are not there, or are something else, and why.
        wants_metadata: Whether it is a rosbag2 folder whose metadata is not there (yet).
        may_grow: Whether it consists of splits of ROS 1, beside which others may appear.
        followed: Whether it is one split, and the recorder has gone on to a later one.
    """

    files: Sequence[FileFacts]
    arriving: Sequence[str]
    missing: Mapping[str, str]
    wants_metadata: bool
    may_grow: bool
    followed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a recording is complete.

    Attributes:
        rule: The rule that decided.
        complete: Whether it may be taken.
        salvage: Whether it is taken although something of it is missing.
        reason: The rule's finding, as a sentence.
        wait_s: Seconds until the answer can change without any change of the files; None when
            only a change, or the writer, can change it.
    """

    rule: Rule
    complete: bool
    salvage: bool = False
    reason: str
    wait_s: float | None = None


def gather(recording: Recording, *, check: WriterCheck = writer_of) -> Facts:
    """Look at the files of a recording.

    Args:
        recording: What is at the path now, with hints.
        check: How to find out whether somebody writes.
    """
    if recording.split is not None:
        return _gather_split(recording, recording.split, check)
    folder = is_folder(recording.path)
    return Facts(
        files=_look_at_files(recording, check),
        arriving=_arriving(recording.path) if folder else [],
        missing=recording.missing,
        wants_metadata=folder and not (recording.path / METADATA_FILE).is_file(),
        may_grow=any(is_split_of_ros1(file.path.name) for file in recording.files),
    )


def _gather_split(recording: Recording, split: Split, check: WriterCheck) -> Facts:
    """Look at one split; the rest of its recording does not concern it."""
    own = [name for name in _arriving(split.folder) if recording.path.name in name]
    twin = recording.path.name + COMPRESSION_SUFFIX
    if (split.folder / twin).is_file():
        own.append(twin)
    return Facts(
        files=_look_at_files(recording, check),
        arriving=own,
        missing={},
        wants_metadata=False,
        may_grow=False,
        followed=split.followed,
    )


def _look_at_files(recording: Recording, check: WriterCheck) -> list[FileFacts]:
    return [
        FileFacts(path=file.path, end=end_of(file), writer=check(file.path))
        for file in recording.files
    ]


def judge(facts: Facts, *, quiet_s: float, settle_s: float, stale_s: float) -> Verdict:
    """Decide whether a recording is complete.

    Args:
        facts: What was seen of it just now.
        quiet_s: For how long nothing of it has changed.
        settle_s: Quiet time that is enough where nothing is known of writers.
        stale_s: Quiet time after which a missing end will not come any more.
    """
    for finding in (_obstacle(facts), _lack(facts, quiet_s=quiet_s, stale_s=stale_s)):
        if finding is not None:
            return finding
    proven = all(file.writer is Writer.NOBODY for file in facts.files)
    if proven and not facts.may_grow:
        return Verdict(
            rule=Rule.CLOSED, complete=True, reason="every file has its end and nobody writes"
        )
    if facts.followed:
        return Verdict(
            rule=Rule.CLOSED,
            complete=True,
            reason="the split has its end, and a later one has been started",
        )
    if quiet_s >= settle_s:
        return Verdict(
            rule=Rule.QUIET,
            complete=True,
            reason=f"every file has its end and nothing has changed for {quiet_s:.0f} s",
        )
    why = "another split may follow" if proven else "it cannot be told whether somebody writes"
    return Verdict(
        rule=Rule.SETTLING,
        complete=False,
        reason=f"every file has its end; waiting until nothing has changed for {settle_s:.0f} s, "
        f"because {why}",
        wait_s=settle_s - quiet_s,
    )


def _obstacle(facts: Facts) -> Verdict | None:
    """Find what no amount of waiting changes."""
    for file in facts.files:
        if file.end is End.GONE:
            return Verdict(rule=Rule.GONE, complete=False, reason=f"{file.path.name} is gone")
        if file.end is End.UNREADABLE:
            return Verdict(
                rule=Rule.UNREADABLE,
                complete=False,
                reason=f"{file.path.name} cannot be opened; the bridge needs the right to read it",
            )
        if file.writer is Writer.SOMEBODY:
            return Verdict(
                rule=Rule.OPEN_FOR_WRITING,
                complete=False,
                reason=f"{file.path.name} is open for writing",
            )
    return None


def _lack(facts: Facts, *, quiet_s: float, stale_s: float) -> Verdict | None:
    """Find what may still come, or, after `stale_s` without any change, will not any more."""
    found = _first_lack(facts)
    if found is None:
        return None
    rule, reason = found
    if quiet_s < stale_s:
        return Verdict(
            rule=rule,
            complete=False,
            reason=f"{reason}; taken as it is once nothing has changed for {stale_s:.0f} s",
            wait_s=stale_s - quiet_s,
        )
    return Verdict(
        rule=Rule.CUT_OFF,
        complete=True,
        salvage=rule in {Rule.NO_PROPER_END, Rule.SIDECAR_PRESENT},
        reason=f"{reason}, and nothing has changed for {quiet_s:.0f} s",
    )


def _first_lack(facts: Facts) -> tuple[Rule, str] | None:
    if facts.arriving:
        return Rule.STILL_ARRIVING, f"{facts.arriving[0]} is being written"
    for file in facts.files:
        if file.end is End.SIDECAR:
            return Rule.SIDECAR_PRESENT, f"{file.path.name} has an open journal"
        if file.end in {End.MISSING, End.EMPTY}:
            return Rule.NO_PROPER_END, f"{file.path.name} has no proper end"
    for name, why in facts.missing.items():
        return Rule.SPLITS_MISSING, f"{name}: {why}"
    if facts.wants_metadata:
        return Rule.METADATA_MISSING, f"{METADATA_FILE} is not there"
    return None


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _arriving(folder: Path) -> list[str]:
    """List names that copying programs make out of a storage file's name while they copy it."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    return [
        name
        for name in names
        if any(suffix in name for suffix in STORAGE_SUFFIXES)
        and not name.endswith(SIDECAR_SUFFIXES)
        and not is_storage_name(name)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came of a look.

    Attributes:
        found: How the recording looked from outside right before it was opened.
        recording: The recording, opened; None where it is none.
        verdict: Whether it is complete; None where it is no recording.
        content: What it is, where it is complete and did not change while that was computed.
        error: Why it is no recording, or none yet.
        asked: How it looked when the question was asked.
    """

    asked: Found
    found: Found
    recording: Recording | None = None
    verdict: Verdict | None = None
    content: Content | None = None
    error: RecordingError | UnreadableStorageError | None = None


def inspect(
    found: Found,
    *,
    quiet_s: float,
    watch: WatchSettings,
    check_writer: WriterCheck,
    closed: Collection[Path],
) -> Inspection:
    """Look into a recording.

    Args:
        found: How it looks from outside.
        quiet_s: For how long it has looked so.
        watch: Settings of its folder.
        check_writer: How to find out whether somebody writes.
        closed: Its files that a writer has closed since it looks so.
    """
    asked, now = found, look_at(found.recording)
    if now is None:
        gone = RecordingVanishedError("the file is gone", path=found.recording.path)
        return Inspection(asked=asked, found=found, error=gone)
    if now.signature != asked.signature:
        found, quiet_s, closed = now, 0.0, ()
    try:
        recording = load_seen(found.recording)
        facts = gather(recording, check=_or_closed(check_writer, closed))
        verdict = judge(facts, quiet_s=quiet_s, settle_s=watch.settle_s, stale_s=watch.stale_s)
        if not verdict.complete:
            return Inspection(asked=asked, found=found, recording=recording, verdict=verdict)
        content = content_of(recording)
    except (RecordingError, UnreadableStorageError) as error:
        return Inspection(asked=asked, found=found, error=error)
    except OSError as error:
        unreadable = UnreadableStorageError(
            f"the storage cannot be read now: {error.strerror}", path=found.recording.path
        )
        return Inspection(asked=asked, found=found, error=unreadable)
    current = look_at(found.recording)
    unchanged = current is not None and current.signature == found.signature
    return Inspection(
        asked=asked,
        found=found,
        recording=recording,
        verdict=verdict,
        content=content if unchanged else None,
    )


def _or_closed(check_writer: WriterCheck, closed: Collection[Path]) -> Callable[[Path], Writer]:
    def check(file: Path) -> Writer:
        writer = check_writer(file)
        return Writer.NOBODY if writer is Writer.UNKNOWN and file in closed else writer

    return check
