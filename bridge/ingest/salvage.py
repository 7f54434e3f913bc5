"""Reporting damage before anything of it is final.

What a sequence's metadata says can never be changed, so that a recording is salvaged has to be
known when its sequence is created. A recording that is unhealthy when it is opened is therefore
surveyed first. One that was closed properly and is damaged inside shows it only while it is read;
then what was sent of it so far is removed, it is surveyed, and sent again. Healthy recordings are
read once.
"""

import time
import uuid
from typing import Any

from bridge.bags import RecordingReader, Survey, survey
from bridge.client import MosaicoClient
from bridge.errors import RefusedError, RejectedError
from bridge.ingest.events import IngestEvents

SALVAGED_KEY = "salvaged"
"""What the bridge's block in the metadata has only for recordings that are not whole."""

LOST_RANGES_MAX = 20
"""More ranges than this are counted but not listed in the sequence's metadata."""


class UnannouncedDamageError(Exception):
    """The recording turned out to be damaged, and what is on the platform of it says nothing.

    No error for anybody but the ingest itself: what was sent is removed, and it starts again.
    """


def taken_survey(opened: RecordingReader, events: IngestEvents) -> Survey:
    """Read a whole recording once more to learn what can be had of it.

    Raises:
        RecordingError: It cannot be opened, or changed meanwhile.
    """
    started = time.perf_counter()
    with opened.again() as reader:
        found = survey(reader, progress=lambda size_bytes: events.read(recorded_bytes=size_bytes))
    events.stage_finished(stage="survey", seconds=time.perf_counter() - started)
    return found


def salvage_marks(found: Survey) -> dict[str, Any]:
    """Give what the sequence's metadata says about a recording that is not whole."""
    return {
        "lost_ranges": len(found.losses),
        "lost_bytes": found.lost_bytes,
        "recovered_messages": found.messages.total(),
        "ranges": [
            {
                "file": loss.path.name,
                "start_bytes": loss.start_bytes,
                "end_bytes": loss.end_bytes,
                "reason": loss.reason,
            }
            for loss in found.losses[:LOST_RANGES_MAX]
        ],
    }


def may_delete(client: MosaicoClient) -> bool:
    """Find out whether the key permits to delete, by a sequence that does not exist.

    The platform looks at permissions before it looks for the sequence.

    Raises:
        ServerError: The platform cannot be asked.
    """
    try:
        client.sequence_delete(f"no_such_sequence_{uuid.uuid4().hex}")
    except RefusedError:
        return False
    except RejectedError:
        return True
    return True
