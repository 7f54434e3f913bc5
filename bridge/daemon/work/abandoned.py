"""Unfinished sequences of recordings at rest: which is cleared next, and how often that is tried.

A recording that was given up, changed or disappeared may have left an unfinished sequence there,
which no attempt of its own will see to any more.
"""

from bridge.config import LiveSettings
from bridge.daemon.journal.clock import Clock
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.work.outcome import backoff_s


class AbandonedUploads:
    """Knows what recordings at rest have left on the platform, and which of it is due.

    Failures are kept in memory only: a restart counts from nothing. Used from the loop's thread
    only.

    Args:
        journal: The journal.
        live: The settings in force: how often and when to try again.
        clock: Where the time comes from.
    """

    def __init__(self, journal: Journal, live: LiveSettings, *, clock: Clock) -> None:
        self._journal = journal
        self._live = live
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._due_s: dict[int, float] = {}

    @property
    def pending(self) -> bool:
        """Whether there is anything left to clear, now or later."""
        return bool(self._journal.remains())

    def due(self) -> Entry | None:
        """Give a recording whose remains can be cleared now."""
        now_s = self._clock.monotonic_s()
        left = self._journal.remains()
        return next((entry for entry in left if self._due_s.get(entry.id, now_s) <= now_s), None)

    def done(self, entry_id: int) -> None:
        """Take note that a recording has left nothing any more.

        Raises:
            JournalError: The journal cannot be written.
        """
        self._journal.note(entry_id, upload=None)
        self._forget(entry_id)

    def failed(self, entry_id: int, failure: Failure) -> None:
        """Take note that clearing has failed: it is tried again, or the recording's reason says so.

        Raises:
            JournalError: The journal cannot be written.
        """
        retry = self._live.now.retry
        failures = self._failures.get(entry_id, 0) + 1
        if failures < retry.attempts_max:
            self._failures[entry_id] = failures
            wait_s = backoff_s(failures, retry, noise=0.0)
            self._due_s[entry_id] = self._clock.monotonic_s() + wait_s
            return
        entry = self._journal.get(entry_id)
        if entry is not None:
            reason = f"{entry.reason}; what it left on the platform stays there: {failure.message}"
            self._journal.note(entry_id, upload=None, reason=reason)
        self._forget(entry_id)

    def _forget(self, entry_id: int) -> None:
        self._failures.pop(entry_id, None)
        self._due_s.pop(entry_id, None)
