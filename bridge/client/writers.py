"""Writing a sequence: topics, receipts, finalisation."""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Self

from bridge.client.catalog import WHOLE, Dialect, Upload
from bridge.client.cleanup import Cleanup, OnErrorPolicy, deepest_first
from bridge.client.connection import Connection
from bridge.client.options import AUTO, BodyCodec, Trials, automatic_codec
from bridge.client.text import nul_count, split_locator, topic_locator
from bridge.client.topics import RowStream, SendLimits, TopicReceipt, TopicWriter, TriedStream
from bridge.errors import (
    AlreadyExistsError,
    NestedTopicError,
    NotFoundError,
    PreconditionError,
    RefusedError,
    ServerError,
    TransientError,
    UsageError,
)
from bridge.ontology import Model
from bridge.parallel import settle


class TopicErrorPolicy(StrEnum):
    """What becomes of a topic whose own `with` block is left by an error."""

    Raise = "raise"
    Drop = "drop"


class SequenceStatus(StrEnum):
    """How far the writing of a sequence has come."""

    Null = "null"
    Pending = "pending"
    Finalized = "finalized"
    Error = "error"


@dataclass(slots=True, kw_only=True, eq=False)
class SequenceWriter:
    """Writes one sequence; made by `MosaicoClient.sequence_create` and `sequence_resume`.

    A context manager: entering creates the sequence on the server (or takes up the session again),
    a clean exit closes all topics and finalises, an error is handled by the policy. Control calls
    may come from several threads; each `TopicWriter` is for one thread at a time.

    Attributes:
        name: The sequence's name.
        on_error: What happens when the block is left by an error.
        status: How far it has come.
        cleanup_errors: What could not be cleaned up after an error, for the report.
        was_compressed: Whether what is sent was compressed where it comes from, as far as is known
            by now; with automatic compression it is not to become more on the wire.
    """

    name: str
    on_error: OnErrorPolicy
    connection: Connection = field(repr=False)
    dialect: Dialect = field(repr=False)
    limits: SendLimits
    metadata: Mapping[str, Any] = field(repr=False)
    resumed: Upload | None = field(default=None, repr=False)
    on_change: Callable[[str], None] = field(default=lambda _: None, repr=False)
    status: SequenceStatus = SequenceStatus.Null
    cleanup_errors: list[ServerError] = field(default_factory=list, repr=False)
    was_compressed: Callable[[], bool] = field(default=lambda: False, repr=False)
    _upload: Upload | None = field(default=None, repr=False)
    _topics: dict[str, TopicWriter] = field(default_factory=dict, repr=False)
    _ends: Counter[str] = field(default_factory=Counter, repr=False)  # guarded by _lock
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _trials: Trials = field(default_factory=Trials, repr=False)

    @property
    def session(self) -> str:
        """The session's locator, on G1 its creation time; empty on G2a. To be journalled."""
        return self._known_upload().locator

    @property
    def session_uuid(self) -> str:
        """The session's write token (the sequence's key on G1). To be journalled, not shown."""
        return self._known_upload().uuid

    @property
    def texts_changed(self) -> int:
        """Texts of the sequence's metadata in which U+0000 was replaced by U+FFFD."""
        return nul_count(dict(self.metadata))

    @property
    def topics(self) -> Mapping[str, TopicWriter]:
        """The topics created by this writer, by name."""
        return dict(self._topics)

    def topic_create(
        self,
        topic_name: str,
        metadata: Mapping[str, Any],
        ontology_type: Model,
        on_error: TopicErrorPolicy = TopicErrorPolicy.Raise,
    ) -> TopicWriter:
        """Create a topic and open its stream.

        Args:
            topic_name: Its name, with or without the leading slash.
            metadata: What to attach to it; JSON values.
            ontology_type: What each row is.
            on_error: Whether an error that leaves its own `with` block goes on, or drops the topic.

        Raises:
            UsageError: Outside the `with` block.
            RejectedError: The server does not accept the name or the metadata.
            ServerError: The call failed otherwise.
        """
        upload = self._require_upload()
        locator = topic_locator(self.name, topic_name)
        name = split_locator(locator)[1]
        create = partial(
            self.dialect.topic_create,
            upload,
            locator,
            ontology_tag=ontology_type.tag,
            serialization_format=ontology_type.serialization_format.value,
            metadata=metadata,
        )
        try:
            token = create()
        except AlreadyExistsError:
            if name in self._topics or not self._is_unused(locator):
                raise
            # The answer to an earlier call was lost, and with it the only copy of its token.
            try:
                self.dialect.topic_delete(locator)
            except NestedTopicError as error:
                raise TransientError(
                    f"the answer to the creation of {locator} was lost, and {error.message}",
                    address=error.address,
                    resource=locator,
                    hint="the sequence is begun again",
                ) from error
            token = create()
        writer = TopicWriter(
            name=name,
            model=ontology_type,
            limits=self.limits,
            stream=self._stream(locator, token, ontology_type),
            report=lambda message: self.dialect.notify(locator, message),
            ask=lambda: TopicReceipt.of(self.dialect.topic_facts(locator, WHOLE)),
            empty_batch=self.dialect.revision.empty_batch,
            texts_changed=nul_count(dict(metadata)),
            drop=lambda error: on_error is TopicErrorPolicy.Drop and self._dropped(name, error),
        )
        self._topics[name] = writer
        return writer

    def _stream(self, locator: str, token: str, model: Model) -> RowStream:
        """Open a topic's put stream, or prepare to with its first batch where that decides how."""
        opened = partial(
            self.connection.put,
            self.dialect.topic_put_descriptor(locator, token),
            model.schema,
            resource=locator,
        )
        settled = self.connection.body_compression.settled()
        if not settled.startswith(AUTO):
            return opened(codec=BodyCodec(name=settled))
        return TriedStream(
            open=lambda codec: opened(codec=codec),
            codec=lambda: automatic_codec(
                settled,
                was_compressed=self.was_compressed(),
                round_trip_s=self.connection.shortest_call_s,
            ),
            pays=partial(self._trials.pays, model.tag),
        )

    def _is_unused(self, locator: str) -> bool:
        """Whether a topic of this upload was created and nothing of it was ever put."""
        found = self.dialect.upload_topics(self._known_upload())
        return any(
            not (facts.locked or facts.chunks or facts.data.row_count)
            for facts in found
            if facts.locator == locator
        )

    def prepare_topics(self, count: int, *, connections: int = 1) -> None:
        """Connect in the background what so many more topics will need; does not wait.

        Args:
            count: How many topics will be created.
            connections: How many connections they are to be spread over at least.
        """
        self.connection.prepare_streams(count, connections=connections)

    def topics_create_ahead(
        self, topics: Iterable[tuple[str, Mapping[str, Any], Model]]
    ) -> "list[Future[TopicWriter]]":
        """Create topics and open their streams in the background, many at a time.

        Names, metadata and models are as for `topic_create`, and so are the errors. Trouble of the
        server's own is tried again a few times.
        """
        creates = [partial(self.topic_create, *topic) for topic in topics]
        self._require_upload()
        return self.connection.parallel("create").submit_all(creates, repeatable=True)

    def topics_close_ahead(self, topics: Iterable[TopicWriter]) -> "list[Future[None]]":
        """Close topics in the background, many at a time; the results are the server's verdicts.

        On the keyed revisions topics of one ontology tag are closed one after the other: the server
        keeps their columns in rows that they share. Elsewhere how many at a time is found by trial.
        """

        def close(topic: TopicWriter) -> None:
            if not topic.ended and not topic.closed:
                topic.end()
            topic.close()

        closing = list(topics)
        turns = [self._turn_to_end(topic.model.tag) for topic in closing]
        calls = [partial(close, topic) for topic in closing]
        return self.connection.parallel("end").submit_all(calls, turns=turns)

    def _turn_to_end(self, tag: str) -> Hashable:
        most = self.dialect.revision.ends_of_tag_max
        if most is None:
            return None
        with self._lock:
            self._ends[tag] += 1
            return tag, self._ends[tag] % most

    def topics_delete(self, names: Iterable[str]) -> None:
        """Delete topics as `topic_delete` does, many at a time; what is gone already is no error.

        Raises:
            ServerError: The first error; topics whose turn had not come are left alone.
        """
        for level in self._to_delete(names):
            calls = [partial(self._topic_delete, name) for name in level]
            self.connection.parallel("delete").map(calls, repeatable=True)

    def _to_delete(self, names: Iterable[str]) -> list[list[str]]:
        """Sort topics that are to be deleted, which goes by name.

        Raises:
            NotFoundError: The upload is gone, and the names may be another's by now.
        """
        levels = deepest_first(self.dialect, names)
        if any(levels):
            self.dialect.upload_check(self._require_upload())
        return levels

    def topics_withdraw(self, topics: Iterable[TopicWriter]) -> None:
        """Take back topics that were created ahead and got no rows, many at a time.

        Raises:
            ServerError: The first error; a topic that is left makes `finalize` fail.
        """
        if calls := [partial(self._withdraw, topic) for topic in topics]:
            self.dialect.upload_check(self._require_upload())
            self.connection.parallel("delete").map(calls)

    def _withdraw(self, topic: TopicWriter) -> None:
        """Take a topic back.

        It is deleted, or ended without rows where the key may not delete, and on the keyed
        revisions where others are nested below it, which would lose their data.
        """
        try:
            with suppress(NotFoundError):
                self.dialect.topic_delete(topic_locator(self.name, topic.name))
        except (RefusedError, NestedTopicError):
            topic.close()
            return
        self._topics.pop(topic.name, None)
        topic.abort()

    def topic_delete(self, topic_name: str) -> None:
        """Abort a topic if it is open and delete what the server has of it, if anything.

        The name is free again afterwards, so that a resumed writer can send the topic again.

        Raises:
            NestedTopicError: The data of topics below it would be deleted, too (G1).
            NotFoundError: The upload is gone.
            ServerError: The server did not delete it.
        """
        self._to_delete([topic_name])
        self._topic_delete(topic_name)

    def _topic_delete(self, topic_name: str) -> None:
        locator = topic_locator(self.name, topic_name)
        writer = self._topics.pop(split_locator(locator)[1], None)
        if writer is not None:
            writer.abort()
        with suppress(NotFoundError):
            self.dialect.topic_delete(locator)

    def topic_drop(self, topic_name: str, reason: str) -> None:
        """Give a topic up: delete it, and say so in a notification on the sequence."""
        self._to_delete([topic_name])
        self._topic_drop(topic_name, reason)

    def _topic_drop(self, topic_name: str, reason: str) -> None:
        self._topic_delete(topic_name)
        self.notify(f"the topic {topic_name} was dropped: {reason}")

    def topics_drop(self, reasons: Mapping[str, str]) -> None:
        """Drop topics, many at a time; reasons by name.

        Raises:
            ServerError: The first error; topics whose turn had not come are left alone.
        """
        for level in self._to_delete(reasons):
            calls = [partial(self._topic_drop, name, reasons[name]) for name in level]
            self.connection.parallel("delete").map(calls)

    def _dropped(self, name: str, error: Exception) -> bool:
        """Drop a topic for an error; False where that fails too, so that the error goes on."""
        try:
            self.topic_drop(name, f"{type(error).__name__}: {error}")
        except ServerError as late:
            error.add_note(f"could not drop {name}: {late.message}")
            return False
        return True

    def topic_notify(self, topic_name: str, message: str) -> None:
        """Attach an error notification to a topic."""
        self._require_upload()
        self.dialect.notify(topic_locator(self.name, topic_name), message)

    def notify(self, message: str) -> None:
        """Attach an error notification to the sequence."""
        self._require_upload()
        self.dialect.notify(self.name, message)

    def receipts(self) -> dict[str, TopicReceipt]:
        """Ask the server what it holds, by topic name, of all topics of this session.

        Raises:
            ServerError: The call failed.
        """
        return {
            split_locator(facts.locator)[1]: TopicReceipt.of(facts)
            for facts in self.dialect.upload_topics(self._known_upload())
        }

    def finalize(self) -> None:
        """Close all topics and commit; idempotent. A clean exit does it by itself.

        Raises:
            ServerError: A topic is not whole, or the commit failed.
        """
        if self.status is SequenceStatus.Finalized:
            return
        upload = self._require_upload()
        closings = self.topics_close_ahead(
            topic for topic in self._topics.values() if not (topic.closed or topic.aborted)
        )
        try:
            for closing in closings:
                closing.result()
        finally:
            settle(closings)
        try:
            self.dialect.upload_finalize(upload)
        except ServerError:
            if not self._is_committed(upload):
                raise
        self.status = SequenceStatus.Finalized
        self.on_change(self.name)

    def is_gone(self) -> bool:
        """Ask whether somebody has deleted the upload; False where the server does not answer."""
        try:
            self.dialect.upload_check(self._known_upload())
        except NotFoundError:
            return True
        except ServerError:
            return False
        return False

    def _is_committed(self, upload: Upload) -> bool:
        """Whether the commit took effect all the same: what failed may be only its answer."""
        try:
            self.dialect.upload_check(upload)
        except PreconditionError:
            return True
        except ServerError:
            return False
        return False

    def abandon(self) -> None:
        """Leave everything as it is, without the error policy, to be resumed later; idempotent.

        Open topics are aborted, so that the server does not take them for whole.
        """
        if self.status is SequenceStatus.Pending:
            self._cleanup().abort_open()
            self.status = SequenceStatus.Error
            self.on_change(self.name)

    def __enter__(self) -> Self:
        if self.status is not SequenceStatus.Null:
            raise UsageError(f"{self.name}: a sequence writer is entered only once")
        if self.resumed is None:
            self._upload = self.dialect.sequence_create(self.name, self.metadata)
        else:
            self.dialect.upload_check(self.resumed)
            self._upload = self.resumed
        self.status = SequenceStatus.Pending
        self.on_change(self.name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.status is not SequenceStatus.Pending:
            return
        if error is None:
            try:
                self.finalize()
            except BaseException as late:
                self._fail(late)
                raise
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Do what the policy says; what cannot be done is noted on *error*, never raised."""
        self.status = SequenceStatus.Error
        cleanup = self._cleanup()
        cleanup.abort_open()
        cleanup.follow(self.on_error, error)
        self.on_change(self.name)

    def _cleanup(self) -> Cleanup:
        return Cleanup(
            name=self.name,
            upload=self._known_upload(),
            dialect=self.dialect,
            connection=self.connection,
            topics=self._topics,
            errors=self.cleanup_errors,
        )

    def _known_upload(self) -> Upload:
        if self._upload is None:
            raise self._not_open()
        return self._upload

    def _require_upload(self) -> Upload:
        if self._upload is None or self.status is not SequenceStatus.Pending:
            raise self._not_open()
        return self._upload

    def _not_open(self) -> UsageError:
        return UsageError(
            f"{self.name}: the sequence writer is not open",
            hint="use it inside `with client.sequence_create(...) as writer:`",
        )
