"""DoPut and DoGet of revision G2d: every check of a put in its order, and the ordered read."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.archive import Archive
from bridge.embedded.flights import Ticket, command, open_topic, stored_schema
from bridge.embedded.names import require_uuid
from bridge.embedded.reading import TopicReader, Window, regular_batches
from bridge.embedded.records import SegmentRecord, TopicRecord, TopicState
from bridge.embedded.refusals import Refusal, Status, never_put, not_found, still_uploading
from bridge.embedded.session_actions import ENCODE_BYTES_TARGET, find_topic
from bridge.embedded.store import TIMESTAMP, TopicData

ROWS_MAX = 8192
"""Rows of one batch of a read."""


def put(
    archive: Archive,
    context: flight.ServerCallContext,
    descriptor: flight.FlightDescriptor,
    reader: flight.MetadataRecordBatchReader,
) -> None:
    """Take the data of a topic, and lock it if the stream ends cleanly.

    Raises:
        Refusal: The first check that fails, or the way in which the stream broke.
    """
    request = command(descriptor, {"resource_locator": str, "topic_uuid": str})
    try:
        schema = reader.schema
    except pa.ArrowException:
        raise Refusal(Status.INVALID_ARGUMENT, "Missing schema.") from None
    require_timestamps(schema)
    with archive.catalogue.transaction():
        topic = find_topic(archive, request["resource_locator"])
        if require_uuid(request["topic_uuid"]) != topic.uuid:
            raise Refusal(
                Status.PERMISSION_DENIED,
                "Unauthorized: received uuid does not match the topic uuid.",
            )
        require_empty(topic)
        archive.catalogue.begin_upload(topic, schema_bytes=schema.serialize().to_pybytes())
    try:
        with archive.store.write(topic, schema) as data:
            _take(archive, topic, data, received(archive, context, reader))
    except FileNotFoundError:
        # The topic was deleted under our hands, its folder with it.
        raise not_found(topic.locator) from None


def _take(
    archive: Archive, topic: TopicRecord, data: TopicData, batches: Iterator[pa.RecordBatch]
) -> None:
    """Store batches, and lock the topic after the last: on disk first, then in the catalogue."""
    try:
        for batch in batches:
            data.append(batch)
            if data.is_full:
                _note(archive, topic, data.seal())
    except Refusal:
        # What arrived stays, as on the platform, but the topic is never locked.
        _note(archive, topic, data.seal())
        raise
    segment = data.seal()
    with archive.catalogue.transaction():
        _note(archive, topic, segment)
        archive.catalogue.complete_topic(topic)


def _note(archive: Archive, topic: TopicRecord, segment: SegmentRecord | None) -> None:
    if segment is not None and not archive.catalogue.add_segment(topic, segment):
        archive.store.remove([topic])
        raise not_found(topic.locator)


def require_timestamps(schema: pa.Schema) -> None:
    """Check the one column that every topic must have.

    Raises:
        Refusal: INVALID_ARGUMENT when there is no `timestamp_ns` of type int64.
    """
    index = schema.get_field_index(TIMESTAMP)
    if index < 0:
        raise Refusal(
            Status.INVALID_ARGUMENT, "Unsupported schema: missing timestamp field in schema."
        )
    if schema.field(index).type != pa.int64():
        raise Refusal(
            Status.INVALID_ARGUMENT,
            "Unsupported schema: wrong timestamp field type, expected int64.",
        )


def require_empty(topic: TopicRecord) -> None:
    """Check that nothing was ever put to a topic.

    Raises:
        Refusal: FAILED_PRECONDITION otherwise.
    """
    if topic.state is TopicState.UPLOADING:
        raise still_uploading(topic.locator)
    if topic.state is TopicState.FINALIZED:
        raise Refusal(
            Status.FAILED_PRECONDITION,
            f"Topic `{topic.locator}` has already been uploaded and finalized.",
        )


def received(
    archive: Archive,
    context: flight.ServerCallContext,
    reader: flight.MetadataRecordBatchReader,
) -> Iterator[pa.RecordBatch]:
    """Give the batches of a put stream, and end normally only if the client ended it.

    Raises:
        Refusal: CANCELLED when the stream broke or a batch is too big, ABORTED for a message
            without data.
    """
    while True:
        try:
            message = reader.read_chunk()
        except StopIteration:
            break
        except pa.ArrowException as error:
            raise Refusal(Status.CANCELLED, f"Stream error: {error}.") from None
        if message.data is None:
            raise Refusal(Status.ABORTED, "Unsupported stream message, stream aborted.")
        size_bytes = pa.ipc.get_record_batch_size(message.data)
        if size_bytes > archive.message_bytes_max:
            raise Refusal(
                Status.CANCELLED,
                f"Stream error: decoded message length too large: found {size_bytes} bytes,"
                f" the limit is: {archive.message_bytes_max} bytes.",
            )
        if archive.is_closing.is_set():
            raise Refusal(Status.CANCELLED, "Stream error: the server shuts down.")
        yield message.data
    # To pyarrow a client that died looks like the end of its stream; only this tells.
    if context.is_cancelled():
        raise Refusal(Status.CANCELLED, "Stream error: the client went away.")


def get(archive: Archive, ticket: flight.Ticket) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a topic, or a time window of it, by ascending time.

    Raises:
        Refusal: INVALID_ARGUMENT for a ticket of somebody else, NOT_FOUND for a topic that is
            gone, FAILED_PRECONDITION for one that was never put.
    """
    wanted = Ticket.decode(ticket.ticket)
    topic = find_topic(archive, wanted.locator)
    if topic.state is TopicState.EMPTY:
        raise never_put(topic.locator)
    return stored_schema(topic), _batches(open_topic(archive, topic), wanted.window)


def _batches(reader: TopicReader, window: Window) -> Iterator[pa.RecordBatch]:
    with reader:
        tables = reader.in_order(window, rows_max=ROWS_MAX)
        yield from regular_batches(tables, rows_max=ROWS_MAX, bytes_target=ENCODE_BYTES_TARGET)
