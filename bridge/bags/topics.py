"""Merging the channels of all files of a recording into topics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bridge.bags.container import Channel
from bridge.model import Definition, Topic

Resolve = Callable[[str], Definition | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTable:
    """The topics of a recording, and where each file's channels belong.

    Attributes:
        topics: In order of their first channel.
        by_file: For each file, the topic's index for each of its channels.
    """

    topics: tuple[Topic, ...]
    by_file: tuple[tuple[int, ...], ...]


def merge_channels(files: Iterable[tuple[Iterable[Channel], Resolve]]) -> TopicTable:
    """Group channels that can be one stream: same name, type, definition and serialisation.

    Args:
        files: For each file its channels, and how to find a definition that it does not hold.
    """
    groups: dict[tuple[object, ...], list[Channel]] = {}
    definitions: dict[tuple[object, ...], Definition | None] = {}
    keys_by_file: list[list[tuple[object, ...]]] = []
    for channels, resolve in files:
        keys: list[tuple[object, ...]] = []
        for channel in channels:
            definition = channel.definition
            if definition is None and channel.msgtype and not channel.obstacle:
                definition = resolve(channel.msgtype)
            text = definition and (definition.encoding, definition.text)
            key = (channel.topic, channel.msgtype, text, channel.serialization, channel.obstacle)
            groups.setdefault(key, []).append(channel)
            definitions.setdefault(key, definition)
            keys.append(key)
        keys_by_file.append(keys)
    index_of = {key: index for index, key in enumerate(groups)}
    return TopicTable(
        topics=tuple(
            _topic(index_of[key], group, definitions[key]) for key, group in groups.items()
        ),
        by_file=tuple(tuple(index_of[key] for key in keys) for keys in keys_by_file),
    )


def _topic(index: int, group: list[Channel], definition: Definition | None) -> Topic:
    first = group[0]
    counts = [channel.message_count for channel in group]
    known = [count for count in counts if count is not None]
    return Topic(
        index=index,
        name=first.topic,
        msgtype=first.msgtype,
        serialization=first.serialization,
        definition=definition,
        message_count=sum(known) if len(known) == len(counts) else None,
        qos=next((channel.qos for channel in group if channel.qos), ""),
        type_hash=next((channel.type_hash for channel in group if channel.type_hash), ""),
        obstacle=first.obstacle,
    )
