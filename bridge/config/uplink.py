"""The table [uplink]: how fast, when and how much may be sent."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from bridge.config.sections import Section

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 24 * MINUTES_PER_HOUR
# The last day that every month has.
MONTH_DAY_MAX = 28
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)")

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
        weekdays(text)
        return text

    @field_validator("start", "end")
    @classmethod
    def _time_exists(cls, text: str) -> str:
        minute_of_day(text)
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
        1, ge=1, le=MONTH_DAY_MAX, description="Day of the month on which its budget starts."
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


def weekdays(text: str) -> frozenset[int]:
    """Give the days of a list like `mon-fri,sun`, Monday being 0; ranges may go over Sunday.

    Raises:
        ValueError: It is no such list.
    """
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part.strip()!r} is no day; days are {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % len(DAYS) for day in range(start, end + 1 + len(DAYS) * (end < start))}
    return frozenset(found)


def minute_of_day(text: str) -> int:
    """Give the minutes since midnight of a time like `08:30`; `24:00` is the end of the day.

    Raises:
        ValueError: It is no such time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("no time of day as HH:MM")
    return MINUTES_PER_HOUR * int(match[1] or match[3]) + int(match[2] or match[4])
