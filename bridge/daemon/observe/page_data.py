"""What the bridge knows, as plain JSON values: the shapes of `/api/...` (docs/watch.md).

Times of day are Unix seconds, durations seconds, sizes bytes. Every text is valid UTF-8, whatever
bytes a file name has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.daemon.events.status import (
    Board,
    DaemonStatus,
    Gate,
    TroubleNote,
    UplinkStatus,
    WatchStatus,
    WorkerProgress,
)
from bridge.daemon.journal.entry import Entry, Failure, Transition
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import AT_REST, NEEDS_ATTENTION, PROVISIONAL, QUEUED
from bridge.daemon.journal.view import printable
from bridge.daemon.observe.health import Check, Disk, Verdict, next_try, since_and_next
from bridge.units import SECOND_NS

# So many files that are no recordings are named; the rest is counted.
OTHERS_NAMED_MAX = 20

LIST_LENGTH = 20
# The parts of the status page and the states of the recordings they list.
PARTS = {
    "needs_attention": frozenset(NEEDS_ATTENTION),
    "waiting": QUEUED | PROVISIONAL,
    "recent": AT_REST - frozenset(NEEDS_ATTENTION),
}


def part_lists(journal: Journal, *, now_ns: int) -> dict[str, list[Entry]]:
    """Give the start of each list of the status page; what waits in the order in which it goes."""
    return {
        name: journal.browse(
            states=states, queue_at_ns=now_ns if name == "waiting" else None, limit=LIST_LENGTH
        )[0]
        for name, states in PARTS.items()
    }


def why_waiting(entry: Entry, board: Board, *, position: int | None = None) -> str:
    """Say why a recording is not on its way at this moment; empty where it does not wait.

    Args:
        entry: The recording.
        board: What the daemon last reported.
        position: Its place in the queue, from 1, where that is known.
    """
    if entry.state in PROVISIONAL:
        return entry.reason
    status = board.status
    if entry.state not in QUEUED or status is None:
        return ""
    if status.gate.gate is not Gate.OPEN:
        what = "platform away" if status.gate.gate is Gate.OFFLINE else "the platform refuses us"
        return what + since_and_next(status.gate, board.now_ns)
    if entry.due_ns > board.now_ns:
        left_s = (entry.due_ns - board.now_ns) / SECOND_NS
        return f"{entry.reason}; {next_try(left_s)}"
    if status.uplink.held:
        return status.uplink.reason
    return f"number {position} in the queue" if position is not None else "in the queue"


def several_folders(status: DaemonStatus | None) -> dict[str, Path]:
    """Give the watched folders by their names; nothing where there is only one."""
    folders = status.folders if status is not None else ()
    return {one.name: one.folder for one in folders} if len(folders) > 1 else {}


def folder_name(path: Path, folders: Mapping[str, Path]) -> str:
    """Name the watched folder that a path is in; empty where none of these holds it."""
    return next((name for name, folder in folders.items() if path.is_relative_to(folder)), "")


def recording_view(
    entry: Entry, *, why: str = "", folders: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Show one recording in a list.

    Args:
        entry: The recording.
        why: Why it waits now, beside how it came to its state.
        folders: The watched folders by name, where there are several.
    """
    return {
        "id": entry.id,
        "name": printable(entry.name),
        "folder": folder_name(entry.path, folders or {}),
        "file": printable(entry.path.name),
        "path": printable(str(entry.path)),
        "state": str(entry.state),
        "reason": entry.reason,
        "why": printable(why),
        "sequence": entry.sequence,
        "size_bytes": entry.size_bytes,
        "messages_sent": entry.messages_sent,
        "verification": entry.verification,
        "salvage": entry.salvage,
        "split_of": entry.split_of,
        "split_index": entry.split_index,
        "findings": entry.findings,
        "attempts": entry.attempts,
        "interruptions": entry.interruptions,
        "modified_at": _seconds(entry.modified_ns),
        "discovered_at": _seconds(entry.discovered_ns),
        "changed_at": _seconds(entry.changed_ns),
        "due_at": _seconds(entry.due_ns) if entry.due_ns else None,
        "failure": failure_view(entry.failure) if entry.failure is not None else None,
    }


def recording_detail_view(
    entry: Entry,
    *,
    story: Sequence[Transition],
    report: dict[str, Any] | None,
    duplicates: Sequence[Entry],
    folders: Mapping[str, Path],
) -> dict[str, Any]:
    """Show one recording whole: its story, and the report of its last ingest topic by topic."""
    return recording_view(entry, folders=folders) | {
        "fingerprint": entry.fingerprint,
        "supersedes": entry.supersedes,
        "duplicate_of": entry.duplicate_of,
        "duplicates": [printable(str(other.path)) for other in duplicates],
        "story": [
            {
                "at": _seconds(step.at_ns),
                "before": str(step.before) if step.before is not None else None,
                "after": str(step.after),
                "reason": step.reason,
            }
            for step in story
        ],
        "report": report,
    }


def failure_view(failure: Failure) -> dict[str, Any]:
    """Show what went wrong."""
    return {
        "error": failure.error,
        "message": printable(failure.message),
        "hint": printable(failure.hint),
        "trouble": str(failure.trouble),
        "facts": {name: printable(value) for name, value in failure.facts.items()},
    }


def status_view(
    board: Board,
    *,
    verdict: Verdict,
    checks: Sequence[Check],
    disks: Sequence[Disk],
    lists: dict[str, list[Entry]],
    notifications: dict[str, Any],
    others: Sequence[Path],
    version: str,
) -> dict[str, Any]:
    """Show everything the status page needs at once.

    Args:
        board: What the daemon last reported.
        verdict: The whole in one sentence.
        checks: What must hold.
        disks: How full they are.
        lists: Recordings by the part of the page that lists them.
        notifications: What the poller knows.
        others: Files in the watched folders that are no recordings.
        version: The version of the bridge.
    """
    folders = several_folders(board.status)
    return {
        "version": version,
        "now": _seconds(board.now_ns),
        "verdict": verdict.as_json(),
        "checks": [check.as_json() for check in checks],
        "disks": [asdict(disk) for disk in disks],
        "daemon": _daemon_view(board.status) if board.status is not None else None,
        "platform": asdict(board.platform) if board.platform is not None else None,
        "workers": [
            _worker_view(worker, board)
            for worker in (board.status.workers if board.status is not None else ())
        ],
        "rate": asdict(board.rate),
        "rates": [asdict(rate) for rate in board.rates],
        "troubles": [_trouble_view(note) for note in board.troubles],
        "recordings": {
            name: [
                recording_view(
                    entry, why=why_waiting(entry, board, position=number), folders=folders
                )
                for number, entry in enumerate(entries, start=1)
            ]
            for name, entries in lists.items()
        },
        "notifications": notifications,
        "others": {
            "count": len(others),
            "names": [printable(str(path)) for path in others[:OTHERS_NAMED_MAX]],
        },
    }


def _daemon_view(status: DaemonStatus) -> dict[str, Any]:
    return {
        "instance": status.instance_id,
        "server": status.server,
        "embedded": status.embedded,
        "started_at": _seconds(status.started_ns),
        "ticked_at": _seconds(status.ticked_ns),
        "stopping": status.stopping,
        "counts": status.counts,
        "uplink": _uplink_view(status.uplink),
        "gate": {
            "gate": str(status.gate.gate),
            "reason": printable(status.gate.reason),
            "hint": status.gate.hint,
            "since": _seconds(status.gate.since_ns) if status.gate.since_ns else None,
            "reached": status.gate.reached,
            "next_probe_s": status.gate.next_probe_s,
        },
        "watch": _watch_view(status.watch),
        "folders": [_watch_view(folder) for folder in status.folders],
    }


def _watch_view(watch: WatchStatus) -> dict[str, Any]:
    return {
        "name": watch.name,
        "folder": printable(str(watch.folder)),
        "readable": watch.readable,
        "events": watch.events,
        "problem": printable(watch.problem),
        "scans": watch.scans,
        "last_scan_at": _seconds(watch.last_scan_ns),
        "last_scan_s": watch.last_scan_s,
        "recordings": watch.recordings,
    }


def _uplink_view(uplink: UplinkStatus) -> dict[str, Any]:
    return {
        "bytes_per_second_max": uplink.bytes_per_second_max,
        "held": uplink.held,
        "reason": uplink.reason,
        "ends_at": _seconds(uplink.ends_ns) if uplink.ends_ns else None,
        "budgets": [
            {
                "period": budget.period,
                "most_bytes": budget.most_bytes,
                "used_bytes": budget.used_bytes,
                "left_bytes": budget.left_bytes,
                "ends_at": _seconds(budget.ends_ns),
            }
            for budget in uplink.budgets
        ],
    }


def _worker_view(worker: WorkerProgress, board: Board) -> dict[str, Any]:
    planned = {topic.name: asdict(topic) for topic in board.planned.get(worker.entry_id, ())}
    for name, sent in worker.topics.items():
        topic = planned.setdefault(name, {"name": name})
        topic.update(messages_sent=sent.messages, arrow_bytes=sent.arrow_bytes)
        if sent.read:
            topic["messages_read"] = sent.read
    return {
        "worker": worker.worker,
        "id": worker.entry_id,
        "path": printable(str(worker.path)),
        "folder": folder_name(worker.path, several_folders(board.status)),
        "sequence": worker.sequence,
        "attempt": worker.attempt,
        "started_at": _seconds(worker.started_ns),
        "recorded_bytes": worker.recorded_bytes,
        "recorded_bytes_read": worker.recorded_bytes_read,
        "messages_recorded": worker.messages_recorded,
        "messages_sent": worker.messages_sent,
        "arrow_bytes": worker.arrow_bytes,
        "memory_bytes": worker.memory_bytes,
        "idle_s": worker.idle_s,
        "topics": list(planned.values()),
    }


def _trouble_view(note: TroubleNote) -> dict[str, Any]:
    return failure_view(note.failure) | {
        "at": _seconds(note.at_ns),
        "recording": printable(note.recording),
        "id": note.entry_id,
        "retry_in_s": note.retry_in_s,
        "final": note.final,
        "repeats": note.repeats,
    }


def _seconds(stamp_ns: int) -> float:
    return stamp_ns / SECOND_NS
