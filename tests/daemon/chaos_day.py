"""A day of a bad uplink in minutes: what happens when, and what it did to the daemon's process."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bridge.daemon.journal.states import State
from tests.daemon.chaos_proxy import ChaosProxy
from tests.daemon.conftest import ROOT, Bridge, mcap_bytes
from tests.daemon.platforms import PlatformProcess
from tests.daemon.processes import children, pss_bytes

HERE = Path(__file__).parent
# An hour of the day takes so many seconds.
HOUR_S = 15.0
SAMPLE_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something bad that happens.

    Attributes:
        kind: What; a method of `Chaos`.
        begins_s: When, from the start of the day.
        lasts_s: How long; what is over at once lasts no time.
    """

    kind: str
    begins_s: float
    lasts_s: float


# Kinds of trouble with their share, and how long they last in hours.
KINDS = {
    "refused": (4, (0.1, 3.0)),
    "cut": (5, (0.0, 0.0)),
    "frozen": (2, (0.05, 0.3)),
    "slow": (3, (0.2, 1.0)),
    "portal": (2, (0.1, 0.6)),
    "noise": (2, (0.05, 0.05)),
    "short_lines": (3, (0.2, 0.8)),
    "killed": (3, (0.1, 0.6)),
}


def plan(seed: int, hours: float) -> list[Fault]:
    """Draw the faults of a day; they follow each other, and the last half hour is quiet."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    at_s, end_s = 0.05 * HOUR_S, (hours - 0.5) * HOUR_S
    names = [name for name, (share, _) in KINDS.items() for _ in range(share)]
    while True:
        kind = chance.choice(names)
        lasts_s = chance.uniform(*KINDS[kind][1]) * HOUR_S
        if at_s + lasts_s > end_s:
            return faults
        faults.append(Fault(kind=kind, begins_s=at_s, lasts_s=lasts_s))
        at_s += lasts_s + chance.expovariate(1 / (0.15 * HOUR_S))


@dataclass(slots=True)
class Footprint:
    """What the daemon and its workers took, sampled through the day."""

    files: list[int] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)

    def sample(self, pid: int) -> None:
        """Look at a process and its children."""
        with suppress(psutil.NoSuchProcess):
            processes = [pid, *children(pid)]
            self.files.append(psutil.Process(pid).num_fds())
            self.processes.append(len(processes))
            self.memory_bytes.append(sum(map(pss_bytes, processes)))


class Chaos:
    """A platform that can be killed, a bad line to it, and a daemon as people run it."""

    def __init__(self, bridge: Bridge, server: PlatformProcess) -> None:
        self.bridge = bridge
        self.messages: dict[str, int] = {}
        self.footprint = Footprint()
        self.log = bridge.folder / "daemon.log"
        self.server = server
        self.proxy = ChaosProxy(server.port)

    # -- faults; each begins what its context ends -----------------------------------------------

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Nobody answers."""
        self.proxy.refuse()
        yield
        self.proxy.accept()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """All connections break."""
        self.proxy.cut()
        yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Everything is swallowed, without a word."""
        self.proxy.freeze()
        yield
        self.proxy.thaw()
        self.proxy.cut()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Every piece is late."""
        self.proxy.delay_s = 0.05
        yield
        self.proxy.delay_s = 0.0

    @contextmanager
    def portal(self) -> Iterator[None]:
        """Something else answers in the platform's place."""
        self.proxy.portal = True
        self.proxy.cut()
        yield
        self.proxy.portal = False

    @contextmanager
    def noise(self) -> Iterator[None]:
        """Answers come as noise."""
        self.proxy.noise = True
        yield
        self.proxy.noise = False
        self.proxy.cut()

    @contextmanager
    def short_lines(self) -> Iterator[None]:
        """No connection carries more than a little."""
        self.proxy.cut_after_bytes = 100_000
        yield
        self.proxy.cut_after_bytes = None

    @contextmanager
    def killed(self) -> Iterator[None]:
        """The platform's process dies and comes back later."""
        self.server.kill()
        yield
        self.server.start()

    # -- the day ---------------------------------------------------------------------------------

    def live(self, faults: list[Fault], arrivals: list[tuple[float, str, int]]) -> None:
        """Go through the day: recordings arrive and faults come and go, all at their times."""
        steps: list[tuple[float, Callable[[], object]]] = []
        with ExitStack() as open_faults:
            for fault in faults:
                one = ExitStack()
                context = getattr(self, fault.kind)()
                steps.append((fault.begins_s, partial(one.enter_context, context)))
                steps.append((fault.begins_s + fault.lasts_s, one.close))
                open_faults.callback(one.close)
            for at_s, name, messages in arrivals:
                steps.append((at_s, partial(self._drop, name, messages)))
            self._take(sorted(steps, key=lambda one: one[0]))

    def _take(self, steps: list[tuple[float, Callable[[], object]]]) -> None:
        began_s = time.monotonic()
        sampled_s = 0.0
        for at_s, step in steps:
            while (now_s := time.monotonic() - began_s) < at_s:
                time.sleep(min(0.05, at_s - now_s))
                if now_s - sampled_s >= SAMPLE_INTERVAL_S:
                    sampled_s = now_s
                    self.footprint.sample(self.daemon.pid)
            step()

    def settled(self) -> bool:
        """Tell whether every recording has come to rest, on the platform."""
        self.footprint.sample(self.daemon.pid)
        states = {name: entry.state for name, entry in self.bridge.entries().items()}
        return states == {f"{name}.mcap": State.FINALISED for name in self.messages}

    def log_lines(self) -> list[dict[str, object]]:
        """Give what the daemon logged."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _drop(self, name: str, messages: int) -> None:
        self.messages[name] = messages
        self.bridge.drop(f"{name}.mcap", mcap_bytes(name * 30, messages))

    # -- processes -------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run proxy and daemon, the latter by its command."""
        with self.proxy, self.log.open("wb") as log:
            config = self.bridge.folder / "bridge.toml"
            config.write_text(SETTINGS.format(bridge=self.bridge, port=self.proxy.port))
            command = [sys.executable, "-m", "bridge", "run", "--config", str(config)]
            self.daemon = subprocess.Popen(
                command, stderr=log, stdout=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            try:
                yield
                self.daemon.send_signal(signal.SIGTERM)
                assert self.daemon.wait(30) == 0
            finally:
                self.daemon.kill()
                self.daemon.wait()


# Times are those of the default settings, scaled like the day, where that is not too short to work.
SETTINGS = """
[watch]
folder = "{bridge.watched}"
settle_s = 0.2
rescan_interval_s = 1.0
[state]
folder = "{bridge.state}"
[server]
host = "127.0.0.1"
port = {port}
timeout_s = 2.0
stall_timeout_s = 2.0
[ingest]
max_batch_size_records = 1000
[retry]
backoff_initial_s = 0.05
backoff_max_s = 1.25
[uplink]
bytes_per_second_max = 4_000_000
[http]
port = 0
[log]
format = "json"
"""
