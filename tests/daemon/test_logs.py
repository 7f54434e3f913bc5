"""The log as a person, a collector and the journal read it."""

import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.daemon.logs import (
    REPEAT_KINDS_MAX,
    REPEAT_WINDOW_S,
    REPEATS_MAX,
    LogHandler,
    RecordingLogger,
    configure_logging,
)

log = logging.getLogger("bridge.daemon.test")
Configure = Callable[..., io.StringIO]


@pytest.fixture
def configured() -> Iterator[Configure]:
    """Configures logging into a text buffer; the former state comes back afterwards."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("bridge").level)

    def configure(level: str = "info", format: str = "console", **more: object) -> io.StringIO:  # noqa: A002 - as in the call under test
        buffer = io.StringIO()
        configure_logging(level, format, stream=buffer, environment={}, **more)  # type: ignore[arg-type] # passed on as they are
        return buffer

    yield configure
    logging.captureWarnings(capture=False)
    for handler in [one for one in root.handlers if isinstance(one, LogHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("bridge").setLevel(before[2])


def fail(text: str) -> None:
    raise ValueError(text)


def repeating_logger(handler: logging.Handler) -> logging.Logger:
    """A logger of its own for the handler, outside the tree of loggers."""
    logger = logging.Logger("repeats", logging.INFO)  # noqa: LOG001 - outside the tree on purpose
    handler.setFormatter(logging.Formatter("%(message)s %(left_out)d"))
    logger.addHandler(handler)
    return logger


def lines(buffer: io.StringIO) -> list[str]:
    return buffer.getvalue().splitlines()


def test_console_line_names_recording_and_sequence(configured: Configure) -> None:
    """A console line has time, level, message and the facts, recording and sequence first."""
    buffer = configured()
    log.info("sent %d topics", 3, extra={"bytes": 7, "sequence": "run_1", "recording": "a b"})
    (line,) = lines(buffer)
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d info    sent 3 topics recording="a b" sequence=run_1 bytes=7', line
    )


def test_json_line_has_facts_as_members(configured: Configure) -> None:
    """Each JSON line is an object whose facts can be queried."""
    buffer = configured(format="json")
    log.error("lost %s", "much", extra={"recording": "r", "lost_bytes": 12, "message_": None})
    entry = json.loads(buffer.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "error",
        "logger": "bridge.daemon.test",
        "message": "lost much",
        "recording": "r",
        "lost_bytes": 12,
    }


def test_journald_lines_carry_their_priority(configured: Configure) -> None:
    """Every line, those of a traceback too, begins with the syslog priority of its level."""
    buffer = configured("debug", "journald")
    log.debug("d")
    log.info("i")
    log.warning("w")
    try:
        fail("first\nsecond")
    except ValueError:
        log.exception("e")
    written = lines(buffer)
    assert written[:4] == ["<7>d", "<6>i", "<4>w", "<3>e"]
    assert len(written) > 5
    assert all(line.startswith("<3>") for line in written[3:])


def test_auto_finds_the_journal(tmp_path: Path) -> None:
    """Auto picks priorities when the stream is the one systemd connected, else plain lines."""
    root = logging.getLogger()
    for connected in (True, False):
        with (tmp_path / "stream").open("w+") as stream:
            status = os.fstat(stream.fileno())
            journal = f"{status.st_dev}:{status.st_ino + (not connected)}"
            handler = configure_logging(stream=stream, environment={"JOURNAL_STREAM": journal})
            log.info("hello")
            root.removeHandler(handler)
            handler.close()
            stream.seek(0)
            assert stream.read().startswith("<6>hello") is connected
    logging.captureWarnings(capture=False)


@pytest.mark.parametrize("format_", ["console", "json", "journald"])
def test_hostile_names_stay_inside_their_line(configured: Configure, format_: str) -> None:
    """Line breaks, terminal escapes and undecodable bytes in names cannot forge lines."""
    buffer = configured(format=format_)
    log.info("found %s", "x\n<0>forged\x1b[2J\u2028y", extra={"recording": "bad\udcff\rname"})
    assert len(lines(buffer)) == 1
    assert "\x1b" not in buffer.getvalue()
    buffer.getvalue().encode("utf-8")


@pytest.mark.parametrize("format_", ["console", "json", "journald"])
def test_secrets_never_appear(configured: Configure, format_: str) -> None:
    """Known secrets and anything shaped like a platform key are masked, in tracebacks too."""
    buffer = configured(format=format_, secrets=["hunter2-hunter2", "hunter2", ""])
    log.info("key %s", "hunter2-hunter2", extra={"recording": "hunter2"})
    try:
        fail("denied for msco_a1b2c3d4e5")
    except ValueError:
        log.exception("refused")
    assert "hunter2" not in buffer.getvalue()
    assert "msco_" not in buffer.getvalue()
    assert buffer.getvalue().count("***") >= 3


def test_repeats_are_limited_and_counted() -> None:
    """Equal lines beyond the bound are counted, and the count comes with the next line."""
    now = [0.0]
    buffer = io.StringIO()
    log = repeating_logger(LogHandler(buffer, monotonic=lambda: now[0]))
    for second in range(50):
        log.info("offline for %d s", second)
        log.info("topic %s dropped", f"/camera_{second}")
    written = lines(buffer)
    assert sum(line.startswith("offline") for line in written) == REPEATS_MAX
    assert sum(line.startswith("topic") for line in written) == 50
    now[0] = REPEAT_WINDOW_S
    log.info("offline for %d s", 99)
    assert lines(buffer)[-1] == f"offline for 99 s {50 - REPEATS_MAX}"


def test_left_out_lines_are_told_at_the_end() -> None:
    """Whatever was left out is told when the handler closes or forgets the kind of line."""
    buffer = io.StringIO()
    handler = LogHandler(buffer, monotonic=lambda: 0.0)
    log = repeating_logger(handler)
    for _ in range(REPEATS_MAX + 2):
        log.info("again")
    for number in range(REPEAT_KINDS_MAX):
        log.info("kind %s", str(number))
    assert "again 2" in lines(buffer)
    for _ in range(REPEATS_MAX + 3):
        log.info("last")
    handler.close()
    handler.close()
    assert lines(buffer)[-1] == "last 3"


def test_recording_logger_adds_its_facts(configured: Configure) -> None:
    """A logger made for a recording names it on each line, beside the call's own facts."""
    buffer = configured(format="json")
    RecordingLogger(log, recording="drive", sequence="drive_1").warning("slow", extra={"s": 1})
    entry = json.loads(buffer.getvalue())
    assert (entry["recording"], entry["sequence"], entry["s"]) == ("drive", "drive_1", 1)


def test_level_applies_to_us_and_libraries_are_quiet(configured: Configure) -> None:
    """The level is that of our own lines; libraries speak from warning on."""
    buffer = configured("debug")
    log.debug("ours")
    logging.getLogger("somebody").info("theirs")
    logging.getLogger("somebody").warning("their warning")
    assert [line.split(maxsplit=2)[2] for line in lines(buffer)] == ["ours", "their warning"]


def test_configuring_again_replaces(configured: Configure) -> None:
    """A second configuration does not double the lines."""
    first, second = configured(), configured()
    log.info("once")
    assert (len(lines(first)), len(lines(second))) == (0, 1)


def test_unknown_format_is_refused() -> None:
    """A format that does not exist names those that do."""
    with pytest.raises(ValueError, match="console, json, journald"):
        configure_logging("info", "xml")
