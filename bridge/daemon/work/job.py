"""What a worker does with a job: look at the recording, connect, ingest."""

import sys
from dataclasses import replace
from functools import partial

from bridge.bags import content_of, files_of, load_seen
from bridge.client import OnErrorPolicy, Pacer, UplinkShare
from bridge.compose import connect, ingest_options
from bridge.daemon.work.main import PipeEvents, serve
from bridge.daemon.work.pipe import Job, JobKind
from bridge.errors import RecordingChangedError
from bridge.files import HeldFiles
from bridge.ingest import IngestReport, clear_remains, ingest


def run(job: Job, events: PipeEvents, *, share: UplinkShare) -> IngestReport:
    """Send the recording of a job, no faster than the worker's share of the uplink.

    Raises:
        BridgeError: It could not be sent; the kind of error says how to go on.
    """
    assert job.seen is not None, "a job to send says what"
    watched = job.settings.watch.folder.absolute()
    # What is judged here is what is sent, however often it is read.
    with HeldFiles(files_of(job.seen), start=watched):
        return _send(job, events, share=share)


def _send(job: Job, events: PipeEvents, *, share: UplinkShare) -> IngestReport:
    assert job.seen is not None
    recording = load_seen(job.seen)
    content = content_of(recording)
    left = {part.identity for part in content.parts} <= set(job.parts)
    if content.fingerprint != job.fingerprint and not left:
        raise RecordingChangedError("the recording is not the one that was queued", path=job.path)
    options = ingest_options(
        job.settings, instance=job.instance_id, attempt=job.attempt, final=job.final
    )
    pacer = Pacer(job.host, job.port, share=share, report=events.wire_moved)
    with connect(job.settings, job.host, job.port) as client, pacer:
        paced = replace(
            options,
            supersedes=job.supersedes,
            identity=replace(options.identity, resumes=True),
            wait_turn=pacer.wait_turn,
        )
        return ingest(
            recording,
            client=client,
            options=paced,
            events=events,
            upload=job.upload,
            resend=job.resend,
            remembered=job.remembered,
        )


def probe(job: Job) -> None:
    """See whether the platform answers and lets us in; clear what was left there where that is due.

    Raises:
        ServerError: It does not.
    """
    with connect(job.settings, job.host, job.port) as client:
        if job.kind is JobKind.CLEAR and job.upload is not None:
            clear_remains(
                client,
                job.upload,
                fingerprint=job.fingerprint,
                instance=job.instance_id,
                policy=OnErrorPolicy(job.settings.ingest.on_error),
                reason=job.reason,
            )


def main() -> None:
    """Be a worker until the daemon is gone."""
    share = UplinkShare()
    serve(partial(run, share=share), probe, parent_pid=int(sys.argv[1]), share=share)
