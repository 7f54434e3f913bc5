"""One lane for each topic that is sent: how it is decoded, mapped and written, and its account."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.bags import RecordingReader
from bridge.cdr import Decoder
from bridge.client import Known, SequenceWriter, TopicWriter
from bridge.definitions import canonical_text, layout_of
from bridge.errors import (
    BridgeError,
    DefinitionError,
    NestedTopicError,
    NotFoundError,
    RejectedError,
)
from bridge.ingest.batches import ALONE
from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import DOWNSAMPLED_REASON, TopicOutcome, TopicReport
from bridge.mapping import (
    ChosenMapping,
    Downsampler,
    Fates,
    MappedBlock,
    Note,
    TopicFilter,
    TopicOptions,
    TopicPlan,
    choose_mapping,
    field_fates,
    plan_topic,
    topic_names,
)
from bridge.model import MessageBlock, MessageType, Serialization, Topic

Choice = TypeVar("Choice")

OVERSIZE_REASON = "oversize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Rows of one topic, ready to be sent.

    Attributes:
        lane: The topic.
        batch: The rows, in terms of the topic's model.
        known: What is known of them; of many topics' rows each has its part of the size, by count.
    """

    lane: "TopicLane"
    batch: pa.RecordBatch
    known: Known

    @property
    def size_bytes(self) -> int:
        """About how many bytes they have."""
        return self.known.size_bytes

    def write_to(self, writer: TopicWriter) -> None:
        """Write the rows.

        Raises:
            ServerError: As for `TopicWriter.write_batch`.
        """
        writer.write_batch(self.batch, self.known)


@dataclass(slots=True, kw_only=True)
class TopicLane:
    """One topic on its way.

    Attributes:
        topic: The topic in the recording.
        decoder: Compiled for the topic's definition.
        plan: The mapping chosen.
        report: The topic's account.
        sampler: Leaves out messages by choice.
        events: Receives what is left out.
        hear: Receives the decoded messages, where they say something about the recording.
        messages_read: Messages that came out of the files.
        opening: The creation of its topic, under way or done; None before.
        writer: The stream to the platform, once the topic is created.
        ending: Whether its last batch has been handed over.
        closing: The end of its stream, under way or done; None before.
        failure: Why the topic was given up, or None; set by the thread that sends, too.
    """

    topic: Topic
    decoder: Decoder
    plan: TopicPlan
    report: TopicReport
    sampler: Downsampler
    events: IngestEvents
    hear: Callable[[Any], None] | None = None
    messages_read: int = 0
    opening: "Future[TopicWriter] | None" = None
    writer: TopicWriter | None = None
    ending: bool = False
    closing: "Future[None] | None" = None
    failure: BridgeError | None = None

    def convert(self, block: MessageBlock) -> MappedBlock:
        """Decode and map a block; what is dropped on the way is entered into the account."""
        if not self.sampler.idle:
            before = len(block.starts)
            block = _chosen(block, self.sampler)
            self.skip(DOWNSAMPLED_REASON, before - len(block.starts))
        decoded = self.decoder.decode(block)
        if self.hear is not None:
            self.hear(decoded.messages)
        self.report.messages_leftover += decoded.leftover
        for reason, count in decoded.repaired.items():
            repaired = self.report.messages_repaired
            repaired[reason] = repaired.get(reason, 0) + count
        mapped = self.plan.apply(decoded)
        for reason, count in mapped.dropped.items():
            self.skip(reason, count)
        self.note(mapped.notes)
        return mapped

    def note(self, notes: Mapping[Note, Mapping[str, int]]) -> None:
        """Enter what was noted about messages into the account."""
        for note, counts in notes.items():
            noted = self.report.noted.setdefault(str(note), {})
            for text, count in counts.items():
                noted[text] = noted.get(text, 0) + count

    @property
    def metadata(self) -> dict[str, Any]:
        """The topic's metadata on the platform, with what is known of its messages so far."""
        return self.plan.metadata(self.report.noted)

    def enter_written(self) -> None:
        """Enter what the writer has written, or has rehearsed to write, into the account."""
        writer = self.writer
        assert writer is not None
        self.report.messages_sent = writer.rows_written
        self.report.start_ns = writer.start_ns
        self.report.end_ns = writer.end_ns
        self.report.texts_changed = writer.texts_changed
        self.report.compression = writer.compression
        self.report.row_bytes_max = writer.row_bytes_max
        self.skip(OVERSIZE_REASON, writer.oversize)

    def skip(self, reason: str, count: int) -> None:
        """Enter messages that are left out."""
        enter_skipped(self.report, reason, count, self.events)


def enter_skipped(report: TopicReport, reason: str, count: int, events: IngestEvents) -> None:
    """Enter messages that are left out into a topic's account and report them."""
    if count:
        report.messages_skipped[reason] = report.messages_skipped.get(reason, 0) + count
        events.skipped(topic=report.shown_name, reason=reason, messages=count)


def plan_lanes(
    reader: RecordingReader, options: IngestOptions, events: IngestEvents
) -> tuple[dict[int, TopicLane], list[TopicReport]]:
    """Decide for every topic of a recording what happens to it.

    Returns:
        The lanes by `Topic.index`, and one report for each topic, in order of the topics; topics
        without a lane are filtered, empty or skipped, and their report says why.

    Raises:
        DefinitionError: A topic cannot be decoded and the options say that this is fatal.
    """
    wanted = TopicFilter(options.topics)
    types = _Types(options, source_file=reader.recording.path.name)
    lanes: dict[int, TopicLane] = {}
    reports = [
        TopicReport(
            name=topic.name,
            msgtype=topic.msgtype,
            outcome=TopicOutcome.SKIPPED,
            messages_recorded=topic.message_count,
        )
        for topic in reader.topics
    ]
    # Counts are claims. Those that are said to be empty only come last when names are given.
    for topic in sorted(reader.topics, key=lambda topic: topic.message_count == 0):
        report = reports[topic.index]
        if not wanted.selects(topic.name):
            report.outcome, report.reason = TopicOutcome.FILTERED, "not selected by ingest.topics"
            continue
        try:
            lane = _lane(topic, report, options, events, types)
        except DefinitionError as error:
            # Of a topic that is said to be empty nothing is missing, unless messages come up.
            if options.topic_errors == "fail" and topic.message_count != 0:
                raise
            report.reason, report.hint = error.message, error.hint
            continue
        lanes[topic.index] = lane
    _name_topics(list(lanes.values()), options)
    return lanes, reports


def _lane(
    topic: Topic,
    report: TopicReport,
    options: IngestOptions,
    events: IngestEvents,
    types: "_Types",
) -> TopicLane:
    message_type = topic.message_type
    if message_type is None:
        raise DefinitionError(
            topic.obstacle, msgtype=topic.msgtype, topic=topic.name, hint=topic.hint
        )
    choices = _choices(topic, options)
    decoder, plan = types.plan(topic, message_type, choices)
    report.outcome = TopicOutcome(plan.kind)
    report.ontology_tag = plan.model.tag
    return TopicLane(
        topic=topic,
        decoder=decoder,
        plan=plan,
        report=report,
        sampler=Downsampler(choices),
        events=events,
    )


def _choices(topic: Topic, options: IngestOptions) -> TopicOptions:
    return _first_match(topic.name, options.topic_options) or options.default_topic_options


def _name_topics(lanes: list[TopicLane], options: IngestOptions) -> None:
    """Give every topic its name on the platform, with a view to those of all others."""
    recorded = [(lane.topic.name, _choices(lane.topic, options).rename) for lane in lanes]
    names = topic_names(recorded, prefix=options.topic_prefix)
    for lane, name in zip(lanes, names, strict=True):
        lane.report.platform_name = name


class _Types:
    """Makes what depends on a type alone once, however many topics of a recording share it."""

    def __init__(self, options: IngestOptions, *, source_file: str) -> None:
        self._custom = options.custom_mappings
        self._source_file = source_file
        self._decoders: dict[tuple[object, ...], tuple[Decoder, str]] = {}
        self._mappings: dict[tuple[int, str, str], ChosenMapping] = {}
        # By objects, which all topics that carry the same text, and have the same choices, share.
        self._plans: dict[tuple[int, Serialization, int], tuple[Decoder, TopicPlan]] = {}

    def plan(
        self, topic: Topic, message_type: MessageType, choices: TopicOptions
    ) -> tuple[Decoder, TopicPlan]:
        """Return the decoder and the plan of a topic.

        Raises:
            DefinitionError: The type has too many values that are not on the wire.
            ConfigError: The choices ask for a model that its messages cannot become.
        """
        key = (id(message_type), topic.serialization, id(choices))
        if key in self._plans:
            decoder, alike = self._plans[key]
            return decoder, alike.of(topic)
        decoder, msgdef = self._decoder(message_type, topic.serialization)
        plan = plan_topic(
            topic,
            message_type,
            decoder.arrow_type,
            options=choices,
            msgdef=msgdef,
            source_file=self._source_file,
            chosen=self._mapping(decoder, choices),
        )
        self._plans[key] = decoder, plan
        return decoder, plan

    def _decoder(
        self, message_type: MessageType, serialization: Serialization
    ) -> tuple[Decoder, str]:
        """Return the decoder of a type and the canonical text of its definition."""
        text = canonical_text(message_type, ros1=serialization is Serialization.ROS1)
        # The text holds constants and comes with the topic; the name chooses the mapping.
        key = (message_type.name, text, layout_of(message_type), serialization)
        if key not in self._decoders:
            self._decoders[key] = Decoder(message_type, serialization=serialization), text
        return self._decoders[key]

    def _mapping(self, decoder: Decoder, choices: TopicOptions) -> ChosenMapping:
        """Return what becomes of the messages of a decoder, by the choices that decide it."""
        key = (id(decoder), choices.ontology, str(choices.image_format))
        if key not in self._mappings:
            self._mappings[key] = choose_mapping(
                decoder.message_type, decoder.arrow_type, options=choices, custom=self._custom
            )
        return self._mappings[key]


def plan_fields(reader: RecordingReader, options: IngestOptions) -> dict[str, Fates | None]:
    """Return, for every topic that would be sent, which columns each field of its messages goes to.

    The topics go by the platform's names.

    Raises:
        DefinitionError: A topic cannot be decoded and the options say that this is fatal.
    """
    lanes, _ = plan_lanes(reader, options, NoEvents())
    return {
        lane.report.shown_name: field_fates(lane.plan, lane.decoder.arrow_type)
        for lane in lanes.values()
    }


def plan_topics(reader: RecordingReader, options: IngestOptions) -> list[TopicReport]:
    """Return what would become of every topic as far as its definition tells; reads no message.

    Raises:
        DefinitionError: A topic cannot be decoded and the options say that this is fatal.
    """
    _, reports = plan_lanes(reader, options, NoEvents())
    for report in reports:
        if report.messages_recorded == 0:
            report.outcome, report.reason = TopicOutcome.EMPTY, "no messages"
    return reports


def kinds_of(lanes: Mapping[int, TopicLane], topics: int) -> NDArray[np.int64]:
    """Number the kinds of topics whose messages may be decoded together.

    Args:
        lanes: The topics that are sent, by `Topic.index`.
        topics: How many topics there are.

    Returns:
        int64, shape (topics,): alike for topics of the same decoder and mapping; `ALONE` where
        messages are sampled, decoded by what others look like, listened to, or not sent.
    """
    kinds = np.full(topics, ALONE, dtype=np.int64)
    numbers: dict[tuple[int, int], int] = {}
    for index, lane in lanes.items():
        plain = lane.sampler.idle and lane.hear is None
        if plain and not lane.decoder.depends_on_neighbours:
            key = (id(lane.decoder), id(lane.plan.mapping))
            kinds[index] = numbers.setdefault(key, len(numbers))
    return kinds


def _chosen(block: MessageBlock, sampler: Downsampler) -> MessageBlock:
    keep = sampler.select(block.log_times_ns)
    return replace(
        block,
        log_times_ns=block.log_times_ns[keep],
        starts=block.starts[keep],
        ends=block.ends[keep],
    )


def _first_match(name: str, by_pattern: Mapping[str, Choice]) -> Choice | None:
    return next(
        (choice for pattern, choice in by_pattern.items() if fnmatchcase(name, pattern)), None
    )


def is_the_topics_fault(error: BridgeError) -> bool:
    """Return whether an error concerns one topic's content rather than the connection.

    A topic that the platform does not know any more was deleted there, which is no fault of it.
    """
    missing = isinstance(error, NotFoundError)
    return isinstance(error, RejectedError | DefinitionError) and not missing


def drop(writer: SequenceWriter, reasons: Mapping[str, str]) -> None:
    """Remove topics that failed from their sequence, with a notification for each.

    Raises:
        NestedTopicError: The platform would delete the data of others with one; says why it failed.
        ServerError: A topic could not be removed.
    """
    try:
        writer.topics_drop(reasons)
    except NestedTopicError as error:
        name = "/" + (error.resource or "").partition("/")[2]
        raise NestedTopicError(
            f"{name} cannot be sent ({reasons.get(name)}) and cannot be dropped: {error.message}",
            address=error.address,
            resource=error.resource,
            hint=f'leave it out by ingest.topics = ["!{name}"], then `mosaico-bridge retry` it',
        ) from error
