"""How much may be sent: timetables, budgets that outlive restarts, and workers that keep to it."""

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from bridge.client import MosaicoClient
from bridge.config import LiveSettings, Settings, UplinkSettings, day_of, load_settings
from bridge.daemon.daemon import Daemon
from bridge.daemon.events.events import Event, WireMoved
from bridge.daemon.journal.states import State
from bridge.daemon.observe.explain import explain
from bridge.daemon.uplink.uplink import UPLINK_FILE, Uplink
from bridge.embedded import EmbeddedServer
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.daemon.conftest import Bridge

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = {"days": "mon-fri", "start": "08:00", "end": "18:00", "bytes_per_second_max": 500}
NIGHT = {"days": "fri,sat", "start": "22:00", "end": "06:00", "bytes_per_second_max": "pause"}
ENTRY: Any = None


def settings(**choices: object) -> UplinkSettings:
    return UplinkSettings(**{"timezone": "Europe/Berlin", **choices})


def in_force(**choices: object) -> Settings:
    return load_settings().model_copy(update={"uplink": settings(**choices)})


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


class Wall:
    """Clocks that stand until they are moved."""

    def __init__(self, text: str) -> None:
        self.moment = berlin(text)
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.moment.timestamp()) * 10**9

    def move(self, text: str) -> None:
        self.moment = berlin(text)
        self.now_s += 10.0


# 2026-11-20 is a Friday.
@pytest.mark.parametrize(
    ("moment", "limit", "ends"),
    [
        ("2026-11-20T07:59:59", 0, "2026-11-20T08:00"),
        ("2026-11-20T08:00:00", 500, "2026-11-20T18:00"),
        ("2026-11-20T17:59:59", 500, "2026-11-20T18:00"),
        ("2026-11-20T18:00:00", None, "2026-11-20T22:00"),
        ("2026-11-20T22:00:00", 0, "2026-11-21T06:00"),
        ("2026-11-21T05:59:59", 0, "2026-11-21T06:00"),
        ("2026-11-21T06:00:00", None, "2026-11-21T22:00"),
        ("2026-11-22T03:00:00", 0, "2026-11-22T06:00"),
        ("2026-11-22T12:00:00", None, "2026-11-23T08:00"),
        ("2026-11-22T22:30:00", None, "2026-11-23T08:00"),
        ("2026-11-23T08:00:00", 500, "2026-11-23T18:00"),
    ],
)
def test_timetable_decides_by_day_and_time(moment: str, limit: int | None, ends: str) -> None:
    """Each part of the week has its limit, over midnight too, and it is known when it ends."""
    early = {"days": "fri", "start": "06:00", "end": "08:00", "bytes_per_second_max": "pause"}
    uplink = settings(timetable=[OFFICE, NIGHT, early])
    if moment.startswith("2026-11-20T07"):
        assert uplink.limit_at(berlin("2026-11-20T05:59:59")) is None

    assert uplink.limit_at(berlin(moment)) == limit
    assert uplink.limit_ends(berlin(moment)) == berlin(ends)


def test_first_span_that_fits_decides_and_the_rest_of_the_week_is_as_set() -> None:
    """Spans may overlap; outside of all of them the general limit holds, always without any."""
    wide = {"bytes_per_second_max": 7}
    uplink = settings(timetable=[OFFICE, wide], bytes_per_second_max="pause")

    assert uplink.limit_at(berlin("2026-11-20T10:00")) == 500
    assert uplink.limit_at(berlin("2026-11-21T10:00")) == 7
    assert settings(bytes_per_second_max="pause").limit_at(berlin("2026-11-21T10:00")) == 0
    assert settings(bytes_per_second_max=3).limit_ends(berlin("2026-11-21T10:00")) is None


def test_timetable_goes_by_the_clocks_of_its_zone() -> None:
    """The same instant is office time in Berlin and night in UTC; changed clocks are followed."""
    instant = datetime(2026, 7, 20, 6, 30, tzinfo=UTC)
    wall_ns = int(instant.timestamp()) * 10**9
    here, there = settings(timetable=[OFFICE]), settings(timetable=[OFFICE], timezone="UTC")

    assert here.limit_at(here.local_time(wall_ns)) == 500
    assert there.limit_at(there.local_time(wall_ns)) is None
    # The night of 2026-10-25 has 25 hours.
    _, ends = day_of(berlin("2026-10-25T00:00"))
    assert ends.timestamp() - berlin("2026-10-25T00:00").timestamp() == 25 * 3600


@pytest.mark.parametrize(
    ("moment", "first", "end"),
    [
        ("2026-11-04T23:59", "2026-10-05", "2026-11-05T00:00"),
        ("2026-11-05T00:00", "2026-11-05", "2026-12-05T00:00"),
        ("2026-12-31T12:00", "2026-12-05", "2027-01-05T00:00"),
        ("2027-01-01T12:00", "2026-12-05", "2027-01-05T00:00"),
    ],
)
def test_month_begins_when_it_is_billed(moment: str, first: str, end: str) -> None:
    """A budget's month runs from the configured day to the same day of the next month."""
    start, ends = settings(month_starts_on=5).month_of(berlin(moment))

    assert (start.isoformat(), ends) == (first, berlin(end))


@pytest.mark.parametrize("wall_ns", [-(10**18), 0, 2**62, 2**70, -(2**70)])
def test_absurd_clock_stops_nothing(wall_ns: int) -> None:
    """Whatever the clock shows there is a limit and a budget's period."""
    uplink = settings(timetable=[OFFICE], bytes_per_month_max=5)
    moment = uplink.local_time(wall_ns)

    assert uplink.limit_at(moment) in {None, 500}
    assert uplink.month_of(moment)[0].day == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"uplink.timezone": "Mars/Olympus"},
        {"uplink.bytes_per_second_max": "slow"},
        {"uplink.bytes_per_second_max": -1},
        {"uplink.timetable": [{**OFFICE, "days": "monday"}]},
        {"uplink.timetable": [{**OFFICE, "start": "8:00"}]},
        {"uplink.timetable": [{**OFFICE, "end": "24:30"}]},
        {"uplink.timetable": [{"days": "mon"}]},
        {"uplink.month_starts_on": 31},
    ],
)
def test_wrong_uplink_settings_are_refused(wrong: dict[str, object]) -> None:
    """A timetable that cannot be meant is an error at the start, not a surprise at night."""
    with pytest.raises(ConfigError, match="uplink"):
        load_settings(overrides=wrong)


def test_budget_outlives_restarts_and_ends_with_its_period(tmp_path: "Path") -> None:
    """What was moved counts until the day, or the month, is over, over restarts."""
    clock = Wall("2026-11-20T10:00")
    choices = LiveSettings(in_force(bytes_per_day_max=1000, bytes_per_month_max=2500))
    first = Uplink(choices, folder=tmp_path, clock=clock)
    first.hear(WireMoved(entry=ENTRY, sent_bytes=900, received_bytes=50))
    assert [budget.left_bytes for budget in first.status.budgets] == [50, 1550]
    assert not first.status.held
    first.hear(WireMoved(entry=ENTRY, sent_bytes=150, received_bytes=0))
    first.save(at_once=True)

    again = Uplink(choices, folder=tmp_path, clock=clock)
    assert again.share_bytes_per_second(1) == 0
    assert again.status.reason == "uplink budget of the day used up until 2026-11-21 00:00 CET"
    clock.move("2026-11-21T00:00")
    assert again.share_bytes_per_second(1) is None
    again.hear(WireMoved(entry=ENTRY, sent_bytes=1500, received_bytes=0))
    assert again.status.reason == "uplink budget of the month used up until 2026-12-01 00:00 CET"
    assert again.status.ends_ns == int(berlin("2026-12-01T00:00").timestamp()) * 10**9
    # A clock that jumps back finds the day as it left it.
    clock.move("2026-11-20T23:00")
    assert again.status.budgets[0].used_bytes == 1100


def test_broken_budget_file_is_told_and_counting_goes_on(
    tmp_path: "Path", caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be read starts the budgets again, loudly; one it cannot write waits."""
    (tmp_path / UPLINK_FILE).write_text('{"moved')
    clock = Wall("2026-11-20T10:00")
    uplink = Uplink(LiveSettings(in_force(bytes_per_day_max=10)), folder=tmp_path, clock=clock)
    assert "start again" in caplog.text
    (tmp_path / UPLINK_FILE).unlink()
    (tmp_path / UPLINK_FILE).mkdir()
    uplink.hear(WireMoved(entry=ENTRY, sent_bytes=10, received_bytes=0))
    uplink.save(at_once=True)
    (tmp_path / UPLINK_FILE).rmdir()
    uplink.save(at_once=True)

    assert uplink.status.held
    plain = json.loads((tmp_path / UPLINK_FILE).read_text())
    assert plain["moved_bytes"] == {"day 2026-11-20": 10, "month 2026-11-01": 10}


def test_workers_share_the_rate(tmp_path: "Path") -> None:
    """The limit is that of all workers together."""
    live = LiveSettings(in_force(bytes_per_second_max=900))
    uplink = Uplink(live, folder=tmp_path, clock=Wall("2026-11-20T10:00"))

    assert [uplink.share_bytes_per_second(workers) for workers in (0, 1, 3)] == [900, 900, 300]
    live.adopt(in_force())
    assert uplink.share_bytes_per_second(3) is None
    live.adopt(in_force(bytes_per_second_max="pause"))
    assert uplink.share_bytes_per_second(3) == 0


# -- with real workers and a real server ---------------------------------------------------------


class WireListener:
    def __init__(self) -> None:
        self.sent = 0
        self.received = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, WireMoved):
            assert event.entry.path.suffix == ".mcap"
            self.sent += event.sent_bytes
            self.received += event.received_bytes


# Longer than a machine under load may hold a server up, shorter than the pauses here.
SERVER_STALL_S, WORKER_STALL_S = 4.0, 4.5


class Link:
    """A daemon with real workers before a real server, whose uplink settings can be changed."""

    def __init__(self, bridge: "Bridge", port: int) -> None:
        self.bridge = bridge
        self.wire = WireListener()
        # What these recordings hold compresses to nothing, and it is bytes that count here.
        bridge.overrides.setdefault("server.compression", "none")
        bridge.overrides |= {
            "server.host": "127.0.0.1",
            "server.port": port,
            "server.stall_timeout_s": SERVER_STALL_S,
            "workers.stall_timeout_s": WORKER_STALL_S,
            "ingest.max_batch_size_bytes": 200_000,
        }
        self.daemon = Daemon(
            bridge.settings,
            server=("127.0.0.1", port),
            observer=self.wire,
            reload=lambda: bridge.settings,
        )
        self._thread = threading.Thread(target=self.daemon.run)

    def start(self) -> None:
        self._thread.start()

    def change(self, **choices: object) -> None:
        self.bridge.overrides |= {f"uplink.{name}": value for name, value in choices.items()}
        self.daemon.hang_up()

    def stop(self) -> None:
        self.daemon.stop(drain=False)
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def link(bridge: "Bridge", **choices: object) -> "Iterator[Link]":
    bridge.overrides |= {f"uplink.{name}": value for name, value in choices.items()}
    with EmbeddedServer(bridge.folder / "platform") as server:
        made = Link(bridge, server.port)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def noise(bridge: "Bridge", kilobytes: int) -> bytes:
    """Make a recording of about so many kilobytes on the wire."""
    return bridge.mcap_bytes("x" * 1000, kilobytes)


def test_rate_and_pause_reach_a_worker_that_is_sending(bridge: "Bridge") -> None:
    """An upload keeps to the rate, stands still in a pause longer than any stall time, goes on."""
    bridge.overrides["ingest.max_batch_size_bytes"] = 200_000
    with link(bridge, bytes_per_second_max=400_000) as up:
        began_s = time.monotonic()
        bridge.drop("a.mcap", noise(bridge, 4000))
        bridge.wait_for(lambda: up.wire.sent > 400_000)
        up.change(bytes_per_second_max="pause")
        bridge.wait_for(lambda: up.daemon.status and up.daemon.status.uplink.held)
        # What is under way is finished: at most the batch in the stream and its buffers.
        before = -1
        while up.wire.sent != before:
            before = up.wire.sent
            bridge.turns(up.daemon)
        bridge.drop("b.mcap", noise(bridge, 10))
        time.sleep(WORKER_STALL_S + 0.5)
        assert up.wire.sent == pytest.approx(before, abs=5_000)
        assert before < 3_000_000
        bridge.await_state("b.mcap", State.READY)
        up.change(bytes_per_second_max=0)
        entry = bridge.await_state("a.mcap", State.FINALISED)
        bridge.await_state("b.mcap", State.FINALISED)
        took_s = time.monotonic() - began_s

    assert (entry.attempts, entry.interruptions, entry.deaths) == (0, 0, 0)
    assert up.wire.sent > 4_000_000
    assert took_s > 7.0


def test_budget_holds_everything_back_until_there_is_more(bridge: "Bridge") -> None:
    """What is over the budget waits with its reason; failed tries count; a raise lets it go."""
    with link(bridge, bytes_per_day_max=300_000) as up:
        bridge.drop("a.mcap", noise(bridge, 400))
        bridge.await_state("a.mcap", State.FINALISED)
        bridge.drop("b.mcap", noise(bridge, 100))
        bridge.await_state("b.mcap", State.READY)
        bridge.turns(up.daemon)
        status = up.daemon.status
        assert status is not None
        assert "uplink budget of the day used up until" in status.uplink.reason
        assert bridge.entries()["b.mcap"].state is State.READY
        # `explain` is another process, and reads the file, which is written now and then.
        reason = status.uplink.reason
        held = bridge.watched / "b.mcap"
        bridge.wait_for(lambda: explain(held, bridge.settings).summary.endswith(reason))
        saved = json.loads((bridge.state / UPLINK_FILE).read_text())["moved_bytes"]
        assert min(saved.values()) > 300_000
        up.change(bytes_per_day_max=10**9)
        bridge.await_state("b.mcap", State.FINALISED)


def test_wire_bytes_are_those_after_compression(bridge: "Bridge") -> None:
    """A compressed upload counts what really leaves, not the columns' size."""
    bridge.overrides["server.compression"] = "zstd"
    with link(bridge) as up:
        bridge.drop("a.mcap", noise(bridge, 1000))
        bridge.await_state("a.mcap", State.FINALISED)
        with MosaicoClient.connect(*_address(bridge)) as client:
            assert client.list_sequences()

    assert 1_000 < up.wire.sent < 300_000
    assert up.wire.received > 1_000


def _address(bridge: "Bridge") -> tuple[str, int]:
    return "127.0.0.1", int(bridge.overrides["server.port"])
