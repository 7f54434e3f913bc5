"""The real daemon as a process of its own, which can be told where to die.

`MOSAICO_TEST_KILL_AT` names a point (a state, or an event of the observer) and which time; at that
point the process kills itself by SIGKILL, as a power switch would.
"""

import os
import signal
import sys
from pathlib import Path

from bridge.config import load_settings
from bridge.daemon import Daemon, Entry, Failure, NoObserver, Progress, Transition
from bridge.ingest import IngestReport, TopicReport


class Killer(NoObserver):
    """Ends the process at the given point."""

    def __init__(self, point: str) -> None:
        self._point, _, number = point.partition(":")
        self._left = int(number or 1)

    def reach(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def recording_changed(self, *, entry: Entry, transition: Transition) -> None:  # noqa: ARG002 - a protocol
        self.reach(str(transition.after))

    def ingest_started(
        self, *, entry: Entry, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        del entry, sequence, size_bytes, message_count
        self.reach("started")

    def topic_planned(self, *, entry: Entry, topic: TopicReport) -> None:
        del entry, topic
        self.reach("planned")

    def ingest_progressed(self, *, entry: Entry, progress: Progress) -> None:
        del entry, progress
        self.reach("progress")

    def stage_finished(self, *, entry: Entry, stage: str, seconds: float) -> None:
        del entry, seconds
        self.reach(f"stage-{stage}")

    def ingest_finished(self, *, entry: Entry, report: IngestReport) -> None:
        del entry, report
        self.reach("finished")

    def ingest_failed(self, *, entry: Entry, failure: Failure, retry_in_s: float | None) -> None:
        del entry, failure, retry_in_s
        self.reach("failed")


settings = load_settings(Path(sys.argv[1]))
Daemon(
    settings,
    server=(settings.server.host, settings.server.port),
    observer=Killer(os.environ.get("MOSAICO_TEST_KILL_AT", "")),
).run()
