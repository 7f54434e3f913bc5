"""What a disposer has done in its thread: ask the platform, then move or delete, one by one.

Every recording ends in an outcome, which the disposer brings into the journal in the loop's thread.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from bridge.daemon.dispose.background import Background, WorkStoppedError
from bridge.daemon.dispose.disposal import (
    Source,
    SourceChangedError,
    delete,
    move,
    quarantine,
    room_made_by,
)
from bridge.daemon.dispose.proof import Answer, Proof, Prove, judge
from bridge.errors import BridgeError
from bridge.ingest import Holding, SequenceContent, VerificationLevel

# Some file systems free what was deleted at their next commit; so long it is waited for.
ROOM_PATIENCE_S = 5.0
ROOM_LOOK_S = 0.1
# What deleting less frees is easily hidden by what others write in the same moment. Where they
# are seen to write, one says nothing, and only so many one after the other do.
ROOM_SEEN_BYTES = 256 << 10
SMALL_HIDDEN_MAX = 16
# A disk with less is full.
FULL_BYTES = 64 << 10
# Others write meanwhile, so that not all of what a deletion frees is seen.
ROOM_SHARE = 0.5


class Ending(StrEnum):
    """What came of a recording that was to go."""

    GONE = "gone"
    LOST = "lost"
    DOUBTFUL = "doubtful"
    UNPROVEN = "unproven"
    CHANGED = "changed"
    FAILED = "failed"
    ROOMLESS = "roomless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A recording that is to go.

    Attributes:
        entry_id: The recording's number.
        source: Its files.
        size_bytes: Their size.
        contents: What must be on the platform of it.
        remembered: Whether proof had before counts where the platform does not answer.
        report: What is written beside it in quarantine.
    """

    entry_id: int
    source: Source
    size_bytes: int
    contents: tuple[SequenceContent, ...] = ()
    remembered: bool = False
    report: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one.

    Attributes:
        task: The recording.
        ending: `GONE`: moved or deleted. `LOST`: the platform does not have it any more.
            `DOUBTFUL`: the platform has something else, or cannot prove it. `UNPROVEN`: it did not
            answer. `CHANGED`: the files are others by now. `FAILED`: the disk did not let it go.
            `ROOMLESS`: it went, or would go, without making room.
        mode: `move`, `delete`, `emergency` or `quarantine`.
        reason: Why, as a sentence; empty for `GONE`.
        target: Where it is now, if it was moved.
        proof: What let it go.
        free_bytes: Free space after a deletion that made no room.
        crowded: Whether others wrote so much meanwhile that they may have taken that room.
        made_room: Whether it was seen to make room.
        disk_full: Whether it did not go since a disk is full.
    """

    task: Task
    ending: Ending
    mode: str
    reason: str = ""
    target: Path | None = None
    proof: Proof = Proof.NONE
    free_bytes: int = 0
    crowded: bool = False
    made_room: bool = False
    disk_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Recordings that are to go the same way.

    Attributes:
        tasks: In this order.
        mode: `move`, `delete`, `emergency` or `quarantine`.
        folder: Where they are moved to; None where they are deleted.
        needed: What must be proven; None where nothing is asked.
        target_bytes: With so much free space no more go; None where all go.
        for_room: Whether they go to make room: then no more go when one made none.
    """

    tasks: tuple[Task, ...]
    mode: str
    folder: Path | None = None
    needed: VerificationLevel | None = None
    target_bytes: int | None = None
    for_room: bool = False


class Remover:
    """Carries batches out; used from the background thread.

    Args:
        background: The thread, which takes the outcomes.
        prove: Asks the platform.
        free_bytes: Measures the space of the watched folder's disk that recorders may use.
        room_bytes: Measures the space that deleting adds to.
    """

    def __init__(
        self,
        background: Background[Outcome],
        *,
        prove: Prove,
        free_bytes: Callable[[], int],
        room_bytes: Callable[[], int],
    ) -> None:
        self._background = background
        self._prove = prove
        self._free_bytes = free_bytes
        self._room_bytes = room_bytes
        self._small_hidden = 0

    def carry_out(self, batch: Batch) -> None:
        """Let the recordings of a batch go as far as they may, and report each."""
        answers = self._ask(batch)
        for task in batch.tasks:
            self._background.check()
            if batch.target_bytes is not None and self._free_bytes() >= batch.target_bytes:
                return
            try:
                ended = self._let_go(task, batch, answers)
            except WorkStoppedError:
                raise
            except SourceChangedError as error:
                ended = _ended(task, batch, Ending.CHANGED, str(error.strerror))
            except FileNotFoundError as error:
                ended = _ended(task, batch, Ending.CHANGED, f"{error.filename} is not there")
            except OSError as error:
                ended = replace(
                    _ended(task, batch, Ending.FAILED, error.strerror or str(error)),
                    disk_full=error.errno in {errno.ENOSPC, errno.EDQUOT},
                )
            except Exception as error:  # noqa: BLE001 - a defect costs one recording's disposal
                ended = _ended(task, batch, Ending.FAILED, f"unexpected error: {error!r}")
            self._background.put(ended)
            if ended.ending is Ending.ROOMLESS and ended.free_bytes:
                return

    def _ask(self, batch: Batch) -> dict[str, Holding] | BridgeError:
        """Ask for all of a batch together: one call where the platform's revision allows it."""
        if batch.needed is None:
            return {}
        try:
            return dict(self._prove([one for task in batch.tasks for one in task.contents]))
        except BridgeError as error:
            return error

    def _let_go(
        self, task: Task, batch: Batch, answers: dict[str, Holding] | BridgeError
    ) -> Outcome:
        proof = Proof.NONE
        if isinstance(answers, BridgeError):
            if not task.remembered:
                reason = f"the platform does not say that it has it: {answers.message}"
                return _ended(task, batch, Ending.UNPROVEN, reason)
            proof = Proof.REMEMBERED
        elif batch.needed is not None:
            answer: Answer = judge(task.contents, answers, needed=batch.needed)
            if not answer.whole:
                ending = Ending.LOST if answer.lost else Ending.DOUBTFUL
                return _ended(task, batch, ending, answer.reason)
            proof = Proof.ASKED
        if batch.for_room:
            return self._make_room(task, batch, proof)
        return self._dispose(task, batch, proof)

    def _dispose(self, task: Task, batch: Batch, proof: Proof) -> Outcome:
        target = None
        if batch.mode == "quarantine":
            assert batch.folder is not None
            target = quarantine(
                task.source, batch.folder, task.report, check=self._background.check
            )
        elif batch.folder is not None:
            target = move(task.source, batch.folder, check=self._background.check)
        else:
            delete(task.source)
        return Outcome(task=task, ending=Ending.GONE, mode=batch.mode, target=target, proof=proof)

    def _make_room(self, task: Task, batch: Batch, proof: Proof) -> Outcome:
        """Let a recording go for the room that it takes, and see whether that room comes."""
        expected_bytes = room_made_by(task.source)
        if expected_bytes == 0:
            reason = "other names link to its files, so that deleting it makes no room"
            return _ended(task, batch, Ending.ROOMLESS, reason)
        small = expected_bytes < ROOM_SEEN_BYTES
        if small and batch.target_bytes is None:
            # There is no hurry either.
            return self._dispose(task, batch, proof)
        before_bytes = self._room_bytes()
        outcome = self._dispose(task, batch, proof)
        seen_bytes = ROOM_SHARE * expected_bytes
        looks_bytes: list[int] = []
        waited_s = 0.0
        while (free_bytes := self._room_bytes()) - before_bytes < seen_bytes:
            looks_bytes.append(free_bytes)
            others = max(looks_bytes) - min(looks_bytes) >= seen_bytes
            if small and others and self._small_hidden < SMALL_HIDDEN_MAX:
                self._small_hidden += 1
                return outcome
            if waited_s >= ROOM_PATIENCE_S:
                self._background.put(outcome)
                reason = (
                    f"{expected_bytes} bytes should have become free and "
                    f"{max(0, free_bytes - before_bytes)} did"
                )
                return Outcome(
                    task=task, ending=Ending.ROOMLESS, mode=batch.mode, reason=reason,
                    free_bytes=max(1, free_bytes),
                    # On a full disk a recorder cannot write, and takes new room at once.
                    crowded=others or free_bytes < FULL_BYTES,
                )  # fmt: skip
            self._background.wait(ROOM_LOOK_S)
            waited_s += ROOM_LOOK_S
        self._small_hidden = 0
        return replace(outcome, made_room=True)


def _ended(task: Task, batch: Batch, ending: Ending, reason: str) -> Outcome:
    return Outcome(task=task, ending=ending, mode=batch.mode, reason=reason)
