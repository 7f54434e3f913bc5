"""`mosaico-bridge inspect`: what is in a recording, and what would become of it."""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import RecordingReader, load_recording, open_recording
from bridge.cli.ingest import find_named
from bridge.cli.options import AsJson, BagPaths, ConfigFile
from bridge.cli.report import (
    OUTCOME_STYLES,
    print_contradictions,
    print_findings,
    print_not_sent,
    print_quality,
)
from bridge.cli.terminal import (
    Exit,
    cell,
    exit_code,
    has_room,
    out,
    print_errors,
    print_json,
    show,
    size,
    table,
)
from bridge.compose import ingest_options
from bridge.config import load_settings
from bridge.errors import BridgeError, RecordingError
from bridge.ingest import (
    CHOSEN_REASONS,
    IngestOptions,
    IngestReport,
    TopicOutcome,
    TopicReport,
    dry_run,
    missing_files,
    plan_fields,
    plan_topics,
)
from bridge.mapping import LEFT_OUT, Fates
from bridge.model import Loss
from bridge.units import counted

LEFT_OUT_SHOWN = 12


def inspect(
    paths: BagPaths,
    config: ConfigFile = None,
    json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the messages: damage inside stays unseen.")
    ] = False,
    mapping: Annotated[
        bool, typer.Option("--mapping", help="Show which column each field of each topic goes to.")
    ] = False,
) -> int:
    """Show the topics of a recording, how each would be mapped, what is damaged and what is not.

    Reads and converts all of it, sends nothing, writes nothing. A folder that is not a recording
    itself is searched for recordings. Exits with 0 where all would arrive whole, 3 where something
    would arrive in part or not at all, 65 where nothing would, and with the code of the first
    error where one cannot be read.
    """
    options = ingest_options(load_settings(config))
    named = find_named(paths)
    several = named.searched or len(paths) > 1
    failures = list(named.failures)
    seen: list[Inspected] = []
    for path in named.recordings:
        try:
            found = _inspect(path, options, quick=quick, mapping=mapping, shown=not json)
        except RecordingError as error:
            failures.append((path, error))
        else:
            seen.append(found)
            if several and not json:
                out.print()
    if json and not several and seen:
        print_json(seen[0].as_json)
    elif json:
        print_json(
            {
                "recordings": [found.as_json for found in seen],
                "failures": [{"path": str(path), **error.facts()} for path, error in failures],
            }
        )
    elif several:
        _print_summary(seen, failures)
    print_errors([failure for _, failure in failures])
    if failures:
        return exit_code(failures[0][1])
    exits = {found.exit for found in seen}
    return exits.pop() if len(exits) == 1 else Exit.PARTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What was found in one recording.

    Attributes:
        path: The recording.
        exit: The exit code that says how much of it would arrive.
        size_bytes: Size of its files.
        messages: How many messages it has; None where that is not known.
        as_json: Everything, as plain JSON values.
    """

    path: Path
    exit: Exit
    size_bytes: int
    messages: int | None
    as_json: dict[str, Any]


def _inspect(
    path: Path, options: IngestOptions, *, quick: bool, mapping: bool, shown: bool
) -> Inspected:
    recording = load_recording(path)
    opened = partial(
        open_recording,
        recording,
        limits=options.reading,
        definitions=options.definitions,
        scratch_dir=options.scratch_dir,
    )
    with opened() as reader:
        seen = _looked_at(reader, options, quick=quick, mapping=mapping)
        if not reader.misled:
            return _inspected(path, seen, shown=shown)
    # A file lacks channels where it lists all of them.
    with opened(thorough=True) as reader:
        seen = _looked_at(reader, options, quick=quick, mapping=mapping)
        return _inspected(path, seen, shown=shown)


_RESULTS = {
    Exit.OK: "[green]whole[/]",
    Exit.PARTIAL: "[yellow]in part[/]",
    Exit.BAD_RECORDING: "[red]nothing[/]",
}


def _print_summary(seen: list[Inspected], failures: list[tuple[Path, BridgeError]]) -> None:
    made = table([("recording", "left"), ("messages", "right"), ("size", "right"),
                  ("would arrive", "fold")])  # fmt: skip
    for found in seen:
        count = "?" if found.messages is None else f"{found.messages:,}"
        result = _RESULTS[found.exit]
        made.add_row(cell(found.path.name), count, size(found.size_bytes), result)
    for path, error in failures:
        made.add_row(cell(path.name), "-", "-", f"[red]not at all[/]: {cell(error.message)}")
    show(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is in a recording.

    Attributes:
        reader: The recording, read as far as was wanted.
        report: What would become of it; of a quick look, what its definitions tell.
        found: Messages by `Topic.index` that came out of the files; None for a quick look.
        closed: Whether the recorder closed every file, as it seemed before anything was read.
        fields: By topic, the columns that each field of its messages goes to, if it was asked for.
    """

    reader: RecordingReader
    report: IngestReport
    found: Counter[int] | None
    closed: bool
    fields: dict[str, Fates | None] | None = None

    @property
    def exit(self) -> Exit:
        """The exit code that says how much would arrive."""
        topics = self.report.topics
        if self.found is None:
            sent = [t for t in topics if t.outcome in {TopicOutcome.MAPPED, TopicOutcome.GENERIC}]
            nothing = not sent
        else:
            nothing = self.report.messages_sent == 0
        if nothing:
            return Exit.BAD_RECORDING
        return Exit.OK if self.report.complete else Exit.PARTIAL


def _looked_at(
    reader: RecordingReader, options: IngestOptions, *, quick: bool, mapping: bool
) -> _Seen:
    closed = reader.healthy
    fields = plan_fields(reader, options) if mapping else None
    if not quick:
        report, found = dry_run(reader, options)
        report.missing = missing_files(reader.recording)
        return _Seen(reader=reader, report=report, found=found, closed=closed, fields=fields)
    tally = reader.tally
    report = IngestReport(
        recording=str(reader.recording.path),
        sequence="",
        fingerprint="",
        topics=plan_topics(reader, options),
        healthy=closed,
        losses=tally.losses,
        contradictions=dict(tally.contradictions),
        missing=missing_files(reader.recording),
        notes=list(reader.recording.notes),
    )
    return _Seen(reader=reader, report=report, found=None, closed=closed, fields=fields)


def _inspected(path: Path, seen: _Seen, *, shown: bool) -> Inspected:
    if shown:
        _print(seen)
    return Inspected(
        path=path,
        exit=seen.exit,
        size_bytes=seen.reader.recorded_bytes,
        messages=seen.reader.message_count if seen.found is None else seen.found.total(),
        as_json=_as_json(seen),
    )


def _print(seen: _Seen) -> None:
    recording, report = seen.reader.recording, seen.report
    state = "[green]closed properly[/]" if seen.closed else "[yellow]not closed properly[/]"
    out.print(
        f"{cell(str(recording.path))}: {counted(len(recording.files), 'file')}, "
        f"{size(seen.reader.recorded_bytes)}, {state}"
    )
    roomy = has_room()
    made = table(
        [
            ("topic", "left"),
            *([("type", "left")] if roomy else []),
            ("messages", "right"),
            ("ontology", "left"),
            ("outcome", "fold"),
        ],
    )
    for topic in report.topics:
        style = OUTCOME_STYLES[topic.outcome]
        count = _count(topic, seen.found)
        made.add_row(
            cell(topic.shown_name),
            *([cell(topic.msgtype)] if roomy else []),
            "?" if count is None else f"{count:,}",
            cell(topic.ontology_tag) or "-",
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(topic.reason)})" if topic.reason else ""),
        )
    show(made)
    print_quality(report)
    print_findings(report)
    for topic in report.topics:
        left_out = sorted(topic.noted.get(LEFT_OUT, {}))
        if left_out:
            names = ", ".join(left_out[:LEFT_OUT_SHOWN])
            more = f" and {len(left_out) - LEFT_OUT_SHOWN} more" * (len(left_out) > LEFT_OUT_SHOWN)
            out.print(
                f"[yellow]left out of[/] {cell(topic.shown_name)}: {cell(names)}{more}",
                soft_wrap=True,
            )
    for name, fates in (seen.fields or {}).items():
        _print_fates(name, fates)
    for note in report.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    print_not_sent(report)
    print_contradictions(report)
    for loss in report.losses:
        out.print(
            f"[yellow]damaged:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}",
            soft_wrap=True,
        )
    if seen.found is not None:
        _print_found(report, seen.found)


def _print_fates(topic: str, fates: Fates | None) -> None:
    out.print(f"\n{cell(topic)}")
    if fates is None:
        out.print("which columns its fields go to depends on their values")
        return
    made = table([("field", "left"), ("column", "fold")])
    for field, columns in fates.items():
        made.add_row(cell(field), cell(", ".join(columns)) or "-")
    show(made)


def _print_found(report: IngestReport, found: Counter[int]) -> None:
    for suspect in report.topics:
        if suspect.messages_leftover:
            out.print(
                f"[yellow]suspect:[/] {counted(suspect.messages_leftover, 'message')} of "
                f"{cell(suspect.shown_name)} with more bytes than the definition of "
                f"{cell(suspect.msgtype)} knows",
                soft_wrap=True,
            )
    said = {topic.shown_name for topic in report.topics if topic.left_out}
    for topic, reason, count in _unusable(report):
        if topic in said:
            continue
        out.print(
            f"[yellow]unusable:[/] {counted(count, 'message')} of {cell(topic or 'no topic')}: "
            f"{cell(reason)}",
            soft_wrap=True,
        )
    if report.losses:
        out.print(
            f"salvage would recover {counted(found.total(), 'message')} and lose "
            f"{counted(_lost_bytes(report), 'byte')} in {counted(len(report.losses), 'place')}",
            soft_wrap=True,
        )
    if report.messages_unverifiable:
        out.print(
            f"unverifiable: {counted(report.messages_unverifiable, 'message')},"
            " no checksum proves them",
            soft_wrap=True,
        )


def _unusable(report: IngestReport) -> list[tuple[str, str, int]]:
    """List topic, reason and count of the messages that would not arrive, other than by choice."""
    return [
        (topic.shown_name, reason, count)
        for topic in report.topics
        for reason, count in topic.messages_skipped.items()
        if reason not in CHOSEN_REASONS
    ]


def _lost_bytes(report: IngestReport) -> int:
    return sum(loss.end_bytes - loss.start_bytes for loss in report.losses)


def _count(topic: TopicReport, found: Counter[int] | None) -> int | None:
    """Give the messages of a topic: as found, or as the files claim where they were not read."""
    if found is None:
        return topic.messages_recorded
    return topic.messages_sent + sum(topic.messages_skipped.values())


def _as_json(seen: _Seen) -> dict[str, Any]:
    reader, report, found = seen.reader, seen.report, seen.found
    return {
        "path": report.recording,
        "files": [
            {"path": str(file.path), "size_bytes": file.size_bytes, "container": file.container}
            for file in reader.recording.files
        ],
        "healthy": seen.closed,
        "message_count": reader.message_count,
        "notes": report.notes,
        "missing": report.missing,
        "contradictions": report.contradictions,
        "quality": None if report.quality is None else asdict(report.quality),
        "losses": [_loss_as_json(loss) for loss in report.losses],
        "found": None
        if found is None
        else {
            "messages": found.total(),
            "arriving": report.messages_sent,
            "unverifiable": report.messages_unverifiable,
            "lost_bytes": _lost_bytes(report),
            "unusable": [
                {"topic": topic, "reason": reason, "messages": count}
                for topic, reason, count in _unusable(report)
            ],
        },
        "topics": [
            {
                "name": topic.name,
                "platform_name": topic.platform_name,
                "msgtype": topic.msgtype,
                "messages": _count(topic, found),
                "ontology_tag": topic.ontology_tag,
                "outcome": topic.outcome,
                "noted": topic.noted,
                "quality": None if topic.quality is None else asdict(topic.quality),
                **({} if seen.fields is None else {"fields": seen.fields.get(topic.shown_name)}),
                "reason": topic.reason,
                "hint": topic.hint,
            }
            for topic in report.topics
        ],
    }


def _loss_as_json(loss: Loss) -> dict[str, Any]:
    return {
        "path": str(loss.path),
        "start_bytes": loss.start_bytes,
        "end_bytes": loss.end_bytes,
        "reason": loss.reason,
    }
