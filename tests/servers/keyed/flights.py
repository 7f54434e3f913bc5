"""ListFlights, GetFlightInfo, DoGet and DoPut of revision G1.2."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import flight

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import TopicRecord, TopicState
from bridge.embedded.query.reading import Window
from bridge.embedded.session.flights import (
    BrokenStreamError,
    NoDataError,
    Ticket,
    decode_resource,
    take,
    timestamp_fault,
)
from bridge.embedded.store import as_declared
from bridge.embedded.wire import Json, MalformedError, Shape, decode, encode
from tests.servers.keyed.actions import cleaned, find_topic
from tests.servers.keyed.refusals import (
    locked,
    refuse,
    require_key,
    undecodable,
)

BYTES_TARGET = 2_097_152
"""The encoder of the platform splits what it sends at about this size."""

_UNSUPPORTED = "unsupported descriptor type"


def list_flights(archive: Archive, criteria: bytes) -> list[flight.FlightInfo]:
    """List every sequence.

    Raises:
        Refusal: The criteria are not the root.
    """
    if criteria not in {b"", b"/"}:
        raise refuse(_UNSUPPORTED)
    return [
        flight.FlightInfo(
            None,
            flight.FlightDescriptor.for_path(sequence.locator),
            [flight.FlightEndpoint(sequence.locator.encode(), [])],
        )
        for sequence in archive.catalogue.sequences()
    ]


def get_flight_info(archive: Archive, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
    """Describe the sequence of a name, or else the topic.

    Raises:
        Refusal: The descriptor is no command, or nothing has that name.
    """
    name, window = _resource(_command(descriptor))
    name = cleaned(name)
    sequence = archive.catalogue.sequence(locator=name)
    if sequence is not None:
        metadata = {
            "mosaico:context": "sequence",
            "mosaico:user_metadata": sequence.user_metadata,
        }
        endpoints = [_endpoint(topic, window) for topic in archive.catalogue.topics(sequence)]
        return flight.FlightInfo(pa.schema([], metadata=metadata), descriptor, endpoints)
    topic = archive.catalogue.topic(name)
    if topic is None:
        raise refuse("repository error :: not found")
    return flight.FlightInfo(described_schema(topic), descriptor, [_endpoint(topic, window)])


def described_schema(topic: TopicRecord) -> pa.Schema:
    """Give the fields of a topic, with what the platform says of it in place of any metadata."""
    properties: Json = {
        "serialization_format": topic.serialization_format,
        "ontology_tag": topic.ontology_tag,
    }
    return pa.schema(
        [field.remove_metadata() for field in topic.schema],
        metadata={
            "mosaico:context": "topic",
            "mosaico:properties": encode(properties),
            "mosaico:user_metadata": topic.user_metadata,
        },
    )


def _endpoint(topic: TopicRecord, window: Window) -> flight.FlightEndpoint:
    timestamp: Json = None
    if topic.first_ns is not None:
        timestamp = {"min": topic.first_ns, "max": topic.last_ns}
    return flight.FlightEndpoint(
        Ticket(locator=topic.locator, window=window).encode(),
        [f"mosaico:/{topic.locator}"],
        app_metadata=encode({"timestamp": timestamp}),
    )


def get(archive: Archive, ticket: bytes) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a topic, or a time window of it, by ascending time; it need not be locked.

    Raises:
        Refusal: The ticket is somebody else's, or the topic is gone or has no data.
        TopicGoneError: It was deleted just now.
    """
    locator, window = _resource(ticket)
    topic = find_topic(archive, locator)
    reader = archive.open(topic)
    if not reader.chunks:
        reader.close()
        raise refuse("facade error :: missing data :: unable to compute optimal batch size")
    schema = described_schema(topic)
    batches = reader.batches(window, bytes_target=BYTES_TARGET)
    declared = as_declared(batches, topic.schema)
    return schema, (pa.record_batch(batch.columns, schema=schema) for batch in declared)


def put(
    archive: Archive,
    context: flight.ServerCallContext,
    descriptor: flight.FlightDescriptor,
    reader: flight.MetadataRecordBatchReader,
) -> None:
    """Take the data of a topic, and lock it if the stream ends cleanly.

    A second put, which the platform takes and then mixes up with the first, is refused.

    Raises:
        Refusal: The first check that fails, or the way in which the stream broke.
        TopicGoneError: The topic was deleted meanwhile.
    """
    request = _decoded(_command(descriptor), {"resource_locator": str, "key": str})
    try:
        schema = reader.schema
    except pa.ArrowException:
        raise refuse("missing schema") from None
    if fault := timestamp_fault(schema):
        raise refuse(f"sanitization error :: {fault}")
    with archive.catalogue.transaction():
        topic = find_topic(archive, request["resource_locator"])
        require_key(request["key"], topic.uuid)
        if topic.state is not TopicState.EMPTY:
            raise locked("topic")
        archive.catalogue.begin_upload(topic, schema_bytes=schema.serialize().to_pybytes())
    try:
        take(archive, topic, context, reader)
    except BrokenStreamError as error:
        raise refuse(f"error during data streaming :: {error}") from None
    except NoDataError:
        raise refuse("no data received") from None


def _command(descriptor: flight.FlightDescriptor) -> bytes:
    if descriptor.descriptor_type != flight.DescriptorType.CMD:
        raise refuse(_UNSUPPORTED)
    command: bytes = descriptor.command
    return command


def _decoded(text: bytes, shape: Shape) -> dict[str, str]:
    try:
        return decode(text, shape)
    except MalformedError as error:
        raise undecodable(str(error)) from None


def _resource(text: bytes) -> tuple[str, Window]:
    try:
        resource = decode_resource(text)
    except MalformedError as error:
        raise undecodable(str(error)) from None
    return resource.locator, resource.window
