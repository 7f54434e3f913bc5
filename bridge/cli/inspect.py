"""`mosaico-bridge inspect`: what is in a recording, and what would become of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.bags import RecordingReader, load_recording, open_recording
from bridge.cli.exits import Exit
from bridge.cli.options import AsJson, ConfigFile
from bridge.cli.report import OUTCOME_STYLES
from bridge.cli.terminal import cell, out, print_json, size, table
from bridge.config import load_settings
from bridge.daemon import ingest_options
from bridge.ingest import TopicReport, plan_topics


def inspect(
    path: Annotated[Path, typer.Argument(help="A bag: a folder or a file.")],
    config: ConfigFile = None,
    json: AsJson = False,
) -> int:
    """Show the topics of a recording, how each would be mapped, and what is damaged.

    Exits with 0 for a recording that would arrive whole, 3 for one that would arrive in part.
    """
    options = ingest_options(load_settings(config))
    recording = load_recording(path)
    with open_recording(
        recording,
        limits=options.limits,
        definitions=options.definitions,
        scratch_dir=options.scratch_dir,
    ) as reader:
        topics = plan_topics(reader, options)
        if json:
            print_json(_as_json(reader, topics))
        else:
            _print(reader, topics)
        whole = reader.healthy and not reader.tally.losses
    return Exit.OK if whole else Exit.PARTIAL


def _print(reader: RecordingReader, topics: list[TopicReport]) -> None:
    recording = reader.recording
    state = "[green]closed properly[/]" if reader.healthy else "[yellow]not closed properly[/]"
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
    for topic in topics:
        count = "?" if topic.messages_recorded is None else f"{topic.messages_recorded:,}"
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.name),
            cell(topic.msgtype),
            count,
            cell(topic.ontology_tag) or "-",
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(topic.reason)})" if topic.reason else ""),
        )
    out.print(made)
    for note in recording.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    for loss in reader.tally.losses:
        out.print(
            f"[yellow]damaged:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}"
        )


def _as_json(reader: RecordingReader, topics: list[TopicReport]) -> dict[str, Any]:
    return {
        "path": str(reader.recording.path),
        "files": [
            {"path": str(file.path), "size_bytes": file.size_bytes, "container": file.container}
            for file in reader.recording.files
        ],
        "healthy": reader.healthy,
        "message_count": reader.message_count,
        "notes": reader.recording.notes,
        "losses": [
            {
                "path": str(loss.path),
                "start_bytes": loss.start_bytes,
                "end_bytes": loss.end_bytes,
                "reason": loss.reason,
            }
            for loss in reader.tally.losses
        ],
        "topics": [
            {
                "name": topic.name,
                "msgtype": topic.msgtype,
                "messages": topic.messages_recorded,
                "ontology_tag": topic.ontology_tag,
                "outcome": topic.outcome,
                "reason": topic.reason,
            }
            for topic in topics
        ],
    }
