"""The keyed generation (G1.0 to G1.2): its calls and its JSON, known nowhere else.

A sequence is written with a key that only its creation gives out; a topic has a key of its own.
There are no sessions, so an upload is the sequence itself, and discarding it deletes the sequence.
Sizes, locks and creation times come from actions, the rest from GetFlightInfo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pyarrow import flight

from bridge.client.catalog import (
    WHOLE,
    Extent,
    SequenceFacts,
    TopicFacts,
    Upload,
    Window,
    is_another,
    parse_datetime,
    schema_facts,
    window_command,
)
from bridge.client.connection import Connection
from bridge.client.encoding import to_json
from bridge.client.revisions import Revision
from bridge.client.text import clean_value, holds_texts_of, kind_of
from bridge.errors import (
    NestedTopicError,
    NotFoundError,
    PlatformBusyError,
    PreconditionError,
    ServerError,
)
from bridge.units import SECOND_NS

_Json = Mapping[str, Any]
_LOCATION_SCHEME = "mosaico:"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KeyedDialect:
    """Speaks to a server that writes with keys."""

    def __init__(self, connection: Connection, revision: Revision) -> None:
        self.revision = revision
        self._connection = connection

    def sequence_create(self, name: str, metadata: _Json) -> Upload:
        """Create the sequence; its key is the right to write."""
        response = self._act("sequence_create", name, name=name, user_metadata=dict(metadata))
        key = self._connection.text(response, "key", resource=name)
        return Upload(sequence=name, uuid=key, locator=self._created(name, metadata))

    def _created(self, name: str, metadata: _Json) -> str:
        """Ask when a sequence was created; empty where the server does not answer.

        That alone distinguishes it from a later one of the name: a key shows its worth only in use.

        Raises:
            NotFoundError: It is another already. That is asked second, so that no time but ours
                is taken for ours.
        """
        try:
            created = str(self._system_info(name).get("created_datetime") or "")
            found = schema_facts(self._flight_info(name, WHOLE).schema)[1]
        except NotFoundError:
            raise
        except ServerError:
            return ""
        if found and not holds_texts_of(found, clean_value(dict(metadata))):
            raise is_another(self._connection, name)
        return created

    def sequence_delete(self, name: str) -> None:
        """Delete the sequence, which the server refuses once it is locked."""
        self._act("sequence_delete", name, name=name)

    def sequence_names(self) -> list[str]:
        """Name all sequences, as ListFlights gives them."""
        return self._connection.sequence_names()

    def upload_check(self, upload: Upload) -> None:
        """See that the sequence is there, the one that was created, and not locked."""
        if self._system_info_of(upload).get("is_locked"):
            raise PreconditionError(
                f"{upload.sequence}: the sequence is locked",
                address=self._connection.options.address,
                resource=upload.sequence,
            )

    def upload_finalize(self, upload: Upload) -> None:
        """Lock the sequence for ever."""
        self._act("sequence_finalize", upload.sequence, name=upload.sequence, key=upload.uuid)

    def upload_delete(self, upload: Upload) -> None:
        """Abort the sequence, which deletes it."""
        self._act("sequence_abort", upload.sequence, name=upload.sequence, key=upload.uuid)

    def upload_topics(self, upload: Upload) -> tuple[TopicFacts, ...]:
        """Give all topics of the sequence; no revision of this generation counts rows."""
        found = self._facts(upload.sequence, self._system_info_of(upload), WHOLE).topics
        calls = [partial(self._with_system_info, topic) for topic in found]
        return tuple(self._connection.parallel("ask").map(calls, repeatable=True))

    def topic_create(
        self,
        upload: Upload,
        locator: str,
        *,
        ontology_tag: str,
        serialization_format: str,
        metadata: _Json,
    ) -> str:
        """Create a topic in the sequence and give its key."""
        response = self._act(
            "topic_create",
            locator,
            name=locator,
            sequence_key=upload.uuid,
            serialization_format=serialization_format,
            ontology_tag=ontology_tag,
            user_metadata=dict(metadata),
        )
        return self._connection.text(response, "key", resource=locator)

    def topic_delete(self, locator: str) -> None:
        """Delete the topic, which the server refuses once it is locked.

        Raises:
            NestedTopicError: The data of topics below it would be lost with it.
        """
        sequence = locator.partition("/")[0]
        info = self._flight_info(sequence, WHOLE)
        topics = sorted(self._topic(endpoint).locator for endpoint in info.endpoints)
        below = [topic for topic in topics if topic.startswith(f"{locator}/")]
        if below:
            raise NestedTopicError(
                f"{locator}: deleting it would delete the data of {', '.join(below)} with it",
                address=self._connection.options.address,
                resource=locator,
                hint="delete the whole sequence and send it again",
            )
        self._act("topic_delete", locator, name=locator)

    def topic_put_descriptor(self, locator: str, token: str) -> Any:
        """Name the topic and its key; G1.0 nests them."""
        if self.revision.path_descriptors:
            command = to_json({"topic": {"name": locator, "key": token}})
        else:
            command = to_json({"resource_locator": locator, "key": token})
        return flight.FlightDescriptor.for_command(command)

    def sequence_facts(self, name: str, window: Window) -> SequenceFacts:
        """Read system info and flight info of a sequence; the former shows whether it exists."""
        return self._facts(name, self._system_info(name), window)

    def _facts(self, name: str, system: _Json, window: Window) -> SequenceFacts:
        info = self._flight_info(name, window)
        topics = (self._topic(endpoint) for endpoint in info.endpoints)
        return SequenceFacts(
            name=name,
            user_metadata=schema_facts(info.schema)[1],
            created_ns=_nanoseconds(system.get("created_datetime")),
            locked=bool(system.get("is_locked")),
            size_bytes=system.get("total_size_bytes"),
            topics=tuple(sorted(topics, key=lambda topic: topic.locator)),
        )

    def topic_facts(self, locator: str, window: Window) -> TopicFacts:
        """Read flight info and system info of a topic.

        Before G1.2 the flight info of a topic without data is an error of the server's; the
        system info is all there is then.
        """
        facts = self._with_system_info(TopicFacts(locator=locator))
        if not facts.chunks and not self.revision.endpoint_facts:
            return facts
        info = self._flight_info(locator, window)
        endpoint = self._connection.only_endpoint(info, resource=locator)
        properties, user_metadata = schema_facts(info.schema)
        answer = self._topic(endpoint)
        return replace(
            facts,
            data=answer.data,
            ticket=answer.ticket,
            schema=info.schema.remove_metadata(),
            ontology_tag=str(properties.get("ontology_tag", "")),
            serialization_format=str(properties.get("serialization_format", "")),
            user_metadata=user_metadata,
        )

    def notify(self, locator: str, message: str) -> None:
        """Create an error notification."""
        action = f"{kind_of(locator)}_notify_create"
        self._act(action, locator, name=locator, notify_type="error", msg=message)

    def notifications(self, locator: str) -> Sequence[_Json]:
        """List the notifications; `notify_type` becomes `type`."""
        response = self._act(f"{kind_of(locator)}_notify_list", locator, name=locator)
        entries = (response or {}).get("notifies") or ()
        return [{**entry, "type": entry.get("notify_type")} for entry in entries]

    def notifications_clear(self, locator: str) -> None:
        """Remove the notifications."""
        self._act(f"{kind_of(locator)}_notify_purge", locator, name=locator)

    def query(self, request: _Json) -> Sequence[_Json]:
        """Evaluate a query; topics that G1.0 gives as bare names become objects."""
        response = self._connection.action("query", dict(request), resource="query")
        items = (response or {}).get("items") or ()
        return [
            {**item, "topics": [_as_object(topic) for topic in item.get("topics") or ()]}
            for item in items
        ]

    def clusters(self, action: str, request: _Json) -> Sequence[_Json]:
        """Ask for clusters, which no server of this generation has."""
        return self._connection.action_stream(action, dict(request), resource=action)

    def _act(self, action: str, resource: str, **request: Any) -> Any:
        return self._connection.action(action, request, resource=resource)

    def _flight_info(self, locator: str, window: Window) -> Any:
        """Call GetFlightInfo for a resource that exists.

        The servers of this generation answer "not found" to any failure of their database. The
        system info does not, so it decides about existence, and comes first.

        Raises:
            PlatformBusyError: The server says "not found" all the same.
        """
        try:
            return self._connection.flight_info(self._descriptor(locator, window), resource=locator)
        except NotFoundError as error:
            raise PlatformBusyError(
                f"{error.message}: this platform says so of any failure of its database, too",
                address=error.address,
                resource=locator,
                hint="the platform's database has trouble; look there if it goes on",
            ) from error

    def _descriptor(self, locator: str, window: Window) -> Any:
        if self.revision.path_descriptors:
            return flight.FlightDescriptor.for_path(locator)
        return window_command(self._connection, locator, window)

    def _system_info(self, locator: str) -> dict[str, Any]:
        response = self._act(f"{kind_of(locator)}_system_info", locator, name=locator)
        if not isinstance(response, dict):
            raise NotFoundError(
                f"{locator}: not found",
                address=self._connection.options.address,
                resource=locator,
            )
        return response

    def _system_info_of(self, upload: Upload) -> dict[str, Any]:
        """Read the system info of the sequence written to.

        Raises:
            NotFoundError: There is none of the name, or another.
        """
        system = self._system_info(upload.sequence)
        if upload.locator and system.get("created_datetime") != upload.locator:
            raise is_another(self._connection, upload.sequence)
        return system

    def _with_system_info(self, topic: TopicFacts) -> TopicFacts:
        system = self._system_info(topic.locator)
        return replace(
            topic,
            created_ns=_nanoseconds(system.get("created_datetime")),
            locked=bool(system.get("is_locked")),
            size_bytes=system.get("total_size_bytes"),
            chunks=system.get("chunks_number"),
        )

    def _topic(self, endpoint: Any) -> TopicFacts:
        """Read an endpoint: its location names the topic, or on G1.0 its ticket does."""
        if self.revision.path_descriptors:
            locator = endpoint.ticket.ticket.decode()
        else:
            uris = [location.uri.decode() for location in endpoint.locations]
            locator = uris[0].removeprefix(_LOCATION_SCHEME).lstrip("/") if uris else ""
        answer = (
            self._connection.facts("topic", endpoint.app_metadata, resource=locator)
            if self.revision.endpoint_facts and endpoint.app_metadata
            else {}
        )
        span = answer.get("timestamp") or {}
        return TopicFacts(
            locator=locator,
            data=Extent(start_ns=span.get("min"), end_ns=span.get("max")),
            ticket=endpoint.ticket,
        )


def _as_object(topic: Any) -> _Json:
    return topic if isinstance(topic, Mapping) else {"locator": topic}


def _nanoseconds(text: Any) -> int | None:
    """Read a creation time, which this generation gives as text, to the microsecond."""
    try:
        elapsed = parse_datetime(str(text)) - _EPOCH
    except ValueError:
        return None
    return (elapsed.days * 86_400 + elapsed.seconds) * SECOND_NS + elapsed.microseconds * 1000
