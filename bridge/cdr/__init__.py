"""Blocks of raw messages and a message definition -> Arrow columns. The hot path.

`parse_definition` turns definition text into a tree of types, `Decoder` compiles a plan for it
once, and `Decoder.decode` then runs whole blocks through numpy and Arrow, with no Python per
message. What cannot be decoded is dropped message by message and counted by reason.
"""

from bridge.cdr.blocks import copy_payloads, join_blocks, lie_together, merge_blocks
from bridge.cdr.decoder import Decoder
from bridge.errors import DecodeError, DefinitionError

__all__ = [
    "DecodeError",
    "Decoder",
    "DefinitionError",
    "copy_payloads",
    "join_blocks",
    "lie_together",
    "merge_blocks",
]
