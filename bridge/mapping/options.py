"""What a user may choose for a topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
        rename: Name on the platform instead of the recorded one; see `topic_name`.
        metadata: What to add to the topic's metadata on the platform.
    """

    image_format: ImageFormat | str = ImageFormat.RAW
    ontology: str = ""
    every_nth: int = 1
    max_hz: float | None = None
    rename: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
