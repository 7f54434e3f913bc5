"""Hypothesis strategies for message types of every kind, and for values of any type."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from hypothesis import strategies as st

from bridge.model import ArrayType, FieldType, MessageType, PrimitiveType, SequenceType
from tests.reference.codec import EMPTY_MEMBER

INTEGERS = {
    "byte": (0, 127),  # what is above has a sign in ROS 1
    "char": (0, 255),
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
    "wchar": (0, 2**16 - 1),
}
NUMBERS = ["bool", "float32", "float64", *(name for name in INTEGERS if name != "wchar")]
NAMES = ["x", "data", "class", "from", "lambda", "in", "Value", "a_b", "import", "y2"]

STRINGS = st.one_of(
    st.just(PrimitiveType(name="string")),
    st.integers(1, 6).map(lambda bound: PrimitiveType(name="string", bound=bound)),
)
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
"""What C strings and UTF-16 can hold."""

WIDE_STRINGS = st.one_of(
    st.just(PrimitiveType(name="wstring")),
    st.integers(1, 6).map(lambda bound: PrimitiveType(name="wstring", bound=bound)),
)


@st.composite
def message_types(draw: st.DrawFn, *, wide: bool = False, depth: int = 3) -> MessageType:
    """Generate a message type with nested types down to a depth."""
    return draw_message(draw, wide=wide, depth=depth, numbers=count())


def draw_message(draw: st.DrawFn, *, wide: bool, depth: int, numbers: Iterator[int]) -> MessageType:
    name = f"pkg_{draw(st.sampled_from('ab'))}/msg/T{next(numbers)}"
    fields = draw(st.integers(0, 5))
    if fields == 0:
        return MessageType(name=name, fields=((EMPTY_MEMBER, PrimitiveType(name="uint8")),))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=fields, max_size=fields, unique=True))
    return MessageType(
        name=name,
        fields=tuple(
            (field, draw_field(draw, wide=wide, depth=depth, numbers=numbers)) for field in names
        ),
    )


def draw_field(draw: st.DrawFn, *, wide: bool, depth: int, numbers: Iterator[int]) -> FieldType:
    kinds = [
        "number",
        "number",
        "string",
        *(["wide"] if wide else []),
        *(["message"] * (depth > 0)),
    ]
    kind = draw(st.sampled_from(kinds))
    element: FieldType
    if kind == "number":
        element = PrimitiveType(name=draw(st.sampled_from(NUMBERS)))
    elif kind == "string":
        element = draw(STRINGS)
    elif kind == "wide":
        element = draw(WIDE_STRINGS)
    else:
        element = draw_message(draw, wide=wide, depth=depth - 1, numbers=numbers)
    shape = draw(st.sampled_from(["single", "single", "array", "sequence", "bounded"]))
    if shape == "array":
        return ArrayType(element=element, length=draw(st.integers(1, 4)))
    if shape == "sequence":
        return SequenceType(element=element)
    if shape == "bounded":
        return SequenceType(element=element, bound=draw(st.integers(1, 5)))
    return element


def values(kind: FieldType) -> st.SearchStrategy[Any]:
    """Generate values of a type, as Python objects the way Arrow gives them back."""
    if isinstance(kind, MessageType):
        if [name for name, _ in kind.fields] == [EMPTY_MEMBER]:
            return st.just({EMPTY_MEMBER: 0})
        names = [name for name, _ in kind.fields]
        drawn = st.fixed_dictionaries({name: values(member) for name, member in kind.fields})
        return drawn.map(lambda value: {name: value[name] for name in names})
    if isinstance(kind, ArrayType):
        return st.lists(values(kind.element), min_size=kind.length, max_size=kind.length)
    if isinstance(kind, SequenceType):
        return st.lists(values(kind.element), max_size=min(kind.bound or 4, 4))
    return primitive_values(kind)


def primitive_values(kind: PrimitiveType) -> st.SearchStrategy[Any]:
    if kind.name == "bool":
        return st.booleans()
    if kind.name in INTEGERS:
        return st.integers(*INTEGERS[kind.name])
    if kind.name == "float32":
        return st.floats(width=32)
    if kind.name == "float64":
        return st.floats()
    text = st.text(max_size=kind.bound or 20)
    if kind.name == "wstring":
        text = st.text(LETTERS, max_size=kind.bound or 20)
        return text.filter(
            lambda value: not kind.bound or len(value.encode("utf-16-le")) <= 2 * kind.bound
        )
    return text.filter(lambda value: not kind.bound or len(value.encode()) <= kind.bound)
