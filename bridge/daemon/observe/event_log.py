"""Writes what the daemon reports to the log: one line per event that matters, none per message.

Recording and sequence are facts of every line that has them. Going offline is one line, coming
back another; in between there is at most one a minute.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.daemon.dispose.emergency import MODE as EMERGENCY
from bridge.daemon.events.events import (
    Disposed,
    Event,
    GateChanged,
    IngestFailed,
    IngestFinished,
    IngestStarted,
    RecordingChanged,
    RecordingForgotten,
    Scanned,
    Started,
    Stopped,
    Ticked,
    Troubled,
    WorkerLost,
)
from bridge.daemon.events.status import DaemonStatus, Gate, GateStatus, WatchStatus
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import QUEUED, State
from bridge.daemon.observe.page_data import folder_name, several_folders
from bridge.errors import SHUT_OUT
from bridge.ingest import IngestReport, Removal, Replacement

log = logging.getLogger(__name__)

OFFLINE_REMINDER_S = 60.0
TOPICS_NAMED_MAX = 5
# Trouble with the platform as a whole, for which recordings wait in the queue.

# How loud the arrival in a state is; those left out are steps on the way, at debug level.
LOUDNESS = {
    State.READY: logging.INFO,
    State.PARTIAL: logging.WARNING,
    State.EMPTY: logging.INFO,
    State.QUARANTINED: logging.ERROR,
    State.REJECTED: logging.ERROR,
    State.LOST: logging.ERROR,
    State.VANISHED: logging.WARNING,
    State.IGNORED: logging.INFO,
    State.SUPERSEDED: logging.INFO,
    State.DISPOSED: logging.DEBUG,
}


class EventLog:
    """Listens to one daemon; all calls come from its loop thread."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._gate = Gate.OPEN
        self._reminded_s = 0.0
        self._watch_problem = ""
        self._folders: dict[str, Path] = {}

    def hear(self, event: Event) -> None:
        """Write what matters of an event."""
        match event:
            case Started(status=status):
                self._started(status)
            case Ticked(status=status):
                self._ticked(status)
            case Stopped(status=status):
                left = {name: count for name, count in status.counts.items() if count}
                log.info("stopped", extra=left)
            case Scanned(watch=watch):
                self._scanned(watch)
            case GateChanged(gate=gate):
                self._gate_changed(gate)
            case Troubled(failure=failure):
                facts = {"error": failure.error, "hint": failure.hint}
                log.error("%s", failure.message, extra=facts)
            case _:
                self._log_recording(event)

    def _started(self, status: DaemonStatus) -> None:
        """Say what is watched and where it goes; loudly so when that is the embedded server."""
        self._folders = several_folders(status)
        several = ", ".join(f"{name}: {folder}" for name, folder in self._folders.items())
        facts = {"folder": several or status.watch.folder, "server": status.server}
        if status.embedded:
            log.warning(
                "EMBEDDED server in use: recordings stay on this machine; set server.host",
                extra=facts,
            )
        log.info("started", extra=facts | {"instance": status.instance_id})

    def _ticked(self, status: DaemonStatus) -> None:
        """Remind once a minute that the platform is away."""
        closed = status.gate.gate is not Gate.OPEN
        if closed and self._monotonic() - self._reminded_s >= OFFLINE_REMINDER_S:
            self._log_gate(status.gate, "still")

    def _scanned(self, watch: WatchStatus) -> None:
        """Log a problem with the folder when it comes and when it goes."""
        if watch.problem == self._watch_problem:
            return
        self._watch_problem = watch.problem
        facts = {"folder": watch.folder}
        if watch.problem:
            log.warning("watching the folder: %s", watch.problem, extra=facts)
        else:
            log.info("watching the folder works again", extra=facts)

    def _gate_changed(self, gate: GateStatus) -> None:
        """Log that the way to the platform closed or opened."""
        if gate.gate is self._gate:
            return
        self._gate = gate.gate
        if gate.gate is Gate.OPEN:
            log.info("the platform is back")
        else:
            self._log_gate(gate, "now")

    def _log_gate(self, gate: GateStatus, when: str) -> None:
        self._reminded_s = self._monotonic()
        level = logging.ERROR if gate.gate is Gate.REFUSED else logging.WARNING
        log.log(level, "%s %s: %s", when, gate.gate, gate.reason, extra={"hint": gate.hint})

    def _log_recording(self, event: Event) -> None:
        match event:
            case RecordingChanged():
                self._log_change(event)
            case RecordingForgotten(entry=entry):
                log.info("forgotten", extra=self._facts(entry))
            case IngestStarted(entry=entry):
                facts = {"sequence": event.sequence, "size_bytes": event.size_bytes}
                log.info(
                    "sending", extra=self._facts(entry) | facts | {"messages": event.message_count}
                )
            case IngestFinished(entry=entry, report=report):
                self._log_report(entry, report)
            case IngestFailed():
                self._log_failure(event)
            case WorkerLost(entry=lost, failure=failure):
                facts = self._facts(lost, failure) if lost is not None else {"hint": failure.hint}
                log.error("worker lost: %s", failure.message, extra=facts)
            case Disposed():
                self._log_disposal(event)
            case _:
                pass

    def _log_change(self, event: RecordingChanged) -> None:
        entry, transition = event.entry, event.transition
        level = LOUDNESS.get(transition.after, logging.DEBUG)
        hint = entry.failure.hint if entry.failure is not None and level >= logging.ERROR else ""
        facts = self._facts(entry) | {"hint": hint}
        log.log(level, "%s: %s", transition.after, transition.reason, extra=facts)

    def _log_report(self, entry: Entry, report: IngestReport) -> None:
        """Write what arrived; lost data is an error, whatever else went well."""
        facts = self._facts(entry) | {
            "sequence": report.sequence,
            "topics": sum(topic.messages_sent > 0 for topic in report.topics),
            "messages": report.messages_sent,
            "seconds": round(report.seconds, 2),
            "verification": str(report.verification),
            "unverifiable": report.messages_unverifiable,
        }
        lost_bytes = sum(loss.end_bytes - loss.start_bytes for loss in report.losses)
        if report.replaced is not None:
            _log_replaced(report.replaced, facts)
        if report.findings:
            log.warning("%s", report.findings_in_words, extra=facts)
        if report.complete:
            log.info("on the platform", extra=facts)
            return
        log.error(
            "on the platform in part",
            extra=facts
            | {
                "left_out_messages": report.messages_skipped,
                "lost_bytes": lost_bytes,
                "why": "; ".join(report.shortfalls),
            },
        )
        for group in report.not_sent:
            # One line, however many topics one remedy would bring in.
            why = {"reason": group.reason, "hint": group.hint}
            named = ", ".join(group.topics[:TOPICS_NAMED_MAX])
            if (more := len(group.topics) - TOPICS_NAMED_MAX) > 0:
                named += f" and {more:,} more"
            log.warning("not sent: %s", named, extra=self._facts(entry) | why)
        for topic in report.topics:
            if topic.messages_unwillingly_skipped and not topic.left_out:
                log.warning(
                    "topic %s is not whole",
                    topic.shown_name,
                    extra=self._facts(entry) | {"reason": topic.reason, **topic.messages_skipped},
                )

    def _log_failure(self, event: IngestFailed) -> None:
        entry, failure = event.entry, event.failure
        if failure.trouble in SHUT_OUT and entry.state in QUEUED:
            # The gate is logged; each recording repeating it would only be noise.
            log.debug("broken off: %s", failure.message, extra=self._facts(entry))
            return
        if entry.state is State.EMPTY:
            # Nothing went wrong; the line about its state says so.
            return
        if event.retry_in_s is not None:
            again, level = f"again in {event.retry_in_s:.0f} s", logging.WARNING
        elif entry.state in QUEUED:
            again, level = "to be tried again", logging.WARNING
        else:
            again, level = "not tried again", logging.ERROR
        log.log(level, "failed, %s: %s", again, failure.message, extra=self._facts(entry, failure))

    def _log_disposal(self, event: Disposed) -> None:
        facts = self._facts(event.entry) | {"size_bytes": event.size_bytes, "target": event.target}
        if event.mode == EMERGENCY:
            log.error("source deleted to make room: %s", event.entry.reason, extra=facts)
        elif event.unasked:
            log.warning("%s", event.unasked, extra=facts | {"mode": event.mode})
        else:
            log.info("source disposed of: %s", event.mode, extra=facts)

    def _facts(self, entry: Entry, failure: Failure | None = None) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "recording": entry.path,
            "sequence": entry.sequence,
            # Empty, and so left out, where there is one folder.
            "folder": folder_name(entry.path, self._folders),
        }
        if failure is not None:
            facts |= {"error": failure.error, "hint": failure.hint}
        return facts


def _log_replaced(replaced: Replacement, facts: dict[str, Any]) -> None:
    with_older = facts | {"older": replaced.sequence}
    if replaced.removal is Removal.KEPT:
        log.warning("the older sequence stays beside it: %s", replaced.reason, extra=with_older)
    else:
        log.info("it has taken the place of an older sequence", extra=with_older)
