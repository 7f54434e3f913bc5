"""Files and file systems: opening safely, replacing durably, and what is mounted where."""

from bridge.files.disk import (
    file_system,
    is_network_kind,
    is_on_network,
    mount_points,
    replace_file,
    sync_file,
    sync_folder,
)
from bridge.files.folders import OpenFolder
from bridge.files.held import HeldFiles
from bridge.files.opening import (
    allow_open_files,
    entries_in,
    is_folder,
    is_there,
    open_regular,
    require_readable,
    version_of,
)

__all__ = [
    "HeldFiles",
    "OpenFolder",
    "allow_open_files",
    "entries_in",
    "file_system",
    "is_folder",
    "is_network_kind",
    "is_on_network",
    "is_there",
    "mount_points",
    "open_regular",
    "replace_file",
    "require_readable",
    "sync_file",
    "sync_folder",
    "version_of",
]
