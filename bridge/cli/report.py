"""Prints what became of one recording: a line for each topic, the sums, and what was lost."""

from bridge.cli.terminal import cell, out, size, table
from bridge.ingest import IngestReport, TopicOutcome

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
    made = table(
        [
            ("topic", "left"),
            ("type", "left"),
            ("ontology", "left"),
            ("messages", "right"),
            ("skipped", "right"),
            ("size", "right"),
            ("batches", "right"),
            ("outcome", "left"),
        ],
    )
    for topic in report.topics:
        skipped = sum(topic.messages_skipped.values())
        reasons = ", ".join(f"{count} {why}" for why, count in topic.messages_skipped.items())
        why = topic.reason or reasons
        style = OUTCOME_STYLES[topic.outcome]
        made.add_row(
            cell(topic.name),
            cell(topic.msgtype),
            cell(topic.ontology_tag) or "-",
            f"{topic.messages_sent:,}",
            f"{skipped:,}" if skipped else "-",
            size(topic.arrow_bytes),
            str(topic.batches),
            f"[{style}]{topic.outcome}[/]" + (f" ({cell(why)})" if why else ""),
        )
    out.print(made)
    rate = report.messages_sent / report.seconds if report.seconds else 0.0
    out.print(
        f"{report.messages_sent:,} messages, {size(report.recorded_bytes)} recorded, "
        f"{size(sum(topic.arrow_bytes for topic in report.topics))} as Arrow, "
        f"{report.seconds:.2f} s ({rate:,.0f} messages/s), verified: {report.verification}",
        soft_wrap=True,
    )
    for topic in report.topics:
        if topic.messages_leftover:
            out.print(
                f"[yellow]note:[/] {topic.messages_leftover:,} messages of {cell(topic.name)} hold "
                f"more bytes than the definition of {cell(topic.msgtype)} knows",
                soft_wrap=True,
            )
    if report.messages_unverifiable:
        out.print(
            f"[dim]unverifiable: {report.messages_unverifiable:,} messages; the recorder wrote no "
            "checksums that could tell damage[/]",
            soft_wrap=True,
        )
    for note in report.notes:
        out.print(f"[yellow]note:[/] {cell(note)}", soft_wrap=True)
    for loss in report.losses:
        out.print(
            f"[yellow]lost:[/] bytes {loss.start_bytes:,} to {loss.end_bytes:,} of "
            f"{cell(loss.path.name)}: {cell(loss.reason)}",
            soft_wrap=True,
        )
