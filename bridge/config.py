"""The settings: one frozen tree, every default in one place, read once, checked once.

Sources, weakest first: the defaults here, the TOML file, the environment
(`MOSAICO_BRIDGE_<SECTION>__<KEY>`), the overrides of the command line. Unknown keys are refused
wherever they come from. Only this file reads settings from files and the environment; the other
parts take plain arguments.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bridge.errors import ConfigError

ENVIRONMENT_PREFIX = "MOSAICO_BRIDGE_"
CONFIG_FILE_VARIABLE = "MOSAICO_BRIDGE_CONFIG"

Seconds = Annotated[float, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
MEBIBYTE = 1024 * 1024


class Section(BaseModel):
    """A table of the settings file; frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WatchSettings(Section):
    """The folder that the recorder writes into, and when a recording counts as complete."""

    folder: Path = Field(Path("recordings"), description="Folder that recordings appear in.")
    recursive: bool = Field(default=True, description="Look into subfolders too.")
    settle_s: Seconds = Field(
        5.0,
        description="Quiet time before a closed recording is taken, where nothing proves that "
        "nobody has it open any more.",
    )
    stale_s: Seconds = Field(
        300.0,
        description="Quiet time before a recording without a proper end, which nobody has open, "
        "counts as cut off and is salvaged.",
    )
    rescan_interval_s: PositiveSeconds = Field(
        10.0, description="Time between full looks at the folder; events only make it sooner."
    )
    ignore: tuple[str, ...] = Field(
        (), description="Glob patterns, relative to the folder, of paths never to touch."
    )
    first: tuple[str, ...] = Field(
        (),
        description="Glob patterns, relative to the folder, of recordings that go before others; "
        "those of an earlier pattern before those of a later one, oldest first within each.",
    )
    on_change: Literal["new", "ignore"] = Field(
        "new",
        description="What a recording is whose content changes after it was sent: a new one, sent "
        "as a sequence of its own, or one to leave alone.",
    )


class ServerSettings(Section):
    """The platform. Without a host the embedded server is started and used."""

    host: str = Field("", description="Host name or address; empty starts the embedded server.")
    port: Port = Field(6726, description="Port of the platform.")
    timeout_s: PositiveSeconds = Field(5.0, description="How long to wait for a connection.")
    stall_timeout_s: PositiveSeconds = Field(
        60.0, description="An upload without progress for this long counts as broken."
    )
    tls: bool = Field(default=False, description="Encrypt the connection.")
    tls_ca_file: Path | None = Field(
        None, description="PEM file with the certificates to trust; without it the system's."
    )
    tls_certificate_file: Path | None = Field(
        None, description="PEM file with the client certificate, for mutual TLS."
    )
    tls_key_file: Path | None = Field(
        None, description="PEM file with the key of the client certificate."
    )
    api_key: SecretStr | None = Field(
        None, description="API key. Better kept in a file, or passed as a systemd credential."
    )
    api_key_file: Path | None = Field(None, description="File that holds the API key.")
    compression: Literal["none", "lz4", "zstd"] = Field(
        "none", description="Compression of the data on the wire; worth it on thin uplinks."
    )


class EmbeddedSettings(Section):
    """The server that is started when no platform is configured."""

    port: Port = Field(0, description="Port to listen on; 0 takes a free one.")


class IngestSettings(Section):
    """How a recording becomes a sequence."""

    sequence_name: str = Field(
        "{stem}_{id}",
        description="Template of the sequence name. Fields: stem (name of the recording), id "
        "(derived from its content), start (time of the first message, with a strftime format: "
        "{start:%Y%m%dT%H%M%SZ}), hostname, and the keys of [metadata].",
    )
    topics: tuple[str, ...] = Field(
        (),
        description="Topic patterns in order, shell style; a leading ! excludes. Empty takes all.",
    )
    topic_prefix: str = Field(
        "", description="Put before every topic's name on the platform, for example /front."
    )
    on_error: Literal["delete", "report"] = Field(
        "delete",
        description="At the final give-up: delete leaves nothing of the recording on the platform; "
        "report keeps what arrived whole and attaches a notification.",
    )
    topic_errors: Literal["drop", "fail"] = Field(
        "drop",
        description="A topic that cannot be sent is dropped with a notification, or fails the "
        "recording.",
    )
    message_errors_max: int | None = Field(
        None,
        ge=0,
        description="The most undecodable messages of a recording before it fails; unset means "
        "any number is skipped and counted.",
    )
    max_batch_size_bytes: int = Field(
        8 * MEBIBYTE, gt=0, description="Size a topic's batch grows to before it is sent."
    )
    max_batch_size_records: int = Field(
        100_000, gt=0, description="Rows a topic's batch grows to before it is sent."
    )
    memory_budget_bytes: int = Field(
        64 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Bytes that wait in batches of all topics together before the biggest are "
        "sent early.",
    )
    verification: Literal["closed", "counts", "range", "readback"] = Field(
        "range",
        description="What must be proven before a sequence is finalised: that every stream was "
        "closed, that row counts agree, that first and last times agree too, or that all rows "
        "can be read back.",
    )
    image_format: Literal["raw", "png"] = Field(
        "raw", description="How raw images are stored: as they are, or as PNG to save bandwidth."
    )


class TopicSettings(Section):
    """Choices for the topics that a pattern matches."""

    ontology: str = Field(
        "", description="Ontology model to map to instead of the usual one, for example Lidar."
    )
    rename: str = Field("", description="Name on the platform, instead of the recorded one.")
    image_format: Literal["", "raw", "png"] = Field(
        "", description="As ingest.image_format, for this topic."
    )
    every_nth: int = Field(1, ge=1, description="Keep every n-th message only.")
    max_hz: float | None = Field(
        None, gt=0, description="Keep at most so many messages a second of record time."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="What to add to the topic's metadata on the platform."
    )


class DefinitionSettings(Section):
    """Where to look for message definitions that a recording does not carry."""

    folders: tuple[Path, ...] = Field(
        (), description="Folders with <package>/msg/<Name>.msg or .idl below them."
    )
    distro: str = Field(
        "", description="ROS distribution whose stock types to assume where nothing says."
    )
    use_ament: bool = Field(
        default=True, description="Look into the folders of AMENT_PREFIX_PATH too."
    )


class StateSettings(Section):
    """Where the bridge keeps its own files."""

    folder: Path = Field(
        Path("state"),
        description="Journal, scratch space and the embedded server's data; never inside the "
        "watched folder.",
    )
    keep_days: float = Field(
        365.0,
        gt=0,
        description="How long the journal remembers recordings whose files are gone.",
    )
    disk_free_min_bytes: int = Field(
        256 * MEBIBYTE,
        ge=0,
        description="Free room below which a disk counts as full: readyz fails and says which.",
    )


class RetrySettings(Section):
    """How often and when to try again."""

    attempts_max: int = Field(
        5, ge=1, description="Attempts before giving up; time offline consumes none."
    )
    backoff_initial_s: PositiveSeconds = Field(2.0, description="Wait after the first failure.")
    backoff_max_s: PositiveSeconds = Field(300.0, description="Longest wait between attempts.")


class WorkerSettings(Section):
    """The child processes that parse and send recordings."""

    count: int = Field(1, ge=1, le=64, description="Recordings in work at the same time.")
    memory_limit_bytes: int = Field(
        2048 * MEBIBYTE,
        ge=256 * MEBIBYTE,
        description="Memory at which a worker is stopped and its recording blamed.",
    )
    stall_timeout_s: PositiveSeconds = Field(
        300.0, description="A worker without any progress for this long is replaced."
    )
    drain_timeout_s: Seconds = Field(
        20.0, description="Time to finish the recordings in work when the bridge is stopped."
    )


class DisposalSettings(Section):
    """What happens to a recording that is on the platform, whole and verified."""

    mode: Literal["keep", "move", "delete"] = Field(
        "keep",
        description="keep leaves it, move puts it into the archive folder, delete removes it. "
        "Always keep with the embedded server.",
    )
    archive_folder: Path | None = Field(
        None, description="Where mode move puts recordings; outside the watched folder."
    )
    quarantine_folder: Path | None = Field(
        None,
        description="Where recordings that cannot be read are put, with a report beside them; "
        "without it they stay where they are and only the journal says so.",
    )
    verification: Literal["closed", "counts", "range", "readback"] = Field(
        "counts",
        description="How much must be proven before a recording may be moved or deleted.",
    )
    retain_days: float = Field(
        0.0, ge=0, description="Days that recordings stay after they were sent; 0 for none."
    )
    retain_count: int = Field(
        0, ge=0, description="How many of the last sent recordings stay, however old."
    )
    free_min_bytes: int = Field(
        0,
        ge=0,
        description="With less free space than this, sent recordings go before their time, oldest "
        "first; 0 never.",
    )
    free_target_bytes: int = Field(
        0, ge=0, description="How much free space to make then; at least free_min_bytes is made."
    )


class HttpSettings(Section):
    """The port for metrics, health and status."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(9477, description="Port to listen on; 0 takes a free one.")


class NotificationSettings(Section):
    """Polling of the platform's notifications about what this bridge ingested."""

    interval_s: PositiveSeconds = Field(60.0, description="Time between polls.")
    calls_per_interval: int = Field(20, ge=1, description="The most calls of one poll.")
    window_days: float = Field(7.0, gt=0, description="Age up to which sequences are asked about.")


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe lines to log."
    )
    format: Literal["auto", "console", "json", "journald"] = Field(
        "auto",
        description="console for people, json for collectors, journald for priorities under "
        "systemd; auto picks console or journald.",
    )


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
    server: ServerSettings = ServerSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    ingest: IngestSettings = IngestSettings()
    topics: dict[str, TopicSettings] = Field(
        default_factory=dict, description="Per-topic choices: pattern = { choices }."
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Constants for every sequence's metadata; ${NAME} is taken from the "
        "environment, {hostname} is the machine's name.",
    )
    mappings: tuple[dict[str, Any], ...] = Field(
        (), description="Custom mappings of ROS types to ontology models; see docs/mapping.md."
    )
    definitions: DefinitionSettings = DefinitionSettings()
    state: StateSettings = StateSettings()
    retry: RetrySettings = RetrySettings()
    workers: WorkerSettings = WorkerSettings()
    disposal: DisposalSettings = DisposalSettings()
    http: HttpSettings = HttpSettings()
    notifications: NotificationSettings = NotificationSettings()
    log: LogSettings = LogSettings()

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

    @property
    def uses_embedded_server(self) -> bool:
        """Whether no platform is configured."""
        return not self.server.host


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check the settings.

    Args:
        file: The TOML file, or None for defaults and environment alone.
        overrides: Values of the command line by dotted key; None values are left out.

    Raises:
        ConfigError: The file cannot be read or parsed, or a key is unknown or its value wrong;
            the message names key and value.
    """
    values = _read_toml(file) if file is not None else {}
    _refuse_unknown_environment()

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return Sources(**_nested(overrides or {}))
    except ValidationError as error:
        raise _explained(error, file) from error


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is not None:
            *sections, name = key.split(".")
            table = tree
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = value
    return tree


def _is_ours(variable: str) -> bool:
    return variable.upper().startswith(ENVIRONMENT_PREFIX)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", key="--config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}", hint="fix the line named above"
        ) from error


def _refuse_unknown_environment() -> None:
    for variable in os.environ:
        if not _is_ours(variable) or variable.upper() == CONFIG_FILE_VARIABLE:
            continue
        section = variable.upper().removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if section not in Settings.model_fields:
            raise ConfigError(
                f"environment variable {variable} names no setting",
                key=variable,
                hint=f"sections are: {', '.join(Settings.model_fields)}",
            )


def _explained(error: ValidationError, file: Path | None) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(step) for step in first["loc"])
    where = f" in {file}" if file is not None else ""
    # A wrong secret must not be repeated in a message.
    shown = "" if "key" in key.split(".")[-1] else f" (it is {first['input']!r:.200})"
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown setting {key}{where}",
            key=key,
            hint="`mosaico-bridge config schema` lists all settings",
        )
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return ConfigError(f"settings{where} contradict each other: {message}")
    return ConfigError(f"setting {key}{where}: {message}{shown}", key=key)
