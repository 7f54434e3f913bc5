"""One recording becomes one sequence: open, plan, read, convert, send, verify, finalise.

Three threads: one reads ahead, this one decodes and maps, one sends behind. All three hand over
arrays; nothing here runs once per message.
"""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from bridge.bags import RecordingReader, fingerprint, open_recording
from bridge.client import MosaicoClient
from bridge.errors import DecodeError, DefinitionError, EmptyRecordingError, RecordingError
from bridge.ingest.batches import Batcher
from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.existing import Existing, find_existing
from bridge.ingest.lanes import Lane, enter_skipped, plan_lanes
from bridge.ingest.naming import describe, name_of
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import (
    FILTERED_REASON,
    IngestReport,
    TopicOutcome,
    TopicReport,
    VerificationLevel,
)
from bridge.ingest.sending import Sending
from bridge.ingest.threads import ReadAhead
from bridge.ingest.verify import report_of_existing, verify
from bridge.mapping import TopicFilter
from bridge.model import MessageBlock, Recording


def ingest(
    recording: Recording,
    *,
    client: MosaicoClient,
    options: IngestOptions,
    events: IngestEvents | None = None,
) -> IngestReport:
    """Put a recording onto the platform as one sequence, verified and finalised.

    If the platform already holds this very content whole, nothing is sent. Remains of an earlier
    try of this bridge are removed first.

    Args:
        recording: What to ingest.
        client: Connected to the platform.
        options: All choices.
        events: Told what happens.

    Returns:
        What became of every topic and message.

    Raises:
        RecordingError: The recording cannot be read, changed meanwhile, or holds nothing to send.
        ServerError: The platform is away, refuses or rejects; `trouble` says which.
        VerificationError: The platform holds something else than was sent.
    """
    started = time.perf_counter()
    listener = events if events is not None else NoEvents()
    with open_recording(
        recording,
        limits=options.limits,
        definitions=options.definitions,
        scratch_dir=options.scratch_dir,
    ) as reader:
        listener.stage_finished(stage="open", seconds=time.perf_counter() - started)
        run = _Run(reader=reader, client=client, options=options, events=listener)
        report = run.execute()
    report.seconds = time.perf_counter() - started
    listener.finished(report=report)
    return report


class _Run:
    """The state of one ingest; every attribute is owned by the thread that executes it."""

    def __init__(
        self,
        *,
        reader: RecordingReader,
        client: MosaicoClient,
        options: IngestOptions,
        events: IngestEvents,
    ) -> None:
        self.reader = reader
        self.client = client
        self.options = options
        self.events = events
        self.identity = fingerprint(reader.recording)
        self.lanes, self.topics = plan_lanes(reader, options, events)
        self.convert_s = 0.0
        self.bytes_reported = 0

    def execute(self) -> IngestReport:
        """Send everything, or find that it is there already."""
        blocks = iter(self.reader.blocks())
        first = next(blocks, None)
        start_ns = int(first.log_times_ns.min()) if first is not None else None
        sequence = name_of(self.reader.recording, self.identity, start_ns, self.options)
        self.events.started(
            recording=str(self.reader.recording.path),
            sequence=sequence,
            size_bytes=self.reader.recorded_bytes,
            message_count=self.reader.message_count,
        )
        for topic in self.topics:
            self.events.topic_planned(topic=topic)
        if first is None or not self.lanes:
            raise self._nothing_to_send()

        found = find_existing(
            self.client,
            sequence,
            fingerprint=self.identity,
            instance=self.options.identity.instance,
        )
        if found.state is Existing.WHOLE:
            assert found.handler is not None
            return report_of_existing(found.handler, self._report(sequence), self.lanes.values())
        if found.state is Existing.REMAINS:
            self.client.sequence_delete(sequence)
        return self._send(sequence, chain([first], blocks))

    def _send(self, sequence: str, blocks: Iterator[MessageBlock]) -> IngestReport:
        report = self._report(sequence)
        hashes = self.reader.hash_files() if self.options.hash_files else None
        sending = Sending(
            client=self.client,
            sequence=sequence,
            metadata=lambda: describe(self.reader, self.identity, self.topics, self.options),
            options=self.options,
            events=self.events,
        )
        with sending:
            self._stream(sending, blocks)
            whole = sending.finish(list(self.lanes.values()))
            self._account()
            self.events.stage_finished(stage="convert", seconds=self.convert_s)
            self.events.stage_finished(stage="send", seconds=sending.send_s)
            if hashes is not None:
                report.sha256 = {path.name: value for path, value in hashes.result().items()}
            if sending.writer is None or not whole:
                raise self._nothing_to_send()
            verifying = time.perf_counter()
            report.verification = verify(
                self.client,
                sending.writer,
                [lane.report for lane in whole],
                self.options.verification,
            )
            self.events.stage_finished(stage="verify", seconds=time.perf_counter() - verifying)
            report.losses = list(self.reader.tally.losses)
            sending.notify(report)
            finalizing = time.perf_counter()
        self.events.stage_finished(stage="finalize", seconds=time.perf_counter() - finalizing)
        return report

    def _stream(self, sending: Sending, blocks: Iterator[MessageBlock]) -> None:
        batcher = Batcher(self.options.batches)
        ahead = ReadAhead(blocks, bytes_max=self.options.batches.read_ahead_bytes)
        with ahead:
            for block in ahead:
                self._report_progress()
                if block.topic not in self.lanes:
                    self._leave_out(block)
                    continue
                for due in batcher.add(block):
                    self._convert(sending, due)
            for due in batcher.flush():
                self._convert(sending, due)
            self._report_progress()
        self.events.stage_finished(stage="read", seconds=ahead.busy_s)

    def _convert(self, sending: Sending, block: MessageBlock) -> None:
        lane = self.lanes[block.topic]
        lane.messages_read += len(block.starts)
        if lane.failure is not None:
            return
        started = time.perf_counter()
        mapped = lane.convert(block)
        self.convert_s += time.perf_counter() - started
        self._check_bound(lane)
        sending.send(lane, mapped.batch)

    def _check_bound(self, lane: Lane) -> None:
        bound = self.options.message_errors_max
        if bound is None:
            return
        skipped = sum(topic.messages_unwillingly_skipped for topic in self.topics)
        if skipped > bound:
            raise DecodeError(
                f"{skipped} messages could not be used, more than the {bound} allowed; "
                f"last on {lane.topic.name}: {lane.report.messages_skipped}",
                path=self.reader.recording.path,
                topic=lane.topic.name,
                hint="raise ingest.message_errors_max, or exclude the topic",
            )

    def _leave_out(self, block: MessageBlock) -> None:
        topic = self.topics[block.topic]
        reason = FILTERED_REASON if topic.outcome is TopicOutcome.FILTERED else "no_decoder"
        enter_skipped(topic, reason, len(block.starts), self.events)

    def _account(self) -> None:
        by_name = {topic.name: topic for topic in self.topics}
        for (name, reason), count in self.reader.tally.skipped.items():
            if name in by_name:
                enter_skipped(by_name[name], reason, count, self.events)
            else:
                stray = TopicReport(
                    name=name, msgtype="", outcome=TopicOutcome.SKIPPED, reason=reason
                )
                by_name[name] = stray
                self.topics.append(stray)
                enter_skipped(stray, reason, count, self.events)

        for topic in self.topics:
            if topic.outcome is TopicOutcome.SKIPPED and not topic.messages_skipped:
                # All files have been read and held nothing of it, so nothing is missing.
                topic.outcome, topic.reason = TopicOutcome.EMPTY, "no messages"

    def _report_progress(self) -> None:
        read_bytes = self.reader.bytes_read
        if read_bytes > self.bytes_reported:
            self.events.read(recorded_bytes=read_bytes - self.bytes_reported)
            self.bytes_reported = read_bytes

    def _report(self, sequence: str) -> IngestReport:
        return IngestReport(
            recording=str(self.reader.recording.path),
            sequence=sequence,
            fingerprint=self.identity,
            topics=self.topics,
            healthy=self.reader.healthy,
            verification=VerificationLevel.NONE,
            recorded_bytes=self.reader.recorded_bytes,
            notes=[*self.reader.recording.notes, *self._idle_patterns()],
        )

    def _idle_patterns(self) -> list[str]:
        wanted = TopicFilter(self.options.topics)
        return [
            f"topic pattern {pattern} matches no topic"
            for pattern in wanted.idle_patterns([topic.name for topic in self.topics])
        ]

    def _nothing_to_send(self) -> RecordingError:
        path = self.reader.recording.path
        reasons = Counter(
            topic.reason or str(topic.messages_skipped or topic.outcome) for topic in self.topics
        )
        story = "; ".join(f"{reason} ({count} topics)" for reason, count in reasons.items())
        message = f"{path} holds no message that can be sent"
        hint = "`mosaico-bridge inspect` shows every topic with its reason"
        left_out = [topic for topic in self.topics if topic.outcome is TopicOutcome.SKIPPED]
        if left_out and any(topic.messages_recorded != 0 for topic in left_out):
            return DefinitionError(
                f"{message}: {story}", msgtype=left_out[0].msgtype, path=path, hint=hint
            )
        return EmptyRecordingError(
            f"{message}: {story}" if story else message, path=path, hint=hint
        )
