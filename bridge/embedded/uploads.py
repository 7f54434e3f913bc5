"""Taking the data of a put stream: one chunk per batch, locked only if the stream ends cleanly."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.query.nulls import null_fault
from bridge.embedded.records import SegmentRecord, TopicRecord
from bridge.embedded.refusals import too_large
from bridge.embedded.store import TIMESTAMP, TopicData


class BrokenStreamError(Exception):
    """A stream ended in another way than by its client's will; the message says how."""


class NoDataError(Exception):
    """A message had metadata only, which is how a client gives up a topic."""


def timestamp_fault(schema: pa.Schema) -> str:
    """Say what is wrong with the one column that every topic must have; empty if nothing is."""
    index = schema.get_field_index(TIMESTAMP)
    if index < 0:
        return "missing timestamp field in schema"
    if schema.field(index).type != pa.int64():
        return "wrong timestamp field type, expected int64"
    return ""


def take(
    archive: Archive,
    topic: TopicRecord,
    context: flight.ServerCallContext,
    reader: flight.MetadataRecordBatchReader,
) -> None:
    """Store the batches of a stream, then lock the topic: on disk first, then in the catalogue.

    What arrived of a stream that fails stays, but its topic is never locked.

    Raises:
        BrokenStreamError: The client went away, a message is too big or has a null in a required
            field, or the server stops.
        NoDataError: The client gave the topic up.
        TopicGoneError: The topic was deleted meanwhile.
    """
    try:
        with archive.store.write(topic, reader.schema) as data:
            try:
                for batch in _received(archive, context, reader):
                    data.append(batch)
                    if data.is_full:
                        _note(archive, topic, data.seal())
            except (BrokenStreamError, NoDataError):
                _note(archive, topic, data.seal())
                raise
            _lock(archive, topic, data)
    except FileNotFoundError:
        raise TopicGoneError(topic.locator) from None  # its folder went with it


def _lock(archive: Archive, topic: TopicRecord, data: TopicData) -> None:
    segment = data.seal()
    with archive.catalogue.transaction():
        _note(archive, topic, segment)
        if not archive.catalogue.complete_topic(topic):
            raise TopicGoneError(topic.locator)


def _note(archive: Archive, topic: TopicRecord, segment: SegmentRecord | None) -> None:
    if segment is not None and not archive.catalogue.add_segment(topic, segment):
        archive.store.remove([topic])
        raise TopicGoneError(topic.locator)


def _received(
    archive: Archive,
    context: flight.ServerCallContext,
    reader: flight.MetadataRecordBatchReader,
) -> Iterator[pa.RecordBatch]:
    """Give the batches of a stream, and end normally only if the client ended it."""
    while True:
        try:
            message = reader.read_chunk()
        except StopIteration:
            break
        except pa.ArrowException as error:
            raise BrokenStreamError(str(error)) from None
        if message.data is None:
            raise NoDataError
        size_bytes = pa.ipc.get_record_batch_size(message.data)
        if size_bytes > archive.message_bytes_max:
            raise BrokenStreamError(too_large(size_bytes, archive.message_bytes_max))
        if path := null_fault(message.data):
            raise BrokenStreamError(f"field '{path}' is declared non-nullable but contains nulls")
        if archive.is_closing.is_set():
            raise BrokenStreamError("the server shuts down")
        yield message.data
    # To pyarrow a client that died looks like the end of its stream; only this shows it.
    if context.is_cancelled():
        raise BrokenStreamError("the client went away")
