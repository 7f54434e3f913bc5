"""Opens a connection and finds out what the server on the other side is able to do."""

import logging
import os
import secrets
import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from bridge.client.catalog import Dialect
from bridge.client.connection import Connection
from bridge.client.keyed import KeyedDialect
from bridge.client.options import BodyCodec, ConnectionOptions
from bridge.client.revisions import Generation, Probed, probe
from bridge.client.session import SessionDialect
from bridge.client.translate import PATIENCE_HINT, REACH_HINT
from bridge.errors import (
    DatabaseAwayError,
    OfflineError,
    ProtocolError,
    RefusedError,
    ServerError,
    TransientError,
    UsageError,
)
from bridge.facade import later

ssl = later("ssl")

_TLS_STEP_S = 2.0
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
        UsageError: Certificates or keys are none, or do not fit.
    """
    _require_usable_pem(options)
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
    except DatabaseAwayError:
        connection.close()
        raise
    except RefusedError as error:
        connection.close()
        told = f"{options.address} lets nobody in like this: {error.message}"
        raise type(error)(told, address=options.address, hint=error.hint) from error
    except (OfflineError, TransientError) as error:
        connection.close()
        raise _unreachable(options, error) from error
    except BaseException:
        connection.close()
        raise


def _unreachable(options: ConnectionOptions, error: ServerError) -> OfflineError | RefusedError:
    """Say that nobody answered, with what was last heard, or that TLS is in the way."""
    if fault := tls_fault(options, timeout_s=_TLS_STEP_S):
        return RefusedError(
            f"no TLS connection to {options.address}: {fault}",
            address=options.address,
            hint="check the TLS settings of both sides; a proxy without its server looks alike",
        )
    if not options.tls and _speaks_tls(options):
        return RefusedError(
            f"{options.address} speaks TLS, and was asked without",
            address=options.address,
            hint="set server.tls, and server.tls_ca_file where its certificate is your own",
        )
    return OfflineError(
        f"no Mosaico server answers at {options.address}: {error.message}",
        address=options.address,
        # Where the machine itself says no, more patience does not help.
        hint=error.hint if isinstance(error, OfflineError) else REACH_HINT + PATIENCE_HINT,
    )


def tls_fault(options: ConnectionOptions, *, timeout_s: float) -> str:
    """Say what the server, or our side, does not like about TLS; empty when nothing is known.

    With TLS 1.3 a server judges the client's certificate after the handshake is over for the
    client. gRPC then only sees a connection that closes, like that of a server that stops, and
    would wait for it for ever. So when a TLS server has not answered in time, one handshake is
    made without gRPC.

    Args:
        options: How the server is reached.
        timeout_s: How long the server may take for each step.
    """
    if not options.tls:
        return ""
    try:
        context = _context(options)
        with (
            socket.create_connection((options.host, options.port), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=options.host) as encrypted,
        ):
            # An HTTP/2 server speaks first. One that hangs up instead has just seen who we are.
            if encrypted.recv(1):
                return ""
    except ssl.SSLError as error:
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    except OSError:
        return ""  # no TLS question: nobody there, or nobody who answers
    if options.tls_client_cert:
        return "the server hangs up on our certificate"
    return "the server hangs up: it wants a client certificate"


def _speaks_tls(options: ConnectionOptions) -> bool:
    """Tell whether a server that hung up on us takes TLS; nothing is sent to it."""
    try:
        with socket.create_connection((options.host, options.port), timeout=_TLS_STEP_S) as plain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.wrap_socket(plain, server_hostname=options.host).close()
    except OSError:
        return False
    return True


def _require_usable_pem(options: ConnectionOptions) -> None:
    """Refuse certificates that gRPC would take, only to fail at each try until time is up.

    Raises:
        UsageError: They are no PEM, or the key is another's.
    """
    if not options.tls_root_certs and not options.tls_client_cert:
        return
    try:
        _context(options)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        why = getattr(error, "reason", None) or "no certificate in PEM"
        raise UsageError(
            f"the certificates for {options.address} cannot be used:"
            f" {why.lower().replace('_', ' ')}",
            hint="server.tls_ca_file holds certificates, server.tls_certificate_file and"
            " server.tls_key_file one with its own key, all in PEM",
        ) from error


def _context(options: ConnectionOptions) -> Any:
    roots = options.tls_root_certs.decode() or None
    context = ssl.create_default_context(cadata=roots)
    context.set_alpn_protocols(["h2"])
    if options.tls_client_cert:
        # The library only reads files; these are in memory, so that the key touches no disk.
        with ExitStack() as opened:
            certificate = _in_memory(options.tls_client_cert, opened)
            key = _in_memory(options.tls_client_key.value.encode(), opened)
            context.load_cert_chain(certificate, key)
    return context


def _in_memory(content: bytes, opened: ExitStack) -> Path:
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    opened.callback(os.close, descriptor)
    os.write(descriptor, content)
    return Path(f"/proc/self/fd/{descriptor}")


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
        stream = connection.put(
            descriptor, _TRIAL.schema, resource=locator, codec=BodyCodec(name=codec)
        )
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
