"""Proves that the platform holds what was sent, before the sequence is finalised."""

from collections.abc import Iterable

from bridge.client import MosaicoClient, SequenceHandler, SequenceWriter
from bridge.errors import VerificationError
from bridge.ingest.lanes import Lane
from bridge.ingest.report import IngestReport, TopicReport, VerificationLevel

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
        level: What must be proven; weaker levels are included.

    Returns:
        The level that was proven.

    Raises:
        VerificationError: The platform holds something else; names topic and both figures.
    """
    receipts = writer.receipts()
    for topic in sent:
        receipt = receipts.get(topic.platform_name)
        if receipt is None or not receipt.locked:
            state = "absent" if receipt is None else "not closed"
            raise _difference(writer, topic, "stream", "closed", state)
        if _includes(level, VerificationLevel.COUNTS) and receipt.row_count != topic.messages_sent:
            raise _difference(writer, topic, "rows", topic.messages_sent, receipt.row_count)
        if _includes(level, VerificationLevel.RANGE):
            expected = (topic.start_ns, topic.end_ns)
            actual = (receipt.start_ns, receipt.end_ns)
            if expected != actual:
                raise _difference(writer, topic, "time range in ns", expected, actual)
        if _includes(level, VerificationLevel.READBACK):
            rows = _rows_read_back(client, writer.name, topic)
            if rows != topic.messages_sent:
                raise _difference(writer, topic, "rows read back", topic.messages_sent, rows)
    return level


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


def _rows_read_back(client: MosaicoClient, sequence: str, topic: TopicReport) -> int:
    client.clear_topic_handlers_cache()
    handler = client.topic_handler(sequence, topic.platform_name)
    if handler is None:
        return 0
    return sum(batch.num_rows for batch in handler.batches())


def _difference(
    writer: SequenceWriter, topic: TopicReport, what: str, expected: object, actual: object
) -> VerificationError:
    return VerificationError(
        f"{what} of {topic.name}: sent {expected}, the platform has {actual}",
        sequence=writer.name,
        topic=topic.name,
        expected=str(expected),
        actual=str(actual),
        hint="the recording stays where it is; it is sent again",
    )
