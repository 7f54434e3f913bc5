"""The poller, asking a real embedded server over a real connection."""

import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient, Notified
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe.metrics import Metrics
from bridge.daemon.observe.notification_store import STORE_FILE, NotificationStore, Target
from bridge.daemon.observe.notifications import NotificationClient, NotificationPoller
from bridge.embedded import EmbeddedServer
from bridge.errors import JournalError, OfflineError
from bridge.ontology import Integer64
from tests.daemon.observe.situations import NOW_S

DAY_S = 86_400
ONE_ROW = pa.record_batch([pa.array([1], pa.int64())] * 2, schema=Integer64.schema)


class Recorder:
    """A client that notes what is asked and passes it on to a real one."""

    def __init__(self, inner: MosaicoClient, asked: list[Target]) -> None:
        self._inner = inner
        self._asked = asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def list_sequence_notify(self, sequence_name: str) -> list[Notified]:
        self._asked.append(Target(sequence=sequence_name))
        return self._inner.list_sequence_notify(sequence_name)

    def list_topic_notify(self, sequence_name: str, topic_name: str) -> list[Notified]:
        self._asked.append(Target(sequence=sequence_name, topic=topic_name))
        return self._inner.list_topic_notify(sequence_name, topic_name)


class Bridge:
    """A bridge with a journal and a store, beside a running platform."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        self.now_s = float(NOW_S)
        self.folder = folder
        self.server = server
        self.metrics = Metrics(wall=lambda: self.now_s)
        self.journal = Journal.own(folder, wall_ns=lambda: int(self.now_s * 1e9))
        self.reader = JournalReader(folder)
        self.store = NotificationStore(folder)
        self.asked: list[Target] = []
        self.connections = 0

    def connect(self) -> NotificationClient:
        self.connections += 1
        return Recorder(MosaicoClient.connect("127.0.0.1", self.server.port), self.asked)

    def poller(
        self,
        *,
        calls: int = 100,
        connect: Callable[[], NotificationClient] | None = None,
        may_ask: Callable[[], bool] = lambda: True,
        interval_s: float = 60.0,
    ) -> NotificationPoller:
        return NotificationPoller(
            connect=connect or self.connect,
            journal=self.reader,
            store=self.store,
            metrics=self.metrics,
            interval_s=interval_s,
            calls_per_interval=calls,
            window_days=7,
            may_ask=may_ask,
            wall=lambda: self.now_s,
        )

    def ingested(self, name: str, *topics: str) -> None:
        """Put a sequence on the platform and into the journal."""
        with (
            MosaicoClient.connect("127.0.0.1", self.server.port) as client,
            client.sequence_create(name, {}) as writer,
        ):
            for topic in topics:
                writer.topic_create(topic, {}, Integer64).write_batch(ONE_ROW)
        made = self.journal.discover(self.folder / name, name=name, size_bytes=1, modified_ns=1)
        self.journal.move(made.id, State.READY, "a test")
        self.journal.move(made.id, State.SENDING, "a test")
        sent = [{"platform_name": topic, "messages_sent": 1} for topic in topics]
        skipped = {"platform_name": "", "messages_sent": 0}
        self.journal.keep_report(made.id, {"topics": [*sent, skipped]})
        self.journal.move(made.id, State.FINALISED, "a test", sequence=name)

    def complain(self, sequence: str, topic: str, message: str) -> None:
        """Let somebody else notify the platform."""
        with MosaicoClient.connect("127.0.0.1", self.server.port) as client:
            if topic:
                client.topic_notify(sequence, topic, message)
            else:
                client.sequence_notify(sequence, message)

    def metric(self, name: str) -> float:
        for line in self.metrics.exposition().decode().splitlines():
            if line.startswith(f"mosaico_bridge_{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(name)


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    with EmbeddedServer(tmp_path / "platform") as server:
        bridge = Bridge(tmp_path / "state", server)
        with bridge.journal, bridge.reader, bridge.store:
            yield bridge


def test_notification_is_seen_once(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    """What the platform says about a sequence or topic is counted, logged and shown, once."""
    bridge.ingested("run_1", "/imu", "/gps")
    bridge.complain("run_1", "", "checksum differs")
    bridge.complain("run_1", "/imu", "row too large")
    poller = bridge.poller()
    with caplog.at_level(logging.WARNING):
        fresh = poller.poll()
    assert sorted((one.target.topic, one.message) for one in fresh) == [
        ("", "checksum differs"), ("/imu", "row too large"),
    ]  # fmt: skip
    assert poller.poll() == []
    assert bridge.poller().poll() == []
    told = [record for record in caplog.records if "the platform notifies" in record.message]
    assert len(told) == 2
    assert vars(told[0])["sequence"] == "run_1"
    assert bridge.metric('notifications_total{type="error"}') == 2
    assert bridge.metric('notification_calls_total{result="ok"}') == 9
    items = poller.view()["items"]
    assert {item["message"] for item in items} == {"checksum differs", "row too large"}
    assert json.dumps(items)


def test_restart_remembers_what_was_seen(bridge: Bridge) -> None:
    """A new process with the same state does not tell old news."""
    bridge.ingested("run_1", "/imu")
    bridge.complain("run_1", "", "old news")
    assert len(bridge.poller().poll()) == 1
    bridge.store.close()
    bridge.store = NotificationStore(bridge.folder)
    assert bridge.poller().poll() == []
    bridge.complain("run_1", "", "fresh news")
    assert [one.message for one in bridge.poller().poll()] == ["fresh news"]


def test_rounds_go_round(bridge: Bridge) -> None:
    """With few calls per round everything gets its turn before anything gets a second."""
    for number in range(3):
        bridge.ingested(f"run_{number}", "/imu")
        bridge.now_s += 1
    poller = bridge.poller(calls=2)
    for _ in range(3):
        bridge.now_s += 60
        poller.poll()
    assert len(bridge.asked) == 6
    assert len(set(bridge.asked)) == 6
    first = bridge.asked[:2]
    bridge.now_s += 60
    poller.poll()
    assert bridge.asked[6:] == first


def test_age_of_the_sweep(bridge: Bridge) -> None:
    """The age appears when everything was asked about once, and is that of the oldest answer."""
    bridge.ingested("run_1", "/imu")
    poller = bridge.poller(calls=1)
    poller.poll()
    assert poller.view()["sweep_age_s"] is None
    bridge.now_s += 60
    poller.poll()
    assert poller.view()["sweep_age_s"] == 60
    bridge.now_s += 5
    assert poller.view()["sweep_age_s"] == 65
    assert bridge.metric("notification_sweep_age_seconds") == 65


def test_old_recordings_are_not_asked_about(bridge: Bridge) -> None:
    """What is older than the window is left alone, and its old notices are forgotten in time."""
    bridge.ingested("run_1", "/imu")
    bridge.complain("run_1", "", "long ago")
    poller = bridge.poller()
    assert len(poller.poll()) == 1
    bridge.now_s += 6 * DAY_S
    bridge.ingested("run_2", "/imu")
    bridge.now_s += 2 * DAY_S
    bridge.asked.clear()
    poller.poll()
    assert {target.sequence for target in bridge.asked} == {"run_2"}
    assert poller.view()["items"] == []
    assert {target.sequence for target in bridge.store.asked()} == {"run_2"}


def test_nothing_ingested_costs_nothing(bridge: Bridge) -> None:
    """Without anything to ask about, no connection is made and the sweep is complete."""
    poller = bridge.poller()
    poller.poll()
    assert bridge.connections == 0
    assert poller.view()["sweep_age_s"] == 0


def test_offline_is_waited_out(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    """While the platform is away rounds end at once, waits double to a bound, no line is logged."""

    def nobody() -> NotificationClient:
        raise OfflineError("nobody answers")

    bridge.ingested("run_1", "/imu")
    poller = bridge.poller(connect=nobody)
    waits = []
    with caplog.at_level(logging.INFO):
        for _ in range(7):
            assert poller.poll() == []
            waits.append(poller.wait_s())
    assert waits == [120, 240, 480, 960, 960, 960, 960]
    assert caplog.records == []
    poller._connect = bridge.connect
    poller.poll()
    assert poller.wait_s() == 60


def test_outage_in_the_middle_of_a_round_ends_it(bridge: Bridge) -> None:
    """A round that loses the platform stops there; what was asked counts, the rest comes next."""
    bridge.ingested("run_1", "/a", "/b", "/c")
    bridge.complain("run_1", "/c", "found later")

    class Flaky(Recorder):
        def list_topic_notify(self, sequence_name: str, topic_name: str) -> list[Notified]:
            if topic_name != "/a":
                raise OfflineError("gone")
            return super().list_topic_notify(sequence_name, topic_name)

    inner = MosaicoClient.connect("127.0.0.1", bridge.server.port)
    poller = bridge.poller(connect=lambda: Flaky(inner, bridge.asked))
    assert poller.poll() == []
    assert len(bridge.store.asked()) == 2
    assert bridge.metric('notification_calls_total{result="failed"}') == 1
    poller._connect = bridge.connect
    assert [one.message for one in poller.poll()] == ["found later"]


def test_a_long_line_is_not_waited_for_call_by_call(bridge: Bridge) -> None:
    """Several questions are under way together."""
    bridge.ingested("run_1", "/a", "/b", "/c")
    together = threading.Barrier(4)

    class Together(Recorder):
        def list_sequence_notify(self, sequence_name: str) -> list[Notified]:
            together.wait(30)
            return super().list_sequence_notify(sequence_name)

        def list_topic_notify(self, sequence_name: str, topic_name: str) -> list[Notified]:
            together.wait(30)
            return super().list_topic_notify(sequence_name, topic_name)

    inner = MosaicoClient.connect("127.0.0.1", bridge.server.port)
    bridge.poller(connect=lambda: Together(inner, bridge.asked)).poll()
    assert bridge.metric('notification_calls_total{result="ok"}') == 4


def test_sequence_deleted_on_the_platform_is_no_trouble(bridge: Bridge) -> None:
    """What somebody deleted has nothing to say and does not hold up the round."""
    bridge.ingested("run_1", "/imu")
    bridge.ingested("run_2", "/imu")
    bridge.complain("run_2", "", "here")
    with MosaicoClient.connect("127.0.0.1", bridge.server.port) as client:
        client.sequence_delete("run_1")
    poller = bridge.poller()
    assert [one.message for one in poller.poll()] == ["here"]
    assert bridge.metric('notification_calls_total{result="failed"}') == 0


def test_closed_gate_keeps_the_poller_quiet(bridge: Bridge) -> None:
    """While the daemon knows that the platform is away, not even a connection is tried."""
    bridge.ingested("run_1", "/imu")
    assert bridge.poller(may_ask=lambda: False).poll() == []
    assert bridge.connections == 0


def test_poller_runs_by_itself_and_stops(bridge: Bridge) -> None:
    """Started, it polls in its own thread; closed, twice for good measure, it is gone."""
    bridge.ingested("run_1", "/imu")
    bridge.complain("run_1", "", "noticed")
    seen = threading.Event()
    poller = bridge.poller(interval_s=0.02)
    with poller:
        for _ in range(500):
            if poller.view()["items"]:
                seen.set()
                break
            threading.Event().wait(0.02)
    poller.close()
    assert seen.is_set()
    assert not [one for one in threading.enumerate() if one.name == "notifications"]


def test_missing_journal_is_waited_for(bridge: Bridge, tmp_path: Path) -> None:
    """Before the daemon has made its journal, a round does nothing and does not raise."""
    poller = bridge.poller()
    with JournalReader(tmp_path / "nowhere") as poller._journal:
        assert poller.poll() == []
    assert poller.wait_s() == 120


def test_cleared_notices_can_be_forgotten(bridge: Bridge) -> None:
    """After clearing on the platform the store forgets, and a repetition is news again."""
    bridge.ingested("run_1", "/imu")
    bridge.complain("run_1", "/imu", "again")
    poller = bridge.poller()
    poller.poll()
    with MosaicoClient.connect("127.0.0.1", bridge.server.port) as client:
        client.clear_topic_notify("run_1", "/imu")
    assert bridge.store.forget(Target(sequence="run_1", topic="/imu")) == 1
    assert poller.view()["items"] == []
    assert poller.poll() == []
    bridge.complain("run_1", "/imu", "again")
    assert [one.message for one in poller.poll()] == ["again"]


def test_unusable_store_is_an_error_of_the_tree(tmp_path: Path) -> None:
    """A file that is no database names the trouble and what to do."""
    (tmp_path / "notifications.db").write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match="notifications"):
        NotificationStore(tmp_path)


def test_store_opens_while_somebody_else_makes_it(tmp_path: Path) -> None:
    """`notifications` in the moment of a bridge's first start makes neither of the two fail."""
    with contextlib.closing(
        sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, other.rollback)
        end.start()
        with NotificationStore(tmp_path) as store:
            assert store.latest(1) == []
        end.join()
