"""Feeds readers and decoder mutated input: only errors of ours may come out, in bounded memory.

    .venv/bin/python -m tests.fuzz.fuzzer --seconds 600            # ten minutes of each target
    .venv/bin/python -m tests.fuzz.fuzzer mcap --seed 7 --inputs 1 --first 4711   # one input again

Every input follows from seed and number alone, so that what breaks a reader can be tried again.
One that takes longer than a minute ends the run with the stack of what hangs.
"""

import argparse
import faulthandler
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from mcap.writer import CompressionType
from rosbags.typesys import Stores, get_typestore

from bridge.bags import load_recording, open_recording, survey
from bridge.cdr import Decoder
from bridge.definitions import parse_definition
from bridge.errors import BridgeError
from bridge.model import Definition, Serialization
from tests.bags.mcap.mcap_files import SHARED, sample, write_with_library
from tests.bags.rosbag1 import rosbag1_files
from tests.bags.sqlite.sqlite_files import create, insert, payloads
from tests.cdr.blocks import block_of

MEMORY_BYTES = 1 << 30
HANG_S = 60

Outcome = str
Attempt = Callable[[random.Random, Path], Outcome]
"""Makes one input by chance, tries it, and tells what came of it."""

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62)


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Change some places: flip, overwrite by chance or by numbers that hurt, cut, repeat, join."""
    content = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 8, 30])):
        if not content:
            break
        at = chance.randrange(len(content))
        length = min(chance.choice([1, 2, 4, 8, 9, 50, 700]), len(content) - at)
        match chance.randrange(8):
            case 0:
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at : at + length] = chance.randbytes(length)
            case 2:
                size = chance.choice([1, 2, 4, 8])
                value = chance.choice(INTERESTING) & (1 << 8 * size) - 1
                number = value.to_bytes(size, "little")
                content[at : at + size] = number if chance.random() < 0.7 else number[::-1]
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length]
            case 5:
                content[at : at + length] = bytes(length)
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                content[at : at + length] = other[start : start + length]
            case _:
                del content[at:]
    return bytes(content)


@cache
def corpus(suffix: str) -> tuple[bytes, ...]:
    """Give whole files of a format: real ones, where there are any, and some of every layout."""
    found = [path.read_bytes() for path in sorted(SHARED.rglob(f"*{suffix}"))]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / f"made{suffix}"
        if suffix == ".mcap":
            for compression in CompressionType:
                write_with_library(path, sample(60), chunk_size=900, compression=compression)
                found.append(path.read_bytes())
            write_with_library(path, sample(60), use_chunking=False)
            found.append(path.read_bytes())
        elif suffix == ".db3":
            for version in (1, 2, 3, 4):
                path.unlink(missing_ok=True)
                connection = sqlite3.connect(path)
                create(connection, version, ["/a", "/b"])
                insert(connection, [*payloads(150), (1, 7, bytes(9000))])
                connection.commit()
                connection.close()
                found.append(path.read_bytes())
        else:
            rows = [(f"/t{index % 3}", index, bytes([index]) * 40) for index in range(60)]
            found += [
                rosbag1_files.make(rows, compression=packed).data
                for packed in ("none", "bz2", "lz4")
            ]
    return tuple(found)


def file_of(suffix: str, *, packed: bool = False) -> Attempt:
    """Make the target that reads whole files of a format, inside a compressed file if wanted."""

    def attempt(chance: random.Random, folder: Path) -> Outcome:
        files = corpus(suffix)
        data = chance.choice(files)
        inside = packed and chance.random() < 0.7
        if inside:
            data = mutated(data, chance, files)
        if packed:
            data = bytes(pa.compress(data, codec="zstd", asbytes=True))
        if not inside:
            data = mutated(data, chance, files)
        path = folder / f"fuzzed{suffix}{'.zstd' if packed else ''}"
        path.write_bytes(data)
        if suffix == ".db3" and chance.random() < 0.2:
            (folder / f"{path.name}-wal").write_bytes(chance.randbytes(chance.randrange(1, 9000)))
        try:
            with open_recording(load_recording(path), scratch_dir=folder / "scratch") as reader:
                found = survey(reader)
        except BridgeError as error:
            return f"refused: {type(error).__name__}"
        else:
            return "read" if found.messages else "read, nothing in it"
        finally:
            for left in folder.glob("fuzzed*"):
                left.unlink()

    return attempt


@cache
def definitions() -> tuple[tuple[str, str, Serialization], ...]:
    """Give name, text and serialisation of all stock types of two distributions."""
    found = []
    for stock, version, serialization in (
        (Stores.ROS2_JAZZY, 2, Serialization.CDR),
        (Stores.ROS1_NOETIC, 1, Serialization.ROS1),
    ):
        store = get_typestore(stock)
        found += [
            (name, store.generate_msgdef(name, ros_version=version)[0], serialization)
            for name in sorted(store.fielddefs)
        ]
    return tuple(found)


def payload(chance: random.Random) -> bytes:
    """Make bytes that look like a message: an encapsulation, small counts, text, noise."""
    parts = [chance.choice([b"\x00\x01\x00\x00", b"\x00\x00\x00\x00", b"\x00\x07\x00\x00", b""])]
    parts += [
        chance.choice(
            [
                chance.randrange(6).to_bytes(4, "little"),
                chance.choice(INTERESTING[:11]).to_bytes(4, "little"),
                b"abc\x00",
                bytes(chance.randrange(20)),
                chance.randbytes(chance.randrange(12)),
            ]
        )
        for _ in range(chance.randrange(40))
    ]
    return b"".join(parts)


def decode(chance: random.Random, folder: Path) -> Outcome:
    """Decode a block of such messages as a type that may be any, its definition damaged or not."""
    del folder
    name, text, serialization = chance.choice(definitions())
    ros1 = serialization is Serialization.ROS1
    if chance.random() < 0.3:
        others = [other.encode() for _, other, _ in definitions()[:50]]
        text = mutated(text.encode(), chance, others).decode("utf-8", "replace")
    messages = [payload(chance) for _ in range(chance.randrange(1, 30))]
    try:
        definition = Definition(encoding="ros1msg" if ros1 else "ros2msg", text=text)
        decoder = Decoder(parse_definition(name, definition), serialization=serialization)
    except BridgeError as error:
        return f"refused: {type(error).__name__}"
    decoded = decoder.decode(block_of(messages, gap=b"\x7f"))
    decoded.messages.validate(full=True)
    if len(decoded.messages) + sum(decoded.dropped.values()) != len(messages):
        raise AssertionError("messages are missing from the account")
    if not np.isin(decoded.log_times_ns, np.arange(100, 100 + len(messages))).all():
        raise AssertionError("a record time was made up")
    return "decoded" if len(decoded.messages) else "dropped"


TARGETS: dict[str, Attempt] = {
    "mcap": file_of(".mcap"),
    "mcap.zstd": file_of(".mcap", packed=True),
    "db3": file_of(".db3"),
    "db3.zstd": file_of(".db3", packed=True),
    "bag": file_of(".bag"),
    "cdr": decode,
}


def numbers(first: int, inputs: int | None, seconds: float) -> Iterator[int]:
    """Count inputs up, for so many or for so long."""
    ends_s = time.monotonic() + seconds
    number = first
    while number < first + inputs if inputs is not None else time.monotonic() < ends_s:
        yield number
        number += 1


def fuzz(target: str, arguments: argparse.Namespace, folder: Path) -> Counter[Outcome]:
    """Try input after input; raises what is not an error of ours."""
    outcomes: Counter[Outcome] = Counter()
    for number in numbers(arguments.first, arguments.inputs, arguments.seconds):
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            outcome = TARGETS[target](random.Random(f"{arguments.seed} {number}"), folder)
        except BaseException:
            sys.stderr.write(
                f"{target} broke: repeat it with --seed {arguments.seed} --first {number} "
                f"--inputs 1 {target}\n"
            )
            raise
        outcomes[outcome] += 1
    faulthandler.cancel_dump_traceback_later()
    return outcomes


def main() -> None:
    """Fuzz the targets asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--inputs", type=int, help="so many of each target, however long it takes")
    parser.add_argument("--seed", default=str(time.time_ns()))
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for target in arguments.targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            outcomes = fuzz(target, arguments, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        sys.stdout.write(
            f"{target}: {outcomes.total()} inputs, seed {arguments.seed}, peak {peak} MiB: {told}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
