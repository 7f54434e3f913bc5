"""The platform's protocol revisions as data, and the probe that finds a server's revision."""

import re
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyarrow import flight

from bridge.client.connection import Connection, to_json
from bridge.errors import (
    BridgeError,
    NotFoundError,
    OfflineError,
    ProtocolError,
    TransientError,
    UnknownActionError,
    UnknownDescriptorError,
)


class Generation(StrEnum):
    """The two ways in which the platform lets one write."""

    KEYED = "keyed"
    SESSION = "session"


class Counts(StrEnum):
    """Where a revision reports how many rows a topic has."""

    NOWHERE = "nowhere"
    GET_SCHEMA = "get_schema"
    FLIGHT_INFO = "flight_info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What distinguishes one protocol revision from the others.

    Attributes:
        name: Its label, `G1.0` to `G2d`.
        generation: Which calls it has.
        message_bytes_max: The largest message it accepts where it does not announce one.
        path_descriptors: Whether topics are looked up by path instead of by command (G1.0).
        endpoint_facts: Whether endpoints carry JSON about their topic (from G1.2).
        facts_without_schema: Whether user metadata, tag and format travel in that JSON instead of
            in the schema's metadata (G2d).
        session_locators: Whether sessions have locators, by which they are deleted (from G2b).
        counts: Where row counts are reported.
        time_windows: Whether a read can be limited to a time window (from G1.1).
        query_name: The query field for names of sequences and topics.
        query_created: The query field for creation times.
        query_created_unit_ns: Nanoseconds per unit of that field.
        glob_match: Whether `$match` is a glob over the whole text rather than a substring.
        wide_operators: Whether `$outside`, order on text, list paths and all operators on metadata
            and ontology fields exist (from G2c).
        query_ranges: Whether a query can ask for the time range of what matched (G1.1 to G2b).
        clusters: Whether temporal clusters can be asked for (from G2c).
        nested_files: Whether the files of a topic lie in the folder of the topic that its name is
            nested in, so that deleting `cam` takes the data of `cam/info` with it (G1).
        empty_batch: Whether a topic without rows can only be read if it got an empty batch (G1).
            Elsewhere such a batch would become a chunk.
        ends_of_tag_max: The most topics of one ontology tag that may end at the same moment; None
            where that is found by trial. The platform keeps their columns in rows that they share:
            on G1 two ends deadlock more often than not. Later ones wait for each other, each with
            a connection to the database, so that answers become slow, and no more are tried.
        row_bytes_readable: The largest row that can be read; a read of a larger one ends the
            server (before G2d). None for any.
        compressed_bodies: Whether it is known to take compressed Arrow bodies: from G2a on servers
            send lz4 themselves, with the same library that reads them. Others are tried.
    """

    name: str
    generation: Generation
    message_bytes_max: int
    path_descriptors: bool = False
    endpoint_facts: bool = True
    facts_without_schema: bool = False
    session_locators: bool = False
    counts: Counts = Counts.NOWHERE
    time_windows: bool = True
    query_name: str = "name"
    query_created: str = "created_timestamp"
    query_created_unit_ns: int = 1
    glob_match: bool = False
    wide_operators: bool = False
    query_ranges: bool = True
    clusters: bool = False
    nested_files: bool = False
    empty_batch: bool = False
    ends_of_tag_max: int | None = None
    row_bytes_readable: int | None = 25_000_000
    compressed_bodies: bool = False


_G1_MESSAGE_BYTES = 52_428_800
_G2_MESSAGE_BYTES = 50_000_000

G1_0 = Revision(
    name="G1.0",
    generation=Generation.KEYED,
    message_bytes_max=_G1_MESSAGE_BYTES,
    path_descriptors=True,
    endpoint_facts=False,
    time_windows=False,
    query_created_unit_ns=1_000_000,
    query_ranges=False,
    nested_files=True,
    empty_batch=True,
    ends_of_tag_max=1,
)
G1_1 = Revision(
    name="G1.1",
    generation=Generation.KEYED,
    message_bytes_max=_G1_MESSAGE_BYTES,
    endpoint_facts=False,
    nested_files=True,
    empty_batch=True,
    ends_of_tag_max=1,
)
G1_2 = Revision(
    name="G1.2",
    generation=Generation.KEYED,
    message_bytes_max=_G1_MESSAGE_BYTES,
    nested_files=True,
    empty_batch=True,
    ends_of_tag_max=1,
)
G2A = Revision(
    name="G2a",
    generation=Generation.SESSION,
    message_bytes_max=_G2_MESSAGE_BYTES,
    query_name="locator",
    query_created="created_at_ns",
    compressed_bodies=True,
)
G2B = Revision(
    name="G2b",
    generation=Generation.SESSION,
    message_bytes_max=_G2_MESSAGE_BYTES,
    session_locators=True,
    query_name="locator",
    query_created="created_at_ns",
    compressed_bodies=True,
)
G2C = Revision(
    name="G2c",
    generation=Generation.SESSION,
    message_bytes_max=_G2_MESSAGE_BYTES,
    session_locators=True,
    counts=Counts.GET_SCHEMA,
    query_created="created_at_ns",
    glob_match=True,
    wide_operators=True,
    query_ranges=False,
    clusters=True,
    compressed_bodies=True,
)
G2D = Revision(
    name="G2d",
    generation=Generation.SESSION,
    message_bytes_max=_G1_MESSAGE_BYTES,
    facts_without_schema=True,
    session_locators=True,
    counts=Counts.FLIGHT_INFO,
    query_created="created_at_ns",
    glob_match=True,
    wide_operators=True,
    query_ranges=False,
    clusters=True,
    row_bytes_readable=None,
    compressed_bodies=True,
)

REVISIONS = (G1_0, G1_1, G1_2, G2A, G2B, G2C, G2D)

_RETRY_PAUSE_S = 0.05
_NO_SUCH_NAME = "mosaico-bridge-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a server said about itself.

    Attributes:
        revision: The protocol revision it speaks.
        server_version: Its version; empty where it reports none (G1).
        message_bytes_max: The largest message it accepts.
    """

    revision: Revision
    server_version: str
    message_bytes_max: int


def probe(connection: Connection, *, timeout_s: float) -> Probed:
    """Find out which revision the server speaks, waiting for it to come up if need be.

    Args:
        connection: The open channels.
        timeout_s: How long to wait for an answer.

    Raises:
        OfflineError, TransientError: Nobody answered in time; the last try's own error.
        RefusedError: The server wants another API key or other TLS settings.
        ProtocolError: It speaks a protocol that we do not.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        left_s = max(deadline_s - time.monotonic(), _RETRY_PAUSE_S)
        try:
            return _ask(connection, timeout_s=left_s)
        except (OfflineError, TransientError):
            if time.monotonic() + _RETRY_PAUSE_S >= deadline_s:
                raise
            time.sleep(_RETRY_PAUSE_S)


def _ask(connection: Connection, *, timeout_s: float) -> Probed:
    info = _server_facts(connection, "info", timeout_s=timeout_s)
    if info is not None:
        config = info.get("config")
        limit = config.get("grpc_max_decode_message_size") if isinstance(config, dict) else None
        return Probed(
            revision=G2D,
            server_version=str(info.get("version", "")),
            message_bytes_max=limit if isinstance(limit, int) else G2D.message_bytes_max,
        )
    version = _server_facts(connection, "version", timeout_s=timeout_s)
    revision = _keyed_revision(connection) if version is None else _session_revision(version)
    return Probed(
        revision=revision,
        server_version=str(version.get("version", "")) if version is not None else "",
        message_bytes_max=revision.message_bytes_max,
    )


def _server_facts(
    connection: Connection, action: str, *, timeout_s: float
) -> dict[str, Any] | None:
    """Call `info` or `version`; None where the server has no such action."""
    try:
        bodies = connection.raw_action(
            action, to_json({}), resource=f"action {action}", timeout_s=timeout_s
        )
    except UnknownActionError:
        return None
    try:
        response = connection.unwrap(action, b"".join(bodies), resource=f"action {action}")
    except ProtocolError as error:
        raise ProtocolError(
            "the server speaks the protobuf protocol of mosaicod 0.8 or later, or none of Mosaico",
            address=connection.options.address,
            hint="use a server of version 0.7 or earlier",
        ) from error
    return response if isinstance(response, dict) else {}


def _session_revision(version: dict[str, Any]) -> Revision:
    """Choose the session revision by the server's version."""
    numbers = [int(digits) for digits in re.findall(r"\d+", str(version.get("version", "")))[:2]]
    minor = tuple(numbers) if len(numbers) == len(("major", "minor")) else (0, 6)
    if minor < (0, 5):
        return G2A
    return G2B if minor == (0, 5) else G2C


def _keyed_revision(connection: Connection) -> Revision:
    """Distinguish the keyed revisions by how they treat descriptors and endpoints.

    G1.1 and G1.2 differ only in what endpoints carry, so an existing topic is looked at; without
    any on the server G1.2 is assumed, which is safe because they differ only in what can be read.
    """
    resource = "protocol probe"
    try:
        connection.flight_info(flight.FlightDescriptor.for_path(_NO_SUCH_NAME), resource=resource)
    except NotFoundError:
        return G1_0
    except UnknownDescriptorError:
        pass
    for info in connection.flights():
        name = info.descriptor.path[0].decode()
        command = to_json({"resource_locator": name})
        try:
            found = connection.flight_info(
                flight.FlightDescriptor.for_command(command), resource=resource
            )
        except BridgeError:
            continue
        for endpoint in found.endpoints:
            return G1_2 if endpoint.app_metadata else G1_1
    return G1_2
