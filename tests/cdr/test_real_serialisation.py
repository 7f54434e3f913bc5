"""The decoder against the serialisers that robots run: Fast CDR through rclpy, and Cyclone DDS.

Both come as wheels from the Python package index, into environments of their own.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bridge.cdr import Decoder
from bridge.definitions import DefinitionSources, TypeResolver, parse_definition
from bridge.model import Definition
from tests.cdr.blocks import block_of, same

pytestmark = pytest.mark.slow

ROS_WHEELS = (
    "ros-rclpy", "ros-rmw-fastrtps-cpp", "ros-test-msgs", "ros-sensor-msgs", "ros-geometry-msgs",
    "ros-nav-msgs", "numpy",
)  # fmt: skip
ROS_PACKAGES = ("test_msgs", "sensor_msgs", "geometry_msgs", "nav_msgs")

INSTALL_S = 900


def environment(folder: Path, *wheels: str) -> Path:
    """Make an environment with wheels, or skip the test where there are none."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run(
        [folder / "bin/python", "-m", "pip", "install", "--quiet", "--prefer-binary", *wheels],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"{wheels[0]} cannot be installed here: {reason}")
    return folder


def samples(venv: Path, script: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a script inside an environment; give what it prints."""
    done = subprocess.run(
        [venv / "bin/python", Path(__file__).with_name(script), *arguments],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_message_that_rclpy_serialises_decodes(tmp_path: Path) -> None:
    """All types of four packages, wide strings and slack included, by their own `.msg` files."""
    venv = environment(tmp_path / "ros", *ROS_WHEELS)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples(venv, "rclpy_samples.py", *ROS_PACKAGES):
        found[sample["type"]].append(sample)
    resolver = TypeResolver(DefinitionSources(folders=(venv,)), ())
    for msgtype, all_of in found.items():
        kind = resolver.resolve(msgtype, None).message_type
        payloads = [bytes.fromhex(each["payload"]) for each in all_of]
        decoded = Decoder(kind).decode(block_of(payloads))

        assert not decoded.dropped, msgtype
        assert not decoded.repaired, msgtype
        assert decoded.leftover == 0, msgtype
        assert same([each["values"] for each in all_of], decoded.messages.to_pylist()), msgtype
    assert {msgtype.split("/")[0] for msgtype in found} == set(ROS_PACKAGES)
    assert "test_msgs/msg/WStrings" in found


IDL = """\
module m {
  enum Colour { RED, GREEN };
  @appendable struct Point { long x; double y; };
  @final struct Plain { uint8 b; string s; };
  @appendable struct Grown {
    uint8 a; Point p; sequence<Point> many; sequence<Plain> plain; Colour c; sequence<Colour> cs;
    short three[3]; Plain two[2]; sequence<string> texts; sequence<sequence<long>> rows;
    long long big; sequence<boolean> flags;
  };
  @final struct Fixed { uint8 a; Plain plain; Point p; double d; Point points[2]; };
};
"""


@pytest.fixture(scope="module")
def cyclone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    venv = environment(tmp_path_factory.mktemp("dds"), "cyclonedds")
    return samples(venv, "cyclonedds_samples.py")


@pytest.mark.parametrize("text", [IDL, IDL.replace("@appendable ", "")], ids=["said", "silent"])
def test_what_cyclone_dds_serialises_decodes(cyclone: list[dict[str, Any]], text: str) -> None:
    """Appendable and final types in both versions of CDR; where nothing is said, too."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for sample in cyclone:
        found[sample["type"], sample["version"]].append(sample)
    for (msgtype, version), all_of in found.items():
        kind = parse_definition(msgtype, Definition(encoding="omgidl", text=text))
        payloads = [bytes.fromhex(each["payload"]) for each in all_of]
        decoded = Decoder(kind).decode(block_of(payloads))

        assert not decoded.dropped, (msgtype, version)
        assert decoded.leftover == 0, (msgtype, version)
        expected = [each["values"] for each in all_of]
        assert same(expected, decoded.messages.to_pylist()), (msgtype, version)
    assert len(found) == 2 * 2
