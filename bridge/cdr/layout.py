"""How payloads are laid out on the wire: the encapsulations, and the primitive types.

Sources: OMG DDS-XTypes 1.3, 7.4.3 (CDR versions 1 and 2) and 7.6.3.1.2 (encapsulation
identifiers); the ROS 1 serialisation, which packs the same values without any padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

import pyarrow as pa

from bridge.model import ENCAPSULATION_BYTES

LENGTH_BYTES = 4
"""The unsigned length before strings and sequences, in every serialisation."""


EIGHT_BYTES = 8
"""The largest alignment of CDR version 1."""

SLACK_BYTES_MAX = 64
"""What rclpy may leave behind the last field; writers in C++ leave at most three bytes.

In messages of many sequences it leaves a hundredth more, as measured with rclpy 9.1.2.
"""

SLACK_SHARE = 64
"""The part of a payload that may be slack besides, of at most `SLACK_SHARE_BYTES_MAX`."""

SLACK_SHARE_BYTES_MAX = 192


class Encapsulation(IntEnum):
    """The identifiers of the standard; `PL` are lists of parameters, `D` starts with its size."""

    CDR_BE = 0x0000
    CDR_LE = 0x0001
    PL_CDR_BE = 0x0002
    PL_CDR_LE = 0x0003
    CDR2_BE = 0x0006
    CDR2_LE = 0x0007
    D_CDR2_BE = 0x0008
    D_CDR2_LE = 0x0009
    PL_CDR2_BE = 0x000A
    PL_CDR2_LE = 0x000B


@dataclass(frozen=True, slots=True, kw_only=True)
class WideLayout:
    """How one middleware writes wide characters; the standard was read in several ways.

    Attributes:
        unit_bytes: Bytes of one code unit of a `wstring`.
        counts_bytes: Whether the length before a `wstring` counts bytes, else code units.
        char_bytes: Bytes of a lone `wchar`.
    """

    unit_bytes: int
    counts_bytes: bool
    char_bytes: int


class Wide(Enum):
    """The layouts of wide characters found in the field, most likely first.

    Fast DDS writes 2 bytes a unit since Fast-CDR 2 (Jazzy) and 4 before; rmw_cyclonedds mirrors
    the older form but for `wchar`; newer Cyclone DDS follows XTypes 1.3, 7.4.1.1.2, where the
    length counts bytes. RTI's version 1 is `FASTCDR_1` with a terminator that is counted.
    """

    FASTCDR_2 = WideLayout(unit_bytes=2, counts_bytes=False, char_bytes=2)
    FASTCDR_1 = WideLayout(unit_bytes=4, counts_bytes=False, char_bytes=4)
    RMW_CYCLONEDDS = WideLayout(unit_bytes=4, counts_bytes=False, char_bytes=2)
    XTYPES = WideLayout(unit_bytes=2, counts_bytes=True, char_bytes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a plan must know about the serialisation, except the byte order.

    Attributes:
        header_bytes: Bytes before the first field that do not count for alignment.
        alignment_max: No value is aligned to more than this.
        terminated: Whether the length of a string includes a terminating NUL.
        delimited: Whether collections of non-primitives are preceded by their size in bytes.
        delimited_root: Whether the message itself is.
        appendable: Whether messages inside it are where their definition does not say.
        signed_byte: Whether a `byte` has a sign, as in ROS 1.
        slack_bytes_max: More bytes than this behind the last field are not padding.
        dummy_member: Whether a message without fields has a dummy byte on the wire.
        wide: How wide characters are written.
    """

    header_bytes: int
    alignment_max: int
    terminated: bool
    delimited: bool
    dummy_member: bool
    slack_bytes_max: int
    delimited_root: bool = False
    appendable: bool = False
    signed_byte: bool = False
    wide: WideLayout = Wide.FASTCDR_2.value

    def with_wide(self, wide: Wide) -> "Rules":
        """Give the same rules for another way of writing wide characters."""
        return replace(self, wide=wide.value)


CDR1_RULES = Rules(
    header_bytes=ENCAPSULATION_BYTES,
    alignment_max=EIGHT_BYTES,
    terminated=True,
    delimited=False,
    dummy_member=True,
    slack_bytes_max=SLACK_BYTES_MAX,
)
CDR2_RULES = Rules(
    header_bytes=ENCAPSULATION_BYTES,
    alignment_max=4,
    terminated=True,
    delimited=True,
    dummy_member=True,
    slack_bytes_max=SLACK_BYTES_MAX,
)
ROS1_RULES = Rules(
    header_bytes=0,
    alignment_max=1,
    terminated=False,
    delimited=False,
    dummy_member=False,
    slack_bytes_max=3,
    signed_byte=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """A value of fixed size.

    Attributes:
        size_bytes: Bytes on the wire.
        alignment: Natural alignment, before the cap of the serialisation.
        arrow: The Arrow type it becomes.
    """

    size_bytes: int
    alignment: int
    arrow: pa.DataType


def _number(arrow: pa.DataType, size_bytes: int) -> Primitive:
    return Primitive(size_bytes=size_bytes, alignment=size_bytes, arrow=arrow)


PRIMITIVES: Mapping[str, Primitive] = {
    "bool": _number(pa.bool_(), 1),
    "byte": _number(pa.uint8(), 1),
    "char": _number(pa.uint8(), 1),
    "octet": _number(pa.uint8(), 1),
    "int8": _number(pa.int8(), 1),
    "uint8": _number(pa.uint8(), 1),
    "int16": _number(pa.int16(), 2),
    "uint16": _number(pa.uint16(), 2),
    "int32": _number(pa.int32(), 4),
    "uint32": _number(pa.uint32(), 4),
    "int64": _number(pa.int64(), 8),
    "uint64": _number(pa.uint64(), 8),
    "float32": _number(pa.float32(), 4),
    "float64": _number(pa.float64(), 8),
    # Sixteen bytes, aligned like everything else to no more than eight (XTypes 1.3, table 30).
    "float128": Primitive(size_bytes=16, alignment=8, arrow=pa.float64()),
}


def primitive(name: str, rules: Rules) -> Primitive:
    """Give the layout of a primitive of fixed size.

    Raises:
        KeyError: The name is none of the interface languages' primitives of fixed size.
    """
    if name == "wchar":
        return _number(pa.uint16(), rules.wide.char_bytes)
    if name == "byte" and rules.signed_byte:
        return PRIMITIVES["int8"]
    return PRIMITIVES[name]
