"""The variables by which the vendor's command line hands a platform on to its extensions.

`mosaico NAME` runs any program `mosaico-NAME` with these four set from its profile. They belong
together, and are weaker than every setting of our own: where those name a platform, none of the
four is used, so that a key never goes to another platform than its own.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.errors import ConfigError

PLATFORM_VARIABLE = "MOSAICO_DAEMON_URL"
KEY_VARIABLE = "MOSAICO_API_KEY"
TLS_VARIABLE = "MOSAICO_TLS"
CERTIFICATE_VARIABLE = "MOSAICO_CERT_PATH"
TRUE = frozenset({"1", "true", "yes", "on"})


def vendor_server(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give the table [server] that the vendor's variables describe; empty without a platform.

    Args:
        environment: That of the process by default.

    Raises:
        ConfigError: The platform's variable names no host.
    """
    given = os.environ if environment is None else environment
    url = given.get(PLATFORM_VARIABLE, "").strip()
    if not url:
        return {}
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(
            f"{PLATFORM_VARIABLE} names no platform: {url:.200}",
            key=PLATFORM_VARIABLE,
            hint="it is a host, or host:port",
        )
    server: dict[str, Any] = {"host": host}
    if port is not None:
        server["port"] = port
    if key := given.get(KEY_VARIABLE, "").strip():
        server["api_key"] = key
    if given.get(TLS_VARIABLE, "").strip().lower() in TRUE:
        server["tls"] = True
        if certificate := given.get(CERTIFICATE_VARIABLE, "").strip():
            server["tls_ca_file"] = certificate
    return server
