"""Finding definitions: the order of places, every form, services and actions."""

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from bridge.definitions import parse_definition
from bridge.definitions.names import interface_of, normal_msgtype
from bridge.definitions.resolve import DefinitionSources, missing_definition_hint


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("distro", ["dashing", "foxy", "humble", "jazzy", "kilted", "lyrical"])
def test_stock_types_are_complete_in_every_distribution(distro: str) -> None:
    """The text of every stock type parses back to the very types of the distribution."""
    judge = get_typestore(Stores(f"ros2_{distro}")).fielddefs
    sources = DefinitionSources(distro=distro)

    for msgtype, data in judge.items():
        definition = sources.resolve(msgtype)
        assert definition is not None, msgtype
        assert definition.source == distro
        parsed = get_types_from_msg(definition.text, msgtype)
        assert parsed[msgtype][1] == data[1], msgtype
        assert [constant[:2] for constant in parsed[msgtype][0]] == [c[:2] for c in data[0]]
        assert {name: judge[name][1] for name in parsed} == {n: d[1] for n, d in parsed.items()}


def test_distribution_of_the_recording_comes_before_the_configured_one() -> None:
    """Layouts differ between distributions, so the one that recorded decides."""
    sources = DefinitionSources(distro="jazzy")

    ours = sources.resolve("sensor_msgs/msg/Range", distro="humble")
    theirs = sources.resolve("sensor_msgs/msg/Range")
    unknown = sources.resolve("sensor_msgs/msg/Range", distro="rolling")

    assert ours is not None
    assert theirs is not None
    assert unknown is not None
    assert ("variance" in ours.text, "variance" in theirs.text) == (False, True)
    assert (ours.source, theirs.source, unknown.source) == ("humble", "jazzy", "jazzy")


def test_types_that_never_changed_need_no_distribution() -> None:
    """Old sqlite3 recordings of stock types are readable without anything configured."""
    found = DefinitionSources().resolve("geometry_msgs/msg/TwistStamped")

    assert found is not None
    assert found.source == "every distribution"
    for store in Stores:
        if store.value.startswith("ros2_"):
            types = get_typestore(store)
            theirs, _ = types.generate_msgdef("geometry_msgs/msg/TwistStamped", ros_version=2)
            assert fields_of(found.text) == fields_of(theirs)


def fields_of(text: str) -> set[str]:
    """Give the fields of each type in a definition, in their order; types in none."""
    lines = (line for line in text.replace("/msg/", "/").splitlines() if "==" in line or line)
    kept = [" ".join(line.split()) for line in lines if "=" not in line or "===" in line]
    return {section.strip() for section in "\n".join(kept).split("=" * 80)}


def test_nothing_is_guessed() -> None:
    """A type that no place knows, or that changed over time, is not found without a name."""
    assert DefinitionSources().resolve("sensor_msgs/msg/Range") is None
    assert DefinitionSources(distro="rolling").resolve("visualization_msgs/msg/Marker") is None
    assert DefinitionSources(distro="jazzy").resolve("acme_msgs/msg/Widget") is None


@pytest.mark.parametrize(
    "layout",
    ["pkg/msg", "share/pkg/msg", "repository/pkg/msg"],
    ids=["plain", "share", "workspace"],
)
def test_folder_comes_before_the_distribution_and_brings_what_it_uses(
    tmp_path: Path, layout: str
) -> None:
    """A type from a folder is complete: own package, other packages, stock types."""
    write(tmp_path / layout / "Outer.msg", "Header header\nInner[<=3] inner\nother/Deep deep\r\n")
    write(tmp_path / layout / "Inner.msg", "# nothing but\nfloat64 x 1.5\nstring LABEL=hi\n")
    write(tmp_path / layout.replace("pkg", "other") / "Deep.msg", "uint8[16] raw\n")

    found = DefinitionSources(folders=(tmp_path,), distro="jazzy").resolve("pkg/Outer")

    assert found is not None
    assert found.encoding == "ros2msg"
    assert found.source == f"{tmp_path}, jazzy"
    parsed = get_types_from_msg(found.text, "pkg/msg/Outer")
    assert set(parsed) == {
        "pkg/msg/Outer",
        "pkg/msg/Inner",
        "other/msg/Deep",
        "std_msgs/msg/Header",
        "builtin_interfaces/msg/Time",
    }


def test_package_folder_itself_may_be_named(tmp_path: Path) -> None:
    """Pointing at the package instead of the folder above it works too."""
    write(tmp_path / "pkg/msg/Name.msg", "int8 x\n")

    found = DefinitionSources(folders=(tmp_path / "pkg",)).resolve("pkg/msg/Name")

    assert found is not None
    assert found.text == "int8 x\n"


def test_folders_come_before_ament_and_both_before_the_distribution(tmp_path: Path) -> None:
    """The order of places holds for each type."""
    write(tmp_path / "mine/std_msgs/msg/String.msg", "string mine\n")
    write(tmp_path / "ros/share/std_msgs/msg/String.msg", "string ament\n")
    write(tmp_path / "ros/share/std_msgs/msg/Bool.msg", "bool ament\n")
    sources = DefinitionSources(
        folders=(tmp_path / "mine",),
        ament_prefix_path=f"{tmp_path}/nowhere:{tmp_path}/ros",
        distro="jazzy",
    )

    found = {name: sources.resolve(f"std_msgs/msg/{name}") for name in ("String", "Bool", "Int8")}

    assert {name: definition and definition.text for name, definition in found.items()} == {
        "String": "string mine\n",
        "Bool": "bool ament\n",
        "Int8": "int8 data\n",
    }
    assert {name: definition and definition.source for name, definition in found.items()} == {
        "String": f"{tmp_path}/mine",
        "Bool": f"{tmp_path}/ros",
        "Int8": "jazzy",
    }


IDL = """\
// generated
#include "{used}.idl"
module pkg {{
  module msg {{
    struct Outer {{
      {scoped} part;
      sequence<double, 4> values;
    }};
  }};
}};
"""
INNER = "module pkg { module msg { struct Inner { string<7> text; }; }; };\n"


def test_idl_package_keeps_its_form(tmp_path: Path) -> None:
    """A package of IDL files alone is given as IDL, with what it includes."""
    write(
        tmp_path / "pkg/msg/Outer.idl", IDL.format(used="pkg/msg/Inner", scoped="pkg::msg::Inner")
    )
    write(tmp_path / "pkg/msg/Inner.idl", INNER)

    found = DefinitionSources(folders=(tmp_path,)).resolve("pkg/msg/Outer")

    assert found is not None
    assert found.encoding == "ros2idl"
    own, inner = found.text.split("=" * 80 + "\n")[1:]
    assert own.startswith("IDL: pkg/msg/Outer\n")
    assert inner == f"IDL: pkg/msg/Inner\n{INNER}"
    assert "pkg/msg/Inner" in get_types_from_idl(inner.partition("\n")[2])


def test_idl_that_uses_stock_types_becomes_msg(tmp_path: Path) -> None:
    """Stock types exist as `.msg` only, so what uses them is brought into that form."""
    write(
        tmp_path / "pkg/msg/Outer.idl",
        IDL.format(used="std_msgs/msg/Header", scoped="std_msgs::msg::Header"),
    )

    found = DefinitionSources(folders=(tmp_path,), distro="jazzy").resolve("pkg/msg/Outer")

    assert found is not None
    assert found.encoding == "ros2msg"
    assert found.text.startswith("std_msgs/Header part\nfloat64[<=4] values\n")
    assert "builtin_interfaces/msg/Time" in get_types_from_msg(found.text, "pkg/msg/Outer")


def test_missing_part_makes_the_whole_missing(tmp_path: Path) -> None:
    """A definition that lacks a type it uses is of no use, so it is not given."""
    write(tmp_path / "pkg/msg/Outer.msg", "Gone gone\n")
    write(tmp_path / "pkg/msg/Self.msg", "Self[] children\n")

    sources = DefinitionSources(folders=(tmp_path,))

    assert sources.resolve("pkg/msg/Outer") is None
    assert sources.resolve("pkg/msg/Self") is not None


@pytest.mark.parametrize(
    "msgtype",
    [
        "../msg/secret",
        "../srv/secret_Event",
        "pkg/../secret",
        "/etc/passwd",
        "pkg/msg/..",
        "",
        "a/b/c/d",
        "a\0b/c",
    ],
)
def test_names_from_recordings_never_leave_the_folders(tmp_path: Path, msgtype: str) -> None:
    """A type name that is not made of plain words is looked for nowhere."""
    write(tmp_path / "msg/secret.msg", "int8 x\n")
    write(tmp_path / "srv/secret.srv", "int8 x\n---\n")
    write(tmp_path / "secret.msg", "int8 x\n")

    assert DefinitionSources(folders=(tmp_path / "folder",)).resolve(msgtype) is None


def test_unreadable_places_are_passed_over(tmp_path: Path) -> None:
    """Folders that do not exist, folders where a file should be and huge files do no harm."""
    (tmp_path / "a/std_msgs/msg/String.msg").mkdir(parents=True)
    write(tmp_path / "b/std_msgs/msg/String.msg", "#" * (1 << 20) + "\n")
    folders = (tmp_path / "nowhere", tmp_path / "a", tmp_path / "b")

    found = DefinitionSources(folders=folders, distro="jazzy").resolve("std_msgs/msg/String")

    assert found is not None
    assert found.source == "jazzy"


@pytest.mark.parametrize(
    ("msgtype", "fields"),
    [
        ("pkg/action/Go_FeedbackMessage", ["goal_id", "feedback"]),
        ("pkg/action/Go_SendGoal_Event", ["info", "request", "response"]),
        ("pkg/action/Go_GetResult_Event", ["info", "request", "response"]),
        ("pkg/srv/Add_Event", ["info", "request", "response"]),
    ],
)
def test_derived_types_are_found_in_folders(
    tmp_path: Path, msgtype: str, fields: list[str]
) -> None:
    """Rosbag2 embeds nothing for feedback topics: the action's file in a folder serves."""
    write(tmp_path / "pkg/action/Go.action", "Place goal\n---\n---\nbyte[] partial\n")
    write(tmp_path / "pkg/msg/Place.msg", "geometry_msgs/Point to\n")
    write(tmp_path / "pkg/srv/Add.srv", "int8 a\n---\nPlace where\n")
    sources = DefinitionSources(folders=(tmp_path,), distro="humble")

    found = sources.resolve(msgtype)

    assert found is not None
    assert found.source == f"{tmp_path}, humble"
    assert [name for name, _ in parse_definition(msgtype, found).fields] == fields
    assert sources.resolve("pkg/srv/Gone_Event") is None


def test_missing_part_of_a_service_makes_the_whole_missing(tmp_path: Path) -> None:
    """A service that uses a type nobody knows cannot be decoded."""
    write(tmp_path / "pkg/srv/Add.srv", "Gone gone\n---\n")

    assert DefinitionSources(folders=(tmp_path,)).resolve("pkg/srv/Add_Event") is None


def test_hint_names_package_and_setting() -> None:
    """The operator is told which package is wanted and where to name it."""
    hint = missing_definition_hint("acme_msgs/msg/Widget")

    assert "'acme_msgs'" in hint
    assert "acme_msgs/msg/*.msg" in hint
    assert "definitions.folders" in hint
    assert "acme/action/*.action" in missing_definition_hint("acme/action/Go_FeedbackMessage")


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("std_msgs/String", "std_msgs/msg/String"),
        ("std_msgs/msg/String", "std_msgs/msg/String"),
        ("std_msgs::msg::dds_::String_", "std_msgs/msg/String"),
        ("pkg::msg::Name", "pkg/msg/Name"),
        ("pkg/srv/Add_Event", "pkg/srv/Add_Event"),
        ("foxglove.Pose", "foxglove.Pose"),
        ("", ""),
    ],
)
def test_type_names_have_one_spelling(name: str, normal: str) -> None:
    """Every way of writing a type's name comes to the same."""
    assert normal_msgtype(name) == normal


def test_only_derived_types_belong_to_an_interface() -> None:
    """A message that happens to end like a derived type is left alone."""
    assert interface_of("pkg/srv/Add_Event") == "pkg/srv/Add"
    assert interface_of("pkg/action/Go_SendGoal_Event") == "pkg/action/Go"
    assert interface_of("pkg/msg/Big_Event") == ""
    assert interface_of("std_msgs/String") == ""
