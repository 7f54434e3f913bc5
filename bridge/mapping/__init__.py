"""From decoded ROS fields to the platform's ontology: one plan per topic, pure functions inside."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.mapping.choices import GENERIC, Downsampler, ImageFormat, TopicFilter, TopicOptions
    from bridge.mapping.declarative import DeclarativeMapping
    from bridge.mapping.fates import Fates, field_fates
    from bridge.mapping.metadata import (
        Sidecar,
        clean_key,
        clean_keys,
        fill_placeholders,
        read_sidecar,
        sequence_metadata,
        sidecars_of,
    )
    from bridge.mapping.names import BRIDGE_KEY, sequence_name, topic_names
    from bridge.mapping.plan import (
        ChosenMapping,
        MappedBlock,
        TopicPlan,
        choose_mapping,
        plan_topic,
    )
    from bridge.mapping.plugins import (
        ENTRY_POINT_GROUP,
        CustomMapping,
        custom_mappings,
        plugin_mappings,
    )
    from bridge.mapping.source import LEFT_OUT, Note
    from bridge.mapping.table import ALTERNATIVES, DEFAULT_MAPPINGS

__all__ = [
    "ALTERNATIVES",
    "BRIDGE_KEY",
    "DEFAULT_MAPPINGS",
    "ENTRY_POINT_GROUP",
    "GENERIC",
    "LEFT_OUT",
    "ChosenMapping",
    "CustomMapping",
    "DeclarativeMapping",
    "Downsampler",
    "Fates",
    "ImageFormat",
    "MappedBlock",
    "Note",
    "Sidecar",
    "TopicFilter",
    "TopicOptions",
    "TopicPlan",
    "choose_mapping",
    "clean_key",
    "clean_keys",
    "custom_mappings",
    "field_fates",
    "fill_placeholders",
    "plan_topic",
    "plugin_mappings",
    "read_sidecar",
    "sequence_metadata",
    "sequence_name",
    "sidecars_of",
    "topic_names",
]

__getattr__ = on_first_use(__name__, __file__)
