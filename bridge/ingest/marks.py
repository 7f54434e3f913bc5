"""What a sequence says of its content: the bridge's own block in its metadata."""

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.client import SequenceHandler
from bridge.mapping import BRIDGE_KEY

PART_PREFIX = "p"
"""Goes before a part's identity as key of the metadata: a path step of digits may mean an index."""


def marks_of(handler: SequenceHandler) -> Mapping[str, Any]:
    """Give what the bridge that sent a sequence wrote into its metadata; empty for others'."""
    block = handler.user_metadata.get(BRIDGE_KEY)
    return block if isinstance(block, Mapping) else {}


def parts_as_metadata(parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give parts in the form in which a sequence's metadata names them.

    As keys, because every revision can be asked whether a key exists, and none before G2c what is
    in a list.

    Args:
        parts: Identity and file name of each.
    """
    return {PART_PREFIX + identity: name for identity, name in parts}


def parts_in(marks: Mapping[str, Any]) -> dict[str, str]:
    """Give the parts that a sequence's metadata names: file names by identity."""
    named = marks.get("parts")
    if not isinstance(named, Mapping):
        return {}
    return {str(key).removeprefix(PART_PREFIX): str(name) for key, name in named.items()}
