"""Recordings on disk: finding them, telling what belongs together, reading them as blocks."""

from bridge.bags.container import NOWHERE, ReadLimits, ReadTally
from bridge.bags.discovery import find_recordings, recordings_in
from bridge.bags.endings import End, end_of
from bridge.bags.fingerprint import fingerprint
from bridge.bags.formats import COMPRESSION_SUFFIX, SIDECAR_SUFFIXES, STORAGE_SUFFIXES
from bridge.bags.metadata import METADATA_FILE, read_hints
from bridge.bags.reader import RecordingReader, open_recording
from bridge.bags.recording import load_recording, look_into
from bridge.bags.scratch import sweep_scratch
from bridge.bags.splits import load_split, split_up
from bridge.bags.survey import Survey, survey

__all__ = [
    "COMPRESSION_SUFFIX",
    "METADATA_FILE",
    "NOWHERE",
    "SIDECAR_SUFFIXES",
    "STORAGE_SUFFIXES",
    "End",
    "ReadLimits",
    "ReadTally",
    "RecordingReader",
    "Survey",
    "end_of",
    "find_recordings",
    "fingerprint",
    "load_recording",
    "load_split",
    "look_into",
    "open_recording",
    "read_hints",
    "recordings_in",
    "split_up",
    "survey",
    "sweep_scratch",
]
