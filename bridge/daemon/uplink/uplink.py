"""How much may be sent now: the rate in force, the budgets and what is left of them.

What was moved is counted as workers tell it, whatever becomes of their recordings, and kept in a
small file, so that a restart does not make a new budget. A kill may forget the last seconds; a
file that cannot be written is written later, and counting goes on meanwhile.
"""

import json
import logging
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

from bridge.config import PAUSED, LiveSettings, UplinkSettings, day_of
from bridge.daemon.events.events import Event, WireMoved
from bridge.daemon.events.status import BudgetStatus, UplinkStatus
from bridge.daemon.journal.clock import Clock
from bridge.files import replace_file
from bridge.units import SECOND_NS

log = logging.getLogger(__name__)

UPLINK_FILE = "uplink.json"
FORMAT_VERSION = 1
SAVE_INTERVAL_S = 5.0
# Periods that are remembered; more than two because clocks may jump there and back.
PERIODS_MAX = 64


class Uplink:
    """Knows how much may be sent; hears from workers what was. Used from the loop's thread only.

    Args:
        live: Rate, timetable and budgets in force.
        folder: The state folder, for the file of what was moved.
        clock: Where the time comes from.
    """

    def __init__(self, live: LiveSettings, *, folder: Path, clock: Clock) -> None:
        self._live = live
        self._file = folder / UPLINK_FILE
        self._clock = clock
        self._moved_bytes = _read(self._file)
        self._dirty = False
        self._save_at_s = clock.monotonic_s()
        self._status: UplinkStatus | None = None
        self._looked_with = self._settings
        self._status_ends_s = 0.0

    @property
    def _settings(self) -> UplinkSettings:
        return self._live.now.uplink

    def hear(self, event: Event) -> None:
        """Count what a worker has moved; both ways, because both are paid for."""
        match event:
            case WireMoved(sent_bytes=sent_bytes, received_bytes=received_bytes):
                self._count(sent_bytes + received_bytes)
            case _:
                pass

    def _count(self, moved_bytes: int) -> None:
        if not moved_bytes:
            return
        for key in self._keys(self._now()):
            # Moved to the end: what was counted last is forgotten last.
            before = self._moved_bytes.pop(key, 0)
            self._moved_bytes[key] = before + moved_bytes
        for key in list(self._moved_bytes)[:-PERIODS_MAX]:
            del self._moved_bytes[key]
        self._dirty = True
        self._status = None

    def share_bytes_per_second(self, workers: int) -> int | None:
        """Give what each of so many workers may send; 0 for nothing, None without limit."""
        limit = self.status.bytes_per_second_max
        return max(1, limit // max(1, workers)) if limit else limit

    @property
    def status(self) -> UplinkStatus:
        """What holds now; looked up once a second, and when something was moved."""
        now_s = self._clock.monotonic_s()
        reloaded = self._looked_with is not self._settings
        if self._status is None or reloaded or now_s >= self._status_ends_s:
            self._looked_with = self._settings
            self._status = self._look(self._now())
            self._status_ends_s = now_s + 1.0
        return self._status

    def save(self, *, at_once: bool = False) -> None:
        """Write down what was moved, every few seconds if there was anything."""
        now_s = self._clock.monotonic_s()
        if not self._dirty or not (at_once or now_s >= self._save_at_s):
            return
        self._save_at_s = now_s + SAVE_INTERVAL_S
        plain = {"version": FORMAT_VERSION, "moved_bytes": self._moved_bytes}
        try:
            replace_file(self._file, json.dumps(plain, indent=2) + "\n")
        except OSError:
            # Its disk is full; the journal, on the same one, reports it.
            return
        self._dirty = False

    def _now(self) -> datetime:
        return self._settings.local_time(self._clock.wall_ns())

    def _keys(self, now: datetime) -> tuple[str, str]:
        return _key("day", day_of(now)[0]), _key("month", self._settings.month_of(now)[0])

    def _look(self, now: datetime) -> UplinkStatus:
        limit, ends = self._settings.limit_at(now), self._settings.limit_ends(now)
        reason = ""
        if limit == PAUSED:
            reason = "the uplink is paused" + (f" until {_shown(ends)}" if ends is not None else "")
        budgets = tuple(self._budgets(now))
        for budget in budgets:
            if budget.left_bytes == 0:
                ends = datetime.fromtimestamp(budget.ends_ns / SECOND_NS, tz=now.tzinfo)
                limit = PAUSED
                reason = f"uplink budget of the {budget.period} used up until {_shown(ends)}"
        return UplinkStatus(
            bytes_per_second_max=limit,
            reason=reason,
            ends_ns=0 if ends is None else _nanoseconds(ends),
            budgets=budgets,
        )

    def _budgets(self, now: datetime) -> Iterator[BudgetStatus]:
        """Give the budgets that are set, the longest last, because it holds longest."""
        settings = self._settings
        for period, most_bytes, (start, end) in (
            ("day", settings.bytes_per_day_max, day_of(now)),
            ("month", settings.bytes_per_month_max, settings.month_of(now)),
        ):
            if most_bytes:
                used_bytes = self._moved_bytes.get(_key(period, start), 0)
                yield BudgetStatus(
                    period=period,
                    most_bytes=most_bytes,
                    used_bytes=used_bytes,
                    left_bytes=max(0, most_bytes - used_bytes),
                    ends_ns=_nanoseconds(end),
                )


def _key(period: str, start: date) -> str:
    return f"{period} {start.isoformat()}"


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M %Z").strip()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def _read(file: Path) -> dict[str, int]:
    """Give what was counted before; nothing where there is no file, loudly if it is broken."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        moved = {str(key): int(count) for key, count in plain["moved_bytes"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): the uplink's budgets start again", file, error)
        return {}
    return moved
