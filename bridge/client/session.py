"""The session generation (G2a to G3): its calls and what they say, known nowhere else.

In which bytes that travels, JSON up to G2d and protobuf in G3, is the connection's `encoding`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.client.catalog import (
    WHOLE,
    Extent,
    SequenceFacts,
    SessionFacts,
    TopicFacts,
    Upload,
    Window,
    is_another,
    plain_schema,
    schema_facts,
    window_command,
)
from bridge.client.connection import Connection
from bridge.client.revisions import G3A, Counts, Revision
from bridge.client.text import clean_value, holds_texts_of, kind_of
from bridge.errors import (
    SHUT_OUT,
    NotFoundError,
    PreconditionError,
    RejectedError,
    ServerError,
    TransientError,
    UnreadableRequestError,
)
from bridge.protobuf import ProtobufEncoding

_Json = Mapping[str, Any]


class SessionDialect:
    """Speaks to a server that writes in sessions."""

    def __init__(self, connection: Connection, revision: Revision) -> None:
        self.revision = revision
        self._connection = connection
        self._filters_unknown = revision.typed_filters
        self._finding_out = threading.Lock()

    def sequence_create(self, name: str, metadata: _Json) -> Upload:
        """Create the sequence, then open a session in it.

        Raises:
            NotFoundError: Somebody deleted it in between; another that has its name is left alone.
        """
        self._act("sequence_create", name, locator=name, user_metadata=dict(metadata))
        try:
            upload = self.session_create(name)
        except NotFoundError:  # somebody deleted it; what has its name by now is another's
            raise
        except ServerError:
            # Nothing can be written to it, and its name would stay taken.
            with suppress(ServerError):
                self.sequence_delete(name)
            raise
        with suppress(TransientError):
            found = self.sequence_facts(name, WHOLE).user_metadata
            if found and not holds_texts_of(found, clean_value(dict(metadata))):
                with suppress(ServerError):
                    self.upload_delete(upload)
                raise is_another(self._connection, name)
        return upload

    def session_create(self, name: str) -> Upload:
        """Open a further session on a sequence that exists."""
        response = self._act("session_create", name, locator=name)
        return Upload(
            sequence=name,
            uuid=self._connection.text(response, "uuid", resource=name),
            locator=self._connection.text(response, "locator", resource=name)
            if self.revision.session_locators
            else "",
        )

    def sequence_delete(self, name: str) -> None:
        """Delete the sequence in whatever state it is."""
        self._act("sequence_delete", name, locator=name)

    def sequence_names(self) -> list[str]:
        """Name all sequences, as ListFlights gives them."""
        return self._connection.sequence_names()

    def upload_check(self, upload: Upload) -> None:
        """See that the session is there and still open."""
        session = self._session_of(upload, self.sequence_facts(upload.sequence, WHOLE))
        if session.locked:
            raise PreconditionError(
                f"{session.locator}: the session is finalised",
                address=self._connection.options.address,
                resource=session.locator,
            )

    def upload_finalize(self, upload: Upload) -> None:
        """Finalise the session."""
        self._act("session_finalize", upload.sequence, session_uuid=upload.uuid)

    def upload_delete(self, upload: Upload) -> None:
        """Delete the session with its topics; the sequence stays."""
        if self.revision.session_locators:
            self._act("session_delete", upload.sequence, locator=upload.locator)
        else:
            self._act("session_delete", upload.sequence, session_uuid=upload.uuid)

    def topic_create(
        self,
        upload: Upload,
        locator: str,
        *,
        ontology_tag: str,
        serialization_format: str,
        metadata: _Json,
    ) -> str:
        """Create a topic in the session and give its uuid."""
        response = self._act(
            "topic_create",
            locator,
            session_uuid=upload.uuid,
            locator=locator,
            serialization_format=serialization_format,
            ontology_tag=ontology_tag,
            user_metadata=dict(metadata),
        )
        return self._connection.text(response, "uuid", resource=locator)

    def topic_delete(self, locator: str) -> None:
        """Delete the topic in whatever state it is."""
        self._act("topic_delete", locator, locator=locator)

    def topic_put_descriptor(self, locator: str, token: str) -> Any:
        """Name the topic and its uuid."""
        return flight.FlightDescriptor.for_command(self._connection.encoding.put(locator, token))

    def sequence_facts(self, name: str, window: Window) -> SequenceFacts:
        """Read the sequence's own JSON and that of each endpoint."""
        descriptor = window_command(self._connection, name, window)
        info = self._connection.flight_info(descriptor, resource=name)
        answer = self._connection.facts("sequence", info.app_metadata, resource=name)
        sessions = tuple(self._session(entry) for entry in answer.get("sessions") or ())
        topics = tuple(self._topic(endpoint, name) for endpoint in info.endpoints)
        user_metadata = (
            answer.get("user_metadata")
            if self.revision.facts_without_schema
            else schema_facts(info.schema)[1]
        )
        return SequenceFacts(
            name=name,
            user_metadata=user_metadata or {},
            created_ns=answer.get("created_at_ns"),
            locked=bool(sessions) and all(session.locked for session in sessions),
            size_bytes=sum(topic.size_bytes or 0 for topic in topics),
            sessions=sessions,
            topics=tuple(sorted(topics, key=lambda topic: topic.locator)),
        )

    def upload_topics(self, upload: Upload) -> tuple[TopicFacts, ...]:
        """Give the topics that belong to the session."""
        facts = self.sequence_facts(upload.sequence, WHOLE)
        mine = self._session_of(upload, facts).topics
        topics = tuple(topic for topic in facts.topics if topic.locator in mine)
        if self.revision.counts is Counts.GET_SCHEMA:
            asked = self._connection.parallel("ask")
            calls = [partial(self._counted, topic) for topic in topics]
            return tuple(asked.map(calls, repeatable=True))
        return topics

    def _session_of(self, upload: Upload, facts: SequenceFacts) -> SessionFacts:
        known_as = upload.locator or upload.uuid
        for session in facts.sessions:
            if session.locator == known_as:
                return session
        raise NotFoundError(
            f"{upload.sequence}: the session {known_as} is gone",
            address=self._connection.options.address,
            resource=upload.sequence,
        )

    def topic_facts(self, locator: str, window: Window) -> TopicFacts:
        """Read the topic's one endpoint and its schema."""
        descriptor = window_command(self._connection, locator, window)
        info = self._connection.flight_info(descriptor, resource=locator)
        endpoint = self._connection.only_endpoint(info, resource=locator)
        facts = self._topic(endpoint, locator)
        properties, user_metadata = schema_facts(info.schema)
        facts = replace(facts, schema=self._schema(facts, info.schema))
        if self.revision.facts_without_schema:
            return facts
        facts = replace(
            facts,
            ontology_tag=str(properties.get("ontology_tag", "")),
            serialization_format=str(properties.get("serialization_format", "")),
            user_metadata=user_metadata,
        )
        return self._counted(facts) if self.revision.counts is Counts.GET_SCHEMA else facts

    def notify(self, locator: str, message: str) -> None:
        """Create an error notification."""
        action = f"{kind_of(locator)}_notification_create"
        self._act(action, locator, locator=locator, notification_type="error", msg=message)

    def notifications(self, locator: str) -> Sequence[_Json]:
        """List the notifications; `notification_type` becomes `type`."""
        response = self._act(f"{kind_of(locator)}_notification_list", locator, locator=locator)
        entries = (response or {}).get("notifications") or ()
        return [{**entry, "type": entry.get("notification_type")} for entry in entries]

    def notifications_clear(self, locator: str) -> None:
        """Remove the notifications."""
        self._act(f"{kind_of(locator)}_notification_purge", locator, locator=locator)

    def query(self, request: _Json) -> Sequence[_Json]:
        """Evaluate a query."""
        response = self._filtered(
            lambda: self._connection.action("query", dict(request), resource="query")
        )
        items: Sequence[_Json] = (response or {}).get("items") or ()
        return items

    def clusters(self, action: str, request: _Json) -> Sequence[_Json]:
        """Ask for clusters in time (from G2c)."""
        found: Sequence[_Json] = self._filtered(
            lambda: self._connection.action_stream(action, dict(request), resource=action)
        )
        return found

    def _filtered(self, call: Callable[[], Any]) -> Any:
        """Make a call with a filter; the first to G3 finds out in which form it is wanted.

        Nothing else distinguishes G3a from G3b, and neither takes the form of the other.
        """
        if not self._filters_unknown:
            return call()
        with self._finding_out:  # one at a time, for the encoding is that of all
            return self._found_out(call)

    def _found_out(self, call: Callable[[], Any]) -> Any:
        if not self._filters_unknown:
            return call()
        try:
            found = call()
        except (UnreadableRequestError, RejectedError) as refused:
            self._connection.encoding = ProtobufEncoding(typed_filters=False)
            try:
                found = call()
            except ServerError as error:
                self._connection.encoding = ProtobufEncoding()
                raise refused from error
            self.revision = G3A
        self._filters_unknown = False
        return found

    def _act(self, action: str, resource: str, **request: Any) -> Any:
        return self._connection.action(action, request, resource=resource)

    def _session(self, answer: _Json) -> SessionFacts:
        return SessionFacts(
            locator=str(answer.get("locator") or answer.get("uuid") or ""),
            created_ns=answer.get("created_at_ns"),
            completed_ns=answer.get("completed_at_ns"),
            locked=bool(answer.get("locked")),
            topics=tuple(answer.get("topics") or ()),
        )

    def _topic(self, endpoint: Any, resource: str) -> TopicFacts:
        answer = self._connection.facts("topic", endpoint.app_metadata, resource=resource)
        facts = TopicFacts(
            locator=self._connection.text(answer, "resource_locator", resource=resource),
            created_ns=answer.get("created_at_ns"),
            completed_ns=answer.get("completed_at_ns"),
            locked=bool(answer.get("locked")),
            ticket=endpoint.ticket,
        )
        if not self.revision.facts_without_schema:
            info = answer.get("info") or {}
            span = info.get("timestamp") or {}
            return replace(
                facts,
                data=Extent(start_ns=span.get("start_ns"), end_ns=span.get("end_ns")),
                size_bytes=info.get("total_bytes"),
                chunks=info.get("chunks_number"),
            )
        data = answer.get("data_info") or {}
        window = answer.get("time_window_info")
        return replace(
            facts,
            ontology_tag=str(answer.get("ontology_tag", "")),
            serialization_format=str(answer.get("serialization_format", "")),
            user_metadata=answer.get("user_metadata") or {},
            data=_extent(data, "total_row_count"),
            window=_extent(window, "row_count") if window is not None else None,
            size_bytes=data.get("total_bytes"),
            chunks=data.get("total_chunks_count"),
        )

    def _counted(self, facts: TopicFacts) -> TopicFacts:
        """Add the row count, which G2c puts into the schema that a read starts with."""
        if not facts.locked:
            return facts
        # A missing interval is no proof: the server gives none where it cannot read it, either.
        if facts.data.start_ns is None and not facts.chunks:
            return replace(facts, data=Extent(row_count=0))
        found = self._read_schema(facts)
        if found is None:
            return facts
        properties, _ = schema_facts(found)
        count = properties.get("message_count")
        data = Extent(
            row_count=int(count) if count is not None else None,
            start_ns=facts.data.start_ns,
            end_ns=facts.data.end_ns,
        )
        return replace(facts, data=data)

    def _schema(self, facts: TopicFacts, described: pa.Schema) -> pa.Schema:
        """Give the columns of a topic.

        The server describes a topic whose schema it cannot read as one without columns. Where
        there are rows, the columns are those that a read starts with.
        """
        if len(described) or not (facts.chunks or facts.data.row_count):
            return described if self.revision.facts_without_schema else described.remove_metadata()
        found = self._read_schema(facts)
        return described if found is None else plain_schema(found.remove_metadata())

    def _read_schema(self, facts: TopicFacts) -> pa.Schema | None:
        """Start to read a topic for the schema that comes first; None where it cannot be read.

        Raises:
            ServerError: The server is away or does not let us read.
        """
        try:
            stream = self._connection.get(facts.ticket, resource=facts.locator)
            schema = stream.schema
            stream.close()
        except ServerError as error:
            if error.trouble in SHUT_OUT:
                raise
            return None
        return schema


def _extent(answer: _Json, count_key: str) -> Extent:
    interval = answer.get("interval") or {}
    return Extent(
        row_count=answer.get(count_key),
        start_ns=interval.get("start_ns"),
        end_ns=interval.get("end_ns"),
    )
