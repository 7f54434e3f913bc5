"""The settings: one frozen tree, every default in one place, read once, checked once.

Sources, weakest first: the defaults, the TOML file, the environment
(`MOSAICO_BRIDGE_<SECTION>__<KEY>`), the overrides of the command line. Unknown keys are refused
wherever they come from.
"""

from bridge.facade import spared

# It imports asyncio for commands that are coroutines; ours are none. pydantic looks for plug-ins of
# its own, which the command line tells it not to. That is 3 MiB in each process and a fifth of the
# time in which a light command starts.
with spared("asyncio"), spared("importlib.metadata", "entry_points"):
    import pydantic_settings  # noqa: F401


from bridge.config.load import (
    CONFIG_FILE_VARIABLE,
    PLATFORM_VARIABLE,
    SERVICE_FOLDER,
    api_key,
    archive_secrets,
    find_settings_file,
    load_settings,
    secret_key,
    secrets,
    service_is_closed_to_us,
    vendor_server,
)
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
from bridge.config.settings import (
    ENVIRONMENT_PREFIX,
    BackfillSettings,
    ExpectSettings,
    FolderSettings,
    LiveSettings,
    Settings,
)
from bridge.config.uplink import PAUSED, UplinkSettings, day_of

__all__ = [
    "CONFIG_FILE_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "PAUSED",
    "PLATFORM_VARIABLE",
    "SERVICE_FOLDER",
    "BackfillSettings",
    "DefinitionSettings",
    "DisposalSettings",
    "EmbeddedSettings",
    "ExpectSettings",
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
    "WatchSettings",
    "WorkerSettings",
    "api_key",
    "archive_secrets",
    "day_of",
    "find_settings_file",
    "load_settings",
    "secret_key",
    "secrets",
    "service_is_closed_to_us",
    "vendor_server",
]
