"""Vehicles that nobody can reach: their agents send what they scrape, through outages too."""

import contextlib
import http.client
import itertools
import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.daemon.chaos_proxy import ChaosProxy
from tests.daemon.observe.live_bridge import ROOT, LiveBridge
from tests.daemon.observe.prometheus_process import (
    CONFIG,
    PrometheusProcess,
    filled,
    impatient,
    promtool,
    write_rules,
)
from tests.waiting import wait_for

BOARD = ROOT / "config" / "grafana" / "dashboards" / "mosaico-fleet.json"
AGENT = (CONFIG / "agent.yml").read_text(encoding="utf-8")
RECEIVER = (CONFIG / "prometheus.yml").read_text(encoding="utf-8")
KEPT = "--storage.agent.retention.max-time=7d"
WINDOW = "out_of_order_time_window: 7d"
RECEIVING = "--web.enable-remote-write-receiver"
INTERVAL_S = 0.5


class Receiver(PrometheusProcess):
    """The Prometheus of the fleet, as it is shipped, in a hurry."""

    def __init__(self, folder: Path, *, change: Callable[[str], str] = lambda text: text) -> None:
        write_rules(folder, impatient)
        text = change(RECEIVER.replace('["bridge:9477"]', "[]").replace("15s", "500ms"))
        super().__init__(
            folder, text, f"--storage.tsdb.path={folder / 'data'}", RECEIVING,
            "--query.lookback-delta=3s",
        )  # fmt: skip

    def take(self, *samples: tuple[str, float, float]) -> int:
        """Send samples (vehicle, time in seconds, value) as an agent does; give the status."""
        body = snappy(b"".join(field(1, series(*sample)) for sample in samples))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        with contextlib.closing(connection):
            connection.request("POST", "/api/v1/write", body, headers)
            return connection.getresponse().status

    def states(self) -> dict[str, str]:
        """Give what the dashboard shows of each vehicle."""
        (table,) = [panel for panel in board()["panels"] if panel["type"] == "table"]
        (state,) = [
            override["properties"][0]["value"][0]["options"]
            for override in table["fieldConfig"]["overrides"]
            if override["matcher"]["options"] == "State"
        ]
        return {
            one["metric"]["vehicle"]: state[one["value"][1]]["text"]
            for one in self.query(filled(table["targets"][0]["expr"]))
        }

    def samples(self, query: str) -> list[tuple[float, float]]:
        """Give the stored samples of one series of the last minutes: times in seconds, values."""
        (found,) = self.query(f"{query}[10m]")
        return [(float(at), float(value)) for at, value in found["values"]]


class Vehicle:
    """A bridge, the agent beside it, and its line to the receiver; a context manager."""

    def __init__(self, folder: Path, name: str, receiver: Receiver) -> None:
        folder.mkdir()
        self.name, self.folder = name, folder
        self.line = ChaosProxy(receiver.port)
        self.bridge = LiveBridge(folder)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.line)
            stack.enter_context(self.bridge)
            self.start_agent()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # Not asked to end: with its line cut it would try for a minute to send what it has.
        self.agent.kill()
        self._stack.close()

    def start_agent(self) -> None:
        text = AGENT
        for shipped, ours in (
            ("https://prometheus.example", f"http://127.0.0.1:{self.line.port}"),
            ("127.0.0.1:9477", f"127.0.0.1:{self.bridge.http_port}"),
            ("scrape_interval: 30s", "scrape_interval: 500ms"),
            ("batch_send_deadline: 15s", "batch_send_deadline: 500ms"),
            ("max_backoff: 30s", "max_backoff: 1s"),
        ):
            assert text.count(shipped) == 1, shipped
            text = text.replace(shipped, ours)
        self.agent = PrometheusProcess(
            self.folder, text, "--enable-feature=agent,expand-external-labels", KEPT,
            f"--storage.agent.path={self.folder / 'agent'}", environment={"VEHICLE": self.name},
        )  # fmt: skip

    def finalised(self) -> float:
        return self.bridge.metric('mosaico_bridge_recordings{state="finalised"}')


def board() -> dict[str, Any]:
    return dict(json.loads(BOARD.read_text(encoding="utf-8")))


# -- what an agent writes: protobuf in snappy's framing without compression ------------------------


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """A field of a message that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def series(vehicle: str, at_s: float, value: float) -> bytes:
    """A series of one sample: labels in field 1, samples in field 2."""
    labels = {"__name__": "up", "instance": vehicle, "job": "mosaico-bridge", "vehicle": vehicle}
    written = [field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in labels.items()]
    sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(int(at_s * 1000))
    return b"".join(written) + field(2, sample)


def snappy(content: bytes) -> bytes:
    """The length, then all of it as one literal of up to 64 KiB."""
    assert 60 < len(content) < 1 << 16
    return varint(len(content)) + b"\xf4" + (len(content) - 1).to_bytes(2, "little") + content


# -- the tests -------------------------------------------------------------------------------------


def test_promtool_accepts_the_agent() -> None:
    """The configuration of the agent is one, and names no address that every vehicle has."""
    promtool("check", "config", "--agent", CONFIG / "agent.yml")


def test_the_commands_of_the_page_are_those_that_are_tested() -> None:
    """What keeps samples through an outage is on the page, in the files, and in compose.yml."""
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    compose = (ROOT / "compose.yml").read_text(encoding="utf-8")
    for text in (page, AGENT):
        assert KEPT in text
        assert "--enable-feature=agent,expand-external-labels" in text
        assert "--agent" in text
    for text in (page, RECEIVER):
        assert WINDOW in text
        assert RECEIVING in text
    assert RECEIVING in compose
    assert re.search(r"retention.max-time=(\w+)", KEPT)[1] == WINDOW.split()[1]  # type: ignore[index]


@pytest.mark.parametrize("shipped", [True, False])
def test_samples_of_a_long_outage_are_taken(tmp_path: Path, *, shipped: bool) -> None:
    """What a vehicle kept for six days is stored beside what others sent meanwhile."""
    now_s = time.time()
    late = [("car-07", now_s - 6 * 86400 + minute * 60, 1.0) for minute in range(3)]
    without = lambda text: text.replace(WINDOW, "out_of_order_time_window: 0s")  # noqa: E731
    with Receiver(tmp_path, change=(lambda text: text) if shipped else without) as receiver:
        receiver.wait("vector(1)")
        assert receiver.take(("car-08", now_s, 1.0)) == 204
        answer = receiver.take(*late)
        stored = receiver.query('count_over_time(up{vehicle="car-07"}[7d])')

    if shipped:
        assert answer == 204
        assert [one["value"][1] for one in stored] == ["3"]
    else:
        assert answer == 400
        assert stored == []


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with Receiver(tmp_path_factory.mktemp("receiver")) as receiver:
        receiver.wait("vector(1)")
        yield receiver


@pytest.fixture(scope="module")
def vehicles(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vehicle, Vehicle]]:
    folder = tmp_path_factory.mktemp("vehicles")
    with (
        Vehicle(folder / "one", "car-01", receiver) as one,
        Vehicle(folder / "two", "car-02", receiver) as two,
    ):
        for vehicle in (one, two):
            receiver.wait(f'up{{vehicle="{vehicle.name}", instance="{vehicle.name}"}} == 1')
        yield one, two


@pytest.mark.slow
def test_an_outage_leaves_no_gap(receiver: Receiver, vehicles: tuple[Vehicle, Vehicle]) -> None:
    """What was measured without a line arrives afterwards, with the times at which it was so."""
    car, _ = vehicles
    before = car.finalised()
    car.line.refuse()
    cut_s = time.time()
    wait_for(lambda: receiver.states() == {"car-01": "parked, or no link", "car-02": "reports"})
    car.bridge.drop()
    wait_for(lambda: car.finalised() == before + 1)
    wait_for(lambda: time.time() > cut_s + 20 * INTERVAL_S)
    whole_s = time.time()
    car.line.accept()
    wait_for(lambda: receiver.states() == {"car-01": "reports", "car-02": "reports"})
    receiver.wait('up{vehicle="car-01"} offset 2s == 1')

    ups = [at for at, _ in receiver.samples('up{vehicle="car-01"}')]
    meanwhile = [at for at in ups if cut_s < at < whole_s]
    assert len(meanwhile) > (whole_s - cut_s) / INTERVAL_S / 2
    assert max(later - at for at, later in itertools.pairwise(ups)) < 6 * INTERVAL_S
    done = receiver.samples('mosaico_bridge_recordings{vehicle="car-01", state="finalised"}')
    assert any(value == before + 1 and cut_s < at < whole_s for at, value in done)


@pytest.mark.slow
def test_parked_is_told_from_broken(receiver: Receiver, vehicles: tuple[Vehicle, Vehicle]) -> None:
    """A bridge that is down is an alarm at once, a vehicle that is off is one when it stays off."""
    off, broken = vehicles

    def firing(vehicle: Vehicle) -> set[str]:
        found = receiver.query(f'ALERTS{{alertstate="firing", vehicle="{vehicle.name}"}}')
        names = {one["metric"]["alertname"] for one in found}
        return names & {"MosaicoBridgeDown", "MosaicoBridgeSilent"}

    wait_for(lambda: firing(off) == firing(broken) == set())
    off.line.refuse()
    broken.bridge.stop()
    wait_for(lambda: firing(broken) == {"MosaicoBridgeDown"})
    states = {"car-01": "parked, or no link", "car-02": "bridge down"}
    wait_for(lambda: receiver.states() == states)
    wait_for(lambda: firing(off) == {"MosaicoBridgeSilent"})
    assert firing(broken) == {"MosaicoBridgeDown"}
    off.line.accept()
    broken.bridge.start()
    wait_for(lambda: firing(off) == firing(broken) == set())


@pytest.mark.slow
def test_every_expression_has_an_answer(
    receiver: Receiver, vehicles: tuple[Vehicle, Vehicle]
) -> None:
    """Each panel has data, those about vehicles for both of them, also while one is off."""
    off, _ = vehicles
    for vehicle in vehicles:
        receiver.wait(f'increase(mosaico_bridge_failures_total{{vehicle="{vehicle.name}"}}[1m])')
    off.line.refuse()
    wait_for(lambda: receiver.states()["car-01"] == "parked, or no link")
    for panel in board()["panels"]:
        for target in panel["targets"]:
            found = receiver.query(filled(target["expr"]))
            assert found, target["expr"]
            names = {one["metric"].get("vehicle") for one in found}
            if panel["type"] == "table":
                assert names == {"car-01", "car-02"}, target["expr"]
                assert len(found) == 2, "a row for each vehicle"
    off.line.accept()
    for group in receiver.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule


@pytest.mark.slow
def test_a_restart_of_the_agent_forgets_what_it_had_not_sent(
    receiver: Receiver, vehicles: tuple[Vehicle, Vehicle]
) -> None:
    """As the page says: samples from before the restart are not sent any more."""
    car, _ = vehicles
    receiver.wait('up{vehicle="car-01"} == 1')
    car.line.refuse()
    cut_s = time.time()
    wait_for(lambda: time.time() > cut_s + 10 * INTERVAL_S)
    car.agent.kill()
    again_s = time.time()
    car.start_agent()
    wait_for(lambda: time.time() > again_s + 10 * INTERVAL_S)
    car.line.accept()
    receiver.wait('up{vehicle="car-01"} offset 2s == 1')

    ups = [at for at, _ in receiver.samples('up{vehicle="car-01"}') if at > cut_s]
    assert [at for at in ups if at < again_s - 2] == []
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert "**What it does not survive** is a restart of the agent" in page
