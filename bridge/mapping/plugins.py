"""The user's own mappings: tables of the settings file first, then those of other packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Table
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.errors import ConfigError
from bridge.facade import later

if TYPE_CHECKING:
    from bridge.mapping.declarative import DeclarativeMapping
    from bridge.mapping.table import Mapping

# That there are none, as nearly everywhere, is found out without Arrow.
declarative = later("bridge.mapping.declarative")
table = later("bridge.mapping.table")

ENTRY_POINT_GROUP = "mosaico_bridge.mappings"

CustomMapping: TypeAlias = "Mapping | DeclarativeMapping"


def custom_mappings(
    tables: Sequence[Table[str, Any]], *, plugins: bool = True
) -> tuple[CustomMapping, ...]:
    """Collect the mappings that go before the built-in ones.

    Args:
        tables: `mappings` of the settings, in order.
        plugins: Whether to load those of installed packages too.

    Raises:
        ConfigError: A table or a plug-in is wrong.
    """
    written = [
        declarative.DeclarativeMapping.from_table(table, key=f"mappings.{index}")
        for index, table in enumerate(tables)
    ]
    return (*written, *(plugin_mappings() if plugins else ()))


def plugin_mappings() -> tuple[Mapping, ...]:
    """Load the mappings that installed packages offer, in order of their entry points' names.

    An entry point names a `Mapping` or an iterable of them.

    Raises:
        ConfigError: One cannot be loaded, or is something else.
    """
    found = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return tuple(mapping for point in found for mapping in _loaded(point))


def _loaded(point: EntryPoint) -> Iterable[Mapping]:
    try:
        offered = point.load()
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise _bad(point, f"cannot be loaded: {error!r}") from error
    mappings = (offered,) if isinstance(offered, table.Mapping) else offered
    if not isinstance(mappings, Iterable):
        raise _bad(point, f"is {type(offered).__name__}, not a Mapping or several")
    mappings = tuple(mappings)
    for mapping in mappings:
        if not isinstance(mapping, table.Mapping):
            raise _bad(point, f"offers {type(mapping).__name__}, not a Mapping")
    return mappings


def _bad(point: EntryPoint, complaint: str) -> ConfigError:
    package = "" if point.dist is None else f" of {point.dist.name}"
    return ConfigError(
        f"plug-in {point.name}{package} ({point.value}) {complaint}",
        key=f"entry point group {ENTRY_POINT_GROUP}",
        hint="repair the package or uninstall it",
    )
