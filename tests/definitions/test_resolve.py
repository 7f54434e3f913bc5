"""Finding definitions: the order of places, every form, services and actions."""

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.definitions import (
    DefinitionSources,
    Resolved,
    TypeResolver,
    canonical_text,
    missing_definition_hint,
)
from bridge.definitions.names import interface_of, normal_msgtype
from bridge.errors import DefinitionError
from bridge.model import MessageType
from tests.reference.codec import EMPTY_MEMBER


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def resolve(sources: DefinitionSources, msgtype: str, *, distro: str = "") -> Resolved:
    """Resolve a type that no recording defines."""
    return TypeResolver(sources, ()).resolve(msgtype, None, distro=distro)


def names(kind: MessageType) -> list[str]:
    return [name for name, _ in kind.fields]


@pytest.mark.parametrize("distro", ["dashing", "foxy", "humble", "jazzy", "kilted", "lyrical"])
def test_stock_types_are_complete_in_every_distribution(distro: str) -> None:
    """The text of every stock type parses back to the very types of the distribution."""
    judge = get_typestore(Stores(f"ros2_{distro}")).fielddefs
    resolver = TypeResolver(DefinitionSources(distro=distro), ())

    for msgtype, data in judge.items():
        found = resolver.resolve(msgtype, None)
        assert found.source == distro
        parsed = get_types_from_msg(canonical_text(found.message_type), msgtype)
        assert [constant[:2] for constant in parsed[msgtype][0]] == [c[:2] for c in data[0]]
        for name, (_, fields) in parsed.items():
            theirs = [field for field in judge[name][1] if field[0] != EMPTY_MEMBER]
            assert fields == theirs, f"{name} in {msgtype}"


def test_distribution_of_the_recording_comes_before_the_configured_one() -> None:
    """Layouts differ between distributions, so the one that recorded decides."""
    sources = DefinitionSources(distro="jazzy")

    ours = resolve(sources, "sensor_msgs/msg/Range", distro="humble")
    theirs = resolve(sources, "sensor_msgs/msg/Range")
    unknown = resolve(sources, "sensor_msgs/msg/Range", distro="rolling")

    assert "variance" not in names(ours.message_type)
    assert "variance" in names(theirs.message_type)
    assert (ours.source, theirs.source, unknown.source) == ("humble", "jazzy", "jazzy")


def test_types_that_never_changed_need_no_distribution() -> None:
    """Old sqlite3 recordings of stock types are readable without anything configured."""
    found = resolve(DefinitionSources(), "geometry_msgs/msg/TwistStamped")

    assert found.source == "every distribution"
    for store in Stores:
        if store.value.startswith("ros2_"):
            types = get_typestore(store)
            theirs, _ = types.generate_msgdef("geometry_msgs/msg/TwistStamped", ros_version=2)
            assert fields_of(canonical_text(found.message_type)) == fields_of(theirs)


def fields_of(text: str) -> set[str]:
    """Give the fields of each type in a definition, in their order; types in none."""
    lines = (line for line in text.replace("/msg/", "/").splitlines() if "==" in line or line)
    kept = [" ".join(line.split()) for line in lines if "=" not in line or "===" in line]
    return {section.strip() for section in "\n".join(kept).split("=" * 80)}


@pytest.mark.parametrize(
    ("msgtype", "distro"),
    [
        ("sensor_msgs/msg/Range", ""),
        ("visualization_msgs/msg/Marker", "rolling"),
        ("acme_msgs/msg/Widget", "jazzy"),
    ],
)
def test_nothing_is_guessed(msgtype: str, distro: str) -> None:
    """A type that no place knows, or that changed over time, is not found without a name."""
    with pytest.raises(DefinitionError, match=f"no definition of {msgtype}") as refusal:
        resolve(DefinitionSources(distro=distro), msgtype)

    assert "definitions.folders" in refusal.value.hint


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

    found = resolve(DefinitionSources(folders=(tmp_path,), distro="jazzy"), "pkg/Outer")

    assert found.source == f"{tmp_path}, jazzy"
    parsed = get_types_from_msg(canonical_text(found.message_type), "pkg/msg/Outer")
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

    found = resolve(DefinitionSources(folders=(tmp_path / "pkg",)), "pkg/msg/Name")

    assert canonical_text(found.message_type) == "int8 x\n"


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

    found = {name: resolve(sources, f"std_msgs/msg/{name}") for name in ("String", "Bool", "Int8")}

    assert {name: canonical_text(each.message_type) for name, each in found.items()} == {
        "String": "string mine\n",
        "Bool": "bool ament\n",
        "Int8": "int8 data\n",
    }
    assert {name: each.source for name, each in found.items()} == {
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


def test_idl_package_is_read_with_what_it_includes(tmp_path: Path) -> None:
    """A package of IDL files needs no `.msg` files."""
    write(
        tmp_path / "pkg/msg/Outer.idl", IDL.format(used="pkg/msg/Inner", scoped="pkg::msg::Inner")
    )
    write(tmp_path / "pkg/msg/Inner.idl", INNER)

    found = resolve(DefinitionSources(folders=(tmp_path,)), "pkg/msg/Outer")

    assert found.source == str(tmp_path)
    assert canonical_text(found.message_type) == (
        "pkg/Inner part\nfloat64[<=4] values\n" + "=" * 80 + "\nMSG: pkg/Inner\nstring<=7 text\n"
    )


def test_idl_may_use_what_a_file_of_another_name_declares(tmp_path: Path) -> None:
    """Shared typedefs and enumerations are found in the file that is included."""
    write(tmp_path / "pkg/msg/Outer.idl", IDL.format(used="pkg/msg/Shared", scoped="pkg::Level"))
    write(tmp_path / "pkg/msg/Shared.idl", "module pkg { enum Level { LOW, HIGH }; };\n")

    found = resolve(DefinitionSources(folders=(tmp_path,)), "pkg/msg/Outer")

    assert canonical_text(found.message_type) == "int32 part\nfloat64[<=4] values\n"


def test_idl_may_use_stock_types(tmp_path: Path) -> None:
    """Types of either form use each other."""
    write(
        tmp_path / "pkg/msg/Outer.idl",
        IDL.format(used="std_msgs/msg/Header", scoped="std_msgs::msg::Header"),
    )

    found = resolve(DefinitionSources(folders=(tmp_path,), distro="jazzy"), "pkg/msg/Outer")

    text = canonical_text(found.message_type)
    assert text.startswith("std_msgs/Header part\nfloat64[<=4] values\n")
    assert "builtin_interfaces/msg/Time" in get_types_from_msg(text, "pkg/msg/Outer")


def test_missing_part_is_named(tmp_path: Path) -> None:
    """A definition that lacks a type it uses is of no use; the error says which."""
    write(tmp_path / "pkg/msg/Outer.msg", "Gone gone\n")

    with pytest.raises(DefinitionError, match="pkg/msg/Outer uses pkg/msg/Gone") as refusal:
        resolve(DefinitionSources(folders=(tmp_path,)), "pkg/msg/Outer")

    assert "pkg/msg/*.msg" in refusal.value.hint


def test_file_that_is_no_definition_is_named(tmp_path: Path) -> None:
    """The operator learns which file is wrong, and in which line."""
    write(tmp_path / "pkg/msg/Outer.msg", "int8 x\n!!!\n")

    with pytest.raises(DefinitionError, match=r"Outer\.msg cannot be understood: .*'!!!'"):
        resolve(DefinitionSources(folders=(tmp_path,)), "pkg/msg/Outer")


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

    with pytest.raises(DefinitionError):
        resolve(DefinitionSources(folders=(tmp_path / "folder",)), msgtype)


def test_unreadable_places_are_passed_over(tmp_path: Path) -> None:
    """Folders that do not exist, folders where a file should be and huge files do no harm."""
    (tmp_path / "a/std_msgs/msg/String.msg").mkdir(parents=True)
    write(tmp_path / "b/std_msgs/msg/String.msg", "#" * (1 << 20) + "\n")
    folders = (tmp_path / "nowhere", tmp_path / "a", tmp_path / "b")

    found = resolve(DefinitionSources(folders=folders, distro="jazzy"), "std_msgs/msg/String")

    assert found.source == "jazzy"


@pytest.mark.parametrize(
    ("msgtype", "fields"),
    [
        ("pkg/action/Go_FeedbackMessage", ["goal_id", "feedback"]),
        ("pkg/action/Go_SendGoal_Event", ["info", "request", "response"]),
        ("pkg/action/Go_GetResult_Event", ["info", "request", "response"]),
        ("pkg/action/Go_SendGoal_Request", ["goal_id", "goal"]),
        ("pkg/srv/Add_Event", ["info", "request", "response"]),
        ("pkg/srv/Add_Response", ["where"]),
        ("pkg/srv/Sub_Event", ["info", "request", "response"]),
    ],
)
def test_derived_types_are_found_in_folders(
    tmp_path: Path, msgtype: str, fields: list[str]
) -> None:
    """Rosbag2 embeds nothing for feedback topics: the action's file in a folder serves."""
    write(tmp_path / "pkg/action/Go.action", "Place goal\n---\n---\nbyte[] partial\nPlace at\n")
    write(tmp_path / "pkg/msg/Place.msg", "geometry_msgs/Point to\n")
    write(tmp_path / "pkg/srv/Add.srv", "Place a\n---\nPlace where\n")
    write(
        tmp_path / "pkg/srv/Sub.idl",
        "module pkg { module srv { struct Sub_Request { pkg::msg::Place a; };"
        " struct Sub_Response { boolean ok; }; }; };",
    )

    found = resolve(DefinitionSources(folders=(tmp_path,), distro="humble"), msgtype)

    assert found.source.startswith(str(tmp_path))
    assert names(found.message_type) == fields


def test_missing_part_of_a_service_is_named(tmp_path: Path) -> None:
    """A service that uses a type nobody knows cannot be decoded; neither can one without file."""
    write(tmp_path / "pkg/srv/Add.srv", "Gone gone\n---\n")
    sources = DefinitionSources(folders=(tmp_path,))

    with pytest.raises(DefinitionError, match="pkg/msg/Gone"):
        resolve(sources, "pkg/srv/Add_Event")
    with pytest.raises(DefinitionError, match="no definition of pkg/srv/Gone_Event"):
        resolve(sources, "pkg/srv/Gone_Event")


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
        ("fastdds/pkg/msg/Name", "pkg/msg/Name"),
        ("pkg/srv/msg/Add_Event", "pkg/srv/Add_Event"),
        ("/std_msgs/String", "std_msgs/msg/String"),
        ("DdsRecorderStatus", "DdsRecorderStatus"),
        ("a::b::c::Name", "a/b/c/Name"),
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
