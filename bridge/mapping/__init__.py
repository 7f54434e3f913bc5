"""From decoded ROS fields to the platform's ontology: one plan per topic, pure functions inside."""

from bridge.mapping.options import GENERIC, ImageFormat, TopicOptions
from bridge.mapping.plan import MappedBlock, TopicPlan, plan_topic
from bridge.mapping.sampling import Downsampler
from bridge.mapping.table import ALTERNATIVES, DEFAULT_MAPPINGS, Mapping

__all__ = [
    "ALTERNATIVES",
    "DEFAULT_MAPPINGS",
    "GENERIC",
    "Downsampler",
    "ImageFormat",
    "MappedBlock",
    "Mapping",
    "TopicOptions",
    "TopicPlan",
    "plan_topic",
]
