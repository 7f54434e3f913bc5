"""A real worker process whose ingest is scripted by the recording's name instead of a server.

The name's first word picks what happens, so that a test says it where it makes the file. What has
"arrived" is appended to the file that MOSAICO_TEST_ARRIVED names, one line a recording.
"""

import ctypes
import mmap
import os
import resource
import sys
import threading
import time
from pathlib import Path

from bridge.bags import load_seen
from bridge.daemon.work.main import serve
from bridge.daemon.work.pipe import Job
from bridge.errors import (
    EmptyRecordingError,
    NotARecordingError,
    OfflineError,
    RefusedError,
    RejectedError,
    TransientError,
)
from bridge.files import HeldFiles
from bridge.ingest import (
    IngestEvents,
    IngestReport,
    TopicOutcome,
    TopicReport,
    VerificationLevel,
)

FOLDER = Path(os.environ["MOSAICO_TEST_FOLDER"])
MESSAGES = 7


def run(job: Job, events: IngestEvents) -> IngestReport:
    name = job.path.stem
    with (FOLDER / "attempts").open("a") as log:
        log.write(f"{name} {job.attempt} {job.final}\n")
    with (FOLDER / "prefixes").open("a") as log:
        log.write(f"{name} {job.settings.ingest.topic_prefix}\n")
    if (FOLDER / "offline").exists():
        raise OfflineError("nobody answers", address=f"{job.host}:{job.port}")
    events.started(recording=str(job.path), sequence=name, size_bytes=10, message_count=MESSAGES)
    misbehave(name.split("_")[0], job)
    topic = TopicReport(
        name="/t", msgtype="p/msg/T", outcome=TopicOutcome.MAPPED, messages_sent=MESSAGES
    )
    events.topic_planned(topic=topic)
    events.read(recorded_bytes=10)
    events.batch_sent(topic="/t", messages=MESSAGES, arrow_bytes=70)
    events.stage_finished(stage="verify", seconds=0.1)
    report = IngestReport(
        recording=str(job.path),
        sequence=name,
        fingerprint=job.fingerprint,
        topics=[topic],
        verification=VerificationLevel.COUNTS,
        healthy=not name.startswith("torn"),
        recorded_bytes=10,
    )
    events.finished(report=report)
    with (FOLDER / "arrived").open("a") as log:
        log.write(f"{name}\n")
    return report


def misbehave(how: str, job: Job) -> None:  # noqa: C901, PLR0912, PLR0915 - one script a line
    match how:
        case "flaky" if job.attempt < 3:
            raise TransientError("the stream broke")
        case "hopeless":
            raise TransientError("the stream broke")
        case "refused" if not (FOLDER / "let-in").exists():
            raise RefusedError("wrong key")
        case "moving" if not (FOLDER / "moved").exists():
            assert job.seen is not None
            # Taken away in the moment in which it is opened, and put back before anybody looks.
            place = job.path if job.path.is_dir() else job.path.parent
            place.rename(FOLDER / "moved")
            try:
                with HeldFiles([file.path for file in job.seen.files]):
                    load_seen(job.seen)
            finally:
                (FOLDER / "moved").rename(place)
                (FOLDER / "moved").touch()
        case "rejected":
            raise RejectedError("that name is taken", hint="choose another")
        case "poison":
            raise NotARecordingError("no bag at all", path=job.path)
        case "empty":
            raise EmptyRecordingError("nothing in it", path=job.path)
        case "crash":
            ctypes.string_at(0)
        case "crashonce" if job.attempt == 1:
            ctypes.string_at(0)
        case "bomb":
            grown = [bytearray(1 << 20) for _ in range(1 << 14)]
            time.sleep(len(grown))
        case "threads":
            never = threading.Event()
            for _ in range(1 << 14):
                threading.Thread(target=never.wait, daemon=True).start()
        case "defect":
            raise ZeroDivisionError("oops")
        case "spin":
            while True:
                pass
        case "hang" if job.attempt == 1:
            time.sleep(600)
        case "limits":
            soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
            core, _ = resource.getrlimit(resource.RLIMIT_CORE)
            lines = Path("/proc/self/status").read_text().splitlines()
            (data,) = [line.split()[1] for line in lines if line.startswith("VmData:")]
            (FOLDER / "limits").write_text(f"{soft} {int(data) << 10} {core} {os.nice(0)}\n")
        case "shared":
            # Shared memory is not private data, so that the limit of that does not stop it.
            pages = mmap.mmap(-1, 1 << 30)
            for start in range(0, len(pages), 1 << 20):
                pages[start : start + (1 << 20)] = b"x" * (1 << 20)
            time.sleep(600)
        case "scan":
            # As long as a file is read that holds nothing to report.
            with Path("/dev/zero").open("rb", buffering=0) as zeros:
                while not (FOLDER / "go").exists():
                    zeros.read(2 << 20)
                    time.sleep(0.1)
        case "slow":
            while not (FOLDER / "go").exists():
                time.sleep(0.02)


def probe(job: Job) -> None:
    if (FOLDER / "offline").exists():
        raise OfflineError("nobody answers", address=f"{job.host}:{job.port}")


serve(run, probe, parent_pid=int(sys.argv[1]))
