"""What stays on the platform when a recording is given up, in both generations of the platform."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import load_recording, open_recording
from bridge.cli import write_drive
from bridge.client import ABANDONED, MosaicoClient, OnErrorPolicy, SequenceWriter, TopicWriter
from bridge.client.keyed import KeyedDialect
from bridge.errors import (
    BridgeError,
    DecodeError,
    OfflineError,
    RefusedError,
    RejectedError,
    TransientError,
)
from bridge.ingest import Identity, IngestOptions, TopicOutcome, clear_remains, ingest, plan_topics
from bridge.mapping import BRIDGE_KEY
from tests.ingest.platforms import platform
from tests.ingest.test_resume import Kept, break_at, rows, yields
from tests.servers.served import SERVERS

START_NS = 1_760_000_000_000_000_000
GENERATIONS = pytest.mark.parametrize(
    "revision", ["G1.2", "G2d", pytest.param("G3b", marks=pytest.mark.slow)]
)
KEY = "msco_vrfeceju4lqivysxgaseefa3tsxs0vrl_1b676530"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    return write_drive(folder, name="drive", start_ns=START_NS, duration_s=0.5, splits=1)


def options(policy: OnErrorPolicy, **identity: Any) -> IngestOptions:
    known: dict[str, Any] = {"instance": "test", "resumes": True, "final": True} | identity
    return IngestOptions(identity=Identity(**known), on_error=policy)


def platform_names(bag: Path) -> set[str]:
    """Name the topics that an ingest of a recording creates."""
    with open_recording(load_recording(bag)) as reader:
        reports = plan_topics(reader, IngestOptions(identity=Identity(instance="test")))
    return {report.platform_name for report in reports if report.platform_name}


def locked_topics(client: MosaicoClient, sequence: str) -> tuple[bool, set[str]]:
    """Tell whether a sequence is finalised, and which of its topics are whole."""
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler(sequence)
    assert handler is not None
    topics = {name for name in handler.topics if handler.topic_handler(name).is_locked}
    assert topics == set(handler.topics), "a broken topic stayed"
    return handler.is_locked, topics


# What breaks when one topic is ended; whether it is the last try, how many tries achieve nothing
# more, and whether that is the end.
TROUBLES = {
    "transient at the last try": (TransientError("the line broke"), True, 1, True),
    "transient at the last try, which got on": (TransientError("the line broke"), True, 0, False),
    "transient before": (TransientError("the line broke"), False, 0, False),
    "offline at the last try": (OfflineError("nobody answers"), True, 0, False),
    "refused at the last try": (RefusedError("the key is gone"), True, 0, False),
    "rejected before the last try": (RejectedError("never"), False, 0, True),
}
CHOSEN_TROUBLES = [
    pytest.param(name, marks=() if gives_up or error.trouble == "offline" else pytest.mark.slow)
    for name, (error, _, _, gives_up) in TROUBLES.items()
]


@GENERATIONS
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
@pytest.mark.parametrize("trouble", CHOSEN_TROUBLES)
def test_the_policy_acts_at_the_give_up_and_only_there(
    revision: str,
    policy: OnErrorPolicy,
    trouble: str,
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deleted: nothing is left. Reported: what is whole is finalised, and says what happened."""
    error, final, fruitless, gives_up = TROUBLES[trouble]
    end, failures = TopicWriter.end, iter(range(1 + fruitless))

    def breaking(writer: TopicWriter) -> None:
        if writer.name == "/odom" and next(failures, None) is not None:
            raise error
        end(writer)

    monkeypatch.setattr(TopicWriter, "end", breaking)
    kept = Kept()
    chosen = replace(options(policy, final=final), topic_errors="fail")
    with platform(revision, tmp_path) as client:
        for _ in range(1 + fruitless):
            with pytest.raises(type(error)):
                ingest(
                    load_recording(drive),
                    client=client,
                    options=chosen,
                    events=kept,
                    upload=kept.upload,
                )
        assert kept.upload is not None
        name = kept.upload.sequence

        if gives_up and policy is OnErrorPolicy.Delete:
            assert client.list_sequences() == []
        elif gives_up:
            finalised, whole = locked_topics(client, name)
            assert finalised
            assert whole == platform_names(drive) - {"/odom"}
            (told,) = client.list_sequence_notify(name)
            assert error.message in told.message
        else:
            # The next try takes it up.
            assert client.list_sequence_notify(name) == []
            report = ingest(
                load_recording(drive),
                client=client,
                options=chosen,
                events=kept,
                upload=kept.upload,
            )
            assert rows(client, name) == yields(report)


@GENERATIONS
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
def test_messages_that_cannot_be_used_are_skipped_up_to_a_bound(
    revision: str, policy: OnErrorPolicy, tmp_path: Path
) -> None:
    """Within the bound they are counted and told; beyond it the recording is given up at once."""
    bag = broken_messages(tmp_path / "broken.mcap", good=20, bad=3)
    with platform(revision, tmp_path / "platform") as client:
        within = replace(options(policy, final=False), message_errors_max=3)
        report = ingest(load_recording(bag), client=client, options=within)
        (told,) = client.list_sequence_notify(report.sequence)

        assert (report.messages_sent, report.messages_skipped, report.complete) == (20, 3, False)
        assert "/chatter" in told.message
        assert locked_topics(client, report.sequence) == (True, {"/chatter"})

        beyond = replace(within, message_errors_max=2, sequence_name="beyond")
        with pytest.raises(DecodeError, match="3 messages could not be used"):
            ingest(load_recording(bag), client=client, options=beyond)
        assert "beyond" not in client.list_sequences() or policy is OnErrorPolicy.Report


@GENERATIONS
@pytest.mark.parametrize("fails", [False, True])
def test_a_topic_that_is_rejected_is_dropped_or_fails_the_recording(
    *, revision: str, fails: bool, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropped: the rest arrives and a notification says which and why. Fails: the policy acts."""
    create = SequenceWriter.topic_create

    def refusing(writer: SequenceWriter, name: str, *rest: Any) -> TopicWriter:
        if name == "/odom":
            raise RejectedError("no such ontology here")
        return create(writer, name, *rest)

    monkeypatch.setattr(SequenceWriter, "topic_create", refusing)
    chosen = replace(
        options(OnErrorPolicy.Delete, final=False), topic_errors="fail" if fails else "drop"
    )
    with platform(revision, tmp_path) as client:
        if fails:
            with pytest.raises(RejectedError):
                ingest(load_recording(drive), client=client, options=chosen)
            assert client.list_sequences() == []
            return
        report = ingest(load_recording(drive), client=client, options=chosen)
        odometry = next(topic for topic in report.topics if topic.name == "/odom")
        told = [note.message for note in client.list_sequence_notify(report.sequence)]

        assert (odometry.outcome, odometry.reason) == (
            TopicOutcome.SKIPPED,
            "no such ontology here",
        )
        assert odometry.messages_skipped == {"topic_dropped": odometry.messages_recorded}
        assert not report.complete
        assert "/odom" not in locked_topics(client, report.sequence)[1]
        assert any("/odom" in text and "no such ontology here" in text for text in told)


@contextlib.contextmanager
def undeletable(
    revision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MosaicoClient]:
    """A platform that lets us write but not delete: by its key on G2, by its own will on G1."""
    if not revision.startswith("G1"):
        with (
            SERVERS[revision](folder, api_keys={KEY: "write"}) as server,
            MosaicoClient.connect("127.0.0.1", server.port, api_key=KEY) as client,
        ):
            yield client
        return

    def refused(_dialect: KeyedDialect, *_names: Any) -> None:
        raise RefusedError("not permitted")

    for call in ("sequence_delete", "upload_delete", "topic_delete"):
        monkeypatch.setattr(KeyedDialect, call, refused)
    with platform(revision, folder) as client:
        yield client


@GENERATIONS
def test_without_the_right_to_delete_remains_are_marked_and_another_name_is_taken(
    revision: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording arrives whole once; what could not be removed says that it is abandoned."""
    kept = Kept()
    chosen = options(OnErrorPolicy.Delete, final=False)
    break_at(monkeypatch, TopicWriter, "write_batch", 3)
    with undeletable(revision, tmp_path, monkeypatch) as client:
        with pytest.raises(TransientError):
            ingest(load_recording(drive), client=client, options=chosen, events=kept)
        report = ingest(
            load_recording(drive), client=client, options=chosen, events=kept, upload=kept.upload
        )
        again = ingest(load_recording(drive), client=client, options=chosen)
        first = report.sequence.removesuffix("_take2")
        told = [note.message for note in client.list_sequence_notify(first)]

        assert report.sequence.endswith("_take2")
        assert rows(client, report.sequence) == yields(report)
        assert client.list_sequences() == [first, report.sequence]
        assert [text.startswith(ABANDONED) for text in told] == [True]
        assert again.sequence == report.sequence
        assert "nothing was sent" in again.notes[-1]


@GENERATIONS
def test_without_the_right_to_delete_a_give_up_leaves_a_mark(
    revision: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy wanted nothing left; what is left says so, and so does the error."""

    def breaking(_writer: TopicWriter) -> None:
        raise TransientError("the line broke")

    monkeypatch.setattr(TopicWriter, "end", breaking)
    with undeletable(revision, tmp_path, monkeypatch) as client:
        with pytest.raises(BridgeError) as caught:
            ingest(load_recording(drive), client=client, options=options(OnErrorPolicy.Delete))
        (left,) = client.list_sequences()
        (told,) = client.list_sequence_notify(left)

    assert told.message.startswith(ABANDONED)
    assert "the line broke" in told.message
    assert any("not cleaned up" in note for note in caught.value.__notes__)


@GENERATIONS
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
def test_remains_of_a_recording_that_no_ingest_could_see_to_are_cleared(
    revision: str,
    policy: OnErrorPolicy,
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the death of the last try the policy is done all the same; twice does no harm."""
    kept = Kept()
    break_at(monkeypatch, TopicWriter, "end", 2)
    with platform(revision, tmp_path) as client:
        with pytest.raises(TransientError):
            ingest(
                load_recording(drive),
                client=client,
                options=options(policy, final=False),
                events=kept,
            )
        upload = kept.upload
        assert upload is not None
        assert len(upload.rows) == len(platform_names(drive)) - 1
        handler = client.sequence_handler(upload.sequence)
        assert handler is not None
        fingerprint = handler.user_metadata[BRIDGE_KEY]["fingerprint"]
        clear = partial(
            clear_remains,
            client,
            upload,
            fingerprint=fingerprint,
            policy=policy,
            reason="its worker died twice",
        )
        clear(instance="another")
        assert client.list_sequences() == [upload.sequence], "it is not another's to clear"
        for _ in range(2):
            clear(instance="test")
            if policy is OnErrorPolicy.Delete:
                assert client.list_sequences() == []
                continue
            assert locked_topics(client, upload.sequence) == (True, set(upload.rows))
            (told,) = client.list_sequence_notify(upload.sequence)
            assert "its worker died twice" in told.message


def broken_messages(path: Path, *, good: int, bad: int) -> Path:
    """Write a recording some of whose messages are too short for their type."""
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        chatter = writer.register_channel("/chatter", "cdr", schema)
        whole = b"\0\1\0\0" + (2).to_bytes(4, "little") + b"x\0"
        for index in range(good + bad):
            data = whole if index < good else whole[:6]
            writer.add_message(chatter, log_time=index, publish_time=index, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return path
