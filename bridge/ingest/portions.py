"""One recording onto the platform: parts that are there stay there, the rest becomes a sequence.

A part is never sent twice, whatever it is grouped with today. So the platform is asked first which
parts it holds. Those are compared, the others go up together as a sequence of their own that names
the ones before it.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from bridge.bags import (
    COMPRESSION_SUFFIX,
    Content,
    content_of,
    files_of,
    with_plain,
)
from bridge.client import MosaicoClient, OnErrorPolicy
from bridge.errors import BusyElsewhereError, EmptyRecordingError
from bridge.files import HeldFiles
from bridge.ingest.delivered import Holder, find_delivered, portion
from bridge.ingest.earlier import remove_superseded
from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.holding import held_whole, receipts_of
from bridge.ingest.marks import marks_of, parts_in
from bridge.ingest.on_platform import clear_remains
from bridge.ingest.open_upload import OpenUpload
from bridge.ingest.options import IngestOptions
from bridge.ingest.pipeline import ingest_portion
from bridge.ingest.report import (
    IngestReport,
    SequenceContent,
    TopicOutcome,
    TopicReport,
    TopicRows,
    VerificationLevel,
    said_before,
)
from bridge.model import Recording


def ingest(
    recording: Recording,
    *,
    client: MosaicoClient,
    options: IngestOptions,
    events: IngestEvents | None = None,
    upload: OpenUpload | None = None,
    resend: bool = False,
    remembered: Sequence[SequenceContent] = (),
) -> IngestReport:
    """Put a recording onto the platform, verified and finalised: each of its parts once.

    If the platform already holds this very content whole, nothing is sent. Parts that it holds in
    other sequences are not sent again either; the others become a sequence that names those. What
    an earlier try of this bridge left is resumed where `upload` says how, and removed otherwise.

    Args:
        recording: What to ingest.
        client: Connected to the platform.
        options: All choices.
        events: Receives what happens.
        upload: The last that an earlier try passed to `IngestEvents.upload_changed`; None for none.
        resend: Whether a finished sequence that differs from the recording is removed and sent
            again; otherwise it is left alone, and the report says what it lacks.
        remembered: Where parts of it are by the journal; the platform has the last word.

    Returns:
        What became of every topic and message.

    Raises:
        RecordingError: The recording cannot be read, changed meanwhile, or holds nothing to send.
        ServerError: The platform is away, refuses or rejects; `trouble` says which.
        VerificationError: The platform holds something else than was sent.
    """
    started = time.perf_counter()
    listener = events if events is not None else NoEvents()
    # Opened once, so that all passes read the same, whatever becomes of the names meanwhile.
    with HeldFiles(files_of(recording)) as held:
        content = with_plain(content_of(recording), recording, limits=options.reading)
        confirmed = replace(options, confirm_source=held.check)
        delivery = _Delivery(recording, content, client=client, options=confirmed, events=listener)
        holders = delivery.find(remembered, upload)
        report = delivery.run(holders, upload=upload, resend=resend)
    if options.supersedes is not None and options.supersedes.remove:
        report.replaced = remove_superseded(
            client,
            options.supersedes,
            instance=options.identity.instance,
            whole=report.complete,
            patient=not options.identity.final,
            start_ns=_first_time_ns(report),
            kept=frozenset(part for held in report.contents for part in held.parts),
        )
    report.seconds = time.perf_counter() - started
    listener.finished(report=report)
    return report


def _first_time_ns(report: IngestReport) -> int | None:
    starts_ns = (topic.start_ns for topic in report.topics if topic.start_ns is not None)
    return min(starts_ns, default=None)


class _Delivery:
    """One recording on its way; owned by the thread that executes the ingest."""

    def __init__(
        self,
        recording: Recording,
        content: Content,
        *,
        client: MosaicoClient,
        options: IngestOptions,
        events: IngestEvents,
    ) -> None:
        self.recording = recording
        self.content = content
        self.client = client
        self.options = options
        self.events = events

    def find(
        self, remembered: Sequence[SequenceContent], upload: OpenUpload | None
    ) -> list[Holder]:
        """Find what is there; what an earlier try left gives way to another bridge's work."""
        started = upload is not None and upload.started
        try:
            return find_delivered(
                self.client,
                self.content,
                instance=self.options.identity.instance,
                remembered=remembered,
                under_way=upload.sequence if upload is not None and started else "",
            )
        except BusyElsewhereError as error:
            if error.gives_way and upload is not None:
                self._clear(upload, str(error))
                left = OpenUpload(sequence=upload.sequence, fingerprint=upload.fingerprint)
                self.events.upload_changed(upload=left)
            raise

    def run(
        self, holders: list[Holder], *, upload: OpenUpload | None, resend: bool
    ) -> IngestReport:
        """Compare what is there and send what is not."""
        before = {part for holder in holders for part in holder.parts}
        rest = self._unsent(before)
        found = [
            self._compared(holder, resend=resend, alone=not rest and len(holders) == 1)
            for holder in holders
        ]
        missing = self._missing(holders)
        if rest:
            report = self._sent(rest, found, missing, upload=upload, resend=resend)
        else:
            if upload is not None and upload.sequence not in {one.handler.name for one in holders}:
                with suppress(BusyElsewhereError):
                    self._clear(upload, "others have sent the recording")
            report = _merged(found, self.recording, self.content)
            report.missing += [f"{name}: {why}" for name, why in missing.items()]
        report.parts = len(self.content.parts)
        report.parts_before = len(before)
        if before and (rest or len(holders) > 1):
            report.notes.append(said_before(report))
        return report

    def _unsent(self, before: Collection[str]) -> list[str]:
        """Name the parts that are to be sent; what is here under two names goes once."""
        rest: dict[str, str] = {}
        for part in self.content.parts:
            if part.identity not in before:
                rest.setdefault(self.content.forms(part.identity)[-1], part.identity)
        return list(rest.values())

    def _compared(self, holder: Holder, *, resend: bool, alone: bool) -> IngestReport:
        """Compare a sequence with the files that it holds, or with what is remembered of it."""
        expected = holder.expected
        if expected is not None and expected.topics and not resend:
            answer = held_whole(self.client, [expected])[expected.sequence]
            if answer.proves(VerificationLevel.CLOSED):
                return _as_remembered(expected, answer.level, self.recording)
        report = ingest_portion(
            portion(self.recording, self.content, holder.parts),
            client=self.client,
            options=self.options,
            events=self.events if alone else NoEvents(),
            resend=resend,
            holder=holder,
        )
        report.contents = [self._content(report, holder.named, exact=holder.exact)]
        return report

    def _sent(
        self,
        rest: list[str],
        found: list[IngestReport],
        missing: Mapping[str, str],
        *,
        upload: OpenUpload | None,
        resend: bool,
    ) -> IngestReport:
        """Send what the platform does not have."""
        follows = [held.sequence for report in found for held in report.contents]
        recording = replace(portion(self.recording, self.content, rest), missing=missing)
        try:
            report = ingest_portion(
                recording,
                client=self.client,
                options=self.options,
                events=self.events,
                upload=self._upload_of(recording, upload),
                resend=resend,
                follows=follows,
                plain=self.content.plain,
            )
        except EmptyRecordingError:
            if not found:
                raise
            # Nothing has to be sent of the rest, and the others are there.
            return _merged(found, self.recording, self.content)
        report.contents = [self._content(report, rest, exact=True)]
        for one in found:
            _take_over(report, one)
        return report

    def _upload_of(self, recording: Recording, upload: OpenUpload | None) -> OpenUpload | None:
        """Give the upload of an earlier try of these very files; clear the remains of others."""
        if upload is None:
            return None
        fingerprint = content_of(recording).fingerprint
        if upload.fingerprint not in {"", fingerprint}:
            self._clear(upload, "other parts of the recording are sent now")
            return None
        return upload if upload.started else None

    def _clear(self, upload: OpenUpload, reason: str) -> None:
        """Remove what an earlier try has left unfinished."""
        clear_remains(
            self.client,
            upload,
            fingerprint=upload.fingerprint or self.content.fingerprint,
            instance=self.options.identity.instance,
            policy=OnErrorPolicy.Delete,
            reason=reason,
        )

    def _content(
        self, report: IngestReport, parts: Iterable[str], *, exact: bool
    ) -> SequenceContent:
        """Write down what a sequence must hold from now on."""
        handler = self.client.sequence_handler(report.sequence) if not exact else None
        fingerprint = report.fingerprint if exact else ""
        if handler is None:
            topics = {
                topic.platform_name: TopicRows(
                    rows=topic.messages_sent, start_ns=topic.start_ns, end_ns=topic.end_ns
                )
                for topic in report.topics
                if topic.messages_sent
            }
        else:
            # It holds more than these files: what it had today is what it must have tomorrow.
            fingerprint = str(marks_of(handler).get("fingerprint", ""))
            topics = {
                name: TopicRows(
                    rows=receipt.row_count or 0, start_ns=receipt.start_ns, end_ns=receipt.end_ns
                )
                for name, receipt in receipts_of(handler).items()
                if receipt.row_count
            }
        return SequenceContent(
            sequence=report.sequence,
            fingerprint=fingerprint,
            parts=tuple(parts),
            topics=topics,
            level=report.verification,
        )

    def _missing(self, holders: list[Holder]) -> dict[str, str]:
        """Name the files that belong to the recording and are neither here nor on the platform."""
        sent = {
            name.removesuffix(COMPRESSION_SUFFIX)
            for holder in holders
            for name in parts_in(marks_of(holder.handler)).values()
        }
        return {
            name: why
            for name, why in self.recording.missing.items()
            if name.removesuffix(COMPRESSION_SUFFIX) not in sent
        }


def _merged(found: list[IngestReport], recording: Recording, content: Content) -> IngestReport:
    """Make one report of several sequences that hold a recording together."""
    first = found[0]
    if len(found) == 1:
        return first
    for other in found[1:]:
        first.topics += other.topics
        first.losses += other.losses
        first.messages_unverifiable += other.messages_unverifiable
        _take_over(first, other, whole=True)
    first.recording = str(recording.path)
    first.fingerprint = content.fingerprint
    first.notes = [note for note in first.notes if not note.endswith("nothing was sent")]
    return first


def _take_over(report: IngestReport, held: IngestReport, *, whole: bool = False) -> None:
    """Enter into a report what is in another sequence; what was found there was not sent now."""
    report.contents += held.contents
    report.healthy = report.healthy and held.healthy
    levels = report.verification, held.verification
    report.verification = VerificationLevel.weakest(levels)
    report.recorded_bytes += held.recorded_bytes
    if not held.complete and not whole:
        why = "; ".join(held.notes) or "not all of it could be sent"
        report.missing.append(f"what {held.sequence} holds is not whole: {why}")
    report.missing += held.missing


def _as_remembered(
    expected: SequenceContent, level: VerificationLevel, recording: Recording
) -> IngestReport:
    """Report a sequence that the platform still holds as the journal remembers it."""
    topics = [
        TopicReport(
            name=name,
            msgtype="",
            outcome=TopicOutcome.MAPPED,
            platform_name=name,
            messages_sent=rows.rows,
            start_ns=rows.start_ns,
            end_ns=rows.end_ns,
        )
        for name, rows in expected.topics.items()
    ]
    return IngestReport(
        recording=str(recording.path),
        sequence=expected.sequence,
        fingerprint=expected.fingerprint,
        topics=topics,
        verification=level,
        contents=[expected],
    )
