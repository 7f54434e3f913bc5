"""166 MCAP files that are cut, flipped or full of zeros, each at a place that means something.

    python -m tests.bags.mcap.damaged_files FOLDER

writes them into a folder, for a look with other tools. The same files come out every time.
"""

import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mcap.writer import CompressionType, Writer

from tests.bags.mcap import mcap_files as made
from tests.bags.mcap.mcap_files import Seen

BASES: dict[str, dict[str, Any]] = {
    f"{compression.name.lower()}_{'crc' if crcs else 'bare'}": {
        "compression": compression,
        "enable_crcs": crcs,
    }
    for compression in CompressionType
    for crcs in (True, False)
} | {"unchunked": {"use_chunking": False}}

CHUNK = 0x06
MESSAGE = 0x05
INDEX = 0x07
END = 0x0F

# Behind a record's opcode: length (8); of a chunk then times (8, 8), size (8), CRC (4), length of
# the compression's name (4), the name, length of the records (8).
LENGTH, SIZE, CRC, NAME = 1, 9 + 16, 9 + 24, 9 + 28


class Damaged(NamedTuple):
    """A damaged file, and the whole one that it was."""

    name: str
    data: bytes
    whole: bytes


def strings(count: int) -> list[Seen]:
    """Messages that decode, of lengths that differ, on three topics."""
    return [
        Seen(
            f"/topic{number % 3}",
            1_000_000_000 + number * 10_000_000,
            b"\x00\x01\x00\x00" + struct.pack("<I", len(text) + 1) + text + b"\x00",
        )
        for number in range(count)
        for text in [b"%06d" % number * (1 + number % 11)]
    ]


def damaged_files() -> Iterator[Damaged]:
    """Yield the files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.mcap"
        for name, options in BASES.items():
            made.write_with_library(path, strings(150), chunk_size=2048, **options)
            whole = path.read_bytes()
            for what, data in {**cuts(whole), **flips(whole), **zeros(whole)}.items():
                yield Damaged(f"{name}_{what}", data, whole)
        whole = with_extras(path)
        for what, data in extras(whole).items():
            yield Damaged(f"extras_{what}", data, whole)


def records(data: bytes) -> list[tuple[int, int, int]]:
    """List opcode, start and end of every record at the top of a whole file."""
    found = []
    position = len(made.MAGIC)
    while position < len(data) - len(made.MAGIC):
        opcode, length = struct.unpack_from("<BQ", data, position)
        found.append((opcode, position, position + 9 + length))
        position += 9 + length
    return found


def middle(data: bytes) -> tuple[int, int]:
    """Find a chunk in the middle of a file; a message where there is none."""
    listed = records(data)
    wanted = CHUNK if any(opcode == CHUNK for opcode, *_ in listed) else MESSAGE
    places = [(start, end) for opcode, start, end in listed if opcode == wanted]
    return places[len(places) // 2]


def cuts(data: bytes) -> dict[str, bytes]:
    """Cut a file: eight places from its header to its last byte."""
    start, end = middle(data)
    data_end = next(start for opcode, start, _ in records(data) if opcode == END)
    places = {
        "header": 20,
        "before": start,
        "head": start + 30,
        "inside": (start + end) // 2,
        "behind": end,
        "after": end + 12,
        "summary": (data_end + len(data)) // 2,
        "last": len(data) - 1,
    }
    return {f"cut_{name}": data[:place] for name, place in places.items()}


def flips(data: bytes) -> dict[str, bytes]:
    """Flip a bit or a byte of a file at twelve places."""
    start, end = middle(data)
    data_end = next(start for opcode, start, _ in records(data) if opcode == END)
    name_bytes = struct.unpack_from("<I", data, start + NAME)[0] if data[start] == CHUNK else 0
    places = {
        "opcode": (start, 0x80),
        "length": (start + LENGTH, 0x10),
        "length_high": (start + LENGTH + 4, 0x01),
        "size": (start + SIZE, 0x04),
        "size_high": (start + SIZE + 5, 0x40),
        "crc": (start + CRC, 0xFF),
        "inner_length": (start + NAME + 4 + name_bytes, 0x08),
        "early": (start + 80, 0xFF),
        "late": (end - 5, 0xFF),
        "index": (end + 20, 0xFF),
        "summary": ((data_end + len(data)) // 2, 0xFF),
        "footer": (len(data) - 20, 0xFF),
    }
    flipped = {}
    for name, (place, bits) in places.items():
        copy = bytearray(data)
        copy[place] ^= bits
        flipped[f"flip_{name}"] = bytes(copy)
    return flipped


def zeros(data: bytes) -> dict[str, bytes]:
    """Put zeros where a file system leaves them: a tail, a page, room behind the end."""
    start, end = middle(data)
    inside = (start + end) // 2
    return {
        "zero_tail": data[:inside] + bytes(len(data) - inside),
        "zero_page": data[:inside] + bytes(512) + data[inside + 512 :],
        "zero_room": data + bytes(4096),
    }


def with_extras(path: Path) -> bytes:
    """Write a file with metadata and an attachment between its chunks."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=1024, compression=CompressionType.LZ4)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/topic", "cdr", schema)
        for number, message in enumerate(strings(90)):
            writer.add_message(channel, message.log_time, message.data, message.log_time, number)
            if number == 40:
                writer.add_metadata("vehicle", {"id": "7"})
                writer.add_attachment(1, 1, "map.pgm", "image/x", bytes(range(256)) * 8)
        writer.finish()  # type: ignore[no-untyped-call]
    return path.read_bytes()


def extras(data: bytes) -> dict[str, bytes]:
    """Damage what is no message, in five ways."""
    attachment = data.index(b"map.pgm")
    metadata = data.index(b"vehicle")
    damaged = {}
    for name, place in {"attachment": attachment, "metadata": metadata}.items():
        for kind, offset, bits in (("text", 0, 0xFF), ("length", -1, 0x40)):
            copy = bytearray(data)
            copy[place + offset] ^= bits
            damaged[f"{name}_{kind}"] = bytes(copy)
    damaged["attachment_cut"] = data[: attachment + 500]
    return damaged


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for damaged in damaged_files():
        (folder / f"{damaged.name}.mcap").write_bytes(damaged.data)


if __name__ == "__main__":
    main()
