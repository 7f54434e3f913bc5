"""`mosaico-bridge inspect`: what is in a recording, and what would become of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import RecordingReader, Survey, load_recording, open_recording, survey
from bridge.cli.options import AsJson, ConfigFile
from bridge.cli.report import OUTCOME_STYLES
from bridge.cli.terminal import Exit, cell, out, print_json, size, table
from bridge.compose import ingest_options
from bridge.config import load_settings
from bridge.ingest import TopicReport, plan_topics
from bridge.model import Loss


def inspect(
    path: Annotated[Path, typer.Argument(help="A bag: a folder or a file.")],
    config: ConfigFile = None,
    json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the messages: damage inside stays unseen.")
    ] = False,
) -> int:
    """Show the topics of a recording, how each would be mapped, what is damaged and what is not.

    Reads all of it, sends nothing, writes nothing. Exits with 0 for a recording that would arrive
    whole, 3 for one that would arrive in part.
    """
    options = ingest_options(load_settings(config))
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
        if json:
            print_json(_as_json(reader, topics, found, closed=closed))
        else:
            _print(reader, topics, found, closed=closed)
        whole = closed and not reader.tally.losses
    return Exit.OK if whole else Exit.PARTIAL


def _print(
    reader: RecordingReader, topics: list[TopicReport], found: Survey | None, *, closed: bool
) -> None:
    recording = reader.recording
    state = "[green]closed properly[/]" if closed else "[yellow]not closed properly[/]"
    out.print(
        f"{cell(str(recording.path))}: {len(recording.files)} files, "
        f"{size(reader.recorded_bytes)}, {state}"
    )
    made = table(
        [
            ("topic", "left"),
            ("type", "left"),
            ("messages", "right"),
            ("ontology", "left"),
            ("outcome", "left"),
        ],
    )
    for topic, count in zip(topics, _counts(topics, found), strict=True):
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.shown_name),
            cell(topic.msgtype),
            "?" if count is None else f"{count:,}",
            cell(topic.ontology_tag) or "-",
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(topic.reason)})" if topic.reason else ""),
        )
    out.print(made)
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
                "platform_name": topic.platform_name,
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
