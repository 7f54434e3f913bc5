"""A maker of ROS 1 bags that follows the format's description, and a plain walk to judge by."""

import bz2
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bridge.model import Container, RecordingFile

MAGIC = b"#ROSBAG V2.0\n"

Message = tuple[str, int, bytes]

STRING = "string data\n"


def rosbag1_file(path: Path) -> RecordingFile:
    return RecordingFile(path=path, size_bytes=path.stat().st_size, container=Container.ROSBAG1)


def header(fields: dict[str, bytes]) -> bytes:
    """Fields with their lengths before them, in the order given."""
    return b"".join(
        struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value
        for name, value in fields.items()
    )


def record(fields: dict[str, bytes], data: bytes) -> bytes:
    """A header and data with their lengths before them."""
    head = header(fields)
    return struct.pack("<I", len(head)) + head + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def stamp(time_ns: int) -> bytes:
    return struct.pack("<II", *divmod(time_ns, 1_000_000_000))


def connection(index: int, topic: str, *, latching: bool = False, publisher: str = "") -> bytes:
    told = {"callerid": publisher.encode()} if publisher else {}
    told |= {
        "topic": topic.encode(),
        "type": b"std_msgs/String",
        "md5sum": b"992ce8a1687cec8c8bd883ec73ca41d1",
        "message_definition": STRING.encode(),
    }
    if latching:
        told["latching"] = b"1"
    fields = {"op": b"\x07", "topic": topic.encode(), "conn": number(index)}
    return record(fields, header(told))


def message(index: int, time_ns: int, payload: bytes, *, order: str = "conn op time") -> bytes:
    values = {"conn": number(index), "op": b"\x02", "time": stamp(time_ns)}
    return record({name: values[name] for name in order.split()}, payload)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bag as bytes, with where each message's record lies.

    Attributes:
        data: The bag.
        ranges: For each message the bytes of the file that it needs: its record, or in a
            compressed chunk the whole chunk.
        messages: The messages, in the same order.
    """

    data: bytes
    ranges: list[tuple[int, int]]
    messages: list[Message]


def make(
    messages: Iterable[Message],
    *,
    compression: str = "none",
    per_chunk: int = 10,
    indexed: bool = True,
    chunk_index: bool = True,
    order: str = "conn op time",
    declare: Callable[[int, str], bytes] = connection,
) -> Made:
    """Make a bag.

    Args:
        messages: Topic, time and payload; topics become connections in order of appearance.
        compression: Of the chunks.
        per_chunk: Messages in a chunk.
        indexed: With index section; without, the bag is as a killed recorder leaves it.
        chunk_index: With index records behind the chunks.
        order: The fields of a message's header, in order.
        declare: Makes the record of a connection.
    """
    rows = list(messages)
    ids = {topic: index for index, topic in enumerate(dict.fromkeys(row[0] for row in rows))}
    start = len(MAGIC) + BAG_RECORD_BYTES
    body = bytearray()
    infos = bytearray()
    ranges: list[tuple[int, int]] = []
    for first in range(0, len(rows), per_chunk):
        part = rows[first : first + per_chunk]
        known = {row[0] for row in rows[:first]}
        inner, places, entries = inner_records(part, ids, known, order, declare)
        stored = compress(inner, compression)
        infos += chunk_info(start + len(body), part, entries)
        fields = {"op": b"\x05", "compression": compression.encode(), "size": number(len(inner))}
        chunk_start = start + len(body)
        body += record(fields, stored)
        end = start + len(body)
        inner_start = end - len(stored)
        ranges += [
            (inner_start + place, inner_start + stop)
            if compression == "none"
            else (chunk_start, end)
            for place, stop in zip(places, [*places[1:], len(inner)], strict=True)
        ]
        if chunk_index:
            body += index_records(entries)
    counts = (start + len(body), len(ids), -(-len(rows) // per_chunk))
    data = MAGIC + bag_record(*(counts if indexed else (0, 0, 0))) + bytes(body)
    if indexed:
        data += b"".join(declare(index, topic) for topic, index in ids.items()) + infos
    return Made(data=data, ranges=ranges, messages=rows)


BAG_RECORD_BYTES = 4096

Entries = dict[int, list[bytes]]


def bag_record(index_pos: int, connections: int, chunks: int) -> bytes:
    """The first record, padded to its fixed size."""
    fields = {"op": b"\x03", "index_pos": struct.pack("<Q", index_pos)}
    fields |= {"conn_count": number(connections), "chunk_count": number(chunks)}
    return record(fields, b" " * (BAG_RECORD_BYTES - 8 - len(header(fields))))


def inner_records(
    rows: list[Message],
    ids: dict[str, int],
    known: set[str],
    order: str,
    declare: Callable[[int, str], bytes] = connection,
) -> tuple[bytes, list[int], Entries]:
    """A chunk's content, where its messages are, and the entries of its index by connection."""
    inner = bytearray()
    places = []
    entries: Entries = {}
    for topic, time_ns, payload in rows:
        if topic not in known:
            known.add(topic)
            inner += declare(ids[topic], topic)
        entries.setdefault(ids[topic], []).append(stamp(time_ns) + number(len(inner)))
        places.append(len(inner))
        inner += message(ids[topic], time_ns, payload, order=order)
    return bytes(inner), places, entries


def compress(data: bytes, compression: str) -> bytes:
    if compression == "lz4":
        compressed: bytes = pa.Codec("lz4").compress(data, asbytes=True)
        return compressed
    return bz2.compress(data) if compression == "bz2" else data


def index_records(entries: Entries) -> bytes:
    records = b""
    for index, offsets in entries.items():
        head = {"op": b"\x04", "ver": number(1), "conn": number(index)}
        records += record(head | {"count": number(len(offsets))}, b"".join(offsets))
    return records


def chunk_info(position: int, rows: list[Message], entries: Entries) -> bytes:
    times = [row[1] for row in rows]
    head = {"op": b"\x06", "ver": number(1), "chunk_pos": struct.pack("<Q", position)}
    head |= {"start_time": stamp(min(times)), "end_time": stamp(max(times))}
    counts = b"".join(number(index) + number(len(offsets)) for index, offsets in entries.items())
    return record(head | {"count": number(len(entries))}, counts)


def fields_of(head: bytes) -> dict[str, bytes]:
    fields = {}
    while head:
        length = int.from_bytes(head[:4], "little")
        name, _, value = head[4 : 4 + length].partition(b"=")
        fields[name.decode()] = value
        head = head[4 + length :]
    return fields


def records_of(data: bytes) -> Iterable[tuple[dict[str, bytes], bytes]]:
    while data:
        length = int.from_bytes(data[:4], "little")
        size = int.from_bytes(data[4 + length : 8 + length], "little")
        yield fields_of(data[4 : 4 + length]), data[8 + length : 8 + length + size]
        data = data[8 + length + size :]


def judged(path: Path) -> list[Message]:
    """Read a healthy bag by the plainest walk there is."""
    topics: dict[bytes, str] = {}
    found: list[Message] = []
    for fields, data in records_of(path.read_bytes()[len(MAGIC) :]):
        if fields["op"] != b"\x05":
            continue
        size = int.from_bytes(fields["size"], "little")
        if fields["compression"] == b"bz2":
            plain = bz2.decompress(data)
        elif fields["compression"] == b"lz4":
            plain = pa.decompress(data, size, "lz4", asbytes=True)
        else:
            plain = data
        for inner, payload in records_of(plain):
            if inner["op"] == b"\x07":
                topics[inner["conn"]] = inner["topic"].decode()
            else:
                seconds, nanoseconds = struct.unpack("<II", inner["time"])
                found.append((topics[inner["conn"]], seconds * 10**9 + nanoseconds, payload))
    return found
