"""Keep doing it: watch, journal, schedule, run workers, retry, dispose, and tell how it goes."""

from bridge.daemon.answers import PARTS
from bridge.daemon.board import StatusBoard
from bridge.daemon.daemon import Daemon
from bridge.daemon.entry import Entry, Failure, Request, RequestKind, Transition
from bridge.daemon.event_log import EventLog
from bridge.daemon.events import DaemonObserver, Disposal, NoObserver, Observers, Progress
from bridge.daemon.explain import Explanation, explain
from bridge.daemon.health import Level, measure_disks
from bridge.daemon.http import HttpServer
from bridge.daemon.instance import INSTANCE_FILE, instance_id
from bridge.daemon.journal import Journal
from bridge.daemon.logs import configure_logging
from bridge.daemon.metrics import Metrics
from bridge.daemon.notification_store import STORE_FILE, Notice, NotificationStore, Target
from bridge.daemon.notifications import NotificationPoller
from bridge.daemon.options import api_key, connect, ingest_options, secrets
from bridge.daemon.permissions import check_permissions, too_open
from bridge.daemon.reader import JournalReader
from bridge.daemon.reload import CHANGEABLE, Change, Reload, plan_reload
from bridge.daemon.requests import forget, resend, retry
from bridge.daemon.schema import LOCK_FILE
from bridge.daemon.states import MEANING, TRANSITIONS, State
from bridge.daemon.status import (
    DaemonStatus,
    Gate,
    GateStatus,
    TopicProgress,
    WatchStatus,
    WorkerProgress,
)
from bridge.daemon.systemd import ServiceNotifier, ServiceObserver
from bridge.daemon.views import recording_view
from bridge.daemon.writers import Writer, writer_of

__all__ = [
    "CHANGEABLE",
    "INSTANCE_FILE",
    "LOCK_FILE",
    "MEANING",
    "PARTS",
    "STORE_FILE",
    "TRANSITIONS",
    "Change",
    "Daemon",
    "DaemonObserver",
    "DaemonStatus",
    "Disposal",
    "Entry",
    "EventLog",
    "Explanation",
    "Failure",
    "Gate",
    "GateStatus",
    "HttpServer",
    "Journal",
    "JournalReader",
    "Level",
    "Metrics",
    "NoObserver",
    "Notice",
    "NotificationPoller",
    "NotificationStore",
    "Observers",
    "Progress",
    "Reload",
    "Request",
    "RequestKind",
    "ServiceNotifier",
    "ServiceObserver",
    "State",
    "StatusBoard",
    "Target",
    "TopicProgress",
    "Transition",
    "WatchStatus",
    "WorkerProgress",
    "Writer",
    "api_key",
    "check_permissions",
    "configure_logging",
    "connect",
    "explain",
    "forget",
    "ingest_options",
    "instance_id",
    "measure_disks",
    "plan_reload",
    "recording_view",
    "resend",
    "retry",
    "secrets",
    "too_open",
    "writer_of",
]
