"""The five kinds of trouble, and workers that die: each ends where it should, and goes on."""

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.config import LiveSettings, RetrySettings, load_settings
from bridge.daemon.events.events import Event, GateChanged, IngestFailed, Troubled, WorkerLost
from bridge.daemon.events.status import Gate, GateStatus
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import State
from bridge.daemon.work.outcome import (
    OUT_OF_MEMORY,
    STALLED,
    WORKER_DIED,
    Decision,
    Pause,
    after_failure,
    backoff_s,
    dated,
)
from bridge.daemon.work.scheduler import Gatekeeper, Waiting, choose
from bridge.errors import Trouble
from bridge.units import SECOND_NS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import Bridge

RETRY = RetrySettings(attempts_max=3, backoff_initial_s=1.0, backoff_max_s=10.0)
LIVE = LiveSettings(load_settings().model_copy(update={"retry": RETRY}))


class Listener:
    """Keeps what matters here."""

    def __init__(self) -> None:
        self.gates: list[GateStatus] = []
        self.failures: list[tuple[str, Failure, float | None]] = []
        self.lost: list[tuple[str, Failure]] = []
        self.troubles: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case GateChanged(gate=gate):
                self.gates.append(gate)
            case IngestFailed(entry=entry, failure=failure):
                self.failures.append((entry.path.name, failure, event.retry_in_s))
            case WorkerLost(entry=lost, failure=failure):
                self.lost.append(("" if lost is None else lost.path.name, failure))
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case _:
                pass


def entry(**changes: object) -> Entry:
    fields = dict.fromkeys(Entry.__dataclass_fields__, 0)
    return Entry(**{**fields, "state": State.SENDING, **changes})  # type: ignore[arg-type]


def test_trouble_of_the_platforms_database_costs_no_attempt_for_an_hour() -> None:
    """Again after a growing pause, as long as there is nothing else; then it counts after all."""
    deadlock = Failure(error="PlatformBusyError", message="deadlock", trouble=Trouble.TRANSIENT)
    started_ns = 5_000_000_000_000
    minute_ns = 60_000_000_000

    def after(before: Failure | None, minutes: int, **fields: object) -> tuple[Failure, Decision]:
        now_ns = started_ns + minutes * minute_ns
        one = entry(failure=before, attempts=2, **fields)
        failure = dated(one, deadlock, now_ns)
        return failure, after_failure(one, failure, RETRY, began=True, now_ns=now_ns, noise=0.0)

    first, decision = after(None, 0)
    assert (decision.state, decision.attempts, decision.retry_in_s) == (State.WAITING, 2, 1.0)
    again, decision = after(first, 59, interruptions=2)
    assert (decision.state, decision.attempts, decision.retry_in_s) == (State.WAITING, 2, 4.0)
    _, decision = after(again, 61)
    assert (decision.state, decision.attempts) == (State.REJECTED, 3)
    # Something else in between begins the hour again, and so does a clock that was set back.
    other = Failure(error="TransientError", message="other", trouble=Trouble.TRANSIENT)
    assert after(other, 61)[1].state is State.WAITING
    assert after(first, -600)[1].state is State.WAITING


@pytest.mark.parametrize(
    ("trouble", "error", "before", "state", "pause"),
    [
        (Trouble.OFFLINE, "OfflineError", 2, State.READY, Pause.OFFLINE),
        (Trouble.REFUSED, "RefusedError", 2, State.READY, Pause.REFUSED),
        (Trouble.TRANSIENT, "TransientError", 1, State.WAITING, Pause.NONE),
        (Trouble.TRANSIENT, "TransientError", 2, State.REJECTED, Pause.NONE),
        (Trouble.TRANSIENT, STALLED, 2, State.REJECTED, Pause.NONE),
        (Trouble.REJECTED, "AlreadyExistsError", 0, State.REJECTED, Pause.NONE),
        (Trouble.POISON, "DamagedRecordingError", 0, State.QUARANTINED, Pause.NONE),
        (Trouble.POISON, "EmptyRecordingError", 0, State.EMPTY, Pause.NONE),
        (Trouble.POISON, "RecordingVanishedError", 0, State.VANISHED, Pause.NONE),
        (Trouble.INTERNAL, "ZeroDivisionError", 0, State.WAITING, Pause.NONE),
        (Trouble.INTERNAL, "ZeroDivisionError", 2, State.QUARANTINED, Pause.NONE),
    ],
)
def test_trouble_decides_how_it_goes_on(
    trouble: Trouble, error: str, before: int, state: State, pause: Pause
) -> None:
    """A good recording is never quarantined because of the platform, nor poison tried again."""
    failure = Failure(error=error, message="m", trouble=trouble)
    decision = after_failure(entry(attempts=before), failure, RETRY, began=True, noise=0.0)

    assert (decision.state, decision.pause) == (state, pause)
    assert (decision.retry_in_s is not None) == (state is State.WAITING)
    # What is gone by itself, or waits for the platform, is no attempt at anything.
    counts = pause is Pause.NONE and state is not State.VANISHED
    assert decision.attempts == before + counts
    assert decision.interruptions == (trouble is Trouble.OFFLINE)


def test_recording_that_the_platform_cannot_decode_does_not_stop_the_others() -> None:
    """An upgraded platform pauses everything once; what meets it again waits alone."""
    failure = Failure(error="UnreadableRequestError", message="m", trouble=Trouble.REFUSED)
    first = after_failure(entry(failure=None), failure, RETRY, began=False, noise=0.0)
    again = after_failure(entry(failure=failure), failure, RETRY, began=False, noise=0.0)

    assert (first.state, first.pause) == (State.READY, Pause.REFUSED)
    assert (again.state, again.pause, again.attempts) == (State.WAITING, Pause.NONE, 0)
    assert again.retry_in_s is not None


def test_attempt_that_got_on_begins_the_count_again() -> None:
    """Giving up is for attempts in a row that achieve nothing."""
    failure = Failure(error="TransientError", message="m", trouble=Trouble.TRANSIENT)
    last = entry(attempts=RETRY.attempts_max - 1)
    fruitless = after_failure(last, failure, RETRY, began=True, noise=0.0)
    fruitful = after_failure(last, failure, RETRY, began=True, got_on=True, noise=0.0)

    assert fruitless.state is State.REJECTED
    assert (fruitful.state, fruitful.attempts) == (State.WAITING, 1)


def test_work_of_another_bridge_is_waited_for_longest() -> None:
    """It is looked at again when the other may have finished; a day of that costs no attempt."""
    failure = Failure(error="BusyElsewhereError", message="m", trouble=Trouble.TRANSIENT)
    first_ns, later = 1_700_000_000 * SECOND_NS, entry(attempts=2, failure=None)
    for hours in (0, 5, 23, 25):
        now_ns = first_ns + hours * 3600 * SECOND_NS
        failure = dated(later, failure, now_ns)
        decision = after_failure(later, failure, RETRY, began=True, now_ns=now_ns, noise=0.0)
        later = replace(later, failure=failure)
        if hours < 24:
            assert (decision.state, decision.attempts) == (State.WAITING, later.attempts)
            assert decision.retry_in_s == RETRY.backoff_max_s
    assert decision.state is State.REJECTED


@pytest.mark.parametrize("error", [WORKER_DIED, OUT_OF_MEMORY])
def test_second_death_is_blamed_on_the_recording(error: str) -> None:
    """A worker's death counts apart from attempts; the second one quarantines."""
    failure = Failure(error=error, message="m")
    first = after_failure(entry(failure=None), failure, RETRY, began=True, noise=0.0)
    second = after_failure(entry(deaths=1), failure, RETRY, began=True, noise=0.0)

    assert (first.state, first.deaths, first.attempts) == (State.WAITING, 1, 0)
    assert (second.state, second.deaths) == (State.QUARANTINED, 2)


def test_line_that_carries_something_is_not_left_unused_for_long() -> None:
    """Waits grow while nothing gets through, and start again from the first when something did."""
    clock = Jumping()
    gate = Gatekeeper(LIVE, clock=clock, on_change=lambda _: None)
    broken = Failure(error="BrokenLinkError", message="m", trouble=Trouble.OFFLINE)
    waits_s = []
    for got_on in (False, False, False, True, False):
        gate.closed_by(broken, got_on=got_on)
        waits_s.append(gate.probe_wait_s())

    expected = (1.0, 2.0, 4.0, 1.0, 2.0)
    assert waits_s == [pytest.approx(wait_s, rel=0.21) for wait_s in expected]


def test_idle_bridge_asks_now_and_then_whether_the_platform_is_there() -> None:
    """After a minute in which nothing was heard of it; whatever talks to it is heard."""
    clock = Jumping()
    gate = Gatekeeper(LIVE, clock=clock, on_change=lambda _: None)
    gate.answered()
    clock.now_s += 59
    assert gate.probe_wait_s() == pytest.approx(1.0)
    gate.heard()
    clock.now_s += 59
    assert gate.probe_wait_s() == pytest.approx(1.0)
    assert gate.status.next_probe_s == 0.0
    clock.now_s += 1
    assert gate.probe_wait_s() == 0.0
    # It does not keep a recording waiting.
    assert gate.is_reached
    assert gate.room(0, 1) == 1


@pytest.mark.timeout(120)
def test_idle_bridge_notices_that_the_platform_is_gone(bridge: "Bridge") -> None:
    """Without any recording, and again that it is back."""
    bridge.overrides |= {"server.probe_interval_s": 0.5, "server.timeout_s": 1.0}
    with bridge.bad_line() as proxy, bridge.running() as daemon:

        def gate() -> Gate | None:
            status = daemon.status
            return status.gate.gate if status is not None and status.gate.reached else None

        bridge.wait_for(lambda: gate() is Gate.OPEN)
        proxy.refuse()
        bridge.wait_for(lambda: gate() is Gate.OFFLINE)
        proxy.accept()
        bridge.wait_for(lambda: gate() is Gate.OPEN)


def test_no_room_for_a_copy_is_no_attempt() -> None:
    """A full scratch disk is waited out, as long as it takes, at the longest wait."""
    failure = Failure(error="ScratchSpaceError", message="m", trouble=Trouble.TRANSIENT)
    decision = after_failure(entry(attempts=2), failure, RETRY, began=False, noise=0.0)

    assert (decision.state, decision.attempts) == (State.WAITING, 2)
    assert decision.retry_in_s == RETRY.backoff_max_s


def test_backoff_doubles_up_to_its_cap() -> None:
    """Waits double, never exceed the cap by more than the jitter, and never overflow."""
    waits = [backoff_s(failures, RETRY, noise=0.0) for failures in (1, 2, 3, 4, 5, 10**9)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff_s(1, RETRY, noise=-1.0) == pytest.approx(0.8)
    assert backoff_s(9, RETRY, noise=1.0) == pytest.approx(12.0)


class Jumping:
    """A wall clock that jumps, and a monotonic one that does not."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.wall = 10**18

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return self.wall


@pytest.mark.parametrize("jump_ns", [-(10**18), 10**18])
def test_clock_that_jumps_changes_no_wait(jump_ns: int) -> None:
    """A wait is kept when the time of day changes by decades, and bounded after a restart."""
    clock = Jumping()
    waiting = Waiting(LIVE, clock=clock)
    due_ns = waiting.wait(1, 5.0)
    clock.wall += jump_ns
    told = entry(id=1, state=State.WAITING, due_ns=due_ns)

    assert waiting.left_s(told) == 5.0
    assert Waiting(LIVE, clock=clock).left_s(told) <= 2 * RETRY.backoff_max_s
    clock.now_s += 5.0
    assert waiting.left_s(told) == 0.0


def test_what_killed_a_worker_runs_alone() -> None:
    """A suspect waits until nothing else runs, lets others pass, and lets none in beside it."""
    suspect, other = entry(id=1, deaths=1), entry(id=2)

    assert choose([suspect, other], running=[other], due=lambda _: True) == other
    assert choose([suspect, other], running=[], due=lambda _: True) == suspect
    assert choose([other], running=[suspect], due=lambda _: True) is None


def test_platform_away_costs_nothing(bridge: "Bridge") -> None:
    """While nobody answers, nothing is tried, counted or quarantined; then all goes up."""
    (bridge.folder / "offline").touch()
    for index in range(5):
        bridge.drop(f"a{index}.mcap")
    listener = Listener()
    with bridge.running(listener) as daemon:
        bridge.await_state("a4.mcap", State.READY)
        bridge.wait_for(lambda: daemon.status and daemon.status.gate.gate is Gate.OFFLINE)
        bridge.turns(daemon)
        assert daemon.status is not None
        assert (daemon.status.gate.gate, daemon.status.gate.reached) == (Gate.OFFLINE, False)
        assert {found.state for found in bridge.entries().values()} == {State.READY}
        (bridge.folder / "offline").unlink()
        for index in range(5):
            bridge.await_state(f"a{index}.mcap", State.FINALISED)

    assert sorted(bridge.log("arrived")) == [f"a{index}" for index in range(5)]
    assert {found.attempts for found in bridge.entries().values()} == {0}
    assert len(bridge.log("attempts")) <= 7
    assert [gate.gate for gate in listener.gates] == [Gate.OFFLINE, Gate.OPEN]


def test_refusal_pauses_everything_until_it_is_lifted(bridge: "Bridge") -> None:
    """A wrong key stops the pipeline with its reason, costs no attempt, and heals by itself."""
    bridge.drop("refused_1.mcap")
    listener = Listener()
    with bridge.running(listener) as daemon:
        bridge.await_state("refused_1.mcap", State.SENDING)
        bridge.wait_for(lambda: Gate.REFUSED in {gate.gate for gate in listener.gates})
        bridge.turns(daemon)
        status = daemon.status
        assert status is not None
        (bridge.folder / "let-in").touch()
        found = bridge.await_state("refused_1.mcap", State.FINALISED)

    assert found.attempts == 0
    assert Gate.REFUSED in {gate.gate for gate in listener.gates}
    assert {gate.reason for gate in listener.gates if gate.gate is Gate.REFUSED} == {"wrong key"}


def test_broken_stream_is_tried_again_and_knows_its_last_chance(bridge: "Bridge") -> None:
    """Attempts are counted, the last one is told that it is, and giving up parks with a reason."""
    bridge.drop("flaky_1.mcap")
    bridge.drop("hopeless_1.mcap")
    with bridge.running():
        flaky = bridge.await_state("flaky_1.mcap", State.FINALISED)
        hopeless = bridge.await_state("hopeless_1.mcap", State.REJECTED)

    assert flaky.attempts == 2
    assert hopeless.reason == "given up after 3 attempts: the stream broke"
    assert [line for line in bridge.log("attempts") if "hopeless" in line] == [
        "hopeless_1 1 False",
        "hopeless_1 2 False",
        "hopeless_1 3 True",
    ]


def test_bad_recordings_do_not_stop_good_ones(bridge: "Bridge") -> None:
    """Poison, rejects, defects and crashes each end in their state; the rest arrives."""
    ends = {
        "poison_1.mcap": State.QUARANTINED,
        "empty_1.mcap": State.EMPTY,
        "rejected_1.mcap": State.REJECTED,
        "crash_1.mcap": State.QUARANTINED,
        "crashonce_1.mcap": State.FINALISED,
        "defect_1.mcap": State.QUARANTINED,
        "torn_1.mcap": State.PARTIAL,
        "good_1.mcap": State.FINALISED,
    }
    bridge.overrides["workers.count"] = 2
    for name in ends:
        bridge.drop(name)
    listener = Listener()
    with bridge.running(listener):
        for name, state in ends.items():
            bridge.await_state(name, state)
    found = bridge.entries()

    assert "SIGSEGV" in found["crash_1.mcap"].reason
    assert (found["crash_1.mcap"].deaths, found["crashonce_1.mcap"].deaths) == (2, 1)
    assert found["rejected_1.mcap"].failure is not None
    assert found["rejected_1.mcap"].failure.hint == "choose another"
    assert found["defect_1.mcap"].failure is not None
    assert "ZeroDivisionError" in found["defect_1.mcap"].failure.facts["traceback"]
    assert sorted(bridge.log("arrived")) == ["crashonce_1", "good_1", "torn_1"]
    assert sorted(name for name, _ in listener.lost) == [
        "crash_1.mcap",
        "crash_1.mcap",
        "crashonce_1.mcap",
    ]


def test_bomb_costs_its_recording_and_nothing_else(bridge: "Bridge") -> None:
    """A worker at its memory limit fails twice, then its recording is quarantined."""
    bridge.overrides["workers.memory_limit_bytes"] = 300 << 20
    bridge.drop("bomb_1.mcap")
    bridge.drop("good_1.mcap")
    with bridge.running():
        bomb = bridge.await_state("bomb_1.mcap", State.QUARANTINED)
        bridge.await_state("good_1.mcap", State.FINALISED)

    assert bomb.failure is not None
    assert bomb.failure.error == OUT_OF_MEMORY
    assert bomb.deaths == 2


def test_stuck_worker_is_replaced(bridge: "Bridge") -> None:
    """Waiting without end is a passing trouble; computing without end is the recording's fault."""
    bridge.overrides["workers.stall_timeout_s"] = 1.0
    bridge.drop("hang_1.mcap")
    bridge.drop("spin_1.mcap")
    with bridge.running():
        hang = bridge.await_state("hang_1.mcap", State.FINALISED)
        spin = bridge.await_state("spin_1.mcap", State.QUARANTINED)

    assert (hang.attempts, hang.deaths) == (1, 0)
    assert spin.deaths == 2
    assert "computing" in spin.reason


def test_quarantine_moves_poison_with_a_report(bridge: "Bridge") -> None:
    """With a quarantine folder, poison is moved there and the report says what and what to do."""
    quarantine = bridge.folder / "quarantine"
    bridge.overrides["disposal.quarantine_folder"] = str(quarantine)
    source = bridge.drop("sub/poison_1.mcap")
    with bridge.running():
        bridge.await_state("poison_1.mcap", State.QUARANTINED)
        moved = quarantine / "sub" / "poison_1.mcap"
        report_path = quarantine / "sub" / "poison_1.mcap.report.json"
        _wait_for_file(report_path)
    report = json.loads(report_path.read_text())

    assert moved.exists()
    assert not source.exists()
    assert report["failure"]["message"] == "no bag at all"
    assert report["recording"] == str(source)
    assert report["what_to_do"]
    assert [step["state"] for step in report["story"]][-1] == "quarantined"


def test_what_a_scan_finds_unreadable_is_quarantined_too(bridge: "Bridge") -> None:
    """A page of text that is named like a recording is moved with a report, once it is stale."""
    quarantine = bridge.folder / "quarantine"
    bridge.overrides |= {"disposal.quarantine_folder": str(quarantine), "watch.stale_s": 0.5}
    source = bridge.drop("page.mcap", b"<html>404</html>" * 100)
    with bridge.running():
        bridge.await_state("page.mcap", State.QUARANTINED)
        _wait_for_file(quarantine / "page.mcap.report.json")
    report = json.loads((quarantine / "page.mcap.report.json").read_text())

    assert (quarantine / "page.mcap").exists()
    assert not source.exists()
    assert report["failure"]["message"] == "the file is text, not a recording"


def _wait_for_file(path: "Path") -> None:
    give_up_at = time.monotonic() + 10
    while not path.exists() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert path.stat().st_size
