"""What all jobs of a machine share: how many send at a time, and whether the platform is there.

Both live in files of the scratch folder, so that threads, processes and containers on one volume
agree. Locks end with the process that holds them, so that nothing is left behind by a kill.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.backfill.scratch import WAIT_S, StoppedError, locked, pause
from bridge.config import RetrySettings
from bridge.daemon import Failure, backoff_s
from bridge.errors import BridgeError, OfflineError, RefusedError, ScratchSpaceError

GATE_FILE = "platform.json"
PROBE_LOCK = "platform.lock"
LOOK_S = 0.5


@contextmanager
def upload_slot(folder: Path, *, count: int, stopped: threading.Event) -> Iterator[None]:
    """Wait until fewer than so many jobs of this machine send, and be one of them.

    Args:
        folder: The scratch folder, which the jobs share.
        count: The most at a time.
        stopped: Ends the waiting.

    Raises:
        StoppedError: The run was stopped.
    """
    while True:
        for number in random.sample(range(count), count):
            with locked(folder / f"upload-{number}.lock", wait=False) as got:
                if got:
                    yield
                    return
        if stopped.wait(WAIT_S):
            raise StoppedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """The platform cannot be reached, or is in trouble.

    Attributes:
        since_s: When that was seen first, seconds since the epoch.
        next_in_s: How long until it is asked again.
        reason: What was seen last.
    """

    since_s: float
    next_in_s: float
    reason: str


class SharedGate:
    """Whether the platform can be reached, known together by all jobs of a machine.

    After a failure nobody sends until one job has found the platform there again; the waits between
    its questions double, for all.

    Args:
        folder: The scratch folder, which the jobs share.
        retry: First and longest wait.
        offline_s: How long to wait at most.
    """

    def __init__(self, folder: Path, retry: RetrySettings, *, offline_s: float) -> None:
        self._file = folder / GATE_FILE
        self._probing = folder / PROBE_LOCK
        self._retry = retry
        self._offline_s = offline_s

    def away(self) -> Away | None:
        """Say since when the platform is away; None where it is there as far as is known."""
        state = self._state()
        if state is None:
            return None
        next_in_s = max(0.0, state["next_s"] - time.monotonic())
        return Away(since_s=state["since_s"], next_in_s=next_in_s, reason=state["reason"])

    def wait(
        self,
        probe: Callable[[], None],
        *,
        stopped: threading.Event,
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until the platform is there.

        Args:
            probe: Asks it; raises where it is not there.
            stopped: Ends the waiting.
            waits: Called again and again meanwhile.

        Raises:
            OfflineError: It was away for too long.
            RefusedError: It answers and does not let us in.
            StoppedError: The run was stopped.
        """
        give_up_s = time.monotonic() + self._offline_s
        while (state := self._state()) is not None:
            waits()
            if time.monotonic() >= give_up_s:
                raise OfflineError(
                    f"the platform was away for {self._offline_s:.0f} s: {state['reason']}",
                    hint="run the same again when it is back: what arrived is not sent again",
                )
            if state["next_s"] > time.monotonic():
                pause(min(LOOK_S, state["next_s"] - time.monotonic()), stopped)
                continue
            if not self.ask(probe):
                pause(WAIT_S, stopped)

    def ask(self, probe: Callable[[], None]) -> bool:
        """Ask whether the platform is back, if it is time to.

        Returns:
            Whether nobody else is asking just now.

        Raises:
            RefusedError: It answers and does not let us in.
        """
        with locked(self._probing, wait=False) as got:
            if got:
                self._ask(probe)
        return got

    def _ask(self, probe: Callable[[], None]) -> None:
        state = self._state()
        if state is None or state["next_s"] > time.monotonic():
            return
        try:
            probe()
        except RefusedError:
            raise
        except BridgeError as error:
            self.closed_by(Failure.of(error))
        else:
            self._write({**state, "open": True})

    def closed_by(self, failure: Failure) -> None:
        """Take note that the platform is away or in trouble; everybody waits.

        Raises:
            ScratchSpaceError: It cannot be written.
        """
        known = self._read()
        failures = int(known.get("failures", 0)) + 1
        noise = random.uniform(-1, 1)  # noqa: S311 - jitter, no secret
        self._write(
            {
                "open": False,
                "failures": failures,
                "since_s": time.time() if known.get("open", True) else known["since_s"],
                "next_s": time.monotonic() + backoff_s(failures, self._retry, noise=noise),
                "reason": failure.message,
            }
        )

    def proven(self) -> None:
        """Take note that the platform has dealt with a recording: all is well."""
        if self._read():
            self._file.unlink(missing_ok=True)

    def _state(self) -> dict[str, Any] | None:
        """Give what is known of a closed gate; None where it is open."""
        known = self._read()
        return None if known.get("open", True) else known

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        longest_s = 2 * self._retry.backoff_max_s
        if not isinstance(known, dict) or known["next_s"] - time.monotonic() > longest_s:
            # Written before this machine was started.
            return {}
        return known

    def _write(self, state: dict[str, Any]) -> None:
        written = self._file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(state), encoding="utf-8")
            written.replace(self._file)
        except OSError as error:
            # Nobody would wait, and all would ask again and again.
            written.unlink(missing_ok=True)
            raise ScratchSpaceError(
                f"what jobs share cannot be written: {error.strerror}",
                folder=self._file.parent,
                needed_bytes=0,
                hint="free some space, or point --scratch at another disk",
            ) from error
