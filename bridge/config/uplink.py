"""The uplink's settings, and what they mean at a moment: the limit in force, the budgets' periods.

Pure functions of settings and time. All times of day are those of the configured time zone, so a
night that is longer or shorter because clocks are set is as long as people there say it is.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from bridge.config.sections import Section
from bridge.units import SECOND_NS

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_PER_HOUR = 60
_MINUTES_PER_DAY = 24 * _MINUTES_PER_HOUR
# The last day that every month has.
_MONTH_DAY_MAX = 28
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)")
# A timetable repeats after a week.
_DAYS_AHEAD = 8

PAUSED = 0
"""The bytes a second that may be sent where nothing may."""

ByteRate = Annotated[int, Field(ge=0)] | Literal["pause"]


class UplinkSpan(Section):
    """A part of the week with a limit of its own."""

    days: str = Field("mon-sun", description="Days on which it starts: mon-fri, or sat,sun.")
    start: str = Field("00:00", description="When it starts, as HH:MM.")
    end: str = Field(
        "24:00", description="When it ends; not after the start means on the next day."
    )
    bytes_per_second_max: ByteRate = Field(
        description="As uplink.bytes_per_second_max, for this part of the week."
    )

    @field_validator("days")
    @classmethod
    def _days_exist(cls, text: str) -> str:
        _weekdays(text)
        return text

    @field_validator("start", "end")
    @classmethod
    def _time_exists(cls, text: str) -> str:
        _minute_of_day(text)
        return text


class UplinkSettings(Section):
    """How fast, when and how much may be sent; for links that others share or that cost money."""

    bytes_per_second_max: ByteRate = Field(
        0,
        description="The most bytes a second sent to the platform, by all workers together, as "
        'they go over the wire; 0 sets no limit, "pause" sends nothing.',
    )
    timetable: tuple[UplinkSpan, ...] = Field(
        (),
        description="Parts of the week with limits of their own, the first that fits decides: "
        '{ days = "mon-fri", start = "08:00", end = "18:00", bytes_per_second_max = 500_000 }.',
    )
    timezone: str = Field(
        "",
        description="Time zone of timetable and budgets, for example Europe/Berlin; empty means "
        "the machine's.",
    )
    bytes_per_day_max: int = Field(
        0,
        ge=0,
        description="The most bytes sent and received on a day, those of failed attempts too; "
        "then recordings wait for the next. 0 for no budget.",
    )
    bytes_per_month_max: int = Field(0, ge=0, description="The same for a month.")
    month_starts_on: int = Field(
        1, ge=1, le=_MONTH_DAY_MAX, description="Day of the month on which its budget starts."
    )

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        if name:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError("no time zone that this machine knows") from error
        return name

    def local_time(self, wall_ns: int) -> datetime:
        """Give a moment as the clocks of the configured time zone show it; never raises.

        A clock that is wrong by centuries shows the first or last day there is.
        """
        zone: tzinfo | None = ZoneInfo(self.timezone) if self.timezone else None
        try:
            return datetime.fromtimestamp(wall_ns / SECOND_NS, tz=zone).astimezone(zone)
        except (OverflowError, ValueError, OSError):
            return datetime.fromtimestamp(0, tz=zone).astimezone(zone)

    def limit_at(self, moment: datetime) -> int | None:
        """Give the bytes a second that may be sent at a moment; 0 for none, None for any number."""
        for span in self.timetable:
            if _covers(span, moment):
                return _rate(span.bytes_per_second_max)
        return _rate(self.bytes_per_second_max)

    def limit_ends(self, moment: datetime) -> datetime | None:
        """Give the next moment at which another limit holds; None when it stays as it is."""
        now = self.limit_at(moment)
        for boundary in sorted(set(_boundaries(self.timetable, moment))):
            if boundary > moment and self.limit_at(boundary) != now:
                return boundary
        return None

    def month_of(self, moment: datetime) -> tuple[date, datetime]:
        """Give the first day of the budget's month that a moment belongs to, and when it ends."""
        first = moment.date().replace(day=self.month_starts_on)
        if first > moment.date():
            first = (first.replace(day=1) - timedelta(days=1)).replace(day=self.month_starts_on)
        following = (first.replace(day=28) + timedelta(days=4)).replace(day=self.month_starts_on)
        return first, _midnight(moment, following)


def day_of(moment: datetime) -> tuple[date, datetime]:
    """Give the day a moment belongs to, and when the next begins."""
    return moment.date(), _midnight(moment, moment.date() + timedelta(days=1))


def _weekdays(text: str) -> frozenset[int]:
    """Give the days of a list like `mon-fri,sun`, Monday being 0; ranges may go over Sunday.

    Raises:
        ValueError: It is no such list.
    """
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{part.strip()!r} is no day; days are {', '.join(_DAYS)}")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        found |= {day % len(_DAYS) for day in range(start, end + 1 + len(_DAYS) * (end < start))}
    return frozenset(found)


def _minute_of_day(text: str) -> int:
    """Give the minutes since midnight of a time like `08:30`; `24:00` is the end of the day.

    Raises:
        ValueError: It is no such time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("no time of day as HH:MM")
    return _MINUTES_PER_HOUR * int(match[1] or match[3]) + int(match[2] or match[4])


def _covers(span: UplinkSpan, moment: datetime) -> bool:
    days = _weekdays(span.days)
    start, end = _minute_of_day(span.start), _minute_of_day(span.end)
    now = _MINUTES_PER_HOUR * moment.hour + moment.minute
    today = moment.weekday()
    if start < end:
        return today in days and start <= now < end
    # Over midnight: the evening of a day, or what is left of the night before.
    return (today in days and now >= start) or ((today - 1) % 7 in days and now < end)


def _boundaries(timetable: Iterable[UplinkSpan], moment: datetime) -> Iterator[datetime]:
    minutes = {
        _minute_of_day(text) % _MINUTES_PER_DAY
        for span in timetable
        for text in (span.start, span.end)
    }
    for ahead in range(_DAYS_AHEAD + 1):
        day = _midnight(moment, moment.date() + timedelta(days=ahead))
        for minute in minutes:
            yield _zoned(
                day.replace(hour=minute // _MINUTES_PER_HOUR, minute=minute % _MINUTES_PER_HOUR),
                moment,
            )


def _midnight(moment: datetime, day: date) -> datetime:
    return _zoned(datetime(day.year, day.month, day.day), moment)  # noqa: DTZ001 - zoned at once


def _zoned(local: datetime, moment: datetime) -> datetime:
    """Put a time of day into the zone of a moment, with the offset that holds on that day."""
    if isinstance(moment.tzinfo, ZoneInfo):
        return local.replace(tzinfo=moment.tzinfo)
    return local.replace(tzinfo=None).astimezone()


def _rate(value: int | str) -> int | None:
    if value == "pause":
        return PAUSED
    return int(value) or None
