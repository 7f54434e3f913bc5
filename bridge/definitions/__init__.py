"""Message definitions: finding them, parsing them, and the names of the types they define."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.definitions.names import (
        STRINGS,
        WIDE,
        interface_of,
        missing_definition_hint,
        normal_msgtype,
    )
    from bridge.definitions.resolve import Resolved, TypeResolver, parse_definition
    from bridge.definitions.sources import (
        IDL_ENCODINGS,
        MSG_ENCODINGS,
        UNDEFINED_ENCODINGS,
        DefinitionSources,
        embedded_definition,
        stock_type,
    )
    from bridge.definitions.tree import canonical_text, layout_of

__all__ = [
    "IDL_ENCODINGS",
    "MSG_ENCODINGS",
    "STRINGS",
    "UNDEFINED_ENCODINGS",
    "WIDE",
    "DefinitionSources",
    "Resolved",
    "TypeResolver",
    "canonical_text",
    "embedded_definition",
    "interface_of",
    "layout_of",
    "missing_definition_hint",
    "normal_msgtype",
    "parse_definition",
    "stock_type",
]

__getattr__ = on_first_use(__name__, __file__)
