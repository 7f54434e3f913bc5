"""Proves that the platform holds what was sent, before the sequence is finalised."""

from collections.abc import Iterable

from bridge.client import MosaicoClient, SequenceHandler, SequenceWriter, TopicReceipt
from bridge.errors import VerificationError
from bridge.ingest.lanes import Lane
from bridge.ingest.report import IngestReport, TopicReport, VerificationLevel
from bridge.ontology import TIMESTAMP_COLUMN

NOT_ON_PLATFORM_REASON = "not_on_platform"

_STRENGTH = list(VerificationLevel)


def verify(
    client: MosaicoClient,
    writer: SequenceWriter,
    sent: list[TopicReport],
    level: VerificationLevel,
) -> VerificationLevel:
    """Compare the platform's own figures with what was sent.

    Args:
        client: For reading back.
        writer: The sequence, not finalised, with every topic's stream closed.
        sent: The accounts of the topics that were sent.
        level: How far to go; weaker levels are included.

    Returns:
        The level that was proven, which is less where the platform's revision does not tell enough:
        before G2c none tells row counts, before G1.2 none tells times.

    Raises:
        VerificationError: The platform holds something else; names topic and both figures.
    """
    receipts = writer.receipts()
    proven = level
    for topic in sent:
        receipt = receipts.get(topic.platform_name)
        if receipt is None or not receipt.locked:
            state = "absent" if receipt is None else "not closed"
            raise _difference(writer.name, topic, "stream", "closed", state)
        found = _compared(client, writer.name, topic, receipt, level)
        proven = min(proven, found, key=_STRENGTH.index)
    return proven


def _compared(
    client: MosaicoClient,
    sequence: str,
    topic: TopicReport,
    receipt: TopicReceipt,
    level: VerificationLevel,
) -> VerificationLevel:
    """Compare one topic as far as the platform tells, and say how far that was."""
    rows, times = topic.messages_sent, (topic.start_ns, topic.end_ns)
    counted = _includes(level, VerificationLevel.COUNTS) and receipt.row_count is not None
    if counted and receipt.row_count != rows:
        raise _difference(sequence, topic, "rows", rows, receipt.row_count)
    told = (receipt.start_ns, receipt.end_ns)
    ranged = _includes(level, VerificationLevel.RANGE) and (rows == 0 or None not in told)
    if ranged and told != times:
        raise _difference(sequence, topic, "time range in ns", times, told)
    if level is VerificationLevel.READBACK:
        found = _read_back(client, sequence, topic)
        if found != (rows, *times):
            what = "rows, first and last time in ns, read back"
            raise _difference(sequence, topic, what, (rows, *times), found)
        return VerificationLevel.READBACK
    if counted:
        return VerificationLevel.COUNTS
    return VerificationLevel.RANGE if ranged else VerificationLevel.CLOSED


def report_of_existing(
    handler: SequenceHandler, report: IngestReport, lanes: Iterable[Lane]
) -> IngestReport:
    """Fill a report from what the platform already holds of the same content.

    What an earlier try left out is not known any more, so the platform's row counts are compared
    with what the container counts; where it does not count, or messages are thinned by choice,
    nothing is proven and the recording is not for disposal.

    Args:
        handler: The sequence, finalised.
        report: The recording's report, with nothing sent yet.
        lanes: The topics that would be sent.
    """
    present = {name: handler.topic_handler(name) for name in handler.topics}
    countable = True
    for lane in lanes:
        topic = lane.report
        held = present.get(topic.platform_name)
        if held is not None:
            topic.messages_sent = held.row_count or 0
            topic.start_ns, topic.end_ns = held.timestamp_ns_min, held.timestamp_ns_max
        if topic.messages_recorded is None or not lane.sampler.idle:
            countable = False
        else:
            lane.skip(NOT_ON_PLATFORM_REASON, topic.messages_recorded - topic.messages_sent)
    report.verification = VerificationLevel.COUNTS if countable else VerificationLevel.NONE
    report.notes.append("the platform had this recording already; nothing was sent")
    return report


def _includes(level: VerificationLevel, lower: VerificationLevel) -> bool:
    return _STRENGTH.index(level) >= _STRENGTH.index(lower)


def _read_back(
    client: MosaicoClient, sequence: str, topic: TopicReport
) -> tuple[int, int | None, int | None]:
    """Count the rows that the platform gives out, and find their first and last time."""
    client.clear_topic_handlers_cache()
    handler = client.topic_handler(sequence, topic.platform_name) if topic.messages_sent else None
    rows, start_ns, end_ns = 0, None, None
    for batch in handler.batches() if handler is not None else ():
        if batch.num_rows == 0:
            continue
        times_ns = batch.column(TIMESTAMP_COLUMN).to_numpy()
        first_ns, last_ns = int(times_ns.min()), int(times_ns.max())
        rows += batch.num_rows
        start_ns = first_ns if start_ns is None else min(start_ns, first_ns)
        end_ns = last_ns if end_ns is None else max(end_ns, last_ns)
    return rows, start_ns, end_ns


def _difference(
    sequence: str, topic: TopicReport, what: str, expected: object, actual: object
) -> VerificationError:
    return VerificationError(
        f"{what} of {topic.name}: sent {expected}, the platform has {actual}",
        sequence=sequence,
        topic=topic.name,
        expected=str(expected),
        actual=str(actual),
        hint="the recording stays where it is; it is sent again",
    )
