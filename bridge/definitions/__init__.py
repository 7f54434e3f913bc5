"""Message definitions: finding them, parsing them, and the names of the types they define."""

from bridge.definitions.canonical import canonical_text
from bridge.definitions.names import DUMMY_MEMBER, STRINGS, WIDE, interface_of, normal_msgtype
from bridge.definitions.parse import parse_definition
from bridge.definitions.resolve import DefinitionSources, missing_definition_hint

__all__ = [
    "DUMMY_MEMBER",
    "STRINGS",
    "WIDE",
    "DefinitionSources",
    "canonical_text",
    "interface_of",
    "missing_definition_hint",
    "normal_msgtype",
    "parse_definition",
]
