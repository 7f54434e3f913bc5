"""The client and servers of the protobuf generation, as far as their sources leave it open, too.

What is the same in all generations is in `tests/contract`, which runs on this one as well.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import flight

from bridge.client import (
    MosaicoClient,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    Sequence,
    Topic,
)
from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.session.dialect import Action, Answers, Dialect
from bridge.errors import ProtocolError, RejectedError, UnreadableRequestError
from bridge.ontology import Integer64, QueryError
from tests.client.conftest import integers
from tests.contract import protobuf
from tests.servers.served import (
    JsonEmbeddedServer,
    OlderProtobufEmbeddedServer,
    ProtobufDialect,
    ProtobufEmbeddedServer,
)

VERSION = "0.8.0-dev"
UNREADABLE = Refusal(Status.INVALID_ARGUMENT, "Bad request: body decode error.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(ProtobufDialect):
    """G3 as it may turn out to be.

    Attributes:
        rewrite: Gives the results of an action that go out, from its name and those that would.
        before: Sees the name and the body of each action, and may refuse it.
        asked: What came, by action.
    """

    json_filters: bool = False
    rewrite: Callable[[str, list[bytes]], list[bytes]] = lambda _, bodies: bodies
    before: Callable[[str, bytes], None] = lambda _, __: None
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def answers(self, archive: Archive, name: str, known: Action, body: bytes) -> Answers:
        self.asked.append((name, body))
        self.before(name, body)
        answers = ProtobufDialect.answers(self, archive, name, known, body)
        return lambda: iter(self.rewrite(name, list(answers())))


def variant(**changes: Any) -> Variant:
    spoken = ProtobufEmbeddedServer.dialect
    parts = {one.name: getattr(spoken, one.name) for one in fields(Dialect)}
    return Variant(**(parts | changes))


@contextmanager
def connected(folder: Path, spoken: Dialect) -> Iterator[MosaicoClient]:
    """Connect to a server of a variant."""

    class Server(EmbeddedServer):
        dialect = spoken

    with Server(folder) as server, MosaicoClient.connect("127.0.0.1", server.port) as client:
        yield client


def write(client: MosaicoClient, name: str = "run") -> None:
    with client.sequence_create(name, {"driver": {"id": "d1"}}) as writer:
        writer.topic_create("/a/b", {"of": "a"}, Integer64).write_batch(integers(5, 3, 4))


def found(client: MosaicoClient, *parts: Any) -> list[str]:
    response = client.query(*parts, insist=True)
    assert response is not None
    return [topic.name for item in response for topic in item.topics]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_library_is_loaded_only_for_a_server_that_speaks_it(tmp_path: Path) -> None:
    """Neither the package nor a connection to a JSON server loads protobuf."""
    code = f"""
import sys
from pathlib import Path
import bridge, bridge.embedded, bridge.cli
from bridge import MosaicoClient
from tests.servers.served import JsonEmbeddedServer
from bridge.client import QuerySequence
def loaded(): return any(name.startswith("google.protobuf") for name in sys.modules)
seen = [loaded()]
with JsonEmbeddedServer(Path({str(tmp_path / "json")!r})) as server:
    with MosaicoClient.connect("127.0.0.1", server.port) as client:
        client.query(QuerySequence().with_name("a"))
seen.append(loaded())
from tests.servers.served import ProtobufEmbeddedServer
with ProtobufEmbeddedServer(Path({str(tmp_path / "g3")!r})) as server:
    MosaicoClient.connect("127.0.0.1", server.port).close()
seen.append(loaded())
print(seen)
"""
    assert run(code) == "[False, False, True]"


def test_server_is_known_by_one_call(tmp_path: Path) -> None:
    """One `info` shows generation, version and limit; the client says what it thinks of it."""
    spoken = variant()
    with connected(tmp_path, spoken) as client:
        assert (client.revision, client.server_version) == ("G3b", VERSION)
        assert client.limits.message_bytes_max == 52_428_800
        assert client.reservation == (
            "experimental, from the platform's sources; no release existed when this was written"
        )
    assert [name for name, _ in spoken.asked] == ["info"]


def test_server_that_is_stricter_is_known_all_the_same(tmp_path: Path) -> None:
    """Where what is nothing in both encodings is refused, nothing in each is tried."""

    def before(name: str, body: bytes) -> None:
        if name == "info" and body:
            raise UNREADABLE

    spoken = variant(before=before)
    with connected(tmp_path, spoken) as client:
        assert client.revision == "G3b"
    assert [body for _, body in spoken.asked] == [b"\r{  }", b"{}", b""]


def test_older_server_that_is_stricter_is_known_all_the_same(tmp_path: Path) -> None:
    """A JSON server that takes no white space is known by the plain object."""

    class Strict(JsonEmbeddedServer):
        pass

    original = Strict.dialect.answers

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Picky(Dialect):
        def answers(self, archive: Archive, name: str, known: Action, body: bytes) -> Answers:
            if body.startswith(b"\r"):
                raise self.malformed("white space")
            return original(archive, name, known, body)

    parts = {one.name: getattr(Strict.dialect, one.name) for one in fields(Dialect)}
    with connected(tmp_path, Picky(**parts)) as client:
        assert client.revision == "G2d"


@pytest.mark.parametrize(
    ("info", "version"),
    [
        (protobuf.field(1, b"1.2.3-rc.1+build"), "1.2.3-rc.1+build"),
        (protobuf.field(2, protobuf.number_field(2, 8)), ""),
        (protobuf.field(1, b"0.8.0") + protobuf.field(99, b"more"), "0.8.0"),
    ],
)
def test_version_may_be_anything(tmp_path: Path, info: bytes, version: str) -> None:
    """The generation is known by the answer's form; limits that are missing are the usual ones."""
    spoken = variant(rewrite=lambda name, bodies: [info] if name == "info" else bodies)
    with connected(tmp_path, spoken) as client:
        assert client.revision == "G3b"
        assert client.server_version == version
        assert client.limits.message_bytes_max == 52_428_800


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\x0a\x05ab", b"\xf8\x07\x01"])
def test_answer_of_no_protocol_is_named(tmp_path: Path, answer: bytes) -> None:
    """What answers otherwise is no platform, and the error says so."""
    spoken = variant(rewrite=lambda _name, _bodies: [answer])
    with (
        pytest.raises(ProtocolError, match="no protocol that Mosaico is known to have"),
        connected(tmp_path, spoken),
    ):
        pass


def test_filters_are_messages_or_json(tmp_path: Path) -> None:
    """The first query finds out which, once for a connection; the revision is known by then."""
    parts = (
        QuerySequence().with_name_match("ru").with_user_metadata("driver.id", in_=["d1", "d2"]),
        QueryTopic().with_ontology_tag(Integer64.tag).with_created_timestamp(time_start=1),
        QueryOntologyCatalog(Integer64.Q.data.between(3, 4.5)),
    )
    above = Integer64.Q.data.geq(4)
    for json_filters, revision, calls in ((False, "G3b", 2), (True, "G3a", 3)):
        spoken = variant(json_filters=json_filters)
        with connected(tmp_path / revision, spoken) as client:
            write(client)
            assert found(client, *parts) == ["/a/b"]
            assert client.revision == revision
            assert found(client, parts[0]) == ["/a/b"]
            (cluster,) = client.clusters("run", "a/b", above, gap_ns=1)
            assert (cluster.start_ns, cluster.end_ns) == (4, 5)
        names = [name for name, _ in spoken.asked]
        assert names.count("query") == calls
        assert names.count("topic_filter_clusterize") == 1


@pytest.mark.parametrize("json_filters", [False, True])
def test_threads_find_out_once(tmp_path: Path, json_filters: bool) -> None:  # noqa: FBT001
    """Many first queries at a time, bad ones among them, leave one form that works."""
    good, bad = QuerySequence().with_name("run"), QuerySequence().with_user_metadata("a--b", eq=1)
    with connected(tmp_path, variant(json_filters=json_filters)) as client:
        write(client)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(client.query, [bad, good] * 8))
        assert [answer is not None for answer in answers] == [False, True] * 8
        assert found(client, good) == ["/a/b"]
        assert client.revision == ("G3a" if json_filters else "G3b")


@pytest.mark.parametrize("json_filters", [False, True])
def test_clusters_find_out_as_well(tmp_path: Path, json_filters: bool) -> None:  # noqa: FBT001
    """Temporal clusters may be the first to ask with a filter."""
    with connected(tmp_path, variant(json_filters=json_filters)) as client:
        write(client)
        with client.sequence_create("both", {}) as writer:
            writer.topic_create("one", {}, Integer64).write_batch(integers(1, 2, 9))
            writer.topic_create("two", {}, Integer64).write_batch(integers(2, 3))
        topics = {"one": [Integer64.Q.data.geq(0)], "two": [Integer64.Q.data.geq(0)]}
        (common,) = client.common_clusters("both", topics, gap_ns=1, tolerance_ns=0)
        assert (common.start_ns, common.end_ns) == (2, 2)
        assert client.clusters("run", "a/b", topics["one"][0], gap_ns=1, end_ns=3) == []


def test_bad_query_is_no_proof(tmp_path: Path) -> None:
    """A query that the server refuses for its content does not change what it is taken for."""
    spoken = variant()
    with connected(tmp_path, spoken) as client:
        bad = QuerySequence().with_user_metadata("a--b", eq=1)
        with pytest.raises(RejectedError, match="Found invalid key"):
            client.query(bad, insist=True)
        assert client.revision == "G3b"
        assert found(client, QuerySequence().with_name("run")) == []
        assert client.revision == "G3b"
        spoken.asked.clear()
        with pytest.raises(RejectedError):
            client.query(bad, insist=True)
    assert [name for name, _ in spoken.asked] == ["query"]


@pytest.mark.parametrize(
    "part",
    [
        QuerySequence(Sequence.Q.name.gt("a")),
        QueryTopic(Topic.Q.ontology_tag.between("a", "b")),
        QueryTopic(Topic.Q.serialization_format.outside("a", "b")),
        QuerySequence(Sequence.Q.created_timestamp.in_(1, 2)),
        QuerySequence(Sequence.Q.name.in_([])),
        QuerySequence(Sequence.Q.user_metadata["a"].in_(1, "a")),
        QuerySequence(Sequence.Q.user_metadata["a"].in_([True, 1])),
        QuerySequence().with_user_metadata("a", gt=True),
        QuerySequence(Sequence.Q.user_metadata["a"].eq(2**63)),
    ],
)
def test_query_that_the_generation_has_not_is_refused_here(
    tmp_path: Path, part: QuerySequence | QueryTopic
) -> None:
    """What no message says, and what no server of the generation compares, is not asked."""
    spoken = variant()
    with connected(tmp_path, spoken) as client, pytest.raises(QueryError):
        client.query(part)
    assert "query" not in {name for name, _ in spoken.asked}


def test_answers_may_be_absent_or_empty(tmp_path: Path) -> None:
    """An action without an answer may give one result without bytes, or none at all."""
    for index, nothing in enumerate(([b""], [])):

        def rewrite(_name: str, bodies: list[bytes], nothing: list[bytes] = nothing) -> list[bytes]:
            return nothing if bodies == [b""] else bodies

        with connected(tmp_path / str(index), variant(rewrite=rewrite)) as client:
            write(client)
            client.sequence_notify("run", "text")
            assert [one.message for one in client.list_sequence_notify("run")] == ["text"]
            client.clear_sequence_notify("run")
            assert client.list_sequence_notify("run") == []
            assert found(client, QuerySequence().with_name("none")) == []
            client.sequence_delete("run")
            assert client.list_sequences() == []


def test_clusters_may_end_with_a_line_feed(tmp_path: Path) -> None:
    """As in the JSON generation each answer may have one; without any match there may be one."""

    def rewrite(name: str, bodies: list[bytes]) -> list[bytes]:
        if name != "topic_filter_clusterize":
            return bodies
        return [body + b"\n" for body in bodies] or [b""]

    with connected(tmp_path, variant(rewrite=rewrite)) as client:
        write(client)
        found_ns = [one.start_ns for one in client.clusters("run", "a/b", ABOVE, gap_ns=1)]
        assert found_ns == [3]
        assert client.clusters("run", "a/b", Integer64.Q.data.gt(99), gap_ns=1) == []


ABOVE = Integer64.Q.data.geq(0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-02 09:15 UTC",
        "2026-04-02 09:15:00 UTC",
        "2026-04-02 09:15:00.000000000 UTC",
        "2026-04-02T09:15:00Z",
        "2026-04-02T09:15:00.0Z",
        "2026-04-02T11:15:00.000000000+02:00",
        "2026-04-02 09:15:00 +00:00",
        "Thu, 2 Apr 2026 09:15:00 +0000",
    ],
)
def test_date_of_a_notification_in_any_form(tmp_path: Path, text: str) -> None:
    """How the server writes dates is not known."""
    item = (
        protobuf.field(1, b"run")
        + protobuf.field(2, b"error")
        + protobuf.field(3, b"text")
        + protobuf.field(4, text.encode())
    )

    def rewrite(name: str, bodies: list[bytes]) -> list[bytes]:
        return [protobuf.field(1, item)] if name.endswith("_list") else bodies

    with connected(tmp_path, variant(rewrite=rewrite)) as client:
        write(client)
        (one,) = client.list_sequence_notify("run")
        assert one.created_datetime == datetime(2026, 4, 2, 9, 15, tzinfo=UTC)


def _without(described: bytes, *numbers: int) -> bytes:
    kept = b""
    for number, value in protobuf.split(described):
        if number not in numbers:
            kept += (
                protobuf.field(number, value)
                if isinstance(value, bytes)
                else protobuf.number_field(number, value)
            )
    return kept


@pytest.mark.parametrize(
    "change",
    [
        lambda topic: topic,
        lambda topic: _without(topic, 10),  # the session, which we do not need
        lambda topic: _without(topic, 7) + protobuf.field(7, b"null"),
        lambda topic: topic + protobuf.field(99, b"later"),
    ],
)
def test_description_of_a_topic_in_any_form(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    """What is not needed may be absent, and what is not known may be there."""

    def rewritten(archive: Archive, descriptor: Any) -> flight.FlightInfo:
        info = ProtobufEmbeddedServer.dialect.get_flight_info(archive, descriptor)
        endpoints = [
            flight.FlightEndpoint(endpoint.ticket, [], app_metadata=change(endpoint.app_metadata))
            for endpoint in info.endpoints
        ]
        return flight.FlightInfo(info.schema, descriptor, endpoints, app_metadata=info.app_metadata)

    with connected(tmp_path, variant(get_flight_info=rewritten)) as client:
        write(client)
        topic = client.topic_handler("run", "/a/b")
        assert topic is not None
        assert (topic.row_count, topic.timestamp_ns_min, topic.timestamp_ns_max) == (3, 3, 5)
        assert topic.table().column("timestamp_ns").to_pylist() == [3, 4, 5]
        assert next(iter(topic.rows(start_ns=4, end_ns=5)))["timestamp_ns"] == 4


def test_server_that_is_replaced_under_a_connection_is_named(tmp_path: Path) -> None:
    """After an upgrade of the platform the old connection says to connect again, which helps."""
    with JsonEmbeddedServer(tmp_path) as server:
        port = server.port
        client = MosaicoClient.connect("127.0.0.1", port)
        write(client)
    with _on(ProtobufEmbeddedServer, tmp_path, port):
        with pytest.raises(UnreadableRequestError, match="body decode error") as caught:
            client.sequence_notify("run", "text")
        assert "connect again" in caught.value.hint
        client.clear_sequence_handlers_cache()
        with pytest.raises(UnreadableRequestError):
            client.sequence_handler("run")
        client.close()
        with MosaicoClient.connect("127.0.0.1", port) as again:
            assert again.revision == "G3b"
            handler = again.sequence_handler("run")
            assert handler is not None
            assert handler.user_metadata == {"driver": {"id": "d1"}}


def _on(kind: type[EmbeddedServer], folder: Path, port: int) -> EmbeddedServer:
    return kind(folder, port=port)


def test_nul_in_texts_is_replaced(tmp_path: Path) -> None:
    """U+0000, which the platform's database refuses, is replaced here, too."""
    with connected(tmp_path, variant()) as client:
        with client.sequence_create("run", {"a": {"b": ["x\x00y"]}}) as writer:
            writer.topic_create("t", {"c": "\x00"}, Integer64).write_batch(integers(1))
        client.sequence_notify("run", "before\x00after")
        handler = client.sequence_handler("run")
        assert handler is not None
        assert handler.user_metadata == {"a": {"b": ["x\ufffdy"]}}
        (one,) = client.list_sequence_notify("run")
        assert one.message == "before\ufffdafter"


@pytest.mark.parametrize("server", [ProtobufEmbeddedServer, OlderProtobufEmbeddedServer])
def test_strict_server_refuses_json(tmp_path: Path, server: type[EmbeddedServer]) -> None:
    """JSON is refused in actions, commands and tickets as a real server does."""
    with server(tmp_path) as running:
        client = flight.FlightClient(f"grpc://{running.address}")
        with pytest.raises(Exception, match=r"Bad request: body decode error\."):
            list(client.do_action(("sequence_create", b'{"locator":"a","user_metadata":{}}')))
        with pytest.raises(Exception, match=r"Bad request: failed to decode Protobuf message"):
            command = flight.FlightDescriptor.for_command(b'{"resource_locator":"a"}')
            client.get_flight_info(command)
        with pytest.raises(Exception, match=r"Bad request: failed to decode Protobuf message"):
            client.do_get(flight.Ticket(b'{"resource_locator":"a/b"}')).read_all()
        client.close()


def test_strict_server_refuses_protobuf(tmp_path: Path) -> None:
    """A server of the JSON generation refuses protobuf as a real one does."""
    locator = protobuf.field(1, b"a")
    with JsonEmbeddedServer(tmp_path) as running:
        client = flight.FlightClient(f"grpc://{running.address}")
        for body in (b"", locator):
            with pytest.raises(Exception, match=r"Bad request: body deserialization error\."):
                list(client.do_action(("sequence_create", body)))
        with pytest.raises(Exception, match="Bad request: "):
            client.get_flight_info(flight.FlightDescriptor.for_command(locator))
        client.close()


def test_embedded_server_answers_as_it_is_asked(tmp_path: Path) -> None:
    """One server, both encodings side by side: the first byte of a body decides."""
    with EmbeddedServer(tmp_path) as running:
        client = flight.FlightClient(f"grpc://{running.address}")

        def ask(action: str, body: bytes) -> bytes:
            (result,) = client.do_action((action, body))
            answer: bytes = result.body.to_pybytes()
            return answer

        assert ask("info", b"\r{  }").startswith(b'{"action":"info"')
        assert ask("info", b"{}").startswith(b'{"action":"info"')
        assert ask("info", b"").hex() == (
            "0a09302e382e302d6465761207100822036465761a100880808019108080808002188080c00c"
        )
        assert ask("sequence_create", bytes.fromhex("0a0672756e5f303112077b2261223a317d")) == b""
        listed = ask("sequence_notification_list", b'{"locator":"run_01"}')
        assert listed.startswith(b'{"action":"sequence_notification_list"')
        asked = (b'{"resource_locator":"run_01"}', bytes.fromhex("0a0672756e5f3031"))
        as_json, as_message = (
            client.get_flight_info(flight.FlightDescriptor.for_command(text)).app_metadata
            for text in asked
        )
        assert as_json.startswith(b"{")
        facts = protobuf.decode(protobuf.FACTS["sequence"], as_message)
        assert facts["user_metadata"] == {"a": 1}
        client.close()
    # Our client takes it for the generation that is out.
    with (
        EmbeddedServer(tmp_path) as running,
        MosaicoClient.connect("127.0.0.1", running.port) as connected_,
    ):
        assert connected_.revision == "G2d"
