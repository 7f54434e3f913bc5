"""What to do when the platform already has a sequence of that name.

The sequence's metadata, which cannot be changed after creation, says what content it holds and
who wrote it; the sessions say whether it was finished. Together they decide, so that a restart
or a race between two bridges ends in exactly one sequence.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.client import (
    ABANDONED,
    MosaicoClient,
    OnErrorPolicy,
    SequenceHandler,
)
from bridge.errors import (
    AlreadyExistsError,
    BusyElsewhereError,
    NotFoundError,
    PreconditionError,
    RecordingError,
    RefusedError,
)
from bridge.ingest.marks import Sender, marks_of
from bridge.ingest.open_upload import OpenUpload
from bridge.ingest.options import Identity
from bridge.ingest.salvage import SALVAGED_KEY

# How often a recording is started under another name because remains cannot be deleted.
TAKES_MAX = 9


class OnPlatform(StrEnum):
    """What the platform has under the name."""

    ABSENT = "absent"
    WHOLE = "whole"
    REMAINS = "remains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What was found under a name.

    Attributes:
        state: What it is.
        handler: To read it by; None when there is nothing.
        marks: What the bridge that wrote it said of itself.
    """

    state: OnPlatform
    handler: SequenceHandler | None = None
    marks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a recording goes.

    Attributes:
        sequence: The sequence's name.
        whole: What is there already, finished; None when it is to be sent.
        resumes: Whether an upload there is to be taken up.
        salvaged: Whether that upload says that the recording is not whole.
    """

    sequence: str
    whole: SequenceHandler | None = None
    resumes: bool = False
    salvaged: bool = False


def find_place(
    client: MosaicoClient,
    name: str,
    *,
    fingerprint: str,
    identity: Identity,
    upload: OpenUpload | None,
    terms: str,
    salvaged: bool,
) -> Place:
    """Find where a recording goes, and remove what an earlier try of this bridge left there.

    Where the key may not delete, the remains are marked as abandoned and the recording goes under
    the same name with `_take2` (and so on) at its end.

    Args:
        client: The platform.
        name: The name wanted.
        fingerprint: What the recording holds.
        identity: The sender.
        upload: An upload of an earlier try that may be taken up; None for none.
        terms: What decides how bytes become rows; an upload made under others is not continued.
        salvaged: Whether the sequence must say that the recording is not whole.

    Raises:
        AlreadyExistsError: The name belongs to other content.
        BusyElsewhereError: Another bridge is at work on it.
        PreconditionError: Too many takes are there already.
        ServerError: The platform cannot be asked.
    """
    remains: list[tuple[str, Existing]] = []
    for sequence in (name, *(f"{name}_take{take}" for take in range(2, TAKES_MAX + 1))):
        found = find_existing(
            client,
            sequence,
            fingerprint=fingerprint,
            instance=identity.instance,
            journalled=upload is not None,
        )
        if found.state is OnPlatform.WHOLE:
            for left, _ in remains:
                removed(client, left)
            return Place(sequence=sequence, whole=found.handler)
        if found.state is OnPlatform.ABSENT:
            break
        remains.append((sequence, found))
    else:
        raise _too_many_takes(name)
    for left, finding in reversed(remains):
        says_salvaged = SALVAGED_KEY in finding.marks
        named = upload is not None and upload.sequence == left
        same_terms = finding.marks.get("terms") == terms
        if named and same_terms and (says_salvaged or not salvaged):
            return Place(sequence=left, resumes=True, salvaged=says_salvaged)
        if removed(client, left):
            sequence = left
    return Place(sequence=sequence)


def _too_many_takes(name: str) -> PreconditionError:
    return PreconditionError(
        f"{TAKES_MAX} unfinished sequences of this recording are on the platform, {name} the first",
        resource=name,
        hint="the key may not delete them; delete them by another, then retry",
    )


def find_existing(
    client: MosaicoClient,
    sequence: str,
    *,
    fingerprint: str,
    instance: str,
    journalled: bool,
) -> Existing:
    """Ask the platform about a name.

    Args:
        client: The platform.
        sequence: The name.
        fingerprint: What the recording holds.
        instance: This bridge's own name.
        journalled: Whether the journal knows of an upload of this recording by this bridge.

    Returns:
        `ABSENT`: free. `WHOLE`: this very content, finished, sent by any bridge. `REMAINS`: this
        content, left unfinished by this bridge; may be removed.

    Raises:
        AlreadyExistsError: The name belongs to other content.
        BusyElsewhereError: Another bridge is at work on it.
    """
    # A cached handler would answer from the past.
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler(sequence)
    if handler is None:
        return Existing(state=OnPlatform.ABSENT)
    marks = marks_of(handler)
    if marks.get("fingerprint") != fingerprint:
        raise AlreadyExistsError(
            f"sequence {sequence} exists and holds something else",
            resource=sequence,
            hint="put {id} into ingest.sequence_name, or delete the sequence",
        )
    if handler.is_locked:
        return Existing(state=OnPlatform.WHOLE, handler=handler, marks=marks)
    if marks.get("instance") != instance:
        raise BusyElsewhereError(
            f"sequence {sequence} is being written by bridge {marks.get('instance')}",
            resource=sequence,
            hint="wait for the other bridge; if it is gone, delete the sequence and retry",
        )
    sender = Sender.of(marks)
    if sender is not None and not sender.left(journalled=journalled):
        raise BusyElsewhereError(
            f"sequence {sequence} is being written by another bridge of this name, {instance}",
            resource=sequence,
            hint="is this machine a copy of another? Stop the bridge, delete `instance` in "
            "state.folder, and start it; if there is no other, delete the sequence and retry",
        )
    return Existing(state=OnPlatform.REMAINS, handler=handler, marks=marks)


def removed(client: MosaicoClient, sequence: str) -> bool:
    """Delete remains; False where that is not permitted, and they are marked instead."""
    try:
        with suppress(NotFoundError):
            client.sequence_delete(sequence)
    except RefusedError as error:
        notes = client.list_sequence_notify(sequence)
        if not any(note.message.startswith(ABANDONED) for note in notes):
            client.sequence_notify(sequence, f"{ABANDONED}: {error.message}")
        return False
    return True


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
        fingerprint: What the recording holds; for uploads that do not say it of themselves.
        instance: This bridge's own name.
        policy: Whether everything goes, or what is whole stays. Of an upload that is not known to
            have started, nothing is.
        reason: Why the recording was given up.

    Raises:
        ServerError: The platform cannot be asked, or does not do it.
    """
    try:
        found = find_existing(
            client,
            upload.sequence,
            fingerprint=upload.fingerprint or fingerprint,
            instance=instance,
            journalled=True,
        )
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
