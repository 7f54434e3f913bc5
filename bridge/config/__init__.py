"""The settings: one frozen tree, every default in one place, read once, checked once.

Sources, weakest first: the defaults, the TOML file, the environment
(`MOSAICO_BRIDGE_<SECTION>__<KEY>`), the overrides of the command line. Unknown keys are refused
wherever they come from.
"""

from bridge.config.load import CONFIG_FILE_VARIABLE, load_settings
from bridge.config.sections import (
    DefinitionSettings,
    DisposalSettings,
    EmbeddedSettings,
    HttpSettings,
    IngestSettings,
    LogSettings,
    NotificationSettings,
    ReadingSettings,
    RetrySettings,
    ServerSettings,
    StateSettings,
    TopicSettings,
    WatchSettings,
    WorkerSettings,
)
from bridge.config.settings import ENVIRONMENT_PREFIX, FolderSettings, LiveSettings, Settings
from bridge.config.uplink import (
    MINUTES_PER_DAY,
    UplinkSettings,
    UplinkSpan,
    minute_of_day,
    weekdays,
)

__all__ = [
    "CONFIG_FILE_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "MINUTES_PER_DAY",
    "DefinitionSettings",
    "DisposalSettings",
    "EmbeddedSettings",
    "FolderSettings",
    "HttpSettings",
    "IngestSettings",
    "LiveSettings",
    "LogSettings",
    "NotificationSettings",
    "ReadingSettings",
    "RetrySettings",
    "ServerSettings",
    "Settings",
    "StateSettings",
    "TopicSettings",
    "UplinkSettings",
    "UplinkSpan",
    "WatchSettings",
    "WorkerSettings",
    "load_settings",
    "minute_of_day",
    "weekdays",
]
