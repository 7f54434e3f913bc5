"""Mosaico bag bridge: ROS 2 bags onto the Mosaico data platform, and a client for the platform.

The public names are those of `bridge.client`, the models of `bridge.ontology` and the errors of
`bridge.errors`. They are loaded on first use, so that commands which need none of them start fast.
"""

from importlib import import_module

from bridge.version import __version__ as __version__

# Type checkers take this name for what it is in `typing`, which takes its time to import. At run
# time `__getattr__` below does the same, lazily.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bridge.client import *  # noqa: F403
    from bridge.errors import *  # noqa: F403
    from bridge.ontology import *  # noqa: F403

_PARTS = ("bridge.client", "bridge.ontology", "bridge.errors")


def _public(part: str) -> "dict[str, Any]":
    """Give what a part offers: what its `__all__` lists, or what it defines itself."""
    found = import_module(part)
    names = getattr(found, "__all__", None) or [
        name for name, value in vars(found).items() if getattr(value, "__module__", "") == part
    ]
    return {name: getattr(found, name) for name in names}


def __getattr__(name: str) -> "Any":
    if not name.startswith("_"):
        for part in _PARTS:
            offered = _public(part)
            if name in offered:
                return offered[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__"}.union(*map(_public, _PARTS)))
