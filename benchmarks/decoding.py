"""Subjects that read and decode a recording without sending it: ours and rosbags'."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Counts = dict[str, int]


def decode_ours(path: Path) -> Callable[[], Counts]:
    """Read and decode with this project, in batches as an ingest does."""
    from benchmarks.ready_made import due
    from bridge.bags import load_recording, open_recording
    from bridge.ingest import BatchLimits
    from bridge.ingest.batches import Batcher

    def call() -> Counts:
        messages = payload_bytes = 0
        with open_recording(load_recording(path)) as reader:
            decoders = {topic.index: _decoder(topic) for topic in reader.topics}
            for block in due(reader.blocks(), Batcher(BatchLimits())):
                messages += len(decoders[block.topic].decode(block).log_times_ns)
                payload_bytes += int((block.ends - block.starts).sum())
        return {"messages": messages, "payload_bytes": payload_bytes}

    return call


def decode_rosbags(path: Path) -> Callable[[], Counts]:
    """Read and decode with rosbags."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)

    def call() -> Counts:
        messages = payload_bytes = 0
        with AnyReader([path], default_typestore=store) as reader:
            for connection, _, data in reader.messages():
                reader.deserialize(data, connection.msgtype)
                messages += 1
                payload_bytes += len(data)
        return {"messages": messages, "payload_bytes": payload_bytes}

    return call


def differences(path: Path) -> Callable[[], tuple[bool, list[str]]]:
    """Compare what both decode.

    Returns:
        Whether rosbags can read the file, and the topics that differ.
    """
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.typesys import Stores, get_typestore

    from bridge.bags import load_recording, open_recording

    def call() -> tuple[bool, list[str]]:
        with open_recording(load_recording(path)) as reader:
            decoders = {topic.index: _decoder(topic) for topic in reader.topics}
            ours: dict[str, list[Any]] = {topic.name: [] for topic in reader.topics}
            for block in reader.blocks():
                decoded = decoders[block.topic].decode(block)
                rows = zip(decoded.log_times_ns.tolist(), decoded.messages.to_pylist(), strict=True)
                ours[reader.topics[block.topic].name] += rows
        try:
            theirs = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            theirs.open()
        except AnyReaderError:
            return False, []
        judged: dict[str, list[Any]] = {topic: [] for topic in ours}
        for connection, time_ns, data in theirs.messages():
            message = theirs.deserialize(data, connection.msgtype)
            judged[connection.topic].append((time_ns, _plain(message)))
        theirs.close()
        return True, [topic for topic in ours if ours[topic] != judged[topic]]

    return call


def _decoder(topic: Any) -> Any:
    from bridge.cdr import Decoder
    from bridge.definitions import parse_definition

    message_type = parse_definition(topic.msgtype, topic.definition)
    return Decoder(message_type, serialization=topic.serialization)


def _plain(value: Any) -> Any:
    """Turn a message of rosbags into dictionaries and lists, without its constants."""
    if hasattr(value, "__dataclass_fields__"):
        names = (name for name in value.__dataclass_fields__ if not name.isupper())
        return {name: _plain(getattr(value, name)) for name in names if name != "__msgtype__"}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value
