"""From decoded ROS fields to the platform's ontology: one plan per topic, pure functions inside."""

from bridge.mapping.choices import GENERIC, ImageFormat, TopicFilter, TopicOptions
from bridge.mapping.columns import absent, constant, lists, nullable, struct
from bridge.mapping.custom import CustomMapping, custom_mappings
from bridge.mapping.declarative import DeclarativeMapping
from bridge.mapping.metadata_keys import clean_key, clean_keys
from bridge.mapping.names import sequence_name, topic_names
from bridge.mapping.pieces import (
    covariance,
    header,
    motion,
    pose,
    quaternion,
    same_names,
    stamp,
    vector3,
)
from bridge.mapping.plan import MappedBlock, TopicPlan, plan_topic
from bridge.mapping.plugins import ENTRY_POINT_GROUP, plugin_mappings
from bridge.mapping.sampling import Downsampler
from bridge.mapping.sequence_metadata import BRIDGE_KEY, fill_placeholders, sequence_metadata
from bridge.mapping.sidecar import Sidecar, read_sidecar
from bridge.mapping.source import Source
from bridge.mapping.table import ALTERNATIVES, DEFAULT_MAPPINGS, Mapping

__all__ = [
    "ALTERNATIVES",
    "BRIDGE_KEY",
    "DEFAULT_MAPPINGS",
    "ENTRY_POINT_GROUP",
    "GENERIC",
    "CustomMapping",
    "DeclarativeMapping",
    "Downsampler",
    "ImageFormat",
    "MappedBlock",
    "Mapping",
    "Sidecar",
    "Source",
    "TopicFilter",
    "TopicOptions",
    "TopicPlan",
    "absent",
    "clean_key",
    "clean_keys",
    "constant",
    "covariance",
    "custom_mappings",
    "fill_placeholders",
    "header",
    "lists",
    "motion",
    "nullable",
    "plan_topic",
    "plugin_mappings",
    "pose",
    "quaternion",
    "read_sidecar",
    "same_names",
    "sequence_metadata",
    "sequence_name",
    "stamp",
    "struct",
    "topic_names",
    "vector3",
]
