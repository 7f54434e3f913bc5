"""Our columns against the vendor's adapters, message by message, for every type they list."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mosaicolabs.models.core.message import Message
from rosbags.typesys import Stores
from rosbags.typesys.store import Typestore

from bridge.mapping import DEFAULT_MAPPINGS, MappedBlock, plan_topic
from bridge.mapping.table import FLEET_MAPPINGS
from tests.mapping.recorded import definition_text, serialised, through_decoder
from tests.mapping.rosmsg import (
    arrow_type,
    decoded,
    message_type,
    messages,
    topic,
    typestore,
)
from tests.mapping.vendor import ADAPTERS, canonical, rows_of, unpacked, vendor_rows

OURS_ALONE = {"sensor_msgs/msg/NavSatStatus"} | {mapping.ros_type for mapping in FLEET_MAPPINGS}

NOETIC = typestore(Stores.ROS1_NOETIC)

GENERATED = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_every_type_of_the_vendor_is_in_the_table() -> None:
    """The table lists the vendor's 63 types under the vendor's tags, and those of fleets."""
    theirs = {
        name: adapter.ontology_data_type().ontology_tag() for name, adapter in ADAPTERS.items()
    }
    ours = {name: mapping.model.tag for name, mapping in DEFAULT_MAPPINGS.items()}

    assert len(theirs) == 63
    assert {name: tag for name, tag in ours.items() if name not in OURS_ALONE} == theirs
    assert set(ours) - set(theirs) == OURS_ALONE


def compare(
    store: Typestore, msgtype: str, sample: list[Any], spare_rows: int = 0
) -> list[dict[str, Any]]:
    """Map messages on both sides; what the vendor refuses we drop, the rest is equal."""
    definition = message_type(store, msgtype)
    plan = plan_topic(topic(msgtype), definition, arrow_type(definition))
    assert (plan.kind, plan.reason) == ("mapped", "")
    return judge(plan.apply(decoded(store, msgtype, sample, spare_rows=spare_rows)), sample)


def judge(block: MappedBlock, sample: list[Any]) -> list[dict[str, Any]]:
    """Compare a mapped block with the vendor's rows for the same messages."""
    msgtype = sample[0].__msgtype__
    ours, theirs = rows_of(block), vendor_rows(msgtype, sample)
    if msgtype == "sensor_msgs/msg/Image":
        ours, theirs = [unpacked(row) for row in ours], [unpacked(row) for row in theirs]

    assert canonical(ours) == canonical(theirs)
    assert sum(block.dropped.values()) == len(sample) - len(theirs)
    return ours


def comparable(message: Any) -> bool:
    """Whether the vendor takes what we take: no ROS 2 camera without distortion, no odd codec."""
    if message.__msgtype__ == "sensor_msgs/msg/CompressedImage":
        words = message.format.split()
        transports = {"compressed", "compressedDepth"} & set(words)
        return len(words) == 1 or len(transports) == 1
    return not (hasattr(message, "d") and hasattr(message, "roi") and len(message.d) == 0)


def has_early_stamp(value: Any) -> bool:
    """Whether a time is before 1970: on the wire of ROS 1, which has no sign, it is after 2038."""
    if isinstance(value, list):
        return any(map(has_early_stamp, value))
    if not hasattr(value, "__msgtype__"):
        return False
    if value.__msgtype__ == "builtin_interfaces/msg/Time":
        return bool(value.sec < 0)
    return any(map(has_early_stamp, vars(value).values()))


@pytest.mark.parametrize("msgtype", sorted(ADAPTERS))
def test_rows_equal_the_vendors(msgtype: str) -> None:
    """Any ROS 2 message gives the vendor's row, or is dropped where the vendor raises."""
    strategy = messages(typestore(), msgtype).filter(comparable)

    @GENERATED
    @given(st.lists(strategy, min_size=1, max_size=5), st.integers(0, 1))
    def check(sample: list[Any], spare_rows: int) -> None:
        compare(typestore(), msgtype, sample, spare_rows)

    check()


@pytest.mark.parametrize("msgtype", sorted(set(ADAPTERS) & set(NOETIC.types)))
def test_rows_equal_the_vendors_for_ros_1(msgtype: str) -> None:
    """Any ROS 1 message does too: sequence numbers, capital matrices, cameras not calibrated."""

    @GENERATED
    @given(st.lists(messages(NOETIC, msgtype).filter(comparable), min_size=1, max_size=4))
    def check(sample: list[Any]) -> None:
        compare(NOETIC, msgtype, sample)

    check()


FROM_BYTES = [(msgtype, False) for msgtype in sorted(ADAPTERS)] + [
    (msgtype, True) for msgtype in sorted(set(ADAPTERS) & set(NOETIC.types))
]


@pytest.mark.parametrize(("msgtype", "ros1"), FROM_BYTES)
def test_rows_equal_the_vendors_from_bytes(msgtype: str, ros1: bool) -> None:  # noqa: FBT001
    """The same holds for messages that took the real way through the decoder."""
    store = NOETIC if ros1 else typestore()

    strategy = messages(store, msgtype).filter(comparable)
    if ros1:
        strategy = strategy.filter(lambda message: not has_early_stamp(message))

    @settings(GENERATED, max_examples=10)
    @given(st.lists(strategy, min_size=1, max_size=4))
    def check(sample: list[Any]) -> None:
        _, decoded_block, block = through_decoder(
            msgtype,
            definition_text(store, msgtype, ros1=ros1),
            [serialised(store, message, ros1=ros1) for message in sample],
            encoding="ros1msg" if ros1 else "ros2msg",
        )
        assert not decoded_block.dropped
        judge(block, sample)

    check()


@pytest.mark.parametrize("msgtype", ["nav_msgs/msg/Path", "sensor_msgs/msg/JointState"])
def test_long_sequences_equal_the_vendors(msgtype: str) -> None:
    """Sequences of thousands of elements, some of them empty, keep their boundaries."""
    types = typestore().types
    rng = np.random.default_rng(4)
    sample: list[Any] = []
    for size in (0, 3000, 0, 1, 2000):
        head = types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=size, nanosec=0), frame_id="f" * size
        )
        if msgtype == "sensor_msgs/msg/JointState":
            names = [f"joint_{index}" for index in range(size)]
            numbers = (rng.random(size), rng.random(size // 2), rng.random(0))
            sample.append(types[msgtype](head, names, *numbers))
            continue
        poses = [
            types["geometry_msgs/msg/PoseStamped"](
                head,
                types["geometry_msgs/msg/Pose"](
                    types["geometry_msgs/msg/Point"](*rng.random(3)),
                    types["geometry_msgs/msg/Quaternion"](*rng.random(4)),
                ),
            )
            for _ in range(size)
        ]
        sample.append(types[msgtype](head, poses))

    assert len(compare(typestore(), msgtype, sample, spare_rows=1)) == 5


@pytest.mark.parametrize("msgtype", sorted(DEFAULT_MAPPINGS))
def test_vendor_reads_our_rows_as_its_models(msgtype: str) -> None:
    """The vendor's SDK builds its typed object from our row, with the values of the row."""

    @settings(GENERATED, max_examples=10)
    @given(messages(typestore(), msgtype))
    def check(message: Any) -> None:
        definition = message_type(typestore(), msgtype)
        plan = plan_topic(topic(msgtype), definition, arrow_type(definition))
        block = plan.apply(decoded(typestore(), msgtype, [message]))
        if block.batch.num_rows == 0:
            return
        read = Message._from_pa_record_batch(block.batch, plan.model.tag)
        assert canonical(read._to_pa_record_batch().to_pylist()) == canonical(rows_of(block))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("msgtype", sorted(ADAPTERS))
def test_rows_equal_the_vendors_for_long(msgtype: str) -> None:
    """As above, with many more messages."""
    strategy = messages(typestore(), msgtype).filter(comparable)

    @settings(GENERATED, max_examples=200)
    @given(st.lists(strategy, min_size=1, max_size=8), st.integers(0, 2))
    def check(sample: list[Any], spare_rows: int) -> None:
        compare(typestore(), msgtype, sample, spare_rows)

    check()
