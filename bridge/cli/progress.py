"""Shows an ingest on a terminal as a progress bar, elsewhere as plain lines."""

import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bridge.cli.terminal import err, is_interactive, printable, size
from bridge.ingest import IngestReport, NoEvents

LINE_INTERVAL_S = 5.0


class ProgressBar(NoEvents):
    """Events of one or several ingests, one after the other, as a bar of bytes read."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[messages]:,} messages"),
            console=err,
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False, messages=0)
        self._messages = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._progress.stop()

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Start the bar anew."""
        del recording, message_count
        self._messages = 0
        self._progress.reset(
            self._task,
            total=size_bytes,
            description=printable(sequence),
            visible=True,
            messages=0,
        )

    def read(self, *, recorded_bytes: int) -> None:
        """Advance by bytes read."""
        self._progress.advance(self._task, recorded_bytes)

    def batch_sent(self, *, topic: str, messages: int, arrow_bytes: int) -> None:
        """Count messages."""
        del topic, arrow_bytes
        self._messages += messages
        self._progress.update(self._task, messages=self._messages)


class ProgressLines(NoEvents):
    """Events of ingests as plain lines: at the start, every few seconds, at the end."""

    def __init__(self) -> None:
        self._sequence = ""
        self._size_bytes = 0
        self._read_bytes = 0
        self._messages = 0
        self._last_line_s = 0.0

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to tear down."""

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """Say what begins."""
        del message_count
        self._sequence, self._size_bytes = printable(sequence), size_bytes
        self._read_bytes = self._messages = 0
        self._last_line_s = time.monotonic()
        self._say(f"{printable(recording)}: sending {size(size_bytes)} as {self._sequence}")

    def read(self, *, recorded_bytes: int) -> None:
        """Say now and then how far it is; before the start, damage is being located."""
        if not self._sequence:
            return
        self._read_bytes += recorded_bytes
        now_s = time.monotonic()
        if now_s - self._last_line_s >= LINE_INTERVAL_S:
            self._last_line_s = now_s
            share = self._read_bytes / self._size_bytes if self._size_bytes else 1.0
            self._say(
                f"{self._sequence}: {share:.0%} ({size(self._read_bytes)}), "
                f"{self._messages} messages"
            )

    def batch_sent(self, *, topic: str, messages: int, arrow_bytes: int) -> None:
        """Count messages."""
        del topic, arrow_bytes
        self._messages += messages

    def finished(self, *, report: IngestReport) -> None:
        """Say that it is done."""
        self._say(
            f"{printable(report.sequence)}: {report.messages_sent} messages in "
            f"{report.seconds:.2f} s, verified: {report.verification}"
        )

    def _say(self, line: str) -> None:
        err.print(line, markup=False, soft_wrap=True)


def progress() -> ProgressBar | ProgressLines:
    """Pick the bar for a terminal and lines for a pipe or a log."""
    return ProgressBar() if is_interactive() else ProgressLines()
