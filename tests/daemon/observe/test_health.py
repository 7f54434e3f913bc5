"""One sentence for the whole state, the worst first."""

from typing import Any

import pytest

from bridge.daemon.events.events import Ticked
from bridge.daemon.events.status import BudgetStatus, Gate, GateStatus, UplinkStatus, WatchStatus
from bridge.daemon.observe.health import STUCK_AFTER_S, Disk, Level, readiness_checks, verdict
from bridge.daemon.observe.live_state import LiveState
from tests.daemon.observe.situations import status, worker

ROOM = Disk(role="state", folder="/state", free_bytes=2**40, size_bytes=2**41)
FULL = Disk(role="state", folder="/state", free_bytes=2**20, size_bytes=2**41)
GONE = Disk(role="archive", folder="/archive", problem="No such file or directory")
REFUSED = GateStatus(gate=Gate.REFUSED, reason="bad key", hint="get one", reached=True)
OFFLINE = GateStatus(gate=Gate.OFFLINE, reason="nobody answers", reached=True)
UNREADABLE = WatchStatus(folder=status().watch.folder, readable=False, problem="not mounted")

HELD = UplinkStatus(bytes_per_second_max=0, reason="the uplink is paused")
USED_UP = UplinkStatus(
    bytes_per_second_max=0,
    reason="uplink budget of the day used up until tomorrow",
    budgets=(BudgetStatus(period="day", most_bytes=9, used_bytes=9, left_bytes=0, ends_ns=1),),
)


@pytest.mark.parametrize(
    ("changes", "disk", "age_s", "level", "headline"),
    [
        ({}, ROOM, 0, Level.FINE, "All is well"),
        ({"uplink": HELD, "counts": {"ready": 1}}, ROOM, 0, Level.WAITING, "Uplink paused"),
        ({"uplink": USED_UP, "counts": {"sending": 1}, "workers": (worker(),)}, ROOM, 0,
         Level.WAITING, "Uplink budget used up"),
        ({"uplink": HELD}, ROOM, 0, Level.FINE, "All is well"),
        ({"counts": {"ready": 1}}, ROOM, 0, Level.WAITING, "1 recording waiting"),
        ({"workers": (worker(), worker(worker=2))}, ROOM, 0, Level.BUSY, "Sending 2 recordings"),
        ({"counts": {"quarantined": 1, "rejected": 1}}, ROOM, 0, Level.ATTENTION,
         "2 recordings need attention"),
        ({"gate": GateStatus(gate=Gate.OPEN)}, ROOM, 0, Level.WAITING, "Connecting"),
        ({"gate": OFFLINE}, ROOM, 0, Level.ATTENTION, "Offline"),
        ({"stopping": True, "gate": OFFLINE}, ROOM, 0, Level.WAITING, "Stopping"),
        ({"counts": {"quarantined": 1}}, FULL, 0, Level.DOWN, "The disk is full"),
        ({}, GONE, 0, Level.DOWN, "A folder is missing"),
        ({"watch": UNREADABLE}, FULL, 0, Level.DOWN, "The folder cannot be read"),
        ({"gate": REFUSED, "watch": UNREADABLE}, ROOM, 0, Level.DOWN, "The platform refuses us"),
        ({"gate": REFUSED}, FULL, STUCK_AFTER_S + 1, Level.DOWN, "The bridge is stuck"),
    ],
)  # fmt: skip
def test_worst_is_said_first(
    changes: dict[str, Any], disk: Disk, age_s: float, level: Level, headline: str
) -> None:
    """Of several troubles the one that stops most is the headline, with its reason."""
    now_s = 0.0
    board = LiveState(monotonic=lambda: now_s)
    board.hear(Ticked(status=status(**changes)))
    now_s = age_s
    look = board.look()
    told = verdict(look, readiness_checks(look, disks=[disk]))
    assert (told.level, told.headline) == (level, headline)
    assert told.detail.endswith(".")


def test_outage_promises_that_nothing_is_lost() -> None:
    """Offline, the page says how many recordings wait, in the singular too."""
    board = LiveState()
    board.hear(Ticked(status=status(gate=OFFLINE, counts={"ready": 1})))
    told = verdict(board.look(), readiness_checks(board.look()))
    assert (
        told.detail == "Nobody answers. Nothing is lost: 1 recording will be sent when it is back."
    )
