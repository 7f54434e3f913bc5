"""Turns settings into what client and ingest are told; the only place that knows both."""

import hashlib
import os
import socket
from pathlib import Path

from bridge.bags import ReadLimits
from bridge.client import ConnectOptions, MosaicoClient, OnErrorPolicy
from bridge.config import Settings, TopicSettings, UplinkSettings, api_key
from bridge.definitions import DefinitionSources
from bridge.errors import ConfigError, UsageError
from bridge.ingest import (
    BatchTargets,
    Identity,
    IngestOptions,
    TopicOptions,
    VerificationLevel,
    custom_mappings,
)
from bridge.quality import Expectation

SCRATCH_FOLDER = "scratch"
BUDGETS_IN_LIMIT = 8
"""How many times what waits in batches fits a worker's memory at least: it is copied on its way."""


def connect(settings: Settings, host: str, port: int) -> MosaicoClient:
    """Connect to the platform as the settings say.

    Args:
        settings: All settings; host and port come separately, for the embedded server.
        host: Host name of the platform.
        port: Its port.

    Raises:
        OfflineError: Nobody answers.
        RefusedError: The key or the TLS settings are not accepted.
        ConfigError: A key or certificate file cannot be read, or one is missing.
    """
    server = settings.server
    given: ConnectOptions = {
        "stall_timeout_s": server.stall_timeout_s,
        "call_timeout_s": server.call_timeout_s,
        "keepalive_s": server.keepalive_s,
        "keepalive_timeout_s": server.keepalive_timeout_s,
    }
    if server.tls:
        given["tls"] = True
    if server.tls_ca_file is not None:
        given["tls_root_certs"] = server.tls_ca_file
    if server.tls_certificate_file is not None:
        given["tls_client_cert"] = server.tls_certificate_file
    if server.tls_key_file is not None:
        given["tls_client_key"] = server.tls_key_file
    if server.compression == "auto":
        given["compression"] = "auto-zstd" if _is_limited(settings.uplink) else "auto-lz4"
    elif server.compression != "none":
        given["compression"] = server.compression
    if server.grpc_compression != "none":
        given["grpc_compression"] = server.grpc_compression
    key = api_key(settings)
    if key is not None:
        given["api_key"] = key
    try:
        return MosaicoClient.connect(host, port, server.timeout_s, **given)
    except UsageError as error:
        raise ConfigError(error.message, key="server", hint=error.hint) from error


def _is_limited(uplink: UplinkSettings) -> bool:
    """Whether bytes are worth more than the time of a processor."""
    return bool(
        uplink.bytes_per_second_max
        or uplink.timetable
        or uplink.bytes_per_day_max
        or uplink.bytes_per_month_max
    )


def config_hash(settings: Settings) -> str:
    """Identify the settings that decide what arrives; secrets and places left out."""
    deciding = settings.model_dump_json(
        include={"ingest", "reading", "topics", "metadata", "mappings"}
    )
    return hashlib.sha256(deciding.encode()).hexdigest()[:16]


def ingest_options(
    settings: Settings, *, instance: str = "", attempt: int = 1, final: bool = True
) -> IngestOptions:
    """Give the options of an ingest.

    Args:
        settings: All settings.
        instance: The sending bridge's name.
        attempt: Which try at the recording this is, from 1.
        final: Whether giving up follows when this try fails.

    Raises:
        ConfigError: A custom mapping or a metadata placeholder is wrong.
    """
    ingest = settings.ingest
    definitions = settings.definitions
    ament = os.environ.get("AMENT_PREFIX_PATH", "") if definitions.use_ament else ""
    return IngestOptions(
        identity=Identity(
            instance=instance, attempt=attempt, final=final, config_hash=config_hash(settings)
        ),
        sequence_name=ingest.sequence_name,
        topics=ingest.topics,
        topic_prefix=ingest.topic_prefix,
        topic_options={
            pattern: _topic_options(choices, ingest.image_format)
            for pattern, choices in settings.topics.items()
        },
        default_topic_options=TopicOptions(image_format=ingest.image_format),
        custom_mappings=custom_mappings(settings.mappings),
        metadata=settings.metadata,
        environment=dict(os.environ),
        hostname=socket.gethostname(),
        on_error=OnErrorPolicy(ingest.on_error),
        topic_errors=ingest.topic_errors,
        message_errors_max=ingest.message_errors_max,
        verification=VerificationLevel(ingest.verification),
        hash_files=ingest.hash_files,
        quality_topic=ingest.quality_topic,
        expectations={
            pattern: Expectation(**expected.model_dump())
            for pattern, expected in settings.expect.items()
        },
        batches=BatchTargets(
            max_batch_size_bytes=ingest.max_batch_size_bytes,
            max_batch_size_records=ingest.max_batch_size_records,
            memory_budget_bytes=min(
                ingest.memory_budget_bytes, settings.workers.memory_limit_bytes // BUDGETS_IN_LIMIT
            ),
        ),
        reading=ReadLimits(**settings.reading.model_dump()),
        definitions=DefinitionSources(
            folders=definitions.folders, distro=definitions.distro, ament_prefix_path=ament
        ),
        scratch_dir=scratch_folder(settings),
    )


def scratch_folder(settings: Settings) -> Path:
    """Give the folder in which working copies are made."""
    return settings.state.folder / SCRATCH_FOLDER


def _topic_options(choices: TopicSettings, image_format: str) -> TopicOptions:
    return TopicOptions(
        image_format=choices.image_format or image_format,
        ontology=choices.ontology,
        every_nth=choices.every_nth,
        max_hz=choices.max_hz,
        rename=choices.rename,
        metadata=choices.metadata,
    )
