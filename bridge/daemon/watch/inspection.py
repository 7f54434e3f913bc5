"""One look into a recording: is it complete, and if so, what is it? Done beside the loop."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bridge.bags import Content, content_of, load_seen
from bridge.config import WatchSettings
from bridge.daemon.watch.completeness import Verdict, gather, judge
from bridge.daemon.watch.open_files import Writer, WriterCheck
from bridge.daemon.watch.scan import Found, look_at
from bridge.errors import RecordingError
from bridge.model import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came of a look.

    Attributes:
        found: How the recording looked from outside before it was opened.
        recording: The recording, opened; None where it is none.
        verdict: Whether it is complete; None where it is no recording.
        content: What it is, where it is complete and did not change while that was computed.
        error: Why it is no recording, or none yet.
    """

    found: Found
    recording: Recording | None = None
    verdict: Verdict | None = None
    content: Content | None = None
    error: RecordingError | None = None


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
    try:
        recording = load_seen(found.recording)
        facts = gather(recording, check=_or_closed(check_writer, closed))
        verdict = judge(facts, quiet_s=quiet_s, settle_s=watch.settle_s, stale_s=watch.stale_s)
        if not verdict.complete:
            return Inspection(found=found, recording=recording, verdict=verdict)
        content = content_of(recording)
    except RecordingError as error:
        return Inspection(found=found, error=error)
    current = look_at(found.recording)
    unchanged = current is not None and current.signature == found.signature
    return Inspection(
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
