"""Reads the settings: the TOML file, the environment, the command line; checked once.

Only this file reads settings from files and the environment; the other parts take plain arguments.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from bridge.config.settings import ENVIRONMENT_PREFIX, Settings
from bridge.errors import ConfigError

CONFIG_FILE_VARIABLE = "MOSAICO_BRIDGE_CONFIG"


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check the settings.

    Args:
        file: The TOML file, or None for defaults and environment alone.
        overrides: Values of the command line by dotted key; None values are left out.

    Raises:
        ConfigError: The file cannot be read or parsed, or a key is unknown or its value wrong;
            the message names key and value.
    """
    values = _read_toml(file) if file is not None else {}
    _refuse_unknown_environment()

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
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return Sources(**_nested(overrides or {}))
    except ValidationError as error:
        raise _explained(error, file) from error


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
        raise ConfigError(f"cannot read {file}: {error.strerror}", key="--config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}", hint="fix the line named above"
        ) from error


def _refuse_unknown_environment() -> None:
    for variable in os.environ:
        if not _is_ours(variable) or variable.upper() == CONFIG_FILE_VARIABLE:
            continue
        section = variable.upper().removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if section not in Settings.model_fields:
            raise ConfigError(
                f"environment variable {variable} names no setting",
                key=variable,
                hint=f"sections are: {', '.join(Settings.model_fields)}",
            )


def _explained(error: ValidationError, file: Path | None) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(step) for step in first["loc"])
    where = f" in {file}" if file is not None else ""
    # A wrong secret must not be repeated in a message.
    shown = "" if "key" in key.split(".")[-1] else f" (it is {first['input']!r:.200})"
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown setting {key}{where}",
            key=key,
            hint="`mosaico-bridge config schema` lists all settings",
        )
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return ConfigError(f"settings{where} contradict each other: {message}")
    return ConfigError(f"setting {key}{where}: {message}{shown}", key=key)
