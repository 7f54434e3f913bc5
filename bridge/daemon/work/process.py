"""The daemon's side of one worker process: start it, give it a job, hear it, kill it.

Nothing here blocks: the loop waits on `fileno()` with all other workers and calls `hear()`.
Each worker is used from the loop's thread only.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bridge.daemon.events.events import Progress
from bridge.daemon.events.status import TopicProgress, WorkerProgress
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry
from bridge.daemon.work.memory import ENVIRONMENT
from bridge.daemon.work.pipe import (
    LINE_BYTES_MAX,
    Failed,
    Job,
    Message,
    Progressed,
    Ready,
    Share,
    Started,
    Succeeded,
    UploadChanged,
    decode,
)
from bridge.ingest import OpenUpload, got_on

READ_BYTES = 1 << 20
# Less than this is the chatter of a process that waits.
READING_BYTES = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Not `-m`, so that the module is imported once, under its own name.
WORKER_COMMAND = (
    sys.executable,
    "-c",
    "from bridge.daemon.work.job import main; main()",
)


@dataclass(slots=True, kw_only=True)
class Assignment:
    """What a worker is working on; owned by the loop's thread.

    Attributes:
        job: The job it was given.
        entry: The recording as the journal had it then; None for a probe.
        started_ns: When, wall clock.
        progress_s: Its last sign of progress, monotonic.
        progress_cpu_s: The processor time it had used then.
        progress_read_bytes: What it had read by then.
        began: Whether the ingest has reached the platform.
        sequence: Its name on the platform, once begun.
        recorded_bytes: Size of the files, once begun.
        messages_recorded: What the container claims, once begun.
        recorded_bytes_read: How much was read so far.
        topics: What was sent so far.
        upload: What the next attempt needs to take this one up, once it is about to send.
        remains_of: The recording whose remains are cleared, by its number; else None.
        outcome: How the job ended, until that is in the journal.
    """

    job: Job
    entry: Entry | None
    started_ns: int
    progress_s: float
    progress_cpu_s: float = 0.0
    progress_read_bytes: int = 0
    began: bool = False
    sequence: str = ""
    recorded_bytes: int = 0
    messages_recorded: int | None = None
    recorded_bytes_read: int = 0
    topics: dict[str, TopicProgress] = field(default_factory=dict)
    upload: OpenUpload | None = None
    remains_of: int | None = None
    outcome: Succeeded | Failed | None = None

    @property
    def got_on(self) -> bool:
        """Whether topics became whole that were not before."""
        return got_on(self.job.upload, self.upload)

    def add(self, progress: Progress) -> None:
        """Add differences up."""
        self.recorded_bytes_read += progress.recorded_bytes
        for topic in progress.read.keys() | progress.messages.keys():
            before = self.topics.get(topic, TopicProgress())
            self.topics[topic] = TopicProgress(
                read=before.read + progress.read.get(topic, 0),
                messages=before.messages + progress.messages.get(topic, 0),
                arrow_bytes=before.arrow_bytes + progress.arrow_bytes.get(topic, 0),
                batches=before.batches + progress.batches.get(topic, 0),
            )


class Worker:
    """One worker process; a context manager that kills it.

    Args:
        number: Its number, for people.
        clock: Where the time comes from.
        lock: A file to leave open in it: the journal's lock, so that no other daemon starts
            while this worker lives. None for none.
        command: The process to run, without the parent's pid.
    """

    def __init__(
        self,
        number: int,
        *,
        clock: Clock,
        lock: int | None,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.number = number
        self.ready = False
        self.assignment: Assignment | None = None
        self.jobs_done = 0
        self._share: int | None = None
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._pending = bytearray()
        # Ctrl-C reaches the whole group. A worker ignores it, but until Python is as far as that it
        # would end with a traceback on the terminal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=() if lock is None else (lock,),
                close_fds=True,
                env={**ENVIRONMENT, **os.environ},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._down = self._process.stdin
        self._up = self._process.stdout
        os.set_blocking(self._up.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether it could take a job now."""
        return self.ready and self.assignment is None

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return self._clock.monotonic_s() - self._started_s

    def fileno(self) -> int:
        """Give the file that becomes readable when it says something or dies."""
        return self._up.fileno()

    def assign(
        self, job: Job, *, entry: Entry | None = None, remains_of: int | None = None
    ) -> None:
        """Give it something to do.

        Raises:
            OSError: It is dead.
        """
        assert self.idle, "a worker does one job at a time"
        now_s = self._clock.monotonic_s()
        self._down.write(job.encoded())
        self._down.flush()
        self.assignment = Assignment(
            job=job,
            entry=entry,
            remains_of=remains_of,
            started_ns=self._clock.wall_ns(),
            progress_s=now_s,
        )
        self._note_progress(self.assignment)

    def share(self, bytes_per_second: int | None) -> None:
        """Send it how much it may send from now on, if that is another amount than before.

        Args:
            bytes_per_second: The most; 0 for nothing, None without limit.
        """
        if bytes_per_second == self._share:
            return
        self._share = bytes_per_second
        # One that is dead does not send; that it is, is heard elsewhere.
        with contextlib.suppress(OSError):
            self._down.write(Share(bytes_per_second=bytes_per_second).encoded())
            self._down.flush()

    def release(self) -> None:
        """Take note that its job has ended."""
        self.assignment = None
        self.jobs_done += 1

    def hear(self) -> Iterator[Message]:
        """Yield what it has said since the last call.

        Raises:
            EOFError: It has ended, or says what no worker would; kill it then.
        """
        while True:
            try:
                some = os.read(self._up.fileno(), READ_BYTES)
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            if not some:
                raise EOFError("the worker has ended")
            self._pending += some
            yield from self._lines()

    def _lines(self) -> Iterator[Message]:
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        if len(rest) > LINE_BYTES_MAX:
            raise EOFError("the worker talks without end")
        for line in lines:
            try:
                message = decode(line)
            except (ValueError, KeyError, TypeError) as error:
                raise EOFError(f"the worker says what no worker would: {line[:80]!r}") from error
            self._note(message)
            yield message

    def _note(self, message: Message) -> None:
        if isinstance(message, Ready):
            self.ready = True
        assignment = self.assignment
        if assignment is None:
            return
        self._note_progress(assignment)
        if isinstance(message, Started):
            assignment.began = True
            assignment.sequence = message.sequence
            assignment.recorded_bytes = message.size_bytes
            # What was read before was looked at for damage, and is read again now.
            assignment.recorded_bytes_read = 0
            assignment.messages_recorded = message.message_count
        elif isinstance(message, Progressed):
            assignment.add(message.progress)
        elif isinstance(message, UploadChanged):
            assignment.upload = message.upload
        elif isinstance(message, Succeeded | Failed):
            assignment.outcome = message

    def _note_progress(self, assignment: Assignment) -> None:
        assignment.progress_s = self._clock.monotonic_s()
        assignment.progress_cpu_s = self.cpu_s()
        assignment.progress_read_bytes = self._read_bytes()

    def idle_s(self) -> float:
        """Give the seconds since its last sign of progress; reading a lot is one, too."""
        assignment = self.assignment
        if assignment is None:
            return 0.0
        if self._read_bytes() - assignment.progress_read_bytes >= READING_BYTES:
            self._note_progress(assignment)
        return self._clock.monotonic_s() - assignment.progress_s

    def kill(self) -> int:
        """End the process at once and give up its pipes; idempotent.

        Returns:
            How it ended: its exit code, or minus the signal.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        for pipe in (self._down, self._up):
            with contextlib.suppress(OSError):
                pipe.close()
        return code

    def memory_bytes(self) -> int:
        """Give its resident memory; 0 once it is gone."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * PAGE_BYTES

    def cpu_s(self) -> float:
        """Give the processor time it has used; 0 once it is gone."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return 0.0
        # The command's name, in brackets, may hold anything; utime and stime are 14 and 15.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S

    def _read_bytes(self) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/io").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line[6:]) for line in lines if line.startswith("rchar:")), 0)

    def progress(self) -> WorkerProgress | None:
        """Return its progress; None while it does nothing for a recording."""
        assignment = self.assignment
        if assignment is None or assignment.entry is None:
            return None
        topics = dict(assignment.topics)
        return WorkerProgress(
            worker=self.number,
            pid=self.pid,
            entry_id=assignment.entry.id,
            path=assignment.entry.path,
            sequence=assignment.sequence,
            attempt=assignment.job.attempt,
            started_ns=assignment.started_ns,
            recorded_bytes=assignment.recorded_bytes or assignment.entry.size_bytes,
            recorded_bytes_read=assignment.recorded_bytes_read,
            messages_recorded=assignment.messages_recorded,
            messages_sent=sum(topic.messages for topic in topics.values()),
            arrow_bytes=sum(topic.arrow_bytes for topic in topics.values()),
            memory_bytes=self.memory_bytes(),
            idle_s=self._clock.monotonic_s() - assignment.progress_s,
            topics=topics,
        )


def ending(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
