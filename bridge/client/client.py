"""MosaicoClient: the door to a Mosaico server, and what it hands out."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, Unpack

from bridge.client.catalog import (
    WHOLE,
    Dialect,
    Notified,
    Upload,
    Window,
    parse_notification,
)
from bridge.client.cleanup import OnErrorPolicy
from bridge.client.connection import Connection
from bridge.client.handlers import SequenceHandler, TopicHandler
from bridge.client.opening import open_connection
from bridge.client.options import Compression, ConnectOptions, connection_options
from bridge.client.query.query import Query, QueryPart, encode_query
from bridge.client.query.results import (
    Cluster,
    ClusterRequest,
    QueryResponse,
    clusterize,
    intersect,
    parse_response,
)
from bridge.client.revisions import Probed
from bridge.client.text import sequence_name as checked_sequence
from bridge.client.text import topic_locator
from bridge.client.topics import Nowhere, SendLimits, TopicWriter
from bridge.client.translate import Secret
from bridge.client.writers import SequenceWriter
from bridge.errors import NotFoundError, ServerError, UsageError
from bridge.ontology import Condition, Model, QueryError

DEFAULT_PORT = 6726

_log = logging.getLogger(__name__)

_BUILT_BY_CONNECT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the server accepts.

    Attributes:
        message_bytes_max: The largest gRPC message; announced from G2d on, known for the others.
    """

    message_bytes_max: int


class MosaicoClient:
    """A connection to a Mosaico server; made by `connect`, closed by `close` or a `with` block.

    May be used from several threads.

    Attributes:
        server_version: The server's version; empty where it does not report one (G1).
        limits: What the server accepts.
    """

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        timeout: float = 0.0,
        control_client: Any = None,
        connection_pool: Any = None,
        executor_pool: Any = None,
        sentinel: object = None,
    ) -> None:
        """Refuse to be constructed in any other way than by `connect`.

        The arguments are those of the documented API; they matter to nobody but `connect`, which
        passes what it has opened as *control_client*.

        Raises:
            UsageError: Always, for a caller (also a `RuntimeError`).
        """
        del host, port, timeout, connection_pool, executor_pool
        if sentinel is not _BUILT_BY_CONNECT:
            raise UsageError(
                "a MosaicoClient is not constructed directly",
                hint="use MosaicoClient.connect(host, port)",
            )
        opened: tuple[Connection, Dialect, Probed] = control_client
        self._connection, self._dialect, probed = opened
        self.server_version = probed.server_version
        self.limits = ServerLimits(message_bytes_max=probed.message_bytes_max)
        self._sequences: dict[str, SequenceHandler] = {}
        self._topics: dict[str, TopicHandler] = {}

    @classmethod
    def connect(
        cls,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        timeout_s: float = 5.0,
        *,
        timeout: float | None = None,
        **options: Unpack[ConnectOptions],
    ) -> Self:
        """Connect to a server and find out which protocol revision it speaks.

        Args:
            host: Name or address of the server.
            port: Its TCP port.
            timeout_s: How long to wait for a server that does not answer; one that refuses
                connections is given 5 s of it at most. A slow line needs more than the default.
            timeout: The documented API's spelling of `timeout_s`; wins if given.
            **options: TLS, API key, compression, deadlines: see `ConnectOptions`.

        Raises:
            OfflineError: Nobody answers (also a `ConnectionError`); as `DatabaseAwayError`: the
                server answers and its database does not.
            RefusedError: The API key or the TLS settings are wrong.
            ProtocolError: The server speaks a protocol that this client does not.
            UsageError: An option has no such value, or a certificate cannot be read.
        """
        if "api_key" in options:
            options["api_key"] = Secret.of(options["api_key"])
        checked = connection_options(host, port, **options)
        opened = open_connection(checked, timeout_s=timeout_s if timeout is None else timeout)
        return cls(control_client=opened, sentinel=_BUILT_BY_CONNECT)

    @property
    def revision(self) -> str:
        """The protocol revision spoken, `G1.0` to `G3b`; G3a shows itself with the first query."""
        return self._dialect.revision.name

    @property
    def reservation(self) -> str:
        """What the operator should know of the revision, as a clause; empty for most."""
        return self._dialect.revision.reservation

    @property
    def compression(self) -> Compression:
        """What compression is in use, which may be less than was asked for."""
        return Compression(
            body=self._connection.body_compression.known(),
            grpc=self._connection.options.grpc_compression,
        )

    def sequence_create(
        self,
        sequence_name: str,
        metadata: Mapping[str, Any],
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
        max_batch_size_bytes: int | None = None,
        max_batch_size_records: int | None = None,
    ) -> SequenceWriter:
        """Prepare the writing of a new sequence; entering the writer creates it.

        Args:
            sequence_name: Its name.
            metadata: What to attach to it; JSON values. It can never be changed.
            on_error: What becomes of it when the `with` block is left by an error.
            max_batch_size_bytes: Split larger batches; by default nine tenths of what the server
                accepts.
            max_batch_size_records: Split batches of more rows; by default 1,000,000.

        Raises:
            RejectedError: The platform accepts no such name.
        """
        self._connection.require_open()
        return self._writer(
            checked_sequence(sequence_name),
            metadata=metadata,
            on_error=on_error,
            limits=self._send_limits(max_batch_size_bytes, max_batch_size_records),
        )

    def puts_at_once(self, topics: int, size_bytes: int) -> int:
        """Give how many topics should be written to at once: of much data far away several.

        Args:
            topics: How many there are.
            size_bytes: About how much data they have in all.
        """
        return self._connection.puts_at_once(topics, size_bytes)

    def sequence_resume(
        self,
        sequence_name: str,
        session_uuid: str,
        session: str = "",
        *,
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
        max_batch_size_bytes: int | None = None,
        max_batch_size_records: int | None = None,
    ) -> SequenceWriter:
        """Prepare to go on with a sequence whose session was left open.

        The writer's `receipts` show which topics are whole (`locked`); the others are to be removed
        by `topic_delete` and created again, because the platform does not resume a broken stream.

        Args:
            sequence_name: Its name.
            session_uuid: `SequenceWriter.session_uuid` of the writer that started it.
            session: Its `SequenceWriter.session`; empty where that was.
            on_error: As for `sequence_create`.
            max_batch_size_bytes: As for `sequence_create`.
            max_batch_size_records: As for `sequence_create`.

        Raises:
            NotFoundError: On entering: the sequence or its session is gone.
            PreconditionError: On entering: the session is finalised.
        """
        self._connection.require_open()
        name = checked_sequence(sequence_name)
        return self._writer(
            name,
            metadata={},
            on_error=on_error,
            limits=self._send_limits(max_batch_size_bytes, max_batch_size_records),
            resumed=Upload(sequence=name, uuid=session_uuid, locator=session),
        )

    def topic_rehearse(self, topic_name: str, ontology_type: Model) -> TopicWriter:
        """Make a writer that sends nothing, to find out what a real one would count.

        It splits, counts and drops rows as `SequenceWriter.topic_create`'s does without limits of
        its own; nothing reaches the server.

        Args:
            topic_name: The topic's name.
            ontology_type: What each row is.
        """
        return TopicWriter(
            name=topic_name,
            model=ontology_type,
            limits=self._send_limits(),
            stream=Nowhere(),
            report=lambda _message: None,
        )

    def can_read_rows_of(self, size_bytes: int) -> bool:
        """Whether rows of such a size can be read; below 0.7 larger ones would end the server."""
        most_bytes = self._dialect.revision.row_bytes_readable
        return most_bytes is None or size_bytes <= most_bytes

    def _writer(self, name: str, **details: Any) -> SequenceWriter:
        return SequenceWriter(
            name=name,
            connection=self._connection,
            dialect=self._dialect,
            on_change=self._forget,
            **details,
        )

    def _forget(self, name: str) -> None:
        """Drop the handlers of a sequence that has changed."""
        self._sequences.pop(name, None)
        for locator in [key for key in self._topics if key.startswith(f"{name}/")]:
            self._topics.pop(locator, None)

    def _send_limits(
        self, bytes_max: int | None = None, records_max: int | None = None
    ) -> SendLimits:
        accepted_bytes = self.limits.message_bytes_max
        return SendLimits.within(accepted_bytes, bytes_max=bytes_max, records_max=records_max)

    def sequence_delete(self, sequence_name: str) -> None:
        """Delete a sequence with everything in it.

        Raises:
            NotFoundError: There is none of that name.
            PreconditionError: It is locked (G1 only).
            RefusedError: The API key does not permit it.
        """
        name = checked_sequence(sequence_name)
        self._forget(name)
        self._dialect.sequence_delete(name)

    def sequence_handler(self, sequence_name: str) -> SequenceHandler | None:
        """Open a sequence; None when there is none of that name.

        Handlers are kept and given out again as they are; see `SequenceHandler.reload` and
        `clear_sequence_handlers_cache`.

        Raises:
            ServerError: The call failed otherwise.
        """
        name = checked_sequence(sequence_name)
        if name not in self._sequences:
            try:
                facts = self._dialect.sequence_facts(name, WHOLE)
            except NotFoundError:
                return None
            self._sequences[name] = SequenceHandler(self._connection, self._dialect, facts)
        return self._sequences[name]

    def topic_handler(self, sequence_name: str, topic_name: str) -> TopicHandler | None:
        """Open a topic; None when there is none of that name. Kept like sequence handlers.

        Raises:
            ServerError: The call failed otherwise.
        """
        locator = topic_locator(sequence_name, topic_name)
        if locator not in self._topics:
            try:
                facts = self._dialect.topic_facts(locator, WHOLE)
            except NotFoundError:
                return None
            self._topics[locator] = TopicHandler(self._connection, self._dialect, facts)
        return self._topics[locator]

    def clear_sequence_handlers_cache(self) -> None:
        """Forget all sequence handlers, so that the next ones are fresh."""
        self._sequences.clear()

    def clear_topic_handlers_cache(self) -> None:
        """Forget all topic handlers, so that the next ones are fresh."""
        self._topics.clear()

    def list_sequences(self) -> list[str]:
        """Name all sequences, sorted; those being written too.

        Raises:
            ServerError: The call failed.
        """
        return sorted(self._dialect.sequence_names())

    def sequence_notify(self, sequence_name: str, message: str) -> None:
        """Attach an error notification to a sequence.

        Raises:
            NotFoundError: There is none of that name.
            RefusedError: The API key does not permit it.
        """
        self._dialect.notify(checked_sequence(sequence_name), message)

    def topic_notify(self, sequence_name: str, topic_name: str, message: str) -> None:
        """Attach an error notification to a topic.

        Raises:
            NotFoundError: There is none of that name.
            RefusedError: The API key does not permit it.
        """
        self._dialect.notify(topic_locator(sequence_name, topic_name), message)

    def list_sequence_notify(self, sequence_name: str) -> list[Notified]:
        """List the notifications on a sequence itself, by time; those on its topics are separate.

        Raises:
            NotFoundError: There is none of that name; on G1 that is an empty list.
            ServerError: The call failed otherwise.
        """
        return self._notified(checked_sequence(sequence_name))

    def list_topic_notify(self, sequence_name: str, topic_name: str) -> list[Notified]:
        """List the notifications on a topic, by time.

        Raises:
            NotFoundError: There is none of that name; on G1 that is an empty list.
            ServerError: The call failed otherwise.
        """
        return self._notified(topic_locator(sequence_name, topic_name))

    def clear_sequence_notify(self, sequence_name: str) -> None:
        """Remove the notifications on a sequence itself; those on its topics stay.

        Raises:
            NotFoundError: There is none of that name; on G1 nothing happens.
            RefusedError: The API key does not permit it.
        """
        self._dialect.notifications_clear(checked_sequence(sequence_name))

    def clear_topic_notify(self, sequence_name: str, topic_name: str) -> None:
        """Remove the notifications on a topic.

        Raises:
            NotFoundError: There is none of that name; on G1 nothing happens.
            RefusedError: The API key does not permit it.
        """
        self._dialect.notifications_clear(topic_locator(sequence_name, topic_name))

    def _notified(self, locator: str) -> list[Notified]:
        found = [parse_notification(entry) for entry in self._dialect.notifications(locator)]
        return sorted(found, key=lambda one: one.created_datetime)

    def query(
        self, *queries: QueryPart, query: Query | None = None, insist: bool = False
    ) -> QueryResponse | None:
        """Find topics by conditions on sequences, topics and data.

        Args:
            queries: Parts, at most one of each kind; all must hold.
            query: The same as one object; instead of *queries*.
            insist: Raise what keeps the server from answering, for callers to whom no answer is
                not the same as nothing found.

        Returns:
            What was found, or None when the server could not answer, which is logged.

        Raises:
            ServerError: The server could not answer, with `insist`.
            QueryError: No query or a contradictory one, or one that this server's revision cannot
                evaluate. Also a `ValueError`.
        """
        if bool(queries) == (query is not None):
            raise QueryError("give either parts of a query or one whole query")
        request = encode_query(query or Query(*queries), self._dialect.revision)
        self._connection.require_open()
        try:
            return parse_response(self._dialect.query(request))
        except ServerError as error:
            if insist:
                raise
            _log.warning("the query failed: %s", error.message)
            return None

    def clusters(
        self,
        sequence_name: str,
        topic_name: str,
        *conditions: Condition,
        gap_ns: int,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[Cluster]:
        """Find the stretches of a topic in which conditions hold; from G2c on.

        Args:
            sequence_name: The sequence.
            topic_name: The topic.
            conditions: What must hold in a row, in terms of the topic's model.
            gap_ns: Rows further apart are different clusters; 0 for a single one.
            start_ns: First record time to look at.
            end_ns: First record time no longer to look at.

        Raises:
            QueryError: The server's revision has no clusters or cannot evaluate a condition.
            ServerError: The call failed.
        """
        request = ClusterRequest(
            locator=topic_locator(sequence_name, topic_name),
            conditions=conditions,
            gap_ns=gap_ns,
            window=Window(start_ns=start_ns, end_ns=end_ns),
        )
        return clusterize(self._dialect, request)

    def common_clusters(
        self,
        sequence_name: str,
        conditions: Mapping[str, Iterable[Condition]],
        *,
        gap_ns: int,
        tolerance_ns: int,
    ) -> list[Cluster]:
        """Find the stretches in which conditions on several topics hold together; from G2c on.

        Args:
            sequence_name: The sequence.
            conditions: What must hold, by topic; at least two topics.
            gap_ns: Rows of a topic further apart are different clusters.
            tolerance_ns: How far apart clusters of different topics may be.

        Raises:
            QueryError: The server's revision has no clusters or cannot evaluate a condition.
            ServerError: The call failed.
        """
        requests = [
            ClusterRequest(
                locator=topic_locator(sequence_name, topic),
                conditions=tuple(wanted),
                gap_ns=gap_ns,
                window=WHOLE,
            )
            for topic, wanted in conditions.items()
        ]
        return intersect(self._dialect, requests, tolerance_ns=tolerance_ns)

    def close(self) -> None:
        """Abort what is still being written and close all connections; idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._connection.closed else self.revision
        return f"MosaicoClient({self._connection.options.address}, {state})"
