"""Reading a whole recording: the topics of all its files, and their blocks file after file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from bridge.bags.compression import decompress_messages, expand_file, has_compressed
from bridge.bags.container import (
    NOWHERE,
    ChannelBlock,
    ContainerReader,
    MixedChannels,
    ReadLimits,
    ReadTally,
)
from bridge.bags.formats import sniff, storage_name
from bridge.bags.identity import FileHashes
from bridge.bags.mcap.reader import McapReader
from bridge.bags.merging import (
    REPEATED_KEPT,
    Before,
    Repeats,
    by_topic,
    distro_of,
    merge_channels,
    merged_metadata,
    mixed_topics,
)
from bridge.bags.metadata import read_hints
from bridge.bags.rosbag1.reader import open_rosbag1
from bridge.bags.source import DESCRIPTORS_PER_FILE, FileSource, is_lack_of_descriptors
from bridge.bags.splits import file_before
from bridge.bags.sqlite.reader import open_sqlite3
from bridge.bags.zstd_source import ZstdSource
from bridge.definitions import DefinitionSources
from bridge.errors import RecordingChangedError, RecordingError, ScratchSpaceError
from bridge.files import allow_open_files
from bridge.model import (
    REPEATED,
    Container,
    Loss,
    MessageBlock,
    MixedBlock,
    Recording,
    RecordingFile,
    Serialization,
    Topic,
)

SPARE = "bytes behind the content of a compressed file"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFile:
    """An open storage file.

    Attributes:
        file: Which one, with the format that its bytes tell.
        source: Its bytes as they are on disk.
        container: The reader of its messages.
        torn: Why the end of a compressed file is missing; empty where it is not.
        spare: Whether something follows the content of a compressed file.
    """

    file: RecordingFile
    source: FileSource
    container: ContainerReader
    torn: str = ""
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What a recording is opened with; see `open_recording`.

    Attributes:
        before: What the file before it holds, once a pass has learned it; shared by all passes.
    """

    recording: Recording
    limits: ReadLimits
    definitions: DefinitionSources | None
    scratch_dir: Path | None
    thorough: bool
    before: list[Before] = field(default_factory=list)


class RecordingReader:
    """One open recording; a context manager.

    All files are opened at once and stay open, so that splits which the recorder deletes meanwhile
    are read to their end.

    Attributes:
        recording: What is read, with the formats that the files' bytes show.
        topics: All topics; final before the first block.
        metadata: What the recording says of itself; see `merged_metadata` for the names.
        recorded_bytes: Size of all files.
    """

    def __init__(
        self,
        opening: _Opening,
        *,
        files: Sequence[StorageFile],
        losses: Sequence[Loss],
        stack: ExitStack,
    ) -> None:
        """Take over open files, and with the stack the duty to close them."""
        recording = replace(opening.recording, files=tuple(opened.file for opened in files))
        self.recording = recording
        self._opening = opening
        self._files = files
        self._losses = losses
        self._stack = stack
        self._late_losses: list[Loss] = []
        self._left_out: Counter[tuple[int, str]] = Counter()
        self._contradictions: Counter[str] = Counter()
        mode = str(recording.hints.get("compression_mode") or "")
        self._compressed_messages = mode.upper() == "MESSAGE"
        self._is_compressed = self._compressed_messages
        self._done_bytes = 0
        self._current: StorageFile | None = None
        self.recorded_bytes = sum(opened.source.size_bytes for opened in files)
        self.metadata: Mapping[str, object] = MappingProxyType(
            merged_metadata(
                recording.hints,
                [(opened.file.path.name, opened.container.metadata) for opened in files],
            )
        )
        table = merge_channels(
            [
                (
                    opened.container.channels,
                    distro_of(recording.hints, opened.container.metadata),
                )
                for opened in files
            ],
            opening.definitions,
        )
        self.topics: tuple[Topic, ...] = table.topics
        splits = len(files) > 1 or recording.split is not None
        self._repeats = Repeats(
            (each for each in table.topics if splits or each.serialization is Serialization.ROS1),
            keep=opening.limits.repeated_latched == "keep",
        )
        self._topic_of = table.by_file

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far, of all files together."""
        tally = ReadTally(
            losses=[*self._losses, *self._late_losses],
            skipped=self._left_out.copy(),
            contradictions=self._contradictions.copy(),
        )
        if self._repeats.kept:
            tally.extras[REPEATED_KEPT] += self._repeats.kept
        for topic, count in self._repeats.left_out.items():
            tally.skipped[topic, REPEATED] += count
        for opened, topic_of in zip(self._files, self._topic_of, strict=True):
            # Readers of working copies know those by their own names.
            tally.losses += [
                replace(loss, path=opened.file.path) for loss in opened.container.tally.losses
            ]
            if opened.spare:
                tally.contradictions[SPARE] += 1
            if opened.torn:
                end_bytes = opened.source.size_bytes
                tally.losses.append(
                    _lost(opened.file, opened.torn, start_bytes=end_bytes, end_bytes=end_bytes)
                )
            for (channel, reason), count in opened.container.tally.skipped.items():
                topic = NOWHERE if channel == NOWHERE else topic_of[channel]
                tally.skipped[topic, reason] += count
            tally.extras += opened.container.tally.extras
            tally.contradictions += opened.container.tally.contradictions
            tally.unverified_messages += opened.container.tally.unverified_messages
        return tally

    @property
    def healthy(self) -> bool:
        """Whether every file could be opened and was closed properly by its writer."""
        return not self._losses and all(
            opened.container.healthy and not opened.torn for opened in self._files
        )

    @property
    def is_compressed(self) -> bool:
        """Whether files, chunks or messages are compressed, as far as they were read."""
        return self._is_compressed or any(
            opened.file.compression or opened.container.tally.compressed for opened in self._files
        )

    @property
    def is_damaged(self) -> bool:
        """Whether anything was found lost so far; cheap enough to ask at every block."""
        return bool(
            self._losses
            or self._late_losses
            or any(opened.torn or opened.container.tally.losses for opened in self._files)
        )

    @property
    def misled(self) -> bool:
        """Whether messages were left out since a file's claim about its channels was wrong.

        Opened `thorough`, the recording gives them.
        """
        return any(opened.container.misled for opened in self._files)

    @property
    def message_count(self) -> int | None:
        """Messages in all files as the files count them, None where one does not; for progress."""
        counts = [topic.message_count for topic in self.topics]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @property
    def bytes_read(self) -> int:
        """How far reading has come, out of `recorded_bytes`."""
        if self._current is None:
            return self._done_bytes
        # The content of a compressed file is longer than the file.
        within = min(self._current.container.bytes_read, self._current.source.size_bytes)
        return self._done_bytes + within

    def blocks(self) -> Iterator[MessageBlock]:
        """Yield the intact messages of all files, file after file, each in its own order.

        A file that turns out to be unreadable from some point on is noted in `tally`; the next one
        goes on.

        Raises:
            RecordingChangedError: A file changed since it was opened; nothing of it is to be
                believed.
        """
        return (block for mixed in self.mixed_blocks() for block in by_topic(mixed))

    def mixed_blocks(self) -> Iterator[MixedBlock]:
        """Yield the same messages, those of many topics together where they lie so.

        Raises:
            RecordingChangedError: As `blocks`.
        """
        is_first = True
        for opened, topic_of in zip(self._files, self._topic_of, strict=True):
            self._current = opened
            self._repeats.start_file()
            try:
                for mixed in opened.container.mixed_blocks():
                    if is_first and self._repeats.may_open(mixed, topic_of):
                        self._remember_split_before()
                    is_first = False
                    for block in self._merged(mixed, topic_of):
                        yield from self._repeats.left(block, opened.container.repeated_ns)
            except RecordingChangedError:
                raise
            except RecordingError as error:
                self._late_losses.append(
                    _lost(
                        opened.file,
                        error.message,
                        start_bytes=error.offset_bytes or 0,
                        end_bytes=opened.source.size_bytes,
                    )
                )
            opened.source.check_unchanged()
            self._current = None
            self._done_bytes += opened.source.size_bytes

    def _remember_split_before(self) -> None:
        """Learn, once for all passes, which latched messages the split before this one holds."""
        known = self._opening.before
        if known:
            self._repeats.recall(known[0])
        elif (file := file_before(self.recording)) and self._read_split_before(file):
            known.append(self._repeats.known())
        self._repeats.start_file()

    def _read_split_before(self, file: RecordingFile) -> bool:
        alone = Recording(path=file.path, name=file.path.stem, files=(file,))
        how = self._opening
        try:
            with open_recording(alone, limits=how.limits, scratch_dir=how.scratch_dir) as one:
                ours = {topic.name: topic.index for topic in self.topics}
                of = np.array([ours.get(topic.name, NOWHERE) for topic in one.topics])
                for block in one.mixed_blocks():
                    self._repeats.remember(of, block)
        except (RecordingError, ScratchSpaceError):
            return False  # What is not known to be there is no repeat.
        return True

    def _merged(self, mixed: MixedChannels, topic_of: Sequence[int]) -> Iterator[MixedBlock]:
        if self._compressed_messages or has_compressed(mixed):
            self._is_compressed = True
            for block in mixed.by_channel():
                for one in self._messages(block, topic_of[block.channel]):
                    yield mixed_topics(np.full(len(one.starts), one.topic), one)
        else:
            yield mixed_topics(np.asarray(topic_of, dtype=np.int64)[mixed.channels], mixed)

    def _messages(self, block: ChannelBlock, topic: int) -> Iterator[MessageBlock]:
        """Decompress payloads where each is compressed by itself, which no name shows."""
        plain: Iterable[ChannelBlock] = (block,)
        dropped: Counter[str] = Counter()
        if self.topics[topic].serialization is Serialization.CDR and (
            self._compressed_messages or has_compressed(block)
        ):
            told = self._contradictions
            plain = decompress_messages(
                block, self._opening.limits, dropped=dropped, contradictions=told
            )
        for one in plain:
            yield MessageBlock(
                topic=topic,
                log_times_ns=one.log_times_ns,
                data=one.data,
                starts=one.starts,
                ends=one.ends,
            )
        for reason, count in dropped.items():
            self._left_out[topic, reason] += count

    def again(self) -> "RecordingReader":
        """Open the recording once more, for another pass over it.

        What this pass learned of the split before is known to that one.

        Raises:
            RecordingError: As `open_recording`.
            ScratchSpaceError: Likewise.
        """
        return _opened(self._opening)

    def hash_files(self) -> FileHashes:
        """Start taking the SHA-256 of every file in the background; closing gives it up."""
        hashes = FileHashes({opened.file.path: opened.source for opened in self._files})
        self._stack.callback(hashes.stop)
        return hashes

    def close(self) -> None:
        """Release everything; idempotent."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_recording(
    recording: Recording,
    *,
    limits: ReadLimits | None = None,
    definitions: DefinitionSources | None = None,
    scratch_dir: Path | None = None,
    thorough: bool = False,
) -> RecordingReader:
    """Open all files of a recording and learn its topics.

    Of several files, those that cannot be read at all are noted as lost.

    Args:
        recording: From `load_recording` or `find_recordings`.
        limits: What files may claim; None for the defaults.
        definitions: Where to look for definitions that the files do not hold; None for nowhere.
        scratch_dir: Where working copies may be made; None for the system's temporary folder.
        thorough: Whether to look for topics in the data themselves, at the cost of decompressing
            everything twice, and not to believe what summaries and indexes say of them.

    Raises:
        RecordingError: No file can be read (the error of the first), or too many are open.
        ScratchSpaceError: A working copy is needed and does not fit.
    """
    return _opened(
        _Opening(
            recording=_with_hints(recording),
            limits=limits or ReadLimits(),
            definitions=definitions,
            scratch_dir=scratch_dir,
            thorough=thorough,
        )
    )


def _opened(opening: _Opening) -> RecordingReader:
    losses: list[Loss] = []
    files: list[StorageFile] = []
    errors: list[RecordingError] = []
    allow_open_files(len(opening.recording.files) * DESCRIPTORS_PER_FILE)
    with ExitStack() as stack:
        for file in opening.recording.files:
            try:
                files.append(_open(file, opening, stack))
            except RecordingChangedError:
                raise
            except RecordingError as error:
                if is_lack_of_descriptors(error):
                    error.hint = "raise the limit of open files (LimitNOFILE= of the service)"
                    raise
                errors.append(error)
                size_bytes = file.size_bytes
                losses.append(_lost(file, error.message, start_bytes=0, end_bytes=size_bytes))
        if errors and not files:
            raise errors[0]
        return RecordingReader(opening, files=files, losses=losses, stack=stack.pop_all())


def _with_hints(recording: Recording) -> Recording:
    """Read `metadata.yaml` for a recording that was found by names alone."""
    if recording.hints or not recording.path.is_dir():
        return recording
    hints, flaws = read_hints(recording.path)
    notes = dict.fromkeys((*recording.notes, *flaws))
    return replace(recording, hints=hints, notes=tuple(notes))


def _open(file: RecordingFile, opening: _Opening, stack: ExitStack) -> StorageFile:
    """Open one file by what its bytes show; nothing stays open when that fails."""
    container, compression = sniff(file.path, storage_name(file.path.name))
    known = replace(file, container=container, compression=compression)
    with ExitStack() as attempt:
        opened = _open_storage_file(known, opening, attempt)
        stack.push(attempt.pop_all())
    return opened


def _lost(file: RecordingFile, reason: str, *, start_bytes: int, end_bytes: int) -> Loss:
    return Loss(
        path=file.path,
        start_bytes=start_bytes,
        end_bytes=end_bytes,
        reason=reason,
        verifiable=False,
    )


def _open_storage_file(file: RecordingFile, opening: _Opening, stack: ExitStack) -> StorageFile:
    """Open a storage file in the format that its bytes show; the stack closes what is opened.

    A compressed MCAP file is read as a stream, twice: once to find its end. The other formats need
    to be read here and there and are expanded into scratch space.
    """
    limits, scratch_dir = opening.limits, opening.scratch_dir
    source = FileSource(file.path)
    stack.callback(source.close)
    torn, spare = "", False
    plain = file
    container: ContainerReader
    try:
        if file.compression and file.container is not Container.MCAP:
            expanded = stack.enter_context(
                expand_file(file, limits=limits, scratch_dir=scratch_dir)
            )
            plain, torn, spare = expanded.file, expanded.torn, expanded.spare
        if file.container is Container.SQLITE3:
            container = open_sqlite3(plain, limits=limits, scratch_dir=scratch_dir)
        elif file.container is Container.ROSBAG1:
            container = open_rosbag1(plain, limits=limits, thorough=opening.thorough)
        elif file.compression:
            content = ZstdSource(source, limits=limits)
            torn, spare = content.torn, content.spare
            container = McapReader(content, limits=limits, thorough=opening.thorough)
        else:
            container = McapReader(source, limits=limits, thorough=opening.thorough)
    except RecordingError as error:
        # A working copy means nothing to a user.
        error.path = file.path
        raise
    stack.callback(container.close)
    return StorageFile(file=file, source=source, container=container, torn=torn, spare=spare)
