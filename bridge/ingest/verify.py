"""Proves that the platform holds what was sent, or had it already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.client import MosaicoClient, SequenceWriter, TopicReceipt
from bridge.errors import RejectedError, VerificationError
from bridge.ingest.report import TopicOutcome, TopicReport, VerificationLevel
from bridge.ingest.topic_lanes import TopicLane
from bridge.ontology import TIMESTAMP_COLUMN

NOT_ON_PLATFORM_REASON = "not_on_platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where the platform disagrees with the recording.

    Attributes:
        what: What was compared.
        expected: The recording's figure.
        actual: The platform's.
    """

    what: str
    expected: object
    actual: object


def verify(
    client: MosaicoClient,
    writer: SequenceWriter,
    sent: list[TopicReport],
    level: VerificationLevel,
    *,
    notes: list[str],
) -> VerificationLevel:
    """Compare the platform's own figures with what was sent.

    Args:
        client: For reading back.
        writer: The sequence, not finalised, with every topic's stream closed.
        sent: The accounts of the topics that were sent.
        level: How far to go; weaker levels are included.
        notes: Gets a sentence for each topic of which less could be compared than was asked for.

    Returns:
        The level that was proven, which is less where the platform's revision does not report
        enough: before G2c none reports row counts, before G1.2 none reports times.

    Raises:
        VerificationError: The platform holds something else; names topic and both figures.
    """
    receipts = writer.receipts()
    proven = level
    for topic in sent:
        receipt = receipts.get(topic.platform_name)
        found = compare(topic, receipt, level)
        if isinstance(found, VerificationLevel) and receipt is not None:
            if level is VerificationLevel.READBACK:
                found = _read_back(client, writer.name, topic, receipt, found, notes)
            elif _is_vague(receipt):
                # The platform gives no times where it cannot read its own notes of them.
                found = _read_back(client, writer.name, topic, receipt, found, notes)
                found = level if found is VerificationLevel.READBACK else found
        if isinstance(found, Difference):
            raise VerificationError(
                f"{found.what} of {topic.name}: sent {found.expected}, "
                f"the platform has {found.actual}",
                sequence=writer.name,
                topic=topic.name,
                expected=str(found.expected),
                actual=str(found.actual),
                hint="the recording stays where it is; it is sent again",
            )
        proven = VerificationLevel.weakest((proven, found))
    return proven


def compare(
    topic: TopicReport, receipt: TopicReceipt | None, level: VerificationLevel
) -> VerificationLevel | Difference:
    """Compare one topic as far as is possible without reading it back.

    Args:
        topic: What was sent, or what the recording yields.
        receipt: What the platform says; None where there is no such topic.
        level: How far to go; weaker levels are included.

    Returns:
        How far it could go, or the first difference.
    """
    if receipt is None or not receipt.locked:
        state = "absent" if receipt is None else "not closed"
        return Difference(what="stream", expected="closed", actual=state)
    rows, times = topic.messages_sent, (topic.start_ns, topic.end_ns)
    if rows and receipt.is_hollow:
        return Difference(what="rows", expected=rows, actual="nothing stored")
    counted = level.includes(VerificationLevel.COUNTS) and receipt.row_count is not None
    if counted and receipt.row_count != rows:
        return Difference(what="rows", expected=rows, actual=receipt.row_count)
    reported = (receipt.start_ns, receipt.end_ns)
    ranged = level.includes(VerificationLevel.RANGE) and (rows == 0 or None not in reported)
    if ranged and reported != times:
        return Difference(what="time range in ns", expected=times, actual=reported)
    if counted and ranged:
        return VerificationLevel.COUNTS
    return VerificationLevel.RANGE if ranged else VerificationLevel.CLOSED


def counted_alike(lanes: Iterable[TopicLane], receipts: Mapping[str, TopicReceipt]) -> bool:
    """Take the platform's word for a sequence that it had already, where the container agrees.

    Args:
        lanes: The topics that would be sent; filled in from the platform where the answer is yes.
        receipts: What the platform holds, by its names of the topics.

    Returns:
        Whether container and platform count the same rows of every topic. False says nothing: a
        side may not count, or messages are left out on the way.
    """
    pairs = [(lane, receipts.get(lane.report.platform_name)) for lane in lanes]
    for lane, receipt in pairs:
        held = (receipt.row_count if receipt.locked else None) if receipt is not None else 0
        if receipt is not None and held and (receipt.is_hollow or _is_vague(receipt)):
            return False
        if held is None or held != lane.report.messages_recorded or not lane.sampler.idle:
            return False
    for lane, receipt in pairs:
        if receipt is not None:
            topic = lane.report
            topic.messages_sent = receipt.row_count or 0
            topic.start_ns, topic.end_ns = receipt.start_ns, receipt.end_ns
    return True


def compare_existing(
    lanes: Iterable[TopicLane], receipts: Mapping[str, TopicReceipt]
) -> tuple[VerificationLevel, list[str]]:
    """Compare what the platform had already with what the recording yields.

    Rows that the platform lacks are entered into the accounts as left out.

    Args:
        lanes: Rehearsed: their accounts hold what would be sent.
        receipts: What the platform holds, by its names of the topics.

    Returns:
        What was proven, and each difference as a sentence.
    """
    proven, differences = VerificationLevel.COUNTS, []
    for lane in lanes:
        topic = lane.report
        if lane.messages_read == 0:
            topic.outcome, topic.reason = TopicOutcome.EMPTY, "no messages"
            continue
        receipt = receipts.get(topic.platform_name)
        found = compare(topic, receipt, VerificationLevel.COUNTS)
        if isinstance(found, VerificationLevel):
            proven = VerificationLevel.weakest((proven, found))
            continue
        proven = VerificationLevel.NONE
        differences.append(
            f"{topic.name}: {found.what}: the recording yields {found.expected}, "
            f"the platform has {found.actual}"
        )
        held = (receipt.row_count or 0) if receipt is not None else 0
        lane.skip(NOT_ON_PLATFORM_REASON, max(topic.messages_sent - held, 0))
        topic.messages_sent = held
    return proven, differences


def lacking(lanes: Iterable[TopicLane], receipts: Mapping[str, TopicReceipt]) -> list[str]:
    """Say what a sequence that holds other files, too, lacks of what the files yield.

    Rows that the platform lacks are entered into the accounts as left out.

    Args:
        lanes: Rehearsed: their accounts say what would be sent.
        receipts: What the platform holds, by its names of the topics.
    """
    lacks = []
    for lane in lanes:
        topic = lane.report
        if lane.messages_read == 0:
            topic.outcome, topic.reason = TopicOutcome.EMPTY, "no messages"
            continue
        receipt = receipts.get(topic.platform_name)
        held = 0
        if receipt is not None and receipt.locked:
            held = topic.messages_sent if receipt.row_count is None else receipt.row_count
        if held < topic.messages_sent:
            lacks.append(
                f"{topic.name}: rows: the files yield {topic.messages_sent}, "
                f"the platform has {held}"
            )
            lane.skip(NOT_ON_PLATFORM_REASON, topic.messages_sent - held)
            topic.messages_sent = held
    return lacks


def _is_vague(receipt: TopicReceipt) -> bool:
    """Whether the platform counts rows and gives no times of them, which means "unknown"."""
    return bool(receipt.row_count) and None in (receipt.start_ns, receipt.end_ns)


def _read_back(
    client: MosaicoClient,
    sequence: str,
    topic: TopicReport,
    receipt: TopicReceipt,
    known: VerificationLevel,
    notes: list[str],
) -> VerificationLevel | Difference:
    """Compare what the platform gives out, where it can; otherwise what is known stays known."""
    rows = max(topic.messages_sent, 1)
    row_bytes = max(topic.row_bytes_max, (receipt.size_bytes or 0) // rows)
    if not client.can_read_rows_of(row_bytes):
        notes.append(
            f"{topic.name} was not read back: a row of {row_bytes} bytes would end the platform's "
            f"server; compared is only what it reports ({known})"
        )
        return known
    try:
        return _compare_read_back(client, sequence, topic)
    except RejectedError as error:
        notes.append(
            f"{topic.name} could not be read back: {error.message}; compared is only what the "
            f"platform reports ({known})"
        )
        return known


def _compare_read_back(
    client: MosaicoClient, sequence: str, topic: TopicReport
) -> VerificationLevel | Difference:
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
    expected = (topic.messages_sent, topic.start_ns, topic.end_ns)
    if expected != (rows, start_ns, end_ns):
        what = "rows, first and last time in ns, read back"
        return Difference(what=what, expected=expected, actual=(rows, start_ns, end_ns))
    return VerificationLevel.READBACK
