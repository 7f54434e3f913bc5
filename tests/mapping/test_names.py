"""Names of sequences and topics, judged by the vendor's checks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mosaicolabs.handlers import helpers as vendor_helpers

from bridge.errors import ConfigError
from bridge.mapping import sequence_name, topic_names

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
    assert topic_names([(ros_name, "")]) == [expected]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (["/a.b", "/a_b", "/a-b", "/a!b"], ["/a_b_2", "/a_b", "/a-b", "/a_b_3"]),
        (["odom", "/odom"], ["/odom_2", "/odom"]),
        (["/t", "/t", "/t_2"], ["/t", "/t_3", "/t_2"]),
        (["/t", "/t", "/t", "/t_3"], ["/t", "/t_2", "/t_4", "/t_3"]),
        (["a b", "a_b"], ["/a_b_2", "/a_b"]),
        (["/a.b", "/a.b_2", "/a!b"], ["/a_b", "/a_b_2", "/a_b_3"]),
    ],
)
def test_acceptable_names_are_kept_by_those_who_have_them(
    recorded: list[str], expected: list[str]
) -> None:
    """Topics that have to be renamed take the first free name, whatever their order."""
    assert topic_names([(name, "") for name in recorded]) == expected


def test_topic_may_be_renamed_and_prefixed() -> None:
    """A chosen name replaces the recorded one and is cleaned likewise; a prefix goes before."""
    assert topic_names([("/imu", "front imu")]) == ["/front_imu"]
    assert topic_names([("/imu", "")], prefix="car_7") == ["/car_7/imu"]
    assert topic_names([("/gyro", "/imu"), ("/imu", "")]) == ["/imu_2", "/imu"]
    assert topic_names([("/a.b", ""), ("/gyro", "a_b")]) == ["/a_b_2", "/a_b"]


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=3))), st.text(max_size=5))
def test_any_topic_name_passes_the_vendors_check(
    recorded: list[tuple[str, str]], prefix: str
) -> None:
    """Whatever a recording calls its topics, the platform's own rule takes the results."""
    names = topic_names(recorded, prefix=prefix)
    assert len(set(names)) == len(recorded)
    for name in names:
        assert name.isascii()
        vendor_helpers._validate_topic_name(name)
        assert "//" not in name


def test_many_topics_of_one_name_are_named_quickly() -> None:
    """The search for a free number does not start over for each topic."""
    names = topic_names([("/t", "")] * 20_000)
    assert names[-1] == "/t_20000"


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
