"""What the settings of the uplink mean at a moment: the limit in force, and the budgets' periods.

Pure functions of settings and time. All times of day are those of the configured time zone, so a
night that is longer or shorter because clocks are set is as long as people there say it is.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from bridge.config import MINUTES_PER_DAY, UplinkSettings, UplinkSpan, minute_of_day, weekdays
from bridge.units import SECOND_NS

# A timetable repeats after a week.
DAYS_AHEAD = 8
PAUSED = 0


def local_time(settings: UplinkSettings, wall_ns: int) -> datetime:
    """Give a moment as the clocks of the configured time zone show it; never raises.

    A clock that is wrong by centuries shows the first or last day there is.
    """
    zone: tzinfo | None = ZoneInfo(settings.timezone) if settings.timezone else None
    try:
        return datetime.fromtimestamp(wall_ns / SECOND_NS, tz=zone).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, tz=zone).astimezone(zone)


def limit_at(settings: UplinkSettings, moment: datetime) -> int | None:
    """Give the bytes a second that may be sent at a moment; 0 for none, None for any number."""
    for span in settings.timetable:
        if _covers(span, moment):
            return _rate(span.bytes_per_second_max)
    return _rate(settings.bytes_per_second_max)


def limit_ends(settings: UplinkSettings, moment: datetime) -> datetime | None:
    """Give the next moment at which another limit holds; None when it stays as it is."""
    now = limit_at(settings, moment)
    for boundary in sorted(set(_boundaries(settings, moment))):
        if boundary > moment and limit_at(settings, boundary) != now:
            return boundary
    return None


def day_of(moment: datetime) -> tuple[date, datetime]:
    """Give the day a moment belongs to, and when the next begins."""
    return moment.date(), _midnight(moment, moment.date() + timedelta(days=1))


def month_of(settings: UplinkSettings, moment: datetime) -> tuple[date, datetime]:
    """Give the first day of the budget's month that a moment belongs to, and when it ends."""
    first = moment.date().replace(day=settings.month_starts_on)
    if first > moment.date():
        first = (first.replace(day=1) - timedelta(days=1)).replace(day=settings.month_starts_on)
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=settings.month_starts_on)
    return first, _midnight(moment, following)


def _covers(span: UplinkSpan, moment: datetime) -> bool:
    days = weekdays(span.days)
    start, end = minute_of_day(span.start), minute_of_day(span.end)
    now = 60 * moment.hour + moment.minute
    today = moment.weekday()
    if start < end:
        return today in days and start <= now < end
    # Over midnight: the evening of a day, or what is left of the night before.
    return (today in days and now >= start) or ((today - 1) % 7 in days and now < end)


def _boundaries(settings: UplinkSettings, moment: datetime) -> Iterator[datetime]:
    minutes = {
        minute_of_day(text) % MINUTES_PER_DAY
        for span in settings.timetable
        for text in (span.start, span.end)
    }
    for ahead in range(DAYS_AHEAD + 1):
        day = _midnight(moment, moment.date() + timedelta(days=ahead))
        for minute in minutes:
            yield _zoned(day.replace(hour=minute // 60, minute=minute % 60), moment)


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
