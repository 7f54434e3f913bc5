"""What a worker does with a job: look at the recording, connect, ingest."""

import sys

from bridge.bags import fingerprint, load_recording
from bridge.daemon.options import connect, ingest_options
from bridge.daemon.pipe import Job
from bridge.daemon.worker_main import serve
from bridge.errors import RecordingChangedError
from bridge.ingest import IngestEvents, IngestReport, ingest


def run(job: Job, events: IngestEvents) -> IngestReport:
    """Send the recording of a job.

    Raises:
        BridgeError: It could not be sent; the kind of error says how to go on.
    """
    recording = load_recording(job.path)
    if fingerprint(recording) != job.fingerprint:
        raise RecordingChangedError("the recording is not the one that was queued", path=job.path)
    options = ingest_options(
        job.settings, instance=job.instance_id, attempt=job.attempt, final=job.final
    )
    with connect(job.settings, job.host, job.port) as client:
        return ingest(recording, client=client, options=options, events=events)


def probe(job: Job) -> None:
    """See whether the platform answers and lets us in.

    Raises:
        ServerError: It does not.
    """
    connect(job.settings, job.host, job.port).close()


def main() -> None:
    """Be a worker until the daemon is gone."""
    serve(run, probe, parent_pid=int(sys.argv[1]))
