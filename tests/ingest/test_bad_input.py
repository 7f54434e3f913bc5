"""Bad recordings: each ends in a clear error or a partial result that names what is missing."""

from pathlib import Path

import pytest
from mcap.writer import Writer

from bridge.bags import load_recording
from bridge.client import MosaicoClient, OnErrorPolicy
from bridge.embedded import EmbeddedServer
from bridge.errors import BridgeError, DecodeError, DefinitionError, RecordingError
from bridge.ingest import Identity, IngestOptions, IngestReport, TopicOutcome, ingest

# A little-endian CDR string of three letters, and the same cut short.
GOOD = b"\x00\x01\x00\x00" + b"\x04\x00\x00\x00abc\x00"
CUT = GOOD[:-3]


def write(path: Path, definitions: dict[str, str], payloads: dict[str, list[bytes]]) -> Path:
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2", library="test")
        for topic, definition in definitions.items():
            schema = writer.register_schema("my_msgs/msg/Thing", "ros2msg", definition.encode())
            channel = writer.register_channel(topic, "cdr", schema)
            for number, payload in enumerate(payloads[topic]):
                writer.add_message(channel, number + 1, payload, number + 1)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def send(path: Path, tmp_path: Path, options: IngestOptions) -> tuple[IngestReport, list[str]]:
    """Ingest into a new server; give the report and the platform's notifications."""
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=options)
        return report, [note.message for note in client.list_sequence_notify(report.sequence)]


OPTIONS = IngestOptions(identity=Identity(instance="test"))


def test_a_definition_that_cannot_be_parsed_costs_its_topic_only(tmp_path: Path) -> None:
    """The other topic arrives; report and platform name topic and reason."""
    path = write(
        tmp_path / "bag.mcap",
        {"/good": "string data", "/bad": "this is { no definition"},
        {"/good": [GOOD] * 5, "/bad": [GOOD] * 3},
    )
    report, notes = send(path, tmp_path, OPTIONS)
    topics = {topic.name: topic for topic in report.topics}

    assert topics["/good"].messages_sent == 5
    assert topics["/bad"].outcome is TopicOutcome.SKIPPED
    assert "my_msgs/msg/Thing" in topics["/bad"].reason
    assert sum(topics["/bad"].messages_skipped.values()) == 3
    assert not report.complete
    assert "/bad" in "".join(notes)


def test_a_bad_message_is_dropped_alone_and_counted(tmp_path: Path) -> None:
    """Its neighbours arrive; what came in equals what went out plus what is accounted for."""
    path = write(tmp_path / "bag.mcap", {"/t": "string data"}, {"/t": [GOOD, CUT, GOOD]})
    report, notes = send(path, tmp_path, OPTIONS)
    (topic,) = report.topics

    assert (topic.messages_sent, sum(topic.messages_skipped.values())) == (2, 1)
    assert topic.messages_recorded == 3
    assert not report.complete
    assert "/t" in "".join(notes)


def test_messages_with_more_than_their_definition_are_sent_and_reported(tmp_path: Path) -> None:
    """What is known of them arrives; the recording does not count as complete."""
    path = write(tmp_path / "bag.mcap", {"/t": "string data"}, {"/t": [GOOD, GOOD + bytes(80)]})
    report, notes = send(path, tmp_path, OPTIONS)
    (topic,) = report.topics

    assert (topic.messages_sent, topic.messages_leftover) == (2, 1)
    assert not report.complete
    assert "longer than their definition" in "".join(notes)


def test_a_message_over_the_servers_limit_is_dropped_alone(tmp_path: Path) -> None:
    """Even as the first and the last one, whose times then do not count as sent."""
    text = b"\x01" * (1 << 20)
    large = b"\x00\x01\x00\x00" + len(text).to_bytes(4, "little") + text[:-1] + b"\x00"
    path = write(tmp_path / "bag.mcap", {"/t": "string data"}, {"/t": [large, GOOD, GOOD, large]})
    with (
        EmbeddedServer(tmp_path / "platform", message_bytes_max=1 << 20) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=OPTIONS)
    (topic,) = report.topics

    assert (topic.messages_sent, topic.messages_skipped) == (2, {"oversize": 2})
    assert (topic.start_ns, topic.end_ns) == (2, 3)
    assert not report.complete


def test_too_many_bad_messages_fail_the_recording_where_a_bound_is_set(tmp_path: Path) -> None:
    """The bound turns quiet loss into an error that names the topic and the setting."""
    path = write(tmp_path / "bag.mcap", {"/t": "string data"}, {"/t": [GOOD, CUT, CUT]})
    options = IngestOptions(identity=Identity(instance="test"), message_errors_max=1)
    with pytest.raises(DecodeError, match=r"/t") as caught:
        send(path, tmp_path, options)

    assert "message_errors_max" in caught.value.hint


def test_only_undecodable_topics_are_not_called_empty(tmp_path: Path) -> None:
    """There are messages, so the story is the missing definition, not an empty recording."""
    path = write(tmp_path / "bag.mcap", {"/t": "nonsense ["}, {"/t": [GOOD]})
    with pytest.raises(DefinitionError, match="no message that can be sent"):
        send(path, tmp_path, OPTIONS)


@pytest.mark.parametrize(
    ("policy", "left"), [(OnErrorPolicy.Delete, False), (OnErrorPolicy.Report, True)]
)
def test_a_failed_recording_leaves_what_the_policy_says(
    tmp_path: Path, policy: OnErrorPolicy, *, left: bool
) -> None:
    """Delete leaves nothing on the platform; Report keeps whole topics and says what happened."""
    path = write(
        tmp_path / "bag.mcap",
        {"/a": "string data", "/b": "string data"},
        {"/a": [GOOD] * 50, "/b": [GOOD] * 40 + [CUT] * 9},
    )
    options = IngestOptions(
        identity=Identity(instance="test"),
        sequence_name="one",
        on_error=policy,
        message_errors_max=1,
    )
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        with pytest.raises(BridgeError):
            ingest(load_recording(path), client=client, options=options)
        assert (client.list_sequences() == ["one"]) is left
        if left:
            assert client.list_sequence_notify("one")


@pytest.mark.parametrize("content", [b"", b"hello, world\n", b"\x89MCAP0\r\n", bytes(4096)])
def test_a_file_that_is_no_recording_names_itself(tmp_path: Path, content: bytes) -> None:
    """The error is of our tree, carries the path and says what to do."""
    path = tmp_path / "strange.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        send(path, tmp_path, OPTIONS)

    assert caught.value.path is not None
    assert "strange.mcap" in str(caught.value.path)
    assert caught.value.hint
