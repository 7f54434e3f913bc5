"""The query of revision G1.2: fewer operators, substrings, time ranges."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc

from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.catalogue import TopicRecord
from bridge.embedded.query.conditions import FieldKind
from bridge.embedded.query.query import Content, Rules, find, matching_times, parse_contents
from bridge.embedded.query.reading import Window
from bridge.embedded.refusals import Refusal
from bridge.embedded.wire import Json
from bridge.ontology import Operator
from tests.servers.keyed.refusals import undecodable

_EXISTENCE = frozenset({Operator.EX, Operator.NEX})
_ORDER = frozenset({Operator.LT, Operator.LEQ, Operator.GT, Operator.GEQ, Operator.BETWEEN})
_EQUALITY = frozenset({Operator.EQ, Operator.NEQ})


def containing_like(pattern: str) -> str:
    r"""Turn the pattern of SQL `LIKE '%…%'`, with `% _ \`, into a regular expression."""
    pieces = re.findall(r"(?s:\\.|.)", pattern)
    wild = {"%": "(?s:.*)", "_": "(?s:.)"}
    inner = "".join(
        re.escape(piece[-1]) if len(piece) > 1 else wild.get(piece, re.escape(piece))
        for piece in pieces
    )
    return f"(?s:.*){inner}(?s:.*)"


_TEXT = FieldKind(
    _EQUALITY | _EXISTENCE | {Operator.IN, Operator.MATCH}, (str,), pattern=containing_like
)
_TIME = FieldKind(_EQUALITY | _ORDER | _EXISTENCE, (int,))

RULES = Rules(
    sequence={"name": _TEXT, "created_timestamp": _TIME},
    topic={
        "name": _TEXT,
        "created_timestamp": _TIME,
        "ontology_tag": _TEXT,
        "serialization_format": _TEXT,
    },
    metadata=FieldKind(_EQUALITY | _ORDER | _EXISTENCE, (str, bool, int, float)),
    column=FieldKind(_ORDER | {Operator.EQ}, (str, bool, int, float)),
    enters_lists=False,
)


def query(archive: Archive, request: Mapping[str, Any]) -> Iterator[Json]:
    """Answer a query, with the time range of the matching rows where it is asked.

    Raises:
        Refusal: A filter is none.
    """
    ontology = request.get("ontology")
    with_range: Any = False
    if isinstance(ontology, dict) and "include_timestamp_range" in ontology:
        ontology = dict(ontology)
        with_range = ontology.pop("include_timestamp_range")
        if not isinstance(with_range, bool):
            raise undecodable("`include_timestamp_range` is not a boolean")
    try:
        contents = parse_contents(ontology, RULES)
        found = find(archive, request, contents, RULES)
    except Refusal as refusal:
        raise undecodable(refusal.text.removeprefix("Bad request: ").removesuffix(".")) from None
    ranges = contents if with_range else {}
    items: list[Json] = [
        {
            "sequence": sequence.locator,
            "topics": [_topic(archive, topic, ranges.get(topic.ontology_tag)) for topic in topics],
        }
        for sequence, topics in found
    ]
    yield {"items": items}


def _topic(archive: Archive, topic: TopicRecord, content: Content | None) -> Json:
    if content is None:
        return {"locator": topic.locator}
    try:
        reader = archive.open(topic)
    except TopicGoneError:
        return {"locator": topic.locator}
    with reader:
        bounds = [
            pc.min_max(times) for times in matching_times(reader, content, Window()) if len(times)
        ]
    return {
        "locator": topic.locator,
        "timestamp_range": [
            min(bound["min"].as_py() for bound in bounds),
            max(bound["max"].as_py() for bound in bounds),
        ],
    }
