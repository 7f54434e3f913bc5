"""A simulated day of outages: everything arrives once, and nothing grows meanwhile."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.journal.states import State
from tests.daemon.chaos_day import HOUR_S, KINDS, Chaos, Fault, plan
from tests.daemon.platforms import PlatformProcess, chatter, rows_on

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MEBIBYTE = 1 << 20
# Ours, all processes together, by design.
MEMORY_BYTES_MAX = 350 * MEBIBYTE
FILES_MAX = 32
LINES_PER_RECORDING_MAX = 8
LINES_PER_FAULT_MAX = 12


@pytest.fixture
def chaos(bridge: "Bridge") -> Iterator[Chaos]:
    with PlatformProcess(bridge.folder / "platform") as server:
        yield Chaos(bridge, server)


def arrivals(seed: int, hours: float, count: int) -> list[tuple[float, str, int]]:
    """Draw when recordings of which size arrive, from a few messages to some megabytes."""
    chance = random.Random(seed)
    times = sorted(chance.uniform(0, (hours - 0.5) * HOUR_S) for _ in range(count))
    sizes = (10, 500, 5_000, 5_000, 20_000)
    return [(at_s, f"r{number}", chance.choice(sizes)) for number, at_s in enumerate(times)]


def live_through(chaos: Chaos, faults: list[Fault], *, seed: int, hours: float, count: int) -> None:
    """Live through a day, then find everything on the platform exactly once."""
    with chaos.running():
        chaos.live(faults, arrivals(seed, hours, count))
        with suppress(AssertionError):
            chaos.bridge.wait_for(chaos.settled, patience_s=300)
    elsewhere = [
        (entry.name, entry.state, entry.reason)
        for entry in chaos.bridge.entries().values()
        if entry.state is not State.FINALISED
    ]
    assert elsewhere == []
    entries = chaos.bridge.entries()

    assert rows_on(chaos.server.port) == chatter(chaos.messages)
    assert {entry.deaths for entry in entries.values()} == {0}
    assert len(entries) == count
    lines = chaos.log_lines()
    assert len(lines) <= LINES_PER_RECORDING_MAX * count + LINES_PER_FAULT_MAX * len(faults)
    footprint = chaos.footprint
    assert max(footprint.memory_bytes) < MEMORY_BYTES_MAX
    assert max(footprint.processes) <= 3
    figures = {
        "recordings": count,
        "rows": sum(chaos.messages.values()),
        "faults": dict(Counter(fault.kind for fault in faults)),
        "connections": chaos.proxy.connections,
        "sent MB": chaos.proxy.forwarded_bytes // 10**6,
        "attempts that counted": sum(entry.attempts for entry in entries.values()),
        "interruptions": sum(entry.interruptions for entry in entries.values()),
        "log lines": len(lines),
        "files": (min(footprint.files), max(footprint.files)),
        "memory MiB": max(footprint.memory_bytes) // MEBIBYTE,
    }
    print(figures)  # noqa: T201 - what docs/reliability.md reports


def test_hour_of_every_trouble_loses_and_doubles_nothing(chaos: Chaos) -> None:
    """Each kind of trouble strikes once while recordings come in; all are there once."""
    begins_s = 0.5
    faults = []
    for kind, (_, (_, longest)) in KINDS.items():
        lasts_s = min(longest * HOUR_S, 0.6)
        faults.append(Fault(kind=kind, begins_s=begins_s, lasts_s=lasts_s))
        begins_s += lasts_s + 0.3
    live_through(chaos, faults, seed=5, hours=0.9, count=12)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_day_of_outages_loses_and_doubles_nothing(chaos: Chaos) -> None:
    """24 hours at 240 times their speed: all recordings once, nothing grows, nothing is blamed."""
    faults = plan(seed=1, hours=24)
    live_through(chaos, faults, seed=2, hours=24, count=240)
    files, memory = chaos.footprint.files, chaos.footprint.memory_bytes
    third = len(files) // 3

    assert {fault.kind for fault in faults} == set(KINDS)
    # What stays open; looks at the disk take a few more for a moment, now and then.
    assert median(files[-third:]) <= median(files[:third])
    assert max(files) <= FILES_MAX
    assert max(memory[-third:]) <= max(memory[:third]) + 40 * MEBIBYTE
