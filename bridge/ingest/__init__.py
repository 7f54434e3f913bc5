"""One recording becomes one sequence, end to end; reports to `IngestEvents`, knows no daemon."""

from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.lanes import plan_topics
from bridge.ingest.options import BatchLimits, Identity, IngestOptions
from bridge.ingest.pipeline import ingest
from bridge.ingest.report import IngestReport, TopicOutcome, TopicReport, VerificationLevel
from bridge.ingest.upload import OpenUpload
from bridge.mapping import TopicOptions, custom_mappings

__all__ = [
    "BatchLimits",
    "Identity",
    "IngestEvents",
    "IngestOptions",
    "IngestReport",
    "NoEvents",
    "OpenUpload",
    "TopicOptions",
    "TopicOutcome",
    "TopicReport",
    "VerificationLevel",
    "custom_mappings",
    "ingest",
    "plan_topics",
]
