"""An archive of recordings onto the platform, on one machine or on an engine that exists."""

from bridge.backfill.archive import ArchivedRecording, list_archive
from bridge.backfill.driver import Driver, Entry, Listener, Listeners, Summary
from bridge.backfill.engines import Engine, dask_cluster, shard_of, this_machine
from bridge.backfill.manifest import Manifest
from bridge.backfill.metrics import RunMetrics
from bridge.backfill.plan import Choice, Found, Planned, find
from bridge.backfill.task import Outcome, Result, Task, Watch, perform, scratch_of

__all__ = [
    "ArchivedRecording",
    "Choice",
    "Driver",
    "Engine",
    "Entry",
    "Found",
    "Listener",
    "Listeners",
    "Manifest",
    "Outcome",
    "Planned",
    "Result",
    "RunMetrics",
    "Summary",
    "Task",
    "Watch",
    "dask_cluster",
    "find",
    "list_archive",
    "perform",
    "scratch_of",
    "shard_of",
    "this_machine",
]
