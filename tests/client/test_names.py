"""Names of sequences and topics, and what is refused before it is sent."""

import pytest

from bridge.client.text import sequence_name, split_locator, topic_locator, topic_name
from bridge.errors import RejectedError


@pytest.mark.parametrize(
    ("sequence", "topic", "locator"),
    [
        ("run_01", "/camera/front/image_raw", "run_01/camera/front/image_raw"),
        ("run_01", "imu", "run_01/imu"),
        ("/run-1", "/imu", "run-1/imu"),
    ],
)
def test_names_join_and_split(sequence: str, topic: str, locator: str) -> None:
    """A locator has no leading slash, a topic's name has one, whatever was given."""
    assert topic_locator(sequence, topic) == locator
    assert split_locator(locator) == (sequence.strip("/"), "/" + topic.strip("/"))


@pytest.mark.parametrize("name", ["", "/", "a b", "a.b", "a/b", "a:b", "café", "a\n", "//a", "a£"])
def test_bad_sequence_names_are_refused(name: str) -> None:
    """What one revision refuses and another silently alters is refused by us on all."""
    with pytest.raises(RejectedError) as caught:
        sequence_name(name)
    assert caught.value.resource == name
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "/", "a//b", "a/", "//a", "/a.b", "/a b", "/a:b"])
def test_bad_topic_names_are_refused(name: str) -> None:
    """Slashes are only allowed between the parts of a topic's name."""
    with pytest.raises(RejectedError):
        topic_name(name)
