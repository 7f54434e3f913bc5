"""What an ingest did, topic by topic: what came in went out or is accounted for."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from bridge.ingest.earlier import Replacement
from bridge.model import REPEATED, Loss, Recording
from bridge.quality import Finding, RecordingQuality, TopicFigures
from bridge.units import counted

FILTERED_REASON = "filtered"
DOWNSAMPLED_REASON = "downsampled"
CHOSEN_REASONS = frozenset({FILTERED_REASON, DOWNSAMPLED_REASON, REPEATED})
"""Reasons for which messages are left out because the settings say so."""


FINDINGS_MAX = 3
"""So many findings are told in words; the rest is counted."""

MISSING_TOPICS_MAX = 3
"""So many topics are named in the reason why a recording is not whole; the rest is counted."""


NAMES_SHOWN_MAX = 3
"""So many sequences that hold parts of a recording are named; the rest is counted."""


class TopicOutcome(StrEnum):
    """What became of a topic."""

    MAPPED = "mapped"
    GENERIC = "generic"
    FILTERED = "filtered"
    SKIPPED = "skipped"
    EMPTY = "empty"


class VerificationLevel(StrEnum):
    """How much of what arrived was proven, weakest first; each includes the ones before.

    `CLOSED`: the platform says that each stream ended cleanly and that something is stored of it.
    `RANGE`: first and last times agree, too (reported from G1.2 on). `COUNTS`: row counts agree,
    too (reported from G2c on). `READBACK`: rows and times were counted in what the platform gives
    out (any revision).
    """

    NONE = "none"
    CLOSED = "closed"
    RANGE = "range"
    COUNTS = "counts"
    READBACK = "readback"

    @property
    def in_words(self) -> str:
        """What was compared at this level, and what was not."""
        closed = "that every topic ended cleanly and is not empty"
        return {
            VerificationLevel.NONE: "nothing was compared",
            VerificationLevel.CLOSED: f"compared: {closed}; not compared: times, row counts",
            VerificationLevel.RANGE: f"compared: {closed}, first and last times; "
            "not compared: row counts",
            VerificationLevel.COUNTS: f"compared: {closed}, first and last times, row counts",
            VerificationLevel.READBACK: "compared: times and number of the rows that the platform "
            "gives out",
        }[self]

    def includes(self, other: "VerificationLevel") -> bool:
        """Whether all that the other compares is compared at this level."""
        return _STRENGTH[self] >= _STRENGTH[other]

    @staticmethod
    def weakest(levels: Iterable["VerificationLevel"]) -> "VerificationLevel":
        """Give the level that all of some levels include; there has to be one at least."""
        return min(levels, key=_STRENGTH.__getitem__)


_STRENGTH = {level: place for place, level in enumerate(VerificationLevel)}


@dataclass(slots=True, kw_only=True)
class TopicReport:
    """One topic of a recording.

    Attributes:
        name: The ROS name as recorded.
        platform_name: The name on the platform; empty where nothing was sent.
        msgtype: The ROS message type.
        ontology_tag: The tag it was sent under; empty where nothing was sent.
        outcome: What became of it.
        reason: Why, for everything but mapped and generic.
        hint: What an operator can do about that; may be empty.
        messages_recorded: What the container claims, or None.
        messages_sent: Rows on the platform.
        messages_skipped: What was left out, by reason.
        noted: What the rows cannot show of their messages, by kind, with the number of messages:
            fields that the mapping leaves out, formats as recorded, what was not measured.
        messages_leftover: Messages that were sent although more bytes follow than their definition
            knows; the definition is suspect.
        messages_repaired: Messages that were sent although something in them was replaced, or read
            otherwise than it was announced, by reason.
        texts_changed: Texts in which U+0000 was replaced by U+FFFD, because the platform cannot
            keep it.
        compression: How that was compressed on the wire: `lz4`, `zstd`, or empty.
        arrow_bytes: Size of what was sent, as Arrow IPC before body compression.
        batches: Number of batches, each a chunk on the platform.
        row_bytes_max: The largest row sent, as Arrow.
        start_ns: First record time sent, or None.
        end_ns: Last record time sent, or None.
        quality: How it was recorded; None where its messages were not read this time.
    """

    name: str
    msgtype: str
    outcome: TopicOutcome
    platform_name: str = ""
    ontology_tag: str = ""
    reason: str = ""
    hint: str = ""
    messages_recorded: int | None = None
    messages_sent: int = 0
    messages_skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, dict[str, int]] = field(default_factory=dict)
    messages_leftover: int = 0
    messages_repaired: dict[str, int] = field(default_factory=dict)
    texts_changed: int = 0
    compression: str = ""
    arrow_bytes: int = 0
    batches: int = 0
    row_bytes_max: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    quality: TopicFigures | None = None

    @property
    def shown_name(self) -> str:
        """The name on the platform; as recorded, where the topic is not there."""
        return self.platform_name or self.name

    @property
    def left_out(self) -> bool:
        """Whether it was left out, other than by choice, with what is said to be in it."""
        return self.outcome is TopicOutcome.SKIPPED and self.messages_recorded != 0

    @property
    def messages_unwillingly_skipped(self) -> int:
        """Messages that were found but left out, other than by choice."""
        return sum(
            count for reason, count in self.messages_skipped.items() if reason not in CHOSEN_REASONS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Topics that were left out and that one remedy would bring in.

    Attributes:
        topics: Their names.
        reason: Why the first of them was left out.
        hint: The remedy; empty where none is known.
    """

    topics: tuple[str, ...]
    reason: str
    hint: str

    @property
    def phrase(self) -> str:
        """Which topics and why, in few words whatever their number."""
        first = ", ".join(self.topics[:MISSING_TOPICS_MAX])
        more = len(self.topics) - MISSING_TOPICS_MAX
        names = f"{first} and {more:,} more" if more > 0 else first
        likewise = "" if len(self.topics) == 1 else " (the others likewise)"
        return f"{names} not sent: {self.reason or 'no reason given'}{likewise}"

    def __str__(self) -> str:
        """The same with the remedy."""
        return f"{self.phrase}; {self.hint}" if self.hint else self.phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRows:
    """What a topic must hold.

    Attributes:
        rows: Its rows.
        start_ns: First record time, or None where that is not known.
        end_ns: Last record time, likewise.
    """

    rows: int
    start_ns: int | None = None
    end_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceContent:
    """What a sequence must hold.

    Attributes:
        sequence: Its name.
        fingerprint: Identity of what was sent as it; empty where that is not known.
        parts: Identities of those parts of a recording that it holds; it may hold more. Empty for
            what versions sent that knew no parts; the fingerprint decides then.
        topics: What its topics hold, by the platform's names; only those with rows.
        level: How far that was proven when it was written down.
    """

    sequence: str
    fingerprint: str = ""
    parts: tuple[str, ...] = ()
    topics: Mapping[str, TopicRows] = field(default_factory=dict)
    level: VerificationLevel = VerificationLevel.NONE

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "sequence": self.sequence,
            "fingerprint": self.fingerprint,
            "parts": list(self.parts),
            "topics": {
                name: [topic.rows, topic.start_ns, topic.end_ns]
                for name, topic in self.topics.items()
            },
            "level": str(self.level),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "SequenceContent":
        """Read one back from `as_json`."""
        return cls(
            sequence=plain["sequence"],
            fingerprint=plain["fingerprint"],
            parts=tuple(plain["parts"]),
            topics={
                name: TopicRows(rows=rows, start_ns=start_ns, end_ns=end_ns)
                for name, (rows, start_ns, end_ns) in plain["topics"].items()
            },
            level=VerificationLevel(plain["level"]),
        )


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """One recording.

    Attributes:
        recording: Path of the recording.
        sequence: Its name on the platform.
        fingerprint: Identity of the content.
        sha256: The SHA-256 of every file by its name, hex, where it was asked for.
        topics: One entry per topic of the recording, sent or not.
        losses: Byte ranges that could not be read.
        contradictions: Claims of the recorder that the data contradict, with how often each was
            met. The data were believed, and nothing is missing because of them.
        healthy: Whether the recorder closed every file properly.
        messages_unverifiable: Messages that were read from places without a checksum, sent or not:
            whether these are what was recorded is unknown.
        verification: How much of what arrived was proven.
        recorded_bytes: Size of the files.
        seconds: How long it took.
        notes: Whatever else an operator should know, one sentence each.
        replaced: What became of the sequence that this one takes the place of; None where it
            takes none's.
        already_there: Whether the platform had it whole before, so that nothing was sent.
        contents: What the platform must hold of the recording from now on, sequence by sequence.
        parts_before: How many of its parts were on the platform already.
        parts: How many parts it has.
        missing: Why it is not whole although everything that is here is on the platform: files
            that belong to it and are not here, or parts that the platform holds incomplete; one
            sentence each.
        quality: What falls short of what is expected; None where the messages were not read.
    """

    recording: str
    sequence: str
    fingerprint: str
    sha256: dict[str, str] = field(default_factory=dict)
    topics: list[TopicReport] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    contradictions: dict[str, int] = field(default_factory=dict)
    healthy: bool = True
    messages_unverifiable: int = 0
    verification: VerificationLevel = VerificationLevel.NONE
    recorded_bytes: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    replaced: Replacement | None = None
    already_there: bool = False
    contents: list[SequenceContent] = field(default_factory=list)
    parts_before: int = 0
    parts: int = 0
    missing: list[str] = field(default_factory=list)
    quality: RecordingQuality | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What falls short of what is expected of the recording; it arrives all the same."""
        return () if self.quality is None else self.quality.findings

    @property
    def findings_in_words(self) -> str:
        """How many findings there are, and which are the first; empty for none."""
        found = self.findings
        if not found:
            return ""
        shown = [f"{one.topic}: {one.text}" for one in found[:FINDINGS_MAX]]
        more = [f"and {len(found) - FINDINGS_MAX:,} more"] if len(found) > FINDINGS_MAX else []
        noun = "finding" if len(found) == 1 else "findings"
        return f"{len(found):,} {noun}: " + "; ".join(shown + more)

    def quality_rows(self) -> tuple[list[int], list[str]]:
        """Say how each topic was recorded, a row for each: its time in ns, and JSON."""
        measured = [(topic, topic.quality) for topic in self.topics if topic.quality is not None]
        known_ns = self.quality.end_ns if self.quality is not None else None
        if known_ns is None:
            return [], []
        texts = []
        for topic, figures in measured:
            findings = [asdict(one) for one in self.findings if one.topic == topic.name]
            names = {"topic": topic.name, "platform_topic": topic.platform_name}
            texts.append(json.dumps({**names, **asdict(figures), "findings": findings}))
        others = {topic.name for topic, _ in measured}
        missing = [asdict(one) for one in self.findings if one.topic not in others]
        if missing:
            texts.append(json.dumps({"topic": "", "platform_topic": "", "findings": missing}))
        return [known_ns] * len(texts), texts

    @property
    def messages_sent(self) -> int:
        """Rows on the platform."""
        return sum(topic.messages_sent for topic in self.topics)

    @property
    def messages_skipped(self) -> int:
        """Messages that were found but left out, other than by choice."""
        return sum(topic.messages_unwillingly_skipped for topic in self.topics)

    @property
    def salvaged(self) -> bool:
        """Whether the recording itself was not whole, so that only what is intact was sent."""
        return not self.healthy or bool(self.losses)

    @property
    def complete(self) -> bool:
        """Whether every message is on the platform whole, or was left out by an explicit filter."""
        undecided = any(topic.left_out or topic.messages_leftover for topic in self.topics)
        lacks = self.salvaged or undecided or self.messages_skipped or self.missing
        return not lacks

    @property
    def not_sent(self) -> list[NotSent]:
        """The topics that were left out other than by choice, together by what would help."""
        return not_sent(self.topics)

    @property
    def shortfalls(self) -> list[str]:
        """Why it is not complete, one phrase each; empty where it is."""
        by_topic = [group.phrase for group in self.not_sent]
        by_topic += [phrase for topic in self.topics if (phrase := _missing_of(topic))]
        more = len(by_topic) - MISSING_TOPICS_MAX
        found = by_topic[:MISSING_TOPICS_MAX]
        if more > 0:
            found.append(f"{more:,} more topics are not whole")
        if self.losses:
            lost_bytes = sum(loss.end_bytes - loss.start_bytes for loss in self.losses)
            places = counted(len(self.losses), "place")
            found.append(f"{counted(lost_bytes, 'byte')} unreadable in {places}")
        if not self.healthy:
            found.append("the recorder did not close the recording")
        return found + self.missing

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        plain = asdict(self)
        plain["contents"] = [content.as_json() for content in self.contents]
        plain["losses"] = [{**asdict(loss), "path": str(loss.path)} for loss in self.losses]
        return plain | {
            "messages_sent": self.messages_sent,
            "messages_skipped": self.messages_skipped,
            "salvaged": self.salvaged,
            "complete": self.complete,
            "shortfalls": self.shortfalls,
            "not_sent": [asdict(one) for one in self.not_sent],
        }


def not_sent(topics: Iterable[TopicReport]) -> list[NotSent]:
    """Put topics that were left out, other than by choice, together by what would help."""
    together: dict[str, list[TopicReport]] = {}
    for topic in topics:
        if topic.left_out:
            together.setdefault(topic.hint or topic.reason, []).append(topic)
    return [
        NotSent(
            topics=tuple(topic.shown_name for topic in found),
            reason=found[0].reason,
            hint=found[0].hint,
        )
        for found in together.values()
    ]


def missing_files(recording: Recording) -> list[str]:
    """Name the files that belong to a recording and cannot be read, each with the reason."""
    return [f"{name}: {why}" for name, why in recording.missing.items()]


def _missing_of(topic: TopicReport) -> str:
    """Say what of a topic is not on the platform as it was recorded; empty where all is."""
    if topic.left_out:
        return ""  # Said together with others.
    parts = []
    if topic.messages_unwillingly_skipped:
        reasons = ", ".join(
            f"{count:,} {reason}"
            for reason, count in topic.messages_skipped.items()
            if reason not in CHOSEN_REASONS
        )
        parts.append(
            f"{counted(topic.messages_unwillingly_skipped, 'message')} left out ({reasons})"
        )
    if topic.messages_leftover:
        parts.append(f"{counted(topic.messages_leftover, 'message')} longer than their definition")
    return f"{topic.shown_name}: {', '.join(parts)}" if parts else ""


def said_before(report: IngestReport) -> str:
    """Say how much of a recording was on the platform before, and as what."""
    own = report.sequence if report.parts_before < report.parts else ""
    names = [held.sequence for held in report.contents if held.sequence != own]
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
    return f"{report.parts_before} of {report.parts} parts were sent before, as {shown}{more}"
