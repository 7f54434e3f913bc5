"""The platform's side of an ingest: opens sequence and topics when first needed, writes behind.

Nothing is created on the platform before there is a message to send, because the platform cannot
finalise an empty session and a topic without rows means nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from bridge.client import (
    MosaicoClient,
    OnErrorPolicy,
    SequenceWriter,
    TopicReceipt,
    TopicWriter,
)
from bridge.errors import (
    AlreadyExistsError,
    BridgeError,
    BusyElsewhereError,
    NotFoundError,
    RecordingError,
    RejectedError,
    ServerError,
    Trouble,
    UploadGoneError,
    VerificationError,
)
from bridge.ingest.events import IngestEvents
from bridge.ingest.marks import PARTIAL_NOTE
from bridge.ingest.open_upload import OpenUpload, got_on
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import IngestReport, TopicOutcome
from bridge.ingest.topic_lanes import Parcel, TopicLane, drop, is_the_topics_fault
from bridge.ontology import String
from bridge.parallel import OrderedCalls, settle

QUALITY_TOPIC = "/_bridge/quality"
"""Says how each topic was recorded; no recorded topic becomes one whose name starts like this."""

TOPIC_DROPPED_REASON = "topic_dropped"
NOTIFIED_PARTS_MAX = 20
REMEMBER_INTERVAL_S = 0.5


class Sending:
    """Sends batches of many topics into one sequence; a context manager.

    Leaving the block normally finalises the sequence. Leaving it by an exception keeps what is
    there for the next try, where there will be one that can take it up; otherwise it applies the
    error policy of the options at the give-up, and removes everything before it.

    Args:
        client: Connected to the platform.
        sequence: Name of the sequence.
        fingerprint: Identity of what is sent.
        topics: How many topics may come, to be connected for.
        size_bytes: About how much is sent.
        metadata: Makes the sequence's metadata when it is created.
        was_compressed: Whether the recording is compressed, as far as it was read.
        options: All choices.
        events: Receives batches, and what is needed to resume the upload.
        upload: What is known of earlier tries: resumed where it is of this sequence.
        shows: Called once a topic was created, without which no question finds the sequence.

    Attributes:
        targets: When a batch is due.
        writer: The sequence, once something was sent.
        has_quality: Whether an earlier try left the whole topic that `add_quality` makes.
    """

    def __init__(
        self,
        *,
        client: MosaicoClient,
        sequence: str,
        fingerprint: str,
        topics: int,
        size_bytes: int,
        metadata: Callable[[], dict[str, Any]],
        was_compressed: Callable[[], bool],
        options: IngestOptions,
        events: IngestEvents,
        upload: OpenUpload | None = None,
        shows: Callable[[], None] = lambda: None,
    ) -> None:
        self.writer: SequenceWriter | None = None
        self.has_quality = False
        self._upload = upload
        self._before = upload
        self._shows: Callable[[], None] | None = shows  # taken under the lock, by one thread
        self._showing = threading.Lock()
        self._client = client
        self._sequence = sequence
        self._fingerprint = fingerprint
        self._metadata = metadata
        self._was_compressed = was_compressed
        self._options = options
        self._events = events
        self._stack = ExitStack()
        self._topics = topics
        self._expected: dict[int, TopicLane] = {}
        self._under_way: list[Future[Any]] = []
        self._at_once = client.puts_at_once(topics, size_bytes)
        self.targets = options.batches.sent_by(self._at_once)
        self._behind = OrderedCalls(
            bytes_max=self.targets.send_queue_bytes,
            at_once=self._at_once,
            wait_turn=options.wait_turn,
        )

    def __enter__(self) -> Self:
        """Nothing is created on the platform yet."""
        self._stack.__enter__()
        return self

    def __exit__(self, *error: object) -> bool | None:
        """Stop sending, then finalise or apply the error policy."""
        return self._stack.__exit__(*error)  # type: ignore[arg-type]

    def take_up(self) -> dict[str, TopicReceipt]:
        """Go on with the session of an earlier try.

        Returns:
            What the platform holds of it, by the platform's names of the topics.

        Raises:
            ServerError: The session is gone or finalised, or the platform cannot be asked.
        """
        assert self._upload is not None
        upload = self._upload
        self._begin(
            self._client.sequence_resume(self._sequence, upload.session_uuid, upload.session)
        )
        assert self.writer is not None
        return self.writer.receipts()

    def make_room(self, names: list[str]) -> None:
        """Delete topics of an earlier try, so that they can be sent again.

        Raises:
            ServerError: The platform does not let them be deleted.
        """
        assert self.writer is not None
        self.writer.topics_delete(names)
        self._remember(dict.fromkeys(names))

    @property
    def send_s(self) -> float:
        """Seconds spent in writes; final after `finish`."""
        return self._behind.busy_s

    def expect(self, lanes: list[TopicLane]) -> None:
        """Have the topics of lanes created ahead of their first batches; does not wait.

        Nothing is created before some lane has a batch. A topic that gets none is taken back. One
        whose metadata says what its messages are like waits for its first batch.
        """
        for lane in lanes:
            if lane.opening is None and not lane.plan.mapping.observes:
                self._expected[lane.topic.index] = lane
        if self.writer is not None:
            self._open_expected(self.writer)

    def send(self, parcels: list[Parcel]) -> None:
        """Queue rows of topics; waits while the network is behind.

        Raises:
            ServerError: An earlier write failed, or the sequence or a topic cannot be created.
        """
        parcels = [one for one in parcels if one.batch.num_rows and one.lane.failure is None]
        if not parcels:
            return
        # The first, so that what is there to be sent is not kept waiting by what may come.
        new = {one.lane.topic.index: one.lane for one in parcels if one.lane.opening is None}
        self._expected = {**new, **self._expected}
        if self.writer is None:
            # Reported before it exists: if the process dies right after creating it, it is known.
            about = OpenUpload(sequence=self._sequence, fingerprint=self._fingerprint)
            self._events.upload_changed(upload=about)
            self._begin(self._client.sequence_create(self._sequence, self._metadata()))
        assert self.writer is not None
        self._open_expected(self.writer)
        # A single thread gets them together: each by itself would wake it once more.
        for group in [parcels] if self._at_once == 1 else [[parcel] for parcel in parcels]:
            self._behind.submit(
                *(partial(self._write, parcel) for parcel in group),
                turn=group[0].lane.topic.index,
                size_bytes=sum(parcel.size_bytes for parcel in group),
            )
        for parcel in parcels:
            report, size_bytes = parcel.lane.report, parcel.size_bytes
            report.batches += 1
            report.arrow_bytes += size_bytes
            self._events.batch_sent(
                topic=report.shown_name, messages=parcel.batch.num_rows, arrow_bytes=size_bytes
            )

    def end(self, lanes: list[TopicLane]) -> None:
        """Close the topics of lanes behind their last batches; does not wait for the verdicts.

        Raises:
            ServerError: An earlier write failed.
        """
        writer = self.writer
        ending = [lane for lane in lanes if lane.report.batches and not lane.ending]
        if writer is None or not ending:
            return
        for lane in ending:
            lane.ending = True
        for group in [ending] if self._at_once == 1 else [[lane] for lane in ending]:
            self._behind.submit(partial(self._end, writer, group), turn=group[0].topic.index)

    def finish(self, lanes: list[TopicLane]) -> list[TopicLane]:
        """Write what waits, and hear of every topic whether it is whole.

        Returns:
            The lanes whose topics the platform now holds whole.

        Raises:
            ServerError: One that is not a topic's own. The other topics were closed first, so that
                the next try finds them whole, unless the platform is away.
        """
        writer = self.writer
        if writer is None:
            return []
        self.end(lanes)
        self._behind.drain()
        # Created ahead, and then every message was left out.
        unused = [lane for lane in lanes if not lane.report.batches]
        writer.topics_withdraw([topic for lane in unused if (topic := self._opened(lane))])
        for lane in unused:
            lane.writer = None
        self._hear_verdicts({lane.closing: lane for lane in lanes if lane.closing is not None})
        whole = [lane for lane in lanes if lane.writer is not None and lane.failure is None]
        for lane in whole:
            lane.enter_written()
        failures = {lane.report.platform_name: lane for lane in lanes if lane.failure is not None}
        for lane in failures.values():
            self._give_up(lane)
        drop(writer, {name: one.report.reason for name, one in failures.items() if one.writer})
        for lane in lanes:
            if lane.messages_read == 0 and lane.failure is None:
                lane.report.outcome, lane.report.reason = TopicOutcome.EMPTY, "no messages"
        return whole

    def _hear_verdicts(self, closings: "Mapping[Future[None], TopicLane]") -> None:
        """Wait until every topic is closed, and remember what was ended.

        A topic that the platform locks has arrived up to its end: with its rows remembered it is
        known to be whole even where the verdict is lost and the platform counts nothing.
        """
        ended: dict[str, int | None] = {}
        told_s = time.monotonic()
        trouble: BaseException | None = None
        try:
            for closing in as_completed(closings):
                lane, error = closings[closing], closing.exception()
                lost = isinstance(error, ServerError) and error.trouble is Trouble.OFFLINE
                if lane.writer is not None and lane.writer.ended and (lost or error is None):
                    ended[lane.report.platform_name] = lane.writer.rows_written
                if time.monotonic() - told_s >= REMEMBER_INTERVAL_S:
                    self._remember(ended)
                    ended, told_s = {}, time.monotonic()
                if isinstance(error, BridgeError) and self._is_the_topics_own(error):
                    lane.failure = error
                elif lost:
                    assert error is not None
                    raise error
                else:
                    trouble = trouble or error
        finally:
            self._remember(ended)
        if trouble is not None:
            raise trouble

    def notify(self, report: IngestReport) -> None:
        """Send the platform what only the end of reading knows, if it is not nothing."""
        if self.writer is None:
            return
        if report.findings:
            texts = [f"{finding.topic}: {finding.text}" for finding in report.findings]
            more = len(texts) - NOTIFIED_PARTS_MAX
            rest = [f"and {more} more"] if more > 0 else []
            self.writer.notify("quality: " + "; ".join(texts[:NOTIFIED_PARTS_MAX] + rest))
        if report.complete:
            return
        places = [
            f"{loss.path.name} bytes {loss.start_bytes} to {loss.end_bytes}: {loss.reason}"
            for loss in report.losses
        ]
        parts = (report.shortfalls + places)[:NOTIFIED_PARTS_MAX]
        self.writer.notify(PARTIAL_NOTE + "; ".join(parts))

    def add_quality(self, report: IngestReport) -> None:
        """Put how each topic was recorded into a topic of its own, where that is wanted.

        The metadata of topics would be the place, but no revision lets it be changed once a topic
        is created, and it is created before its first message. What goes wrong with this topic
        alone is a note in the report.

        Raises:
            ServerError: The platform is away, or has trouble of its own.
        """
        if not self._options.quality_topic or self.writer is None or self.has_quality:
            return
        times_ns, texts = report.quality_rows()
        if not texts:
            return
        try:
            topic = self.writer.topic_create(QUALITY_TOPIC, {}, String)
            topic.write_batch(pa.record_batch([times_ns, texts], schema=String.schema))
            topic.close()
        except BridgeError as error:
            if not is_the_topics_fault(error):
                raise
            self.writer.topics_delete([QUALITY_TOPIC])
            report.notes.append(f"{QUALITY_TOPIC} is not on the platform: {error.message}")

    def _give_up(self, lane: TopicLane) -> None:
        report = lane.report
        assert lane.failure is not None
        report.outcome, report.reason = TopicOutcome.SKIPPED, lane.failure.message
        report.messages_sent = 0
        lane.skip(TOPIC_DROPPED_REASON, lane.messages_read - sum(report.messages_skipped.values()))

    def _begin(self, writer: SequenceWriter) -> None:
        writer.was_compressed = self._was_compressed
        writer.prepare_topics(self._topics, connections=self._at_once)
        try:
            self.writer = writer.__enter__()
        except AlreadyExistsError as error:
            # It was not there a moment ago; whose it is, the next try finds out.
            raise BusyElsewhereError(
                error.message, resource=self._sequence, hint="another bridge was faster"
            ) from error
        except NotFoundError as error:
            if writer.resumed is not None:
                raise
            raise self._gone() from error
        self._stack.push(self._leave)
        # Entered on top of the sequence, so that the thread has ended before the sequence is
        # finalised or removed.
        self._stack.enter_context(self._behind)
        # And before all that, no topic is being created or closed any more: one that appears
        # afterwards would be taken for whole.
        self._stack.callback(self._settle)
        earlier = self._upload
        self._upload = OpenUpload(
            sequence=self._sequence,
            session_uuid=writer.session_uuid,
            session=writer.session,
            tries=(earlier.tries if earlier is not None else 0) + 1,
            rows=earlier.rows if earlier is not None and writer.resumed is not None else {},
            fingerprint=self._fingerprint,
        )
        self._events.upload_changed(upload=self._upload)

    def _remember(self, rows: Mapping[str, int | None]) -> None:
        """Report what is whole by now; None for what is not any more."""
        if self._upload is None or not rows:
            return
        known = {**self._upload.rows, **rows}
        kept = {name: count for name, count in known.items() if count is not None}
        self._upload = replace(self._upload, rows=kept)
        self._events.upload_changed(upload=self._upload)

    def _leave(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self.writer is not None
        if error is not None:
            self._fail(error)
            return
        try:
            self.writer.finalize()
        except BaseException as late:
            # Whether the platform has heard of the commit, the next try finds out.
            self._fail(late)
            raise

    def _fail(self, error: BaseException) -> None:
        """See to what is on the platform; raises `UploadGoneError` where it was deleted there."""
        gone = self._gone() if self._is_of_deletion(error) else None
        self._end_badly(gone or error)
        if gone is not None:
            raise gone from error

    def _gone(self) -> UploadGoneError:
        return UploadGoneError(
            f"{self._sequence} was deleted on the platform while it was sent",
            resource=self._sequence,
            hint="it is sent again from its start",
        )

    def _is_of_deletion(self, error: BaseException) -> bool:
        """Whether an error is about whatever has the name by now: a topic exists, say."""
        assert self.writer is not None
        rejected = isinstance(error, RejectedError)
        return isinstance(error, NotFoundError) or (rejected and self.writer.is_gone())

    def _end_badly(self, error: BaseException) -> None:
        writer = self.writer
        assert writer is not None
        if self._goes_on(error):
            writer.abandon()
            return
        # Where another bridge sends it nothing of it is kept here. The upload stays known: where it
        # cannot be removed now the next try does it, and the other does not wait in vain.
        busy = isinstance(error, BusyElsewhereError)
        given_up = isinstance(error, BridgeError) and self._gives_up(error) and not busy
        if isinstance(error, VerificationError) and not given_up:
            # Also where it cannot be removed: the next try must not take it up.
            self._upload = OpenUpload(sequence=self._sequence, fingerprint=self._fingerprint)
            self._events.upload_changed(upload=self._upload)
        writer.on_error = self._options.on_error if given_up else OnErrorPolicy.Delete
        writer.__exit__(type(error), error, error.__traceback__)

    def _goes_on(self, error: BaseException) -> bool:
        """Return whether the next try can resume what this one leaves."""
        return (
            self._options.identity.resumes
            and isinstance(error, BridgeError)
            # Where the recording is the trouble, the next try is about other content. Where the
            # platform holds something else than was sent, nothing of it can be built on.
            and not isinstance(error, RecordingError | VerificationError)
            and not (isinstance(error, BusyElsewhereError) and error.gives_way)
            and not self._gives_up(error)
        )

    def _gives_up(self, error: BridgeError) -> bool:
        """Return whether no try follows this error."""
        identity = self._options.identity
        return identity.gives_up(error, got_on=got_on(self._before, self._upload))

    def _open_expected(self, writer: SequenceWriter) -> None:
        """Start to create what is expected and not created yet."""
        expected, self._expected = self._expected, {}
        lanes = [lane for lane in expected.values() if lane.opening is None]
        openings = writer.topics_create_ahead(
            (lane.report.platform_name, lane.metadata, lane.plan.model) for lane in lanes
        )
        for lane, opening in zip(lanes, openings, strict=True):
            lane.opening = opening
        self._under_way += openings

    def _opened(self, lane: TopicLane) -> TopicWriter | None:
        """Wait for a lane's topic; None where it has none, or its creation failed by its fault."""
        opening = lane.opening
        if opening is not None and lane.writer is None and lane.failure is None:

            def take() -> None:
                lane.writer = opening.result()

            self._attempt(lane, take)
        return lane.writer if lane.failure is None else None

    def _write(self, parcel: Parcel) -> None:
        writer = self._opened(parcel.lane)
        if writer is not None:
            with self._showing:
                shows, self._shows = self._shows, None
            if shows is not None:
                shows()
            self._attempt(parcel.lane, partial(parcel.write_to, writer))

    def _end(self, writer: SequenceWriter, lanes: list[TopicLane]) -> None:
        opened = [(lane, topic) for lane in lanes if (topic := self._opened(lane)) is not None]
        closings = writer.topics_close_ahead(topic for _, topic in opened)
        for (lane, _), closing in zip(opened, closings, strict=True):
            lane.closing = closing
        self._under_way += closings

    def _settle(self) -> None:
        settle(self._under_way)

    def _attempt(self, lane: TopicLane, call: Callable[[], object]) -> None:
        try:
            call()
        except BridgeError as error:
            if not self._is_the_topics_own(error):
                raise
            lane.failure = error

    def _is_the_topics_own(self, error: BridgeError) -> bool:
        return self._options.topic_errors == "drop" and is_the_topics_fault(error)
