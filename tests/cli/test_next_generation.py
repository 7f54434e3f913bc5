"""The product against platforms that speak only protobuf, and when they are upgraded to it."""

import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcap.writer import Writer as McapWriter

from bridge.cli import write_drive
from bridge.client import MosaicoClient, QueryOntologyCatalog, QuerySequence
from bridge.embedded import EmbeddedServer
from bridge.ontology import Integer32
from tests.cli.conftest import START_NS, Command, RunningBridge
from tests.recordings import mcap_messages, real_bag
from tests.servers.served import JsonEmbeddedServer, ProtobufEmbeddedServer
from tests.waiting import PATIENCE_S, wait_for

RESERVATION = "experimental, from the platform's sources; no release existed when this was written"
TOPICS = 300


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with ProtobufEmbeddedServer(tmp_path / "platform") as server:
        yield server


def at(server: EmbeddedServer, state: Path) -> tuple[str | Path, ...]:
    return ("--host", "127.0.0.1", "--port", str(server.port), "--state", state)


def rows(client: MosaicoClient, sequence: str) -> dict[str, int]:
    """Count what can be read back."""
    handler = client.sequence_handler(sequence)
    assert handler is not None
    assert handler.is_locked
    return {name: topic.table().num_rows for name, topic in handler.topic_handlers().items()}


def test_real_recording_arrives_is_verified_and_can_be_read(
    platform: EmbeddedServer, tmp_path: Path, command: Command
) -> None:
    """Once, with notifications and queries, judged by the `mcap` library's count."""
    bag = real_bag("talker_mcap")
    target = at(platform, tmp_path / "state")
    done = command("ingest", bag, *target, "--name", "talker", "--json")
    assert done.code == 0, done.err
    (report,) = done.json["reports"]
    assert report["verification"] == "counts"
    with MosaicoClient.connect("127.0.0.1", platform.port) as client:
        assert client.revision == "G3b"
        sent = {topic: len(messages) for topic, messages in mcap_messages(bag).items()}
        arrived = rows(client, "talker")
        assert {topic: arrived[topic] for topic in sent} == sent
        found = client.query(QuerySequence().with_name("talker"), insist=True)
        assert found is not None
        assert {topic.name for item in found for topic in item.topics} == set(arrived)
        client.sequence_notify("talker", "look at it")
        assert [one.message for one in client.list_sequence_notify("talker")] == ["look at it"]
    again = command("ingest", bag, *target, "--name", "talker", "--json")
    assert again.code == 0, again.err
    with MosaicoClient.connect("127.0.0.1", platform.port) as client:
        assert client.list_sequences() == ["talker"]
        assert rows(client, "talker") == arrived


def test_check_says_what_to_think_of_it(
    platform: EmbeddedServer, tmp_path: Path, command: Command
) -> None:
    """The revision is named, with the reservation beside it."""
    (tmp_path / "watched").mkdir()
    config = tmp_path / "bridge.toml"
    config.write_text(
        f"[watch]\nfolder = '{tmp_path / 'watched'}'\n[state]\nfolder = '{tmp_path / 'state'}'\n"
        f"[server]\nhost = '127.0.0.1'\nport = {platform.port}\n"
    )
    said = " ".join(command("check", "-c", config).out.split())
    assert f"127.0.0.1:{platform.port} speaks G3b, version 0.8.0-dev" in said
    assert f"G3b is {RESERVATION}" in said


@pytest.mark.slow
def test_three_hundred_topics(platform: EmbeddedServer, tmp_path: Path, command: Command) -> None:
    """Each is there with its rows, and can be found by what is in it."""
    bag = tmp_path / "many.mcap"
    with bag.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", b"int32 data")
        for number in range(TOPICS):
            channel = writer.register_channel(f"/topic_{number}", "cdr", schema)
            for index in range(3):
                data = b"\0\1\0\0" + number.to_bytes(4, "little")
                writer.add_message(channel, log_time=index, publish_time=index, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    done = command("ingest", bag, *at(platform, tmp_path / "state"), "--name", "many", "--json")
    assert done.code == 0, done.err
    with MosaicoClient.connect("127.0.0.1", platform.port) as client:
        assert rows(client, "many") == {f"/topic_{number}": 3 for number in range(TOPICS)}
        found = client.query(QueryOntologyCatalog(Integer32.Q.data.eq(17)), insist=True)
        assert found is not None
        assert [topic.name for item in found for topic in item.topics] == ["/topic_17"]


@pytest.mark.slow
def test_platform_is_upgraded_under_a_running_bridge(tmp_path: Path, command: Command) -> None:
    """Recordings before and after arrive once; status, page data and metrics name the revision."""
    bridge = RunningBridge(tmp_path)
    folder = tmp_path / "platform"
    with JsonEmbeddedServer(folder) as server:
        port = server.port
        bridge.write_config(
            f"[server]\nhost = '127.0.0.1'\nport = {port}\nprobe_interval_s = 0.5\n"
            "[notifications]\ninterval_s = 1.0\n"
        )
        with bridge.process() as process:
            try:
                write_drive(bridge.folder, name="before", start_ns=START_NS, duration_s=0.5)
                bridge.await_states(command, finalised=1)
                wait_for(lambda: spoken(bridge, command).get("revision") == "G2d")
                server.shutdown()
                with ProtobufEmbeddedServer(folder, port=port):
                    after_ns = START_NS + 10**12
                    write_drive(bridge.folder, name="after", start_ns=after_ns, duration_s=0.5)
                    bridge.await_states(command, finalised=2)
                    wait_for(lambda: spoken(bridge, command).get("revision") == "G3b")
                    check_told(bridge, command)
                    with MosaicoClient.connect("127.0.0.1", port) as client:
                        names = client.list_sequences()
                        before, after = (rows(client, name) for name in names)
                        client.sequence_notify(names[0], "look at it")
                    assert before == after
                    listed = ("notifications", "list", "-c", bridge.config)
                    wait_for(lambda: "look at it" in command(*listed).out)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE_S)


@pytest.mark.slow
def test_platform_is_upgraded_in_the_middle_of_an_upload(tmp_path: Path, command: Command) -> None:
    """What was sent in JSON is gone on with in protobuf, and arrives once and whole."""
    bridge = RunningBridge(tmp_path)
    with JsonEmbeddedServer(tmp_path / "platform") as server:
        port = server.port
        bridge.write_config(
            f"[server]\nhost = '127.0.0.1'\nport = {port}\nprobe_interval_s = 0.5\n"
            "compression = 'none'\n[uplink]\nbytes_per_second_max = 4_000_000\n"
            "[retry]\nbackoff_initial_s = 0.2\n"
        )
        big = tmp_path / "big.mcap"
        expected = write_big(big)
        with bridge.process() as process:
            try:
                big.rename(bridge.folder / big.name)
                with MosaicoClient.connect("127.0.0.1", port) as client:
                    wait_for(lambda: any_whole(client))
                server.shutdown()
                with ProtobufEmbeddedServer(tmp_path / "platform", port=port):
                    bridge.await_states(command, finalised=1)
                    with MosaicoClient.connect("127.0.0.1", port) as client:
                        (name,) = client.list_sequences()
                        assert rows(client, name) == expected
                        handler = client.sequence_handler(name)
                        assert handler is not None
                        assert len(handler.sessions) == 1
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE_S)


def write_big(path: Path) -> dict[str, int]:
    """Write topics one after the other, of 2 MB each; gives their counts."""
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        for number in range(10):
            channel = writer.register_channel(f"/topic_{number}", "cdr", schema)
            for index in range(20):
                text = b"x" * 100_000
                data = b"\0\1\0\0" + (len(text) + 1).to_bytes(4, "little") + text + b"\0"
                time_ns = number * 20 + index
                writer.add_message(channel, log_time=time_ns, publish_time=time_ns, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return {f"/topic_{number}": 20 for number in range(10)}


def any_whole(client: MosaicoClient) -> bool:
    """Tell whether a topic of an unfinished sequence has been sent."""
    client.clear_sequence_handlers_cache()
    for name in client.list_sequences():
        handler = client.sequence_handler(name)
        if handler is not None and not handler.is_locked:
            return any(facts.data.row_count for facts in handler.topic_facts.values())
    return False


def spoken(bridge: RunningBridge, command: Command) -> dict[str, str]:
    return command("status", "-c", bridge.config, "--json").json.get("platform") or {}


def check_told(bridge: RunningBridge, command: Command) -> None:
    assert spoken(bridge, command)["reservation"] == RESERVATION
    said = " ".join(command("status", "-c", bridge.config).out.split())
    assert f"(G3b, version 0.8.0-dev; {RESERVATION})" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{bridge.http_port}/metrics") as answer:
        exposed = answer.read().decode()
    assert re.search(r'server_info\{[^}]*experimental="yes",revision="G3b"\} 1\.0', exposed)
