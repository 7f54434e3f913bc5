"""Shows an ingest: bars or lines while it runs, afterwards a line for each topic and the sums."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bridge.cli.terminal import (
    cell,
    err,
    has_room,
    is_interactive,
    out,
    printable,
    show,
    size,
    table,
)
from bridge.errors import BridgeError
from bridge.ingest import IngestReport, NoEvents, TopicOutcome, TopicReport
from bridge.units import counted

LINE_INTERVAL_S = 5.0
REFRESHES_PER_S = 8
# More topics than a screen has room for are counted in the sum alone.
TOPIC_BARS_MAX = 12


class ProgressBars(NoEvents):
    """Events of one or several ingests, one after the other, as bars: files, bytes, topics.

    Args:
        files: How many recordings there are; the bar of files is for more than one.
    """

    def __init__(self, files: int) -> None:
        self._files = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=err
        )
        self._count = self._files.add_task("recordings", total=files, visible=files > 1)
        self._begun = 0
        self._bytes = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[messages]:,} messages"),
            console=err,
        )
        self._task = self._bytes.add_task("", visible=False, messages=0)
        self._topics = Progress(
            TextColumn("  {task.description}", style="dim"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}{task.fields[of]} messages", style="dim"),
            console=err,
        )
        self._tasks: dict[str, TaskID] = {}
        self._messages = 0
        self._live = Live(
            Group(self._files, self._bytes, self._topics),
            console=err,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
        )

    def __enter__(self) -> Self:
        """Show the bars."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bars."""
        self._live.stop()

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Start the bars of bytes and topics again, for one more recording."""
        del recording, message_count
        self._files.update(self._count, completed=self._begun)
        self._begun += 1
        self._messages = 0
        for task in self._tasks.values():
            self._topics.remove_task(task)
        self._tasks.clear()
        self._bytes.reset(
            self._task,
            total=size_bytes,
            description=escape(printable(sequence)),
            visible=True,
            messages=0,
        )

    def topic_planned(self, *, topic: TopicReport) -> None:
        """Give a topic that will be sent its bar; so many bars, the rest only count in the sum."""
        if topic.outcome not in {TopicOutcome.MAPPED, TopicOutcome.GENERIC}:
            return
        if topic.shown_name in self._tasks or len(self._tasks) >= TOPIC_BARS_MAX:
            return
        total = topic.messages_recorded
        self._tasks[topic.shown_name] = self._topics.add_task(
            escape(printable(topic.shown_name)),
            total=total,
            of="" if total is None else f" of {total:,}",
        )

    def read(self, *, recorded_bytes: int) -> None:
        """Advance by bytes read."""
        self._bytes.advance(self._task, recorded_bytes)

    def messages_read(self, *, topic: str, messages: int) -> None:
        """Advance the topic, whose batch may still wait."""
        self._messages += messages
        self._bytes.update(self._task, messages=self._messages)
        if topic in self._tasks:
            self._topics.advance(self._tasks[topic], messages)

    def finished(self, *, report: IngestReport) -> None:
        """One more recording has arrived."""
        del report
        self._files.update(self._count, completed=self._begun)


class ProgressLines(NoEvents):
    """Events of ingests as plain lines: at the start, every few seconds, at the end."""

    def __init__(self) -> None:
        self._sequence = ""
        self._size_bytes = 0
        self._read_bytes = 0
        self._messages = 0
        self._last_line_s = 0.0

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Say what is sent now."""
        del message_count
        self._sequence, self._size_bytes = printable(sequence), size_bytes
        self._read_bytes = self._messages = 0
        self._last_line_s = time.monotonic()
        self._say(f"{printable(recording)}: {size(size_bytes)}, as {self._sequence}")

    def read(self, *, recorded_bytes: int) -> None:
        """Say now and then how far it is; before the start, damage is being located."""
        if not self._sequence:
            return
        self._read_bytes += recorded_bytes
        now_s = time.monotonic()
        if now_s - self._last_line_s >= LINE_INTERVAL_S:
            self._last_line_s = now_s
            share = self._read_bytes / self._size_bytes if self._size_bytes else 1.0
            self._say(
                f"{self._sequence}: {share:.0%} ({size(self._read_bytes)}), "
                f"{counted(self._messages, 'message')}"
            )

    def messages_read(self, *, topic: str, messages: int) -> None:
        """Count messages."""
        del topic
        self._messages += messages

    def finished(self, *, report: IngestReport) -> None:
        """Say that it is done."""
        how = (
            f"was there already, {counted(report.messages_sent, 'message')}"
            if report.already_there
            else f"{counted(report.messages_sent, 'message')} in {report.seconds:.2f} s"
        )
        self._say(f"{printable(report.sequence)}: {how}, verified: {report.verification}")

    def _say(self, line: str) -> None:
        err.print(line, markup=False, soft_wrap=True)


def progress(files: int) -> AbstractContextManager[ProgressBars | ProgressLines]:
    """Pick bars for a terminal and lines for a pipe or a log.

    Args:
        files: How many recordings there are.
    """
    return ProgressBars(files) if is_interactive() else nullcontext(ProgressLines())


REPAIRS = {
    "invalid_utf8": "text that is not UTF-8 has U+FFFD in its place",
    "invalid_utf16": "text that is not UTF-16 has U+FFFD in its place",
    "aligned_to_four": "numbers of eight bytes are aligned to four, not as announced",
}
"""What was done to messages that were kept, by reason."""

OUTCOME_STYLES = {
    TopicOutcome.MAPPED: "green",
    TopicOutcome.GENERIC: "cyan",
    TopicOutcome.FILTERED: "dim",
    TopicOutcome.EMPTY: "dim",
    TopicOutcome.SKIPPED: "yellow",
}


def print_report(report: IngestReport) -> None:
    """Print what arrived: one line for each topic, then the sum."""
    out.print(f"{cell(report.recording)} → [bold]{cell(report.sequence)}[/]", soft_wrap=True)
    roomy = has_room()
    made = table([
        ("topic", "left"), *([("type", "left")] if roomy else []), ("ontology", "left"),
        ("messages", "right"), ("skipped", "right"), ("size", "right"), ("outcome", "fold"),
    ])  # fmt: skip
    for topic in report.topics:
        skipped = sum(topic.messages_skipped.values())
        reasons = ", ".join(f"{count} {why}" for why, count in topic.messages_skipped.items())
        why = topic.reason or reasons
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.shown_name),
            *([cell(topic.msgtype)] if roomy else []),
            cell(topic.ontology_tag) or "-",
            f"{topic.messages_sent:,}",
            f"{skipped:,}" if skipped else "-",
            "-" if report.already_there else size(topic.arrow_bytes),
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(why)})" if why else ""),
        )
    show(made)
    out.print(_sum_line(report), soft_wrap=True)
    if not report.complete:
        out.print(f"[yellow]in part:[/] {cell('; '.join(report.shortfalls))}", soft_wrap=True)
    print_not_sent(report)
    print_findings(report)
    _print_doubts(report)
    if report.messages_unverifiable:
        out.print(
            f"[dim]unverifiable: {counted(report.messages_unverifiable, 'message')}; the recorder"
            " wrote no checksums that would show damage[/]",
            soft_wrap=True,
        )
    for note in report.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    print_contradictions(report)
    for loss in report.losses:
        out.print(
            f"[yellow]lost:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}",
            soft_wrap=True,
        )


def print_not_sent(report: IngestReport) -> None:
    """Print what would bring in topics that are not sent, once for all of them."""
    for group in report.not_sent:
        if group.hint:
            topics = "1 topic" if len(group.topics) == 1 else f"{len(group.topics):,} topics"
            out.print(f"[yellow]not sent:[/] {topics}; {cell(group.hint)}", soft_wrap=True)


def _print_doubts(report: IngestReport) -> None:
    """Print which messages were sent although something about them is odd."""
    for topic in report.topics:
        if topic.messages_leftover:
            out.print(
                f"[yellow]note:[/] {counted(topic.messages_leftover, 'message')} of "
                f"{cell(topic.shown_name)} with more bytes than "
                f"the definition of {cell(topic.msgtype)} knows",
                soft_wrap=True,
            )
        for reason, count in topic.messages_repaired.items():
            out.print(
                f"[yellow]note:[/] kept {counted(count, 'message')} of {cell(topic.shown_name)}: "
                f"{REPAIRS.get(reason, reason)}",
                soft_wrap=True,
            )


def print_findings(report: IngestReport) -> None:
    """Print what falls short of what is expected."""
    for finding in report.findings:
        out.print(
            f"[yellow]finding:[/] {cell(finding.topic)}: {cell(finding.text)}", soft_wrap=True
        )


def print_quality(report: IngestReport) -> None:
    """Print how each topic was recorded: one line each, dashes for what is not known."""
    measured = [(topic, topic.quality) for topic in report.topics if topic.quality is not None]
    measured = [(topic, figures) for topic, figures in measured if figures.messages]
    if not measured:
        return
    made = table([
        ("topic", "left"), ("Hz", "right"), ("period", "right"), ("99 %", "right"),
        ("longest gap", "right"), ("delay", "right"), ("99 %", "right"), ("back", "right"),
        ("repeated", "right"), ("lost", "right"),
    ])  # fmt: skip
    for topic, figures in measured:
        share, lost = figures.repeated_share, figures.lost
        made.add_row(
            cell(topic.shown_name),
            "-" if figures.rate_hz is None else f"{figures.rate_hz:,.4g}",
            span(figures.period_median_s),
            span(figures.period_p99_s),
            span(figures.gap_s),
            span(figures.delay_median_s),
            span(figures.delay_p99_s),
            f"{figures.times_back:,}" if figures.times_back else "-",
            f"{share:.1%}" if share else "-",
            "-" if lost is None else f"{lost:,}",
        )
    show(made)


def span(duration_s: float | None) -> str:
    """Give a duration for people, from microseconds to days; a dash where it is not known."""
    if duration_s is None:
        return "-"
    for unit, size_s in (("s", 1.0), ("ms", 1e-3)):
        if abs(duration_s) >= size_s:
            return f"{duration_s / size_s:,.4g} {unit}"
    return f"{duration_s / 1e-6:.4g} us"


def _sum_line(report: IngestReport) -> str:
    parts = [
        f"{counted(report.messages_sent, 'message')}",
        f"{size(report.recorded_bytes)} recorded",
    ]
    if report.already_there:
        parts.append("was there already")
    else:
        rate = report.messages_sent / report.seconds if report.seconds else 0.0
        parts += [
            f"{size(sum(topic.arrow_bytes for topic in report.topics))} as Arrow",
            f"{report.seconds:.2f} s ({rate:,.0f} messages/s)",
        ]
    return ", ".join([*parts, f"verified: {report.verification}"])


def print_summary(
    reports: Sequence[IngestReport],
    failures: Sequence[tuple[Path, BridgeError]],
    not_tried: Sequence[Path],
) -> None:
    """Print one line for each recording that was named or found, and how many came out how."""
    made = table([
        ("recording", "left"), ("sequence", "left"), ("messages", "right"), ("size", "right"),
        ("result", "fold"),
    ])  # fmt: skip
    results: Counter[str] = Counter()
    for report in reports:
        whole = "was there already" if report.already_there else "whole"
        results["whole" if report.complete else "in part"] += 1
        made.add_row(
            cell(Path(report.recording).name),
            cell(report.sequence),
            f"{report.messages_sent:,}",
            size(report.recorded_bytes),
            f"[green]{whole}[/]"
            if report.complete
            else f"[yellow]in part[/]: {cell('; '.join(report.shortfalls))}",
        )
    for path, error in failures:
        results["failed"] += 1
        made.add_row(cell(path.name), "-", "-", "-", f"[red]failed[/]: {cell(error.message)}")
    for path in not_tried:
        results["not tried"] += 1
        made.add_row(cell(path.name), "-", "-", "-", "[yellow]not tried[/]")
    out.print()
    show(made)
    total = results.total()
    counted = ", ".join(f"{count:,} {result}" for result, count in results.items())
    out.print(f"{total:,} recording{'' if total == 1 else 's'}: {counted}", soft_wrap=True)


def print_contradictions(report: IngestReport) -> None:
    """Print the claims of the recorder that the data contradict."""
    for claim, count in report.contradictions.items():
        often = f" ({count:,} times)" if count > 1 else ""
        out.print(
            f"[dim]wrong claim: {cell(claim)}{often}; the data were believed[/]", soft_wrap=True
        )
