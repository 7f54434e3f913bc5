"""How good a recording is: measured topic by topic while it is read, judged by what is expected."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.quality.expectations import Expectation, judge
    from bridge.quality.figures import Finding, FindingKind, RecordingQuality, TopicFigures
    from bridge.quality.meter import Meter, reports_losses

__all__ = [
    "Expectation",
    "Finding",
    "FindingKind",
    "Meter",
    "RecordingQuality",
    "TopicFigures",
    "judge",
    "reports_losses",
]

__getattr__ = on_first_use(__name__, __file__)
