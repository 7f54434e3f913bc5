"""Reads what `serve` needs to guard its server: certificates, keys, and who may do what."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.embedded import ApiKey, Permission
from bridge.errors import ConfigError
from bridge.units import SECOND_NS


def certificates(certificate: Path | None, key: Path | None) -> list[tuple[bytes, bytes]]:
    """Give the server's certificate with its key; empty without both.

    Raises:
        ConfigError: One comes without the other, or cannot be read.
    """
    if (certificate is None) is not (key is None):
        raise ConfigError("--tls-certificate and --tls-key only work together")
    return [(read_pem(certificate), read_pem(key))] if certificate is not None else []


def read_pem(file: Path | None) -> bytes:
    """Read a file; empty where none is given.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return file.read_bytes() if file is not None else b""
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def read_api_keys(file: Path) -> dict[str, ApiKey]:
    """Read the API keys: `token = "write"`, or `token = {permission = "write", expires = <time>}`.

    Raises:
        ConfigError: The file cannot be read, or an entry is something else; no message shows a key.
    """
    try:
        entries = tomllib.loads(read_pem(file).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    return {
        token: _api_key(entry, f"{file}, entry {number}")
        for number, (token, entry) in enumerate(entries.items(), start=1)
    }


def _api_key(entry: Any, where: str) -> ApiKey:
    table = entry if isinstance(entry, dict) else {"permission": entry}
    known = {permission.name.lower(): permission for permission in Permission}
    expires = table.get("expires")
    if (
        table.keys() - {"permission", "expires"}
        or table.get("permission") not in known
        or not isinstance(expires, datetime | None)
    ):
        raise ConfigError(
            f"{where}: not a permission, nor a table of permission and expires",
            hint=f"permissions are {', '.join(known)}; expires is like 2027-01-31T00:00:00Z",
        )
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    expires_ns = None if expires is None else int(expires.timestamp()) * SECOND_NS
    return ApiKey(permission=known[table["permission"]], expires_ns=expires_ns)
