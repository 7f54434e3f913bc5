"""The five calls about data in revisions G2d and G3: what is listed and described, put and got."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import flight

from bridge.client import holds_nul
from bridge.embedded.archive import Archive, TopicGoneError
from bridge.embedded.catalogue import SegmentRecord, SequenceRecord, TopicRecord, TopicState
from bridge.embedded.names import (
    find_sequence,
    find_topic,
    is_sequence,
    is_session,
    is_topic,
    require_uuid,
)
from bridge.embedded.query.reading import Window
from bridge.embedded.refusals import Refusal, Status, never_put, still_uploading, too_large
from bridge.embedded.session.actions import ENCODE_BYTES_TARGET
from bridge.embedded.store import TopicData, as_declared, null_fault
from bridge.embedded.wire import (
    Encoding,
    Json,
    MalformedError,
    NulError,
    decode,
    encode,
    encoding_of,
    has_nul,
    interval,
    optional_int64,
)
from bridge.ontology import TIMESTAMP_COLUMN
from bridge.protobuf import (
    NotProtobufError,
    decode_put,
    encode_facts,
    encode_resource,
)
from bridge.protobuf import decode_resource as decode_protobuf_resource


class BrokenStreamError(Exception):
    """A stream ended in another way than by its client's will; the message says how."""


class NoDataError(Exception):
    """A message had metadata only, which is how a client gives up a topic."""


def timestamp_fault(schema: pa.Schema) -> str:
    """Say what is wrong with the one column that every topic must have; empty if nothing is."""
    index = schema.get_field_index(TIMESTAMP_COLUMN)
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
        NulError: The smallest or largest text of a batch holds U+0000.
        TopicGoneError: The topic was deleted meanwhile.
    """
    try:
        with archive.store.write(topic, reader.schema) as data:
            try:
                for batch in _received(archive, context, reader):
                    data.append(batch)
                    if data.is_full:
                        _note(archive, topic, data.seal())
            except (BrokenStreamError, NoDataError, NulError):
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
        if any(_nul_in_extremes(column) for column in message.data.columns):
            raise NulError
        if archive.is_closing.is_set():
            raise BrokenStreamError("the server shuts down")
        yield message.data
    # To pyarrow a client that died looks like the end of its stream; only this shows it.
    if context.is_cancelled():
        raise BrokenStreamError("the client went away")


def _nul_in_extremes(column: pa.Array) -> bool:
    """Look for U+0000 in the smallest and largest text of each column of texts.

    Those two the platform keeps in its database, which refuses it; the others are in its files.
    """
    if pa.types.is_struct(column.type):
        return any(map(_nul_in_extremes, column.flatten()))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    if not holds_nul(column):
        return False
    extremes = pc.min_max(column).as_py()
    return any("\x00" in (text or "") for text in extremes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A resource and a window of it, and how it was asked for; its bytes are opaque to clients."""

    locator: str
    window: Window
    encoding: Encoding = Encoding.JSON

    def encode(self) -> bytes:
        """Write it as the bytes of a Flight ticket."""
        if self.encoding is Encoding.PROTOBUF:
            return encode_resource(self.locator, self.window.start_ns, self.window.end_ns)
        return encode(
            {
                "resource_locator": self.locator,
                "timestamp_ns_start": self.window.start_ns,
                "timestamp_ns_end": self.window.end_ns,
            }
        )


def decode_resource(text: bytes) -> Ticket:
    """Read a locator with an optional time window, of a ticket or a command.

    Raises:
        MalformedError: It is not that.
    """
    wanted = decode(text, {"resource_locator": str})
    window = Window(
        start_ns=optional_int64(wanted, "timestamp_ns_start"),
        end_ns=optional_int64(wanted, "timestamp_ns_end"),
    )
    return Ticket(locator=wanted["resource_locator"], window=window)


def command(descriptor: flight.FlightDescriptor) -> bytes:
    """Give the bytes of a command descriptor.

    Raises:
        Refusal: INVALID_ARGUMENT for a path.
    """
    if descriptor.descriptor_type != flight.DescriptorType.CMD:
        raise Refusal(Status.INVALID_ARGUMENT, "Unsupported descriptor.")
    text: bytes = descriptor.command
    return text


def put_request(text: bytes, spoken: frozenset[Encoding]) -> dict[str, Any]:
    """Decode the command that a put starts with.

    Raises:
        Refusal: INVALID_ARGUMENT for something else.
        NulError: A text in it holds U+0000.
    """
    try:
        if encoding_of(text, spoken) is Encoding.JSON:
            return decode(text, {"resource_locator": str, "topic_uuid": str})
        request = decode_put(text)
    except (MalformedError, NotProtobufError) as error:
        raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: {error}.") from None
    if has_nul(request):
        raise NulError
    return request


def resource(text: bytes, spoken: frozenset[Encoding]) -> Ticket:
    """Read a locator with an optional time window, of a ticket or a command.

    Raises:
        Refusal: INVALID_ARGUMENT for something else, or a window without room for a time.
        NulError: The locator holds U+0000.
    """
    try:
        wanted = (
            decode_resource(text)
            if encoding_of(text, spoken) is Encoding.JSON
            else _decode_protobuf(text)
        )
    except (MalformedError, NotProtobufError) as error:
        raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: {error}.") from None
    start_ns, end_ns = wanted.window.start_ns, wanted.window.end_ns
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise Refusal(
            Status.INVALID_ARGUMENT, f"Bad request: invalid time range [{start_ns}, {end_ns})."
        )
    return wanted


def _decode_protobuf(text: bytes) -> Ticket:
    locator, start_ns, end_ns = decode_protobuf_resource(text)
    if has_nul(locator):
        raise NulError
    window = Window(start_ns=start_ns, end_ns=end_ns)
    return Ticket(locator=locator, window=window, encoding=Encoding.PROTOBUF)


def list_flights(archive: Archive, criteria: bytes) -> list[flight.FlightInfo]:
    """List every sequence.

    Raises:
        Refusal: INVALID_ARGUMENT for criteria other than the root.
    """
    if criteria not in {b"", b"/"}:
        raise Refusal(Status.INVALID_ARGUMENT, "Unsupported descriptor.")
    return [
        flight.FlightInfo(
            None,
            flight.FlightDescriptor.for_path(sequence.locator),
            [flight.FlightEndpoint(sequence.locator.encode(), [])],
        )
        for sequence in archive.catalogue.sequences()
    ]


def get_flight_info(
    archive: Archive, descriptor: flight.FlightDescriptor, *, spoken: frozenset[Encoding]
) -> flight.FlightInfo:
    """Describe a sequence with all its topics, or one topic.

    Raises:
        Refusal: INVALID_ARGUMENT for a descriptor, locator or window that is not valid, NOT_FOUND
            for an unknown resource.
    """
    wanted = resource(command(descriptor), spoken)
    locator = wanted.locator
    if is_session(locator):
        raise Refusal(Status.INVALID_ARGUMENT, f"Unsupported locator: {locator}.")
    if is_topic(locator):
        topic = find_topic(archive, locator)
        return flight.FlightInfo(topic.schema, descriptor, [_endpoint(archive, topic, wanted)])
    if not is_sequence(locator):
        raise Refusal(Status.INVALID_ARGUMENT, f"{locator} is not a valid locator.")
    with archive.catalogue.transaction():
        sequence = find_sequence(archive, locator)
        topics = archive.catalogue.topics(sequence)
        described = _described_sequence(archive, sequence, topics)
    return flight.FlightInfo(
        pa.schema([]),
        descriptor,
        [_endpoint(archive, topic, wanted) for topic in topics],
        app_metadata=_facts("sequence", described, wanted.encoding),
    )


def get_schema(
    archive: Archive, descriptor: flight.FlightDescriptor, *, spoken: frozenset[Encoding]
) -> flight.SchemaResult:
    """Give the schema of a topic; without fields before its first put.

    Raises:
        Refusal: INVALID_ARGUMENT for anything but a topic's locator, NOT_FOUND for an unknown one.
    """
    locator = resource(command(descriptor), spoken).locator
    if not is_topic(locator):
        raise Refusal(Status.INVALID_ARGUMENT, f"{locator} is not a valid topic locator.")
    return flight.SchemaResult(find_topic(archive, locator).schema)


def _described_sequence(
    archive: Archive, sequence: SequenceRecord, topics: list[TopicRecord]
) -> dict[str, Json]:
    return {
        "created_at_ns": sequence.created_ns,
        "resource_locator": sequence.locator,
        "user_metadata": json.loads(sequence.user_metadata),
        "sessions": [
            {
                "locator": session.locator,
                "created_at_ns": session.created_ns,
                "completed_at_ns": session.completed_ns,
                "locked": session.completed_ns is not None,
                "topics": [topic.locator for topic in topics if topic.session_id == session.id],
            }
            for session in archive.catalogue.sessions(sequence)
        ],
    }


def _endpoint(archive: Archive, topic: TopicRecord, wanted: Ticket) -> flight.FlightEndpoint:
    window, encoding = wanted.window, wanted.encoding
    is_done = topic.state is TopicState.FINALIZED
    described: dict[str, Json] = {
        "created_at_ns": topic.created_ns,
        "completed_at_ns": topic.completed_ns,
        "locked": is_done,
        "resource_locator": topic.locator,
        "ontology_tag": topic.ontology_tag,
        "serialization_format": topic.serialization_format,
        "user_metadata": json.loads(topic.user_metadata),
        "data_info": {
            "interval": interval(topic.first_ns, topic.last_ns),
            "total_row_count": topic.rows,
            "total_bytes": topic.size_bytes,
            "total_chunks_count": topic.chunks,
        },
        "time_window_info": None if window.is_open else _window_json(archive, topic, window),
    }
    if encoding is Encoding.PROTOBUF:
        described["session_locator"] = archive.catalogue.session_locator(topic)
    ticket = Ticket(locator=topic.locator, window=window, encoding=encoding)
    facts = _facts("topic", described, encoding)
    return flight.FlightEndpoint(ticket.encode(), [], app_metadata=facts)


def _facts(
    about: Literal["sequence", "topic"], described: dict[str, Json], encoding: Encoding
) -> bytes:
    if encoding is Encoding.PROTOBUF:
        return encode_facts(about, described)
    # A null is legal on the wire, but the vendor's client takes it for a missing field.
    if described["user_metadata"] is None:
        described["user_metadata"] = {}
    return encode(described)


def _window_json(archive: Archive, topic: TopicRecord, window: Window) -> Json:
    if topic.first_ns is None or topic.last_ns is None:
        return {"interval": None, "row_count": 0}
    if not window.touches(topic.first_ns, topic.last_ns):
        return {"interval": None, "row_count": 0}
    with archive.open(topic) as reader:
        summary = reader.summary(window)
    return {
        "interval": interval(summary.first_ns, summary.last_ns),
        "row_count": summary.rows,
    }


def put(
    archive: Archive,
    context: flight.ServerCallContext,
    descriptor: flight.FlightDescriptor,
    reader: flight.MetadataRecordBatchReader,
    *,
    spoken: frozenset[Encoding],
) -> None:
    """Take the data of a topic, and lock it if the stream ends cleanly.

    Raises:
        Refusal: The first check that fails, or the way in which the stream broke.
        TopicGoneError: The topic was deleted meanwhile.
    """
    request = put_request(command(descriptor), spoken)
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


def get(
    archive: Archive, ticket: bytes, *, spoken: frozenset[Encoding]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a topic, or a time window of it, by ascending time.

    Raises:
        Refusal: INVALID_ARGUMENT for a ticket of somebody else, NOT_FOUND for a topic that is
            gone, FAILED_PRECONDITION for one that was never put.
        TopicGoneError: It was deleted just now.
    """
    wanted = resource(ticket, spoken)
    topic = find_topic(archive, wanted.locator)
    if topic.state is TopicState.EMPTY:
        raise never_put(topic.locator)
    batches = archive.open(topic).batches(wanted.window, bytes_target=ENCODE_BYTES_TARGET)
    return topic.schema, as_declared(batches, topic.schema)
