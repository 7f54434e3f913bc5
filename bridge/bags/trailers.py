"""Whether a storage file ends the way its writer ends it, by a look at a few of its bytes."""

from pathlib import Path

from bridge.bags.mcap_records import MAGIC
from bridge.bags.source import FileSource
from bridge.errors import RecordingError
from bridge.model import Container

SQLITE_HEADER_BYTES = 100


def is_whole(path: Path, container: Container) -> bool:
    """Tell whether a plain storage file was finished; for ROS 1 also that it was indexed.

    False also for a file that cannot be read.
    """
    try:
        source = FileSource(path)
    except RecordingError:
        return False
    try:
        match container:
            case Container.MCAP:
                return _is_whole_mcap(source)
            case Container.SQLITE3:
                return _is_whole_sqlite3(source)
            case Container.ROSBAG1:
                return _is_whole_rosbag1(source)
    except RecordingError:
        return False
    finally:
        source.close()


def _is_whole_mcap(source: FileSource) -> bool:
    """The closing magic is the last thing a writer writes."""
    end = source.read_at(max(0, source.size_bytes - len(MAGIC)), len(MAGIC))
    return source.size_bytes > 2 * len(MAGIC) and end == MAGIC


def _is_whole_sqlite3(source: FileSource) -> bool:
    """The header counts pages (bytes 28..31) of a size (16..17, where 1 stands for 65536)."""
    head = source.read_at(0, SQLITE_HEADER_BYTES)
    page_bytes = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    return pages > 0 and pages * (65536 if page_bytes == 1 else page_bytes) == source.size_bytes


def _is_whole_rosbag1(source: FileSource) -> bool:
    """The bag header's `index_pos` is zero until the file is closed."""
    head = source.read_at(0, 4096)
    key = head.find(b"index_pos=")
    if key < 0:
        return False
    position = int.from_bytes(head[key + 10 : key + 18], "little")
    return 0 < position <= source.size_bytes
