"""Turns what is wrong with settings into one error: every fault with its place and a suggestion."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from bridge.config.sections import mentions
from bridge.config.settings import ENVIRONMENT_PREFIX, FolderSettingsError, Settings
from bridge.errors import ConfigError

SHOWN_MAX = 10
VALUE_CHARACTERS_MAX = 200
# What pydantic calls things, by the kind of its message, and what a reader of TOML calls them.
WORDS = {
    "int": "should be a whole number",
    "float": "should be a number",
    "finite": "should be a number",
    "bool": "should be true or false",
    "string": "should be text in quotes",
    "path": "should be a path, as text in quotes",
    "tuple": 'should be a list, as in ["a", "b"]',
    "dict": "should be a table",
    "model": "should be a table",
    "missing": "is missing",
}
UNITS = {"_s": "seconds", "_bytes": "bytes", "_days": "days", "_hz": "Hz", "_ms": "ms"}
REFERENCE = "`mosaico-bridge config reference` lists all settings"
_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([^=#\s][^=#]*?)\s*=")


def explained(error: ValidationError, file: Path | None) -> ConfigError:
    """Give one error that names every fault: key, value, place, and what was probably meant.

    Args:
        error: What the check of the settings found.
        file: The settings file, or None.
    """
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for loc, one, known in _each(error):
        # Of a value that may be several things each is reported by itself.
        if loc not in found:
            found[loc] = _fault(loc, one, file, known)
        elif one["type"] == "literal_error":
            text, hint = found[loc]
            found[loc] = text.replace(" (it is", f", or {one['ctx']['expected']} (it is", 1), hint
    texts = list(found.values())
    key = ".".join(next(iter(found)))
    if len(texts) == 1:
        return ConfigError(texts[0][0], key=key, hint=texts[0][1])
    shown = [f"{text}; {hint}" if hint else text for text, hint in texts[:SHOWN_MAX]]
    if len(texts) > SHOWN_MAX:
        shown.append(f"and {len(texts) - SHOWN_MAX} more")
    lines = "\n".join(f"  {text}" for text in shown)
    return ConfigError(f"{len(texts)} settings are wrong:\n{lines}", key=key)


def _each(
    error: ValidationError, folder: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, "_Key"]]:
    """Give each fault with the key it is about; those of a folder's own tables, too."""
    for one in error.errors(include_url=False):
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, FolderSettingsError):
            yield from _each(cause.error, ("folders", cause.name))
            continue
        key = _Key.of(tuple(str(step) for step in one["loc"]))
        yield folder + key.loc, one, key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """A place in the tree of settings.

    Attributes:
        loc: The key's steps, without what pydantic adds for alternatives.
        siblings: The keys that its table may have.
        kind: What its value may be; None where there is no such key.
    """

    loc: tuple[str, ...]
    siblings: tuple[str, ...]
    kind: Any

    @classmethod
    def of(cls, loc: tuple[str, ...]) -> "_Key":
        """Walk down the tree of settings."""
        kind: Any = Settings
        siblings: tuple[str, ...] = ()
        for depth, step in enumerate(loc):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                siblings = tuple(kind.model_fields)
                field = kind.model_fields.get(step)
                kind = field.annotation if field else None
            elif get_origin(kind) in {dict, tuple}:
                siblings = ()
                kind = get_args(kind)[1 if get_origin(kind) is dict else 0]
            elif kind is not None:
                return cls(loc=loc[:depth], siblings=siblings, kind=kind)
        return cls(loc=loc, siblings=siblings, kind=kind)

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return mentions(self.kind, SecretStr)


def unknown_variables(names: Sequence[str]) -> ConfigError:
    """Give the error for environment variables that look like settings and are none."""
    sections = list(Settings.model_fields)
    known = [name.upper() for name in sections] + [
        f"{section}__{key}".upper()
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    ]
    first = names[0]
    meant = _nearest(first.upper().removeprefix(ENVIRONMENT_PREFIX), known)
    suggestion = f"did you mean {ENVIRONMENT_PREFIX}{meant}? " if meant else ""
    many = "variables name no settings" if len(names) > 1 else "variable names no setting"
    return ConfigError(
        f"environment {many}: {', '.join(names)}",
        key=first,
        hint=f"{suggestion}sections are: {', '.join(sections)}",
    )


def undecodable_variables() -> ConfigError:
    """Give the error for environment variables of lists and tables that are not JSON.

    Their values are not shown: one of a whole section may hold secrets.
    """
    wrong = []
    for name, value in os.environ.items():
        if not name.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        loc = tuple(name.upper().removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        if mentions(_Key.of(loc).kind, tuple, dict, BaseModel) and not _is_json(value):
            wrong.append(name)
    return ConfigError(
        f"environment variable {', '.join(sorted(wrong))}: should be JSON",
        key=wrong[0] if wrong else "",
        hint="""a list is written as '["a", "b"]', a table as '{"key": "value"}'""",
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _fault(loc: tuple[str, ...], one: Any, file: Path | None, key: _Key) -> tuple[str, str]:
    """Give a sentence and a hint for one fault."""
    name = ".".join(loc)
    where = _place(loc, file)
    if one["type"] == "extra_forbidden":
        return f"unknown setting {name}{where}", _meant(loc, key)
    message = one["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not key.loc:
        inside = f"{name}: " if name else ""
        return f"settings{where} contradict each other: {inside}{message}", ""
    if one["type"].startswith(("int_", "float_", "finite")):
        unit = next((word for end, word in UNITS.items() if loc[-1].endswith(end)), "")
        unit = "bytes" if "bytes" in loc[-1] else unit
        message = WORDS[one["type"].split("_")[0]] + (
            f" of {unit}, without the unit" if unit else ""
        )
    else:
        message = WORDS.get(one["type"].split("_")[0], message)
    # A wrong secret must not be repeated in a message.
    hidden = key.secret or one["type"] == "missing" or "key" in loc[-1]
    shown = "" if hidden else f" (it is {one['input']!r:.{VALUE_CHARACTERS_MAX}})"
    return f"setting {name}{where}: {message}{shown}", ""


def _meant(loc: tuple[str, ...], key: _Key) -> str:
    """Say what an unknown key was probably meant to be."""
    table, word = loc[:-1], loc[-1]
    # A key that was written above the first table.
    homes = [
        f"{name}.{word}"
        for name, field in Settings.model_fields.items()
        if word in getattr(field.annotation, "model_fields", {}) and not table
    ]
    if nearest := _nearest(word, key.siblings):
        homes.append(".".join((*table, nearest)))
    return f"did you mean {' or '.join(homes)}?" if homes else REFERENCE


def _place(loc: tuple[str, ...], file: Path | None) -> str:
    variable = ENVIRONMENT_PREFIX + "__".join(loc).upper()
    if any(name.upper() == variable for name in os.environ):
        return f" (environment variable {variable})"
    if file is None:
        return ""
    line = _line(loc, file)
    return f" in {file}, line {line}" if line else f" in {file}"


def _line(loc: tuple[str, ...], file: Path) -> int:
    """Find the line that sets a key, or the nearest one above it; 0 where there is none.

    Reads the file as text, since the parser keeps no lines; keys inside of inline tables are on the
    line of their table.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    wanted = [step for step in loc if not step.isdecimal()]
    table: list[str] = []
    best, depth = 0, 0
    for number, line in enumerate(lines, start=1):
        if match := _TABLE.match(line):
            table = _steps(match[1])
            path = table
        elif match := _KEY.match(line):
            path = table + _steps(match[1])
        else:
            continue
        if len(path) > depth and path == wanted[: len(path)]:
            best, depth = number, len(path)
    return best


def _steps(dotted: str) -> list[str]:
    return [step.strip().strip("\"'") for step in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted)]


def _nearest(word: str, words: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word, words, n=1)), "")
