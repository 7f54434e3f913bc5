"""Taking up an upload that broke off: what is kept of it, and in which portions the rest goes.

The platform does not take up a broken stream, and a topic is whole only once its stream was closed.
So after a break topics are sent in groups, each in a pass of its own over the local file and each
closed before the next begins; the next break costs the group in work, not what came before it.
"""

from collections.abc import Mapping

from bridge.client import TopicReceipt
from bridge.ingest.report import TopicReport

# A group holds at most this share of the payload after the first break, the square of it after the
# second, and so on down to the last; so a recording is read at most some forty times.
GROUP_SHARE = 1 / 4
SHRINKS_MAX = 2
GROUP_BYTES_MIN = 1 << 20


def groups_of(sizes_bytes: Mapping[int, int], *, breaks: int) -> list[list[int]]:
    """Portion topics: small ones together, first; big ones one by one, after them.

    Args:
        sizes_bytes: Payload bytes by topic, of those that are still to be sent.
        breaks: How often sending broke off before; with none everything is one group.

    Returns:
        Topics by group, in the order in which they are to be sent.
    """
    if not breaks:
        return [sorted(sizes_bytes)] if sizes_bytes else []
    share: float = GROUP_SHARE ** min(breaks, SHRINKS_MAX)
    room_bytes = max(share * sum(sizes_bytes.values()), GROUP_BYTES_MIN)
    groups: list[list[int]] = []
    filled_bytes = 0.0
    for topic in sorted(sizes_bytes, key=lambda one: (sizes_bytes[one], one)):
        if not groups or filled_bytes + sizes_bytes[topic] > room_bytes:
            groups.append([])
            filled_bytes = 0.0
        groups[-1].append(topic)
        filled_bytes += sizes_bytes[topic]
    return groups


def is_whole(topic: TopicReport, receipt: TopicReceipt, remembered_rows: int | None) -> bool:
    """Tell whether the platform holds all rows that this recording yields of a topic.

    Args:
        topic: The account of a rehearsal.
        receipt: What the platform says.
        remembered_rows: What was sent when the topic's stream was ended; None where nobody knows.
            Counts only where the platform tells no count.
    """
    rows = topic.messages_sent
    known = receipt.row_count if receipt.row_count is not None else remembered_rows
    return known == rows and receipt.holds(rows, topic.start_ns, topic.end_ns)
