"""Parts that are the same in every message: decoded once, and told from those that are not."""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rosbags.typesys import Stores, get_typestore

from bridge.cdr import Decoder, nested, source, text
from bridge.cdr.source import Positions, Source
from bridge.cdr.steps import REPEATED_ROWS_MIN, Repairs
from bridge.definitions import parse_definition
from bridge.model import Definition
from tests.cdr.blocks import block_of

ROWS = 2 * REPEATED_ROWS_MIN
NAMES = ["shoulder", "elbow", "", "wrist_3"]
TEXT = "string frame\nstring[] name\nfloat64[] position\n"
KIND = parse_definition("p/msg/Joints", Definition(encoding="ros2msg", text=TEXT))


def payload(frame: bytes, names: list[bytes], position: float) -> bytes:
    """Write a message in CDR, little-endian."""
    out = bytearray()

    def align(size: int) -> None:
        out.extend(bytes(-len(out) % size))

    def length(value: int) -> None:
        align(4)
        out.extend(struct.pack("<I", value))

    length(len(frame) + 1)
    out += frame + b"\0"
    length(len(names))
    for name in names:
        length(len(name) + 1)
        out += name + b"\0"
    length(1)
    align(8)
    out += struct.pack("<d", position)
    return b"\0\1\0\0" + bytes(out)


def decode(rows: list[tuple[str, list[str]]]) -> tuple[list[tuple[str, list[str]]], int]:
    """Write and decode rows of frame and names; the positions must come out right in any case."""
    payloads = [
        payload(frame.encode(), [name.encode() for name in names], float(index))
        for index, (frame, names) in enumerate(rows)
    ]
    decoded = Decoder(KIND).decode(block_of(payloads))
    found = decoded.messages.to_pylist()
    assert [row["position"] for row in found] == [[float(index)] for index in range(len(rows))]
    return [(row["frame"], row["name"]) for row in found], decoded.leftover


@pytest.fixture(params=[1, 300, source.SLAB_BYTES])
def _slabs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare rows one by one, a few at a time, or all at once."""
    monkeypatch.setattr(source, "SLAB_BYTES", request.param)


@pytest.fixture
def _no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, starts: object) -> None:
        if starts is not None and len(starts) > len(NAMES):  # type: ignore[arg-type]
            raise AssertionError("every row was walked")

    monkeypatch.setattr(nested, "walk_ranks", refuse)


@pytest.mark.usefixtures("_no_walk")
def test_names_that_never_change_are_not_walked_in_every_row() -> None:
    """Guards the test below: without this nothing would be repeated there."""
    with pytest.raises(AssertionError, match="every row"):
        decode([("base", [*NAMES[:-1], "x" * (row % 3)]) for row in range(ROWS)])


def test_names_that_never_change_come_out_in_every_row() -> None:
    """Also where what stands before them varies, but not the padding."""
    same = [("base", NAMES)] * ROWS
    shifted = [("x" * (8 * (row % 3)), NAMES) for row in range(ROWS)]

    assert decode(same) == (same, 0)
    assert decode(shifted) == (shifted, 0)


@pytest.mark.usefixtures("_no_walk")
def test_names_of_lengths_that_never_change_are_found_without_a_walk() -> None:
    """The first row shows where they are, whatever they are."""
    rows = [(f"{row:04}", [f"joint_{row:04}", "", f"{row * 7919:09}"]) for row in range(ROWS)]

    assert decode(rows) == (rows, 0)


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("odd", [0, 1, 5, ROWS // 2 + 1, ROWS - 1])
@pytest.mark.parametrize("names", [["longer", "b"], ["abcd", "bc"], ["a", "bcde"], ["abcd"], []])
def test_one_row_with_other_lengths_is_decoded_as_it_is(odd: int, names: list[str]) -> None:
    """Also where all names together take as much room as in every other row."""
    rows = [("base", [f"{row:04}", f"{row % 10}"]) for row in range(ROWS)]
    rows[odd] = ("base", names)

    assert decode(rows) == (rows, 0)


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("odd", [0, 1, 5, ROWS // 2 + 1, ROWS - 1])
@pytest.mark.parametrize(
    "names", [["Shoulder", *NAMES[1:]], NAMES[:-1], [*NAMES, "hand"], [], ["x" * 900]]
)
def test_one_row_that_differs_is_decoded_as_it_is(odd: int, names: list[str]) -> None:
    """Wherever it stands, and whatever is different in it."""
    rows = [("base", NAMES)] * ROWS
    rows[odd] = ("base", names)

    assert decode(rows) == (rows, 0)


def test_same_names_behind_other_padding_are_decoded() -> None:
    """Frames of any length move the names to where padding between them is another."""
    rows = [("x" * (row % 9), NAMES) for row in range(ROWS)]

    assert decode(rows) == (rows, 0)


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("odd", [0, 1, 5, ROWS // 2 + 1, ROWS - 1])
@pytest.mark.parametrize("frame", ["Base", "bas", "", "a_longer_one", "x" * 20_000])
def test_one_frame_that_differs_is_decoded_as_it_is(odd: int, frame: str) -> None:
    """Wherever it stands, whatever its length does to the padding behind it."""
    rows = [("base", NAMES)] * ROWS
    rows[odd] = (frame, NAMES)

    assert decode(rows) == (rows, 0)


def test_a_frame_that_never_changes_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is empty; one that changes is copied in every row."""
    copied: list[int] = []
    whole = text.text_array

    def noted(source: Source, starts: Positions, lengths: Positions, repairs: Repairs) -> pa.Array:
        copied.append(len(starts))
        return whole(source, starts, lengths, repairs)

    monkeypatch.setattr(text, "text_array", noted)
    for frames in (["base"], [""], ["base", "legs"]):
        rows = [(frames[row % len(frames)], NAMES) for row in range(ROWS)]
        assert decode(rows) == (rows, 0)

    names = len(NAMES)
    assert copied == [1, names, 1, names, ROWS, names]


def test_a_bound_is_enforced_where_every_row_breaks_it() -> None:
    """The row that is looked at is lost, and so is every other."""
    bounded = Definition(encoding="ros2msg", text=TEXT.replace("string[] name", "string[<=1] name"))
    kind = parse_definition("p/msg/Joints", bounded)
    kept, broken = (
        block_of([payload(b"base", names, 0.0)] * ROWS) for names in ([b"a"], [b"a", b"b"])
    )

    assert len(Decoder(kind).decode(kept).messages) == ROWS
    assert Decoder(kind).decode(broken).dropped == {"bound_exceeded": ROWS}


@pytest.mark.parametrize("odd_points", [2, 3])
def test_lists_within_lists_are_found_by_the_first_row(odd_points: int) -> None:
    """Against rosbags: all inner lists are as long as those of the first row, or all but one."""
    name = "visualization_msgs/msg/MarkerArray"
    store = get_typestore(Stores.ROS2_JAZZY)
    text, _ = store.generate_msgdef(name, ros_version=2)
    kind = parse_definition(name, Definition(encoding="ros2msg", text=text))
    messages = [
        markers(store, row, points=odd_points if row == ROWS - 3 else 2) for row in range(ROWS)
    ]
    decoded = Decoder(kind).decode(
        block_of([bytes(store.serialize_cdr(message, name)) for message in messages])
    )

    assert decoded.leftover == 0
    for message, row in zip(messages, decoded.messages.to_pylist(), strict=True):
        for ours, theirs in zip(row["markers"], message.markers, strict=True):
            assert (ours["ns"], ours["id"]) == (theirs.ns, theirs.id)
            assert [point["x"] for point in ours["points"]] == [one.x for one in theirs.points]


def test_arrays_within_arrays_have_no_lengths_to_compare() -> None:
    """Every row is built like the first, whatever is in it."""
    text = f"""Inner[2] x
{"=" * 80}
MSG: p/Inner
Flag[2] flags
uint8 data
{"=" * 80}
MSG: p/Flag
uint8 a
uint8 b
"""
    kind = parse_definition("p/msg/Outer", Definition(encoding="ros2msg", text=text))
    bodies = [bytes((row + place) % 256 for place in range(10)) for row in range(ROWS)]
    decoded = Decoder(kind).decode(block_of([b"\0\1\0\0" + body for body in bodies]))

    for body, row in zip(bodies, decoded.messages.to_pylist(), strict=True):
        flat = [
            value
            for inner in row["x"]
            for value in (*(v for flag in inner["flags"] for v in flag.values()), inner["data"])
        ]
        assert bytes(flat) == body


def markers(store: Any, row: int, *, points: int) -> Any:
    """Make two markers with some points each."""
    types = store.types
    vector = types["geometry_msgs/msg/Vector3"](x=1.0, y=1.0, z=1.0)
    pose = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0),
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    stamp = types["builtin_interfaces/msg/Time"](sec=row, nanosec=0)
    colour = types["std_msgs/msg/ColorRGBA"](r=1.0, g=0.0, b=0.0, a=1.0)
    uv = types["visualization_msgs/msg/UVCoordinate"]
    return types["visualization_msgs/msg/MarkerArray"](
        markers=[
            types["visualization_msgs/msg/Marker"](
                header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="map"),
                ns=f"lane_{row:03}",
                id=number,
                type=5,
                action=0,
                pose=pose,
                scale=vector,
                color=colour,
                lifetime=types["builtin_interfaces/msg/Duration"](sec=0, nanosec=0),
                frame_locked=False,
                points=[
                    types["geometry_msgs/msg/Point"](x=float(row + point), y=0.0, z=0.0)
                    for point in range(points)
                ],
                colors=[],
                texture_resource="",
                texture=types["sensor_msgs/msg/CompressedImage"](
                    header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=""),
                    format="",
                    data=np.empty(0, dtype=np.uint8),
                ),
                uv_coordinates=[uv(u=0.5, v=0.5)],
                text="",
                mesh_resource="",
                mesh_file=types["visualization_msgs/msg/MeshFile"](
                    filename="", data=np.empty(0, dtype=np.uint8)
                ),
                mesh_use_embedded_materials=False,
            )
            for number in range(2)
        ]
    )


def test_what_is_wrong_in_every_row_is_counted_in_every_row() -> None:
    """Names and frames that are not UTF-8 are repaired; names that end behind it are dropped."""
    invalid = [payload(b"base", [b"\xff\xfe"], 0.0)] * ROWS
    misnamed = [payload(b"\xff", [b"elbow"], 0.0)] * ROWS
    cut = [payload(b"base", [name.encode() for name in NAMES], 0.0)[:40]] * ROWS

    for payloads in (invalid, misnamed):
        decoded = Decoder(KIND).decode(block_of(payloads))
        assert (len(decoded.messages), decoded.repaired) == (ROWS, {"invalid_utf8": ROWS})
    assert Decoder(KIND).decode(block_of(cut)).dropped == {"truncated": ROWS}


def test_one_row_cut_off_among_many_alike_is_dropped_alone() -> None:
    """The last row of a block, where nothing follows that could be read in its place."""
    whole = payload(b"base", [name.encode() for name in NAMES], 1.0)
    decoded = Decoder(KIND).decode(block_of([whole] * (ROWS - 1) + [whole[:40]]))

    assert decoded.dropped == {"truncated": 1}
    assert len(decoded.messages) == ROWS - 1
    assert np.array_equal(decoded.log_times_ns, np.arange(100, 100 + ROWS - 1))
