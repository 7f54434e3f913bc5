"""Whether the platform holds sequences whole, asked for when it matters.

What a sequence must hold is known from the report of its ingest; what it does hold is what the
platform says now. Before a source is moved or deleted the two are compared, and what a journal
remembers counts for nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.client import MosaicoClient, SequenceHandler, TopicReceipt
from bridge.ingest.marks import marks_of, parts_in
from bridge.ingest.report import SequenceContent, TopicRows, VerificationLevel
from bridge.units import counted

ASKED_AT_ONCE = 8
"""So many questions are on their way together; each is one call on 0.7, one a topic before."""


def contents_of(report: Mapping[str, Any]) -> list[SequenceContent]:
    """Say what must be on the platform of a recording, by the report of its ingest.

    Args:
        report: As `IngestReport.as_json` gives it and the journal keeps it.

    Returns:
        The sequences that its parts are in: one, or several where some were sent before.
    """
    if report.get("contents"):
        return [SequenceContent.from_json(plain) for plain in report["contents"]]
    # Reports of versions that knew no parts.
    return [
        SequenceContent(
            sequence=report["sequence"],
            fingerprint=report["fingerprint"],
            topics={
                topic["platform_name"]: TopicRows(
                    rows=topic["messages_sent"], start_ns=topic["start_ns"], end_ns=topic["end_ns"]
                )
                for topic in report["topics"]
                if topic["messages_sent"]
            },
            level=VerificationLevel(report["verification"]),
        )
    ]


class Held(StrEnum):
    """What the platform has of a sequence."""

    WHOLE = "whole"
    ABSENT = "absent"
    UNFINISHED = "unfinished"
    OTHER = "other"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The platform's answer about one sequence.

    Attributes:
        sequence: Its name.
        held: `WHOLE`: finalised, with these parts and these rows. `ABSENT`: no such sequence.
            `UNFINISHED`: it is still being written. `OTHER`: it holds other parts. `DIFFERENT`: a
            topic lacks rows, has others, or was not closed.
        level: How far it was compared: row counts and times as far as the revision has them.
        differences: Why it is not whole, one sentence each.
    """

    sequence: str
    held: Held
    level: VerificationLevel = VerificationLevel.NONE
    differences: tuple[str, ...] = ()

    def proves(self, level: VerificationLevel) -> bool:
        """Say whether this is proof, at a level or above, that the sequence is whole."""
        return self.held is Held.WHOLE and self.level.includes(level)


def held_whole(client: MosaicoClient, contents: Iterable[SequenceContent]) -> dict[str, Holding]:
    """Ask the platform whether it holds sequences whole, many at a time.

    Args:
        client: The platform.
        contents: What each sequence must hold; several of one name must all be held.

    Returns:
        The answers by name of the sequence.

    Raises:
        ServerError: The platform cannot be asked: that is no answer, and proves nothing.
    """
    wanted: dict[str, list[SequenceContent]] = {}
    for content in contents:
        wanted.setdefault(content.sequence, []).append(content)
    # A cached handler would answer from the past.
    client.clear_sequence_handlers_cache()
    with ThreadPoolExecutor(max_workers=min(ASKED_AT_ONCE, len(wanted) or 1)) as pool:
        answers = list(pool.map(lambda one: _ask(client, one), wanted.values()))
    return {answer.sequence: answer for answer in answers}


def _ask(client: MosaicoClient, contents: list[SequenceContent]) -> Holding:
    name = contents[0].sequence
    handler = client.sequence_handler(name)
    if handler is None:
        return Holding(
            sequence=name, held=Held.ABSENT, differences=("the platform has no such sequence",)
        )
    if not handler.is_locked:
        return Holding(
            sequence=name, held=Held.UNFINISHED, differences=("the sequence is not finalised",)
        )
    if not all(_is_the_one(handler, content) for content in contents):
        return Holding(
            sequence=name,
            held=Held.OTHER,
            differences=("the sequence of that name holds other content",),
        )
    receipts = receipts_of(handler, {topic for content in contents for topic in content.topics})
    level, differences = VerificationLevel.READBACK, []
    for content in contents:
        # Reading back is proof of the past that asking cannot repeat; what can be asked was.
        proven = VerificationLevel.COUNTS
        for topic, rows in content.topics.items():
            found = _compare(topic, rows, receipts.get(topic))
            if isinstance(found, VerificationLevel):
                proven = VerificationLevel.weakest((proven, found))
            else:
                differences.append(found.what)
        if content.level is not VerificationLevel.READBACK:
            level = VerificationLevel.weakest((level, content.level, proven))
    if differences:
        return Holding(
            sequence=name, held=Held.DIFFERENT, level=level, differences=tuple(differences)
        )
    return Holding(sequence=name, held=Held.WHOLE, level=level)


def _is_the_one(handler: SequenceHandler, content: SequenceContent) -> bool:
    marks = marks_of(handler)
    if content.fingerprint and marks.get("fingerprint") != content.fingerprint:
        return False
    named = parts_in(marks)
    # What versions sent that knew no parts names none; its fingerprint was compared.
    return not named or set(content.parts) <= named.keys()


@dataclass(frozen=True, slots=True)
class _Difference:
    what: str


def _compare(
    topic: str, rows: TopicRows, receipt: TopicReceipt | None
) -> VerificationLevel | _Difference:
    """Compare one topic as far as the platform tells without being read."""
    if receipt is None:
        return _Difference(f"{topic}: the platform has no such topic")
    if not receipt.locked:
        return _Difference(f"{topic}: the topic was not closed properly")
    if rows.rows and receipt.is_hollow:
        return _Difference(
            f"{topic}: sent {counted(rows.rows, 'row')}, the platform stores nothing of it"
        )
    pairs = (
        ("rows", rows.rows, receipt.row_count),
        ("first time in ns", rows.start_ns, receipt.start_ns),
        ("last time in ns", rows.end_ns, receipt.end_ns),
    )
    for what, sent, has in pairs:
        if has is not None and sent is not None and has != sent:
            return _Difference(f"{topic}: {what}: sent {sent}, the platform has {has}")
    if receipt.row_count is not None:
        return VerificationLevel.COUNTS
    timed = None not in {receipt.start_ns, receipt.end_ns, rows.start_ns, rows.end_ns}
    return VerificationLevel.RANGE if timed else VerificationLevel.CLOSED


def receipts_of(
    handler: SequenceHandler, topics: Collection[str] | None = None
) -> dict[str, TopicReceipt]:
    """Give what the platform holds of a finished sequence, by the platform's names of topics.

    Args:
        handler: The sequence.
        topics: Only these; None for all.

    Raises:
        ServerError: The platform cannot be asked.
    """
    wanted = handler.topic_facts
    if topics is not None:
        wanted = {name: facts for name, facts in wanted.items() if name in topics}
    if all(facts.data.row_count is not None for facts in wanted.values()):
        return {name: TopicReceipt.of(facts) for name, facts in wanted.items()}
    # Most revisions tell the rows of a topic only by itself, or not at all.
    handlers = handler.topic_handlers()
    return {name: topic.receipt for name, topic in handlers.items() if name in wanted}
