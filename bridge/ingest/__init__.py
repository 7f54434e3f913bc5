"""One recording becomes one sequence, end to end; reports to `IngestEvents`, knows no daemon."""

from bridge.ingest.earlier import Removal, Replacement, Superseded
from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.on_platform import clear_remains
from bridge.ingest.open_upload import OpenUpload, got_on
from bridge.ingest.options import BatchTargets, Identity, IngestOptions
from bridge.ingest.pipeline import ingest
from bridge.ingest.report import IngestReport, TopicOutcome, TopicReport, VerificationLevel
from bridge.ingest.topic_lanes import plan_topics
from bridge.mapping import TopicOptions, custom_mappings

__all__ = [
    "BatchTargets",
    "Identity",
    "IngestEvents",
    "IngestOptions",
    "IngestReport",
    "NoEvents",
    "OpenUpload",
    "Removal",
    "Replacement",
    "Superseded",
    "TopicOptions",
    "TopicOutcome",
    "TopicReport",
    "VerificationLevel",
    "clear_remains",
    "custom_mappings",
    "got_on",
    "ingest",
    "plan_topics",
]
