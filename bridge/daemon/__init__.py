"""Keep doing it: watch, journal, schedule, run workers, retry, dispose, and tell how it goes."""

from bridge.daemon.daemon import Daemon
from bridge.daemon.entry import Entry, Failure, Request, RequestKind, Transition
from bridge.daemon.events import DaemonObserver, Disposal, NoObserver, Observers, Progress
from bridge.daemon.explain import Explanation, explain
from bridge.daemon.instance import instance_id
from bridge.daemon.journal import Journal
from bridge.daemon.requests import forget, retry
from bridge.daemon.states import MEANING, TRANSITIONS, State
from bridge.daemon.status import (
    DaemonStatus,
    Gate,
    GateStatus,
    TopicProgress,
    WatchStatus,
    WorkerProgress,
)

__all__ = [
    "MEANING",
    "TRANSITIONS",
    "Daemon",
    "DaemonObserver",
    "DaemonStatus",
    "Disposal",
    "Entry",
    "Explanation",
    "Failure",
    "Gate",
    "GateStatus",
    "Journal",
    "NoObserver",
    "Observers",
    "Progress",
    "Request",
    "RequestKind",
    "State",
    "TopicProgress",
    "Transition",
    "WatchStatus",
    "WorkerProgress",
    "explain",
    "forget",
    "instance_id",
    "retry",
]
