"""The nouns that travel between parts. No behaviour beyond what a field already says.

The way of the data, in these terms: a `Recording` has files; reading it yields `Topic`s and
`MessageBlock`s (raw messages of one topic as columns); a `MessageType` tells how to decode them;
decoding yields a `DecodedBlock` of Arrow columns in ROS terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What only tells recordings and their parts from each other starts without numpy.
    import numpy as np
    from numpy.typing import NDArray

REPEATED = "repeated_latched"
"""Why a message is left out that a recorder wrote once more at the start of a split."""


class Container(StrEnum):
    """The storage formats of recordings."""

    MCAP = "mcap"
    SQLITE3 = "sqlite3"
    ROSBAG1 = "rosbag1"


class Serialization(StrEnum):
    """How a payload is laid out."""

    CDR = "cdr"
    ROS1 = "ros1"


ENCAPSULATION_BYTES = 4
"""What each CDR payload starts with: two bytes of identifier, two of options.

Alignment counts from behind them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFile:
    """One storage file of a recording.

    Attributes:
        path: Where it is.
        size_bytes: Its size when it was found.
        container: The storage format, after decompression.
        compression: `"zstd"` when the whole file is compressed, else empty.
    """

    path: Path
    size_bytes: int
    container: Container
    compression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which part of a longer recording a storage file is, where it is treated by itself.

    Attributes:
        recording: Name of the whole.
        folder: Where the parts lie.
        index: The recorder's number for it, from 0; None where its name has none.
        followed: Whether a later part is there already.
    """

    recording: str
    folder: Path
    index: int | None
    followed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One storage file as a piece of content: what is delivered once, whatever it is grouped with.

    Attributes:
        identity: 64 hexadecimal digits from its size, head and tail; equal for equal content.
        name: Its file name; says nothing about what it is.
        size_bytes: Its size.
    """

    identity: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a person would call one bag: a rosbag2 folder with its splits, or a lone file.

    Attributes:
        path: The folder, or the lone file.
        name: The name without folder and extension.
        files: The storage files in split order; the files are the truth, `hints` is not.
        hints: What `metadata.yaml` says, parsed but not believed; empty without one.
        notes: What was odd about the files on disk, one sentence each.
        split: Which part of a longer recording it is; None for a whole one.
        missing: Files that belong to it and are not among `files`, by name, and why.
    """

    path: Path
    name: str
    files: tuple[RecordingFile, ...]
    hints: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    split: Split | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The text that defines a message type, as it was found.

    Attributes:
        encoding: `ros2msg`, `ros2idl`, `omgidl` or `ros1msg`.
        text: The definition, mostly with those of all types it uses.
        source: Where it came from.
    """

    encoding: str
    text: str
    source: str = "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One stream of messages in a recording: same name, type, layout and serialisation.

    Attributes:
        index: Position in the reader's `topics`; blocks refer to it.
        name: The ROS topic name as recorded.
        msgtype: The message type as `pkg/msg/Name`.
        serialization: How payloads are laid out.
        message_type: What to decode, or None where `obstacle` says why nothing can be.
        definition_source: Where the definition came from: `embedded`, folders, distributions.
        message_count: Messages of this topic in all files, where the container knows, else None.
        qos: The offered QoS profiles as recorded (YAML text); empty where unknown.
        type_hash: The RIHS01 hash, or the md5 of ROS 1; empty where unknown.
        obstacle: Why this topic cannot be decoded; empty for healthy ones.
        hint: What an operator can do about the obstacle; empty where nothing.
    """

    index: int
    name: str
    msgtype: str
    serialization: Serialization
    message_type: "MessageType | None"
    definition_source: str = ""
    message_count: int | None = None
    qos: str = ""
    type_hash: str = ""
    obstacle: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBlock:
    """Raw messages of one topic as columns; no Python object per message.

    Payload `i` is `data[starts[i]:ends[i]]`. Payloads may lie anywhere in `data`, in any order,
    with gaps between them: a block usually points into a decompressed chunk it shares with
    others.

    Attributes:
        topic: The `Topic.index` of the messages.
        log_times_ns: int64, shape (n,): when each message was recorded.
        data: uint8, shape (m,): the bytes that payloads lie in; read-only.
        starts: int64, shape (n,): first byte of each payload.
        ends: int64, shape (n,): one past the last byte of each payload.
    """

    topic: int
    log_times_ns: "NDArray[np.int64]"
    data: "NDArray[np.uint8]"
    starts: "NDArray[np.int64]"
    ends: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedBlock:
    """Raw messages of several topics in one buffer: what a chunk of many topics is read as.

    Those of one topic are side by side and in file order; otherwise as `MessageBlock`.

    Attributes:
        topics: int64, shape (n,): the `Topic.index` of each message, ascending.
        log_times_ns: int64, shape (n,): when each message was recorded.
        data: uint8, shape (m,): the bytes that payloads lie in; read-only.
        starts: int64, shape (n,): first byte of each payload.
        ends: int64, shape (n,): one past the last byte of each payload.
    """

    topics: "NDArray[np.int64]"
    log_times_ns: "NDArray[np.int64]"
    data: "NDArray[np.uint8]"
    starts: "NDArray[np.int64]"
    ends: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A part of a recording that could not be read.

    Attributes:
        path: The file.
        start_bytes: First byte lost.
        end_bytes: One past the last byte lost.
        reason: What was wrong there.
        verifiable: False where the container carries no checksum that could have told.
    """

    path: Path
    start_bytes: int
    end_bytes: int
    reason: str
    verifiable: bool = True


DUMMY_MEMBER = "structure_needs_at_least_one_member"
"""What ROS 2 puts into a message that declares no field, because IDL forbids empty structs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimitiveType:
    """A number, bool, string or wide string of the ROS interface languages.

    Attributes:
        name: `bool`, `byte`, `char`, `octet`, `int8` ... `uint64`, `float32`, `float64`,
            `float128`, `string`, `wstring`, `wchar`.
        bound: The most characters of a bounded string, or 0.
        enumerators: Names and values of an enumeration or a bitmask, which is sent as its number.
    """

    name: str
    bound: int = 0
    enumerators: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayType:
    """A fixed number of elements."""

    element: "FieldType"
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceType:
    """A variable number of elements, at most `bound` where it is not 0."""

    element: "FieldType"
    bound: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A constant declared in a message definition."""

    name: str
    type_name: str
    value: bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageType:
    """A parsed message definition, with every nested type resolved.

    Attributes:
        name: `pkg/msg/Name`.
        fields: Names (as in the definition, keywords included) and types, in order.
        constants: The constants declared at this level, in order.
        extensibility: `final` or `appendable` where IDL says how the type may grow, else empty.
    """

    name: str
    fields: tuple[tuple[str, "FieldType"], ...]
    constants: tuple[Constant, ...] = ()
    extensibility: str = ""


FieldType = PrimitiveType | ArrayType | SequenceType | MessageType


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBlock:
    """The messages of a block that could be decoded, as Arrow columns in ROS terms.

    Attributes:
        log_times_ns: int64, shape (n,): record times of the surviving messages.
        messages: A `pyarrow.StructArray` of n rows whose children are the fields of the message
            in order of the definition.
        dropped: How many messages did not survive, by reason.
        leftover: How many of the survivors had more bytes behind their last field than padding
            explains: the definition may be older than they are, or not theirs.
        repaired: In how many of the survivors something was replaced or read otherwise than it
            was announced, by reason.
    """

    log_times_ns: "NDArray[np.int64]"
    messages: Any
    dropped: Mapping[str, int] = field(default_factory=dict)
    leftover: int = 0
    repaired: Mapping[str, int] = field(default_factory=dict)
