"""What a part offers, loaded on first use, so that a command pays only for what it needs.

A part's `__init__` lists its imports below `if TYPE_CHECKING:`, where type checkers and editors see
them; at run time the same lines say where each name is to be had.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


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


class _Later(ModuleType):
    """Stands in for a module until something of it is used; of a function, until it is called."""

    def __init__(self, name: str, *functions: str) -> None:
        super().__init__(name)
        # To import functions by name asks for the path of submodules, too; let there be none.
        self.__dict__.update({"__path__": []} if functions else {})
        self.__dict__.update({each: partial(self._call, each) for each in functions})

    def __getattr__(self, name: str) -> object:
        # What the import system and debuggers ask all modules for is no use, but for these two.
        if name.startswith("__") and name not in {"__path__", "__all__"}:
            raise AttributeError(f"module {self.__name__!r} is not loaded yet")
        module = self._loaded()
        self.__dict__.update(vars(module))
        return getattr(module, name)

    def _call(self, function: str, *given: Any, **named: Any) -> Any:
        return getattr(self._loaded(), function)(*given, **named)

    def _loaded(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)


def later(module: str) -> Any:
    """Give a module that is loaded when something of it is used."""
    return _Later(module)


@contextmanager
def spared(module: str, *functions: str) -> Iterator[None]:
    """Have what is imported in the block get a module only once something of it is used.

    For what a library imports and we do not use. Imports behind the block are as ever.

    Args:
        module: Its name.
        functions: What may be imported from it by name without loading it; a call loads it.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = _Later(module, *functions)
    try:
        yield
    finally:
        if isinstance(sys.modules.get(module), _Later):
            del sys.modules[module]
