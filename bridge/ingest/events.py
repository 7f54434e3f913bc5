"""What an ingest reports while it runs, and to whom; no metrics, no logs.

The daemon turns these calls into metrics and progress, the command line into progress bars, and
tests into lists. All calls come from the thread that runs the ingest.
"""

from bridge.ingest.open_upload import OpenUpload
from bridge.ingest.report import IngestReport, TopicReport


class IngestEvents:
    """Receives what happens, and ignores it here; must return quickly and never raise.

    A `topic` is named as reports show it: as on the platform, or as recorded where it is not there.
    """

    def started(
        self, *, recording: str, sequence: str, size_bytes: int, message_count: int | None
    ) -> None:
        """An ingest starts; `message_count` is None where the files do not tell."""

    def topic_planned(self, *, topic: TopicReport) -> None:
        """What happens to a topic is decided: mapped, generic, filtered or skipped."""

    def read(self, *, recorded_bytes: int) -> None:
        """So many more bytes of the files have been read."""

    def messages_read(self, *, topic: str, messages: int) -> None:
        """So many more messages of a topic have been read; their batch may still wait."""

    def batch_sent(self, *, topic: str, messages: int, arrow_bytes: int) -> None:
        """A batch was handed to the platform's stream."""

    def skipped(self, *, topic: str, reason: str, messages: int) -> None:
        """Messages were left out; an empty `topic` means that the topic is unknown."""

    def upload_changed(self, *, upload: OpenUpload) -> None:
        """An upload is about to start, was started or got on.

        A listener that keeps the last one can have it resumed, or its remains cleared.
        """

    def stage_finished(self, *, stage: str, seconds: float) -> None:
        """A stage took so long: `open`, `read`, `convert`, `send`, `verify` or `finalize`."""

    def finished(self, *, report: IngestReport) -> None:
        """The ingest ended well; how well is in the report."""


class NoEvents(IngestEvents):
    """Ignores everything."""
