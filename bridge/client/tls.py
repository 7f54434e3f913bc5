"""Finds out why a server that is there does not talk to us over TLS.

With TLS 1.3 a server judges the client's certificate after the handshake is over for the client.
gRPC then only sees a connection that closes, like that of a server that stops, and would wait for
it for ever. So when a TLS server has not answered in time, one handshake is made without gRPC.
"""

import os
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

from bridge.client.options import ConnectionOptions

_OWN_DESCRIPTORS = Path("/proc/self/fd")


def tls_fault(options: ConnectionOptions, *, timeout_s: float) -> str:
    """Say what the server, or our side, does not like about TLS; empty when nothing is known.

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


def _context(options: ConnectionOptions) -> ssl.SSLContext:
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
    return _OWN_DESCRIPTORS / str(descriptor)
