"""What a recording that was given up has left on the platform, when no ingest could see to it."""

from bridge.client import MosaicoClient, OnErrorPolicy
from bridge.errors import AlreadyExistsError, NotFoundError, PreconditionError, RecordingError
from bridge.ingest.on_platform import OnPlatform, find_existing, removed
from bridge.ingest.open_upload import OpenUpload


def clear_remains(
    client: MosaicoClient,
    upload: OpenUpload,
    *,
    fingerprint: str,
    instance: str,
    policy: OnErrorPolicy,
    reason: str,
) -> None:
    """Do to an unfinished upload what the policy says at a give-up.

    For recordings whose last try ended by the death of its process, or that changed or disappeared
    before the next. What is finished, gone or another's by now is left alone, so that doing it
    twice does no harm.

    Args:
        client: The platform.
        upload: The last that was heard of the upload.
        fingerprint: What the recording holds.
        instance: This bridge's own name.
        policy: Whether everything goes, or what is whole stays. Of an upload that is not known to
            have begun, nothing is.
        reason: Why the recording was given up.

    Raises:
        ServerError: The platform cannot be asked, or does not do it.
    """
    try:
        found = find_existing(client, upload.sequence, fingerprint=fingerprint, instance=instance)
    except AlreadyExistsError:
        return
    if found.state is not OnPlatform.REMAINS:
        return
    if policy is OnErrorPolicy.Delete or not upload.started:
        removed(client, upload.sequence)
        return
    writer = client.sequence_resume(
        upload.sequence, upload.session_uuid, upload.session, on_error=policy
    )
    try:
        writer.__enter__()
    except (NotFoundError, PreconditionError):
        removed(client, upload.sequence)
        return
    error = RecordingError(reason)
    writer.__exit__(type(error), error, None)
