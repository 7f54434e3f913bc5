"""One recording becomes one sequence, end to end; reports to `IngestEvents`, knows no daemon."""

from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.report import IngestReport, TopicOutcome, TopicReport, VerificationLevel

__all__ = [
    "IngestEvents",
    "IngestReport",
    "NoEvents",
    "TopicOutcome",
    "TopicReport",
    "VerificationLevel",
]
