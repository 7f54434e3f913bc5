"""The decision for one topic, made once: which model its messages become, and how.

Planning tries a mapping on an empty array of the topic's type. What does not fit its definition
(a vendor's variant of a stock type that lacks a field, a custom mapping with a wrong path) is
found here, and the topic takes the generic way with the reason in its metadata; nothing is left
to find out message by message.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.errors import ConfigError, DefinitionError
from bridge.mapping import table
from bridge.mapping.choices import GENERIC, ImageFormat, TopicOptions
from bridge.mapping.columns import absent, zeros
from bridge.mapping.metadata import Renamed, clean_keys
from bridge.mapping.pieces import Columns
from bridge.mapping.plugins import CustomMapping
from bridge.mapping.source import Ledger, Note, Notes, Source, fields_left
from bridge.model import (
    DUMMY_MEMBER,
    ArrayType,
    DecodedBlock,
    FieldType,
    MessageType,
    SequenceType,
    Topic,
)
from bridge.ontology import ENVELOPE, TIMESTAMP_COLUMN, Model

ROS_BLOCK = "_ros_"
"""The platform's reserved key for what the ROS side knew; readers rebuild messages from it."""

NOTED_MAX = 100
"""More texts of one kind would be a flood, as of a driver that counts in its format."""

Kind = Literal["mapped", "generic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedBlock:
    """The messages of a block as rows of the topic's model.

    Attributes:
        batch: Rows with exactly the model's schema.
        dropped: Messages that could not be decoded or mapped, by reason.
        notes: What the rows cannot show of the messages.
    """

    batch: pa.RecordBatch
    dropped: Mapping[str, int]
    notes: Notes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """How a topic goes to the platform.

    Attributes:
        model: What its messages become.
        kind: Whether by a mapping of their type, or with their own fields.
        reason: Why generic, where the type has a mapping; else empty.
        user_metadata: The topic's metadata on the platform, as far as it is known beforehand.
        mapping: Makes the columns.
        left_out: Fields of the messages that the mapping does not read.
    """

    model: Model
    kind: Kind
    reason: str
    user_metadata: dict[str, Any] = field(repr=False)
    mapping: table.Mapping = field(repr=False)
    left_out: tuple[str, ...] = ()

    def of(self, topic: Topic) -> "TopicPlan":
        """Give the same plan for another topic of the same type and serialisation."""
        block = {**self.user_metadata[ROS_BLOCK], **_told_by(topic)}
        return replace(self, user_metadata={**self.user_metadata, ROS_BLOCK: block})

    def metadata(self, noted: Mapping[str, Iterable[str]]) -> dict[str, Any]:
        """Give the topic's metadata with what was noted about its first messages, by kind."""
        if not noted:
            return self.user_metadata
        block = dict(self.user_metadata[ROS_BLOCK])
        texts = {kind: sorted(texts)[:NOTED_MAX] for kind, texts in noted.items()}
        block["mapping"] = {**block["mapping"], **texts}
        return {**self.user_metadata, ROS_BLOCK: block}

    def apply(self, decoded: DecodedBlock) -> MappedBlock:
        """Map messages of the type that was planned for.

        Cost: linear in the rows; big payloads are not copied unless messages are dropped.
        """
        batch, ledger = _map(self.mapping, decoded.messages, decoded.log_times_ns)
        dropped = dict(decoded.dropped)
        for reason, count in ledger.reasons.items():
            dropped[reason] = dropped.get(reason, 0) + count
        for name in self.left_out:
            ledger.note(Note.LEFT_OUT, name, batch.num_rows)
        return MappedBlock(batch=batch, dropped=dropped, notes=ledger.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenMapping:
    """What becomes of the messages of a type, whatever their topic.

    Attributes:
        mapping: Makes the columns.
        kind: Whether by a mapping of the type, or with the messages' own fields.
        reasons: Why the mappings before it did not fit.
        renamed: Fields that have another name on the platform.
        left_out: Fields of the messages that the mapping does not read.
    """

    mapping: table.Mapping
    kind: Kind
    reasons: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def choose_mapping(
    message_type: MessageType,
    arrow_type: pa.StructType,
    *,
    options: TopicOptions,
    custom: Sequence[CustomMapping] = (),
) -> ChosenMapping:
    """Choose what becomes of the messages of a type; of the options only those that decide it.

    Raises:
        ConfigError: `options` asks for a model that messages of this type cannot become.
    """
    mapping, left_out, reasons = _choose(message_type.name, arrow_type, options, custom)
    if mapping is not None:
        return ChosenMapping(mapping=mapping, kind="mapped", reasons=reasons, left_out=left_out)
    mapping, renamed = _generic(message_type.name, arrow_type)
    return ChosenMapping(mapping=mapping, kind="generic", reasons=reasons, renamed=renamed)


def plan_topic(
    topic: Topic,
    message_type: MessageType,
    arrow_type: pa.StructType,
    *,
    options: TopicOptions = TopicOptions(),  # noqa: B008 - a frozen value
    msgdef: str = "",
    source_file: str = "",
    custom: Sequence[CustomMapping] = (),
    chosen: ChosenMapping | None = None,
) -> TopicPlan:
    """Decide how a topic goes to the platform.

    Args:
        topic: The topic as recorded.
        message_type: Its parsed definition.
        arrow_type: The struct that the decoder makes of it.
        options: The user's choices for this topic.
        msgdef: The canonical text of the definition, for the metadata.
        source_file: Name of the file or folder, for the metadata.
        custom: The user's own mappings; they come before the built-in ones, the first first.
        chosen: What was chosen for these messages with the same options; None to choose now.

    Raises:
        ConfigError: `options` asks for a model that messages of this type cannot become.
    """
    if chosen is None:
        chosen = choose_mapping(message_type, arrow_type, options=options, custom=custom)
    facts: dict[str, Any] = {"kind": chosen.kind}
    if chosen.reasons:
        facts["reason"] = "; ".join(chosen.reasons)
    if chosen.renamed:
        facts["renamed_fields"] = chosen.renamed
    if chosen.left_out:
        facts["left_out"] = list(chosen.left_out)
    return TopicPlan(
        model=chosen.mapping.model,
        kind=chosen.kind,
        reason="; ".join(chosen.reasons),
        mapping=chosen.mapping,
        left_out=chosen.left_out,
        user_metadata=_topic_metadata(
            topic,
            message_type,
            msgdef=msgdef,
            source_file=source_file,
            mapping=facts,
            extra=options.metadata,
        ),
    )


def _topic_metadata(
    topic: Topic,
    message_type: MessageType,
    *,
    msgdef: str,
    source_file: str,
    mapping: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Assemble the user metadata of a topic.

    Args:
        topic: The topic as recorded.
        message_type: Its parsed definition; the constants of its top level become `enums`.
        msgdef: The canonical text of the definition.
        source_file: Name of the file or folder it comes from.
        mapping: How it was mapped: `kind`, and whatever a reader needs to undo it.
        extra: The user's own metadata for this topic; a `_ros_` among it gives way.
    """
    block: dict[str, Any] = {
        "msgtype": message_type.name,
        "enums": {constant.name: constant.value for constant in message_type.constants},
        "msgdef": msgdef,
        "source_file": source_file,
        **_told_by(topic),
        "mapping": dict(mapping),
    }
    enumerations = [
        {"field": path, "names": names} for path, names in _enumerations(message_type, "")
    ]
    if enumerations:
        block["enumerations"] = enumerations
    renamed: Renamed
    cleaned, renamed = clean_keys({**extra, ROS_BLOCK: block})
    if renamed:
        cleaned[ROS_BLOCK]["renamed_keys"] = renamed
    return cleaned


def _told_by(topic: Topic) -> dict[str, str]:
    """Give what a topic's metadata say of the topic itself, not of its type."""
    return {
        "topic": topic.name,
        "message_encoding": topic.serialization.value,
        "definition_source": topic.definition_source,
        "type_hash": topic.type_hash,
        "qos": topic.qos,
    }


def _enumerations(kind: FieldType, path: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Give the names of the values of every field that is an enumeration or a bitmask.

    Fields are named by their path, as `status.mode`; elements of collections have no part in it.
    """
    if isinstance(kind, ArrayType | SequenceType):
        yield from _enumerations(kind.element, path)
    elif isinstance(kind, MessageType):
        for name, member in kind.fields:
            yield from _enumerations(member, f"{path}.{name}" if path else name)
    elif kind.enumerators:
        yield path, dict(kind.enumerators)


def _choose(
    ros_type: str,
    arrow_type: pa.StructType,
    options: TopicOptions,
    custom: Sequence[CustomMapping],
) -> tuple[table.Mapping | None, tuple[str, ...], list[str]]:
    """Find the first mapping that fits, what it does not read, and why those before do not fit."""
    if options.ontology == GENERIC:
        return None, (), []
    reasons: list[str] = []
    for candidate in _candidates(ros_type, options, custom):
        try:
            mapping = candidate.bind(arrow_type)
            left_out = _try(mapping, arrow_type)
        except DefinitionError as error:
            reasons.append(error.message)
        else:
            return mapping, left_out, reasons
    return None, (), reasons


def _candidates(
    ros_type: str, options: TopicOptions, custom: Sequence[CustomMapping]
) -> Iterable[CustomMapping]:
    default = table.DEFAULT_MAPPINGS.get(ros_type)
    if default is table.RAW_IMAGE and options.image_format == ImageFormat.PNG:
        default = table.PNG_IMAGE
    usual: list[CustomMapping] = [mapping for mapping in custom if mapping.ros_type == ros_type]
    usual += [] if default is None else [default]
    if not options.ontology:
        return usual
    possible = usual + [mapping for mapping in table.ALTERNATIVES if mapping.ros_type == ros_type]
    chosen = [mapping for mapping in possible if mapping.tag == options.ontology]
    if not chosen:
        tags = sorted({mapping.tag for mapping in possible} | {GENERIC})
        raise ConfigError(
            f"messages of {ros_type} cannot become {options.ontology}",
            key="topics.*.ontology",
            hint=f"possible for this type: {', '.join(tags)}",
        )
    return chosen


def _try(mapping: table.Mapping, arrow_type: pa.StructType) -> tuple[str, ...]:
    """Map no message at all, which shows whether the definition has what the mapping needs.

    Returns:
        The fields that the mapping does not read.

    Raises:
        DefinitionError: It has not, or the mapping does not make its model's columns.
    """
    try:
        batch, ledger = _map(mapping, zeros(arrow_type, 0), np.empty(0, np.int64))
        batch.validate(full=True)
    except (pa.ArrowException, AssertionError, LookupError, TypeError, ValueError) as error:
        raise DefinitionError(
            f"the mapping to {mapping.model.tag} does not work: {error}", msgtype=mapping.ros_type
        ) from error
    left = fields_left(arrow_type, mapping.ros_type, ledger.fields_read)
    return tuple(name.removeprefix(f"{mapping.ros_type}.") for name in left)


def _map(
    mapping: table.Mapping, messages: pa.StructArray, log_times_ns: NDArray[np.int64]
) -> tuple[pa.RecordBatch, Ledger]:
    rows = len(messages)
    ledger = Ledger(rows)
    columns = mapping.columns(Source(messages, mapping.ros_type, ledger))
    batch = _batch(mapping.model, columns, log_times_ns, rows)
    if ledger.reasons:
        batch = batch.filter(pa.array(~ledger.bad))
    return batch, ledger


def _batch(
    model: Model, columns: Columns, log_times_ns: NDArray[np.int64], rows: int
) -> pa.RecordBatch:
    arrays = [pa.array(log_times_ns, ENVELOPE.type)]
    for column in model.fields:
        array = columns.get(column.name)
        if array is None:
            assert column.nullable, f"column {column.name} is required but was not made"
            array = absent(column.type, rows)
        assert array.type == column.type, f"column {column.name} is {array.type}"
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=model.schema)


def _generic(ros_type: str, arrow_type: pa.StructType) -> tuple[table.Mapping, dict[str, str]]:
    """Make the mapping of a type that has no model of its own: its fields, verbatim.

    The decoder already yields types and values together, so nothing is converted here; only names
    that the envelope claims for itself give way, and a message without fields gets one.

    Args:
        ros_type: The ROS type; its last part becomes the tag, as on the rest of the platform.
        arrow_type: The decoded fields.

    Returns:
        The mapping, and the fields that had to be renamed: column name -> field name.
    """
    names = [arrow_type.field(index).name for index in range(arrow_type.num_fields)]
    columns = _column_names(names)
    fields = [
        pa.field(column, arrow_type.field(index).type) for index, column in enumerate(columns)
    ] or [pa.field(DUMMY_MEMBER, pa.uint8())]

    def build(source: Source) -> Columns:
        if not columns:
            return {DUMMY_MEMBER: zeros(pa.uint8(), source.rows)}
        return {column: source.array.field(index) for index, column in enumerate(columns)}

    model = Model(tag=ros_type.rsplit("/", maxsplit=1)[-1], fields=tuple(fields))
    renamed = {column: name for column, name in zip(columns, names, strict=True) if column != name}
    return table.Mapping(ros_type, model, build), renamed


def _column_names(names: list[str]) -> list[str]:
    """Keep the names, but not the one of the envelope; new names collide with none."""
    columns: list[str] = []
    for name in names:
        column = name
        while column == TIMESTAMP_COLUMN or (column != name and column in names):
            column += "_"
        columns.append(column)
    return columns
