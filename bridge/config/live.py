"""The settings in force while the daemon runs, in one place."""

from bridge.config.settings import Settings


class LiveSettings:
    """Holds the settings in force, which a reload replaces as a whole.

    Everything that has to follow a reload keeps this object and reads a setting where it uses it.
    May be read from any thread.

    Attributes:
        now: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.now = settings

    def adopt(self, settings: Settings) -> None:
        """Put other settings in force; those of the watched folders' names must be the same."""
        self.now = settings

    def inside(self, name: str) -> Settings:
        """Give the settings as they hold in a watched folder; an empty name for a single one."""
        return self.now.watched[name]
