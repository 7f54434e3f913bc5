"""What a part offers, loaded on first use, so that a command pays only for what it needs.

A part's `__init__` lists its imports below `if TYPE_CHECKING:`, where type checkers and editors see
them; at run time the same lines say where each name is to be had.
"""

import ast
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path


def on_first_use(part: str, file: str) -> Callable[[str], object]:
    """Make the `__getattr__` of a part.

    Args:
        part: Its `__name__`.
        file: Its `__file__`.
    """

    @cache
    def homes() -> dict[str, str]:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        return {
            alias.asname or alias.name: node.module
            for block in tree.body
            if isinstance(block, ast.If)
            for node in block.body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    def load(name: str) -> object:
        home = None if name.startswith("_") else homes().get(name)
        if home is None:
            raise AttributeError(f"module {part!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        # From now on the name is found without this function.
        setattr(import_module(part), name, value)
        return value

    return load
