"""The part of `check` that asks the platform: reachable, which revision, what the key permits."""

import time
import uuid
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from bridge.cli.check import Finding, fail, ok, warn
from bridge.cli.terminal import Exit, exit_code, size
from bridge.client import MosaicoClient
from bridge.compose import connect
from bridge.config import Settings, api_key
from bridge.errors import ConfigError, RefusedError, RejectedError, ServerError, UsageError
from bridge.units import address_text


def check_server(settings: Settings) -> Iterator[Finding]:
    """Ask the configured platform, changing nothing there."""
    address = address_text(settings.server.host, settings.server.port)
    began_s = time.monotonic()
    try:
        client = connect(settings, settings.server.host, settings.server.port)
    except (ConfigError, UsageError) as error:
        yield fail("server", error.message, hint=error.hint, code=Exit.BAD_CONFIG)
        return
    except ServerError as error:
        yield fail("server", error.message, hint=error.hint, code=exit_code(error))
        return
    with client:
        version = f", version {client.server_version}" if client.server_version else ""
        took_ms = 1000 * (time.monotonic() - began_s)
        yield ok("server", f"{address} speaks {client.revision}{version}; {took_ms:.0f} ms")
        if client.reservation:
            yield warn(
                "protocol",
                f"{client.revision} is {client.reservation}",
                hint="try it on recordings that you keep",
            )
        yield _limits(client, settings)
        yield from _compression(client, settings)
        yield from _permissions(client)
    if api_key(settings) is not None and not settings.server.tls and not _is_local(settings):
        hint = "set server.tls"
        yield warn("encryption", "the API key travels over the network unencrypted", hint=hint)


def _limits(client: MosaicoClient, settings: Settings) -> Finding:
    most, wanted = client.limits.message_bytes_max, settings.ingest.max_batch_size_bytes
    if wanted > most:
        return warn(
            "message limit",
            f"the platform takes {size(most)} a message; batches of {size(wanted)} are split",
            hint="lower ingest.max_batch_size_bytes",
        )
    return ok("message limit", f"the platform takes {size(most)} a message")


def _compression(client: MosaicoClient, settings: Settings) -> Iterator[Finding]:
    in_use, server = client.compression, settings.server
    if server.compression == "auto":
        detail = "where it pays" if in_use.body else "none: the platform is not known to take it"
        yield ok("compression", f"auto: {detail}")
    elif server.compression != "none" and in_use.body is None:
        yield ok(
            "compression", f"{server.compression}, if the platform takes it; uploads try first"
        )
    elif server.compression != "none":
        yield ok("compression", f"{server.compression}, which the platform's revision takes")
    if server.grpc_compression == "none":
        return
    if in_use.grpc:
        yield ok("message compression", f"{in_use.grpc}, which the platform takes")
    else:
        yield warn(
            "message compression",
            f"the platform takes no messages compressed by {server.grpc_compression}",
            hint="enable it there, or unset server.grpc_compression",
        )


def _permissions(client: MosaicoClient) -> Iterator[Finding]:
    """Find out what the key permits by calls about a sequence that does not exist.

    The platform checks permissions before it looks for the sequence, so the answer that there is
    none means that the call was permitted.
    """
    absent = f"no_such_sequence_{uuid.uuid4().hex}"
    trials: tuple[tuple[str, Callable[[], object], str], ...] = (
        (
            "read",
            lambda: client.sequence_handler(absent),
            "nothing can be sent: it cannot be seen what is there, nor verified what arrived",
        ),
        ("write", lambda: client.sequence_notify(absent, "check"), "nothing can be sent"),
        ("delete", lambda: client.sequence_delete(absent), ""),
    )
    for permission, call, consequence in trials:
        name = f"may {permission}"
        try:
            call()
        except RejectedError:
            yield ok(name, "permitted")
        except RefusedError as error:
            if consequence:
                detail = f"{error.message}; {consequence}"
                yield fail(name, detail, hint="use another API key", code=Exit.REFUSED)
            else:
                yield warn(
                    name,
                    "the key may not delete: failed attempts stay on the platform unfinished, and "
                    "watch.on_change = replace, `retry --resend` and `notifications clear` fail",
                    hint="use a key that may delete",
                )
        except ServerError as error:
            yield warn(name, f"not known: {error.message}")
        else:
            yield ok(name, "permitted")


def _is_local(settings: Settings) -> bool:
    host = settings.server.host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
