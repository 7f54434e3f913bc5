"""Logging: one line per event that matters, for people, for collectors or for the journal.

Whatever the format, a line carries the facts passed as `extra` (`recording` and `sequence` first),
stays one line whatever a file name contains, shows no secret, and is not repeated for ever.
"""

import json
import logging
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

ROOT_LOGGER = "bridge"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("auto", "console", "json", "journald")

# The priorities of syslog(3), which journald reads from a `<N>` at the start of a line.
PRIORITIES = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}
COLOURS = {10: "2", 20: "32", 30: "33", 40: "31", 50: "1;31"}

# Of equal lines so many pass in a window; the rest is counted, and the count is logged.
REPEATS_MAX = 5
REPEAT_WINDOW_S = 60.0
# Kinds of lines remembered; beyond, the one unseen for longest is forgotten, its count logged.
REPEAT_KINDS_MAX = 1024

MASK = "***"
# Keys of the platform, wherever they turn up.
SECRET_PATTERN = re.compile(r"msco_\w{4,}")

FIRST_FACTS = ("recording", "sequence")
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "left_out",
}  # fmt: skip


class RecordingLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose every line names its recording and, once known, its sequence."""

    def __init__(self, logger: logging.Logger, *, recording: str, sequence: str = "") -> None:
        super().__init__(logger, {"recording": recording, "sequence": sequence})

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Add the two facts to those that the call itself passes."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


def configure_logging(
    level: str = "info",
    format: str = "auto",  # noqa: A002 - the name of the setting
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> logging.Handler:
    """Send the log to a stream, in one of the formats; replaces what was configured before.

    Args:
        level: `debug`, `info`, `warning` or `error`, for our own lines; libraries are heard from
            `warning` on.
        format: `console`, `json`, `journald`, or `auto`: `journald` where the stream leads into
            the journal, else `console`.
        secrets: Texts that must never appear in any line.
        stream: Where to; standard error by default.
        environment: Where `JOURNAL_STREAM` and `NO_COLOR` are looked up; `os.environ` by default.

    Returns:
        The handler, which is installed on the root logger. Closing it reports what was left out.
    """
    target = sys.stderr if stream is None else stream
    variables = os.environ if environment is None else environment
    if format not in FORMATS:
        raise ValueError(f"unknown log format {format!r}; there are: {', '.join(FORMATS)}")
    if format == "auto":
        format = "journald" if _leads_to_journal(target, variables) else "console"  # noqa: A001 - see above
    formatter: logging.Formatter
    if format == "json":
        formatter = JsonFormatter()
    elif format == "journald":
        formatter = JournaldFormatter()
    else:
        formatter = ConsoleFormatter(colour=target.isatty() and not variables.get("NO_COLOR"))
    handler = LogHandler(target, secrets=secrets)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, LogHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT_LOGGER).setLevel(LEVELS[level])
    logging.captureWarnings(capture=True)
    return handler


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, message, then facts as `name=value`."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Give one line, or several where a traceback belongs to it."""
        level = f"{record.levelname.lower():<7}"
        if self._colour:
            level = f"\033[{COLOURS.get(record.levelno, '0')}m{level}\033[0m"
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        return "\n".join([f"{moment} {level} {_line(record)}", *_traceback(self, record)])


class JournaldFormatter(logging.Formatter):
    """For systemd: each line starts with its priority; the journal adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line, or several where a traceback belongs to it."""
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in [_line(record), *_traceback(self, record)])


class JsonFormatter(logging.Formatter):
    """For collectors: one JSON object per line, facts as members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line, whatever it contains."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in _facts(record).items() if name not in entry}
        if left_out := getattr(record, "left_out", 0):
            entry["left_out"] = left_out
        if lines := _traceback(self, record):
            entry["traceback"] = "\n".join(lines)
        return json.dumps(entry, default=str)


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes lines with secrets masked and repeats limited. The handler's lock owns its state."""

    def __init__(
        self,
        stream: TextIO,
        *,
        secrets: Iterable[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream)
        # The longest first, so that a secret that contains another leaves no tail behind.
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._repeats = RepeatLimit(monotonic)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line unless it repeats too often."""
        for passed in self._repeats.admit(record):
            super().emit(passed)

    def format(self, record: logging.LogRecord) -> str:
        """Format, then mask: the last step, so that no way around it exists."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return SECRET_PATTERN.sub(MASK, text).encode("utf-8", "backslashreplace").decode()

    def close(self) -> None:
        """Report what was left out and not yet reported, then close; may be called again."""
        self.acquire()
        try:
            for record in self._repeats.drain():
                super().emit(record)
        finally:
            self.release()
        super().close()


@dataclass(slots=True)
class _Kind:
    """Lines of one kind in the current window."""

    window_start_s: float
    passed: int
    left_out: int
    last: logging.LogRecord


class RepeatLimit:
    """Lets so many lines of a kind pass per window and counts the rest.

    Lines are of one kind when logger, level, text, facts and arguments are equal, numbers aside:
    "offline for 12 s" and "offline for 13 s" repeat each other, two topics do not.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kinds: OrderedDict[tuple[Any, ...], _Kind] = OrderedDict()

    def admit(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """Give the lines to write now: this one, none, or also what a forgotten kind owes."""
        key, now_s = _kind(record), self._monotonic()
        record.left_out = 0
        kind = self._kinds.pop(key, None)
        if kind is None or now_s - kind.window_start_s >= REPEAT_WINDOW_S:
            if kind is not None:
                record.left_out = kind.left_out
            self._kinds[key] = _Kind(now_s, 1, 0, record)
            return [*self._forget_beyond_bound(), record]
        self._kinds[key] = kind
        kind.last = record
        if kind.passed < REPEATS_MAX:
            kind.passed += 1
            return [record]
        kind.left_out += 1
        return []

    def drain(self) -> list[logging.LogRecord]:
        """Forget everything; give the last line of each kind that was left out and not reported."""
        owed = [kind for kind in self._kinds.values() if kind.left_out]
        self._kinds.clear()
        return [_owed(kind) for kind in owed]

    def _forget_beyond_bound(self) -> list[logging.LogRecord]:
        if len(self._kinds) <= REPEAT_KINDS_MAX:
            return []
        _, kind = self._kinds.popitem(last=False)
        return [_owed(kind)] if kind.left_out else []


def _owed(kind: _Kind) -> logging.LogRecord:
    kind.last.left_out = kind.left_out
    return kind.last


def _kind(record: logging.LogRecord) -> tuple[Any, ...]:
    arguments = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
    facts = _facts(record).values()
    words = tuple(
        str(value) for value in (*arguments, *facts) if not isinstance(value, int | float)
    )
    return (record.name, record.levelno, str(record.msg), words)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """Give what was passed as `extra`, recording and sequence first, empty values left out."""
    given = {
        name: value
        for name, value in vars(record).items()
        if name not in _OWN_ATTRIBUTES and value is not None and value != ""
    }
    first = {name: given.pop(name) for name in FIRST_FACTS if name in given}
    return first | given


def _line(record: logging.LogRecord) -> str:
    facts = [f"{name}={_quoted(value)}" for name, value in _facts(record).items()]
    left_out = getattr(record, "left_out", 0)
    note = [f"({left_out} like this left out)"] if left_out else []
    return " ".join([_printable(record.getMessage()), *facts, *note])


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return [_printable(line) for line in formatter.formatException(record.exc_info).splitlines()]


def _printable(text: str) -> str:
    """Escape what could break a line or steer a terminal: control characters of any kind."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _quoted(value: object) -> str:
    text = _printable(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def _leads_to_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Compare the stream with the device and inode that systemd names in `JOURNAL_STREAM`."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
