"""Identity of a recording by its content: not by path, inode or time.

Sizes, first and last 64 KiB of each storage file distinguish recordings without reading them; the
hash of everything is taken while reading. `metadata.yaml` has no part in it: the recorder writes it
late, and tools rewrite it.
"""

import hashlib

from bridge.bags.source import FileSource
from bridge.model import Recording

EDGE_BYTES = 64 << 10
"""How much of each end of a file counts."""


def fingerprint(recording: Recording) -> str:
    """Compute the identity of a recording, as 64 hexadecimal digits.

    Raises:
        RecordingVanishedError: A file disappeared.
        NotARecordingError: A file is no regular file any more.
    """
    identity = hashlib.sha256()
    for file in recording.files:
        source = FileSource(file.path)
        try:
            size = source.size_bytes
            identity.update(size.to_bytes(8, "little"))
            for edge in (
                source.read_at(0, EDGE_BYTES),
                source.read_at(max(0, size - EDGE_BYTES), EDGE_BYTES),
            ):
                identity.update(hashlib.sha256(edge).digest())
        finally:
            source.close()
    return identity.hexdigest()
