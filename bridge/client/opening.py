"""Opens a connection and finds out what the server on the other side is able to do."""

import logging
import secrets
from dataclasses import replace
from functools import partial

import pyarrow as pa

from bridge.client.catalog import Dialect
from bridge.client.connection import Connection
from bridge.client.keyed import KeyedDialect
from bridge.client.options import ConnectionOptions
from bridge.client.revisions import Generation, Probed, probe
from bridge.client.session import SessionDialect
from bridge.errors import OfflineError, ProtocolError, RefusedError, ServerError

_log = logging.getLogger(__name__)

_DIALECTS: dict[Generation, type[KeyedDialect] | type[SessionDialect]] = {
    Generation.KEYED: KeyedDialect,
    Generation.SESSION: SessionDialect,
}
# From a buffer, for making an array of Python's numbers loads pandas where that is installed.
_TRIAL = pa.record_batch(
    {"timestamp_ns": pa.Array.from_buffers(pa.int64(), 64, [None, pa.py_buffer(bytes(512))])}
)


def open_connection(
    options: ConnectionOptions, *, timeout_s: float
) -> tuple[Connection, Dialect, Probed]:
    """Open a connection, with as much of the compression asked for as the server takes.

    Args:
        options: How to reach it.
        timeout_s: How long to wait for a server that does not answer.

    Raises:
        ServerError: As `probe`.
    """
    try:
        connection, probed = _probed(options, timeout_s=timeout_s)
    except ProtocolError as error:
        if not options.grpc_compression:
            raise
        plain = replace(options, grpc_compression="")
        connection, probed = _probed(plain, timeout_s=timeout_s)
        _log.warning(
            "the server takes no messages compressed by %s, sending them as they are: %s",
            options.grpc_compression,
            error.message,
        )
    dialect = _DIALECTS[probed.revision.generation](connection, probed.revision)
    if not probed.revision.compressed_bodies:
        connection.body_compression.trial = partial(_takes, connection, dialect)
    return connection, dialect, probed


def _probed(options: ConnectionOptions, *, timeout_s: float) -> tuple[Connection, Probed]:
    connection = Connection(options)
    try:
        return connection, probe(connection, timeout_s=timeout_s)
    except BaseException:
        connection.close()
        raise


def _takes(connection: Connection, dialect: Dialect, codec: str) -> bool:
    """Put a little compressed data into a sequence of its own, which is removed again.

    Raises:
        OfflineError: The server is gone.
        RefusedError: The key does not permit to write.
    """
    upload = dialect.sequence_create(f"mosaico-bridge-trial-{secrets.token_hex(6)}", {})
    locator = f"{upload.sequence}/trial"
    try:
        token = dialect.topic_create(
            upload, locator, ontology_tag="Trial", serialization_format="default", metadata={}
        )
        descriptor = dialect.topic_put_descriptor(locator, token)
        stream = connection.put(descriptor, _TRIAL.schema, resource=locator, compression=codec)
        try:
            stream.write(_TRIAL)
            stream.finish()
        finally:
            stream.abort()
    except (OfflineError, RefusedError):
        raise
    except ServerError:
        return False
    finally:
        dialect.upload_delete(upload)
    return True
