"""How it goes on after an attempt: one pure function from what happened to what follows.

The kinds of trouble of docs/reliability.md, plus the death of a worker. Nothing here touches
journal, clock or files.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from bridge.config import RetrySettings
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import State
from bridge.errors import Trouble
from bridge.ingest import IngestReport, said_before
from bridge.units import SECOND_NS, counted

# A worker's deaths after which its recording is blamed; the attempt after the first runs alone.
DEATHS_MAX = 2
JITTER = 0.2
# Beyond this doubling has long hit `backoff_max_s`.
DOUBLINGS_MAX = 32

WORKER_DIED = "WorkerDied"
OUT_OF_MEMORY = "OutOfMemory"
STALLED = "Stalled"

# Names of failures that count as the death of the worker.
DEATHS = frozenset({WORKER_DIED, OUT_OF_MEMORY})

# Names of failures that are about our own disk, and no attempt at anything: what waits for room
# comes back by itself, however long that takes.
NO_ROOM = frozenset({"ScratchSpaceError"})

# Names of failures after which everything is sent again, and which are no attempt either: what was
# sent so far was deleted on the platform, or the disk gave no bytes for a moment.
BEGIN_AGAIN = frozenset({"UploadGoneError", "UnreadableStorageError"})

# Failures to read, at least so far from each other, after which the disk is believed.
UNREADABLE_MAX = 5
UNREADABLE_APART_S = 60.0
# Names of failures that are about the platform's database, and no attempt for a while.
DATABASE = frozenset({"PlatformBusyError"})
# The fact of such a failure that says since when there has been nothing else, wall clock.
SINCE_NS = "since_ns"

# Names of failures that say that the platform was upgraded since it was connected to. Where a new
# connection meets the same with the same recording, the others need not wait for it.
UPGRADED = frozenset({"UnreadableRequestError"})

# A failure that another bridge's work explains: looked at again when that may be over. Over a thin
# line it lasts for hours; after a day it counts as attempts, for the other may never come back.
BUSY_ELSEWHERE = "BusyElsewhereError"
BUSY_ELSEWHERE_S = 86_400.0

# A file that is gone when it is opened is no attempt: it may come back.
VANISHED = "RecordingVanishedError"

# Poison that has a state of its own.
POISON_STATES = {
    "EmptyRecordingError": State.EMPTY,
    VANISHED: State.VANISHED,
}


def more_memory(limit_bytes: int) -> str:
    """Say what helps a recording that needs more memory than a worker may take."""
    return (
        f"if the recording is trusted, set workers.memory_limit_bytes to {2 * limit_bytes} or more"
        f" (it is {limit_bytes})"
    )


class Pause(StrEnum):
    """What an attempt says about the way to the platform."""

    NONE = "none"
    OFFLINE = "offline"
    REFUSED = "refused"


PAUSES = {Trouble.OFFLINE: Pause.OFFLINE, Trouble.REFUSED: Pause.REFUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows an attempt that failed.

    Attributes:
        state: Where the recording goes.
        reason: Why, as a sentence.
        attempts: Failed attempts that count, including this one.
        interruptions: Attempts broken off by the platform going away, including this one.
        deaths: Workers that died of it, including this one.
        retry_in_s: When it is tried again; None when it is not, or when the gate decides.
        pause: Whether everything else has to wait too.
    """

    state: State
    reason: str
    attempts: int
    interruptions: int
    deaths: int
    retry_in_s: float | None = None
    pause: Pause = Pause.NONE


def backoff_s(failures: int, retry: RetrySettings, *, noise: float) -> float:
    """Give the wait after so many failures: doubling, capped, with jitter.

    Args:
        failures: How many in a row, from 1.
        retry: First and longest wait.
        noise: Uniform in [-1, 1].
    """
    doubled = retry.backoff_initial_s * 2.0 ** min(failures - 1, DOUBLINGS_MAX)
    return min(doubled, retry.backoff_max_s) * (1 + JITTER * noise)


def after_failure(
    entry: Entry,
    failure: Failure,
    retry: RetrySettings,
    *,
    began: bool,
    got_on: bool = False,
    unreadable: int = 0,
    now_ns: int = 0,
    noise: float | None = None,
) -> Decision:
    """Decide how to go on with a recording whose attempt failed.

    Args:
        entry: The recording as the journal has it.
        failure: What happened; `dated`.
        retry: How often and when to try again.
        began: Whether the attempt had got as far as sending.
        got_on: Whether topics became whole that were not before; the count starts again then.
        unreadable: How often its disk gave no bytes, times close to each other counted once.
        now_ns: The time, wall clock.
        noise: For tests, instead of a random number in [-1, 1].
    """
    noise = random.uniform(-1, 1) if noise is None else noise  # noqa: S311 - jitter, no secret
    wait_s = partial(backoff_s, retry=retry, noise=noise)
    attempts, interruptions, deaths = entry.attempts, entry.interruptions, entry.deaths
    state, reason, retry_in_s, pause = State.READY, failure.message, None, Pause.NONE
    if failure.error in DEATHS:
        deaths += 1
        state, retry_in_s, reason = _after_death(deaths, reason, wait_s(1))
    elif _is_its_own(entry, failure):
        state, retry_in_s = State.WAITING, wait_s(DOUBLINGS_MAX)
    elif failure.trouble in PAUSES:
        pause = PAUSES[failure.trouble]
        interruptions += began and pause is Pause.OFFLINE
    elif failure.error in NO_ROOM:
        state, retry_in_s = State.WAITING, wait_s(DOUBLINGS_MAX)
    elif failure.error in BEGIN_AGAIN:
        interruptions += 1
        state, retry_in_s, reason = _again(unreadable, reason, wait_s(interruptions))
    elif failure.error in DATABASE and _trouble_s(failure, now_ns) < retry.database_s:
        interruptions += 1
        state, retry_in_s = State.WAITING, wait_s(interruptions)
    elif failure.error == BUSY_ELSEWHERE and _trouble_s(failure, now_ns) < BUSY_ELSEWHERE_S:
        state, retry_in_s = State.WAITING, wait_s(DOUBLINGS_MAX)
    elif failure.trouble in {Trouble.REJECTED, Trouble.POISON}:
        attempts += failure.error != VANISHED
        state = _parked(failure)
    elif not got_on and attempts + 1 >= retry.attempts_max:
        attempts += 1
        state, reason = _given_up(attempts, failure)
    else:
        attempts = 1 if got_on else attempts + 1
        doublings = DOUBLINGS_MAX if failure.error == BUSY_ELSEWHERE else attempts
        state, retry_in_s = State.WAITING, wait_s(doublings)
    return Decision(
        state=state, reason=reason, attempts=attempts, interruptions=interruptions, deaths=deaths,
        retry_in_s=retry_in_s, pause=pause,
    )  # fmt: skip


def _is_its_own(entry: Entry, failure: Failure) -> bool:
    """Whether what looks like trouble with the platform is trouble with this recording only."""
    before = entry.failure
    return failure.error in UPGRADED and before is not None and before.error == failure.error


def _after_death(deaths: int, reason: str, wait_s: float) -> tuple[State, float | None, str]:
    if deaths >= DEATHS_MAX:
        return State.QUARANTINED, None, reason
    return State.WAITING, wait_s, f"{reason}; tried once more, alone"


def _again(unreadable: int, reason: str, wait_s: float) -> tuple[State, float | None, str]:
    if unreadable >= UNREADABLE_MAX:
        return State.QUARANTINED, None, f"{reason}; so it was {unreadable} times, minutes apart"
    return State.WAITING, wait_s, reason


def _parked(failure: Failure) -> State:
    if failure.trouble is Trouble.REJECTED:
        return State.REJECTED
    return POISON_STATES.get(failure.error, State.QUARANTINED)


def _given_up(attempts: int, failure: Failure) -> tuple[State, str]:
    state = State.QUARANTINED if failure.trouble is Trouble.INTERNAL else State.REJECTED
    return state, f"given up after {counted(attempts, 'attempt')}: {failure.message}"


def dated(entry: Entry, failure: Failure, now_ns: int) -> Failure:
    """Note in a failure that is waited out since when there has been nothing else."""
    if failure.error not in {*DATABASE, BUSY_ELSEWHERE}:
        return failure
    before = entry.failure
    goes_on = before is not None and before.error == failure.error
    since_ns = before.facts.get(SINCE_NS, str(now_ns)) if goes_on and before else str(now_ns)
    return replace(failure, facts={**failure.facts, SINCE_NS: since_ns})


def _trouble_s(failure: Failure, now_ns: int) -> float:
    # A clock that was set back counts as no time.
    return max(0, now_ns - int(failure.facts.get(SINCE_NS, now_ns))) / SECOND_NS


def after_success(report: IngestReport) -> tuple[State, str]:
    """Decide where a recording goes that is on the platform, and why."""
    unverifiable = report.messages_unverifiable
    aside = ""
    if unverifiable:
        aside = f" ({counted(unverifiable, 'message')} without a checksum in the files)"
    if report.parts_before > 0 and (report.parts > report.parts_before or len(report.contents) > 1):
        aside += f"; {said_before(report)}"
    if report.complete:
        proof = f"verified: {report.verification}"
        return (
            State.FINALISED,
            f"{counted(report.messages_sent, 'message')} on the platform, {proof}{aside}",
        )
    why = "; ".join(report.shortfalls)
    return (
        State.PARTIAL,
        f"{counted(report.messages_sent, 'message')} on the platform, in part: {why}{aside}",
    )
