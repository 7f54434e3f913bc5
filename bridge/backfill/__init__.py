"""An archive of recordings onto the platform, on one machine or on an engine that exists."""

from bridge.backfill.archive import ArchivedRecording, list_archive
from bridge.backfill.driver import Driver, Entry, Listener, Listeners, Summary
from bridge.backfill.engines import Engine, dask_cluster, shard_of, this_machine
from bridge.backfill.machine import Away
from bridge.backfill.manifest import Manifest
from bridge.backfill.plan import Choice, Found, Planned, find, rehearsed, require_sound
from bridge.backfill.progress import Lines, RunMetrics, brief, told_away
from bridge.backfill.scratch import require_scratch
from bridge.backfill.task import Outcome, Result, Task, Watch, perform, scratch_of

__all__ = [
    "ArchivedRecording",
    "Away",
    "Choice",
    "Driver",
    "Engine",
    "Entry",
    "Found",
    "Lines",
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
    "brief",
    "dask_cluster",
    "find",
    "list_archive",
    "perform",
    "rehearsed",
    "require_scratch",
    "require_sound",
    "scratch_of",
    "shard_of",
    "this_machine",
    "told_away",
]
