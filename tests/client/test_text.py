"""U+0000, which the platform's database refuses, does not leave the client."""

import json
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge.client import MosaicoClient
from bridge.client.text import clean_batch, clean_value, holds_texts_of, nul_count
from bridge.ontology import Model

HEADER = pa.struct([pa.field("frame_id", pa.string(), nullable=False), ("x", pa.float64())])
POSES = pa.list_(pa.struct([("header", HEADER)]))


@pytest.mark.parametrize("offset", [0, 1], ids=["whole", "slice"])
@pytest.mark.parametrize(
    ("kind", "rows", "changed"),
    [
        (pa.string(), ["a", "b\0c", None, "\0\0"], 2),
        (pa.large_string(), ["a", "b\0c", None], 1),
        (pa.string_view(), ["a", "b\0ccccccccccccccccccc", None], 1),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "b\0", "b\0", None], 1),
        (HEADER, [None, {"frame_id": "\0", "x": None}, {"frame_id": "a", "x": 1.0}], 1),
        (POSES, [[], [{"header": {"frame_id": "a\0", "x": 1.0}}, None], None, []], 1),
        (pa.large_list(pa.string()), [["a"], ["\0"], None], 1),
        (pa.list_(pa.list_(pa.string())), [None, [["\0", "x"], None]], 1),
        (pa.list_(pa.string(), 2), [None, ["\0", "x"]], 1),
        (pa.map_(pa.string(), pa.string()), [[], [("k\0", "v\0")]], 2),
    ],
    ids=str,
)
def test_nul_is_replaced_wherever_text_is(
    kind: pa.DataType, rows: list[Any], changed: int, offset: int
) -> None:
    """Nothing else changes: lengths, nulls and types stay."""
    batch = pa.record_batch([pa.array(rows, kind).slice(offset)], names=["column"])
    cleaned, count = clean_batch(batch, [0])

    cleaned.validate(full=True)
    assert cleaned.schema == batch.schema
    expected = json.loads(json.dumps(batch.column(0).to_pylist()).replace("\\u0000", "\\ufffd"))
    assert json.loads(json.dumps(cleaned.column(0).to_pylist())) == expected
    assert count == changed


def test_batch_without_nul_is_not_copied() -> None:
    """Also where numbers are full of zeros, and where NUL lies outside of a slice."""
    texts = pa.array(["\0", "a", "b"])
    batch = pa.record_batch({"n": pa.array(np.zeros(3)), "t": texts}).slice(1)
    cleaned, count = clean_batch(batch, [1])
    assert cleaned is batch
    assert count == 0


def test_names_of_files_that_are_no_unicode_can_be_sent() -> None:
    """Python reads their bytes as halves of surrogate pairs, which no request can carry."""
    name = os.fsdecode(b"drive_\xff.mcap")
    assert nul_count({name: [name, "whole"]}) == 2
    cleaned = clean_value({name: [name, "whole"]})
    assert cleaned == {"drive_\ufffd.mcap": ["drive_\ufffd.mcap", "whole"]}
    json.dumps(cleaned, ensure_ascii=False).encode()


def test_backslashes_in_requests_stay() -> None:
    """Only what is a NUL is replaced, not a text that reads like one."""
    value = {"a\0": "\\u0000", "b": ["\\\0", "\\\\u0000\0"]}
    assert clean_value(value) == {
        "a\ufffd": "\\u0000",
        "b": ["\\\ufffd", "\\\\u0000\ufffd"],
    }
    assert nul_count(value) == 3


def test_nul_in_everything_that_is_written(client: MosaicoClient, name: str) -> None:
    """Values, metadata and notifications arrive, and the writer counts the values."""
    model = Model(tag="Text", fields=(pa.field("header", HEADER),))
    batch = pa.RecordBatch.from_pylist(
        [{"timestamp_ns": 1, "header": {"frame_id": "base\0link", "x": 0.0}}], schema=model.schema
    )
    with client.sequence_create(name, {"driver": "a\0b"}) as writer:
        topic = writer.topic_create("/t", {"k": "\0"}, model)
        topic.write_batch(batch)
        writer.notify("lost\0found")

    assert topic.texts_changed == 2  # a value and one in the metadata
    assert writer.texts_changed == 1
    handler = client.sequence_handler(name)
    assert handler is not None
    assert handler.user_metadata == {"driver": "a\ufffdb"}
    (read,) = handler.topic_handler("/t").rows()
    assert read["header"]["frame_id"] == "base\ufffdlink"
    (note,) = client.list_sequence_notify(name)
    assert note.message == "lost\ufffdfound"


@pytest.mark.parametrize(
    ("found", "same"),
    [
        ({"a": "x", "n": 1, "l": ["p", {"q": "r"}]}, True),
        ({"a": "x", "n": 1.0, "l": ["p", {"q": "r"}], "none": None, "theirs": "y"}, True),
        ({"a": "x", "l": ["p", {"q": "r"}, "more"]}, True),
        ({"a": "y", "n": 1, "l": ["p", {"q": "r"}]}, False),
        ({"n": 1, "l": ["p", {"q": "r"}]}, False),
        ({"a": "x", "n": 1, "l": ["p"]}, False),
        ({"a": "x", "n": 1, "l": "p"}, False),
        ({}, False),
    ],
)
def test_metadata_is_known_by_its_texts(found: dict[str, Any], *, same: bool) -> None:
    """Servers may write numbers in another way, leave nulls out, and add what is theirs."""
    given = {"a": "x", "n": 1, "none": None, "l": ["p", {"q": "r"}]}
    assert holds_texts_of(found, given) is same
