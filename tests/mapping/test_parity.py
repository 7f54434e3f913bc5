"""Our columns against the vendor's adapters, message by message, for every type they list."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores

from bridge.mapping import DEFAULT_MAPPINGS, plan_topic
from tests.mapping.rosmsg import arrow_type, decoded, message_type, messages, topic, typestore
from tests.mapping.vendor import ADAPTERS, canonical, rows_of, unpacked, vendor_rows

OURS_ALONE = {"sensor_msgs/msg/Range", "sensor_msgs/msg/NavSatStatus"}

GENERATED = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_every_type_of_the_vendor_is_in_the_table() -> None:
    """The table lists the vendor's 63 types under the vendor's tags, and two of our own."""
    theirs = {
        name: adapter.ontology_data_type().ontology_tag() for name, adapter in ADAPTERS.items()
    }
    ours = {name: mapping.model.tag for name, mapping in DEFAULT_MAPPINGS.items()}

    assert len(theirs) == 63
    assert {name: tag for name, tag in ours.items() if name not in OURS_ALONE} == theirs
    assert set(ours) - set(theirs) == OURS_ALONE


def compare(distro: Stores, msgtype: str, sample: list[Any], spare_rows: int) -> None:
    """Map messages on both sides; what the vendor refuses we drop, the rest is equal."""
    store = typestore(distro)
    definition = message_type(store, msgtype)
    plan = plan_topic(topic(msgtype), definition, arrow_type(definition))
    assert (plan.kind, plan.reason) == ("mapped", "")

    block = plan.apply(decoded(store, msgtype, sample, spare_rows=spare_rows))
    ours, theirs = rows_of(block), vendor_rows(msgtype, sample)
    if msgtype == "sensor_msgs/msg/Image":
        ours, theirs = [unpacked(row) for row in ours], [unpacked(row) for row in theirs]

    assert canonical(ours) == canonical(theirs)
    assert sum(block.dropped.values()) == len(sample) - len(theirs)


@pytest.mark.parametrize("msgtype", sorted(ADAPTERS))
def test_rows_equal_the_vendors(msgtype: str) -> None:
    """Any ROS 2 message gives the vendor's row, or is dropped where the vendor raises."""

    @GENERATED
    @given(st.lists(messages(typestore(), msgtype), min_size=1, max_size=5), st.integers(0, 1))
    def check(sample: list[Any], spare_rows: int) -> None:
        if msgtype == "sensor_msgs/msg/CameraInfo":
            # The vendor refuses an uncalibrated camera; we do not, see test_differences.
            sample = [message for message in sample if len(message.d)]
        compare(Stores.ROS2_JAZZY, msgtype, sample, spare_rows)

    check()
