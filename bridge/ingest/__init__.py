"""One recording becomes one sequence, end to end; reports to `IngestEvents`, knows no daemon."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.ingest.delivered import FoundParts, find_parts
    from bridge.ingest.earlier import Removal, Replacement, Superseded
    from bridge.ingest.events import IngestEvents, NoEvents
    from bridge.ingest.holding import Held, Holding, contents_of, held_whole
    from bridge.ingest.marks import Sender, marks_of
    from bridge.ingest.on_platform import clear_remains
    from bridge.ingest.open_upload import OpenUpload, got_on
    from bridge.ingest.options import BatchTargets, Identity, IngestOptions
    from bridge.ingest.passes import dry_run
    from bridge.ingest.portions import ingest
    from bridge.ingest.report import (
        CHOSEN_REASONS,
        IngestReport,
        SequenceContent,
        TopicOutcome,
        TopicReport,
        TopicRows,
        VerificationLevel,
        missing_files,
        said_before,
    )
    from bridge.ingest.topic_lanes import plan_fields, plan_topics
    from bridge.mapping import ENTRY_POINT_GROUP, TopicOptions, custom_mappings

__all__ = [
    "CHOSEN_REASONS",
    "ENTRY_POINT_GROUP",
    "BatchTargets",
    "FoundParts",
    "Held",
    "Holding",
    "Identity",
    "IngestEvents",
    "IngestOptions",
    "IngestReport",
    "NoEvents",
    "OpenUpload",
    "Removal",
    "Replacement",
    "Sender",
    "SequenceContent",
    "Superseded",
    "TopicOptions",
    "TopicOutcome",
    "TopicReport",
    "TopicRows",
    "VerificationLevel",
    "clear_remains",
    "contents_of",
    "custom_mappings",
    "dry_run",
    "find_parts",
    "got_on",
    "held_whole",
    "ingest",
    "marks_of",
    "missing_files",
    "plan_fields",
    "plan_topics",
    "said_before",
]

__getattr__ = on_first_use(__name__, __file__)
