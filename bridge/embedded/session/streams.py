"""DoPut and DoGet of revision G2d: every check of a put in its order, and the ordered read."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.archive import Archive
from bridge.embedded.names import require_uuid
from bridge.embedded.query.nulls import as_declared
from bridge.embedded.records import TopicRecord, TopicState
from bridge.embedded.refusals import Refusal, Status, never_put, still_uploading
from bridge.embedded.session.actions import ENCODE_BYTES_TARGET, find_topic
from bridge.embedded.session.flights import command, resource
from bridge.embedded.uploads import BrokenStreamError, NoDataError, take, timestamp_fault


def put(
    archive: Archive,
    context: flight.ServerCallContext,
    descriptor: flight.FlightDescriptor,
    reader: flight.MetadataRecordBatchReader,
) -> None:
    """Take the data of a topic, and lock it if the stream ends cleanly.

    Raises:
        Refusal: The first check that fails, or the way in which the stream broke.
        TopicGoneError: The topic was deleted meanwhile.
    """
    request = command(descriptor, {"resource_locator": str, "topic_uuid": str})
    try:
        schema = reader.schema
    except pa.ArrowException:
        raise Refusal(Status.INVALID_ARGUMENT, "Missing schema.") from None
    if fault := timestamp_fault(schema):
        raise Refusal(Status.INVALID_ARGUMENT, f"Unsupported schema: {fault}.")
    with archive.catalogue.transaction():
        topic = find_topic(archive, request["resource_locator"])
        if require_uuid(request["topic_uuid"]) != topic.uuid:
            raise Refusal(
                Status.PERMISSION_DENIED,
                "Unauthorized: received uuid does not match the topic uuid.",
            )
        _require_empty(topic)
        archive.catalogue.begin_upload(topic, schema_bytes=schema.serialize().to_pybytes())
    try:
        take(archive, topic, context, reader)
    except BrokenStreamError as error:
        raise Refusal(Status.CANCELLED, f"Stream error: {error}.") from None
    except NoDataError:
        raise Refusal(Status.ABORTED, "Unsupported stream message, stream aborted.") from None


def _require_empty(topic: TopicRecord) -> None:
    if topic.state is TopicState.UPLOADING:
        raise still_uploading(topic.locator)
    if topic.state is TopicState.FINALIZED:
        raise Refusal(
            Status.FAILED_PRECONDITION,
            f"Topic `{topic.locator}` has already been uploaded and finalized.",
        )


def get(archive: Archive, ticket: flight.Ticket) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a topic, or a time window of it, by ascending time.

    Raises:
        Refusal: INVALID_ARGUMENT for a ticket of somebody else, NOT_FOUND for a topic that is
            gone, FAILED_PRECONDITION for one that was never put.
        TopicGoneError: It was deleted just now.
    """
    wanted = resource(ticket)
    topic = find_topic(archive, wanted.locator)
    if topic.state is TopicState.EMPTY:
        raise never_put(topic.locator)
    batches = archive.open(topic).batches(wanted.window, bytes_target=ENCODE_BYTES_TARGET)
    return topic.schema, as_declared(batches, topic.schema)
