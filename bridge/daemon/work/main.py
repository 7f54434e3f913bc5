"""The worker's side: load everything, wait for jobs, do them one after another, report.

A worker dies with its daemon whatever happens: the kernel kills it when the daemon's loop thread
is gone (PR_SET_PDEATHSIG), and it ends itself at the end of its standard input. It ends by
`os._exit`, never by unwinding, because an upload stream that unwinds looks to the platform like
one that ended well.
"""

import ctypes
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import BinaryIO

from bridge.client import UplinkShare, Wire
from bridge.daemon.events.events import Progress
from bridge.daemon.journal.entry import Failure
from bridge.daemon.work.memory import (
    give_back_freed_memory,
    keep_freed_memory,
    leave_pandas_out,
    reserve_memory,
    use_small_stacks,
)
from bridge.daemon.work.outcome import OUT_OF_MEMORY, more_memory
from bridge.daemon.work.pipe import (
    Failed,
    Job,
    JobKind,
    Message,
    Progressed,
    Ready,
    Share,
    StageFinished,
    Started,
    Succeeded,
    TopicPlanned,
    UploadChanged,
    WireMoved,
    encode,
)
from bridge.errors import BridgeError, Trouble, UnreadableStorageError
from bridge.files import require_readable
from bridge.ingest import (
    ENTRY_POINT_GROUP,
    IngestEvents,
    IngestReport,
    OpenUpload,
    TopicReport,
)

Probe = Callable[[Job], None]

PR_SET_PDEATHSIG = 1
REPORT_INTERVAL_S = 0.1
NICENESS = 5


class PipeEvents(IngestEvents):
    """Sends what an ingest reports up the pipe, numbers at most ten times a second."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._sent_at_s = 0.0
        self._recorded_bytes = 0
        self._read: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()
        self._arrow_bytes: Counter[str] = Counter()
        self._batches: Counter[str] = Counter()
        self._skipped: Counter[tuple[str, str]] = Counter()

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Send at once."""
        del recording
        self._send(Started(sequence=sequence, size_bytes=size_bytes, message_count=message_count))

    def topic_planned(self, *, topic: TopicReport) -> None:
        """Send at once."""
        self._send(TopicPlanned(topic=topic))

    def read(self, *, recorded_bytes: int) -> None:
        """Add up."""
        self._recorded_bytes += recorded_bytes
        self._flush_if_due()

    def messages_read(self, *, topic: str, messages: int) -> None:
        """Add up."""
        self._read[topic] += messages
        self._flush_if_due()

    def batch_sent(self, *, topic: str, messages: int, arrow_bytes: int) -> None:
        """Add up."""
        self._messages[topic] += messages
        self._arrow_bytes[topic] += arrow_bytes
        self._batches[topic] += 1
        self._flush_if_due()

    def skipped(self, *, topic: str, reason: str, messages: int) -> None:
        """Add up."""
        self._skipped[topic, reason] += messages
        self._flush_if_due()

    def wire_moved(self, moved: Wire, held: bool) -> None:  # noqa: FBT001 - a pacer's callback
        """Send at once; also that nothing moves because nothing may, which is no standstill."""
        del held
        self._send(WireMoved(sent_bytes=moved.sent, received_bytes=moved.received))

    def upload_changed(self, *, upload: OpenUpload) -> None:
        """Send at once: the daemon keeps it for the next attempt."""
        self._send(UploadChanged(upload=upload))

    def stage_finished(self, *, stage: str, seconds: float) -> None:
        """Send at once, after the numbers."""
        self.flush()
        self._send(StageFinished(stage=stage, seconds=seconds))

    def finished(self, *, report: IngestReport) -> None:
        """Send the last numbers; the report itself follows as the job's end."""
        del report
        self.flush()

    def flush(self) -> None:
        """Send the numbers added up so far."""
        self._sent_at_s = time.monotonic()
        progress = Progress(
            recorded_bytes=self._recorded_bytes,
            read=dict(self._read),
            messages=dict(self._messages),
            arrow_bytes=dict(self._arrow_bytes),
            batches=dict(self._batches),
            skipped=dict(self._skipped),
        )
        if progress == Progress():
            return
        self._send(Progressed(progress=progress))
        self._recorded_bytes = 0
        for counter in (self._read, self._messages, self._arrow_bytes, self._batches):
            counter.clear()
        self._skipped.clear()

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._sent_at_s >= REPORT_INTERVAL_S:
            self.flush()


Run = Callable[[Job, PipeEvents], IngestReport]


def serve(run: Run, probe: Probe, *, parent_pid: int, share: UplinkShare | None = None) -> None:
    """Do jobs until the daemon is gone; never returns.

    Args:
        run: Sends a recording.
        probe: Does the jobs that send nothing; raises where the platform does not answer.
        parent_pid: The daemon, as it knew itself when it started this process.
        share: Where to put how much may be sent, whenever the daemon says so.
    """
    _die_with_parent(parent_pid)
    use_small_stacks()
    keep_freed_memory()
    reserve_memory()
    if not entry_points(group=ENTRY_POINT_GROUP):
        # Plug-ins may give pyarrow what is of pandas.
        leave_pandas_out()
    send = _take_pipe()
    jobs = _jobs_from_stdin(share or UplinkShare())
    # It may wait for days; what loading everything has left is free.
    give_back_freed_memory()
    send(Ready())
    while True:
        job = Job.decoded(jobs.get())
        _limit_memory(job.settings.workers.memory_limit_bytes)
        outcome = _done(job, run, probe, send)
        send(outcome)
        if isinstance(outcome, Failed) and job.kind is JobKind.INGEST:
            # What failed may have left threads, streams or memory behind: start afresh.
            os._exit(0)
        give_back_freed_memory()


def _done(job: Job, run: Run, probe: Probe, send: Callable[[Message], None]) -> Message:
    try:
        if job.kind is not JobKind.INGEST:
            probe(job)
            return Succeeded(report=None)
        events = PipeEvents(send)
        report = run(job, events)
        events.flush()
        return Succeeded(report=report)
    except BridgeError as error:
        return Failed(failure=Failure.of(error))
    except OSError as error:
        return Failed(failure=_of_disk(error, job))
    except Exception as error:  # noqa: BLE001 - a worker reports what it died of
        if isinstance(error, MemoryError) or _finds_no_thread(error):
            return Failed(failure=_of_memory(error, job))
        return Failed(failure=_defect(error))


def _finds_no_thread(error: Exception) -> bool:
    """Tell whether there was no room for a thread's stack, which Python calls a RuntimeError."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is threading.Thread.start.__code__


def _of_memory(error: Exception, job: Job) -> Failure:
    return Failure(
        error=OUT_OF_MEMORY,
        message=f"reading needs more memory than allowed: {error}",
        hint=more_memory(job.settings.workers.memory_limit_bytes),
    )


def _of_disk(error: OSError, job: Job) -> Failure:
    """Tell a disk that gives no bytes now from a defect."""
    try:
        require_readable(error, path=job.path)
    except UnreadableStorageError as unreadable:
        return Failure.of(unreadable)
    return _defect(error)


def _defect(error: Exception) -> Failure:
    return Failure(
        error=type(error).__name__,
        message=f"unexpected error: {error}",
        hint="this is a defect of the bridge; please report it with the facts",
        trouble=Trouble.INTERNAL,
        facts={"traceback": traceback.format_exc(limit=-8)},
    )


def _die_with_parent(parent_pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        # The daemon died before the line above.
        os._exit(1)
    # The service manager and Ctrl-C signal the whole group; the daemon decides when workers end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        os.nice(NICENESS)
    except PermissionError:
        # Some sandboxes forbid it; being nice is a courtesy.
        return


def _limit_memory(limit_bytes: int) -> None:
    # RLIMIT_DATA counts private writable mappings; RLIMIT_AS would count those of files, too. What
    # is mapped before the job is for the most part reserved and never touched: one GiB by Arrow's
    # allocator, a stack for each thread. So the limit goes on top of it; that nothing more than the
    # limit is really in use is for the daemon to watch.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = _mapped_data_bytes() + limit_bytes
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _mapped_data_bytes() -> int:
    """Give the size of the private writable mappings, as RLIMIT_DATA counts them (proc(5))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def _take_pipe() -> Callable[[Message], None]:
    """Keep standard output for messages alone; whatever else is printed goes to the error log."""
    pipe: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    guard = threading.Lock()

    def send(message: Message) -> None:
        line = memoryview(encode(message))
        with guard:
            try:
                while line:
                    line = line[pipe.write(line) :]
            except OSError:
                os._exit(1)

    return send


def _jobs_from_stdin(share: UplinkShare) -> "queue.SimpleQueue[bytes]":
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            told = Share.decoded(line)
            if told is None:
                jobs.put(line)
            else:
                share.bytes_per_second = told.bytes_per_second
        os._exit(0)

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    return jobs
