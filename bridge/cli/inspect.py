"""`mosaico-bridge inspect`: what is in a recording, and what would become of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import RecordingReader, Survey, load_recording, open_recording, survey
from bridge.cli.options import AsJson, ConfigFile
from bridge.cli.paths import find_named
from bridge.cli.report import OUTCOME_STYLES
from bridge.cli.terminal import (
    Exit,
    cell,
    exit_code,
    has_room,
    out,
    print_error,
    print_json,
    show,
    size,
    table,
)
from bridge.compose import ingest_options
from bridge.config import load_settings
from bridge.errors import BridgeError, RecordingError
from bridge.ingest import IngestOptions, TopicReport, plan_topics
from bridge.model import Loss


def inspect(
    paths: Annotated[
        list[Path], typer.Argument(help="Bags, or folders to search for bags.", metavar="PATH...")
    ],
    config: ConfigFile = None,
    json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the messages: damage inside stays unseen.")
    ] = False,
) -> int:
    """Show the topics of a recording, how each would be mapped, what is damaged and what is not.

    Reads all of it, sends nothing, writes nothing. A folder that is not a recording itself is
    searched for recordings. Exits with 0 for a recording that would arrive whole, 3 for one that
    would arrive in part, otherwise with the code of the first error; of several the worst counts.
    """
    options = ingest_options(load_settings(config))
    named = find_named(paths)
    several = named.searched or len(paths) > 1
    failures = list(named.failures)
    seen: list[Inspected] = []
    for path in named.recordings:
        try:
            found = _inspect(path, options, quick=quick, shown=not json)
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
    for _, failure in failures:
        print_error(failure)
    if failures:
        return exit_code(failures[0][1])
    return Exit.OK if all(found.whole for found in seen) else Exit.PARTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What was found in one recording.

    Attributes:
        path: The recording.
        whole: Whether all of it would arrive.
        size_bytes: Size of its files.
        messages: How many messages it has; None where that is not known.
        as_json: Everything, as plain JSON values.
    """

    path: Path
    whole: bool
    size_bytes: int
    messages: int | None
    as_json: dict[str, Any]


def _inspect(path: Path, options: IngestOptions, *, quick: bool, shown: bool) -> Inspected:
    recording = load_recording(path)
    with open_recording(
        recording,
        limits=options.reading,
        definitions=options.definitions,
        scratch_dir=options.scratch_dir,
    ) as reader:
        topics = plan_topics(reader, options)
        closed = reader.healthy
        found = None if quick else survey(reader)
        if shown:
            _print(reader, topics, found, closed=closed)
        return Inspected(
            path=path,
            whole=closed and not reader.tally.losses,
            size_bytes=reader.recorded_bytes,
            messages=reader.message_count if found is None else found.messages.total(),
            as_json=_as_json(reader, topics, found, closed=closed),
        )


def _print_summary(seen: list[Inspected], failures: list[tuple[Path, BridgeError]]) -> None:
    made = table([("recording", "left"), ("messages", "right"), ("size", "right"),
                  ("would arrive", "fold")])  # fmt: skip
    for found in seen:
        count = "?" if found.messages is None else f"{found.messages:,}"
        result = "[green]whole[/]" if found.whole else "[yellow]in part[/]"
        made.add_row(cell(found.path.name), count, size(found.size_bytes), result)
    for path, error in failures:
        made.add_row(cell(path.name), "-", "-", f"[red]not at all[/]: {cell(error.message)}")
    show(made)


def _print(
    reader: RecordingReader, topics: list[TopicReport], found: Survey | None, *, closed: bool
) -> None:
    recording = reader.recording
    state = "[green]closed properly[/]" if closed else "[yellow]not closed properly[/]"
    out.print(
        f"{cell(str(recording.path))}: {len(recording.files)} files, "
        f"{size(reader.recorded_bytes)}, {state}"
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
    for topic, count in zip(topics, _counts(topics, found), strict=True):
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.name),
            *([cell(topic.msgtype)] if roomy else []),
            "?" if count is None else f"{count:,}",
            cell(topic.ontology_tag) or "-",
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(topic.reason)})" if topic.reason else ""),
        )
    show(made)
    for note in recording.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    for loss in reader.tally.losses:
        out.print(
            f"[yellow]damaged:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}",
            soft_wrap=True,
        )
    if found is not None:
        _print_survey(found, topics)


def _print_survey(found: Survey, topics: list[TopicReport]) -> None:
    for (index, reason), count in found.skipped.items():
        name = topics[index].name if index >= 0 else "no topic"
        out.print(
            f"[yellow]unusable:[/] {count:,} messages of {cell(name)}: {cell(reason)}",
            soft_wrap=True,
        )
    if found.losses:
        out.print(
            f"salvage would recover {found.messages.total():,} messages and lose "
            f"{found.lost_bytes:,} bytes in {len(found.losses):,} places",
            soft_wrap=True,
        )
    if found.unverified_messages:
        out.print(
            f"unverifiable: {found.unverified_messages:,} messages, the files carry no checksum "
            "for them",
            soft_wrap=True,
        )


def _counts(topics: list[TopicReport], found: Survey | None) -> list[int | None]:
    """Give the messages of each topic: as found, or as the files claim where they were not read."""
    if found is None:
        return [topic.messages_recorded for topic in topics]
    counts = found.messages.copy()
    for (index, _), count in found.skipped.items():
        counts[index] += count
    return [counts[index] for index in range(len(topics))]


def _as_json(
    reader: RecordingReader, topics: list[TopicReport], found: Survey | None, *, closed: bool
) -> dict[str, Any]:
    return {
        "path": str(reader.recording.path),
        "files": [
            {"path": str(file.path), "size_bytes": file.size_bytes, "container": file.container}
            for file in reader.recording.files
        ],
        "healthy": closed,
        "message_count": reader.message_count,
        "notes": reader.recording.notes,
        "losses": [_loss_as_json(loss) for loss in reader.tally.losses],
        "found": None
        if found is None
        else {
            "messages": found.messages.total(),
            "unverifiable": found.unverified_messages,
            "lost_bytes": found.lost_bytes,
            "unusable": [
                {
                    "topic": topics[index].name if index >= 0 else "",
                    "reason": why,
                    "messages": count,
                }
                for (index, why), count in found.skipped.items()
            ],
        },
        "topics": [
            {
                "name": topic.name,
                "msgtype": topic.msgtype,
                "messages": count,
                "ontology_tag": topic.ontology_tag,
                "outcome": topic.outcome,
                "reason": topic.reason,
            }
            for topic, count in zip(topics, _counts(topics, found), strict=True)
        ],
    }


def _loss_as_json(loss: Loss) -> dict[str, Any]:
    return {
        "path": str(loss.path),
        "start_bytes": loss.start_bytes,
        "end_bytes": loss.end_bytes,
        "reason": loss.reason,
    }
