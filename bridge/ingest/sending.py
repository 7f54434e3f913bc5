"""The platform's side of an ingest: opens sequence and topics when first needed, writes behind.

Nothing is created on the platform before there is a message to send, because the platform cannot
finalise an empty session and a topic without rows means nothing.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter, TopicReceipt, TopicWriter
from bridge.errors import (
    AlreadyExistsError,
    BridgeError,
    BusyElsewhereError,
    PlatformBusyError,
    RecordingError,
    Trouble,
    VerificationError,
)
from bridge.ingest.events import IngestEvents
from bridge.ingest.open_upload import OpenUpload, got_on
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import IngestReport, TopicOutcome
from bridge.ingest.send_thread import SendThread
from bridge.ingest.topic_lanes import TopicLane, is_the_topics_fault

TOPIC_DROPPED_REASON = "topic_dropped"
OVERSIZE_REASON = "oversize"
NOTIFIED_PARTS_MAX = 20


class Sending:
    """Sends batches of many topics into one sequence; a context manager.

    Leaving the block normally finalises the sequence. Leaving it by an exception keeps what is
    there for the next try, where there will be one that can take it up; otherwise it applies the
    error policy of the options at the give-up, and removes everything before it.

    Args:
        client: Connected to the platform.
        sequence: Name of the sequence.
        metadata: Makes the sequence's metadata when it is created.
        options: All choices.
        events: Receives batches, and what is needed to resume the upload.
        upload: What is known of earlier tries: resumed where it is of this sequence.

    Attributes:
        writer: The sequence, once something was sent.
    """

    def __init__(
        self,
        *,
        client: MosaicoClient,
        sequence: str,
        metadata: Callable[[], dict[str, Any]],
        options: IngestOptions,
        events: IngestEvents,
        upload: OpenUpload | None = None,
    ) -> None:
        self.writer: SequenceWriter | None = None
        self._upload = upload
        self._before = upload
        self._client = client
        self._sequence = sequence
        self._metadata = metadata
        self._options = options
        self._events = events
        self._stack = ExitStack()
        self._behind = SendThread(
            calls_max=options.batches.send_queue_batches, wait_turn=options.wait_turn
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
        # From the end, so that topics below another go first: on G1 it would take their data along.
        for name in sorted(names, reverse=True):
            self.writer.topic_delete(name)
        self._remember(dict.fromkeys(names))

    @property
    def send_s(self) -> float:
        """Seconds spent in writes; final after `finish`."""
        return self._behind.busy_s

    def send(self, lane: TopicLane, batch: pa.RecordBatch) -> None:
        """Queue a batch; waits while the network is behind.

        Raises:
            ServerError: An earlier write failed, or the sequence or topic cannot be created.
        """
        if batch.num_rows == 0 or lane.failure is not None:
            return
        if lane.writer is None and not self._open(lane):
            return
        self._behind.submit(partial(self._write, lane, batch))
        lane.report.batches += 1
        lane.report.arrow_bytes += batch.nbytes
        self._events.batch_sent(
            topic=lane.topic.name, messages=batch.num_rows, arrow_bytes=batch.nbytes
        )

    def finish(self, lanes: list[TopicLane]) -> list[TopicLane]:
        """Write what waits and close every stream.

        Returns:
            The lanes whose topics the platform now holds whole.
        """
        if self.writer is None:
            return []
        self._behind.drain()
        whole = []
        self._end(lanes)
        for lane in lanes:
            if lane.writer is not None and lane.failure is None:
                self._attempt(lane, lane.writer.close)
            if lane.writer is not None and lane.failure is None:
                enter_written(lane, lane.writer)
                whole.append(lane)
        for lane in lanes:
            if lane.failure is not None:
                self._give_up(self.writer, lane, lane.failure)
            elif lane.messages_read == 0:
                lane.report.outcome, lane.report.reason = TopicOutcome.EMPTY, "no messages"
        return whole

    def _end(self, lanes: list[TopicLane]) -> None:
        """End every stream, so that a slow link is waited for once, and remember what was ended.

        A topic that the platform locks has arrived up to its end: with its rows remembered it is
        known to be whole even where the verdict is lost and the platform counts nothing.
        """
        ended: dict[str, int | None] = {}
        try:
            for lane in lanes:
                if lane.writer is not None and lane.failure is None:
                    self._attempt(lane, lane.writer.end)
                if lane.writer is not None and lane.failure is None:
                    ended[lane.report.platform_name] = lane.writer.rows_written
        finally:
            self._remember(ended)

    def notify(self, report: IngestReport) -> None:
        """Send the platform what only the end of reading knows, if it is not nothing."""
        if report.complete or self.writer is None:
            return
        parts = [
            f"{topic.name}: {topic.reason or topic.messages_skipped}"
            for topic in report.topics
            if topic.messages_unwillingly_skipped or topic.outcome is TopicOutcome.SKIPPED
        ]
        parts += [
            f"{topic.name}: {topic.messages_leftover} messages hold more than their definition"
            for topic in report.topics
            if topic.messages_leftover
        ]
        parts += [
            f"{loss.path.name} bytes {loss.start_bytes} to {loss.end_bytes}: {loss.reason}"
            for loss in report.losses
        ]
        if not report.healthy:
            parts.insert(0, "the recorder did not close this recording")
        self.writer.notify("partial: " + "; ".join(parts[:NOTIFIED_PARTS_MAX]))

    def _give_up(self, writer: SequenceWriter, lane: TopicLane, error: BridgeError) -> None:
        report = lane.report
        report.outcome, report.reason, report.messages_sent = (
            TopicOutcome.SKIPPED,
            error.message,
            0,
        )
        lane.skip(TOPIC_DROPPED_REASON, lane.messages_read - sum(report.messages_skipped.values()))
        if lane.writer is not None:
            writer.topic_drop(report.platform_name, error.message)

    def _begin(self, writer: SequenceWriter) -> None:
        try:
            self.writer = writer.__enter__()
        except AlreadyExistsError as error:
            # It was not there a moment ago; whose it is, the next try finds out.
            raise BusyElsewhereError(
                error.message, resource=self._sequence, hint="another bridge was faster"
            ) from error
        self._stack.push(self._leave)
        # Entered on top of the sequence, so that the thread has ended before the sequence is
        # finalised or removed.
        self._stack.enter_context(self._behind)
        earlier = self._upload
        self._upload = OpenUpload(
            sequence=self._sequence,
            session_uuid=writer.session_uuid,
            session=writer.session,
            tries=(earlier.tries if earlier is not None else 0) + 1,
            rows=earlier.rows if earlier is not None and writer.resumed is not None else {},
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
        if error is not None:
            self._end_badly(error)
            return
        assert self.writer is not None
        try:
            self.writer.finalize()
        except BaseException as late:
            # Whether the platform has heard of the commit, the next try finds out.
            self._end_badly(late)
            raise

    def _end_badly(self, error: BaseException) -> None:
        writer = self.writer
        assert writer is not None
        if self._goes_on(error):
            writer.abandon()
            return
        given_up = isinstance(error, BridgeError) and self._gives_up(error)
        if isinstance(error, VerificationError) and not given_up:
            # Also where it cannot be removed: the next try must not take it up.
            self._upload = OpenUpload(sequence=self._sequence)
            self._events.upload_changed(upload=self._upload)
        writer.on_error = self._options.on_error if given_up else OnErrorPolicy.Delete
        writer.__exit__(type(error), error, error.__traceback__)

    def _goes_on(self, error: BaseException) -> bool:
        """Return whether the next try can resume what this one leaves."""
        return (
            self._options.identity.resumes
            and isinstance(error, BridgeError)
            # Where the recording is the trouble, the next try is about other content.
            and not isinstance(error, RecordingError)
            # What the platform holds is in doubt, so nothing may be built on it.
            and not isinstance(error, VerificationError)
            and not self._gives_up(error)
        )

    def _gives_up(self, error: BridgeError) -> bool:
        """Return whether no try follows this error, by the rules that `Identity` states."""
        identity = self._options.identity
        if not identity.resumes:
            return identity.final
        if error.trouble in {Trouble.REJECTED, Trouble.POISON}:
            return True
        passing = error.trouble in {Trouble.OFFLINE, Trouble.REFUSED}
        passing = passing or isinstance(error, PlatformBusyError)
        return identity.final and not passing and not got_on(self._before, self._upload)

    def _open(self, lane: TopicLane) -> bool:
        if self.writer is None:
            # Reported before it exists: if the process dies right after creating it, it is known.
            self._events.upload_changed(upload=OpenUpload(sequence=self._sequence))
            self._begin(self._client.sequence_create(self._sequence, self._metadata()))
        writer = self.writer
        assert writer is not None

        def create() -> None:
            lane.writer = writer.topic_create(
                lane.report.platform_name, lane.plan.user_metadata, lane.plan.model
            )

        self._attempt(lane, create)
        return lane.failure is None

    def _write(self, lane: TopicLane, batch: pa.RecordBatch) -> None:
        writer = lane.writer
        assert writer is not None
        if lane.failure is None:
            self._attempt(lane, partial(writer.write_batch, batch))

    def _attempt(self, lane: TopicLane, call: Callable[[], object]) -> None:
        try:
            call()
        except BridgeError as error:
            if self._options.topic_errors == "fail" or not is_the_topics_fault(error):
                raise
            lane.failure = error


def enter_written(lane: TopicLane, writer: TopicWriter) -> None:
    """Enter what a lane's writer has written, or has rehearsed to write, into its account."""
    lane.report.messages_sent = writer.rows_written
    lane.report.start_ns = writer.start_ns
    lane.report.end_ns = writer.end_ns
    lane.report.texts_changed = writer.texts_changed
    lane.report.row_bytes_max = writer.row_bytes_max
    lane.skip(OVERSIZE_REASON, writer.oversize)
