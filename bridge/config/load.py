"""Reads the settings: the TOML file, the environment, the command line; checked once.

Only this file reads settings and secrets from files and the environment; the other parts take
plain arguments.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from bridge.config.faults import explained, undecodable_variables, unknown_variables
from bridge.config.settings import ENVIRONMENT_PREFIX, BackfillSettings, Settings
from bridge.errors import ConfigError

CONFIG_FILE_VARIABLE = "MOSAICO_BRIDGE_CONFIG"
SETTINGS_FILE = "bridge.toml"
SERVICE_FOLDER = Path("/etc/mosaico-bridge")
"""Where the units of systemd look for settings: `bridge.toml`, `<instance>.toml`."""
SERVICE_STATE = Path("/var/lib/mosaico-bridge")
"""What those units set as state.folder; an instance has a folder of its own in it."""
# By these the vendor's command line hands the platform of its profile on to `mosaico-NAME`.
PLATFORM_VARIABLE = "MOSAICO_DAEMON_URL"
KEY_VARIABLE = "MOSAICO_API_KEY"
TLS_VARIABLE = "MOSAICO_TLS"
CERTIFICATE_VARIABLE = "MOSAICO_CERT_PATH"
CREDENTIAL = "api_key"
TRUE = frozenset({"1", "true", "yes", "on"})


def find_settings_file(folder: Path | None = None) -> Path | None:
    """Give the settings file that holds where none is named: the folder's, else the service's.

    Args:
        folder: The working folder by default.
    """
    for file in ((folder or Path.cwd()) / SETTINGS_FILE, SERVICE_FOLDER / SETTINGS_FILE):
        if os.access(file, os.R_OK):
            return file
    return None


def service_is_closed_to_us() -> bool:
    """Tell whether there are settings of a service that this user may not read."""
    # Other than pathlib's, these answer False where a folder above may not be entered.
    if not os.path.isdir(SERVICE_FOLDER):  # noqa: PTH112
        return False
    if not os.access(SERVICE_FOLDER, os.X_OK):
        return True
    file = SERVICE_FOLDER / SETTINGS_FILE
    return os.path.exists(file) and not os.access(file, os.R_OK)  # noqa: PTH110


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check the settings.

    Args:
        file: The TOML file, or None for defaults and environment alone.
        overrides: Values of the command line by dotted key; None values are left out.

    Raises:
        ConfigError: The file cannot be read or parsed, or keys are unknown or their values wrong;
            the message names each with its value and line.
    """
    values = _as_the_service_has_it(_read_toml(file), file) if file is not None else {}
    _refuse_unknown_environment()
    given = _nested(overrides or {})
    weakest: dict[str, Any] = {}
    if not _names_a_platform(values, given) and (server := vendor_server()):
        weakest["server"] = server

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return (
                init_settings,
                env_settings,
                InitSettingsSource(settings_cls, values),
                InitSettingsSource(settings_cls, weakest),
            )

    try:
        return Sources(**given)
    except ValidationError as error:
        raise explained(error, file) from error
    except SettingsError:
        # Without its cause, which quotes the value: that may be a secret.
        raise undecodable_variables() from None


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is not None:
            *sections, name = key.split(".")
            table = tree
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = value
    return tree


def _is_ours(variable: str) -> bool:
    return variable.upper().startswith(ENVIRONMENT_PREFIX)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(
            f"cannot read {file.absolute()}: {error.strerror}",
            key="--config",
            hint="name a settings file with --config; `mosaico-bridge config default` prints one",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file.absolute()} is no settings file: it is not text in UTF-8",
            hint="`mosaico-bridge config default` prints one",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}", hint="fix the line named above"
        ) from error


def _as_the_service_has_it(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """Add the state folder that the service's unit sets, so that commands look where it does.

    A state folder of the file's own is kept: a relative one means nothing to a service.
    """
    state = values.get("state", {})
    own = state.get("folder", "state") if isinstance(state, dict) else ""
    service = file.absolute().parent == SERVICE_FOLDER and os.access(SERVICE_STATE, os.F_OK)
    if not service or own != "state":
        return values
    folder = SERVICE_STATE if file.name == SETTINGS_FILE else SERVICE_STATE / file.stem
    return values | {"state": {**state, "folder": str(folder)}}


def _refuse_unknown_environment() -> None:
    unknown = [
        variable
        for variable in os.environ
        if _is_ours(variable)
        and variable.upper() != CONFIG_FILE_VARIABLE
        and _section_of(variable) not in Settings.model_fields
    ]
    if unknown:
        raise unknown_variables(unknown)


def _section_of(variable: str) -> str:
    return variable.upper().removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()


def _names_a_platform(*tables: Mapping[str, Any]) -> bool:
    """Tell whether a setting of our own says where to send to, an empty one included."""
    variable = f"{ENVIRONMENT_PREFIX}SERVER__HOST"
    if any(name.upper() in {variable, f"{ENVIRONMENT_PREFIX}SERVER"} for name in os.environ):
        return True
    servers = [table.get("server") for table in tables]
    return any(isinstance(server, Mapping) and "host" in server for server in servers)


def vendor_server(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give the table [server] that the vendor's variables describe; empty without a platform.

    The four belong together, and are weaker than every setting of our own: where those name a
    platform, none of the four is used, so that a key never goes to another platform than its own.

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


def api_key(settings: Settings) -> str | None:
    """Give the API key from the settings, its file, or the service manager's credentials.

    Raises:
        ConfigError: The file cannot be read.
    """
    if settings.server.api_key is not None:
        return settings.server.api_key.get_secret_value()
    file = settings.server.api_key_file
    if file is None:
        # Where systemd's LoadCredential= puts it.
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        file = Path(credentials) / CREDENTIAL if credentials else None
        if file is None or not file.exists():
            return None
    return _secret_in(file, "server.api_key_file", "the API key file")


def _secret_in(file: Path, key: str, what: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"cannot read {what} {file.absolute()}: {why}",
            key=key,
            hint=f"{key} names a file with nothing but the key, which the bridge's user may read",
        ) from error
    if not text:
        raise ConfigError(f"{what} {file.absolute()} is empty", key=key)
    return text


def secrets(settings: Settings) -> tuple[str, ...]:
    """Give what must never be logged.

    Raises:
        ConfigError: The API key's file cannot be read.
    """
    key = api_key(settings)
    return (() if key is None else (key,)) + archive_secrets(settings.backfill)


def archive_secrets(archive: BackfillSettings) -> tuple[str, ...]:
    """Give the secrets by which an archive is read.

    Raises:
        ConfigError: The file of the secret key cannot be read.
    """
    kept = (archive.session_token, archive.account_key, archive.sas_token)
    told = tuple(secret.get_secret_value() for secret in kept if secret is not None)
    key = secret_key(archive)
    return told if key is None else (*told, key)


def secret_key(archive: BackfillSettings) -> str | None:
    """Give the S3 secret key from the settings, or its file.

    Raises:
        ConfigError: The file cannot be read.
    """
    if archive.secret_key is not None:
        return archive.secret_key.get_secret_value()
    if archive.secret_key_file is None:
        return None
    return _secret_in(archive.secret_key_file, "backfill.secret_key_file", "the S3 secret key file")
