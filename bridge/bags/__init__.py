"""Recordings on disk: finding them, telling what belongs together, reading them as blocks."""

from typing import TYPE_CHECKING

# At once, or its module, which has the same name, would be taken for it.
from bridge.bags.fingerprint import fingerprint
from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.bags.container import NOWHERE, ReadLimits, ReadTally
    from bridge.bags.discovery import find_others, find_recordings, listed_names, recordings_in
    from bridge.bags.endings import End, end_of
    from bridge.bags.fingerprint import Content, content_of
    from bridge.bags.formats import (
        ACTIVE_BAG_SUFFIX,
        COMPRESSION_SUFFIX,
        SIDECAR_SUFFIXES,
        STORAGE_SUFFIXES,
        is_storage_name,
    )
    from bridge.bags.grouping import is_split_of_ros1
    from bridge.bags.metadata import METADATA_FILE, listed_files, read_hints
    from bridge.bags.reader import RecordingReader, open_recording
    from bridge.bags.recording import files_of, load_recording, load_seen, look_into
    from bridge.bags.scratch import sweep_scratch
    from bridge.bags.splits import load_split, split_up
    from bridge.bags.surveying import Survey, survey

__all__ = [
    "ACTIVE_BAG_SUFFIX",
    "COMPRESSION_SUFFIX",
    "METADATA_FILE",
    "NOWHERE",
    "SIDECAR_SUFFIXES",
    "STORAGE_SUFFIXES",
    "Content",
    "End",
    "ReadLimits",
    "ReadTally",
    "RecordingReader",
    "Survey",
    "content_of",
    "end_of",
    "files_of",
    "find_others",
    "find_recordings",
    "fingerprint",
    "is_split_of_ros1",
    "is_storage_name",
    "listed_files",
    "listed_names",
    "load_recording",
    "load_seen",
    "load_split",
    "look_into",
    "open_recording",
    "read_hints",
    "recordings_in",
    "split_up",
    "survey",
    "sweep_scratch",
]

__getattr__ = on_first_use(__name__, __file__)
