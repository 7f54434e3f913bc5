"""What a user may choose for topics: which are taken, what becomes of each, what is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.units import SECOND_NS

EXCLUDE = "!"
"""What a pattern that leaves topics out starts with."""

GENERIC = "generic"
"""The ontology choice that keeps a message's own fields, whatever its type."""


class ImageFormat(StrEnum):
    """How raw images are stored."""

    RAW = "raw"
    PNG = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOptions:
    """Choices for one topic.

    Attributes:
        image_format: How a `sensor_msgs/Image` is stored.
        ontology: Tag of the model to map to instead of the usual one: `Lidar`, `Radar`,
            `RGBDCamera`, `ToFCamera` or `StereoCamera` for point clouds, that of a custom mapping
            of the type, or `generic` for the message's own fields; empty for the usual one.
        every_nth: Keep every n-th message only.
        max_hz: Keep at most so many messages a second of record time; None keeps all.
        rename: Name on the platform instead of the recorded one; see `topic_names`.
        metadata: What to add to the topic's metadata on the platform.
    """

    image_format: ImageFormat | str = ImageFormat.RAW
    ontology: str = ""
    every_nth: int = 1
    max_hz: float | None = None
    rename: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class TopicFilter:
    """Patterns such as `/camera/*` and `!/camera/*/raw`, evaluated in order.

    A pattern takes what it matches, one with `!` in front leaves it out. `*` matches anything,
    slashes included, `?` one character, `[..]` one of a set; the whole name must match, and case
    counts. Where all patterns exclude, everything else is taken; no pattern takes everything.
    """

    __slots__ = ("patterns",)

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)

    def selects(self, name: str) -> bool:
        """Tell whether a topic, by its name as recorded, is taken."""
        selected = all(pattern.startswith(EXCLUDE) for pattern in self.patterns)
        for pattern in self.patterns:
            if fnmatchcase(name, pattern.removeprefix(EXCLUDE)):
                selected = not pattern.startswith(EXCLUDE)
        return selected

    def idle_patterns(self, names: Sequence[str]) -> list[str]:
        """Give the patterns that match none of the names, which are probably misspelt."""
        return [
            pattern
            for pattern in self.patterns
            if not any(fnmatchcase(name, pattern.removeprefix(EXCLUDE)) for name in names)
        ]


class Downsampler:
    """Chooses messages of one topic, block by block; remembers where it was in between.

    With both choices set, `max_hz` looks only at what `every_nth` has left. Owned by the thread
    that reads the topic.
    """

    __slots__ = ("_every_nth", "_period", "_period_ns", "_position")

    def __init__(self, options: TopicOptions) -> None:
        self._every_nth = options.every_nth
        self._period_ns: int | None = None
        if options.max_hz is not None:
            self._period_ns = max(1, round(SECOND_NS / options.max_hz))
        self._position = 0
        self._period: int | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is ever left out."""
        return self._every_nth <= 1 and self._period_ns is None

    def select(self, log_times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Choose among the next messages; meant to be called before they are even decoded.

        Args:
            log_times_ns: Shape (n,), record times in file order.

        Returns:
            Shape (n,), True for messages to keep: the first of every n, and among those the first
            of every period of record time.
        """
        rows = len(log_times_ns)
        keep: NDArray[np.bool_] = (self._position + np.arange(rows)) % max(1, self._every_nth) == 0
        self._position += rows
        if self._period_ns is not None:
            keep[keep] = self._first_of_period(log_times_ns[keep] // self._period_ns)
        return keep

    def _first_of_period(self, periods: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = np.ones(len(periods), np.bool_)
        if len(periods):
            first[1:] = periods[1:] != periods[:-1]
            first[0] = self._period is None or int(periods[0]) != self._period
            self._period = int(periods[-1])
        return first
