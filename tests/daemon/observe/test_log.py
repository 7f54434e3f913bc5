"""The log as a person, a collector and the journal read it."""

import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.daemon.events.events import (
    GateChanged,
    IngestFailed,
    IngestFinished,
    IngestStarted,
    RecordingChanged,
    Started,
    Ticked,
)
from bridge.daemon.events.status import Gate, GateStatus, WatchStatus
from bridge.daemon.journal.entry import Failure, Transition
from bridge.daemon.journal.states import State
from bridge.daemon.observe.event_log import EventLog
from bridge.daemon.observe.log import (
    REPEAT_KINDS_MAX,
    REPEAT_WINDOW_S,
    REPEATS_MAX,
    LogHandler,
    RecordingLogger,
    configure_logging,
)
from bridge.errors import Trouble
from bridge.ingest import IngestReport, TopicOutcome, TopicReport
from bridge.model import Loss
from tests.daemon.observe.situations import entry, failure, status

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


def test_life_of_a_recording_is_a_few_lines(configured: Configure) -> None:
    """From complete to arrived takes three lines, each naming the recording."""
    buffer = configured(format="json")
    events = EventLog()
    ready = entry(state=State.READY)
    step = Transition(entry_id=1, before=None, after=State.READY, at_ns=1, reason="complete")
    events.hear(RecordingChanged(entry=ready, transition=step))
    events.hear(IngestStarted(entry=ready, sequence="drive_1", size_bytes=7, message_count=None))
    report = IngestReport(recording="drive", sequence="drive_1", fingerprint="f", seconds=1.25)
    events.hear(IngestFinished(entry=ready, report=report))
    written = [json.loads(line) for line in lines(buffer)]
    assert [line["message"] for line in written] == [
        "ready: complete",
        "sending",
        "on the platform",
    ]
    assert {line["recording"] for line in written} == {"/data/drive"}
    assert written[-1]["sequence"] == "drive_1"


def test_lost_data_is_an_error(configured: Configure) -> None:
    """A recording that arrived in part is an error, with the topics concerned."""
    buffer = configured(format="json")
    topic = TopicReport(
        name="/imu", msgtype="a/msg/B", outcome=TopicOutcome.MAPPED, messages_skipped={"short": 2}
    )
    loss = Loss(path=Path("a"), start_bytes=0, end_bytes=9, reason="torn")
    report = IngestReport(
        recording="drive", sequence="s", fingerprint="f", topics=[topic], losses=[loss]
    )
    EventLog().hear(IngestFinished(entry=entry(), report=report))
    first, second = (json.loads(line) for line in lines(buffer))
    assert (first["level"], first["lost_bytes"], first["left_out_messages"]) == ("error", 9, 2)
    assert (second["message"], second["short"]) == ("topic /imu is not whole", 2)


def test_outage_is_at_most_a_line_a_minute(configured: Configure) -> None:
    """Ten minutes offline, with every recording failing each second, stay a dozen lines."""
    now_s = 1000.0
    buffer = configured()
    events = EventLog(monotonic=lambda: now_s)
    gate = GateStatus(gate=Gate.OFFLINE, reason="nobody answers", hint="is the link up?")
    events.hear(GateChanged(gate=gate))
    offline = failure(error="OfflineError", trouble=Trouble.OFFLINE)
    for _ in range(600):
        now_s += 1
        events.hear(GateChanged(gate=gate))
        events.hear(IngestFailed(entry=entry(), failure=offline, retry_in_s=1.0))
        events.hear(Ticked(status=status(gate=gate)))
    events.hear(GateChanged(gate=GateStatus(gate=Gate.OPEN, reached=True)))
    written = lines(buffer)
    assert 3 <= len(written) <= 12
    assert "now offline: nobody answers" in written[0]
    assert "still offline" in written[1]
    assert written[-1].endswith("the platform is back")


def test_embedded_server_is_loud_in_the_log(configured: Configure) -> None:
    """The start warns when recordings go to the embedded server."""
    buffer = configured()
    EventLog().hear(Started(status=status(embedded=True)))
    assert "warning EMBEDDED server" in lines(buffer)[0]


def test_what_needs_a_person_is_an_error_with_a_hint(configured: Configure) -> None:
    """Quarantine is told as an error, with what to do about it."""
    buffer = configured(format="json")
    bad = entry(state=State.QUARANTINED, failure=failure(hint="run inspect"))
    step = Transition(entry_id=1, before=None, after=State.QUARANTINED, at_ns=1, reason="torn")
    EventLog().hear(RecordingChanged(entry=bad, transition=step))
    line = json.loads(buffer.getvalue())
    assert (line["level"], line["hint"]) == ("error", "run inspect")


@pytest.mark.parametrize(
    ("state", "trouble", "retry_in_s", "level", "said"),
    [
        (State.WAITING, Trouble.TRANSIENT, 12.0, "warning", "failed, again in 12 s: broken"),
        (State.READY, Trouble.TRANSIENT, None, "warning", "failed, to be tried again: broken"),
        (State.QUARANTINED, Trouble.POISON, None, "error", "failed, not tried again: broken"),
        (State.REJECTED, Trouble.REJECTED, None, "error", "failed, not tried again: broken"),
        (State.READY, Trouble.REFUSED, None, "", ""),
        (State.READY, Trouble.OFFLINE, None, "", ""),
        (State.EMPTY, Trouble.POISON, None, "", ""),
    ],
)
def test_a_failure_says_whether_it_is_tried_again(
    configured: Configure,
    state: State,
    trouble: Trouble,
    retry_in_s: float | None,
    level: str,
    said: str,
) -> None:
    """What is tried again is never called final, and what is no failure is no line."""
    buffer = configured(format="json")
    broken = Failure(error="SomeError", message="broken", trouble=trouble)
    EventLog().hear(IngestFailed(entry=entry(state=state), failure=broken, retry_in_s=retry_in_s))
    found = [json.loads(line) for line in lines(buffer)]

    assert [(one["level"], one["message"]) for one in found] == ([(level, said)] if said else [])


def test_lines_name_the_folder_where_there_are_several(configured: Configure) -> None:
    """Every step of a recording says which folder it is in, the start which there are."""
    buffer = configured(format="json")
    events = EventLog()
    folders = tuple(WatchStatus(name=name, folder=Path("/data") / name) for name in ("a", "b"))
    step = Transition(entry_id=1, before=None, after=State.READY, at_ns=1, reason="complete")
    events.hear(Started(status=status(folders=folders)))
    events.hear(RecordingChanged(entry=entry(path=Path("/data/b/drive")), transition=step))
    events.hear(IngestFailed(entry=entry(path=Path("/data/a/x")), failure=failure(), retry_in_s=1))
    written = [json.loads(line) for line in lines(buffer)]

    assert [line["folder"] for line in written] == ["a: /data/a, b: /data/b", "b", "a"]


def test_topics_without_a_definition_are_one_line_for_each_remedy(configured: Configure) -> None:
    """Sixty topics of one package are said once, with what to do once."""
    buffer = configured(format="json")
    topics = [
        TopicReport(
            name=f"/{package}/{number}",
            msgtype=f"{package}/msg/T{number}",
            outcome=TopicOutcome.SKIPPED,
            reason=f"no definition of {package}/msg/T{number} was found",
            hint=f"put the package {package} into a folder",
            messages_skipped={"no_decoder": 5},
        )
        for package, number in [*(("mine", n) for n in range(60)), ("yours", 0)]
    ]
    report = IngestReport(recording="drive", sequence="s", fingerprint="f", topics=topics)
    EventLog().hear(IngestFinished(entry=entry(), report=report))
    first, *groups = (json.loads(line) for line in lines(buffer))

    assert [group["message"] for group in groups] == [
        "not sent: /mine/0, /mine/1, /mine/2, /mine/3, /mine/4 and 55 more",
        "not sent: /yours/0",
    ]
    assert [group["hint"] for group in groups] == [topics[0].hint, topics[-1].hint]
    assert first["why"] == (
        "/mine/0, /mine/1, /mine/2 and 57 more not sent: no definition of mine/msg/T0 was found "
        "(the others likewise); /yours/0 not sent: no definition of yours/msg/T0 was found"
    )
