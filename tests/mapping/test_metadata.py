"""What the metadata of topics and sequences says, and that the platform takes its keys."""

import json
import os
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mosaicolabs.handlers.helpers import _validate_metadata_keys

from bridge.errors import ConfigError
from bridge.mapping import (
    Sidecar,
    TopicOptions,
    clean_keys,
    fill_placeholders,
    plan_topic,
    read_sidecar,
    sequence_metadata,
)
from bridge.model import Serialization
from tests.mapping.rosmsg import arrow_type, message_type, topic, typestore

KEY_RULE = re.compile(r"[A-Za-z0-9_ -]+")
"""The platform's, see the protocol; the vendor's own check of it is a second judge."""


def keys_of(value: Any) -> list[str]:
    """All keys at all depths."""
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in keys_of(item))]
    return [key for item in value for key in keys_of(item)] if isinstance(value, list) else []


def accepted(metadata: Any) -> bool:
    """Whether the platform takes metadata: JSON, and its rule for keys."""
    json.dumps(metadata, allow_nan=False)
    _validate_metadata_keys(metadata)
    return all(KEY_RULE.fullmatch(key) and "--" not in key for key in keys_of(metadata))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("a-._: é", max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("a-._: é", max_size=5), TREES, max_size=4))
def test_any_keys_become_acceptable_without_loss(metadata: dict[str, Any]) -> None:
    """No entry disappears, and every changed key is listed with what it was."""
    cleaned, renamed = clean_keys(metadata)

    assert accepted(cleaned)
    assert len(keys_of(cleaned)) == len(keys_of(metadata))
    changed = [key for key in keys_of(metadata) if not KEY_RULE.fullmatch(key) or "--" in key]
    assert sorted(entry["was"] for entry in renamed) == sorted(changed)


def test_keys_that_are_fine_win_over_those_that_become_like_them() -> None:
    """`a.b` gives way to `a_b`, in whatever order they come."""
    cleaned, renamed = clean_keys({"a.b": 1, "a_b": 2, "a:b": {"--": 3}})
    assert cleaned == {"a_b_2": 1, "a_b": 2, "a_b_3": {"-": 3}}
    assert renamed == [
        {"key": "a_b_2", "was": "a.b"},
        {"key": "a_b_3", "was": "a:b"},
        {"key": "a_b_3.-", "was": "--"},
    ]


def test_values_become_plain_json() -> None:
    """Dates, bytes, sets and numbers that JSON lacks are written as text or lists."""
    cleaned, _ = clean_keys(
        {
            "day": date(2026, 1, 2),
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "raw": b"\x01\xff",
            "tags": {"b", "a"},
            "nan": float("nan"),
            "path": Path("x"),
            3: True,
        }
    )
    assert cleaned == {
        "day": "2026-01-02",
        "at": "2026-01-02T00:00:00+00:00",
        "raw": "01ff",
        "tags": ["a", "b"],
        "nan": "nan",
        "path": "x",
        "3": True,
    }


def test_topic_metadata_is_complete() -> None:
    """The block says all that the recording knew; the user's own entries stand beside it."""
    msgtype = "sensor_msgs/msg/Range"
    definition = message_type(typestore(), msgtype)
    plan = plan_topic(
        topic(
            msgtype,
            "/sonar.front",
            qos="- reliability: 1",
            type_hash="RIHS01_ab",
            serialization=Serialization.ROS1,
            definition_source="jazzy",
        ),
        definition,
        arrow_type(definition),
        options=TopicOptions(metadata={"mount.point": "roof", "_ros_": "mine"}),
        msgdef="text",
        source_file="drive.mcap",
    )
    assert accepted(plan.user_metadata)
    assert plan.user_metadata == {
        "mount_point": "roof",
        "_ros_": {
            "msgtype": msgtype,
            "enums": {"ULTRASOUND": 0, "INFRARED": 1},
            "msgdef": "text",
            "source_file": "drive.mcap",
            "topic": "/sonar.front",
            "message_encoding": "ros1",
            "definition_source": "jazzy",
            "type_hash": "RIHS01_ab",
            "qos": "- reliability: 1",
            "mapping": {"kind": "generic"},
            "renamed_keys": [{"key": "mount_point", "was": "mount.point"}],
        },
    }


def test_plan_of_another_topic_says_what_a_plan_of_its_own_would() -> None:
    """Hundreds of topics share a type and its plan; what is told of each is its own."""
    msgtype = "sensor_msgs/msg/Range"
    definition = message_type(typestore(), msgtype)
    front = topic(msgtype, "/front", qos="a: 1", type_hash="RIHS01_a", definition_source="jazzy")
    rear = topic(msgtype, "/rear", qos="b: 2", type_hash="RIHS01_b", definition_source="embedded")
    first, alone = (
        plan_topic(
            each,
            definition,
            arrow_type(definition),
            options=TopicOptions(metadata={"mount.point": "roof"}),
            msgdef="text",
            source_file="drive.mcap",
        )
        for each in (front, rear)
    )
    assert first.of(rear).user_metadata == alone.user_metadata
    assert first.user_metadata["_ros_"]["topic"] == "/front"


def test_sequence_metadata_puts_sources_in_order() -> None:
    """Sidecar over constants, custom data in a table of its own, our block untouchable."""
    metadata = sequence_metadata(
        constants={"driver": "unknown", "fleet": "north", "_bridge_": "mine"},
        bridge={"fingerprint": "ab"},
        custom_data={"lidar.serial": "123"},
        sidecar=Sidecar(path=Path("drive.yaml"), metadata={"driver": "Ada", "_bridge_": 1}),
    )
    assert accepted(metadata)
    assert metadata == {
        "driver": "Ada",
        "fleet": "north",
        "custom_data": {"lidar_serial": "123"},
        "_bridge_": {
            "fingerprint": "ab",
            "sidecar": {"file": "drive.yaml", "trouble": ""},
            "renamed_keys": [{"key": "custom_data.lidar_serial", "was": "lidar.serial"}],
        },
    }


def test_placeholders_are_filled_in_at_any_depth() -> None:
    """Variables and the host name, in text, lists and tables; other braces stay."""
    filled = fill_placeholders(
        {"a": "${CAR}@{hostname}", "b": [{"c": "${CAR}"}], "d": 7, "e": "{stem} $CAR"},
        environment={"CAR": "car-7"},
        hostname="logger",
    )
    assert filled == {"a": "car-7@logger", "b": [{"c": "car-7"}], "d": 7, "e": "{stem} $CAR"}


def test_unset_variable_is_a_configuration_error() -> None:
    """The error names the key and the variable."""
    with pytest.raises(ConfigError, match="CAR") as caught:
        fill_placeholders({"fleet": {"car": "${CAR}"}}, environment={}, hostname="")
    assert caught.value.key == "metadata.fleet.car"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("drive.json", '{"driver": "Ada"}'),
        ("drive.yaml", "driver: Ada\n"),
        ("drive.yml", "driver: Ada\n"),
        ("drive.toml", 'driver = "Ada"\n'),
        ("drive.mcap.json", '{"driver": "Ada"}'),
    ],
)
def test_sidecar_is_found_and_read(tmp_path: Path, name: str, text: str) -> None:
    """Beside `drive.mcap`, with or without its extension, in three languages."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    sidecar = read_sidecar(tmp_path / "drive.mcap")
    assert sidecar == Sidecar(path=tmp_path / name, metadata={"driver": "Ada"})


def test_folder_has_its_sidecar_beside_it(tmp_path: Path) -> None:
    """That of a rosbag2 folder lies beside the folder, and there may be none."""
    assert read_sidecar(tmp_path / "drive") == Sidecar()
    (tmp_path / "drive.toml").write_text("lap = 3\n", encoding="utf-8")
    assert read_sidecar(tmp_path / "drive").metadata == {"lap": 3}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{last}'] * 10)}]\n"
    for last, key in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("drive.json", b"{", "cannot be used"),
        ("drive.json", b"[1]", "no table"),
        ("drive.json", b"\xff", "decode"),
        ("drive.json", b'{"a":' * 70 + b"1" + b"}" * 70, "deep"),
        ("drive.json", b'{"a":' * 100_000, "cannot be used"),
        ("drive.json", b" " * ((1 << 20) + 1), "larger than"),
        ("drive.yaml", b"a: [", "cannot be used"),
        ("drive.yaml", BOMB.encode(), "more than 10000 values"),
        ("drive.yaml", b"a: &a [*a]\n", "deep"),
        ("drive.yaml", b"!!python/object/apply:os.system [ls]", "cannot be used"),
        ("drive.toml", b"a = \n", "cannot be used"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_bad_sidecar_is_told_not_fatal(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    """The recording goes on without it, and the metadata says what was wrong."""
    (tmp_path / name).write_bytes(content)
    sidecar = read_sidecar(tmp_path / "drive.mcap")
    assert sidecar.metadata == {}
    assert complaint in sidecar.trouble
    block = sequence_metadata(constants={}, bridge={}, sidecar=sidecar)["_bridge_"]
    assert block["sidecar"] == {"file": name, "trouble": sidecar.trouble}


def test_sidecar_that_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """Neither a pipe nor a link leads us astray."""
    os.mkfifo(tmp_path / "drive.json")
    assert "no regular file" in read_sidecar(tmp_path / "drive").trouble
    (tmp_path / "secret.json").write_text('{"key": 1}', encoding="utf-8")
    (tmp_path / "run.json").symlink_to(tmp_path / "secret.json")
    assert "cannot be used" in read_sidecar(tmp_path / "run").trouble
