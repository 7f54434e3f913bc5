"""The whole tree of settings with folders in it, those in force, and tables that need the tree."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    Section,
    ServerSettings,
    StateSettings,
    TopicSettings,
    WatchSettings,
    WorkerSettings,
)
from bridge.config.uplink import UplinkSettings
from bridge.units import MEBIBYTE

OVERRIDABLE = ("watch", "ingest", "topics", "expect", "metadata", "disposal")
"""The tables that a folder may set keys of."""


class ExpectSettings(Section):
    """What is expected of the topics that a pattern matches; what is not set expects nothing."""

    min_hz: float | None = Field(
        None,
        gt=0,
        description="The least messages per second, from the topic's first message to its last; "
        "where it is silent for more than a second at the start or end of the recording, that "
        "time counts too.",
    )
    max_gap_s: float | None = Field(
        None,
        gt=0,
        description="The longest time without a message, silence at the start and end of the "
        "recording included where it lasts more than a second.",
    )
    max_delay_ms: float | None = Field(
        None,
        description="The most that a message may be recorded after the stamp in its header; one "
        "in a hundred may be later.",
    )
    max_repeated_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The largest share of messages, 0 to 1, that equal the one before but for the "
        "stamp in their header.",
    )
    max_lost: int | None = Field(
        None, ge=0, description="The most messages that the recorder itself may report lost."
    )
    required: bool = Field(
        default=False,
        description="Every recording must have such a topic, and messages in each that it has.",
    )


class FolderSettings(Section):
    """One watched folder; what it does not set is as in the main tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="The folder.")
    watch: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [watch] but `folder` that differ here."
    )
    ingest: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [ingest] that differ here."
    )
    topics: dict[str, Any] = Field(
        default_factory=dict, description="Patterns of [topics] that are added or differ here."
    )
    expect: dict[str, Any] = Field(
        default_factory=dict, description="Patterns of [expect] that are added or differ here."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [metadata] that are added or differ here."
    )
    disposal: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [disposal] that differ here."
    )


class FolderSettingsError(ValueError):
    """What is wrong with the settings of one folder.

    Attributes:
        name: The folder's name.
        error: What was found, by keys as in the main tables.
    """

    def __init__(self, name: str, error: ValidationError) -> None:
        super().__init__(f"folders.{name}: {error}")
        self.name, self.error = name, error


def laid_over(main: Mapping[str, Any], folder: FolderSettings) -> dict[str, Any]:
    """Give all settings as they hold in one folder, as plain values.

    Args:
        main: The main tables, as plain values.
        folder: What differs.

    Raises:
        ValueError: The folder sets `watch.folder` beside its path.
    """
    if "folder" in folder.watch:
        raise ValueError("watch.folder is what `path` says; leave it out")
    over = {name: getattr(folder, name) for name in OVERRIDABLE}
    over["watch"] = {**folder.watch, "folder": folder.path}
    laid = {name: {**main[name], **over[name]} for name in OVERRIDABLE}
    # Of topic patterns the first that matches decides, so the folder's own go first.
    for name in ("topics", "expect"):
        laid[name] = {**over[name], **main[name], **over[name]}
    return {**main, **laid, "folders": {}}


def overlap(folders: Mapping[str, Path]) -> str:
    """Say which two folders lie in each other; empty where none do."""
    names = sorted(folders)
    for name in names:
        for other in names:
            inner, outer = folders[name].absolute(), folders[other].absolute()
            if name != other and inner.is_relative_to(outer):
                return f"folders.{name} = {inner} lies in folders.{other} = {outer}"
    return ""


class BackfillSettings(Section):
    """An archive that `backfill` reads: how to get at it, and how much of a machine that takes.

    What is empty is found as the stores' own clients find it. None of it is used for the platform.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(
        "",
        description="Where the store listens, as https://host:port, where that is not its "
        "provider's usual place.",
    )
    region: str = Field("", description="S3 region; empty finds out.")
    access_key: str = Field("", description="S3 access key id.")
    secret_key: SecretStr | None = Field(
        None, description="S3 secret key. Better kept in a file, or left to the client's own means."
    )
    secret_key_file: Path | None = Field(None, description="File that holds the S3 secret key.")
    session_token: SecretStr | None = Field(None, description="S3 session token.")
    account_key: SecretStr | None = Field(None, description="Azure account key.")
    sas_token: SecretStr | None = Field(None, description="Azure SAS token.")
    anonymous: bool = Field(default=False, description="Read S3 or Google storage without a key.")
    settle_s: float = Field(
        300.0,
        ge=0,
        description="A recording with a file that is younger than this may still be written and "
        "is left for the next run.",
    )
    scratch_folder: Path | None = Field(
        None, description="Where copies are made; by default the folder backfill in state.folder."
    )
    scratch_bytes_max: int = Field(
        20 * 1024 * MEBIBYTE,
        gt=0,
        description="The most bytes of copies of all jobs of a machine that share the folder.",
    )
    uploads_max: int = Field(
        4, ge=1, description="The most recordings that all jobs of a machine send at the same time."
    )
    offline_s: float = Field(
        3600.0, ge=0, description="How long the platform may be away before a run ends."
    )
    takeover_s: float = Field(
        900.0,
        gt=0,
        description="An unfinished upload by another machine that has not changed for this long "
        "counts as left behind, and is done again.",
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of the run's own metrics, at http.host; 0 for none."
    )


ENVIRONMENT_PREFIX = "MOSAICO_BRIDGE_"


class Settings(BaseSettings):
    """All settings.

    Raises:
        ConfigError: by `load_settings`, which is how to make one.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    watch: WatchSettings = WatchSettings()
    folders: dict[str, FolderSettings] = Field(
        default_factory=dict,
        description="Several watched folders, each by a name of its own, with what differs in it "
        "from the main tables. With any, watch.folder itself is not watched.",
    )
    server: ServerSettings = ServerSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    ingest: IngestSettings = IngestSettings()
    topics: dict[str, TopicSettings] = Field(
        default_factory=dict, description="Per-topic choices: pattern = { choices }."
    )
    expect: dict[str, ExpectSettings] = Field(
        default_factory=dict,
        description="What is expected of topics: pattern = { expectations }, the first pattern "
        "that matches decides. What falls short is a finding: it is reported, counted and shown, "
        "and holds nothing up.",
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Constants for every sequence's metadata; ${NAME} is taken from the "
        "environment, {hostname} is the machine's name.",
    )
    mappings: tuple[dict[str, Any], ...] = Field(
        (), description="Custom mappings of ROS types to ontology models; see docs/mapping.md."
    )
    reading: ReadingSettings = ReadingSettings()
    definitions: DefinitionSettings = DefinitionSettings()
    state: StateSettings = StateSettings()
    retry: RetrySettings = RetrySettings()
    workers: WorkerSettings = WorkerSettings()
    uplink: UplinkSettings = UplinkSettings()
    disposal: DisposalSettings = DisposalSettings()
    http: HttpSettings = HttpSettings()
    notifications: NotificationSettings = NotificationSettings()
    log: LogSettings = LogSettings()
    backfill: BackfillSettings = BackfillSettings()

    @model_validator(mode="after")
    def _folders_do_not_overlap(self) -> "Settings":
        watched = self.watch.folder.absolute()
        inside = {"state.folder": self.state.folder, "disposal.archive_folder": None}
        inside["disposal.archive_folder"] = self.disposal.archive_folder
        inside["disposal.quarantine_folder"] = self.disposal.quarantine_folder
        for key, folder in inside.items():
            if folder is not None and folder.absolute().is_relative_to(watched):
                raise ValueError(f"{key} = {folder} lies inside watch.folder = {watched}")
        if self.disposal.mode == "move" and self.disposal.archive_folder is None:
            raise ValueError("disposal.mode = move needs disposal.archive_folder")
        return self

    @model_validator(mode="after")
    def _emergency_is_meant(self) -> "Settings":
        disposal = self.disposal
        if not disposal.emergency:
            return self
        if self.uses_embedded_server:
            raise ValueError("disposal.emergency needs a platform: server.host is not set")
        if disposal.mode != "keep" and disposal.free_min_bytes <= disposal.emergency_free_min_bytes:
            raise ValueError(
                "disposal.emergency_free_min_bytes must be less than disposal.free_min_bytes, "
                "so that what arrived goes first"
            )
        return self

    @model_validator(mode="after")
    def _folders_are_sound(self) -> "Settings":
        if not self.folders:
            return self
        if self.watch.folder != WatchSettings().folder:
            raise ValueError("watch.folder and [folders] are both set; give each folder a table")
        if found := overlap({name: folder.path for name, folder in self.folders.items()}):
            raise ValueError(found)
        for name, settings in self.watched.items():
            for place in (settings.disposal.archive_folder, settings.disposal.quarantine_folder):
                for other, folder in self.folders.items():
                    if place and place.absolute().is_relative_to(folder.path.absolute()):
                        raise ValueError(f"folders.{name} puts files into folders.{other}: {place}")
        return self

    @cached_property
    def watched(self) -> Mapping[str, "Settings"]:
        """The watched folders by name, each with the settings that hold in it.

        A single folder, set by `watch.folder`, has an empty name.

        Raises:
            FolderSettingsError: A folder sets an unknown key or a wrong value.
        """
        if not self.folders:
            return {"": self}
        main = self.model_dump()
        found = {}
        for name, folder in self.folders.items():
            try:
                found[name] = Settings.model_validate(laid_over(main, folder))
            except ValidationError as error:
                raise FolderSettingsError(name, error) from error
        return found

    @property
    def uses_embedded_server(self) -> bool:
        """Whether no platform is configured."""
        return not self.server.host


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
