"""IDL as ROS 2 and the tools of DDS write it: every construct decodes or is refused by name."""

import time

import pytest

from bridge.definitions import canonical_text, parse_definition
from bridge.errors import DefinitionError
from bridge.model import (
    ArrayType,
    Definition,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
)

RULE = "=" * 80 + "\n"


def parse(text: str, name: str = "p/msg/T", encoding: str = "omgidl") -> MessageType:
    return parse_definition(name, Definition(encoding=encoding, text=text))


def member(declarations: str, field: str) -> FieldType:
    """Parse a struct with one member, behind declarations in the same module."""
    kind = parse(f"module p {{ module msg {{ {declarations} struct T {{ {field}; }}; }}; }};")
    ((_, found),) = kind.fields
    return found


def number(name: str) -> PrimitiveType:
    return PrimitiveType(name=name)


COLOURS = (("RED", 0), ("GREEN", 5), ("BLUE", 6))

MEMBERS: dict[str, tuple[str, str, FieldType]] = {
    "bounded strings in a sequence": (
        "", "sequence<string<3>> x", SequenceType(element=PrimitiveType(name="string", bound=3)),
    ),
    "sequence of sequences": (
        "", "sequence<sequence<long, 2>, 3> x",
        SequenceType(element=SequenceType(element=number("int32"), bound=2), bound=3),
    ),
    "typedef of a typedef": (
        "typedef double metre; typedef metre pair[2]; typedef sequence<pair> pairs;", "pairs x",
        SequenceType(element=ArrayType(element=number("float64"), length=2)),
    ),
    "two dimensions": (
        "", "long x[2][3]",
        ArrayType(element=ArrayType(element=number("int32"), length=3), length=2),
    ),
    "array of sequences": (
        "typedef sequence<octet> bytes;", "bytes x[2]",
        ArrayType(element=SequenceType(element=number("byte")), length=2),
    ),
    "length by an expression": (
        "const long A = 2; const unsigned short B = (A + 1) * 2 - 0x2 | 8;", "float x[B >> 2]",
        ArrayType(element=number("float32"), length=3),
    ),
    "bound by a constant": (
        "module inner { const long MOST = 1 << 4; };", "string<inner::MOST> x",
        PrimitiveType(name="string", bound=16),
    ),
    "enumeration": (
        "enum Colour { RED, @value(5) GREEN, BLUE };", "Colour x",
        PrimitiveType(name="int32", enumerators=COLOURS),
    ),
    "enumeration of a byte": (
        "@bit_bound(8) enum Colour { RED, GREEN = 5, BLUE, };", "p::msg::Colour x",
        PrimitiveType(name="int8", enumerators=COLOURS),
    ),
    "enumeration of two bytes": (
        "@bit_bound(value=16) enum Colour { RED };", "::p::msg::Colour x",
        PrimitiveType(name="int16", enumerators=(("RED", 0),)),
    ),
    "bitmask": (
        "@bit_bound(12) bitmask Flags { LOW, @position(3) HIGH, HIGHER };", "Flags x",
        PrimitiveType(name="uint16", enumerators=(("LOW", 1), ("HIGH", 8), ("HIGHER", 16))),
    ),
    "annotations of every form": (
        '@nested @verbatim(language="c", text="};") @topic(name="a(b)")',
        '@key @id(3) @unit(value="m/s") @default(value=1.5) @range(min=0, max=2) double x',
        number("float64"),
    ),
    "escaped name and keyword": ("", "long _struct", number("int32")),
    "words of several parts": ("", "unsigned long long x", number("uint64")),
    "wide and exact": ("", "long double x", number("float128")),
    "eight bits with and without sign": ("", "sequence<int8, 4> x",
        SequenceType(element=number("int8"), bound=4)),
    "struct declared twice": (
        "struct P; struct P { long a; };", "P x",
        MessageType(name="p/msg/P", fields=(("a", number("int32")),)),
    ),
    "struct that extends another": (
        "struct A { long a; }; struct B : A { long b; };", "B x",
        MessageType(name="p/msg/B", fields=(("a", number("int32")), ("b", number("int32")))),
    ),
    "struct without members": (
        "struct P { };", "P x",
        MessageType(
            name="p/msg/P", fields=(("structure_needs_at_least_one_member", number("uint8")),)
        ),
    ),
    "innermost name first": (
        "struct P { long a; }; module q { struct P { short b; }; struct Q { P x; }; };",
        "q::Q x",
        MessageType(
            name="p/msg/q/Q",
            fields=(("x", MessageType(name="p/msg/q/P", fields=(("b", number("int16")),))),),
        ),
    ),
    "unions nobody uses": (
        ("union U switch (long) { case 1: long a; default: string b; };"
        " bitset B { bitfield<3> a; };"
        " interface I { void call(); }; exception E { long a; }; native N;"
        " @annotation mine { long value default 1; };"),
        "long x", number("int32"),
    ),
    "preprocessor and comments": (
        "\n#include <a/b.idl>\n#define X \\\n  { ( \n/* struct T { */ // }\n#pragma x\n",
        "long x /* here */", number("int32"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "field", "expected"), MEMBERS.values(), ids=MEMBERS)
def test_construct_is_understood(declared: str, field: str, expected: FieldType) -> None:
    """What IDL can say about a member becomes the type that is sent."""
    assert member(declared, field) == expected


REFUSED = {
    "optional": ("", "@optional long x", "the field x of p/msg/T is optional"),
    "union": ("union U switch (long) { case 1: long a; };", "U x", "p/msg/U is a union"),
    "bitset": ("bitset B { bitfield<3> a; };", "B x", "p/msg/B is a bitset"),
    "map": ("", "map<string, long> x", "the field x of p/msg/T is a map"),
    "map in a sequence": ("", "sequence<map<string, sequence<long>>> x", "is a map"),
    "fixed point": ("", "fixed<5, 2> x", "fixed-point"),
    "anything": ("", "any x", "of any type"),
    "mutable": ("@mutable struct P { long a; };", "P x", "p/msg/P is mutable"),
    "extensibility": (
        "@extensibility(MUTABLE) struct P { long a; };", "P x", "p/msg/P is mutable",
    ),
    "itself": ("", "sequence<T> x", "contains itself"),
    "typedef of itself": ("typedef sequence<L> L;", "L x", "contains itself"),
    "unknown type": ("", "Gone x", "uses p/msg/Gone, which is not defined"),
    "unknown constant": ("", "long x[GONE]", "GONE is not declared"),
    "no length": ("", "long x[0]", "a length of 0"),
    "division by zero": ("const long A = 1 / 0;", "long x", "has no value"),
    "huge shift": ("const long A = 1 << 100000000;", "long x", "has no value"),
    "huge power": ("const long A = 0xffffffffffffffffffffffffffff * 0xffffffffffffffff;",
        "long x", "has no value"),
    "half a declaration": ("", "long x[2", "not understood"),
    "endless expression": ("const long A = " + "(" * 5000 + ";", "long x", "nested more than"),
    "endless type": ("", "sequence<" * 5000 + "long x", "nested more than"),
    "endless modules": ("module a { " * 5000, "long x", "nested more than"),
    "what is no IDL": ("$", "long x", "'$ struct T { long x; }; }; };'"),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "field", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_decoded_is_refused_with_its_reason(
    declared: str, field: str, reason: str
) -> None:
    """Nothing is guessed, and the reason is the true one."""
    with pytest.raises(DefinitionError) as refusal:
        member(declared, field)

    assert reason in refusal.value.message


def test_constants_of_every_kind_belong_to_their_message() -> None:
    """Values are worked out, literals of all forms are read."""
    kind = parse(
        "module p { module msg { enum E { A, B }; module T_Constants {"
        ' const wstring W = L"x\\u20ac"; const string S = "a\\"b" "c\\x41"; const char C = \'\\n\';'
        " const boolean Y = TRUE; const float F = 1.5e3f; const long H = -0x1F; const long O = 017;"
        " const E K = E::B; const double D = 1.0 / 4; const octet N = ~0 & 0xFF;"
        " const long M = -7 / 2; const long R = -7 % 2; };"
        " struct T { long x; }; }; };"
    )

    assert {item.name: item.value for item in kind.constants} == {
        "W": "x€", "S": 'a"bcA', "C": "\n", "Y": True, "F": 1500.0, "H": -31, "O": 15,
        "K": 1, "D": 0.25, "N": 255, "M": -3, "R": -1,
    }  # fmt: skip
    assert [name for name, _ in kind.fields] == ["x"]


def test_length_may_be_a_constant_of_another_file() -> None:
    """Files that were put together are read together where one needs the other."""
    text = (
        f"{RULE}IDL: p/msg/T\nmodule p {{ module msg {{ struct T {{ long x[q::N]; }}; }}; }};\n"
        f"{RULE}IDL: q/msg/N\nmodule q {{ const long N = 3; }};\n"
    )

    ((_, found),) = parse(text, encoding="ros2idl").fields
    assert found == ArrayType(element=number("int32"), length=3)


def test_extensibility_is_kept() -> None:
    """It decides how XCDR2 writes the type."""
    text = (
        "module p { module msg { @final struct A { long a; }; @appendable struct B { A a; };"
        " @extensibility(APPENDABLE) struct T { A a; B b; }; }; };"
    )
    kind = parse(text)
    members = dict(kind.fields)
    a, b = members["a"], members["b"]

    assert isinstance(a, MessageType)
    assert isinstance(b, MessageType)
    assert [each.extensibility for each in (kind, a, b)] == ["appendable", "final", "appendable"]


def test_names_of_dds_are_those_of_ros() -> None:
    """`dds_` and the final underscore are written by rmw only."""
    kind = parse(
        "module p { module msg { module dds_ { struct P_ { long a; };"
        " struct T_ { p::msg::dds_::P_ x; P_ y; }; }; }; };",
        name="p::msg::dds_::T_",
    )

    assert canonical_text(kind) == f"p/P x\np/P y\n{RULE}MSG: p/P\nint32 a\n"


def test_types_without_package_and_in_deep_modules_are_found() -> None:
    """DDS knows no packages."""
    assert parse("struct Status { long a; };", name="Status").name == "Status"
    assert parse("struct T { long a; };").fields == (("a", number("int32")),)
    assert parse("module p { module msg { struct T { long a; }; }; };", name="T").name == "p/msg/T"
    with pytest.raises(DefinitionError, match="instead"):
        parse("module q { struct T { long a; }; };")
    deep = "module a { module b { module c { struct S { long x; }; }; }; };"
    assert parse(deep, name="a::b::c::S").name == "a/b/c/S"


STRUCT = """\
// generated from {name}.msg
#include "std_msgs/msg/Header.idl"
#include "geometry_msgs/msg/Point.idl"

module field_msgs {{
  module msg {{
    typedef double double__9[9];
    module {name}_Constants {{
      const uint8 STATUS_OK = 0;
      @verbatim (language="comment", text="not so good")
      const uint8 STATUS_BAD = 1;
    }};
    @verbatim (language="comment", text=
      "A message" "\\n"
      "with a comment")
    struct {name} {{
      std_msgs::msg::Header header;
      @verbatim (language="comment", text="where it is")
      geometry_msgs::msg::Point position;
      double__9 covariance;
      sequence<geometry_msgs::msg::Point> corners;
      @unit (value="m")
      float width;
      string<16> label;
      octet data_{number};
    }};
  }};
}};
"""
SHARED = {
    "std_msgs/msg/Header": "builtin_interfaces::msg::Time stamp; string frame_id;",
    "builtin_interfaces/msg/Time": "int32 sec; uint32 nanosec;",
    "geometry_msgs/msg/Point": "double x; double y; double z;",
}


def definition_of(number: int) -> tuple[str, str]:
    """Give a definition as rosbag2 embeds it: its own file and those it includes."""
    name = f"Thing{number}"
    text = f"{RULE}IDL: field_msgs/msg/{name}\n{STRUCT.format(name=name, number=number)}"
    for full, fields in SHARED.items():
        package, _, short = full.split("/")
        struct = f"struct {short} {{ {fields} }};"
        text += f"{RULE}IDL: {full}\nmodule {package} {{ module msg {{ {struct} }}; }};\n"
    return f"field_msgs/msg/{name}", text


def test_a_recording_of_many_idl_types_is_parsed_in_a_second() -> None:
    """145 definitions; the parser that was used before takes 19 s of processor time for them."""
    definitions = [definition_of(number) for number in range(145)]
    start = time.process_time()
    kinds = [parse(text, name, "ros2idl") for name, text in definitions]
    taken_s = time.process_time() - start

    assert [kind.fields[-1][0] for kind in kinds] == [f"data_{number}" for number in range(145)]
    assert [item.name for item in kinds[0].constants] == ["STATUS_OK", "STATUS_BAD"]
    assert taken_s < 1.0
