"""Names of sequences and topics, judged by the vendor's checks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mosaicolabs.handlers import helpers as vendor_helpers

from bridge.errors import ConfigError
from bridge.mapping import sequence_name, topic_name

ID = "0123456789abcdef" * 4
START_NS = 1_700_000_000_250_000_000


@pytest.mark.parametrize(
    ("ros_name", "expected"),
    [
        ("/imu/data", "/imu/data"),
        ("tf", "/tf"),
        ("/_hidden", "/hidden"),
        ("/a.b", "/a_b"),
        ("~x", "/x"),
        ("/x//y/", "/x/y"),
        ("/x/_action/feedback", "/x/_action/feedback"),
        ("/größe", "/gr__e"),
        ("/0", "/0"),
        ("/", "/topic"),
        ("", "/topic"),
        ("/a b", "/a_b"),
    ],
)
def test_topic_name_is_accepted_by_the_platform(ros_name: str, expected: str) -> None:
    """What the platform refuses is replaced, what it takes stays."""
    assert topic_name(ros_name, ()) == expected


def test_topic_names_that_collapse_stay_apart() -> None:
    """Names that become one get a number each."""
    taken: set[str] = set()
    for ros_name in ("/a.b", "/a_b", "/a-b", "/a!b"):
        taken.add(topic_name(ros_name, taken))
    assert taken == {"/a_b", "/a_b_2", "/a-b", "/a_b_3"}


def test_topic_may_be_renamed_and_prefixed() -> None:
    """A chosen name replaces the recorded one and is cleaned likewise; a prefix goes before."""
    assert topic_name("/imu", (), rename="front imu") == "/front_imu"
    assert topic_name("/imu", (), prefix="car_7") == "/car_7/imu"
    assert topic_name("/imu", {"/imu"}, rename="/imu") == "/imu_2"


@given(st.text(), st.text(max_size=5), st.text(max_size=5))
def test_any_topic_name_passes_the_vendors_check(name: str, rename: str, prefix: str) -> None:
    """Whatever a recording calls a topic, the platform's own rule takes the result."""
    result = topic_name(name, (), rename=rename, prefix=prefix)
    assert result.isascii()
    vendor_helpers._validate_topic_name(result)
    assert "//" not in result
    assert not result.endswith("/")


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=10))
def test_any_sequence_name_passes_the_vendors_check(stem: str, start_ns: int, host: str) -> None:
    """Whatever a recording is called, the platform's own rule takes the result."""
    result = sequence_name(
        "{hostname}{stem}-{start}", stem=stem, start_ns=start_ns, identity=ID, hostname=host
    )
    assert result.isascii()
    vendor_helpers._validate_sequence_name(result)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}_{id}", "drive_01_0123456789ab"),
        ("{vehicle}_{stem}_{start:%Y%m%dT%H%M%SZ}", "car-7_drive_01_20231114T221320Z"),
        ("{start}", "20231114T221320Z"),
        ("{start:%H:%M}", "22_13"),
        ("{hostname}-{stem}", "logger-drive_01"),
        ("{number:03d}", "007"),
        ("__{stem}", "drive_01"),
        ("{{{stem}}}", "drive_01_"),
        ("!", "recording_0123456789ab"),
    ],
)
def test_template_is_filled_in(template: str, expected: str) -> None:
    """Fields come from the recording, the machine and the user's constants."""
    name = sequence_name(
        template,
        stem="drive 01",
        start_ns=START_NS,
        identity=ID,
        hostname="logger",
        constants={"vehicle": "car-7", "number": 7, "stem": "never"},
    )
    assert name == expected


def test_start_is_the_first_message_in_utc() -> None:
    """The date in a name is that of the record time, not of the machine's zone."""
    name = sequence_name("{start:%Y-%m-%d}", stem="", start_ns=START_NS, identity=ID)
    assert name == datetime.fromtimestamp(START_NS / 1e9, UTC).strftime("%Y-%m-%d")


def test_recording_without_messages_has_no_start() -> None:
    """Nothing is made up where there is no time, whatever the format."""
    assert sequence_name("{start:%Y}", stem="", start_ns=None, identity=ID) == "unknown"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{vehicle}", "no field {vehicle}"),
        ("{stem", "expected '}'"),
        ("{}", "no field {}"),
        ("{0}", "no field {0}"),
        ("{stem.__class__}", "no field {stem.__class__}"),
        ("{stem[0]}", "no field {stem[0]}"),
        ("{stem:d}", "Unknown format code"),
    ],
)
def test_bad_template_is_a_configuration_error(template: str, complaint: str) -> None:
    """The error names the setting, what is wrong with it and the possible fields."""
    with pytest.raises(ConfigError, match="sequence name template") as caught:
        sequence_name(template, stem="drive", start_ns=0, identity=ID)
    assert caught.value.key == "ingest.sequence_name"
    assert complaint in caught.value.message
    assert "{stem}" in caught.value.hint
