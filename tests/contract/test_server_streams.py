"""DoPut and DoGet: the checks in their order, the states of a topic, the order of rows."""

import random
import subprocess
import sys
import threading
import time
from uuid import uuid4

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.contract.wire import SCHEMA, Wire, batch, refused

NOBODY = str(uuid4())


# Dropping a writer, or closing its client, would end the stream cleanly; only a kill breaks it.
PUT_AND_HANG = """
import sys, time
import pyarrow as pa
from pyarrow import flight
url, command = sys.argv[1:]
rows = pa.record_batch({"timestamp_ns": [1]})
descriptor = flight.FlightDescriptor.for_command(bytes.fromhex(command))
writer, _ = flight.FlightClient(url).do_put(descriptor, rows.schema)
writer.write_batch(rows)
time.sleep(60)
"""


def new_topic(wire: Wire, name: str, path: str = "imu") -> tuple[str, str]:
    return wire.topic(wire.session(wire.sequence(name)), path)


def put_verdict(
    wire: Wire, descriptor: flight.FlightDescriptor, schema: pa.Schema = SCHEMA
) -> None:
    """Open a put and end it at once; raises what the server says."""
    writer, _ = wire.client.do_put(descriptor, schema)
    writer.close()


class TestPutChecks:
    def test_descriptor_must_be_a_command(self, wire: Wire) -> None:
        """A path is no command, and not everything that is one is the request."""
        with refused("INVALID_ARGUMENT", "Unsupported descriptor."):
            put_verdict(wire, flight.FlightDescriptor.for_path("run", "imu"))
        no_json = (b"", b"{", b'"a"', b"{}", b'{"resource_locator":"a/b"}')
        no_message = (b"{", b"{}", b'{"resource_locator":"a/b","topic_uuid":"x"}', b"\x0a\x09a")
        for text in no_message if wire.is_protobuf else no_json:
            with refused("INVALID_ARGUMENT", "Bad request: "):
                put_verdict(wire, flight.FlightDescriptor.for_command(text))

    def test_schema_needs_its_timestamp(self, wire: Wire) -> None:
        """A column `timestamp_ns` of type int64 is all that is asked of a schema."""
        descriptor = wire.command(resource_locator="no/where", topic_uuid="x")
        missing = pa.schema([("time", pa.int64())])
        with refused("INVALID_ARGUMENT", "Unsupported schema: missing timestamp field in schema."):
            put_verdict(wire, descriptor, missing)
        for kind in (pa.uint64(), pa.timestamp("ns"), pa.float64()):
            with refused(
                "INVALID_ARGUMENT",
                "Unsupported schema: wrong timestamp field type, expected int64.",
            ):
                put_verdict(wire, descriptor, pa.schema([("timestamp_ns", kind)]))

    def test_checks_come_in_order(self, wire: Wire, name: str) -> None:
        """Locator, existence, form of the uuid, uuid, state: the first fault is told."""
        topic = new_topic(wire, name)
        wire.put(topic, batch(1))
        for locator, uuid, status, text in (
            ("a b", "x", "INVALID_ARGUMENT", "a b is not a valid locator."),
            (name, "x", "INVALID_ARGUMENT", f"{name} is not a valid locator."),
            (f"{name}/none", "x", "NOT_FOUND", " not found."),
            (topic[0], "x", "INVALID_ARGUMENT", "x is not a valid UUID."),
            (topic[0], NOBODY, "PERMISSION_DENIED", "Unauthorized: received uuid does not match"),
            (topic[0], topic[1], "FAILED_PRECONDITION", "has already been uploaded and finalized."),
        ):
            with refused(status, text):
                put_verdict(wire, wire.command(resource_locator=locator, topic_uuid=uuid))

    def test_refused_put_leaves_the_topic_alone(self, wire: Wire, name: str) -> None:
        """A put that fails its checks does not use up the topic's one put."""
        topic = new_topic(wire, name)
        with refused("PERMISSION_DENIED"):
            put_verdict(wire, wire.command(resource_locator=topic[0], topic_uuid=NOBODY))
        with refused("INVALID_ARGUMENT"):
            wire.put(topic, schema=pa.schema([("t", pa.int64())]))
        wire.put(topic, batch(1))
        assert wire.times(topic[0]) == [1]


class TestStates:
    def test_second_put_is_refused(self, wire: Wire, name: str) -> None:
        """A topic is put once: not during an upload, not after it."""
        topic = new_topic(wire, name)
        first = wire.begin_put(topic)
        first.write_batch(batch(1))
        busy = f"Topic `{topic[0]}` is already uploading data."
        wire.await_upload(topic)
        with refused("FAILED_PRECONDITION", busy):
            wire.put(topic, batch(2))
        first.close()
        with refused("FAILED_PRECONDITION", "has already been uploaded and finalized."):
            wire.put(topic, batch(2))
        assert wire.times(topic[0]) == [1]

    def test_upload_blocks_finalize(self, wire: Wire, name: str) -> None:
        """A session with an upload under way is not finalized."""
        opened = wire.session(wire.sequence(name))
        topic = wire.topic(opened, "imu")
        writer = wire.begin_put(topic)
        writer.write_batch(batch(1))
        wire.await_upload(topic)
        with refused("FAILED_PRECONDITION", f"Topic `{topic[0]}` is already uploading data."):
            wire.do("session_finalize", session_uuid=opened["uuid"])
        writer.close()
        wire.do("session_finalize", session_uuid=opened["uuid"])

    def test_uploading_topic_is_not_locked(self, wire: Wire, name: str) -> None:
        """While data arrives a topic is open and its totals are those of nothing."""
        topic = new_topic(wire, name)
        writer = wire.begin_put(topic)
        writer.write_batch(batch(1))
        wire.await_upload(topic)
        described = wire.described(topic[0])
        assert described["locked"] is False
        assert described["completed_at_ns"] is None
        assert described["data_info"]["total_row_count"] == 0
        writer.close()

    @pytest.mark.parametrize("rows", [0, 2])
    def test_message_without_data_aborts(self, wire: Wire, name: str, rows: int) -> None:
        """A message of metadata alone ends the stream, and the topic is never locked."""
        topic = new_topic(wire, name)
        writer = wire.begin_put(topic)
        if rows:
            writer.write_batch(batch(*range(rows)))
        writer.write_metadata(b"abort")
        with refused("ABORTED", "Unsupported stream message, stream aborted."):
            writer.close()
        self.check_stuck(wire, topic)

    def test_client_that_is_killed_leaves_the_topic_open(self, wire: Wire, name: str) -> None:
        """A stream that breaks is no clean end."""
        topic = new_topic(wire, name)
        descriptor = wire.command(resource_locator=topic[0], topic_uuid=topic[1])
        script = [sys.executable, "-c", PUT_AND_HANG, wire.url, descriptor.command.hex()]
        client = subprocess.Popen(script)
        wire.await_upload(topic)
        client.kill()
        client.wait()
        self.check_stuck(wire, topic)

    def check_stuck(self, wire: Wire, topic: tuple[str, str]) -> None:
        """Check that the topic stays open; a wrong lock would come within a moment."""
        wire.await_upload(topic)
        for _ in range(20):
            assert wire.described(topic[0])["locked"] is False
            time.sleep(0.05)
        wire.do("topic_delete", locator=topic[0])

    def test_topic_deleted_during_its_upload(self, wire: Wire, name: str) -> None:
        """An upload whose topic is deleted fails, and leaves nothing behind."""
        topic = new_topic(wire, name)
        writer = wire.begin_put(topic)
        writer.write_batch(batch(1))
        wire.await_upload(topic)
        wire.do("topic_delete", locator=topic[0])
        with refused("NOT_FOUND", " not found."):
            writer.close()
        again = wire.topic(wire.session(name), "imu")
        wire.put(again, batch(7))
        assert wire.times(again[0]) == [7]

    def test_many_uploads_at_once(self, wire: Wire, name: str) -> None:
        """Topics of one session are put side by side, on one connection."""
        opened = wire.session(wire.sequence(name))
        topics = [wire.topic(opened, f"t{index}") for index in range(12)]
        writers = [wire.begin_put(topic) for topic in topics]
        for stamp in range(20):
            for writer in writers:
                writer.write_batch(batch(stamp))
        for writer in writers:
            writer.close()
        wire.do("session_finalize", session_uuid=opened["uuid"])
        assert all(wire.times(topic[0]) == list(range(20)) for topic in topics)

    def test_readers_beside_writers(self, wire: Wire, name: str) -> None:
        """Reading one topic while another is put gives the rows of the first, whole."""
        wire.recorded(name, done=batch(*range(5000)))
        topic = wire.topic(wire.session(name), "busy")
        read: list[list[int]] = []

        def reads() -> None:
            own = type(wire)(wire.url)
            read.extend(own.times(f"{name}/done") for _ in range(10))
            own.close()

        reader = threading.Thread(target=reads)
        reader.start()
        wire.put(topic, *(batch(*range(start, start + 500)) for start in range(0, 20_000, 500)))
        reader.join()
        assert read == [list(range(5000))] * 10


class TestSizes:
    def padded(self, size_bytes: int) -> tuple[pa.Schema, pa.RecordBatch]:
        """Make one row that is one message of just this size."""
        schema = pa.schema([SCHEMA.field("timestamp_ns"), ("blob", pa.binary())])
        size = size_bytes
        while True:
            row = pa.record_batch([pa.array([1]), pa.array([b"\0" * size])], schema=schema)
            excess = pa.ipc.get_record_batch_size(row) - size_bytes
            if excess <= 0:
                return schema, row
            size -= excess

    def test_message_under_the_limit_is_taken(
        self, wire: Wire, name: str, limit_bytes: int
    ) -> None:
        """Nine tenths of the limit, where clients stop, go through."""
        topic = new_topic(wire, name)
        schema, row = self.padded(limit_bytes * 9 // 10)
        wire.put(topic, row, schema=schema)
        assert wire.read(topic[0]).nbytes == row.nbytes

    def test_message_over_the_limit_breaks_the_stream(
        self, wire: Wire, name: str, limit_bytes: int
    ) -> None:
        """A message that is too big ends the stream; the topic is not locked."""
        topic = new_topic(wire, name)
        schema, row = self.padded(limit_bytes + 4096)
        with refused("CANCELLED", "Stream error: "):
            wire.put(topic, row, schema=schema)
        assert wire.described(topic[0])["locked"] is False

    def test_request_over_the_limit_is_refused(
        self, wire: Wire, name: str, limit_bytes: int
    ) -> None:
        """An action whose body is too big is refused before it is looked at."""
        body = b'{"locator":"' + name.encode() + b'","user_metadata":{"a":"'
        with refused("OUT_OF_RANGE", "message length too large"):
            wire.results("sequence_create", body + b" " * limit_bytes)
        with refused("NOT_FOUND"):
            wire.info(name)


class TestReads:
    def test_rows_come_by_time(self, wire: Wire, name: str) -> None:
        """However they were put, rows are read by ascending time."""
        generator = random.Random(1)
        times = [generator.randrange(10_000) for _ in range(3000)]
        topic = new_topic(wire, name)
        wire.put(topic, *(batch(*times[start : start + 100]) for start in range(0, 3000, 100)))
        table = wire.read(topic[0])
        assert table.column("timestamp_ns").to_pylist() == sorted(times)
        assert table.column("label").to_pylist() == [f"at {time}" for time in sorted(times)]
        assert wire.times(topic[0], 2000, 3000) == sorted(
            time for time in times if 2000 <= time < 3000
        )

    @pytest.mark.parametrize(
        ("start_ns", "end_ns", "expected"),
        [
            (None, None, [-5, 0, 10, 20]),
            (10, None, [10, 20]),
            (None, 10, [-5, 0]),
            (0, 20, [0, 10]),
            (-5, -4, [-5]),
            (21, None, []),
            (-(2**63), 2**63 - 1, [-5, 0, 10, 20]),
        ],
    )
    def test_window_is_half_open(
        self, wire: Wire, name: str, start_ns: int | None, end_ns: int | None, expected: list[int]
    ) -> None:
        """A window takes its start and leaves its end."""
        wire.recorded(name, imu=batch(-5, 0, 10, 20))
        assert wire.times(f"{name}/imu", start_ns, end_ns) == expected

    def test_values_come_back(self, wire: Wire, name: str) -> None:
        """Columns of every kind come back as they went."""
        pose = pa.struct([("x", pa.float64()), ("names", pa.list_(pa.string()))])
        row = {
            "timestamp_ns": 2**62,
            "flag": True,
            "half": 0.5,
            "text": "Zürich ☂",
            "blob": b"\0\xff",
            "big": 2**64 - 1,
            "list": [1, 2, 3],
            "fixed": [1.0, 2.0],
            "poses": [{"x": 1.0, "names": ["a", "b"]}, {"x": None, "names": []}],
            "missing": None,
            "nothing": None,
        }
        schema = pa.schema(
            [
                pa.field("timestamp_ns", pa.int64(), nullable=False),
                ("flag", pa.bool_()),
                ("half", pa.float16()),
                ("text", pa.string()),
                ("blob", pa.binary()),
                ("big", pa.uint64()),
                ("list", pa.list_(pa.uint8())),
                ("fixed", pa.list_(pa.float32(), 2)),
                ("poses", pa.list_(pose)),
                ("missing", pa.struct([("x", pa.float64())])),
                ("nothing", pa.string()),
            ]
        )
        blank = dict.fromkeys(schema.names) | {"timestamp_ns": -(2**63)}
        rows = pa.RecordBatch.from_pylist([row, blank], schema=schema)
        topic = new_topic(wire, name)
        wire.put(topic, rows, schema=schema)
        assert wire.read(topic[0]).to_pylist() == [blank, row]

    def test_strings_repeated_by_dictionary_come_back(self, wire: Wire, name: str) -> None:
        """Dictionary-encoded columns may change their dictionary from batch to batch."""
        kind = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema([SCHEMA.field("timestamp_ns"), ("frame", kind)])
        batches = [
            pa.record_batch(
                [pa.array([time]), pa.array([frame]).dictionary_encode().cast(kind)], schema=schema
            )
            for time, frame in ((1, "map"), (2, "odom"), (3, "map"))
        ]
        topic = new_topic(wire, name)
        wire.put(topic, *batches, schema=schema)
        assert wire.read(topic[0]).column("frame").to_pylist() == ["map", "odom", "map"]

    def test_topic_without_rows_reads_empty(self, wire: Wire, name: str) -> None:
        """A finished topic without rows is an empty stream with its schema."""
        topic = new_topic(wire, name)
        wire.put(topic)
        table = wire.read(topic[0])
        assert (table.num_rows, table.schema.names) == (0, SCHEMA.names)

    def test_topic_never_put_cannot_be_read(self, wire: Wire, name: str) -> None:
        """Before its put there is nothing to read, and the refusal says what is missing."""
        topic = new_topic(wire, name)
        with refused("FAILED_PRECONDITION", f"DoPut not called for topic `{topic[0]}`."):
            wire.read(topic[0])

    @pytest.mark.parametrize("text", [b"{", b"\xff\xff", b"nonsense"])
    def test_foreign_ticket_is_refused(self, wire: Wire, text: bytes) -> None:
        """A ticket that this server did not give out reads nothing."""
        with refused("INVALID_ARGUMENT", "Bad request: "):
            wire.client.do_get(flight.Ticket(text)).read_all()

    def test_ticket_of_a_deleted_topic_is_refused(self, wire: Wire, name: str) -> None:
        """A ticket does not keep its topic alive."""
        wire.recorded(name, imu=batch(1))
        (endpoint,) = wire.info(f"{name}/imu").endpoints
        wire.do("topic_delete", locator=f"{name}/imu")
        with refused("NOT_FOUND", " not found."):
            wire.client.do_get(endpoint.ticket).read_all()

    def test_batches_are_of_moderate_size(self, wire: Wire, name: str) -> None:
        """Big topics are read in batches of at most 8,192 rows, small chunks joined."""
        topic = new_topic(wire, name)
        wire.put(topic, *(batch(*range(start, start + 50)) for start in range(0, 20_000, 50)))
        (endpoint,) = wire.info(topic[0]).endpoints
        sizes = [chunk.data.num_rows for chunk in wire.client.do_get(endpoint.ticket)]
        assert max(sizes) <= 8192
        assert len(sizes) <= 5
        assert sum(sizes) == 20_000


def test_compressed_bodies_are_taken(wire: Wire, name: str) -> None:
    """A client may compress the bodies of its messages."""
    for codec in ("lz4", "zstd"):
        sequence = wire.sequence(f"{name}-{codec}")
        topic = wire.topic(wire.session(sequence), "imu")
        writer, _ = wire.client.do_put(
            wire.command(resource_locator=topic[0], topic_uuid=topic[1]),
            SCHEMA,
            options=flight.FlightCallOptions(
                write_options=pa.ipc.IpcWriteOptions(compression=codec)
            ),
        )
        writer.write_batch(batch(*range(1000)))
        writer.close()
        assert wire.times(topic[0]) == list(range(1000))
