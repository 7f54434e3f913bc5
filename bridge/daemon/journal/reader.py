"""Reads the journal beside the daemon that owns it, from any thread, whenever it is there."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bridge.daemon.journal.journal import Journal
from bridge.errors import JournalError

Answer = TypeVar("Answer")


class JournalReader:
    """A connection of its own, opened at the first question and again after trouble.

    The daemon makes the journal when it starts; until then, questions raise. The lock guards the
    connection, which is used by one question at a time.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare for the journal of a state folder, which need not exist yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._journal: Journal | None = None

    def ask(self, question: Callable[[Journal], Answer]) -> Answer:
        """Put a question to the journal.

        Raises:
            JournalError: There is no journal yet, or it cannot be read.
        """
        with self._lock:
            if self._journal is None:
                self._journal = Journal.read(self._folder)
            try:
                return question(self._journal)
            except JournalError:
                # The next question starts afresh: the file may have been replaced.
                self._journal.close()
                self._journal = None
                raise

    def close(self) -> None:
        """Release the connection; may be called again."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
