"""What a user may choose for topics: which of them are taken, and what becomes of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

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
