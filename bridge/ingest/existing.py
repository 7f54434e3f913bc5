"""What to do when the platform already has a sequence of that name.

The sequence's metadata, which cannot be changed after creation, says what content it holds and
who wrote it; the sessions say whether it was finished. Together they decide, so that a restart
or a race between two bridges ends in exactly one sequence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.client import MosaicoClient, SequenceHandler
from bridge.errors import AlreadyExistsError
from bridge.mapping import BRIDGE_KEY


class Existing(StrEnum):
    """What the platform has under the name."""

    ABSENT = "absent"
    WHOLE = "whole"
    REMAINS = "remains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, and the handler to read it by."""

    state: Existing
    handler: SequenceHandler | None = None


def find_existing(
    client: MosaicoClient, sequence: str, *, fingerprint: str, instance: str
) -> Finding:
    """Ask the platform about a name.

    Returns:
        `ABSENT`: free. `WHOLE`: this very content, finished, whoever sent it. `REMAINS`: this
        content, left unfinished by this bridge; may be removed.

    Raises:
        AlreadyExistsError: The name belongs to other content, or another bridge is at work on it.
    """
    # A cached handler would answer from the past.
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler(sequence)
    if handler is None:
        return Finding(state=Existing.ABSENT)
    block = handler.user_metadata.get(BRIDGE_KEY)
    marks: Mapping[str, Any] = block if isinstance(block, Mapping) else {}
    if marks.get("fingerprint") != fingerprint:
        raise AlreadyExistsError(
            f"sequence {sequence} exists and holds something else",
            resource=sequence,
            hint="put {id} into ingest.sequence_name, or delete the sequence",
        )
    if handler.is_locked:
        return Finding(state=Existing.WHOLE, handler=handler)
    if marks.get("instance") != instance:
        raise AlreadyExistsError(
            f"sequence {sequence} is being written by bridge {marks.get('instance')}",
            resource=sequence,
            hint="wait for the other bridge; if it is gone, delete the sequence and retry",
        )
    return Finding(state=Existing.REMAINS, handler=handler)
