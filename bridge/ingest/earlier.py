"""The sequence that a recording became before its content changed: linked, and on request removed.

Removed is only what this very bridge put there from exactly that content, and only after the new
sequence is verified and finalised, so that at every moment one of the two is whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bridge.errors import NotFoundError, RefusedError, RejectedError, TransientError
from bridge.ingest.marks import marks_of, parts_in

if TYPE_CHECKING:
    from bridge.client import MosaicoClient, SequenceHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """What a recording supersedes.

    Attributes:
        sequence: Name of the sequence that the older content became.
        fingerprint: Identity of the older content.
        remove: Whether that sequence makes room for the new one.
    """

    sequence: str
    fingerprint: str
    remove: bool = False

    def as_metadata(self) -> dict[str, str]:
        """Give the link as it is in the newer sequence's metadata."""
        return {"sequence": self.sequence, "fingerprint": self.fingerprint}

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self)


class Removal(StrEnum):
    """What became of a superseded sequence."""

    REMOVED = "removed"
    ABSENT = "absent"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What became of a superseded sequence, and why.

    Attributes:
        removal: What was done.
        sequence: Its name.
        reason: Why it is still there; empty where it is not.
    """

    removal: Removal
    sequence: str
    reason: str = ""

    @classmethod
    def from_json(cls, plain: Mapping[str, str] | None) -> "Replacement | None":
        """Read one back from a report's JSON."""
        if plain is None:
            return None
        return cls(
            removal=Removal(plain["removal"]), sequence=plain["sequence"], reason=plain["reason"]
        )


def remove_superseded(
    client: "MosaicoClient",
    superseded: Superseded,
    *,
    instance: str,
    whole: bool,
    patient: bool,
    start_ns: int | None,
    kept: Collection[str] = (),
) -> Replacement:
    """Remove the older sequence, if it is ours and what we take it for.

    Args:
        client: Connected to the platform.
        superseded: What is superseded.
        instance: Who we are.
        whole: Whether the newer sequence holds every message of its recording.
        patient: Whether to raise what may pass, so that it is tried again, instead of settling
            for keeping the older sequence.
        start_ns: First record time of the newer content. A recording that grew or was indexed again
            starts when it did; one that starts at another time is another recording, whatever it
            is called.
        kept: Parts that count on sequences that are there; one that holds any of them stays.

    Raises:
        ServerError: The platform is away or in trouble; asking again later does no harm.
    """
    name = superseded.sequence
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler(name)
    if handler is None:
        return Replacement(removal=Removal.ABSENT, sequence=name)
    reason = (
        _objection(handler, superseded, instance=instance, start_ns=start_ns, kept=kept)
        if whole
        else "the newer sequence does not hold all of its recording"
    ) or _refusal(client, name, patient=patient)
    removal = Removal.KEPT if reason else Removal.REMOVED
    return Replacement(removal=removal, sequence=name, reason=reason)


def _objection(
    handler: "SequenceHandler",
    superseded: Superseded,
    *,
    instance: str,
    start_ns: int | None,
    kept: Collection[str],
) -> str:
    """Say why a sequence is not ours to remove; empty where it is."""
    marks = marks_of(handler)
    if marks.get("fingerprint") != superseded.fingerprint:
        return "it holds something else than the older content"
    if marks.get("instance") != instance:
        return f"bridge {marks.get('instance')} put it there, not this one"
    if parts_in(marks).keys() & set(kept):
        return "it holds parts of the newer content that were not sent again"
    if start_ns is None or handler.timestamp_ns_min != start_ns:
        return "it starts at another time: it is another recording that had the same name"
    return ""


def _refusal(client: "MosaicoClient", name: str, *, patient: bool) -> str:
    """Remove a sequence, or say why the platform does not."""
    try:
        client.sequence_delete(name)
    except NotFoundError:
        return ""
    except (RefusedError, RejectedError) as error:
        return f"the platform does not delete it: {error.message}"
    except TransientError as error:
        if patient:
            raise
        return f"the platform could not delete it: {error.message}"
    return ""
