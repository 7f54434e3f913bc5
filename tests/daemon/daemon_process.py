"""The real daemon as a process of its own, which can be told where to die.

`MOSAICO_TEST_KILL_AT` names a point (a state, an event of the observer, or `unlink` for just before
a name is removed) and which time; at that point the process kills itself by SIGKILL, as a power
switch would.
"""

import os
import signal
import sys
from pathlib import Path

from bridge.config import load_settings
from bridge.daemon import Daemon, Event
from bridge.daemon.events import events
from bridge.daemon.watch import folder_scans
from bridge.files import OpenFolder


class Killer:
    """Ends the process at the given point."""

    def __init__(self, point: str) -> None:
        self._point, _, number = point.partition(":")
        self._left = int(number or 1)

    def reach(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: Event) -> None:
        match event:
            case events.RecordingChanged(transition=transition):
                self.reach(str(transition.after))
            case events.IngestStarted():
                self.reach("started")
            case events.TopicPlanned():
                self.reach("planned")
            case events.IngestProgressed():
                self.reach("progress")
            case events.StageFinished(stage=stage):
                self.reach(f"stage-{stage}")
            case events.IngestFinished():
                self.reach("finished")
            case events.IngestFailed():
                self.reach("failed")
            case _:
                pass


def unlink_or_die(folder: OpenFolder, name: str) -> None:
    # Hidden names are those of copies that are not whole yet.
    if not name.startswith("."):
        killer.reach("unlink")
    os.unlink(name, dir_fd=folder.descriptor)


killer = Killer(os.environ.get("MOSAICO_TEST_KILL_AT", ""))
# The point is in the middle of a function, between two names.
OpenFolder.unlink = unlink_or_die  # type: ignore[assignment,method-assign]
# On a busy machine each look takes long, and the next would come after a minute.
folder_scans.LOOKING_SHARE_MAX = 1.0
settings = load_settings(Path(sys.argv[1]))
Daemon(settings, server=(settings.server.host, settings.server.port), observer=killer).run()
