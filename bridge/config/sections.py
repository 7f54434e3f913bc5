"""The tables of the settings file: every key with its default, bounds and description."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from bridge.units import MEBIBYTE, plain_host

Seconds = Annotated[float, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
# 2**63: what SQLite, clocks and the kernel count with. Seconds and days that no clock can add.
INTEGER_MAX, NUMBER_MAX, DAYS_MAX = 2**63 - 1, 1e9, 1e5


def _host_alone(text: str) -> str:
    """Refuse what looks like a URL or has a port, which would be looked up as a name."""
    host = plain_host(text)
    if re.search(r"[\s/@\0]", host):
        raise ValueError("should be a host name or an address alone")
    if ":" in host:
        try:
            ip_address(host)
        except ValueError as error:
            raise ValueError("should be a host alone; its port is a setting beside it") from error
    return host


Host = Annotated[str, AfterValidator(_host_alone)]


def mentions(annotation: Any, *kinds: type) -> bool:
    """Tell whether a value of this annotation may be of one of these types, or hold one."""
    if isinstance(annotation, type) and annotation is not bool and issubclass(annotation, kinds):
        return True
    return get_origin(annotation) in kinds or any(
        mentions(one, *kinds) for one in get_args(annotation)
    )


class Section(BaseModel):
    """A table of the settings file; frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what would silently become something else; an empty path or secret is none."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and mentions(kind, int, float):
            raise ValueError("should be a number")
        if isinstance(value, str) and mentions(kind, Path, SecretStr):
            if not value.strip() and mentions(kind, type(None)):
                return None
            if not value.strip() or "\0" in value:
                raise ValueError("should be a path")
        return value

    @field_validator("*")
    @classmethod
    def _can_be_counted(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse numbers that clocks and databases cannot take."""
        days = (info.field_name or "").endswith("_days")
        most = DAYS_MAX if days else INTEGER_MAX if isinstance(value, int) else NUMBER_MAX
        if isinstance(value, int | float) and value > most:
            raise ValueError(f"should be at most {most:,.0f}")
        return value


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
        10.0,
        description="Time between full looks at the folder; events make it sooner. Where events "
        "arrive and a look takes long, it is up to a minute.",
    )
    ignore: tuple[str, ...] = Field(
        (), description="Glob patterns, relative to the folder, of paths never to touch."
    )
    first: tuple[str, ...] = Field(
        (),
        description="Glob patterns, relative to the folder, of recordings that go before others; "
        "those of an earlier pattern before those of a later one, oldest first within each.",
    )
    on_change: Literal["new", "replace", "ignore"] = Field(
        "new",
        description="What a recording is whose content changes after it was sent: a new one, sent "
        "as a sequence of its own; one that takes the old sequence's place, which is deleted once "
        "the new one is verified and finalised; or one to leave alone.",
    )


class ServerSettings(Section):
    """The platform. Without a host the embedded server is started and used."""

    host: Host = Field("", description="Host name or address; empty starts the embedded server.")
    port: Port = Field(6726, description="Port of the platform.")
    timeout_s: PositiveSeconds = Field(
        20.0,
        description="How long to wait for a connection; a platform that refuses it is given 5 s "
        "of that to come up.",
    )
    probe_interval_s: Seconds = Field(
        60.0,
        description="Silence after which an idle bridge asks whether the platform is there; 0 for "
        "never.",
    )
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
    compression: Literal["auto", "none", "lz4", "zstd"] = Field(
        "auto",
        description="Compression of the data on the wire. auto compresses the topics whose first "
        "messages become smaller by it, on platforms that are known to take it (from 0.3 on): as "
        "far as is sensible (zstd, level 7) where [uplink] limits what is sent, or the platform "
        "takes 25 ms or more to answer; as recorders do (zstd, level 3) where the recording is "
        "compressed; by lz4 otherwise, and only where that saves a fifth. The others are used for "
        "all topics, and left out, with a warning, where the platform does not take them.",
    )
    grpc_compression: Literal["none", "gzip"] = Field(
        "none",
        description="Compression of whole messages, where the platform has it enabled; seldom "
        "better than compression, and slower. Left out likewise.",
    )
    call_timeout_s: PositiveSeconds = Field(
        30.0, description="How long the platform may take to answer a call that moves no data."
    )
    keepalive_s: Seconds = Field(
        300.0,
        description="Silence after which the link is probed; 0 for never. gRPC servers hang up on "
        "more frequent probes unless configured otherwise. A stall is found sooner anyway.",
    )
    keepalive_timeout_s: PositiveSeconds = Field(
        20.0, description="A link whose probe is not answered for this long is given up."
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
    unit: Literal["recording", "split"] = Field(
        "recording",
        description="What becomes a sequence: a recording with all its splits, once it is "
        "complete, or each split by itself, as soon as it is closed.",
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
        "sent early; those of small topics wait in one buffer and count half. An eighth of "
        "workers.memory_limit_bytes at most, and half of it where several threads send, to a "
        "platform far away.",
    )
    verification: Literal["closed", "range", "counts", "readback"] = Field(
        "counts",
        description="How much is proven before a sequence is finalised, each with the ones before: "
        "that every stream was closed, that first and last times agree (platforms from 0.2 on), "
        "that row counts agree (from 0.6 on), or that all rows can be read back (all platforms).",
    )
    hash_files: bool = Field(
        default=False,
        description="Take the SHA-256 of every file while it is read, as sha256sum prints it, and "
        "keep it in the recording's report. Costs about a fifth of the speed on big payloads "
        "where cores are few.",
    )
    quality_topic: bool = Field(
        default=False,
        description="Put how each topic was recorded on the platform, as the topic "
        "/_bridge/quality of the sequence: a row of JSON for each topic.",
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


class ReadingSettings(Section):
    """What a file may claim, so that none exhausts memory, and what of a damaged one is read."""

    chunk_bytes_max: int = Field(
        256 * MEBIBYTE,
        ge=MEBIBYTE,
        description="The largest chunk, decompressed. A larger one is skipped and reported; "
        "recorders write chunks of some MiB.",
    )
    message_bytes_max: int = Field(
        256 * MEBIBYTE, gt=0, description="The largest message. A larger one is left out, counted."
    )
    channels_max: int = Field(
        100_000, gt=0, description="The most channels of one file; a file with more is refused."
    )
    definition_bytes_max: int = Field(
        4 * MEBIBYTE, gt=0, description="The longest message definition, with all it refers to."
    )
    keep_doubtful_chunks: bool = Field(
        default=True,
        description="Whether messages are read from an MCAP chunk whose checksum is wrong or that "
        "cannot be decompressed to its end: something of it is altered, and nothing shows what. "
        "Either way the recording counts as damaged.",
    )
    repeated_latched: Literal["keep", "drop"] = Field(
        "keep",
        description="What happens to latched messages that the recorder wrote once more at the "
        "start of a split (`--repeat-transient-local`, `--repeat-latched` of ROS 1): `keep` or "
        "`drop`. The report counts them either way. Of a split that is a sequence of its own "
        "only what the file before it, in the same folder, holds is left out.",
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
    verification: Literal["closed", "range", "counts", "readback"] = Field(
        "counts",
        description="How much must be proven before a recording may be moved or deleted; levels as "
        "in ingest.verification, weakest first.",
    )
    proof_max_age_s: PositiveSeconds = Field(
        86_400.0,
        description="The platform is asked right before a recording is moved or deleted. Where it "
        "does not answer and less than free_min_bytes of space is free, proof that is no older "
        "than this counts.",
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
        "first; 0 never. It is measured after each look at the folder: allow for what the recorder "
        "writes in a minute.",
    )
    free_target_bytes: int = Field(
        0, ge=0, description="How much free space to make then; at least free_min_bytes is made."
    )
    emergency: bool = Field(
        default=False,
        description="With less than emergency_free_min_bytes of free space delete recordings that "
        "are NOT on the platform too, oldest first, so that the recorder can go on. They are lost. "
        "In no other case is anything deleted that did not arrive.",
    )
    emergency_free_min_bytes: int = Field(
        64 * MEBIBYTE,
        gt=0,
        description="Free space below which that happens, and up to which room is made; lower than "
        "free_min_bytes, so that what arrived goes first. Allow for what the recorder writes in a "
        "minute.",
    )


class RetrySettings(Section):
    """How often and when to try again."""

    attempts_max: int = Field(
        5, ge=1, description="Attempts before giving up; time offline consumes none."
    )
    backoff_initial_s: PositiveSeconds = Field(2.0, description="Wait after the first failure.")
    backoff_max_s: PositiveSeconds = Field(300.0, description="Longest wait between attempts.")
    database_s: Seconds = Field(
        3600.0,
        description="How long trouble of the platform's database (a deadlock, no free connection) "
        "costs a recording no attempt.",
    )


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


class HttpSettings(Section):
    """The port for metrics, health and status."""

    host: Host = Field("127.0.0.1", description="Address to listen on.")
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
