"""A real worker process whose ingest is scripted by the recording's name instead of a server.

The name's first word picks what happens, so that a test says it where it makes the file. What has
"arrived" is appended to the file that MOSAICO_TEST_ARRIVED names, one line a recording.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

from bridge.daemon.pipe import Job
from bridge.daemon.worker_main import serve
from bridge.errors import (
    EmptyRecordingError,
    NotARecordingError,
    OfflineError,
    RefusedError,
    RejectedError,
    TransientError,
)
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


def misbehave(how: str, job: Job) -> None:  # noqa: C901, PLR0912 - one script a line
    match how:
        case "flaky" if job.attempt < 3:
            raise TransientError("the stream broke")
        case "hopeless":
            raise TransientError("the stream broke")
        case "refused" if not (FOLDER / "let-in").exists():
            raise RefusedError("wrong key")
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
        case "defect":
            raise ZeroDivisionError("oops")
        case "spin":
            while True:
                pass
        case "hang" if job.attempt == 1:
            time.sleep(600)
        case "slow":
            while not (FOLDER / "go").exists():
                time.sleep(0.02)


def probe(job: Job) -> None:
    if (FOLDER / "offline").exists():
        raise OfflineError("nobody answers", address=f"{job.host}:{job.port}")


serve(run, probe, parent_pid=int(sys.argv[1]))
