"""Carries a backfill through: gives tasks to an engine, writes down what became of each.

Nothing is committed late: each recording is final by itself, and its line of the manifest is
durable before the next one counts. Whatever ends a run, the same run again goes on from there.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bridge.backfill.archive import ArchivedRecording
from bridge.backfill.engines import Engine
from bridge.backfill.machine import Away, SharedGate
from bridge.backfill.manifest import Manifest
from bridge.backfill.plan import Planned, planned, rehearsed
from bridge.backfill.scratch import StoppedError
from bridge.backfill.task import Outcome, Result, Task, Watch, failed, scratch_of
from bridge.compose import connect
from bridge.config import Settings
from bridge.daemon import Failure
from bridge.errors import (
    SHUT_OUT,
    BridgeError,
    ConfigError,
    OfflineError,
    RefusedError,
    ServerError,
    TransientError,
)
from bridge.ingest import FoundParts, find_parts

LOOK_S = 0.5
ASK_S = 5.0
"""So often the driver asks for the platform where its jobs are on other machines."""


class Listener(Protocol):
    """Follows a run; called from the driver's thread."""

    def started(self, *, recordings: int, size_bytes: int) -> None:
        """So many recordings of so many bytes are looked at."""

    def finished(self, outcome: Outcome, recording: ArchivedRecording) -> None:
        """It is decided what became of a recording."""

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        """Time has passed, with so many recordings in work, of which so much is read."""

    def looked(self, away: Away | None) -> None:
        """The platform is away, or there as far as is known; said again and again."""


class Listeners:
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def started(self, *, recordings: int, size_bytes: int) -> None:
        """Say it to all."""
        for listener in self._listeners:
            listener.started(recordings=recordings, size_bytes=size_bytes)

    def finished(self, outcome: Outcome, recording: ArchivedRecording) -> None:
        """Say it to all."""
        for listener in self._listeners:
            listener.finished(outcome, recording)

    def moved(self, *, in_work: int, read_bytes: int) -> None:
        """Say it to all."""
        for listener in self._listeners:
            listener.moved(in_work=in_work, read_bytes=read_bytes)

    def looked(self, away: Away | None) -> None:
        """Say it to all."""
        for listener in self._listeners:
            listener.looked(away)


@dataclass(slots=True, kw_only=True)
class Entry:
    """What a summary says of a recording.

    Attributes:
        outcome: What became of it, without the report of its ingest.
        size_bytes: The size of its files.
        sequences: The sequences that hold it, where they are known.
        rows: Its rows on the platform, likewise.
    """

    outcome: Outcome
    size_bytes: int
    sequences: tuple[str, ...] = ()
    rows: int = 0

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "recording": self.outcome.url,
            "result": str(self.outcome.result),
            "reason": self.outcome.reason,
            "sequences": list(self.sequences),
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "copied_bytes": self.outcome.copied_bytes,
            "seconds": round(self.outcome.seconds, 3),
            "error": self.outcome.failure,
        }


@dataclass(slots=True, kw_only=True)
class Summary:
    """What became of everything.

    Attributes:
        entries: One for each recording that is wanted.
        ended_by: What ended the run before its time; None where nothing did.
        interrupted: Whether a person or the machine stopped it.
        outages: How often the platform went away.
        away_s: How long it was away in all.
    """

    entries: list[Entry] = field(default_factory=list)
    ended_by: Failure | None = None
    interrupted: bool = False
    outages: int = 0
    away_s: float = 0.0

    @property
    def counts(self) -> Counter[Result]:
        """How many came out how."""
        return Counter(entry.outcome.result for entry in self.entries)

    def as_json(self) -> dict[str, Any]:
        """Give all of it in plain values."""
        return {
            "recordings": [entry.as_json() for entry in self.entries],
            "counts": {str(result): count for result, count in self.counts.items()},
            "rows": sum(entry.rows for entry in self.entries),
            "ended_by": None if self.ended_by is None else self.ended_by.as_json(),
            "interrupted": self.interrupted,
            "outages": self.outages,
            "away_s": round(self.away_s, 3),
        }

    def alike(self) -> list[list[Entry]]:
        """Give what did not arrive whole and was tried, together by what is alike in it."""
        well = {Result.SENT, Result.HELD, Result.NOT_TRIED}
        kinds: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.outcome.result not in well:
                kinds.setdefault(kind_of(entry.outcome), []).append(entry)
        return list(kinds.values())


def kind_of(outcome: Outcome) -> str:
    """Give what an outcome has in common with others: its reason without names and numbers."""
    text = outcome.reason
    for name in (outcome.url, outcome.url.rpartition("/")[2]):
        text = text.replace(name, "") if name else text
    return f"{outcome.result}: {re.sub('[0-9][0-9.,]*', '', text)}"


class Driver:
    """One run; used from one thread.

    Args:
        settings: All settings.
        host: Where the platform is.
        port: Its port.
        manifest: What is known, and where it is written down; None for nothing.
        watch: Stops the tasks of this process.
        listener: Follows the run.
        fail_fast: Whether the first recording that fails ends the run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str,
        port: int,
        manifest: Manifest | None = None,
        watch: Watch | None = None,
        listener: Listener | None = None,
        fail_fast: bool = False,
    ) -> None:
        # As it travels to other machines: of a class that they know.
        self._settings = Settings.model_validate(settings.model_dump())
        self._at = (host, port)
        self._manifest = manifest or Manifest(None, config_hash="")
        self._watch = watch or Watch()
        self._listener = listener or Listeners(())
        self._fail_fast = fail_fast
        self._gate = SharedGate(
            scratch_of(settings), settings.retry, offline_s=settings.backfill.offline_s
        )
        self._performed_bytes = 0
        self._away_since_s: float | None = None
        self._asked_s = time.monotonic()
        self.summary = Summary()

    def plan(self, recordings: Sequence[ArchivedRecording]) -> Iterator[Planned]:
        """Decide about recordings without sending any.

        Raises:
            ServerError: The platform cannot be asked.
        """
        return planned(recordings, self._settings, self._manifest, self._ask)

    def rehearse(
        self, recordings: Sequence[ArchivedRecording]
    ) -> tuple[list[Planned], Failure | None]:
        """Decide about recordings by what can be known now, and wait for nobody.

        Returns:
            The decisions, and why the platform was not asked; then the manifest alone says what is
            there. None where it was.
        """
        try:
            self._probe()
            return list(planned(recordings, self._settings, self._manifest, self._find)), None
        except ServerError as error:
            plans = rehearsed(recordings, self._settings, self._manifest)
            return plans, Failure.of(error)

    def task(self, plan: Planned) -> Task:
        """Give the task for a recording that is to be sent, for any engine."""
        host, port = self._at
        return Task(
            recording=plan.recording,
            fingerprint=plan.fingerprint,
            parts=plan.parts,
            marks=plan.marks,
            settings=self._settings,
            host=host,
            port=port,
        )

    def run(self, recordings: Sequence[ArchivedRecording], engine: Engine) -> Summary:
        """Send what is to be sent; never raises for what is wrong with anything outside."""
        sizes = sum(recording.size_bytes for recording in recordings)
        self._listener.started(recordings=len(recordings), size_bytes=sizes)
        seen: set[str] = set()
        running: dict[Future[Outcome], Planned] = {}
        plans = self._guarded(self.plan(recordings))
        try:
            while not self._is_over():
                self._fill(plans, running, engine, seen)
                if not running:
                    break
                self._take(running)
                self._look(is_remote=engine.is_remote)
        except KeyboardInterrupt:
            self.summary.interrupted = True
        finally:
            self._let_go(running)
        for recording in recordings:
            if recording.url not in seen:
                outcome = Outcome(url=recording.url, result=Result.NOT_TRIED)
                self._enter(Planned(recording=recording), outcome, keep=False)
        return self.summary

    def _fill(
        self,
        plans: Iterator[Planned],
        running: dict[Future[Outcome], Planned],
        engine: Engine,
        seen: set[str],
    ) -> None:
        """Give the engine as much as it takes."""
        while len(running) < engine.in_flight_max:
            plan = next(plans, None)
            if plan is None:
                return
            seen.add(plan.recording.url)
            if plan.settled is not None:
                self._enter(plan, plan.settled, keep=plan.is_new)
                if self._is_over():
                    return
                continue
            running[engine.executor.submit(engine.call, self.task(plan))] = plan

    def _take(self, running: dict[Future[Outcome], Planned]) -> None:
        """Take in what has ended, or let a moment pass."""
        done, _ = wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for future in done:
            plan = running.pop(future)
            self._performed_bytes += plan.recording.size_bytes
            self._enter(plan, _outcome_of(future, plan), keep=True)
        # What is read twice, or not at all, must not add up.
        most = sum(plan.recording.size_bytes for plan in running.values())
        read_bytes = min(max(0, self._watch.read_bytes - self._performed_bytes), most)
        self._listener.moved(in_work=len(running), read_bytes=read_bytes)

    def _look(self, *, is_remote: bool = False) -> None:
        """Say whether the platform is away, as far as jobs of this machine know."""
        if is_remote and time.monotonic() - self._asked_s >= ASK_S:
            self._asked_s = time.monotonic()
            # A key that is refused ends the tasks, and they the run.
            with suppress(RefusedError):
                self._ask_again()
        away, now_s = self._gate.away(), time.monotonic()
        if away is not None and self._away_since_s is None:
            self._away_since_s = now_s
            self.summary.outages += 1
        if self._away_since_s is not None:
            self.summary.away_s += now_s - self._away_since_s
            self._away_since_s = None if away is None else now_s
        self._listener.looked(away)

    def _ask_again(self) -> None:
        if self._gate.away() is not None:
            self._gate.ask(self._probe)
            return
        try:
            self._probe()
        except (OfflineError, TransientError) as error:
            self._gate.closed_by(Failure.of(error))

    def _let_go(self, running: dict[Future[Outcome], Planned]) -> None:
        """End what is in work: at once where nothing can come of it, else when it is done."""
        ended_by = self.summary.ended_by
        away = ended_by is not None and ended_by.trouble in SHUT_OUT
        if self.summary.interrupted or away:
            self._watch.stopped.set()
        for future in list(running):
            future.cancel()
        for future, plan in running.items():
            if future.cancelled():
                outcome = Outcome(url=plan.recording.url, result=Result.NOT_TRIED)
                self._enter(plan, outcome, keep=False)
            else:
                self._enter(plan, _outcome_of(future, plan), keep=True)

    def _enter(self, plan: Planned, outcome: Outcome, *, keep: bool) -> None:
        """Write down what became of a recording."""
        recording = plan.recording
        report = outcome.report or {}
        held = plan.held if outcome.report is None else _held_by(report)
        if keep and outcome.result is not Result.NOT_TRIED:
            self._note(plan, outcome, held)
        entry = Entry(
            outcome=replace(outcome, report=None),
            size_bytes=recording.size_bytes,
            sequences=tuple(held),
            rows=report.get("messages_sent", plan.rows),
        )
        self.summary.entries.append(entry)
        self._listener.finished(outcome, recording)
        if outcome.result is Result.FAILED:
            assert outcome.failure is not None
            if self._fail_fast or outcome.trouble in SHUT_OUT:
                self.summary.ended_by = Failure.from_json(outcome.failure)

    def _note(self, plan: Planned, outcome: Outcome, held: Mapping[str, Sequence[str]]) -> None:
        """Write it into the manifest; where that is lost, what is in work is the last."""
        try:
            self._manifest.note(
                plan.recording,
                outcome,
                fingerprint=plan.fingerprint,
                parts=plan.parts,
                marks=plan.marks,
                held=held,
            )
        except ConfigError as error:
            self.summary.ended_by = Failure.of(error)

    def _is_over(self) -> bool:
        return self.summary.ended_by is not None or self._watch.stopped.is_set()

    def _guarded(self, plans: Iterator[Planned]) -> Iterator[Planned]:
        """End the run, rather than raise, when the platform stays away."""
        try:
            yield from plans
        except StoppedError:
            self.summary.interrupted = True
        except BridgeError as error:
            self.summary.ended_by = Failure.of(error)

    def _find(
        self, identities: Iterable[str], remembered: dict[str, tuple[str, ...]]
    ) -> FoundParts:
        """Ask the platform what it holds."""
        with connect(self._settings, *self._at) as client:
            return find_parts(client, identities, remembered=remembered)

    def _ask(self, identities: Iterable[str], remembered: dict[str, tuple[str, ...]]) -> FoundParts:
        """Ask the platform what it holds, and wait for it where it is away."""
        wanted = list(identities)
        while True:
            self._gate.wait(self._probe, stopped=self._watch.stopped, waits=self._look)
            self._look()
            try:
                return self._find(wanted, remembered)
            except (OfflineError, TransientError) as error:
                self._gate.closed_by(Failure.of(error))

    def _probe(self) -> None:
        with connect(self._settings, *self._at):
            pass


def _held_by(report: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name the sequences that hold a recording by its report, with the identities in each."""
    return {
        held["sequence"]: tuple(filter(None, [held["fingerprint"], *held["parts"]]))
        for held in report["contents"]
    }


def _outcome_of(future: Future[Outcome], plan: Planned) -> Outcome:
    """Give what a task came to; an engine that loses it fails the recording, for now."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - whatever an engine raises
        failure = Failure(
            error=type(error).__name__,
            message=f"the engine lost the task: {error}",
            hint="run the same again: what arrived is not sent again",
        )
        return failed(plan.recording.url, failure)
