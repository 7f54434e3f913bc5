"""Turns what is wrong with settings into one error: every fault with its place and a suggestion."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.config.settings import ENVIRONMENT_PREFIX, Settings
from bridge.errors import ConfigError

SHOWN_MAX = 10
VALUE_CHARACTERS_MAX = 200
_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([^=#\s][^=#]*?)\s*=")


def explained(error: ValidationError, file: Path | None) -> ConfigError:
    """Give one error that names every fault: key, value, place, and what was probably meant.

    Args:
        error: What the check of the settings found.
        file: The settings file, or None.
    """
    found = error.errors(include_url=False)
    texts = [_fault(one, file) for one in found]
    key = ".".join(str(step) for step in found[0]["loc"])
    if len(texts) == 1:
        return ConfigError(texts[0][0], key=key, hint=texts[0][1])
    shown = [f"{text}; {hint}" if hint else text for text, hint in texts[:SHOWN_MAX]]
    if len(texts) > SHOWN_MAX:
        shown.append(f"and {len(texts) - SHOWN_MAX} more")
    lines = "\n".join(f"  {text}" for text in shown)
    return ConfigError(f"{len(texts)} settings are wrong:\n{lines}", key=key)


def unknown_variables(names: Sequence[str]) -> ConfigError:
    """Give the error for environment variables that look like settings and are none."""
    sections = list(Settings.model_fields)
    first = names[0]
    word = first.upper().removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
    meant = _nearest(word, sections)
    suggestion = f"did you mean {ENVIRONMENT_PREFIX}{meant.upper()}? " if meant else ""
    many = "variables name no settings" if len(names) > 1 else "variable names no setting"
    return ConfigError(
        f"environment {many}: {', '.join(names)}",
        key=first,
        hint=f"{suggestion}sections are: {', '.join(sections)}",
    )


def _fault(one: Any, file: Path | None) -> tuple[str, str]:
    """Give a sentence and a hint for one fault."""
    loc = tuple(str(step) for step in one["loc"])
    key = ".".join(loc)
    where = _place(loc, file)
    if one["type"] == "extra_forbidden":
        meant = _nearest(loc[-1], _siblings(loc))
        table = ".".join(loc[:-1])
        nearest = f"{table}.{meant}" if table else meant
        hint = "`mosaico-bridge config reference` lists all settings"
        return f"unknown setting {key}{where}", f"did you mean {nearest}?" if meant else hint
    message = one["msg"].removeprefix("Value error, ")
    if not key:
        return f"settings{where} contradict each other: {message}", ""
    # A wrong secret must not be repeated in a message.
    secret = "key" in loc[-1]
    shown = "" if secret else f" (it is {one['input']!r:.{VALUE_CHARACTERS_MAX}})"
    return f"setting {key}{where}: {message}{shown}", ""


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


def _siblings(loc: tuple[str, ...]) -> list[str]:
    """List the keys that the table of a key may have."""
    model: Any = Settings
    for step in loc[:-1]:
        field = model.model_fields.get(step)
        inner = getattr(field, "annotation", None)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _nearest(word: str, words: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word, words, n=1)), "")
