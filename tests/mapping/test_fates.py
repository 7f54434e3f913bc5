"""Which column a field goes to, asked of every mapping."""

import pytest

from bridge.mapping import DEFAULT_MAPPINGS, TopicOptions, field_fates, plan_topic
from bridge.mapping.declarative import DeclarativeMapping
from tests.mapping.rosmsg import arrow_type, message_type, topic, typestore

STORE = typestore()


def fates(msgtype: str, ontology: str = "", table: dict[str, str] | None = None) -> object:
    definition = message_type(STORE, msgtype)
    kind = arrow_type(definition)
    custom = []
    if table is not None:
        custom = [
            DeclarativeMapping.from_table(
                {"ros_type": msgtype, "ontology": "Mine", "fields": table}
            )
        ]
    plan = plan_topic(
        topic(msgtype), definition, kind, options=TopicOptions(ontology=ontology), custom=custom
    )
    return field_fates(plan, kind)


def test_fields_of_an_imu() -> None:
    """Parts of vectors go to parts of vectors, matrices to lists."""
    found = fates("sensor_msgs/msg/Imu")
    assert isinstance(found, dict)
    assert found["header.stamp.sec"] == ("header.timestamp.seconds",)
    assert found["linear_acceleration.x"] == ("acceleration.x",)
    assert found["angular_velocity_covariance"] == ("angular_velocity.covariance",)


def test_fields_in_lists_and_fields_left_out() -> None:
    """Elements are marked; a field that nothing depends on has no column."""
    found = fates("radar_msgs/msg/RadarScan")
    assert isinstance(found, dict)
    assert found["returns[].range"] == ("x", "y", "z", "range")
    assert found["returns[].amplitude"] == ()
    transforms = fates("tf2_msgs/msg/TFMessage")
    assert isinstance(transforms, dict)
    assert transforms["transforms[].child_frame_id"] == ("transforms[].target_frame_id",)


def test_fields_of_generic_and_custom_mappings() -> None:
    """A generic topic keeps its names; a user's table is asked like any other mapping."""
    generic = fates("sensor_msgs/msg/Range")
    assert isinstance(generic, dict)
    assert all(columns == (field,) for field, columns in generic.items())
    custom = fates("sensor_msgs/msg/Range", table={"near.m": "range", "far": "max_range"})
    assert isinstance(custom, dict)
    assert (custom["range"], custom["max_range"], custom["variance"]) == (("near.m",), ("far",), ())


@pytest.mark.parametrize("msgtype", sorted(DEFAULT_MAPPINGS))
def test_every_mapping_can_be_asked(msgtype: str) -> None:
    """Fields that a plan says are left out go nowhere, and most others go somewhere."""
    definition = message_type(STORE, msgtype)
    kind = arrow_type(definition)
    plan = plan_topic(topic(msgtype), definition, kind)
    found = field_fates(plan, kind)
    assert found is not None
    for field in plan.left_out:
        inside = [columns for name, columns in found.items() if f"{name}.".startswith(f"{field}.")]
        assert not any(inside)
    assert any(found.values())


def test_a_state_that_hides_values_does_not_hide_where_they_go() -> None:
    """Without a fix a position is not a number; it is asked with a fix as well."""
    found = fates("px4_msgs/msg/SensorGps")
    assert isinstance(found, dict)
    assert found["latitude_deg"] == ("position.x",)
    assert found["altitude_msl_m"] == ()


def test_clouds_taken_apart_cannot_be_asked() -> None:
    """Where the fields' values decide, nothing is claimed."""
    assert fates("sensor_msgs/msg/PointCloud2", ontology="Lidar") is None
