"""Names the platform accepts: of sequences from a template, of topics from those of ROS.

A sequence name starts with a letter or digit and goes on with letters, digits, `-` and `_`; a
topic name may also have slashes between its parts. The original topic name is kept in the topic's
metadata.
"""

import re
import string
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from bridge.errors import ConfigError

TEMPLATE_KEY = "ingest.sequence_name"

ID_DIGITS = 12
"""How much of a recording's identity goes into a name: 48 bits."""

START_FORMAT = "%Y%m%dT%H%M%SZ"

_NOT_IN_SEQUENCE = re.compile(r"[^A-Za-z0-9_-]")
_NOT_IN_TOPIC = re.compile(r"[^A-Za-z0-9_/-]")
_SLASHES = re.compile(r"/{2,}")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def topic_name(ros_name: str, taken: Collection[str], *, rename: str = "", prefix: str = "") -> str:
    """Give the name of a topic on the platform.

    Args:
        ros_name: The name as recorded.
        taken: Names on the platform that other topics of the recording already have.
        rename: A name the user chose instead of the recorded one.
        prefix: Put before the name, as further parts of it.

    Returns:
        `/part/part`: a leading slash, a letter or digit, then letters, digits, `-`, `_` and `/`.
        A name that is taken gets `_2`, `_3` and so on.
    """
    wanted = _SLASHES.sub("/", f"{prefix}/{rename or ros_name}")
    bare = _NOT_IN_TOPIC.sub("_", wanted).strip("/")
    name = "/" + (bare.lstrip("-_/") or "topic")
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def sequence_name(
    template: str,
    *,
    stem: str,
    start_ns: int | None,
    identity: str,
    hostname: str = "",
    constants: Mapping[str, object] | None = None,
) -> str:
    """Fill in the template of a sequence name.

    Args:
        template: Text with fields in braces: `{stem}`, `{id}`, `{hostname}`, `{start}` (which
            takes a strftime format after a colon) and the keys of `constants`.
        stem: Name of the recording without folder and extension.
        start_ns: Record time of the first message, UTC; None where there is none.
        identity: Identity of the content; its first digits become `{id}`.
        hostname: Name of this machine.
        constants: The user's own fields; they cannot replace the built-in ones.

    Returns:
        A name the platform accepts: what it does not becomes `_`.

    Raises:
        ConfigError: The template is malformed or has an unknown field.
    """
    values: dict[str, object] = {
        **(constants or {}),
        "stem": stem,
        "id": identity[:ID_DIGITS],
        "hostname": hostname,
        "start": _start(start_ns),
    }
    filled = "".join(_filled(template, values))
    return _NOT_IN_SEQUENCE.sub("_", filled).lstrip("-_") or f"recording_{identity[:ID_DIGITS]}"


def _start(start_ns: int | None) -> datetime | str:
    if start_ns is None:
        return "unknown"
    try:
        return _EPOCH + timedelta(microseconds=start_ns // 1000)
    except OverflowError:
        return str(start_ns)  # no calendar reaches that far


def _filled(template: str, values: Mapping[str, object]) -> list[str]:
    """Fill in the fields one by one; no attributes or indexes, so that only values come out."""
    pieces: list[str] = []
    try:
        for literal, name, spec, _ in string.Formatter().parse(template):
            pieces.append(literal)
            if name is None:
                continue
            if name not in values:
                raise _bad_template(template, f"it has no field {{{name}}}", values)
            value = values[name]
            if isinstance(value, datetime):
                pieces.append(value.strftime(spec or START_FORMAT))
            elif isinstance(value, str) and name == "start":
                pieces.append(value)  # whatever the format, there is no date to put into it
            else:
                pieces.append(format(value, spec or ""))
    except (ValueError, TypeError) as error:
        raise _bad_template(template, str(error), values) from error
    return pieces


def _bad_template(template: str, reason: str, values: Mapping[str, object]) -> ConfigError:
    return ConfigError(
        f"sequence name template {template!r}: {reason}",
        key=TEMPLATE_KEY,
        hint=f"possible fields: {', '.join(f'{{{name}}}' for name in sorted(values))}",
    )
