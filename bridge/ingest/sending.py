"""The platform's side of an ingest: opens sequence and topics when first needed, writes behind.

Nothing is created on the platform before there is a message to send, because the platform cannot
finalise an empty session and a topic without rows says nothing.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

import pyarrow as pa

from bridge.client import MosaicoClient, OnErrorPolicy, SequenceWriter
from bridge.errors import BridgeError
from bridge.ingest.events import IngestEvents
from bridge.ingest.lanes import Lane, is_the_topics_fault
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import IngestReport, TopicOutcome
from bridge.ingest.threads import SendBehind

TOPIC_DROPPED_REASON = "topic_dropped"
OVERSIZE_REASON = "oversize"
NOTIFIED_PARTS_MAX = 20


class Sending:
    """Sends batches of many topics into one sequence; a context manager.

    Leaving the block normally finalises the sequence; leaving it by an exception applies the
    error policy of the options, or removes everything while tries are left.

    Args:
        client: Connected to the platform.
        sequence: Name of the sequence.
        metadata: Makes the sequence's metadata when it is created.
        options: All choices.
        events: Told about batches.

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
    ) -> None:
        self.writer: SequenceWriter | None = None
        self._client = client
        self._sequence = sequence
        self._metadata = metadata
        self._options = options
        self._events = events
        self._stack = ExitStack()
        self._behind = SendBehind(calls_max=options.batches.send_queue_batches)

    def __enter__(self) -> Self:
        """Nothing is created on the platform yet."""
        self._stack.__enter__()
        return self

    def __exit__(self, *error: object) -> bool | None:
        """Stop sending, then finalise or apply the error policy."""
        return self._stack.__exit__(*error)  # type: ignore[arg-type]

    @property
    def send_s(self) -> float:
        """Seconds spent in writes; final after `finish`."""
        return self._behind.busy_s

    def send(self, lane: Lane, batch: pa.RecordBatch) -> None:
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

    def finish(self, lanes: list[Lane]) -> list[Lane]:
        """Write what waits and close every stream.

        Returns:
            The lanes whose topics the platform now holds whole.
        """
        if self.writer is None:
            return []
        self._behind.drain()
        whole = []
        for lane in lanes:
            if lane.writer is not None and lane.failure is None:
                self._attempt(lane, lane.writer.close)
            if lane.writer is not None and lane.failure is None:
                lane.report.messages_sent = lane.writer.rows_written
                lane.report.start_ns = lane.writer.start_ns
                lane.report.end_ns = lane.writer.end_ns
                lane.skip(OVERSIZE_REASON, lane.writer.oversize)
                whole.append(lane)
        for lane in lanes:
            if lane.failure is not None:
                self._give_up(self.writer, lane, lane.failure)
            elif lane.messages_read == 0:
                lane.report.outcome, lane.report.reason = TopicOutcome.EMPTY, "no messages"
        return whole

    def notify(self, report: IngestReport) -> None:
        """Tell the platform what only the end of reading knows, if it is not nothing."""
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

    def _give_up(self, writer: SequenceWriter, lane: Lane, error: BridgeError) -> None:
        report = lane.report
        report.outcome, report.reason, report.messages_sent = (
            TopicOutcome.SKIPPED,
            error.message,
            0,
        )
        lane.skip(TOPIC_DROPPED_REASON, lane.messages_read - sum(report.messages_skipped.values()))
        if lane.writer is not None:
            writer.topic_drop(report.platform_name, error.message)

    def _open(self, lane: Lane) -> bool:
        if self.writer is None:
            final = self._options.identity.final
            self.writer = self._stack.enter_context(
                self._client.sequence_create(
                    self._sequence,
                    self._metadata(),
                    on_error=self._options.on_error if final else OnErrorPolicy.Delete,
                )
            )
            # Entered on top of the sequence, so that the thread has ended before the sequence is
            # finalised or removed.
            self._stack.enter_context(self._behind)
        writer = self.writer

        def create() -> None:
            lane.writer = writer.topic_create(
                lane.report.platform_name, lane.plan.user_metadata, lane.plan.model
            )

        self._attempt(lane, create)
        return lane.failure is None

    def _write(self, lane: Lane, batch: pa.RecordBatch) -> None:
        writer = lane.writer
        assert writer is not None
        if lane.failure is None:
            self._attempt(lane, partial(writer.write_batch, batch))

    def _attempt(self, lane: Lane, call: Callable[[], object]) -> None:
        try:
            call()
        except BridgeError as error:
            if self._options.fail_on_topic_error or not is_the_topics_fault(error):
                raise
            lane.failure = error
