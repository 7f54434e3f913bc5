"""The platform's protocol revisions as data, and the probe that finds a server's revision."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pyarrow import flight

from bridge.client.connection import Connection
from bridge.client.encoding import JsonEncoding, json_object, to_json
from bridge.errors import (
    BridgeError,
    DatabaseAwayError,
    NotFoundError,
    OfflineError,
    PlatformBusyError,
    ProtocolError,
    ServerError,
    TransientError,
    Trouble,
    UnknownActionError,
    UnknownDescriptorError,
    UnreadableRequestError,
)
from bridge.protobuf import ProtobufEncoding


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
        name: Its label, `G1.0` to `G3b`.
        generation: Which calls it has.
        message_bytes_max: The largest message it accepts where it does not announce one.
        path_descriptors: Whether topics are looked up by path instead of by command (G1.0).
        endpoint_facts: Whether endpoints carry JSON about their topic (from G1.2).
        facts_without_schema: Whether user metadata, tag and format travel in that JSON instead of
            in the schema's metadata (from G2d).
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
        protobuf: Whether requests and answers are in protobuf instead of JSON (G3).
        typed_filters: Whether filters of queries are messages of protobuf (G3b).
        reservation: What the operator should know of it, as a clause; empty for most.
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
    protobuf: bool = False
    typed_filters: bool = False
    reservation: str = ""


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
G3A = replace(
    G2D,
    name="G3a",
    protobuf=True,
    reservation="experimental, from the platform's sources; no release existed when this was "
    "written",
)
G3B = replace(G3A, name="G3b", typed_filters=True)
"""What a server of the protobuf generation is taken for before its first query."""

REVISIONS = (G1_0, G1_1, G1_2, G2A, G2B, G2C, G2D, G3A, G3B)

NOTHING_IN_EITHER = b"\r{  }"
"""An empty object in JSON; in protobuf a message whose one field nobody knows, so an empty one."""

REFUSED_PATIENCE_S = 5.0
"""How long a server that refuses connections is waited for."""

DATABASE_PATIENCE_S = 5.0
"""How long a server may take to look something up, beside what the line takes."""

_LINE_FACTOR = 2.0
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
        DatabaseAwayError: The server answers, its database does not.
        RefusedError: The server wants another API key or other TLS settings.
        ProtocolError: It speaks a protocol that we do not.
    """
    started_s = time.monotonic()
    while True:
        left_s = max(started_s + timeout_s - time.monotonic(), _RETRY_PAUSE_S)
        try:
            return _ask(connection, timeout_s=left_s)
        except DatabaseAwayError:
            raise
        except (OfflineError, TransientError) as error:
            # A refusal comes at once, so it is waited for only as long as a restart may take.
            refused = isinstance(error, OfflineError)
            patience_s = min(timeout_s, REFUSED_PATIENCE_S) if refused else timeout_s
            if time.monotonic() + _RETRY_PAUSE_S >= started_s + patience_s:
                raise
            time.sleep(_RETRY_PAUSE_S)


def _ask(connection: Connection, *, timeout_s: float) -> Probed:
    asked_s = time.monotonic()
    probed = _asked(connection, timeout_s=timeout_s)
    if probed.revision.generation is Generation.SESSION:
        # A slow line makes any answer late.
        line_s = time.monotonic() - asked_s
        _require_database(connection, _absent_by_flight_info, line_s=line_s)
    return probed


def _asked(connection: Connection, *, timeout_s: float) -> Probed:
    found = _server_info(connection, timeout_s=timeout_s)
    if found is not None:
        info, revision = found
        config = info.get("config")
        limit = config.get("grpc_max_decode_message_size") if isinstance(config, dict) else None
        return Probed(
            revision=revision,
            server_version=str(info.get("version", "")),
            message_bytes_max=limit if isinstance(limit, int) and limit else _G1_MESSAGE_BYTES,
        )
    body = _server_facts(connection, "version", NOTHING_IN_EITHER, timeout_s=timeout_s)
    version = None if body is None else _json_facts(connection, "version", body)
    revision = _keyed_revision(connection) if version is None else _session_revision(version)
    return Probed(
        revision=revision,
        server_version=str(version.get("version", "")) if version is not None else "",
        message_bytes_max=revision.message_bytes_max,
    )


def _server_info(
    connection: Connection, *, timeout_s: float
) -> tuple[dict[str, Any], Revision] | None:
    """Call `info` in the encoding of the server, which is found out by it; None before G2d.

    The first body is nothing in both encodings. Where a server is too strict for it, nothing in
    each is tried.
    """
    body = None
    for asked in (NOTHING_IN_EITHER, b"{}", b""):
        try:
            body = _server_facts(connection, "info", asked, timeout_s=timeout_s)
            break
        except UnreadableRequestError:
            if not asked:
                raise
    if body is None:
        return None
    try:
        return _json_facts(connection, "info", body), G2D
    except ProtocolError as error:
        info = _protobuf_info(body)
        if info is None:
            raise ProtocolError(
                "the server's answer is of no protocol that Mosaico is known to have",
                address=connection.options.address,
                hint="check that server.host and server.port are those of a Mosaico server",
            ) from error
    connection.encoding = ProtobufEncoding()
    return info, G3B


def _server_facts(
    connection: Connection, action: str, asked: bytes, *, timeout_s: float
) -> bytes | None:
    """Call `info` or `version`; None where the server has no such action."""
    try:
        bodies = connection.raw_action(
            action, asked, resource=f"action {action}", timeout_s=timeout_s
        )
    except UnknownActionError:
        return None
    except PlatformBusyError as error:
        if isinstance(error.__cause__, flight.FlightTimedOutError):
            raise
        # With API keys even this looks into the database.
        raise _database_away(connection, error) from error
    return b"".join(bodies)


def _json_facts(connection: Connection, action: str, body: bytes) -> dict[str, Any]:
    try:
        json_object(body)
        response = JsonEncoding().answer(action, body)
    except ValueError as error:
        raise ProtocolError(
            f"action {action}: {error}", address=connection.options.address
        ) from error
    return response if isinstance(response, dict) else {}


def _protobuf_info(body: bytes) -> dict[str, Any] | None:
    """Read the answer to `info` in protobuf; None where it is not that.

    Bytes of any kind may happen to be a message, but hardly one with a version.
    """
    try:
        info: dict[str, Any] = ProtobufEncoding().answer("info", body)
    except ValueError:
        return None
    return info if info["version"] or info["semver"] or info["config"] else None


def _require_database(
    connection: Connection, look: Callable[[Connection, float], object], *, line_s: float
) -> None:
    """See that the server can look something up, so that nothing hangs on its database later.

    A server whose database is away waits for it, with each call for half a minute, and fails then.

    Args:
        connection: The open channels.
        look: Looks for a sequence that does not exist, within so many seconds.
        line_s: How long an answer takes that needs no database.

    Raises:
        DatabaseAwayError: It cannot.
    """
    try:
        look(connection, DATABASE_PATIENCE_S + _LINE_FACTOR * line_s)
    except PlatformBusyError as error:
        raise _database_away(connection, error) from error
    except ServerError as error:
        # Who may not read, or whose line broke, hears of it in the calls that matter.
        if error.trouble is Trouble.OFFLINE:
            raise


def _absent_by_flight_info(connection: Connection, timeout_s: float) -> None:
    command = connection.encoding.resource(_NO_SUCH_NAME, None, None)
    descriptor = flight.FlightDescriptor.for_command(command)
    connection.flight_info(descriptor, resource="protocol probe", timeout_s=timeout_s)


def _absent_by_system_info(connection: Connection, timeout_s: float) -> None:
    request = to_json({"name": _NO_SUCH_NAME})
    connection.raw_action(
        "sequence_system_info", request, resource="protocol probe", timeout_s=timeout_s
    )


def _database_away(connection: Connection, error: PlatformBusyError) -> DatabaseAwayError:
    return DatabaseAwayError(
        f"the platform at {connection.options.address} answers, but its database does not: "
        f"{error.message}",
        address=connection.options.address,
        hint="look after the platform's database; nothing is lost, and sending goes on with it",
    )


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
    asked_s = time.monotonic()
    with suppress(UnknownActionError):
        # Answered without the database.
        connection.raw_action("version", to_json({}), resource=resource, timeout_s=0)
    _require_database(connection, _absent_by_system_info, line_s=time.monotonic() - asked_s)
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
