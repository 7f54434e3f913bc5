"""Reading a recording once or several times, each time for some of its topics, into batches.

One thread reads, decodes and maps, another sends behind, or several to a platform far away. One
more that reads ahead would mostly contend for the interpreter lock. Nothing here runs once per
message.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from bridge.bags import NOWHERE, RecordingReader, chosen_messages
from bridge.client import Known, MosaicoClient, holds_nul
from bridge.errors import DecodeError, RecordingChangedError
from bridge.ingest.attachments import notes_on
from bridge.ingest.batches import Batcher, Portion
from bridge.ingest.events import IngestEvents, NoEvents
from bridge.ingest.options import BatchTargets, IngestOptions
from bridge.ingest.report import FILTERED_REASON, IngestReport, TopicOutcome, TopicReport
from bridge.ingest.sending import Sending
from bridge.ingest.topic_lanes import Parcel, TopicLane, enter_skipped, kinds_of, plan_lanes
from bridge.model import MessageBlock, MixedBlock
from bridge.quality import Meter, TopicFigures, judge, reports_losses
from bridge.units import counted

Take = Callable[[list[Parcel]], None]
Expect = Callable[[list[TopicLane]], None]

MESSAGES_INTERVAL_S = 0.25
"""How often the messages read are reported: with many topics a block has some of each."""


class Passes:
    """Reads one recording as often as it takes; owned by the thread that executes the ingest.

    Args:
        reader: The recording, opened; what it skips and loses is what counts.
        options: All choices.
        events: Receives what happens.

    Attributes:
        lanes: The topics that are sent, by `Topic.index`.
        topics: The accounts of all topics.
        meter: Measures each topic once, in whichever pass that is.
        convert_s: Seconds spent decoding and mapping.
        read_s: Seconds spent reading.
        sizes_bytes: Payload bytes by topic that is sent, once `rehearse` has measured them.
    """

    def __init__(
        self,
        reader: RecordingReader,
        *,
        options: IngestOptions,
        events: IngestEvents,
    ) -> None:
        self.reader = reader
        self.lanes, self.topics = plan_lanes(reader, options, events)
        self.meter = Meter(reader.topics)
        self._figures: list[TopicFigures] = []
        self._listen(self.lanes)
        self.convert_s = 0.0
        self.read_s = 0.0
        self._options = options
        self._events = events
        self._reported_bytes = 0
        self.sizes_bytes: Counter[int] = Counter()
        self._messages: Counter[int] = Counter()

    def send_all(
        self, sending: Sending, blocks: Iterable[MixedBlock], *, check: Callable[[], None]
    ) -> list[TopicLane]:
        """Send everything in one pass over the blocks, calling `check` before batches.

        Returns:
            The lanes whose topics the platform now holds whole.

        Raises:
            BridgeError: The recording cannot be read, or the platform does not take it.
        """

        def take(parcels: list[Parcel]) -> None:
            check()
            sending.send(parcels)

        lanes = list(self.lanes.values())
        sending.expect([lane for lane in lanes if lane.topic.message_count])
        self._run(
            self.reader,
            blocks,
            lanes,
            take,
            others=self._leave_out,
            expect=sending.expect,
            end=sending.end,
            targets=sending.targets,
        )
        # While the last batches are on their way.
        self._figures = self.meter.of_topics()
        return sending.finish(lanes)

    def rehearse(
        self, client: MosaicoClient, blocks: Iterable[MixedBlock], topics: Iterable[int]
    ) -> None:
        """Measure all topics, and convert some of them as if they were sent.

        Afterwards the accounts of the topics that were converted hold what the recording yields.

        Args:
            client: Knows how large what is sent may be.
            blocks: All blocks of `reader`.
            topics: What to convert, by `Topic.index`.

        Raises:
            RecordingError: The recording cannot be read.
        """
        lanes = [self.lanes[topic] for topic in topics]
        for lane in lanes:
            lane.writer = client.topic_rehearse(lane.report.platform_name, lane.plan.model)

        def take(parcels: list[Parcel]) -> None:
            for parcel in parcels:
                assert parcel.lane.writer is not None
                parcel.write_to(parcel.lane.writer)

        def leave(topic: int, messages: int) -> None:
            if topic not in self.lanes:
                self._leave_out(topic, messages)

        self._run(self.reader, self._measured(blocks), lanes, take, others=leave, share=0.0)
        for lane in lanes:
            lane.enter_written()

    def convert_all(self) -> Counter[int]:
        """Convert everything as if it were sent, and keep nothing.

        Returns:
            Messages that came out of the files, by `Topic.index`.

        Raises:
            RecordingError: The recording cannot be read.
        """
        found: Counter[int] = Counter()

        def counting(blocks: Iterable[MixedBlock]) -> Iterator[MixedBlock]:
            for block in blocks:
                rows = np.bincount(block.topics)
                found.update({int(topic): int(rows[topic]) for topic in np.flatnonzero(rows)})
                yield block

        def take(parcels: list[Parcel]) -> None:
            for parcel in parcels:
                parcel.lane.report.messages_sent += parcel.batch.num_rows

        blocks = counting(self.reader.mixed_blocks())
        self._run(self.reader, blocks, self.lanes.values(), take, others=self._leave_out)
        for lane in self.lanes.values():
            if not lane.messages_read:
                lane.report.outcome, lane.report.reason = TopicOutcome.EMPTY, "no messages"
        return found

    def account(self) -> None:
        """Enter what the reader left out into the accounts of the topics, after the last block."""
        strays = TopicReport(name="", msgtype="", outcome=TopicOutcome.SKIPPED)
        for (index, reason), count in self.reader.tally.skipped.items():
            topic = strays if index == NOWHERE else self.topics[index]
            enter_skipped(topic, reason, count, self._events)
        if strays.messages_skipped:
            strays.reason = ", ".join(strays.messages_skipped)
            self.topics.append(strays)
        for topic in self.topics:
            if topic.outcome is TopicOutcome.SKIPPED and not topic.messages_skipped:
                # All files have been read and held nothing of it, so nothing is missing.
                topic.outcome, topic.reason = TopicOutcome.EMPTY, "no messages"

    def enter_rest(
        self, report: IngestReport, *, whole: bool = True, metadata_texts_changed: int = 0
    ) -> None:
        """Enter what reading has left besides messages; to be called after the last block.

        Args:
            report: The account of the recording.
            whole: Whether the recording is all there, so that what is required must be.
            metadata_texts_changed: Texts of the sequence's metadata that were changed.
        """
        self._enter_quality(report, whole=whole)
        tally = self.reader.tally
        report.losses = list(tally.losses)
        report.contradictions = dict(tally.contradictions)
        report.messages_unverifiable = tally.unverified_messages
        report.notes += notes_on(tally.extras)
        changed = {topic.name: topic.texts_changed for topic in self.topics}
        report.notes += [
            f"{counted(count, 'text')} of {where} with U+0000, which the platform cannot keep; it"
            " got U+FFFD there"
            for where, count in [*changed.items(), ("the metadata", metadata_texts_changed)]
            if count
        ]

    def _enter_quality(self, report: IngestReport, *, whole: bool) -> None:
        """Enter how the topics were recorded, and what of it falls short of what is expected."""
        if not self._figures:
            self._figures = self.meter.of_topics()
        losses = self.meter.reported_losses()
        named: dict[str, TopicFigures] = {}
        for topic in self.reader.topics:
            figures = self._figures[topic.index]
            if self.meter.has_reports:
                transport, recorder = losses.get(topic.name, (0, 0))
                figures = replace(figures, lost_transport=transport, lost_recorder=recorder)
            self.topics[topic.index].quality = figures
            # Of several topics of one name the fullest: the others are its older types.
            if topic.name not in named or named[topic.name].messages < figures.messages:
                named[topic.name] = figures
        recording = self.meter.of_recording()
        findings = judge(self._options.expectations, named, recording, whole=whole)
        report.quality = replace(recording, findings=findings)

    def _listen(self, lanes: Mapping[int, TopicLane]) -> None:
        for index, lane in lanes.items():
            if reports_losses(lane.topic):
                self.meter.expect_reports(index)
                lane.hear = partial(self.meter.add_reports, index)

    def reset(self, topics: Collection[int]) -> None:
        """Forget what a rehearsal found of some topics, so that they can be sent."""
        lanes, reports = plan_lanes(self.reader, self._options, self._events)
        self.meter.forget(topics)
        self._listen(lanes)
        for topic in topics:
            self.lanes[topic] = lanes[topic]
            self.topics[topic] = reports[topic]

    def send_group(self, sending: Sending, group: list[int]) -> list[TopicLane]:
        """Send some topics in a pass of their own and close them.

        Returns:
            The lanes whose topics the platform now holds whole.

        Raises:
            RecordingChangedError: The recording does not yield what it did when it was measured.
        """
        lanes = [self.lanes[topic] for topic in group]
        sending.expect(lanes)
        with self.reader.again() as reader:
            share = self._share(group)
            self._run(
                reader,
                reader.mixed_blocks(),
                lanes,
                sending.send,
                end=sending.end,
                targets=sending.targets,
                share=share,
            )
        for lane in lanes:
            expected = self._messages[lane.topic.index]
            if lane.messages_read != expected:
                raise RecordingChangedError(
                    f"{lane.topic.name} had {counted(expected, 'message')} when it was read first,"
                    f" and has {lane.messages_read} now",
                    path=self.reader.recording.path,
                    topic=lane.topic.name,
                )
        return sending.finish(lanes)

    def show_read(self, topics: Iterable[int]) -> None:
        """Count topics as read that need no reading any more."""
        self._events.read(recorded_bytes=int(self._share(topics) * self.reader.recorded_bytes))

    def _share(self, topics: Iterable[int]) -> float:
        total_bytes = sum(self.sizes_bytes.values())
        return sum(self.sizes_bytes[topic] for topic in topics) / total_bytes if total_bytes else 0

    def _measured(self, blocks: Iterable[MixedBlock]) -> Iterator[MixedBlock]:
        for block in blocks:
            rows = np.bincount(block.topics)
            sizes_bytes = np.bincount(block.topics, weights=block.ends - block.starts)
            for topic in map(int, np.flatnonzero(rows)):
                if topic in self.lanes:
                    self._messages[topic] += int(rows[topic])
                    self.sizes_bytes[topic] += int(sizes_bytes[topic])
            yield block

    def _run(
        self,
        reader: RecordingReader,
        blocks: Iterable[MixedBlock],
        lanes: Iterable[TopicLane],
        take: Take,
        *,
        others: Callable[[int, int], None] | None = None,
        expect: Expect = lambda _lanes: None,
        end: Callable[[list[TopicLane]], None] = lambda _lanes: None,
        targets: BatchTargets | None = None,
        share: float = 1.0,
    ) -> None:
        """Read on to the end and hand over the batches of some lanes.

        `others` gets other topics with how many messages of them were read; without it this is a
        pass in which those that are not sent were seen before. `expect` gets lanes when their
        first messages are read, `end` behind their last batches.
        `targets` say when a batch is due, where not the options do.
        `share` is how much of the whole recording this pass is, for the progress shown.
        """
        wanted = np.zeros(len(self.topics), dtype=np.bool_)
        wanted[[lane.topic.index for lane in lanes]] = True
        seen = ~wanted
        read = np.zeros(len(wanted), dtype=np.int64)
        reported_s = time.monotonic()
        targets = targets or self._options.batches
        batcher = Batcher(targets, kinds=kinds_of(self.lanes, len(self.topics)))
        self._reported_bytes = 0
        for block in self._timed(blocks):
            self._report_progress(reader, share)
            rows = np.bincount(block.topics, minlength=len(wanted))
            if others is not None and (rows[~wanted] > 0).any():
                self._pass_over(block, rows, wanted, others)
            fresh = (rows > 0) & ~seen
            if fresh.any():
                expect([self.lanes[topic] for topic in map(int, np.flatnonzero(fresh))])
                seen |= fresh
            read += np.where(wanted, rows, 0)
            if time.monotonic() - reported_s >= MESSAGES_INTERVAL_S:
                self._report_messages(read)
                reported_s = time.monotonic()
            self._convert_each(batcher.add(chosen_messages(block, wanted[block.topics])), take)
        self._report_messages(read)
        for due in batcher.flush():
            self._convert(due, take)
            end([self.lanes[topic] for topic in due.topics])
        self._report_progress(reader, share)

    def _pass_over(
        self,
        block: MixedBlock,
        rows: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        others: Callable[[int, int], None],
    ) -> None:
        """Report messages that this pass does not convert; measure those that none converts."""
        unsent = ~wanted
        unsent[list(self.lanes)] = False
        self.meter.add_times(chosen_messages(block, unsent[block.topics]))
        for topic in map(int, np.flatnonzero((rows > 0) & ~wanted)):
            others(topic, int(rows[topic]))

    def _timed(self, blocks: Iterable[MixedBlock]) -> Iterator[MixedBlock]:
        """Yield the blocks, and add up how long reading took."""
        following = iter(blocks)
        while True:
            started = time.perf_counter()
            block = next(following, None)
            self.read_s += time.perf_counter() - started
            if block is None:
                return
            yield block

    def _convert_each(self, portions: Iterable[Portion], take: Take) -> None:
        # A name that is still about the last portion would keep its buffer from being used again.
        for due in portions:
            self._convert(due, take)

    def _convert(self, due: Portion, take: Take) -> None:
        self.meter.add(due.block, due.topics, due.rows)
        if len(due.topics) > 1 and self._convert_together(due, take):
            return
        for block in due.by_topic():
            self._convert_alone(block, take)

    def _convert_alone(self, block: MessageBlock, take: Take) -> None:
        lane = self.lanes[block.topic]
        lane.messages_read += len(block.starts)
        if lane.failure is not None:
            return
        started = time.perf_counter()
        mapped = lane.convert(block)
        self.convert_s += time.perf_counter() - started
        self._check_bound(lane)
        known = Known(size_bytes=mapped.batch.nbytes)
        take([Parcel(lane=lane, batch=mapped.batch, known=known)])

    def _convert_together(self, due: Portion, take: Take) -> bool:
        """Convert messages of several topics of one kind at once, and give each topic its slice.

        Returns:
            False where some message was left out or is odd, because it has to be found out whose
            it is; nothing was done then.
        """
        lanes = [self.lanes[topic] for topic in due.topics]
        started = time.perf_counter()
        decoded = lanes[0].decoder.decode(due.block)
        if decoded.dropped or decoded.leftover or decoded.repaired:
            return False
        mapped = lanes[0].plan.apply(decoded)
        total = sum(due.rows)
        if mapped.dropped or any(
            messages != total for counts in mapped.notes.values() for messages in counts.values()
        ):
            return False
        self.convert_s += time.perf_counter() - started
        for lane, rows in zip(lanes, due.rows, strict=True):
            lane.messages_read += rows
            lane.note({note: dict.fromkeys(texts, rows) for note, texts in mapped.notes.items()})
        batch, columns = mapped.batch, lanes[0].plan.model.text_columns
        clean = not any(holds_nul(batch.column(column)) for column in columns)
        times_ns = batch.column(0).to_numpy()  # the envelope comes first in every model
        firsts = [0, *accumulate(due.rows[:-1])]
        spans_ns = zip(
            map(int, np.minimum.reduceat(times_ns, firsts)),
            map(int, np.maximum.reduceat(times_ns, firsts)),
            strict=True,
        )
        whole_bytes, parcels = batch.nbytes, []
        for lane, first, rows, span_ns in zip(lanes, firsts, due.rows, spans_ns, strict=True):
            known = Known(
                clean=clean,
                span_ns=span_ns,
                size_bytes=round(whole_bytes * rows / total),
                size_bytes_max=whole_bytes,
            )
            parcels.append(Parcel(lane=lane, batch=batch.slice(first, rows), known=known))
        take(parcels)
        return True

    def _check_bound(self, lane: TopicLane) -> None:
        bound = self._options.message_errors_max
        if bound is None:
            return
        skipped = sum(topic.messages_unwillingly_skipped for topic in self.topics)
        if skipped > bound:
            raise DecodeError(
                f"{counted(skipped, 'message')} could not be used, more than the {bound} allowed; "
                f"last on {lane.topic.name}: {lane.report.messages_skipped}",
                path=self.reader.recording.path,
                topic=lane.topic.name,
                hint="raise ingest.message_errors_max, or exclude the topic",
            )

    def _leave_out(self, topic: int, messages: int) -> None:
        report = self.topics[topic]
        reason = FILTERED_REASON if report.outcome is TopicOutcome.FILTERED else "no_decoder"
        enter_skipped(report, reason, messages, self._events)

    def _report_messages(self, read: NDArray[np.int64]) -> None:
        """Report the messages that were read of each topic, and forget them."""
        for topic in map(int, np.flatnonzero(read)):
            name = self.topics[topic].shown_name
            self._events.messages_read(topic=name, messages=int(read[topic]))
        read[:] = 0

    def _report_progress(self, reader: RecordingReader, share: float) -> None:
        read_bytes = int(share * reader.bytes_read)
        if read_bytes > self._reported_bytes:
            self._events.read(recorded_bytes=read_bytes - self._reported_bytes)
            self._reported_bytes = read_bytes


def dry_run(reader: RecordingReader, options: IngestOptions) -> tuple[IngestReport, Counter[int]]:
    """Find out what would become of a recording, without a platform; the reader is used up by it.

    Returns:
        The report of an ingest that loses nothing on the way to the platform, without names and
        hashes; and the messages that came out of the files, by `Topic.index`.

    Raises:
        RecordingError: The recording cannot be read, or the options say that it fails.
    """
    passes = Passes(reader, options=options, events=NoEvents())
    found = passes.convert_all()
    passes.account()
    report = IngestReport(
        recording=str(reader.recording.path),
        sequence="",
        fingerprint="",
        topics=passes.topics,
        healthy=reader.healthy,
        recorded_bytes=reader.recorded_bytes,
        notes=list(reader.recording.notes),
    )
    passes.enter_rest(report)
    return report, found
