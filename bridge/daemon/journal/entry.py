"""What the journal knows of one recording, as values: the entry, its transitions, its failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from bridge.daemon.journal.states import State
from bridge.errors import BridgeError, Trouble
from bridge.ingest import OpenUpload


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt, or the look at a recording, failed.

    Attributes:
        error: Name of the error's class, or what became of the worker (`WorkerDied`).
        message: What happened, as a sentence.
        hint: What the operator can do; may be empty.
        trouble: The kind, which decided how it went on.
        facts: Everything else the error knew, flat.
    """

    error: str
    message: str
    hint: str = ""
    trouble: Trouble = Trouble.INTERNAL
    facts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BridgeError) -> "Failure":
        """Make one from an error of our tree."""
        facts = error.facts()
        return cls(
            error=facts.pop("error"),
            message=facts.pop("message"),
            hint=facts.pop("hint"),
            trouble=error.trouble,
            facts=facts,
        )

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Failure":
        """Read one back from `as_json`."""
        return cls(
            error=str(plain["error"]),
            message=str(plain["message"]),
            hint=str(plain.get("hint", "")),
            trouble=Trouble(plain.get("trouble", Trouble.INTERNAL)),
            facts={str(key): str(value) for key, value in plain.get("facts", {}).items()},
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "error": self.error,
            "message": self.message,
            "hint": self.hint,
            "trouble": str(self.trouble),
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recording as the journal knows it.

    Attributes:
        id: The journal's number for it.
        fingerprint: Identity of its content; empty until it is complete.
        path: Where it was last seen.
        name: The recording's name.
        state: Its state.
        reason: Why it is in that state, as a sentence.
        size_bytes: Size of its files when last looked at.
        modified_ns: Newest modification time of its files, wall clock; the oldest goes first.
        priority: Its place by the settings' patterns; lower goes first.
        discovered_ns: When it was first seen, wall clock.
        changed_ns: When it came into `state`, wall clock.
        attempts: Attempts that failed for a reason that counts.
        interruptions: Attempts that ended because the platform went away or the bridge stopped.
        deaths: Workers that died of it.
        due_ns: When it is tried again, wall clock, in state `waiting`; else 0.
        salvage: Whether it has no proper end and was taken for salvage.
        sequence: Its name on the platform, once known.
        verification: The level at which its arrival was proven; empty until then.
        messages_sent: Rows on the platform.
        failure: The last failure, or None.
        supersedes: The id of an older recording that was at the same path, or None.
        duplicate_of: The id of the recording with the same content that is treated instead, or
            None.
        upload: The last news of an unfinished upload of it, to resume it or clear its remains;
            None where the platform holds nothing unfinished.
        resend: Whether a person asked to send it again where the platform has less than it.
        split_of: Name of the recording that it is one split of; empty for a whole one.
        split_index: The recorder's number for the split, or None.
        findings: What falls short of what is expected of it, in words; empty for nothing, and where
            nobody knows.
    """

    id: int
    fingerprint: str
    path: Path
    name: str
    state: State
    reason: str
    size_bytes: int
    modified_ns: int
    priority: int = 0
    discovered_ns: int
    changed_ns: int
    attempts: int
    interruptions: int
    deaths: int
    due_ns: int
    salvage: bool
    sequence: str
    verification: str
    messages_sent: int
    failure: Failure | None
    supersedes: int | None
    duplicate_of: int | None
    upload: OpenUpload | None = None
    resend: bool = False
    split_of: str = ""
    split_index: int | None = None
    findings: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of a recording's story.

    Attributes:
        entry_id: The recording's number.
        before: The state it left; None for the first step.
        after: The state it came into.
        at_ns: When, wall clock.
        reason: Why, as a sentence.
    """

    entry_id: int
    before: State | None
    after: State
    at_ns: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many recordings of a watched folder are in a state.

    Attributes:
        folder: The folder's name; empty where only one is watched, and for recordings in none.
        state: The state.
        recordings: How many.
        size_bytes: Size of their files together.
        oldest_found_ns: When the first of them was found, wall clock.
    """

    folder: str
    state: State
    recordings: int
    size_bytes: int
    oldest_found_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a scan saw at a path.

    Attributes:
        entry_id: The recording it was then.
        signature: The files' names, sizes, times and inodes, as one hash; equal means unchanged.
    """

    entry_id: int
    signature: str


class RequestKind(StrEnum):
    """What a person can ask of the daemon through the journal."""

    RETRY = "retry"
    RESEND = "resend"
    DOUBT = "doubt"
    FORGET = "forget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something a person asked for, carried through the journal to its owner.

    Attributes:
        id: The journal's number for it.
        kind: What is asked.
        entry_id: The recording concerned.
        at_ns: When it was asked, wall clock.
        answer: What became of it, as a sentence; empty while pending.
    """

    id: int
    kind: RequestKind
    entry_id: int
    at_ns: int
    answer: str
