"""Names the platform accepts: of sequences from a template, of topics from those of ROS.

A sequence name starts with a letter or digit and goes on with letters, digits, `-` and `_`; a
topic name may also have slashes between its parts. The original topic name is kept in the topic's
metadata.
"""

import re
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bridge.errors import ConfigError

TEMPLATE_KEY = "ingest.sequence_name"

ID_DIGITS = 12
"""How much of a recording's identity goes into a name: 48 bits."""

BRIDGE_KEY = "_bridge_"
"""The block that is ours: who sent what, and how."""

START_FORMAT = "%Y%m%dT%H%M%SZ"

_NOT_IN_SEQUENCE = re.compile(r"[^A-Za-z0-9_-]")
_NOT_IN_TOPIC = re.compile(r"[^A-Za-z0-9_/-]")
_SLASHES = re.compile(r"/{2,}")

_CHANGED = 3
"""The claim of a topic whose name had to be changed by more than a slash."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def topic_names(recorded: Sequence[tuple[str, str]], *, prefix: str = "") -> list[str]:
    """Give the names of a recording's topics on the platform.

    A name that the platform accepts is kept by the topic that has it; names that had to be changed
    give way. Topics that find their name taken get the first of `_2`, `_3` and so on that is free.

    Args:
        recorded: For each topic its name as recorded, and the name that the user chose instead or
            an empty text.
        prefix: Put before every name, as further parts of it.

    Returns:
        For each topic `/part/part`: a leading slash, a letter or digit, then letters, digits, `-`,
        `_` and `/`. No two are equal.
    """
    wanted = [_accepted(rename or name, prefix) for name, rename in recorded]
    names = [""] * len(recorded)
    taken: set[str] = set()
    for index in sorted(range(len(recorded)), key=lambda each: _claim(*recorded[each])):
        if wanted[index] not in taken:
            names[index] = wanted[index]
            taken.add(names[index])
    next_number: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name:
            number = next_number.get(wanted[index], 2)
            while f"{wanted[index]}_{number}" in taken:
                number += 1
            next_number[wanted[index]] = number + 1
            names[index] = f"{wanted[index]}_{number}"
            taken.add(names[index])
    return names


def _accepted(name: str, prefix: str) -> str:
    """Make a name that the platform accepts."""
    wanted = _SLASHES.sub("/", f"{prefix}/{name}")
    bare = _NOT_IN_TOPIC.sub("_", wanted).strip("/")
    return "/" + (bare.lstrip("-_/") or "topic")


def _claim(name: str, rename: str) -> int:
    """Rank what a topic can say for its name: 0 for one that is recorded as the platform has it."""
    if rename:
        return 1 if _accepted(rename, "") == f"/{rename.lstrip('/')}" else _CHANGED
    if _accepted(name, "") == name:
        return 0
    return 2 if _accepted(name, "") == f"/{name}" else _CHANGED


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
