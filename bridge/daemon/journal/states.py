"""The states of a recording and which may follow which: one literal table, the documentation's too.

A recording usually passes the first seven in order. In the others it waits or stays because
something is wrong with it. `docs/reliability.md` carries the same table; a test compares the two.
"""

from enum import StrEnum


class State(StrEnum):
    """The state of a recording."""

    DISCOVERED = "discovered"
    SETTLING = "settling"
    READY = "ready"
    SENDING = "sending"
    VERIFIED = "verified"
    FINALISED = "finalised"
    DISPOSED = "disposed"
    WAITING = "waiting"
    PARTIAL = "partial"
    EMPTY = "empty"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    VANISHED = "vanished"
    IGNORED = "ignored"
    SUPERSEDED = "superseded"
    LOST = "lost"


MEANING: dict[State, str] = {
    State.DISCOVERED: "seen, nothing known about it yet",
    State.SETTLING: "not complete yet; a completeness rule waits",
    State.READY: "complete, identified, in the queue",
    State.SENDING: "a worker reads and sends it",
    State.VERIFIED: "the platform's counts agree; the commit comes next",
    State.FINALISED: "whole on the platform, verified and committed",
    State.DISPOSED: "whole on the platform, and the source was moved or deleted",
    State.WAITING: "failed for a passing reason; tried again at a known time",
    State.PARTIAL: "what could be saved is on the platform, not all of it; the source stays",
    State.EMPTY: "nothing in it can become a topic",
    State.QUARANTINED: "cannot be read, or breaks whatever reads it; needs attention",
    State.REJECTED: "the platform will not take it, or was tried too often; needs attention",
    State.VANISHED: "disappeared before it was on the platform",
    State.IGNORED: "left alone by choice",
    State.SUPERSEDED: "was on the platform until newer content took its place",
    State.LOST: "was on the platform, which does not hold it whole any more; needs attention",
}

TRANSITIONS: dict[State, frozenset[State]] = {
    State.DISCOVERED: frozenset(
        {
            State.SETTLING, State.READY, State.EMPTY, State.QUARANTINED, State.VANISHED,
            State.IGNORED,
        }
    ),
    State.SETTLING: frozenset(
        {State.READY, State.EMPTY, State.QUARANTINED, State.VANISHED, State.IGNORED}
    ),
    State.READY: frozenset({State.SENDING, State.VANISHED, State.IGNORED}),
    State.SENDING: frozenset(
        {
            State.READY, State.VERIFIED, State.FINALISED, State.PARTIAL, State.WAITING,
            State.EMPTY, State.QUARANTINED, State.REJECTED, State.VANISHED,
        }
    ),
    State.VERIFIED: frozenset(
        {
            State.READY, State.FINALISED, State.PARTIAL, State.WAITING,
            State.EMPTY, State.QUARANTINED, State.REJECTED, State.VANISHED,
        }
    ),
    State.FINALISED: frozenset({State.DISPOSED, State.READY, State.SUPERSEDED, State.LOST}),
    State.DISPOSED: frozenset({State.READY, State.FINALISED, State.SUPERSEDED, State.LOST}),
    State.WAITING: frozenset(
        {State.READY, State.SENDING, State.QUARANTINED, State.VANISHED, State.IGNORED}
    ),
    State.PARTIAL: frozenset({State.READY, State.SUPERSEDED, State.LOST}),
    State.EMPTY: frozenset({State.READY}),
    State.QUARANTINED: frozenset({State.READY}),
    State.REJECTED: frozenset({State.READY, State.VANISHED}),
    State.VANISHED: frozenset({State.READY}),
    State.IGNORED: frozenset({State.READY}),
    State.SUPERSEDED: frozenset({State.READY}),
    State.LOST: frozenset({State.READY}),
}  # fmt: skip

# A recording in one of these is being worked on; after a restart it starts over from `ready`.
IN_WORK = frozenset({State.SENDING, State.VERIFIED})

# A recording in one of these can be taken by a worker, now or when its time has come.
QUEUED = frozenset({State.READY, State.WAITING})

# An attempt that brings a recording onto the platform, all of it or what could be saved, ends in
# one of these.
DELIVERED = frozenset({State.FINALISED, State.PARTIAL})

# A recording in one of these is on the platform, all of it or what could be saved.
ON_PLATFORM = DELIVERED | {State.DISPOSED}

# A recording in one of these is on the platform with every message.
WHOLE_ON_PLATFORM = frozenset({State.FINALISED, State.DISPOSED})

# A recording in one of these waits for a person.
NEEDS_ATTENTION = (State.QUARANTINED, State.REJECTED, State.LOST)

# Nothing more happens to a recording in one of these unless somebody asks or it changes.
PROVISIONAL = frozenset({State.DISCOVERED, State.SETTLING})
"""Recordings that may still be written."""

AT_REST = frozenset(State) - IN_WORK - QUEUED - PROVISIONAL


def allowed(before: State, after: State) -> bool:
    """Say whether a recording may go from one state to another."""
    return after in TRANSITIONS[before]
