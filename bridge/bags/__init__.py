"""Recordings on disk: finding them, telling what belongs together, reading them as blocks."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.bags.container import NOWHERE, ReadLimits, ReadTally
    from bridge.bags.discovery import (
        find_others,
        find_recordings,
        listed_names,
        others_of,
        recordings_in,
        recordings_of,
    )
    from bridge.bags.endings import End, Span, end_of, span_in
    from bridge.bags.formats import (
        ACTIVE_BAG_SUFFIX,
        COMPRESSION_SUFFIX,
        SIDECAR_SUFFIXES,
        STORAGE_SUFFIXES,
        StorageName,
        is_storage_name,
    )
    from bridge.bags.grouping import is_split_of_ros1, stem_of
    from bridge.bags.identity import (
        EDGE_BYTES,
        Content,
        content_of,
        content_of_edges,
        fingerprint,
        with_plain,
    )
    from bridge.bags.merging import ROSBAG2_RECORD, chosen_messages, part_of
    from bridge.bags.metadata import METADATA_FILE, listed_files, read_hints
    from bridge.bags.reader import RecordingReader, open_recording
    from bridge.bags.recording import (
        FolderContent,
        files_of,
        is_searched,
        load_recording,
        load_seen,
        look_into,
        read_spans,
    )
    from bridge.bags.scratch import SCRATCH_PREFIX, scratch_folder, sweep_scratch
    from bridge.bags.splits import load_split, split_up
    from bridge.bags.surveying import Survey, survey

__all__ = [
    "ACTIVE_BAG_SUFFIX",
    "COMPRESSION_SUFFIX",
    "EDGE_BYTES",
    "METADATA_FILE",
    "NOWHERE",
    "ROSBAG2_RECORD",
    "SCRATCH_PREFIX",
    "SIDECAR_SUFFIXES",
    "STORAGE_SUFFIXES",
    "Content",
    "End",
    "FolderContent",
    "ReadLimits",
    "ReadTally",
    "RecordingReader",
    "Span",
    "StorageName",
    "Survey",
    "chosen_messages",
    "content_of",
    "content_of_edges",
    "end_of",
    "files_of",
    "find_others",
    "find_recordings",
    "fingerprint",
    "is_searched",
    "is_split_of_ros1",
    "is_storage_name",
    "listed_files",
    "listed_names",
    "load_recording",
    "load_seen",
    "load_split",
    "look_into",
    "open_recording",
    "others_of",
    "part_of",
    "read_hints",
    "read_spans",
    "recordings_in",
    "recordings_of",
    "scratch_folder",
    "span_in",
    "split_up",
    "stem_of",
    "survey",
    "sweep_scratch",
    "with_plain",
]

__getattr__ = on_first_use(__name__, __file__)
