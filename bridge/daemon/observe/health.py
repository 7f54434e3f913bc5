"""Is all well? The checks behind `/healthz` and `/readyz`, and the one sentence for a person."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from bridge.daemon.events.status import Board, DaemonStatus, Gate, GateStatus
from bridge.daemon.journal.states import IN_WORK, NEEDS_ATTENTION, ON_PLATFORM, QUEUED
from bridge.daemon.journal.view import printable
from bridge.units import MEBIBYTE, SECOND_NS, counted

# The loop makes a turn at least once a second; one that has not for so long is stuck.
STUCK_AFTER_S = 30.0
DISK_FREE_MIN_BYTES = 256 * MEBIBYTE
# What people read is in powers of 1000 everywhere.
MEGABYTE = 1_000_000

# Failed checks that stop everything, in the order in which they are blamed, by start of their name.
BLAME = (
    ("loop", "The bridge is stuck"),
    ("key", "The platform refuses us"),
    ("folder", "The folder cannot be read"),
    ("missing_", "A folder is missing"),
    ("disk_", "The disk is full"),
    ("journal", "The journal cannot be read"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: `loop`, `server`, `key`, `folder`, `disk_<role>` or
            `missing_<role>` where the folder itself is not there.
        ok: Whether it holds.
        detail: What was found, as a sentence.
        hint: What to do when it does not hold; may be empty.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How full the disk of a folder is.

    Attributes:
        role: What we use the folder for: `watch`, `state`, `archive`, ...
        folder: The folder.
        free_bytes: Room left for us; None where it cannot be asked.
        size_bytes: Size of the disk; None where it cannot be asked.
        problem: Why it cannot be asked; else empty.
    """

    role: str
    folder: str
    free_bytes: int | None = None
    size_bytes: int | None = None
    problem: str = ""


class Level(StrEnum):
    """How much attention is due, least first."""

    FINE = "fine"
    BUSY = "busy"
    WAITING = "waiting"
    ATTENTION = "attention"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole state in one sentence, and what follows from it.

    Attributes:
        level: How much attention is due.
        headline: A few words.
        detail: A sentence or two.
        hint: What to do; empty where nothing is to be done.
    """

    level: Level
    headline: str
    detail: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self)


def loop_check(board: Board) -> Check:
    """Check that the loop makes progress: what `/healthz` is about, whatever the platform does."""
    if board.tick_age_s is None:
        return Check(name="loop", ok=False, detail="the loop has not made its first turn yet")
    ok = board.tick_age_s <= STUCK_AFTER_S
    return Check(
        name="loop",
        ok=ok,
        detail=f"the loop last made a turn {board.tick_age_s:.1f} s ago",
        hint="" if ok else "restart the bridge; nothing is lost by that",
    )


def measure_disks(folders: Mapping[str, Path]) -> list[Disk]:
    """Measure the disks of folders, by role."""
    disks = []
    for role, folder in folders.items():
        name = printable(str(folder))
        try:
            usage = shutil.disk_usage(folder)
        except OSError as error:
            disks.append(Disk(role=role, folder=name, problem=error.strerror or "unknown"))
        else:
            disks.append(
                Disk(role=role, folder=name, free_bytes=usage.free, size_bytes=usage.total)
            )
    return disks


def readiness_checks(
    board: Board,
    *,
    disks: Sequence[Disk] = (),
    disk_free_min_bytes: int = DISK_FREE_MIN_BYTES,
) -> list[Check]:
    """Check everything that the bridge needs to get recordings onto the platform now.

    Args:
        board: What the daemon last reported.
        disks: The disks that need room.
        disk_free_min_bytes: The room each needs.
    """
    checks = [loop_check(board)]
    if board.status is not None:
        checks += [*_gate_checks(board.status.gate), _folder_check(board.status)]
    return [*checks, *(_disk_check(disk, disk_free_min_bytes) for disk in disks)]


def _gate_checks(gate: GateStatus) -> list[Check]:
    answers = gate.reached and gate.gate is not Gate.OFFLINE
    refused = gate.gate is Gate.REFUSED
    silence = gate.reason or "the platform has not answered yet"
    return [
        Check(
            name="server",
            ok=answers or refused,
            detail="the platform answers" if answers or refused else silence,
            hint="" if answers or refused else gate.hint,
        ),
        Check(
            name="key",
            ok=not refused,
            detail=gate.reason if refused else "not refused so far",
            hint=gate.hint if refused else "",
        ),
    ]


def _folder_check(status: DaemonStatus) -> Check:
    watch = status.watch
    good = f"{watch.folder} can be read"
    return Check(
        name="folder",
        ok=watch.readable,
        detail=good if watch.readable else watch.problem or f"{watch.folder} cannot be read",
        hint="" if watch.readable else "is it mounted, and may the bridge's user read it?",
    )


def _disk_check(disk: Disk, minimum_bytes: int) -> Check:
    if disk.free_bytes is None:
        detail = f"the disk of {disk.folder} cannot be asked: {disk.problem}"
        return Check(
            name=f"missing_{disk.role}", ok=False, detail=detail, hint="does the folder exist?"
        )
    ok = disk.free_bytes >= minimum_bytes
    short = "" if ok else f", less than {minimum_bytes // MEGABYTE:,} MB"
    return Check(
        name=f"disk_{disk.role}",
        ok=ok,
        detail=f"{disk.free_bytes // MEGABYTE:,} MB free for {disk.folder}{short}",
        hint="" if ok else "make room on that disk",
    )


def verdict(board: Board, checks: Sequence[Check]) -> Verdict:
    """Say in one sentence how things are, the worst first.

    Args:
        board: What the daemon last reported.
        checks: The result of `readiness_checks`.
    """
    status = board.status
    if status is None:
        return Verdict(
            level=Level.WAITING, headline="Starting", detail="The loop has not turned yet."
        )
    failed = [check for check in checks if not check.ok]
    for name, headline in BLAME:
        for check in failed:
            if check.name.startswith(name):
                return Verdict(
                    level=Level.DOWN,
                    headline=headline,
                    detail=_sentence(check.detail),
                    hint=check.hint,
                )
    if status.stopping:
        return Verdict(
            level=Level.WAITING,
            headline="Stopping",
            detail=f"{counted(len(status.workers), 'recording')} in work may still finish.",
        )
    waiting = sum(status.counts.get(state, 0) for state in QUEUED | IN_WORK)
    return (
        _without_platform(failed, status, waiting, board.now_ns)
        if failed
        else _content(status, waiting)
    )


def since_and_next(gate: GateStatus, now_ns: int) -> str:
    """Say since when the way to the platform is closed, and when it is tried again."""
    since = ""
    if gate.since_ns:
        at, now = (
            datetime.fromtimestamp(stamp / SECOND_NS).astimezone()
            for stamp in (gate.since_ns, now_ns)
        )
        since = f" since {at:%H:%M}" if at.date() == now.date() else f" since {at:%Y-%m-%d %H:%M}"
    return f"{since}, {next_try(gate.next_probe_s)}"


def next_try(wait_s: float) -> str:
    """Say when something is tried again."""
    return f"next try in {wait_s:.0f} s" if wait_s >= 1 else "trying now"


def _without_platform(
    failed: list[Check], status: DaemonStatus, waiting: int, now_ns: int
) -> Verdict:
    offline, known = status.gate.gate is Gate.OFFLINE, bool(status.gate.since_ns)
    promise = f"Nothing is lost: {counted(waiting, 'recording')} will be sent when it is back."
    return Verdict(
        level=Level.ATTENTION if offline else Level.WAITING,
        headline="Offline" if offline else "Connecting",
        detail=_sentence(failed[0].detail)
        + (f" Away{since_and_next(status.gate, now_ns)}." if offline and known else "")
        + (f" {promise}" if waiting else ""),
        hint=failed[0].hint,
    )


def _content(status: DaemonStatus, waiting: int) -> Verdict:
    stuck = sum(status.counts.get(state, 0) for state in NEEDS_ATTENTION)
    arrived = sum(status.counts.get(state, 0) for state in ON_PLATFORM)
    if stuck:
        verb = "needs" if stuck == 1 else "need"
        return Verdict(
            level=Level.ATTENTION,
            headline=f"{counted(stuck, 'recording')} {verb} attention",
            detail="Everything else goes on. See below what to do.",
        )
    if status.uplink.held and waiting:
        used_up = any(budget.left_bytes == 0 for budget in status.uplink.budgets)
        return Verdict(
            level=Level.WAITING,
            headline="Uplink budget used up" if used_up else "Uplink paused",
            detail=_sentence(status.uplink.reason)
            + f" {counted(waiting, 'recording')} will be sent then.",
            hint="change [uplink] in the settings and reload them to send before",
        )
    if status.workers:
        left = waiting - len(status.workers)
        queue = f", {left:,} more in the queue" if left > 0 else ""
        return Verdict(
            level=Level.BUSY,
            headline=f"Sending {counted(len(status.workers), 'recording')}",
            detail=f"{counted(arrived, 'recording')} on the platform{queue}.",
        )
    if waiting:
        return Verdict(
            level=Level.WAITING,
            headline=f"{counted(waiting, 'recording')} waiting",
            detail=f"{counted(arrived, 'recording')} on the platform.",
        )
    where = "in the embedded server" if status.embedded else "on the platform"
    return Verdict(
        level=Level.FINE,
        headline="All is well",
        detail=f"{counted(arrived, 'recording')} {where}, none waiting."
        if arrived
        else "Nothing to do yet: put a recording into the folder.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
