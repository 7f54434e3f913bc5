"""Mappings from other packages, found by entry point."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from bridge.errors import ConfigError
from bridge.mapping.table import Mapping

ENTRY_POINT_GROUP = "mosaico_bridge.mappings"


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
    mappings = (offered,) if isinstance(offered, Mapping) else offered
    if not isinstance(mappings, Iterable):
        raise _bad(point, f"is {type(offered).__name__}, not a Mapping or several")
    mappings = tuple(mappings)
    for mapping in mappings:
        if not isinstance(mapping, Mapping):
            raise _bad(point, f"offers {type(mapping).__name__}, not a Mapping")
    return mappings


def _bad(point: EntryPoint, complaint: str) -> ConfigError:
    package = "" if point.dist is None else f" of {point.dist.name}"
    return ConfigError(
        f"plug-in {point.name}{package} ({point.value}) {complaint}",
        key=f"entry point group {ENTRY_POINT_GROUP}",
        hint="repair the package or uninstall it",
    )
