"""What a sequence's metadata says, put together once: it can never be changed after creation."""

import re
from collections.abc import Mapping
from typing import Any

from bridge.errors import ConfigError
from bridge.mapping.metadata_keys import clean_keys
from bridge.mapping.sidecar import Sidecar

BRIDGE_KEY = "_bridge_"
"""The block that is ours: who sent what, and how."""

CUSTOM_DATA_KEY = "custom_data"
"""Where rosbag2's own key-value pairs go, as the recorder calls them."""

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\{hostname\}")


def sequence_metadata(
    *,
    constants: Mapping[str, Any],
    bridge: Mapping[str, Any],
    custom_data: Mapping[str, Any] | None = None,
    sidecar: Sidecar | None = None,
) -> dict[str, Any]:
    """Put together the user metadata of a sequence.

    The recording knows better than the configuration, and the sidecar better than both: where
    the same key comes twice, that of the sidecar counts. rosbag2's custom data has a table of its
    own. Nothing replaces the bridge's block.

    Args:
        constants: From the configuration, placeholders already filled in.
        bridge: The bridge's own block: identity, versions and whatever else is known beforehand.
        custom_data: What the recorder was told to write into the recording.
        sidecar: What lay beside the recording.

    Returns:
        Plain JSON values; keys the platform does not accept are changed, and the bridge's block
        lists under `renamed_keys` what they were.
    """
    metadata: dict[str, Any] = dict(constants)
    if custom_data:
        metadata[CUSTOM_DATA_KEY] = custom_data
    block = dict(bridge)
    if sidecar is not None and sidecar.path is not None:
        metadata |= sidecar.metadata
        block["sidecar"] = {"file": sidecar.path.name, "trouble": sidecar.trouble}
    metadata[BRIDGE_KEY] = block
    cleaned, renamed = clean_keys(metadata)
    if renamed:
        cleaned[BRIDGE_KEY]["renamed_keys"] = renamed
    return cleaned


def fill_placeholders(
    constants: Mapping[str, Any], *, environment: Mapping[str, str], hostname: str
) -> dict[str, Any]:
    """Fill in `${NAME}` from the environment and `{hostname}` in configured constants.

    Args:
        constants: From the configuration; text at any depth is looked at.
        environment: The environment.
        hostname: Name of this machine.

    Raises:
        ConfigError: A variable is not set.
    """
    return {
        key: _fill(value, f"metadata.{key}", environment, hostname)
        for key, value in constants.items()
    }


def _fill(value: Any, key: str, environment: Mapping[str, str], hostname: str) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _fill(item, f"{key}.{name}", environment, hostname)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_fill(item, key, environment, hostname) for item in value]
    if not isinstance(value, str):
        return value

    def known(match: re.Match[str]) -> str:
        variable = match.group(1)
        if variable is None:
            return hostname
        if variable not in environment:
            raise ConfigError(
                f"{key} = {value!r} needs the environment variable {variable}, which is not set",
                key=key,
                hint=f"set {variable}, or change {key}",
            )
        return environment[variable]

    return _PLACEHOLDER.sub(known, value)
