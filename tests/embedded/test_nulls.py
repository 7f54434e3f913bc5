"""Nulls in fields that allow none: refused where they can be seen, kept where they cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient
from bridge.embedded.store import null_fault, storable
from bridge.errors import RejectedError
from bridge.ontology import IMU, Model
from tests.servers.served import embedded_server

POINT = pa.struct(
    [
        pa.field("x", pa.float64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("matrix", pa.list_(pa.float64(), 2), nullable=False),
    ]
)
OUTER = pa.struct([pa.field("inner", POINT, nullable=False), pa.field("other", POINT)])
WHOLE = {"x": 1.0, "name": "a", "matrix": [1.0, 2.0]}
MODEL = Model(
    tag="Nulls",
    fields=(
        pa.field("point", POINT),
        pa.field("outer", OUTER),
        pa.field("points", pa.list_(POINT)),
        pa.field("weights", pa.list_(pa.field("item", pa.float64(), nullable=False))),
    ),
)
NOTHING: dict[str, Any] = {"point": None, "outer": None, "points": None, "weights": None}
ROWS: list[dict[str, Any]] = [
    NOTHING,
    {"point": WHOLE, "outer": {"inner": WHOLE, "other": None}, "points": [None, WHOLE]}
    | {"weights": [1.0]},
    {"point": None, "outer": {"inner": WHOLE, "other": WHOLE}, "points": [], "weights": []},
]


def rows(*wanted: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"timestamp_ns": time_ns} | row for time_ns, row in enumerate(wanted)],
        schema=MODEL.schema,
    )


@pytest.fixture(params=["G2d", "G1.2", pytest.param("G3b", marks=pytest.mark.slow)])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MosaicoClient]:
    with (
        embedded_server(tmp_path, request.param) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as connected,
    ):
        yield connected


def test_null_structs_of_required_fields_come_back(client: MosaicoClient) -> None:
    """A struct may be null whatever its fields demand, at any depth; it reads back as it went."""
    batch = rows(*ROWS)
    assert null_fault(batch) == ""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, MODEL).write_batch(batch)
    topic = client.topic_handler("run", "t")
    assert topic is not None
    assert topic.table().to_pylist() == batch.to_pylist()
    assert topic.schema.equals(MODEL.schema)
    assert topic.table().schema.equals(MODEL.schema)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"point": WHOLE | {"x": None}}, "point.x"),
        ({"point": WHOLE | {"name": None}}, "point.name"),
        ({"point": WHOLE | {"matrix": None}}, "point.matrix"),
        ({"outer": {"inner": None, "other": None}}, "outer.inner"),
        ({"outer": {"inner": WHOLE, "other": WHOLE | {"x": None}}}, "outer.other.x"),
        ({"points": [WHOLE, WHOLE | {"x": None}]}, "points[].x"),
        ({"weights": [1.0, None]}, "weights[]"),
    ],
)
def test_null_that_can_be_seen_is_refused_for_good(
    client: MosaicoClient, change: dict[str, Any], path: str
) -> None:
    """A null in a required field breaks the stream, and the client does not try it again."""
    batch = rows(*ROWS, NOTHING | change)
    assert null_fault(batch) == path
    with (
        pytest.raises(RejectedError, match="declared non-nullable") as caught,
        client.sequence_create("run", {}) as writer,
    ):
        writer.topic_create("t", {}, MODEL).write_batch(batch)
    assert f"'{path}'" in caught.value.message
    assert client.list_sequences() == []


def test_required_column_of_a_model_cannot_be_null(client: MosaicoClient) -> None:
    """A message without its payload is refused, not stored as something else."""
    bare = pa.RecordBatch.from_pylist([{"timestamp_ns": 1}], schema=IMU.schema)
    with (
        pytest.raises(RejectedError, match="'acceleration'"),
        client.sequence_create("run", {}) as writer,
    ):
        writer.topic_create("t", {}, IMU).write_batch(bare)


def test_only_lists_of_fixed_size_are_stored_otherwise() -> None:
    """The stored schema differs where Parquet forces it, and nowhere in the models."""
    assert storable(IMU.schema).equals(IMU.schema, check_metadata=True)
    assert not storable(MODEL.schema).equals(MODEL.schema)
