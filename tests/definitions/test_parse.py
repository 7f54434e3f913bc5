"""Definition text: what recorders write is understood, what cannot be is refused with a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder, DefinitionError
from bridge.definitions import canonical_text, embedded_definition, parse_definition, resolve
from bridge.definitions.sources import parse_text
from bridge.definitions.syntax import ParsedText
from bridge.definitions.tree import DEPTH_MAX, LEAVES_MAX
from bridge.model import (
    ArrayType,
    Definition,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
)
from tests.reference.codec import EMPTY_MEMBER

RULE = "=" * 80 + "\n"


def parse(text: str, *, name: str = "pkg/msg/T", encoding: str = "ros2msg") -> MessageType:
    return parse_definition(name, Definition(encoding=encoding, text=text))


def fields(
    text: str, *, name: str = "pkg/msg/T", encoding: str = "ros2msg"
) -> dict[str, FieldType]:
    return dict(parse(text, name=name, encoding=encoding).fields)


def primitive(name: str, bound: int = 0) -> PrimitiveType:
    return PrimitiveType(name=name, bound=bound)


def nested(field: FieldType) -> MessageType:
    assert isinstance(field, MessageType)
    return field


CURED = {
    "carriage returns": ("uint8 x\r\nstring y\r\n", {"x": "uint8", "y": "string"}),
    "byte order mark": ("\ufeffuint8 x\n", {"x": "uint8"}),
    "no last newline": ("uint8 x", {"x": "uint8"}),
    "NUL of a C string behind it": ("uint8 x\n\0", {"x": "uint8"}),
    "NULs and blanks behind it": ("uint8 x\n\0\0 \0", {"x": "uint8"}),
    "end of a file of DOS": ("uint8 x\r\n\x1a", {"x": "uint8"}),
    "only carriage returns": ("# why\ruint8 x\r", {"x": "uint8"}),
    "annotation with a text": (
        '@verbatim (language="comment", text="a) b; c")\nuint8 x\n@unit (value="m") uint8 y\n',
        {"x": "uint8", "y": "uint8"},
    ),
    "blank lines, tabs": ("\n\n  \t\n\tuint8   x\t# why\n\n", {"x": "uint8"}),
    "foreign letters": ("uint8 x # Größe in °\n", {"x": "uint8"}),
    "keywords": (
        "uint8 class\nuint8 from\nuint8 class_\n",
        dict.fromkeys(("class", "from", "class_"), "uint8"),
    ),
    "defaults": ('string x "a # b"\nint32[] y [1, 2]\n', {"x": "string", "y": None}),
    "wide strings": ("wstring x\n", {"x": "wstring"}),
}


@pytest.mark.parametrize(("text", "expected"), CURED.values(), ids=CURED)
def test_text_as_recorders_write_it_is_understood(
    text: str, expected: dict[str, str | None]
) -> None:
    """Odd but legal text gives the fields it declares, under the names of ROS."""
    found = fields(text)

    assert list(found) == list(expected)
    for name, kind in expected.items():
        assert kind is None or found[name] == primitive(kind)


def test_bounds_are_kept() -> None:
    """Bounds of strings and sequences, arrays and their elements are told apart."""
    found = fields("string<=5[<=3] a\nwstring<=7[2] b\nuint8[] c\nuint8[<=4] d\nuint8[4] e\n")

    assert found == {
        "a": SequenceType(element=primitive("string", 5), bound=3),
        "b": ArrayType(element=primitive("wstring", 7), length=2),
        "c": SequenceType(element=primitive("uint8")),
        "d": SequenceType(element=primitive("uint8"), bound=4),
        "e": ArrayType(element=primitive("uint8"), length=4),
    }


def test_constants_are_values() -> None:
    """Constants come with their parsed values, in order, and are no fields."""
    kind = parse(
        "uint8 A=0x1F\nfloat32 B=1e3\nbool C=true\nint8 D=-3\n"
        "string E=plain # text\nwstring F='w'\nuint8 x\n"
    )

    assert [(item.name, item.value) for item in kind.constants] == [
        ("A", 31), ("B", 1000.0), ("C", True), ("D", -3), ("E", "plain # text"), ("F", "w"),
    ]  # fmt: skip
    assert [item.type_name for item in kind.constants][-2:] == ["string", "wstring"]
    assert [name for name, _ in kind.fields] == ["x"]


CONSTANTS: dict[str, tuple[str, object, str]] = {
    # Text, value, and where ROS 1 takes it otherwise: quotes and comments are part of its strings.
    "nothing": ("string X=", "", ""),
    "a blank": ("string X = ", "", ""),
    "an array": ("string X=[1,2]", "[1,2]", ""),
    "a comment": ("string X=# text", "# text", ""),
    "quotes": ("string X='a'", "a", "'a'"),
    "quotes and a comment": ('string X="a # b"  # c', "a # b", '"a # b"  # c'),
    "an equals sign": ("string X=a=b", "a=b", ""),
    "a bounded string": ("string<=5 X=abc", "abc", ""),
    "lower case": ("uint8 x_y=3", 3, ""),
    "mixed case": ("uint8 kOk = 1", 1, ""),
    "leading zeros": ("uint8 X=007", 7, ""),
    "a comment behind": ("int32 X=-5# why", -5, ""),
    "spaces and tabs": ("int32\tX \t = \t 0x10", 16, ""),
    "truth": ("bool X=True", True, ""),
    "a fraction": ("float32 X=.5", 0.5, ""),
    "no number at all": ("float64 X=1/3", "1/3", ""),
    "a number that is none": ("int32 X=a", "a", ""),
}


@pytest.mark.parametrize("encoding", ["ros2msg", "ros1msg"])
@pytest.mark.parametrize(("line", "value", "ros1_value"), CONSTANTS.values(), ids=CONSTANTS)
def test_no_constant_costs_a_message(
    line: str, value: object, ros1_value: str, encoding: str
) -> None:
    """What genmsg and rosidl take is a constant, never a field, whatever its value looks like."""
    kind = parse(f"{line}\nint32 n\n", encoding=encoding)
    expected = (ros1_value if encoding == "ros1msg" else "") or value

    assert kind.fields == (("n", primitive("int32")),)
    assert [item.value for item in kind.constants] == [expected]


GLUED = {
    "to the last field": f"P a\nfloat64 b{RULE}MSG: pkg/P\nint32 x\n",
    "with carriage returns": f"P a\r\nfloat64 b{RULE}MSG: pkg/P\nint32 x\n".replace("\n", "\r\n"),
    "to a comment": f"P a\nfloat64 b # last{RULE}MSG: pkg/P\nint32 x\n",
    "with blanks": f"P a\nfloat64 b\n{RULE[:-1]}  \n  MSG:  pkg/P \nint32 x\n",
    "by a short rule": "P a\nfloat64 b\n===\nMSG: pkg/P\nint32 x\n",
    "behind a NUL": f"P a\nfloat64 b\n\0{RULE}MSG: pkg/P\nint32 x\n\0",
    "to nothing": f"P a\nfloat64 b\n{RULE}MSG: pkg/P\nint32 x",
    "to its title": f"P a\nfloat64 b\n{RULE[:-1]}MSG: pkg/P\nint32 x\n",
    "with a blank line behind it": f"P a\nfloat64 b\n{RULE}\n\nMSG: pkg/P\nint32 x\n",
    "and there is none": "P a\nfloat64 b\nMSG : pkg/P\nint32 x\n",
    "before a title without package": f"P a\nfloat64 b\n{RULE}MSG: P\nint32 x\n",
    "with lines of equals signs": f"# ==\n====\nP a\nfloat64 b\n{RULE}MSG: pkg/P\n==\nint32 x\n",
}


@pytest.mark.parametrize("text", GLUED.values(), ids=GLUED)
def test_separator_is_found_wherever_a_writer_put_it(text: str) -> None:
    """A file without a final newline must not swallow the section behind it."""
    found = fields(text)

    assert list(found) == ["a", "b"]
    assert nested(found["a"]).fields == (("x", primitive("int32")),)


def test_last_section_may_be_empty() -> None:
    """A message without fields may come last, without a newline behind its title."""
    found = fields(f"P a\n{RULE}MSG: pkg/P")

    assert nested(found["a"]).fields == ((EMPTY_MEMBER, primitive("uint8")),)


def test_annotations_of_fields_are_understood() -> None:
    """Keys and units change nothing; an optional field is refused, for its presence is unknown."""
    assert fields('@key string name\n@unit("m")\nfloat64 x\n') == {
        "name": primitive("string"),
        "x": primitive("float64"),
    }
    with pytest.raises(DefinitionError, match="the field x of pkg/msg/T is optional"):
        parse("@optional\nfloat64 x\n")


def test_a_definition_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files carry it; what cannot be parsed is not tried again either."""
    parsed: list[str] = []

    def noted(name: str, definition: Definition) -> ParsedText:
        parsed.append(name)
        return parse_text(name, definition)

    monkeypatch.setattr(resolve, "parse_text", noted)
    for _ in range(5):
        assert fields("uint8 only_here\n", name="once/msg/T")
        with pytest.raises(DefinitionError, match="not understood"):
            parse("uint8 only_here!\n", name="once/msg/Bad")

    assert parsed == ["once/msg/T", "once/msg/Bad"]


def test_nested_types_are_found_by_every_spelling() -> None:
    """Nested types resolve as `pkg/Name`, `pkg/msg/Name` and by their short name in the package."""
    text = (
        "other/P a\nother/msg/P b\nLocal c\n"
        f"{RULE}MSG: other/P\nuint8 x\n{RULE}MSG: pkg/msg/Local\nuint16 y\n"
    )
    found = fields(text, name="pkg/T")

    assert nested(found["a"]).name == nested(found["b"]).name == "other/msg/P"
    assert nested(found["c"]).fields == (("y", primitive("uint16")),)


def test_built_in_types_need_no_definition() -> None:
    """Times and headers are known without being embedded; ROS 1 headers carry a counter."""
    text = "Header h\nstd_msgs/Header h2\ntime t\nduration d\n"
    ros2, ros1 = fields(text), fields(text, encoding="ros1msg")

    assert [name for name, _ in nested(ros2["h"]).fields] == ["stamp", "frame_id"]
    assert [name for name, _ in nested(ros1["h"]).fields] == ["seq", "stamp", "frame_id"]
    assert ros2["h"] == ros2["h2"]
    assert nested(ros2["t"]).fields == (
        ("sec", primitive("int32")),
        ("nanosec", primitive("uint32")),
    )
    assert nested(ros2["d"]).fields == nested(ros2["t"]).fields
    for name, kind in (("t", "uint32"), ("d", "int32")):
        assert nested(ros1[name]).fields == (("sec", primitive(kind)), ("nanosec", primitive(kind)))


def test_header_of_the_package_itself_goes_first_in_ros_2_only() -> None:
    """ROS 1 takes a bare `Header` for that of std_msgs, whatever the package has."""
    text = f"Header h\n{RULE}MSG: pkg/Header\nint8 mine\n"

    assert [name for name, _ in nested(fields(text)["h"]).fields] == ["mine"]
    ros1 = nested(fields(text, encoding="ros1msg")["h"])
    assert [name for name, _ in ros1.fields] == ["seq", "stamp", "frame_id"]


def test_embedded_definition_wins_over_the_built_in() -> None:
    """A header that is embedded is taken as it stands."""
    found = fields(f"std_msgs/Header h\n{RULE}MSG: std_msgs/Header\nuint8 odd\n")

    assert nested(found["h"]).fields == (("odd", primitive("uint8")),)


def test_text_may_begin_with_its_own_name() -> None:
    """A text of titled sections only is read by their titles."""
    assert fields(f"{RULE}MSG: pkg/T\nuint8 x\n") == {"x": primitive("uint8")}


def test_million_comments_parse_quickly() -> None:
    """A megabyte of comments takes no longer than reading it."""
    assert fields("# nothing to see\n" * 60_000 + "uint8 x\n") == {"x": primitive("uint8")}


def chain(depth: int) -> str:
    links = "".join(f"N{level} x\n{RULE}MSG: pkg/N{level}\n" for level in range(depth))
    return links + "uint8 x\n"


def tree(depth: int) -> str:
    links = "".join(f"N{level} a\nN{level} b\n{RULE}MSG: pkg/N{level}\n" for level in range(depth))
    return links + "uint8 x\n"


REFUSED = {
    "not a definition": ("!!!\n", "'!!!'"),
    "two dimensions": ("uint8[3][3] x\n", "uint8[3][3] x"),
    "itself": ("T x\n", "contains itself"),
    "itself in a sequence": ("T[] x\n", "contains itself"),
    "too deep": (chain(DEPTH_MAX + 2), "nested more than"),
    "too many columns": (tree(30), "columns"),
    "absurd array": ("float64[100000000] x\n", "fixed arrays"),
    "absurd array of arrays": (f"P[10000] x\n{RULE}MSG: pkg/P\nuint8[10000] y\n", "fixed arrays"),
    "empty array": ("uint8[0] x\n", "array of 0"),
    "same name twice": ("uint8 x\nuint8 x\n", "twice"),
    "too many fields": ("".join(f"uint8 x{n}\n" for n in range(LEAVES_MAX + 2)), "columns"),
    "too long": ("#" * (5 << 20), "characters"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_unusable_definition_is_refused_with_its_reason(text: str, reason: str) -> None:
    """What cannot be parsed, or would blow up, is an error that names the type and the reason."""
    with pytest.raises(DefinitionError) as refusal:
        parse(text)

    assert reason in refusal.value.message
    assert refusal.value.msgtype == "pkg/msg/T"


def test_missing_type_is_named_with_a_hint() -> None:
    """A nested type that is nowhere is an error that says which package to provide, and how."""
    with pytest.raises(DefinitionError, match="acme_msgs/msg/Wheel") as refusal:
        parse("acme_msgs/Wheel[4] wheels\n")

    assert "acme_msgs" in refusal.value.hint
    assert "definitions.folders" in refusal.value.hint


def test_deepest_allowed_nesting_is_allowed() -> None:
    """The limit of nesting is a limit, not a refusal of what is just below it."""
    assert parse(chain(DEPTH_MAX)).name == "pkg/msg/T"


def test_empty_message_has_the_dummy_member_of_the_wire() -> None:
    """A message without fields gets the byte that ROS 2 sends for it, also below other messages."""
    text = f"uint8 A=1\n{RULE}MSG: pkg/P\n"
    kind = parse("P p\n" + f"{RULE}MSG: pkg/P\nuint8 A=1\n")

    assert parse(text).fields == ((EMPTY_MEMBER, primitive("uint8")),)
    assert nested(dict(kind.fields)["p"]).fields == ((EMPTY_MEMBER, primitive("uint8")),)
    assert canonical_text(parse(text)) == "uint8 A=1\n"


IDL = """\
#include "b/msg/B.idl"
module a { module msg {
  typedef double three[3];
  module T_Constants { const long LIMIT = 3; };
  @verbatim (language="comment", text="what it is")
  struct T {
    b::msg::B one; three vector; sequence<b::msg::B> many; sequence<long, 3> few;
    string<5> name; wstring wide; wchar letter; octet raw; long double exact; boolean flag;
  };
}; };
"""


def test_idl_is_understood() -> None:
    """IDL of several files gives the same tree as message text would."""
    text = (
        f"{RULE}IDL: a/msg/T\n{IDL}{RULE}IDL: b/msg/B\n"
        "module b { module msg { struct B { short x; }; }; };\n"
    )
    kind = parse(text, name="a/msg/T", encoding="ros2idl")
    inner = MessageType(name="b/msg/B", fields=(("x", primitive("int16")),))

    assert dict(kind.fields) == {
        "one": inner,
        "vector": ArrayType(element=primitive("float64"), length=3),
        "many": SequenceType(element=inner),
        "few": SequenceType(element=primitive("int32"), bound=3),
        "name": primitive("string", 5),
        "wide": primitive("wstring"),
        "letter": primitive("wchar"),
        "raw": primitive("byte"),
        "exact": primitive("float128"),
        "flag": primitive("bool"),
    }
    assert [(item.name, item.value) for item in kind.constants] == [("LIMIT", 3)]


def test_idl_without_the_type_is_refused() -> None:
    """IDL that defines something else is an error that says what."""
    with pytest.raises(DefinitionError, match="defines b/msg/T instead"):
        parse("module b { struct T { double x; }; };", name="a/msg/T", encoding="omgidl")


def test_service_event_is_derived_from_the_raw_service() -> None:
    """A recorder stores a service's own text under the name of its event; the event is built."""
    text = f"P request\n---\nbool ok\n{RULE}MSG: pkg/P\nuint8 x\n"
    found = fields(text, name="pkg/srv/Do_Event")

    assert list(found) == ["info", "request", "response"]
    assert found["response"] == SequenceType(
        element=MessageType(name="pkg/srv/Do_Response", fields=(("ok", primitive("bool")),)),
        bound=1,
    )
    assert nested(found["info"]).name == "service_msgs/msg/ServiceEventInfo"


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("FeedbackMessage", ["goal_id", "feedback"]),
        ("SendGoal_Event", ["info", "request", "response"]),
        ("GetResult_Event", ["info", "request", "response"]),
        ("GetResult_Response", ["status", "result"]),
        ("Goal", ["order"]),
    ],
)
def test_action_messages_are_derived_from_the_raw_action(name: str, members: list[str]) -> None:
    """Feedback and events of actions are built from the action's own text."""
    text = "int32 order\n---\nint32[] all\n---\nint32[] some\n"

    assert list(fields(text, name=f"pkg/action/Count_{name}")) == members


TITLED = {
    "service": (
        "pkg/srv/Add_Event",
        f"{RULE}SRV: pkg/srv/Add\nint64 a\n---\nint64 sum\n",
        ["info", "request", "response"],
    ),
    "service without request": (
        "pkg/srv/Go_Event",
        f"{RULE}SRV: pkg/srv/Go\n---\nbool ok\n\n{RULE}MSG: other/P\nint8 x\n",
        ["info", "request", "response"],
    ),
    "request alone": (
        "pkg/srv/Add_Request",
        f"{RULE}SRV: pkg/srv/Add\nint64 a\n---\nint64 sum\n",
        ["a"],
    ),
    "feedback": (
        "pkg/action/Fib_FeedbackMessage",
        f"{RULE}ACTION: pkg/action/Fib\nint32 n\n---\nint32[] s\n---\nint32[] p\n",
        ["goal_id", "feedback"],
    ),
    "goal": (
        "pkg/action/Fib_SendGoal_Event",
        f"{RULE}ACTION: pkg/action/Fib\nint32 n\n---  # result\nint32[] s\n---\nint32[] p\n",
        ["info", "request", "response"],
    ),
    "service in IDL": (
        "pkg/srv/Add_Event",
        (
            f"{RULE}IDL: pkg/srv/Add\nmodule pkg {{ module srv {{ struct Add_Request {{ long a; }};"
            " struct Add_Response { long sum; }; }; };\n"
        ),
        ["info", "request", "response"],
    ),
    "action in IDL": (
        "pkg/action/Fib_FeedbackMessage",
        (
            f"{RULE}IDL: pkg/action/Fib\nmodule pkg {{ module action {{ struct Fib_Goal"
            " { long n; };"
            " struct Fib_Result { long s; }; struct Fib_Feedback { long p; }; }; };\n"
        ),
        ["goal_id", "feedback"],
    ),
    "types without package": ("T", f"{RULE}MSG: T\nP x\n{RULE}MSG: P\nint8 y\n", ["x"]),
    "message": ("pkg/msg/T", f"{RULE}MSG: pkg/msg/T\nint8 x\n", ["x"]),
}


@pytest.mark.parametrize(("name", "text", "members"), TITLED.values(), ids=TITLED)
def test_what_rosbag2_calls_unknown_is_known_by_its_title(
    name: str, text: str, members: list[str]
) -> None:
    """Services and actions that use no other type are embedded with the encoding `unknown`."""
    definition = embedded_definition("unknown", text)

    assert definition is not None
    assert [field for field, _ in parse_definition(name, definition).fields] == members
    assert embedded_definition("", text) == definition


@pytest.mark.parametrize(
    ("encoding", "text"), [("unknown", ""), ("unknown", "int8 x\n"), ("protobuf", RULE), ("", "?")]
)
def test_what_nobody_names_is_no_definition(encoding: str, text: str) -> None:
    """A text without a title may be anything."""
    assert embedded_definition(encoding, text) is None


RIG = f"""\
uint8 MODE_IDLE=0
uint8 MODE_RUN=1
std_msgs/Header header
uint8 mode
float64[3] bias
float32[] samples
string[] tags
builtin_interfaces/Duration dt
geometry_msgs/Point[] hull
demo_msgs/Wheel[] wheels
demo_msgs/Wheel[2] axles
{RULE}MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{RULE}MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
{RULE}MSG: builtin_interfaces/Duration
int32 sec
uint32 nanosec
{RULE}MSG: geometry_msgs/Point
float64 x
float64 y
float64 z
{RULE}MSG: demo_msgs/Wheel
string name
float32 rpm
uint8[] raw
"""


def test_canonical_text_is_what_the_vendor_stores() -> None:
    """The vendor's own metadata for this type, taken from its SDK, is reproduced to the letter."""
    kind = parse(f"# a comment\n\n{RIG}", name="demo_msgs/msg/Rig")

    assert canonical_text(kind) == RIG
    assert "time stamp" in canonical_text(kind, ros1=True)
    assert "MSG: builtin_interfaces" not in canonical_text(kind, ros1=True)


WORDS = [
    "[",
    "]",
    "<=",
    "3",
    "=",
    "-1",
    "0x",
    "1e5",
    "module",
    "struct",
    "{",
    "}",
    "};",
    "long",
    "x;",
    "const",
    "X",
    "1<<2",
    "1/0",
    "1%0",
    "enum",
    "typedef",
    "sequence<",
    ">",
    "::",
    "@key",
    "---",
    "#",
    "//",
    "/*",
    "*/",
    '"',
    "'",
    "union",
    "T",
    "x[2][3];",
    ";",
    "fixed<3,2>",
    "wchar",
    "wstring",
    "string<=",
    "double",
]
PHRASES = [
    "uint8 x\n",
    "Header h\n",
    RULE,
    "MSG: pkg/P\n",
    "IDL: a/B\n",
    "module a { module msg {",
    "struct T {",
    "octet y;",
    "}; }; };",
    "enum E { A, B };",
    "\n",
    "\t",
]
PIECES = st.one_of(
    st.sampled_from(PHRASES),
    st.sampled_from(WORDS).map("{} ".format),
    st.text(max_size=5),
)


@pytest.mark.parametrize("encoding", ["ros2msg", "ros1msg", "ros2idl", "omgidl"])
@pytest.mark.parametrize("name", ["a/msg/T", "a/srv/T_Event", "a/action/T_Feedback", "T", ""])
@settings(max_examples=30)
@given(pieces=st.lists(PIECES, max_size=15))
def test_any_text_is_parsed_or_refused(encoding: str, name: str, pieces: list[str]) -> None:
    """Whatever a file claims to be a definition, nothing but our own error comes out."""
    try:
        kind = parse("".join(pieces), name=name, encoding=encoding)
    except DefinitionError:
        return

    assert Decoder(kind).arrow_type.num_fields == len(kind.fields) > 0
