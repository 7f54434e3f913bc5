"""Many topics at once: every message once, whatever the platform does meanwhile."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.typesys import Stores, get_typestore

from bridge.bags import load_recording
from bridge.client import MosaicoClient, OnErrorPolicy
from bridge.client.keyed import KeyedDialect
from bridge.errors import BridgeError, DecodeError, RejectedError, ServerError, TransientError
from bridge.ingest import (
    Identity,
    IngestOptions,
    IngestReport,
    TopicOutcome,
    batches,
    ingest,
    passes,
)
from tests.daemon.chaos_proxy import ChaosProxy
from tests.ingest.test_resume import Kept, rows
from tests.servers.crowded import DEADLOCK, Crowd, Troubles, crowded_server
from tests.servers.served import Revision

TOPICS, MESSAGES = 40, 3
REVISIONS = pytest.mark.parametrize(
    "revision", ["G1.2", "G2d", pytest.param("G3b", marks=pytest.mark.slow)]
)
OPTIONS = IngestOptions(identity=Identity(instance="test", resumes=True, final=False))
WRITE_ONLY = "msco_vrfeceju4lqivysxgaseefa3tsxs0vrl_1b676530"
TRIES_MAX = 6


def write(
    path: Path,
    *,
    broken: frozenset[int] = frozenset(),
) -> Path:
    """Write a recording of small topics; some have no message that can be used."""
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schemas = [
            writer.register_schema(f"std_msgs/msg/{name}", "ros2msg", f"{kind} data".encode())
            for name, kind in (("String", "string"), ("Int32", "int32"))
        ]
        for number in range(TOPICS):
            channel = writer.register_channel(f"/topic_{number}", "cdr", schemas[number % 2])
            whole = b"\0\1\0\0" + (2).to_bytes(4, "little") + b"x\0\0\0"
            for index in range(MESSAGES):
                data = whole[:5] if number in broken else whole[: 10 if number % 2 == 0 else 8]
                writer.add_message(channel, log_time=index, publish_time=index, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("many") / "many.mcap")


@contextlib.contextmanager
def crowded(
    revision: Revision, folder: Path, troubles: Troubles, **options: Any
) -> Iterator[MosaicoClient]:
    key = {"api_key": options["api_key"]} if "api_key" in options else {}
    known = {"api_keys": {options["api_key"]: "write"}} if key else {}
    with (
        crowded_server(folder, revision, troubles, **known) as server,
        MosaicoClient.connect("127.0.0.1", server.port, **key) as client,
    ):
        yield client


def until_done(
    client: MosaicoClient, bag: Path, kept: Kept, **changes: Any
) -> tuple[IngestReport, int]:
    """Try as a daemon does; gives the report and how many tries failed before."""
    for failures in range(TRIES_MAX):
        with contextlib.suppress(TransientError):
            return send(client, bag, kept, **changes), failures
    raise AssertionError(f"{TRIES_MAX} tries and no end")


def send(client: MosaicoClient, bag: Path, kept: Kept, **changes: Any) -> IngestReport:
    return ingest(
        load_recording(bag),
        client=client,
        options=replace(OPTIONS, **changes),
        events=kept,
        upload=kept.upload,
    )


def whole(*, without: frozenset[int] = frozenset()) -> dict[str, int]:
    return {f"/topic_{number}": MESSAGES for number in range(TOPICS) if number not in without}


@REVISIONS
def test_topics_are_created_and_closed_many_at_a_time(
    revision: Revision, bag: Path, tmp_path: Path
) -> None:
    """Each once, more at a time than at the start where the server is quick, and never too many."""
    troubles = Troubles(creations=Crowd(takes_s=0.03), ends=Crowd(takes_s=0.03))
    with crowded(revision, tmp_path, troubles) as client:
        report = send(client, bag, Kept())

        assert rows(client, report.sequence) == whole()
        assert report.complete
        assert troubles.creations.entered.total() == TOPICS
        assert troubles.ends.entered.total() == TOPICS
        assert 8 < troubles.creations.peak <= 64
        # On the keyed revision the ends of one tag deadlock: one at a time for each of the two.
        assert troubles.ends.peak == 2 if revision == "G1.2" else 4 < troubles.ends.peak <= 64


@REVISIONS
def test_a_topic_that_is_refused_is_dropped_alone(
    revision: Revision, bag: Path, tmp_path: Path
) -> None:
    """Its error stays with it, wherever it stood among the others; or it fails the recording."""
    refused = frozenset(number for number in range(TOPICS) if "3" in str(number))
    with crowded(revision, tmp_path, Troubles(refused="3")) as client:
        name = "r{id}"
        with pytest.raises(RejectedError, match="not a valid locator"):
            send(client, bag, Kept(), sequence_name=name, topic_errors="fail")
        assert client.list_sequences() == []
        report = send(client, bag, Kept(), sequence_name="x")

        assert rows(client, report.sequence) == whole(without=refused)
        dropped = {topic.name for topic in report.topics if topic.outcome is TopicOutcome.SKIPPED}
        assert dropped == {f"/topic_{number}" for number in refused}
        assert all(
            f"{topic.name} is not a valid locator" in topic.reason
            for topic in report.topics
            if topic.name in dropped
        )


def test_trouble_with_creations_is_tried_again_with_fewer(bag: Path, tmp_path: Path) -> None:
    """A database that stands three at once gets them all in the first try."""
    troubles = Troubles(creations=Crowd(most=3))
    with crowded("G2d", tmp_path, troubles) as client:
        report = send(client, bag, Kept())

        assert troubles.creations.failed > 0
        assert rows(client, report.sequence) == whole()


def test_trouble_with_ends_costs_those_that_had_it(bag: Path, tmp_path: Path) -> None:
    """What was closed is not sent again, the others are with fewer at once; all arrive once."""
    troubles = Troubles(ends=Crowd(most=4, takes_s=0.02))
    with crowded("G2d", tmp_path, troubles) as client:
        report, failures = until_done(client, bag, Kept())

        assert failures > 0
        assert troubles.ends.entered.total() == TOPICS + troubles.ends.failed
        assert rows(client, report.sequence) == whole()
        assert client.list_sequences() == [report.sequence]


def test_ends_of_one_tag_never_meet_on_the_keyed_revision(bag: Path, tmp_path: Path) -> None:
    """Two would be a deadlock; so there is no failure at all."""
    troubles = Troubles(ends=Crowd(most=1, failure=DEADLOCK))
    with crowded("G1.2", tmp_path, troubles) as client:
        report = send(client, bag, Kept())

        assert troubles.ends.failed == 0
        assert rows(client, report.sequence) == whole()


@REVISIONS
@pytest.mark.parametrize("kind", ["creations", "ends"])
def test_a_line_that_breaks_among_many_calls_loses_and_doubles_nothing(
    revision: Revision, kind: str, bag: Path, tmp_path: Path
) -> None:
    """The try fails, nothing half is taken for whole, and the next tries complete it."""
    troubles = Troubles(creations=Crowd(takes_s=0.02), ends=Crowd(takes_s=0.02))
    broken: list[bool] = []
    enter = getattr(troubles, kind)
    with (
        crowded_server(tmp_path, revision, troubles) as server,
        ChaosProxy(server.port) as line,
        MosaicoClient.connect("127.0.0.1", line.port) as client,
    ):

        def cut_once() -> None:
            if enter.entered.total() >= TOPICS // 2 and not broken:
                broken.append(True)
                line.cut()

        enter.on_enter = cut_once
        report, failures = until_done(client, bag, Kept())

        assert broken
        assert failures > 0
        assert rows(client, report.sequence) == whole()
        assert client.list_sequences() == [report.sequence]


@REVISIONS
@pytest.mark.parametrize("may_delete", [True, False])
def test_a_topic_without_a_usable_message_is_not_left_behind(
    *, revision: Revision, may_delete: bool, tmp_path: Path
) -> None:
    """It was created ahead; it goes again, or where nothing may be deleted it ends without rows."""
    if revision == "G1.2" and not may_delete:
        pytest.skip("the keyed revision has no keys")
    broken = frozenset({0, 7, 8, 39})
    bag = write(tmp_path / "some.mcap", broken=broken)
    options = {} if may_delete else {"api_key": WRITE_ONLY}
    with crowded(revision, tmp_path / "platform", Troubles(), **options) as client:
        report = send(client, bag, Kept())
        empty = {} if may_delete else {f"/topic_{number}": 0 for number in broken}

        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        assert handler.is_locked
        assert set(handler.topics) == set(whole(without=broken)) | set(empty)
        assert report.messages_sent == MESSAGES * (TOPICS - len(broken))
        assert report.messages_skipped == MESSAGES * len(broken)


def nested(path: Path, *, above: bytes) -> Path:
    """Write a topic and one below it, with a message each."""
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", b"int32 data")
        for name, data in (("/cam", above), ("/cam/info", b"\0\1\0\0\1\0\0\0")):
            channel = writer.register_channel(name, "cdr", schema)
            writer.add_message(channel, log_time=1, publish_time=1, data=data)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def test_nested_topics_keep_their_data_when_one_above_is_taken_back(tmp_path: Path) -> None:
    """On the keyed revisions deleting a topic deletes what lies below it."""
    bag = nested(tmp_path / "nested.mcap", above=b"\0\1\0\0\1")
    with crowded("G1.2", tmp_path / "platform", Troubles()) as client:
        report = send(client, bag, Kept())

        handler = client.topic_handler(report.sequence, "/cam/info")
        assert handler is not None
        assert sum(batch.num_rows for batch in handler.batches()) == 1
        sequence = client.sequence_handler(report.sequence)
        assert sequence is not None
        assert sequence.is_locked


def test_lost_creation_above_nested_topics_begins_the_sequence_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token is gone and it cannot be deleted alone: the next try starts over; all arrive."""
    bag = nested(tmp_path / "nested.mcap", above=b"\0\1\0\0\1\0\0\0")
    below, lost = threading.Event(), threading.Event()
    create = KeyedDialect.topic_create

    def losing(dialect: KeyedDialect, upload: Any, locator: str, **given: Any) -> str:
        if locator.endswith("/cam") and not lost.is_set():
            below.wait(10)
            lost.set()
            create(dialect, upload, locator, **given)
        token = create(dialect, upload, locator, **given)
        below.set()
        return token

    monkeypatch.setattr(KeyedDialect, "topic_create", losing)
    kept = Kept()
    with crowded("G1.2", tmp_path / "platform", Troubles()) as client:
        with pytest.raises(TransientError, match="was lost"):
            send(client, bag, kept)
        report = send(client, bag, kept)

        assert report.complete
        assert client.list_sequences() == [report.sequence]
        for topic in ("/cam", "/cam/info"):
            handler = client.topic_handler(report.sequence, topic)
            assert handler is not None
            assert sum(batch.num_rows for batch in handler.batches()) == 1


@REVISIONS
def test_an_abort_cleans_up_what_is_being_created(revision: Revision, tmp_path: Path) -> None:
    """A recording that is given up while its topics are created leaves nothing."""
    bag = write(tmp_path / "bad.mcap", broken=frozenset({8}))
    troubles = Troubles(creations=Crowd(takes_s=0.2))
    with crowded(revision, tmp_path / "platform", troubles) as client:
        with pytest.raises(DecodeError):
            send(client, bag, Kept(), message_errors_max=0, on_error=OnErrorPolicy.Delete)

        assert client.list_sequences() == []
        assert troubles.creations.entered.total() < TOPICS


def test_the_errors_are_of_our_tree(bag: Path, tmp_path: Path) -> None:
    """A database that never gets well is a transient error of the server, after some tries."""
    troubles = Troubles(creations=Crowd(most=0))
    with crowded("G2d", tmp_path, troubles) as client:
        with pytest.raises(ServerError) as caught:
            send(client, bag, Kept())
        assert isinstance(caught.value, TransientError)
        assert isinstance(caught.value, BridgeError)
        assert troubles.creations.entered.total() <= 4 * TOPICS


def imus(path: Path) -> Path:
    """Write topics of one type that differ in what has to be said about their messages."""
    store = get_typestore(Stores.ROS2_JAZZY)
    imu, types = store.types["sensor_msgs/msg/Imu"], store.types
    text, _ = store.generate_msgdef("sensor_msgs/msg/Imu", ros_version=2)

    def payload(number: int, *, first: float) -> bytes:
        vector = types["geometry_msgs/msg/Vector3"](x=1.0 * number, y=2.0, z=3.0)
        none, some = np.zeros(9), np.array([first, *[0.5] * 8])
        message = imu(
            header=types["std_msgs/msg/Header"](
                stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=number),
                frame_id=f"imu_{number % 3}",
            ),
            orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
            orientation_covariance=some,
            angular_velocity=vector,
            angular_velocity_covariance=none,
            linear_acceleration=vector,
            linear_acceleration_covariance=none,
        )
        return bytes(store.serialize_cdr(message, "sensor_msgs/msg/Imu"))

    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=10_000)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("sensor_msgs/msg/Imu", "ros2msg", text.encode())
        kinds = ("sound", "sound", "cut", "unmeasured", "sometimes", "longer", "unmeasured")
        for number, kind in enumerate(kinds):
            channel = writer.register_channel(f"/{kind}_{number}", "cdr", schema)
            for index in range(40):
                unmeasured = kind == "unmeasured" or (kind == "sometimes" and index % 2)
                data = payload(index, first=-1.0 if unmeasured else 0.25)
                if index == 17:
                    data = {"cut": data[:50], "longer": data + bytes(8)}.get(kind, data)
                writer.add_message(channel, log_time=index, publish_time=index, data=data)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize(
    "kinds",
    [
        ("sound",),
        ("unmeasured",),
        ("sound", "unmeasured"),
        ("sound", "cut"),
        ("sometimes", "unmeasured"),
        ("sound", "longer"),
    ],
    ids="-".join,
)
def test_topics_that_are_converted_together_come_out_as_if_alone(
    kinds: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, accounts and metadata of each topic are its own, whatever its neighbours are like."""
    bag = imus(tmp_path / "imus.mcap")
    topics = [f"/{kind}_*" for kind in kinds]
    found = []
    for name in ("together", "alone"):
        if name == "alone":
            monkeypatch.setattr(
                passes, "kinds_of", lambda _lanes, count: np.full(count, batches.ALONE)
            )
        with crowded("G2d", tmp_path / name, Troubles()) as client:
            report = send(client, bag, Kept(), sequence_name="run", topics=topics)
            handler = client.sequence_handler("run")
            assert handler is not None
            found.append(
                (
                    [replace(topic, arrow_bytes=0, row_bytes_max=0) for topic in report.topics],
                    {topic: handler.topic_handler(topic).table() for topic in handler.topics},
                    {topic: handler.topic_handler(topic).user_metadata for topic in handler.topics},
                )
            )
    together, alone = found

    assert together == alone
    assert sum(table.num_rows for table in together[1].values()) >= 2 * 40


@pytest.mark.parametrize("dirty", [None, 0, 7, TOPICS - 1])
def test_nul_in_one_of_many_topics_is_replaced_there(dirty: int | None, tmp_path: Path) -> None:
    """Topics that are decoded together are looked at together; the account stays each one's own."""
    texts = {number: f"a{number}b" for number in range(TOPICS)}
    if dirty is not None:
        texts[dirty] = "a\0b"
    path = tmp_path / "texts.mcap"
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        for number, text in texts.items():
            channel = writer.register_channel(f"/topic_{number}", "cdr", schema)
            data = b"\0\1\0\0" + (len(text) + 1).to_bytes(4, "little") + text.encode() + b"\0"
            writer.add_message(channel, log_time=number, publish_time=number, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    with crowded("G2d", tmp_path, Troubles()) as client:
        report = send(client, path, Kept())

        sequence = client.sequence_handler(report.sequence)
        assert sequence is not None
        found = {
            name: [row["data"] for row in sequence.topic_handler(name).rows()]
            for name in sequence.topics
        }
    expected = {
        f"/topic_{number}": [text.replace("\0", "\ufffd")] for number, text in texts.items()
    }
    assert found == expected
    changed = {topic.name: topic.texts_changed for topic in report.topics if topic.texts_changed}
    assert changed == ({} if dirty is None else {f"/topic_{dirty}": 1})
