"""The user's own mappings: tables of the settings file first, then plug-ins."""

from collections.abc import Mapping as Table
from collections.abc import Sequence
from typing import Any

from bridge.mapping.declarative import DeclarativeMapping
from bridge.mapping.plugins import plugin_mappings
from bridge.mapping.table import Mapping

CustomMapping = Mapping | DeclarativeMapping


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
        DeclarativeMapping.from_table(table, key=f"mappings.{index}")
        for index, table in enumerate(tables)
    ]
    return (*written, *(plugin_mappings() if plugins else ()))
