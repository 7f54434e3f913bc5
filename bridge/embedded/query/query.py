"""Queries: which topics of which sequences meet all conditions.

Names and metadata are compared in the catalogue, contents in the stored columns: row groups whose
statistics rule a match out are not read, and of the others only the columns asked for.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.catalogue import SequenceRecord, TopicRecord
from bridge.embedded.query.conditions import (
    COLUMN,
    PLAIN_TEXT,
    TEXT,
    TIME,
    VALUE,
    Condition,
    FieldKind,
    Scalar,
    are_alike,
    holds,
    parse_condition,
)
from bridge.embedded.query.paths import Field, Step, parse_path, plain_prefix, truth
from bridge.embedded.query.reading import Chunk, TopicReader, Window
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.wire import Json
from bridge.ontology import TIMESTAMP_COLUMN, Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be asked in a revision.

    Attributes:
        sequence: The fields of sequences.
        topic: The fields of topics.
        metadata: What may be asked of metadata.
        column: What may be asked of contents.
        enters_lists: Whether paths of contents may step into lists.
        metadata_key: What a path into metadata may be written with; None for anything.
    """

    sequence: Mapping[str, FieldKind]
    topic: Mapping[str, FieldKind]
    metadata: FieldKind
    column: FieldKind
    enters_lists: bool
    metadata_key: re.Pattern[str] | None = None


SESSION_RULES = Rules(
    sequence={"name": TEXT, "created_at_ns": TIME},
    topic={
        "name": TEXT,
        "created_at_ns": TIME,
        "ontology_tag": TEXT,
        "serialization_format": TEXT,
    },
    metadata=VALUE,
    column=COLUMN,
    enters_lists=True,
)


PROTOBUF_RULES = Rules(
    sequence={"name": PLAIN_TEXT, "created_at_ns": TIME},
    topic={
        "name": PLAIN_TEXT,
        "created_at_ns": TIME,
        "ontology_tag": PLAIN_TEXT,
        "serialization_format": PLAIN_TEXT,
    },
    metadata=replace(VALUE, is_strict=True),
    column=replace(COLUMN, is_strict=True),
    enters_lists=True,
    metadata_key=re.compile(r"(?!.*(--|\*\*\*))[A-Za-z0-9 _\-*\[\].]+"),
)
"""What may be asked in the protobuf generation, which is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a sequence or a topic: on its fields, and on paths into its metadata."""

    fields: Mapping[str, Condition]
    metadata: Sequence[tuple["MetadataPath", Condition]]
    enters_metadata_lists: bool = False

    def __bool__(self) -> bool:
        return bool(self.fields or self.metadata)

    def accepts(self, values: Mapping[str, Scalar], metadata_text: str) -> bool:
        """Tell whether all conditions hold."""
        if not all(holds(condition, values[name]) for name, condition in self.fields.items()):
            return False
        if not self.metadata:
            return True
        metadata = json.loads(metadata_text)
        return all(self._holds_at(metadata, path, condition) for path, condition in self.metadata)

    def _holds_at(self, metadata: Json, path: "MetadataPath", condition: Condition) -> bool:
        """Tell whether a condition holds for any of the values that a path leads to."""
        values: list[Json] = [one for one in _values(metadata, path) if one is not None]
        if condition.operator is Operator.NEX:
            return not values
        if self.enters_metadata_lists and condition.operator in {Operator.IN, Operator.MATCH}:
            parts = [value if isinstance(value, list) else [value] for value in values]
            values = [one for each in parts for one in each if not isinstance(one, dict | list)]
        return any(_metadata_holds(condition, value) for value in values)


class Wild(StrEnum):
    """Steps of a path into metadata that lead to many values; no key is written like them."""

    KEY = "*"
    DEPTH = "**"
    ELEMENT = "[*]"


MetadataPath: TypeAlias = Sequence[str | Wild]

Content: TypeAlias = Sequence[tuple[tuple[Step, ...], Condition]]
"""Conditions on the columns of topics of one tag; all must hold in the same row."""


def query(
    archive: Archive, request: Mapping[str, Any], *, rules: Rules = SESSION_RULES
) -> Iterator[Json]:
    """Answer a query of revision G2d, or by the rules of another.

    Raises:
        Refusal: INVALID_ARGUMENT for a filter that is none.
    """
    contents = parse_contents(request.get("ontology"), rules)
    items: list[Json] = [
        {
            "sequence": sequence.locator,
            "topics": [
                {"locator": topic.locator, "ontology_tag": topic.ontology_tag} for topic in topics
            ],
        }
        for sequence, topics in find(archive, request, contents, rules)
    ]
    yield {"items": items}


def find(
    archive: Archive,
    request: Mapping[str, Any],
    contents: Mapping[str, Content],
    rules: Rules,
) -> list[tuple[SequenceRecord, list[TopicRecord]]]:
    """Find the topics that meet all conditions, grouped by sequence, by ascending locator.

    A request that asks nothing finds nothing.

    Raises:
        Refusal: INVALID_ARGUMENT for a filter that is none.
    """
    sequence_filter = _filter("sequence", request.get("sequence"), rules.sequence, rules)
    topic_filter = _filter("topic", request.get("topic"), rules.topic, rules)
    if not (sequence_filter or topic_filter or contents):
        return []
    with archive.catalogue.transaction():
        sequences = {
            sequence.id: sequence
            for sequence in archive.catalogue.sequences()
            if sequence_filter.accepts(_sequence_values(sequence), sequence.user_metadata)
        }
        topics = [
            topic
            for topic in archive.catalogue.all_topics()
            if topic.sequence_id in sequences
            and topic_filter.accepts(
                _topic_values(topic, sequences[topic.sequence_id]), topic.user_metadata
            )
        ]
    if contents:
        topics = _with_contents(archive, topics, contents)
    grouped: dict[int, list[TopicRecord]] = defaultdict(list)
    for topic in sorted(topics, key=lambda topic: topic.locator):
        grouped[topic.sequence_id].append(topic)
    return [(sequences[sequence_id], found) for sequence_id, found in sorted(grouped.items())]


def _with_contents(
    archive: Archive, topics: Sequence[TopicRecord], contents: Mapping[str, Content]
) -> list[TopicRecord]:
    """Keep the topics that match their tag's conditions, in sequences that match every tag's."""
    found: dict[str, list[TopicRecord]] = {
        tag: [
            topic
            for topic in topics
            if topic.ontology_tag == tag and _has_match(archive, topic, content)
        ]
        for tag, content in contents.items()
    }
    common = set.intersection(*({topic.sequence_id for topic in each} for each in found.values()))
    return [topic for each in found.values() for topic in each if topic.sequence_id in common]


def _has_match(archive: Archive, topic: TopicRecord, content: Content) -> bool:
    try:
        reader = archive.open(topic)
    except TopicGoneError:
        return False
    with reader:
        return any(len(times) for times in matching_times(reader, content, Window()))


def matching_times(reader: TopicReader, content: Content, window: Window) -> Iterator[pa.Array]:
    """Give, chunk by chunk, the times of the rows in a window that meet all conditions."""
    wanted = {TIMESTAMP_COLUMN} | {plain_prefix(steps) for steps, _ in content}
    for chunk in reader.chunks:
        if not window.touches(chunk.first_ns, chunk.last_ns) or not _may_match(
            reader.footer(chunk), content
        ):
            continue
        yield _matches(reader, chunk, sorted(wanted), content, window)


def _matches(
    reader: TopicReader, chunk: Chunk, wanted: Sequence[str], content: Content, window: Window
) -> pa.Array:
    table = reader.columns(chunk, wanted).combine_chunks()
    (rows,) = table.to_struct_array().chunks or [pa.array([], pa.struct(table.schema))]
    times = pc.struct_field(rows, TIMESTAMP_COLUMN)
    mask = times.is_valid()
    if window.start_ns is not None:
        mask = pc.and_(mask, pc.greater_equal(times, window.start_ns))
    if window.end_ns is not None:
        mask = pc.and_(mask, pc.less(times, window.end_ns))
    for steps, condition in content:
        mask = pc.and_(mask, truth(rows, steps, condition))
    return times.filter(mask)


def _may_match(footer: pq.RowGroupMetaData, content: Content) -> bool:
    """Tell whether the statistics of a row group leave a match possible."""
    columns = {
        footer.column(index).path_in_schema: footer.column(index)
        for index in range(footer.num_columns)
    }
    for steps, condition in content:
        if not all(isinstance(step, Field) for step in steps):
            continue
        column = columns.get(plain_prefix(steps))
        if column is None or column.statistics is None or not column.statistics.has_min_max:
            continue
        if not _range_may_match(condition, column.statistics.min, column.statistics.max):
            return False
    return True


_RANGE_TRUTHS: Mapping[Operator, Callable[[Any, Any, Sequence[Any]], bool]] = {
    Operator.EQ: lambda low, high, operands: low <= operands[0] <= high,
    Operator.LT: lambda low, _, operands: low < operands[0],
    Operator.LEQ: lambda low, _, operands: low <= operands[0],
    Operator.GT: lambda _, high, operands: high > operands[0],
    Operator.GEQ: lambda _, high, operands: high >= operands[0],
    Operator.BETWEEN: lambda low, high, operands: low <= operands[1] and operands[0] <= high,
    Operator.OUTSIDE: lambda low, high, operands: low < operands[0] or high > operands[1],
    Operator.IN: lambda low, high, operands: any(low <= operand <= high for operand in operands),
}


def _range_may_match(condition: Condition, low: object, high: object) -> bool:
    """Tell whether some value between two others may meet a condition."""
    may_match = _RANGE_TRUTHS.get(condition.operator)
    if may_match is None or condition.compares_lists:
        return True
    is_comparable = all(
        are_alike(low, operand) and are_alike(high, operand) for operand in condition.operands
    )
    return not is_comparable or may_match(low, high, condition.operands)


def parse_contents(value: Any, rules: Rules) -> dict[str, Content]:
    """Read the conditions on contents, grouped by ontology tag.

    Raises:
        Refusal: INVALID_ARGUMENT for something that is none.
    """
    contents: dict[str, list[tuple[tuple[Step, ...], Condition]]] = defaultdict(list)
    for key, asked in _section("ontology", value).items():
        tag, dot, path = key.partition(".")
        steps = parse_path(path)
        is_flat = steps is not None and all(isinstance(step, Field) for step in steps)
        if not dot or steps is None or not (is_flat or rules.enters_lists):
            raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: bad ontology field `{key}`.")
        condition = parse_condition(key, asked, rules.column)
        if condition is not None:
            contents[tag].append((steps, condition))
    return dict(contents)


def _filter(section: str, value: Any, kinds: Mapping[str, FieldKind], rules: Rules) -> Filter:
    asked = _section(section, value)
    paths = _section("user_metadata", asked.get("user_metadata"))
    fields = {
        name: parse_condition(f"{section}.{name}", asked[name], kind)
        for name, kind in kinds.items()
        if asked.get(name) is not None
    }
    metadata = [
        (
            _metadata_path(path, rules),
            parse_condition(f"{section}.user_metadata.{path}", condition, rules.metadata),
        )
        for path, condition in paths.items()
    ]
    return Filter(
        fields={name: condition for name, condition in fields.items() if condition is not None},
        metadata=[(path, condition) for path, condition in metadata if condition is not None],
        enters_metadata_lists=rules.metadata_key is not None,
    )


_METADATA_STEP = re.compile(r"(?P<key>\*{1,2}|[^*\[\]]*)(?P<elements>(\[(\*|\d{1,9})\])*)")


def _metadata_path(text: str, rules: Rules) -> MetadataPath:
    """Take a path into metadata apart.

    Raises:
        Refusal: INVALID_ARGUMENT for one that the revision does not have.
    """
    is_key = rules.metadata_key is None or rules.metadata_key.fullmatch(text) is not None
    steps: list[str | Wild] = []
    for part in text.split("."):
        found = _METADATA_STEP.fullmatch(part)
        if found is None or not is_key:
            raise Refusal(
                Status.INVALID_ARGUMENT,
                f"Bad request: Found invalid key in user metadata query filter: {text}.",
            )
        if found["key"] or not found["elements"]:
            steps.append(Wild(found["key"]) if "*" in found["key"] else found["key"])
        indices = re.findall(r"\[(.+?)\]", found["elements"])
        steps += [Wild.ELEMENT if index == "*" else index for index in indices]
    return steps


def _section(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: `{name}` is not an object.")
    return value


def _sequence_values(sequence: SequenceRecord) -> dict[str, Scalar]:
    return {
        "name": sequence.locator,
        "created_at_ns": sequence.created_ns,
        "created_timestamp": sequence.created_ns,
    }


def _topic_values(topic: TopicRecord, sequence: SequenceRecord) -> dict[str, Scalar]:
    return {
        "name": topic.locator.removeprefix(sequence.locator),
        "created_at_ns": topic.created_ns,
        "created_timestamp": topic.created_ns,
        "ontology_tag": topic.ontology_tag,
        "serialization_format": topic.serialization_format,
    }


def _values(value: Json, path: MetadataPath) -> Iterator[Json]:
    """Follow keys of objects, indices of lists and wildcards to all values that they lead to."""
    if not path:
        yield value
        return
    step, rest = path[0], path[1:]
    children: Mapping[str, Json] = {}
    if isinstance(value, dict):
        children = value
    elif isinstance(value, list):
        children = {str(index): each for index, each in enumerate(value)}
    if step is Wild.DEPTH:
        yield from _values(value, rest)
        for child in children.values():
            yield from _values(child, path)
    elif isinstance(step, Wild):
        if isinstance(value, dict if step is Wild.KEY else list):
            for child in children.values():
                yield from _values(child, rest)
    elif step in children:
        yield from _values(children[step], rest)


def _metadata_holds(condition: Condition, value: Json) -> bool:
    """Compare a value of the metadata by its text, read as what the operand is.

    The platform does the same in SQL, where text that is no number makes the whole query fail;
    here it just does not match.
    """
    if isinstance(value, dict | list):
        value = json.dumps(value)
    sample = condition.operands[0] if condition.operands else None
    if value is None or sample is None or are_alike(value, sample):
        return holds(condition, value)
    if isinstance(sample, bool):
        return value in {"true", "false"} and holds(condition, value == "true")
    if isinstance(sample, str):
        return holds(condition, json.dumps(value))
    try:
        return not isinstance(value, bool) and holds(condition, float(value))
    except ValueError:
        return False
