"""One put or get stream: blocking calls, watched for progress, with errors in our terms."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bridge.client.stall import WatchedStream
from bridge.errors import ServerError, TransientError, UsageError

_ABORT_MESSAGE = b"abort"


@dataclass(slots=True, kw_only=True, eq=False)
class PutStream:
    """An open put stream; used by one thread at a time.

    A stream must be finished or aborted: one that is merely forgotten ends cleanly, and the server
    takes what has arrived for the whole topic.

    Attributes:
        writer: The Flight stream writer.
        watched: Makes the blocking calls.
        on_end: Called once when the stream has ended in any way.
        ended: Whether it has.
        failure: Why it did not end well; None where it did, or was aborted.
    """

    writer: Any
    watched: WatchedStream
    on_end: "Callable[[PutStream], None]"
    ended: bool = False
    failure: ServerError | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Send a batch; blocks as long as the server or the link is slow.

        Raises:
            ServerError: The stream is broken; it can only be aborted from here on.
        """
        if self.ended:
            raise UsageError(f"{self.watched.resource}: the stream has ended")
        try:
            self.watched.call(self.writer.write_batch, batch)
        except ServerError as error:
            raise self._verdict(error) from error.__cause__

    def _verdict(self, error: ServerError) -> ServerError:
        """Prefer what the server says at the end of a broken stream over how the write failed."""
        self.ended = True
        try:
            self.watched.call(self.writer.close)
        except ServerError as verdict:
            chosen = verdict if not isinstance(verdict, TransientError) else error
        else:
            chosen = error
        self.failure = chosen
        self.on_end(self)
        return chosen

    def end(self) -> None:
        """Signal the end of the data without waiting for the server's verdict; idempotent."""
        if not self.ended:
            with suppress(ServerError):  # The verdict will say so, too.
                self.watched.call(self.writer.done_writing)

    def finish(self) -> None:
        """End the stream and wait for the server's verdict.

        Raises:
            ServerError: The topic is not whole on the server.
        """
        if self.failure is not None:
            raise self.failure
        if self.ended:
            return
        self.ended = True
        try:
            self.watched.call_for_verdict(self.writer.close)
        except ServerError as error:
            self.failure = error
            raise
        finally:
            self.on_end(self)

    def abort(self) -> None:
        """Break the stream so that the server does not take it for complete; idempotent.

        A message without payload does it: the platform refuses one, while a stream that just ends,
        even because our process unwinds, is locked as a whole topic.
        """
        if self.ended:
            return
        self.ended = True
        with suppress(ServerError):  # The refusal is what an abort is for.
            self.watched.call(self.writer.write_metadata, _ABORT_MESSAGE)
        with suppress(ServerError):
            self.watched.call(self.writer.close)
        self.on_end(self)


@dataclass(slots=True, kw_only=True, eq=False)
class GetStream:
    """An open get stream; used by one thread.

    Attributes:
        reader: The Flight stream reader.
        watched: Makes the blocking calls.
        on_end: Called once when the stream has ended in any way.
        ended: Whether it has.
    """

    reader: Any
    watched: WatchedStream
    on_end: Callable[[], None]
    ended: bool = False

    def _blocking(self, function: Callable[[], Any]) -> Any:
        try:
            return self.watched.call(function)
        except ServerError:
            self._end()
            raise

    def _read(self) -> Any:
        """Read a chunk; None at the end."""
        try:
            return self.reader.read_chunk()
        except StopIteration:
            return None

    @property
    def schema(self) -> pa.Schema:
        """The schema, which is the first thing the server sends."""
        schema: pa.Schema = self._blocking(lambda: self.reader.schema)
        return schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches; leaving early cancels the stream.

        Raises:
            ServerError: The stream broke.
        """
        try:
            while (chunk := self._blocking(self._read)) is not None:
                if chunk.data is not None:
                    yield chunk.data
            self._end()
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what has not been read; idempotent."""
        if not self.ended:
            self._end()
            self.reader.cancel()

    def _end(self) -> None:
        self.ended = True
        self.on_end()
