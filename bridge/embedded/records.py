"""The rows of the catalogue, as values."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class TopicState(StrEnum):
    """Where a topic is on its one way: created, being put, locked."""

    EMPTY = "empty"
    UPLOADING = "uploading"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """A sequence; `user_metadata` is JSON text."""

    id: int
    uuid: str
    locator: str
    user_metadata: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session; open while `completed_ns` is None."""

    id: int
    sequence_id: int
    uuid: str
    locator: str
    created_ns: int
    completed_ns: int | None


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A topic; its totals are zero and its bounds None until it is finalized with rows.

    `user_metadata` is JSON text, `schema_bytes` an IPC schema message, `first_ns` and `last_ns`
    the smallest and largest `timestamp_ns`, both inclusive.
    """

    id: int
    sequence_id: int
    session_id: int
    uuid: str
    locator: str
    ontology_tag: str
    serialization_format: str
    user_metadata: str
    created_ns: int
    completed_ns: int | None
    state: TopicState
    schema_bytes: bytes | None
    rows: int
    size_bytes: int
    chunks: int
    first_ns: int | None
    last_ns: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TopicState(self.state))  # SQLite gives bare text

    @property
    def schema(self) -> pa.Schema:
        """The schema it was put with; without fields before that."""
        if self.schema_bytes is None:
            return pa.schema([])
        return pa.ipc.read_schema(pa.py_buffer(self.schema_bytes))


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A Parquet file of a topic, sealed and durable; each of its row groups is one chunk."""

    number: int
    chunks: int
    rows: int
    size_bytes: int
    first_ns: int | None
    last_ns: int | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A remark on a sequence or topic."""

    kind: str
    message: str
    created_ns: int
