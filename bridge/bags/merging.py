"""The files of a recording put together: their channels become topics, their metadata one table."""

import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import Channel, MixedChannels
from bridge.definitions import DefinitionSources, Resolved, TypeResolver, layout_of
from bridge.errors import DefinitionError
from bridge.model import MessageBlock, MixedBlock, Serialization, Topic

ATTACHMENTS_MAX = 256
"""More attachments than this are not listed."""

ROSBAG2_RECORD = "rosbag2"
"""The name of the MCAP metadata record in which rosbag2 speaks of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTable:
    """The topics of a recording, and where each file's channels belong.

    Attributes:
        topics: In order of their first channel.
        by_file: For each file, the topic's index for each of its channels.
    """

    topics: tuple[Topic, ...]
    by_file: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Outcome:
    """What is known of a channel's type: the type, or why there is none."""

    resolved: Resolved | None = None
    obstacle: str = ""
    hint: str = ""

    @cached_property
    def identity(self) -> object:
        """What channels of one topic have in common besides name, type and serialisation."""
        if self.resolved is None:
            return self.obstacle
        return layout_of(self.resolved.message_type)


def merge_channels(
    files: Sequence[tuple[Sequence[Channel], str]], sources: DefinitionSources | None
) -> TopicTable:
    """Group channels that can be one stream: same name, type, layout and serialisation.

    What the texts of two definitions say beside the layout (comments, constants, white space)
    makes no difference: publishers of one topic on different machines often carry such texts.

    Args:
        files: For each file its channels, and the distribution that recorded it where known.
        sources: Where to look for types that the recording does not define; None for nowhere.
    """
    resolver = TypeResolver(
        sources,
        (
            (channel.msgtype, channel.definition)
            for channels, _ in files
            for channel in channels
            if channel.definition is not None
        ),
    )
    groups: dict[tuple[object, ...], list[Channel]] = {}
    outcomes: dict[tuple[object, ...], _Outcome] = {}
    known: dict[int, _Outcome] = {}
    keys_by_file: list[list[tuple[object, ...]]] = []
    for channels, distro in files:
        keys: list[tuple[object, ...]] = []
        for channel in channels:
            outcome = _outcome(resolver, channel, distro)
            if outcome.resolved is not None:
                # Channels of one definition share what is found, and its layout is taken once.
                outcome = known.setdefault(id(outcome.resolved), outcome)
            key = (channel.topic, channel.msgtype, outcome.identity, channel.serialization)
            groups.setdefault(key, []).append(channel)
            outcomes.setdefault(key, outcome)
            keys.append(key)
        keys_by_file.append(keys)
    index_of = {key: index for index, key in enumerate(groups)}
    return TopicTable(
        topics=tuple(_topic(index_of[key], group, outcomes[key]) for key, group in groups.items()),
        by_file=tuple(tuple(index_of[key] for key in keys) for keys in keys_by_file),
    )


def _outcome(resolver: TypeResolver, channel: Channel, distro: str) -> _Outcome:
    if channel.obstacle:
        return _Outcome(obstacle=channel.obstacle)
    if not channel.msgtype:
        return _Outcome(obstacle="the recording names no type for it")
    ros1 = channel.serialization is Serialization.ROS1
    try:
        resolved = resolver.resolve(
            channel.msgtype,
            channel.definition,
            distro=distro,
            ros1=ros1,
            md5=channel.type_hash if ros1 else "",
        )
    except DefinitionError as error:
        return _Outcome(obstacle=error.message, hint=error.hint)
    return _Outcome(resolved)


def _topic(index: int, group: list[Channel], outcome: _Outcome) -> Topic:
    first = group[0]
    counts = [channel.message_count for channel in group]
    known = [count for count in counts if count is not None]
    return Topic(
        index=index,
        name=first.topic,
        msgtype=first.msgtype,
        serialization=first.serialization,
        message_type=None if outcome.resolved is None else outcome.resolved.message_type,
        definition_source="" if outcome.resolved is None else outcome.resolved.source,
        message_count=sum(known) if len(known) == len(counts) else None,
        qos=next((channel.qos for channel in group if channel.qos), ""),
        type_hash=next((channel.type_hash for channel in group if channel.type_hash), ""),
        obstacle=outcome.obstacle,
        hint=outcome.hint,
    )


def distro_of(hints: Mapping[str, Any], metadata: Mapping[str, object]) -> str:
    """Name the ROS distribution of one storage file, or give an empty text.

    Args:
        hints: What `metadata.yaml` says.
        metadata: What the storage file says, as its reader gives it.
    """
    for value in (metadata.get("ros_distro"), _record(metadata).get("ROS_DISTRO")):
        if isinstance(value, str) and value:
            return value
    for text in _embedded_documents(metadata):
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == "ros_distro" and value.strip():
                return value.strip().strip("'\"")
    named = hints.get("ros_distro")
    return named if isinstance(named, str) else ""


def merged_metadata(
    hints: Mapping[str, Any], files: Iterable[tuple[str, Mapping[str, object]]]
) -> dict[str, object]:
    """Put together what the files and `metadata.yaml` say; what the first file says counts.

    Args:
        hints: What `metadata.yaml` says.
        files: Name and metadata of each storage file, in order.

    Returns:
        `ros_distro`, `custom_data` (from `metadata.yaml`), `attachments` (file, name, media type
        and size of each) and whatever else the containers hold, all only where there is any.
    """
    merged: dict[str, object] = {}
    attachments: list[object] = []
    for name, metadata in files:
        for key, value in metadata.items():
            if key == "attachments" and isinstance(value, list):
                attachments.extend({"file": name, **attachment} for attachment in value)
            elif value and key not in merged:
                merged[key] = value
        if "ros_distro" not in merged and (distro := distro_of(hints, metadata)):
            merged["ros_distro"] = distro
    custom_data = hints.get("custom_data")
    if isinstance(custom_data, dict) and custom_data:
        merged["custom_data"] = custom_data
    if attachments:
        merged["attachments"] = attachments[:ATTACHMENTS_MAX]
    return merged


def _record(metadata: Mapping[str, object]) -> Mapping[str, str]:
    records = metadata.get("metadata")
    record = records.get(ROSBAG2_RECORD) if isinstance(records, dict) else None
    return record if isinstance(record, dict) else {}


def _embedded_documents(metadata: Mapping[str, object]) -> Iterable[str]:
    """Give the copies of `metadata.yaml` that rosbag2 keeps in the storage file itself."""
    serialized = _record(metadata).get("serialized_metadata")
    if serialized:
        yield serialized
    notes = metadata.get("rosbag2")
    if isinstance(notes, str):
        yield notes
    elif isinstance(notes, list | tuple):
        yield from (note for note in notes if isinstance(note, str))


LATCHED = re.compile(r"durability:\s*(1\b|transient_local)|latching: true")
"""In QoS profiles as recorded: a subscriber that comes late gets what was published before."""

REPEATED_KEPT = "latched messages that the recorder repeated at the start of a split"

REPEATED_MAX = 128
"""How many of the last messages of a topic are known again, and how many of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What latched messages the file before a recording holds.

    Attributes:
        reached_ns: The time of its last message; None where it has none.
        recent: Digests of the last messages of each latched topic.
        first: Digests of the first ones.
    """

    reached_ns: int | None
    recent: Mapping[int, Sequence[bytes]]
    first: Mapping[int, Sequence[bytes]]


class Repeats:
    """Recognises latched messages that a recorder wrote again at the start of a later split.

    `ros2 bag record --repeat-transient-local` starts each split with the last messages of chosen
    topics, so that it can be used alone. They carry the time of the last message before the split,
    not their own. `rosbag record --repeat-latched` of ROS 1 writes the first message of each
    latched publisher, with the time at which the file was opened; its reader finds that time. So a
    message is a repeat when its topic is latched, its bytes are those of one of the topic's first
    or last messages, nothing else came on its topic since the split, and its time is no later than
    the end of that split, or the one that the reader found.
    """

    def __init__(self, topics: Iterable[Topic], *, keep: bool) -> None:
        """Take the topics of all files, and whether repeats are kept, and only counted."""
        self.kept = 0
        self.left_out: Counter[int] = Counter()
        self._keep = keep
        latched = [topic.index for topic in topics if LATCHED.search(topic.qos)]
        self._recent = {topic: deque[bytes](maxlen=REPEATED_MAX) for topic in latched}
        self._first: dict[int, list[bytes]] = {topic: [] for topic in self._recent}
        self._leading: set[int] = set()
        self._last_ns: int | None = None
        self._reached_ns: int | None = None

    def known(self) -> Before:
        """Give what is known so far, for another pass over the recording."""
        return Before(
            reached_ns=self._reached_ns,
            recent={topic: tuple(digests) for topic, digests in self._recent.items()},
            first={topic: tuple(digests) for topic, digests in self._first.items()},
        )

    def recall(self, before: Before) -> None:
        """Know what an earlier pass over the recording learned of the file before it."""
        self._reached_ns = before.reached_ns
        for topic in self._recent:
            self._recent[topic].extend(before.recent.get(topic, ()))
            self._first[topic].extend(before.first.get(topic, ()))

    def start_file(self) -> None:
        """Go on to the next file."""
        self._last_ns = self._reached_ns
        self._leading = set(self._recent) if self._last_ns is not None else set()

    def may_open(self, mixed: MixedChannels, topic_of: Sequence[int]) -> bool:
        """Tell by the first message of a file whether it may open with repeats."""
        if not self._recent or not len(mixed.starts):
            return False
        return topic_of[int(mixed.channels[mixed.starts.argmin()])] in self._recent

    def remember(self, topic_of: NDArray[np.int64], block: MixedBlock) -> None:
        """Take note of messages of an earlier file, which are not read here.

        Args:
            topic_of: int64, shape (topics of that file,): which of our topics each of them is.
            block: Messages of that file.
        """
        topics = topic_of[block.topics]
        latched = np.isin(topics, list(self._recent))
        self._reached_ns = max(self._reached_ns or 0, int(block.log_times_ns.max(initial=0)))
        for part in by_topic(mixed_topics(topics[latched], chosen_messages(block, latched))):
            self._count_leading(part, None)

    def left(self, block: MixedBlock, repeated_ns: int | None) -> Iterator[MixedBlock]:
        """Yield what is left of a block without the repeats, which are counted; at most one.

        Args:
            block: Messages of the file.
            repeated_ns: The time that its repeats have, where its reader found one.
        """
        if not len(block.topics):
            return
        self._reached_ns = max(self._reached_ns or 0, int(block.log_times_ns.max()))
        left = np.ones(len(block.topics), dtype=np.bool_)
        for topic in self._recent:
            first, behind = map(int, np.searchsorted(block.topics, [topic, topic + 1]))
            if first == behind:
                continue
            part = part_of(block, topic, slice(first, behind))
            if self._last_ns is None and repeated_ns is not None:
                # Of what earlier file they are copies is not known.
                self.kept += int(np.count_nonzero(part.log_times_ns == repeated_ns))
            repeats = self._count_leading(part, repeated_ns)
            if self._keep:
                self.kept += repeats
            elif repeats:
                self.left_out[topic] += repeats
                left[first : first + repeats] = False
        if left.any():
            yield chosen_messages(block, left)

    def _count_leading(self, block: MessageBlock, repeated_ns: int | None) -> int:
        """Count the repeats at the start of a block, and remember the rest of it.

        Costs a hash of some messages.
        """
        recent, first = self._recent[block.topic], self._first[block.topic]
        repeats = 0
        if block.topic in self._leading:
            known = {*recent, *first}
            limit = min(len(block.starts), len(known))
            while repeats < limit and self._is_repeat(block, repeats, known, repeated_ns):
                repeats += 1
            if repeats < len(block.starts):
                self._leading.discard(block.topic)
        for row in range(repeats, min(len(block.starts), repeats + REPEATED_MAX - len(first))):
            first.append(_digest(block, row))
        for row in range(max(repeats, len(block.starts) - REPEATED_MAX), len(block.starts)):
            recent.append(_digest(block, row))
        return repeats

    def _is_repeat(
        self, block: MessageBlock, row: int, known: set[bytes], repeated_ns: int | None
    ) -> bool:
        assert self._last_ns is not None, "there is a file before"
        at_ns = int(block.log_times_ns[row])
        in_time = at_ns <= self._last_ns or at_ns == repeated_ns
        return in_time and _digest(block, row) in known


def _digest(block: MessageBlock, row: int) -> bytes:
    payload = block.data[block.starts[row] : block.ends[row]].tobytes()
    return hashlib.sha256(payload).digest()


def mixed_topics(
    topics: NDArray[np.int64], block: MessageBlock | MixedBlock | MixedChannels
) -> MixedBlock:
    """Sort messages by topic, where several channels of a file are one."""
    times_ns, starts, ends = block.log_times_ns, block.starts, block.ends
    if (np.diff(topics) < 0).any():
        order = np.argsort(topics, kind="stable")
        topics, times_ns = topics[order], times_ns[order]
        starts, ends = starts[order], ends[order]
    return MixedBlock(
        topics=topics, log_times_ns=times_ns, data=block.data, starts=starts, ends=ends
    )


def by_topic(block: MixedBlock) -> Iterator[MessageBlock]:
    """Yield a block for each topic, in order; nothing is copied."""
    edges = np.flatnonzero(np.diff(block.topics, prepend=-1, append=-1))
    for first, last in pairwise(edges.tolist()):
        yield part_of(block, int(block.topics[first]), slice(first, last))


def chosen_messages(block: MixedBlock, chosen: NDArray[np.bool_]) -> MixedBlock:
    """Keep some messages of a block; no payload is copied.

    Args:
        block: The messages.
        chosen: bool, shape (messages,): which of them.
    """
    if chosen.all():
        return block
    return MixedBlock(
        topics=block.topics[chosen],
        log_times_ns=block.log_times_ns[chosen],
        data=block.data,
        starts=block.starts[chosen],
        ends=block.ends[chosen],
    )


def part_of(block: MessageBlock | MixedBlock, topic: int, rows: slice) -> MessageBlock:
    """Give messages side by side of a block as those of one topic; nothing is copied."""
    return MessageBlock(
        topic=topic,
        log_times_ns=block.log_times_ns[rows],
        data=block.data,
        starts=block.starts[rows],
        ends=block.ends[rows],
    )
