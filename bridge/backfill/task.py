"""The unit of work: one recording is copied, sent by a worker process, and its copy removed.

It may be done twice, or on two machines at once: the parts and the name of the sequence decide on
the platform, so that one sequence is there at the end. It needs nothing but itself, so that any
engine can carry it.
"""

import itertools
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bridge.backfill.archive import ArchivedRecording
from bridge.backfill.child import JobEnd, child_of_this_thread
from bridge.backfill.machine import SharedGate, upload_slot
from bridge.backfill.scratch import (
    COPIES_FOLDER,
    StoppedError,
    copy,
    needed_bytes,
    pause,
    room,
    unusable,
)
from bridge.backfill.store import open_store
from bridge.client import MosaicoClient
from bridge.compose import connect
from bridge.config import BackfillSettings, DisposalSettings, Settings
from bridge.daemon import (
    BUSY_ELSEWHERE,
    NO_ROOM,
    VANISHED,
    Entry,
    Failed,
    Failure,
    Job,
    JobKind,
    Pause,
    State,
    after_failure,
    backoff_s,
    dated,
)
from bridge.errors import (
    SHUT_OUT,
    BridgeError,
    RefusedError,
    ScratchSpaceError,
    Trouble,
    UnreadableStorageError,
)
from bridge.ingest import IngestReport, Sender, marks_of
from bridge.model import Recording

INSTANCE = "backfill"
"""What backfills call themselves on the platform, all alike, so that one can take up another's."""

SCRATCH_FOLDER = "backfill"
BUSY_LOOK_S = 5.0
TOGETHER = frozenset({"TransientError", "PlatformBusyError", "DatabaseAwayError"})
"""Names of failures after which everybody waits, beside those that say that nobody answers."""


class Result(StrEnum):
    """What became of a recording."""

    SENT = "sent"
    HELD = "held"
    PARTIAL = "partial"
    EMPTY = "empty"
    FAILED = "failed"
    WAITS = "waits"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a recording, in plain values that travel.

    Attributes:
        url: The recording.
        result: What became of it.
        reason: Why, where that needs one; a sentence.
        report: The report of its ingest; None where there is none.
        failure: The last failure, likewise.
        seconds: How long it took, waiting included.
        copied_bytes: How much was copied.
    """

    url: str
    result: Result
    reason: str = ""
    report: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    seconds: float = 0.0
    copied_bytes: int = 0

    @property
    def trouble(self) -> Trouble | None:
        """The kind of what went wrong; None where nothing did."""
        return None if self.failure is None else Trouble(self.failure["trouble"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One recording to be put onto the platform; can be pickled.

    Attributes:
        recording: What it is and where.
        fingerprint: Identity of its content.
        parts: Identities of its parts.
        marks: The store's mark of each file when these were taken.
        settings: All settings; they hold secrets, and show none when printed.
        host: Where the platform is.
        port: Its port.
    """

    recording: ArchivedRecording
    fingerprint: str
    parts: tuple[str, ...]
    marks: tuple[str, ...]
    settings: Settings
    host: str
    port: int


class Watch:
    """Follows tasks of this process; used from several threads.

    Attributes:
        stopped: Set to stop them; their worker processes are killed.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._guard = threading.Lock()
        self._read_bytes = 0

    @property
    def read_bytes(self) -> int:
        """Bytes of recordings that were read to be sent; what is read again counts again."""
        return self._read_bytes

    def read(self, size_bytes: int) -> None:
        """Take note of bytes that were read."""
        with self._guard:
            self._read_bytes += size_bytes


def scratch_of(settings: Settings) -> Path:
    """Give the scratch folder that all jobs of a machine share."""
    told = settings.backfill.scratch_folder
    return (told or settings.state.folder / SCRATCH_FOLDER).absolute()


def perform(task: Task, watch: Watch | None = None) -> Outcome:
    """Put one recording onto the platform, with all attempts that the settings allow.

    May be called in any thread or process, on any machine that reaches archive and platform, and
    more than once. Never raises for what is wrong with recording, archive or platform.

    Args:
        task: The recording.
        watch: Follows it, within this process.
    """
    started_s = time.monotonic()
    attempts = _Attempts(task, watch or Watch())
    try:
        outcome = attempts.run()
    except StoppedError:
        outcome = Outcome(url=task.recording.url, result=Result.NOT_TRIED, reason="stopped")
    except BridgeError as error:
        outcome = failed(task.recording.url, Failure.of(error))
    except OSError as error:
        outcome = failed(task.recording.url, Failure.of(unusable(attempts.scratch, error)))
    seconds = time.monotonic() - started_s
    return replace(outcome, seconds=seconds, copied_bytes=attempts.copied_bytes)


def failed(url: str, failure: Failure) -> Outcome:
    """Give the outcome of what failed: by the recording's own fault, or for now."""
    result = Result.FAILED
    if failure.error == "EmptyRecordingError":
        result = Result.EMPTY
    elif failure.error in {"RecordingChangedError", VANISHED, BUSY_ELSEWHERE}:
        result = Result.WAITS
    return Outcome(url=url, result=result, reason=failure.message, failure=failure.as_json())


class _Attempts:
    """All attempts at one recording; owned by the thread that makes them."""

    def __init__(self, task: Task, watch: Watch) -> None:
        self.task = task
        self.watch = watch
        self.settings = task.settings
        self.scratch = scratch_of(task.settings)
        archive = task.settings.backfill
        self.gate = SharedGate(self.scratch, task.settings.retry, offline_s=archive.offline_s)
        self.entry = _entry_of(task)
        self.upload: Any = None
        self.copied_bytes = 0
        self.unreadable = 0

    def run(self) -> Outcome:
        needed = needed_bytes(self.task.recording)
        for tries in itertools.count(1):
            trouble: BridgeError = ScratchSpaceError(
                "the scratch space was lost during a job",
                folder=self.scratch,
                needed_bytes=needed,
                hint="does something else clean it up?",
            )
            with room(
                self.scratch,
                wanted_bytes=needed,
                bytes_max=self.settings.backfill.scratch_bytes_max,
                stopped=self.watch.stopped,
            ) as folder:
                try:
                    seen = self._copied(folder)
                    outcome = self._tried(seen, folder)
                    if outcome is not None:
                        return outcome
                except ScratchSpaceError:
                    if folder.exists():
                        raise
                except UnreadableStorageError as error:
                    trouble = error
            if tries >= self.settings.retry.attempts_max:
                raise trouble
            pause(backoff_s(tries, self.settings.retry, noise=0.0), self.watch.stopped)
        raise AssertionError("it counts without end")

    def _copied(self, folder: Path) -> Recording:
        recording = self.task.recording
        if recording.is_local:
            return recording.recording
        store = open_store(recording.archive, self.settings.backfill)
        return copy(
            recording,
            store,
            folder,
            marks=self.task.marks,
            moved=self._moved,
            stopped=self.watch.stopped,
        )

    def _moved(self, size_bytes: int) -> None:
        self.copied_bytes += size_bytes

    def _tried(self, seen: Recording, folder: Path) -> Outcome | None:
        """Try until it is decided; None where the copy was lost."""
        while True:
            self.gate.wait(self._probe, stopped=self.watch.stopped)
            with upload_slot(
                self.scratch,
                count=self.settings.backfill.uploads_max,
                stopped=self.watch.stopped,
            ):
                end = self._attempt(seen, folder)
            self.upload = end.upload
            if not isinstance(end.outcome, Failed):
                self.gate.proven()
                assert end.outcome.report is not None
                return self._arrived(end.outcome.report, folder)
            failure = self._named(end.outcome.failure, folder)
            failure = dated(self.entry, failure, time.time_ns())
            if not self.task.recording.is_local and not _is_there(seen):
                return None
            if failure.error == BUSY_ELSEWHERE:
                if not self._waited_for_other(failure):
                    return failed(self.task.recording.url, failure)
                continue
            if (outcome := self._after(failure, end)) is not None:
                return outcome

    def _arrived(self, report: IngestReport, folder: Path) -> Outcome:
        url = self.task.recording.url
        reason = self._renamed("; ".join(report.shortfalls), folder)
        plain = {**report.as_json(), "recording": url}
        if not report.complete:
            return Outcome(url=url, result=Result.PARTIAL, reason=reason, report=plain)
        result = Result.HELD if report.already_there else Result.SENT
        return Outcome(url=url, result=result, report=plain)

    def _named(self, failure: Failure, folder: Path) -> Failure:
        """Name what a person knows in a failure, instead of the copy of it."""
        return replace(
            failure,
            message=self._renamed(failure.message, folder),
            hint=self._renamed(failure.hint, folder),
            facts={name: self._renamed(text, folder) for name, text in failure.facts.items()},
        )

    def _renamed(self, text: str, folder: Path) -> str:
        above = self.task.recording.url.rpartition("/")[0]
        return text.replace(str(folder / COPIES_FOLDER), above)

    def _after(self, failure: Failure, end: JobEnd) -> Outcome | None:
        """Decide as the daemon does how to go on; None to try again, at once."""
        retry = self.settings.retry
        self.unreadable += failure.error == "UnreadableStorageError"
        decision = after_failure(
            self.entry,
            failure,
            retry,
            began=end.began,
            got_on=end.got_on,
            unreadable=self.unreadable,
            now_ns=time.time_ns(),
        )
        attempts = decision.attempts + (failure.error in NO_ROOM)
        self.entry = replace(
            self.entry,
            attempts=attempts,
            interruptions=decision.interruptions,
            deaths=decision.deaths,
            failure=failure,
        )
        if decision.pause is Pause.OFFLINE or failure.error in TOGETHER:
            self.gate.closed_by(failure)
        goes_on = decision.state in {State.READY, State.WAITING} and attempts < retry.attempts_max
        if decision.pause is Pause.REFUSED or not goes_on or failure.error == VANISHED:
            self._clear(failure)
            return failed(self.task.recording.url, replace(failure, message=decision.reason))
        if decision.retry_in_s is not None:
            pause(decision.retry_in_s, self.watch.stopped)
        return None

    def _attempt(self, seen: Recording, folder: Path) -> JobEnd:
        entry = self.entry
        tries = entry.attempts + entry.deaths + 1
        job = self._job(
            JobKind.INGEST,
            folder,
            seen=seen,
            attempt=tries,
            final=entry.attempts + 1 >= self.settings.retry.attempts_max,
        )
        return self._done(job, share=self._share())

    def _clear(self, failure: Failure) -> None:
        """Do to what was left on the platform what the policy says; not where nobody answers."""
        if self.upload is None or failure.trouble in SHUT_OUT:
            return
        job = self._job(JobKind.CLEAR, self.scratch, reason=failure.message)
        self._done(job, share=None)

    def _done(self, job: Job, *, share: int | None) -> JobEnd:
        child = child_of_this_thread()
        return child.run(job, share=share, stopped=self.watch.stopped, read=self.watch.read)

    def _job(self, kind: JobKind, folder: Path, **more: Any) -> Job:
        recording = self.task.recording
        settings = self.settings
        watched = recording.root if recording.is_local else folder / COPIES_FOLDER
        return Job(
            kind=kind,
            settings=settings.model_copy(
                update={
                    "watch": settings.watch.model_copy(update={"folder": watched}),
                    "state": settings.state.model_copy(update={"folder": folder / "state"}),
                    # Not its business, and secrets among it.
                    "backfill": BackfillSettings(),
                    "disposal": DisposalSettings(),
                    "folders": {},
                }
            ),
            host=self.task.host,
            port=self.task.port,
            instance_id=INSTANCE,
            path=Path(recording.url),
            fingerprint=self.task.fingerprint,
            parts=self.task.parts,
            upload=self.upload,
            **more,
        )

    def _share(self) -> int | None:
        most = self.settings.uplink.bytes_per_second_max
        if isinstance(most, str) or not most:
            return None
        return max(1, most // self.settings.backfill.uploads_max)

    def _probe(self) -> None:
        with self._platform():
            pass

    def _platform(self) -> MosaicoClient:
        return connect(self.settings, self.task.host, self.task.port)

    def _waited_for_other(self, failure: Failure) -> bool:
        """Wait for another job that sends the same, and take over what it left behind.

        Returns:
            Whether it is worth another try; False where it is a bridge that sends.
        """
        name = failure.facts.get("resource", "")
        takeover_s = self.settings.backfill.takeover_s
        looks, since_s = None, time.monotonic()
        while True:
            with self._platform() as client:
                handler = client.sequence_handler(name)
                if handler is None or handler.is_locked:
                    return True
                marks = marks_of(handler)
                if marks.get("instance") != INSTANCE:
                    return False
                sender = Sender.of(marks)
                if sender is not None and sender.left(journalled=False):
                    # It has ended since it was seen at work.
                    return True
                now = (
                    handler.created_timestamp,
                    [
                        (topic.locator, topic.locked, topic.chunks, topic.size_bytes)
                        for topic in handler.topic_facts.values()
                    ],
                )
                if now != looks:
                    looks, since_s = now, time.monotonic()
                elif time.monotonic() - since_s >= takeover_s:
                    with suppress(RefusedError):
                        client.sequence_delete(name)
                        return True
                    return False
            pause(min(BUSY_LOOK_S, takeover_s / 4), self.watch.stopped)


def _is_there(seen: Recording) -> bool:
    """Say whether a copy is as it was made."""
    try:
        return all(file.path.stat().st_size == file.size_bytes for file in seen.files)
    except OSError:
        return False


def _entry_of(task: Task) -> Entry:
    """Give a recording as the daemon's rules for failures want it."""
    now_ns = time.time_ns()
    recording = task.recording
    return Entry(
        id=0,
        fingerprint=task.fingerprint,
        path=Path(recording.url),
        name=recording.recording.name,
        state=State.SENDING,
        reason="",
        size_bytes=recording.size_bytes,
        modified_ns=recording.modified_ns,
        discovered_ns=now_ns,
        changed_ns=now_ns,
        attempts=0,
        interruptions=0,
        deaths=0,
        due_ns=0,
        salvage=False,
        sequence="",
        verification="",
        messages_sent=0,
        failure=None,
        supersedes=None,
        duplicate_of=None,
    )
