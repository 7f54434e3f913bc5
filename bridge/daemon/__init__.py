"""Keep doing it: watch, journal, schedule, run workers, retry, dispose, and tell how it goes."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.daemon.daemon import Daemon
    from bridge.daemon.events.events import (
        DaemonObserver,
        Event,
        IngestFailed,
        IngestFinished,
        Observers,
    )
    from bridge.daemon.events.status import (
        DaemonStatus,
        Gate,
        GateStatus,
        PlatformFacts,
        TopicProgress,
        WatchStatus,
        WorkerProgress,
    )
    from bridge.daemon.journal.clock import SystemClock
    from bridge.daemon.journal.entry import Entry, Failure, Request, RequestKind, Transition
    from bridge.daemon.journal.instance import INSTANCE_FILE, instance_id
    from bridge.daemon.journal.journal import Journal, JournalReader
    from bridge.daemon.journal.requests import doubt, forget, resend, retry
    from bridge.daemon.journal.schema import LOCK_FILE
    from bridge.daemon.journal.states import (
        IN_WORK,
        MEANING,
        NEEDS_ATTENTION,
        ON_PLATFORM,
        TRANSITIONS,
        WHOLE_ON_PLATFORM,
        State,
    )
    from bridge.daemon.observe.event_log import EventLog
    from bridge.daemon.observe.explain import Explanation, explain
    from bridge.daemon.observe.health import Level, measure_disks, next_try
    from bridge.daemon.observe.http import HttpServer
    from bridge.daemon.observe.live_state import LiveState
    from bridge.daemon.observe.log import configure_logging
    from bridge.daemon.observe.metrics import Metrics
    from bridge.daemon.observe.notification_store import (
        STORE_FILE,
        Notice,
        NotificationStore,
        Target,
    )
    from bridge.daemon.observe.notifications import NotificationPoller
    from bridge.daemon.observe.page_data import PARTS, part_lists, recording_view
    from bridge.daemon.observe.permissions import check_permissions, too_open
    from bridge.daemon.observe.systemd import ServiceNotifier, ServiceObserver
    from bridge.daemon.reload import CHANGEABLE, Change, Reload, plan_reload
    from bridge.daemon.watch.open_files import Writer, writer_of
    from bridge.daemon.watch.scan import ignored
    from bridge.daemon.work.outcome import (
        BUSY_ELSEWHERE,
        NO_ROOM,
        VANISHED,
        Decision,
        Pause,
        after_failure,
        backoff_s,
        dated,
    )
    from bridge.daemon.work.pipe import Failed, Job, JobKind, Progressed, Succeeded
    from bridge.daemon.work.pool import JOBS_PER_WORKER_MAX, START_TIMEOUT_S
    from bridge.daemon.work.process import Worker
    from bridge.daemon.work.supervisor import excess_of, failure_of_lost

__all__ = [
    "BUSY_ELSEWHERE",
    "CHANGEABLE",
    "INSTANCE_FILE",
    "IN_WORK",
    "JOBS_PER_WORKER_MAX",
    "LOCK_FILE",
    "MEANING",
    "NEEDS_ATTENTION",
    "NO_ROOM",
    "ON_PLATFORM",
    "PARTS",
    "START_TIMEOUT_S",
    "STORE_FILE",
    "TRANSITIONS",
    "VANISHED",
    "WHOLE_ON_PLATFORM",
    "Change",
    "Daemon",
    "DaemonObserver",
    "DaemonStatus",
    "Decision",
    "Entry",
    "Event",
    "EventLog",
    "Explanation",
    "Failed",
    "Failure",
    "Gate",
    "GateStatus",
    "HttpServer",
    "IngestFailed",
    "IngestFinished",
    "Job",
    "JobKind",
    "Journal",
    "JournalReader",
    "Level",
    "LiveState",
    "Metrics",
    "Notice",
    "NotificationPoller",
    "NotificationStore",
    "Observers",
    "Pause",
    "PlatformFacts",
    "Progressed",
    "Reload",
    "Request",
    "RequestKind",
    "ServiceNotifier",
    "ServiceObserver",
    "State",
    "Succeeded",
    "SystemClock",
    "Target",
    "TopicProgress",
    "Transition",
    "WatchStatus",
    "Worker",
    "WorkerProgress",
    "Writer",
    "after_failure",
    "backoff_s",
    "check_permissions",
    "configure_logging",
    "dated",
    "doubt",
    "excess_of",
    "explain",
    "failure_of_lost",
    "forget",
    "ignored",
    "instance_id",
    "measure_disks",
    "next_try",
    "part_lists",
    "plan_reload",
    "recording_view",
    "resend",
    "retry",
    "too_open",
    "writer_of",
]

__getattr__ = on_first_use(__name__, __file__)
