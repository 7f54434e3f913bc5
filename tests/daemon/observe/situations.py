"""Situations of a daemon, as the values it reports; shared by the tests of what shows them."""

from pathlib import Path
from typing import Any

from bridge.daemon.events.status import DaemonStatus, Gate, GateStatus, WatchStatus, WorkerProgress
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import State
from bridge.errors import Trouble

SECOND_NS = 1_000_000_000
NOW_S = 1_800_000_000
NOW_NS = NOW_S * SECOND_NS


def entry(**changes: Any) -> Entry:
    """A healthy recording of 1 MB, ready to be sent, found a minute ago."""
    values: dict[str, Any] = {
        "id": 1, "fingerprint": "f" * 64, "path": Path("/data/drive"), "name": "drive",
        "state": State.READY, "reason": "complete", "size_bytes": 1_000_000,
        "modified_ns": NOW_NS - 90 * SECOND_NS, "discovered_ns": NOW_NS - 60 * SECOND_NS,
        "changed_ns": NOW_NS - 50 * SECOND_NS, "attempts": 0, "interruptions": 0, "deaths": 0,
        "due_ns": 0, "salvage": False, "sequence": "", "verification": "", "messages_sent": 0,
        "failure": None, "supersedes": None, "duplicate_of": None,
    }  # fmt: skip
    return Entry(**(values | changes))


def failure(**changes: Any) -> Failure:
    """A broken stream."""
    values: dict[str, Any] = {
        "error": "TransientError", "message": "the stream broke", "hint": "",
        "trouble": Trouble.TRANSIENT,
    }  # fmt: skip
    return Failure(**(values | changes))


def worker(**changes: Any) -> WorkerProgress:
    """A worker halfway through its recording."""
    values: dict[str, Any] = {
        "worker": 1, "pid": 4711, "entry_id": 1, "path": Path("/data/drive"),
        "sequence": "drive_ab12", "attempt": 1, "started_ns": NOW_NS - 4 * SECOND_NS,
        "recorded_bytes": 1_000_000, "recorded_bytes_read": 500_000, "messages_recorded": 2000,
        "messages_sent": 1000, "arrow_bytes": 2_000_000, "memory_bytes": 123_000_000,
        "idle_s": 0.25,
    }  # fmt: skip
    return WorkerProgress(**(values | changes))


def status(**changes: Any) -> DaemonStatus:
    """A daemon that is connected to a platform and idle."""
    values: dict[str, Any] = {
        "instance_id": "0123456789abcdef0123456789abcdef", "server": "mosaico.example:6726",
        "embedded": False, "started_ns": NOW_NS - 3600 * SECOND_NS, "ticked_ns": NOW_NS,
        "stopping": False,
        "gate": GateStatus(gate=Gate.OPEN, since_ns=NOW_NS - 3600 * SECOND_NS, reached=True),
        "watch": WatchStatus(
            folder=Path("/data"), events=True, scans=7, last_scan_ns=NOW_NS - SECOND_NS,
            last_scan_s=0.125, recordings=3,
        ),
        "workers": (), "counts": {},
    }  # fmt: skip
    return DaemonStatus(**(values | changes))
