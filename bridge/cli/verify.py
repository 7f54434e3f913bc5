"""`mosaico-bridge verify`: asks the platform whether it still has what the journal says it has."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.cli.options import AsJson, ConfigFile, Host, HttpPort, ServerPort, StateFolder
from bridge.cli.platform import reach
from bridge.cli.retry import Targets, find_entries, put_and_wait
from bridge.cli.terminal import Exit, cell, line_break, out, print_json, show, table
from bridge.client import MosaicoClient
from bridge.config import load_settings
from bridge.daemon import ON_PLATFORM, Entry, Journal, State, doubt
from bridge.daemon import resend as ask_to_resend
from bridge.errors import UsageError
from bridge.ingest import Held, Holding, SequenceContent, VerificationLevel, contents_of, held_whole

Report = Mapping[str, Any]

# What was on the platform, also where it was found not to be there any more.
ASKED_ABOUT = ON_PLATFORM | {State.LOST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the platform has of one recording.

    Attributes:
        id: The journal's number.
        path: The recording.
        sequence: Its name on the platform.
        missing: Whether the platform has no such sequence.
        foreign: Whether the sequence of that name holds other content.
        topics: How many topics were compared.
        compared: What was compared and what was not, in words.
        differences: What is not as the journal says, one sentence each.
        resend: What became of marking it or putting it into the queue; empty where it is whole.
    """

    id: int
    path: str
    sequence: str
    missing: bool
    foreign: bool
    topics: int
    compared: str
    differences: tuple[str, ...]
    resend: str = ""


def verify(
    targets: Targets = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All recordings that are on the platform.")
    ] = False,
    resend: Annotated[
        bool,
        typer.Option(
            "--resend", help="Put what the platform has lost, in whole or in part, into the queue."
        ),
    ] = False,
    config: ConfigFile = None,
    host: Host = None,
    port: ServerPort = None,
    state: StateFolder = None,
    http_port: HttpPort = None,
    json: AsJson = False,
) -> int:
    """Compare the platform with the journal: is each sequence there, ours, finalised, and whole?

    Whole means that every topic has the rows and the time range that were sent. What is not whole
    is marked as lost, so that its source is neither moved nor deleted. With --resend it is sent
    again, where the platform allows that: what is missing, and in place of a sequence that differs
    from its recording. Exits with 0 when everything is as it should be, 3 when something differs.
    """
    settings = load_settings(
        config,
        {
            "server.host": host,
            "server.port": port,
            "state.folder": state,
            "http.port": http_port,
        },
    )
    folder = settings.state.folder
    with Journal.read(folder) as journal, reach(settings) as client:
        entries = _chosen(journal, targets or [], everything=everything)
        findings = [compare(client, entry, journal.report(entry.id)) for entry in entries]
    answers = _doubt(folder, entries, findings)
    if resend:
        answers |= _resend(folder, entries, findings)
    shown = [asdict(finding) | {"resend": answers.get(finding.id, "")} for finding in findings]
    if json:
        print_json({"recordings": shown})
    else:
        _print(shown)
    return Exit.PARTIAL if any(finding.differences for finding in findings) else Exit.OK


def compare(client: MosaicoClient, entry: Entry, report: Report | None) -> Comparison:
    """Compare one recording with what the platform says of it now.

    Args:
        client: The platform.
        entry: The recording.
        report: The report of its ingest, as the journal keeps it; None where there is none.

    Raises:
        ServerError: The platform cannot be asked.
    """
    if report is None:
        contents = [SequenceContent(sequence=entry.sequence, fingerprint=entry.fingerprint)]
    else:
        contents = contents_of(report)
    answers = held_whole(client, contents)
    own = answers.get(entry.sequence)
    differences = [
        # Parts that were sent before are in sequences of other names.
        difference if name == entry.sequence else f"{name}: {difference}"
        for name, answer in answers.items()
        for difference in answer.differences
    ]
    if report is None:
        differences.append("the journal kept no report to compare with")
    return Comparison(
        id=entry.id,
        path=str(entry.path),
        sequence=entry.sequence,
        missing=own is not None and own.held is Held.ABSENT,
        foreign=own is not None and own.held is Held.OTHER,
        topics=sum(len(content.topics) for content in contents),
        compared=_compared(answers.values()).in_words,
        differences=tuple(differences),
    )


def _compared(answers: Iterable[Holding]) -> VerificationLevel:
    """Say how far the platform was compared just now, of all that was asked about."""
    # What was read back when it was sent is asked for by its counts now.
    return VerificationLevel.weakest(
        [VerificationLevel.COUNTS, *(answer.level for answer in answers)]
    )


def _chosen(journal: Journal, targets: list[str], *, everything: bool) -> list[Entry]:
    if bool(targets) == everything:
        raise UsageError("name recordings, or give --all")
    if everything:
        return [one for one in journal.recordings(states=ASKED_ABOUT) if one.sequence]
    entries = find_entries(journal, targets)
    for entry in entries:
        if entry.state not in ASKED_ABOUT or not entry.sequence:
            raise UsageError(
                f"recording {entry.id} is {entry.state}, not on the platform",
                hint="`explain` shows its story",
            )
    return entries


def _resend(folder: Path, entries: list[Entry], findings: list[Comparison]) -> dict[int, str]:
    """Put back what differs where its files are still there; say what became of each."""
    answers: dict[int, str] = {}
    wanted: list[int] = []
    for entry, finding in zip(entries, findings, strict=True):
        if not finding.differences:
            continue
        if finding.foreign:
            answers[entry.id] = (
                "not sent again: its name belongs to other content; delete that sequence first"
            )
        elif not entry.path.exists():
            answers[entry.id] = (
                "its files are not where they were: `forget` it, then put them into the folder"
            )
        else:
            wanted.append(entry.id)
    for request in put_and_wait(folder, ask_to_resend, wanted):
        answers[request.entry_id] = request.answer or "asked; the bridge has not answered yet"
    return answers


def _doubt(folder: Path, entries: list[Entry], findings: list[Comparison]) -> dict[int, str]:
    """Mark what differs, so that its source is not given up; say what became of each."""
    wanted = [
        entry.id
        for entry, finding in zip(entries, findings, strict=True)
        if finding.differences and entry.state is not State.LOST
    ]
    return {
        request.entry_id: request.answer or "asked; the bridge has not answered yet"
        for request in put_and_wait(folder, doubt, wanted)
    }


def _print(findings: list[dict[str, Any]]) -> None:
    made = table(
        [("id", "right"), ("recording", "left"), ("sequence", "left"), ("topics", "right"),
         ("found", "left")]
    )  # fmt: skip
    for finding in findings:
        lines = [f"[yellow]{cell(one)}[/]" for one in finding["differences"]]
        if finding["resend"]:
            lines.append(cell(finding["resend"]))
        made.add_row(
            str(finding["id"]),
            cell(finding["path"]),
            cell(finding["sequence"]),
            str(finding["topics"]),
            line_break().join(lines) or "[green]as it was sent[/]",
        )
    show(made)
    for words in dict.fromkeys(finding["compared"] for finding in findings):
        out.print(words)
    wrong = sum(bool(finding["differences"]) for finding in findings)
    out.print(f"{len(findings):,} compared, {wrong:,} differ")
