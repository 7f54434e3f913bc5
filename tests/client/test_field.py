"""What a running platform does and its protocol does not say: nested names, lost answers."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient, OnErrorPolicy, SequenceStatus
from bridge.errors import (
    AlreadyExistsError,
    BrokenLinkError,
    NestedTopicError,
    PlatformBusyError,
    RejectedError,
)
from bridge.ontology import Integer64, Model
from bridge.parallel import AT_ONCE_START
from tests.client.conftest import integers
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.server import OldServer
from tests.servers.old.session import SessionServer

KEYED = ("G1.0", "G1.1", "G1.2")
REVISIONS = (*KEYED, "G2a", "G2b", "G2c")
TEXT = Model(tag="Text", fields=(pa.field("text", pa.string()),))


@pytest.fixture(params=REVISIONS)
def platform(request: pytest.FixtureRequest) -> Iterator[OldServer]:
    """A platform of each revision."""
    kind = KeyedServer if request.param in KEYED else SessionServer
    with kind(request.param) as server:
        yield server


@pytest.fixture
def client(platform: OldServer) -> Iterator[MosaicoClient]:
    with MosaicoClient.connect("127.0.0.1", platform.port, call_timeout_s=5.0) as connected:
        # The server has no topic to tell G1.1 by.
        assert connected.revision[:2] == platform.revision[:2]
        yield connected


@pytest.mark.parametrize("platform", KEYED, indirect=True)
def test_topic_with_others_below_it_is_not_deleted(
    client: MosaicoClient, platform: OldServer
) -> None:
    """On keyed revisions its deletion would take their data with it, unnoticed."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("cam", {}, Integer64).write_batch(integers(1))
        info = writer.topic_create("cam/info", {}, Integer64)
        info.write_batch(integers(1, 2))
        info.close()
        with pytest.raises(NestedTopicError, match=r"run/cam/info"):
            client._dialect.topic_delete("run/cam")
    assert len(platform.topics["run/cam/info"]["batches"]) == 1


def test_deepest_topics_are_deleted_first(client: MosaicoClient, platform: OldServer) -> None:
    """What is not whole goes under the policy to report, also where it is nested."""
    with (
        pytest.raises(RuntimeError, match="broken"),
        client.sequence_create("run", {}, OnErrorPolicy.Report) as writer,
    ):
        for name in ("cam", "cam/info", "other"):
            writer.topic_create(name, {}, Integer64).write_batch(integers(1))
        writer.topics["/other"].close()
        raise RuntimeError("broken")
    assert list(platform.topics) == ["run/other"]
    assert writer.cleanup_errors == []


@pytest.mark.parametrize("platform", KEYED, indirect=True)
def test_report_that_cannot_be_carried_out_says_so(
    client: MosaicoClient, platform: OldServer
) -> None:
    """A broken topic above a whole one stays, the sequence is not final, and the error says why."""
    with (
        pytest.raises(RuntimeError) as caught,
        client.sequence_create("run", {}, OnErrorPolicy.Report) as writer,
    ):
        writer.topic_create("cam", {}, Integer64).write_batch(integers(1))
        info = writer.topic_create("cam/info", {}, Integer64)
        info.write_batch(integers(1, 2))
        info.close()
        raise RuntimeError("broken")
    assert any("run/cam/info" in note for note in caught.value.__notes__)
    assert len(platform.topics["run/cam/info"]["batches"]) == 1
    assert not platform.sequences["run"]["locked"]


def test_lost_verdict_of_a_whole_topic_is_no_failure(
    client: MosaicoClient, platform: OldServer
) -> None:
    """After an error of a put the platform is asked: locked with all rows means done."""
    platform.faults.lost_verdicts = 1
    with client.sequence_create("run", {}) as writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(integers(1, 2, 3))
        topic.close()
        assert topic.closed
    handler = client.topic_handler("run", "t")
    assert handler is not None
    assert handler.table().num_rows == 3


def test_lost_answer_of_the_commit_is_recognised(
    client: MosaicoClient, platform: OldServer
) -> None:
    """What was finalised is finalised, whether its answer arrives or not."""
    platform.faults.lost_answers = {"sequence_finalize", "session_finalize"}
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    assert writer.status is SequenceStatus.Finalized
    handler = client.sequence_handler("run")
    assert handler is not None
    assert handler.is_locked


def test_lost_answer_of_a_creation_is_recognised(
    client: MosaicoClient, platform: OldServer
) -> None:
    """The topic is there without anybody who knows its token: it is created again."""
    platform.faults.lost_answers = {"topic_create"}
    with client.sequence_create("run", {}) as writer:
        with pytest.raises(BrokenLinkError):
            writer.topic_create("t", {}, Integer64)
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    handler = client.topic_handler("run", "t")
    assert handler is not None
    assert handler.table().num_rows == 1


def test_topic_that_has_data_is_not_created_again(client: MosaicoClient) -> None:
    """Somebody else's writer, or an earlier one, keeps what it has."""
    writer = client.sequence_create("run", {})
    writer.__enter__()
    topic = writer.topic_create("t", {}, Integer64)
    topic.write_batch(integers(1))
    topic.close()
    with (
        pytest.raises(AlreadyExistsError),
        client.sequence_resume(
            "run", writer.session_uuid, writer.session, on_error=OnErrorPolicy.Report
        ) as resumed,
    ):
        resumed.topic_create("t", {}, Integer64)
    handler = client.topic_handler("run", "t")
    assert handler is not None
    assert handler.table().num_rows == 1


@pytest.mark.parametrize("platform", ["G2a", "G2b", "G2c"], indirect=True)
def test_lost_answer_of_a_session_leaves_nothing(
    client: MosaicoClient, platform: OldServer
) -> None:
    """A session that nobody knows the token of goes with its sequence, whose name is free again."""
    platform.faults.lost_answers = {"session_create"}
    with pytest.raises(BrokenLinkError), client.sequence_create("run", {}):
        pass
    assert platform.sequences == {}


def test_deletion_of_what_is_gone_is_success(client: MosaicoClient, platform: OldServer) -> None:
    """A topic that somebody else deleted is as gone as it was to be."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
        gone = writer.topic_create("gone", {}, Integer64)
        gone.abort()
        del platform.topics["run/gone"]
        writer.topic_delete("gone")
    assert list(platform.topics) == ["run/t"]


@pytest.mark.parametrize("platform", KEYED, indirect=True)
def test_topics_of_one_tag_do_not_end_together_where_they_would_deadlock(
    client: MosaicoClient, platform: OldServer
) -> None:
    """24 topics of one tag arrive in one go; those of other tags need not wait for them."""
    platform.faults.end_s = 0.02
    with client.sequence_create("run", {}) as writer:
        for number in range(24):
            writer.topic_create(f"t{number}", {}, Integer64).write_batch(integers(number))
        for number in range(3):
            writer.topic_create(f"text{number}", {}, TEXT)
    assert all(topic["locked"] for topic in platform.topics.values())
    assert platform.faults.ends[Integer64.tag] == 1


@pytest.mark.parametrize("platform", ["G2b"], indirect=True)
def test_no_more_topics_end_together_than_are_tried_first(
    client: MosaicoClient, platform: OldServer
) -> None:
    """At first no more than the platform's database stands; more only once answers were quick."""
    platform.faults.end_s = 0.05
    with client.sequence_create("run", {}) as writer:
        for number in range(AT_ONCE_START):
            writer.topic_create(f"t{number}", {}, Integer64).write_batch(integers(number))
    assert 1 < platform.faults.ends[Integer64.tag] <= AT_ONCE_START


def test_deadlock_blames_the_platform(client: MosaicoClient, platform: OldServer) -> None:
    """Somebody else's topics of the tag end at the same moment."""
    if platform.revision not in KEYED:
        pytest.skip("only keyed revisions are known to deadlock")
    platform.faults.end_s = 0.001
    with (
        pytest.raises(PlatformBusyError, match="deadlock detected"),
        client.sequence_create("run", {}) as writer,
    ):
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(integers(1))
        with platform.faults.ending(Integer64.tag):
            topic.close()


@pytest.mark.parametrize("platform", KEYED, indirect=True)
def test_topic_without_rows_is_readable(client: MosaicoClient, platform: OldServer) -> None:
    """It gets one empty batch, without which these servers cannot read it."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64)
    assert len(platform.topics["run/t"]["batches"]) == 1
    handler = client.topic_handler("run", "t")
    assert handler is not None
    assert handler.schema.names == Integer64.schema.names
    assert handler.table().num_rows == 0


@pytest.mark.parametrize("platform", ["G2a", "G2b", "G2c"], indirect=True)
def test_topic_without_rows_gets_no_chunk(client: MosaicoClient, platform: OldServer) -> None:
    """An empty batch would become one there."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64)
    assert len(platform.topics["run/t"]["batches"]) == 0
    assert platform.topics["run/t"]["locked"]


@pytest.mark.parametrize("platform", KEYED, indirect=True)
def test_not_found_of_a_database_that_is_away_is_no_absence(
    client: MosaicoClient, platform: OldServer
) -> None:
    """The look-up fails; only a server that can look may say that there is nothing."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    assert client.sequence_handler("none") is None
    assert client.topic_handler("run", "none") is None
    client.clear_sequence_handlers_cache()
    platform.faults.database_down = True
    for look in (
        lambda: client.sequence_handler("run"),
        lambda: client.sequence_handler("none"),
        lambda: client.topic_handler("run", "t"),
    ):
        with pytest.raises(PlatformBusyError):
            look()


def test_lie_of_the_flight_info_is_found_out(
    client: MosaicoClient, platform: OldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence that the system info knows is there, whatever the flight info says."""
    if platform.revision not in KEYED:
        pytest.skip("only keyed revisions answer so")
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))
    described = KeyedServer.get_flight_info
    tries: list[Any] = []

    def fails(server: KeyedServer, context: Any, descriptor: Any) -> Any:
        tries.append(descriptor)
        server.faults.database_down = True
        try:
            return described(server, context, descriptor)
        finally:
            server.faults.database_down = False

    monkeypatch.setattr(KeyedServer, "get_flight_info", fails)
    client.clear_sequence_handlers_cache()
    with pytest.raises(PlatformBusyError, match="database"):
        client.sequence_handler("run")
    assert tries


@pytest.mark.parametrize("platform", ["G2c"], indirect=True)
def test_masked_schema_and_interval_are_unknown_not_empty(
    client: MosaicoClient, platform: OldServer
) -> None:
    """A server that cannot read its notes of a topic gives out none; a read shows them."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1, 2))
    platform.faults.masked = {"schema", "interval"}
    handler = client.topic_handler("run", "t")
    assert handler is not None
    assert handler.row_count == 2
    assert (handler.timestamp_ns_min, handler.timestamp_ns_max) == (None, None)
    assert handler.schema.names == Integer64.schema.names
    assert handler.table().num_rows == 2


@pytest.mark.parametrize("platform", ["G2b"], indirect=True)
def test_message_too_large_to_read_gives_no_advice_for_writing(
    client: MosaicoClient, platform: OldServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smaller batches do not help who reads."""
    with client.sequence_create("run", {}) as writer:
        writer.topic_create("t", {}, Integer64).write_batch(integers(1))

    def refuses(*_: Any) -> None:
        raise pa.ArrowInvalid("resource exhausted error: Received message larger than max")

    monkeypatch.setattr(type(platform), "do_get", refuses)
    handler = client.topic_handler("run", "t")
    assert handler is not None
    with pytest.raises(RejectedError) as caught:
        handler.table()
    assert "smaller batches" not in caught.value.hint
    assert "larger than a message" in caught.value.hint
