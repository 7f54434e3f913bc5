"""Files and file systems: opening safely, replacing durably, and what is mounted where."""

from bridge.files.disk import (
    file_system,
    is_network_kind,
    is_on_network,
    replace_file,
    sync_file,
    sync_folder,
)
from bridge.files.opening import open_regular, version_of

__all__ = [
    "file_system",
    "is_network_kind",
    "is_on_network",
    "open_regular",
    "replace_file",
    "sync_file",
    "sync_folder",
    "version_of",
]
