"""What the quality of a recording is said in: figures for each topic, findings, and their words."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFigures:
    """How one topic was recorded; measured before anything is left out or thinned out.

    Of a batch of more than 4,096 messages, 288 are looked into for periods, stamps and repeats; 144
    of each of its topics, where there are several that have more than 256. Counts, times and gaps
    are those of all.

    Attributes:
        messages: How many there are.
        start_ns: The earliest log time; None without messages.
        end_ns: The latest log time; None without messages.
        rate_hz: Messages per second between these two; None for less than two messages.
        period_median_s: Median of the times from a message to the next in the file; those where
            time goes back left out. None where there is none.
        period_p99_s: Their 99th percentile.
        gap_s: The longest of them.
        gap_start_ns: Log time of the message before that gap.
        times_back: Messages whose log time is before that of the one before.
        times_repeated: Messages whose log time is that of the one before.
        stamped: Messages with a stamp in their header, of those looked into; None where the type
            has none.
        delay_median_s: Median of log time minus stamp; None where nothing is stamped.
        delay_p99_s: Their 99th percentile.
        delay_drift_s: How much the delay grew from first to last message, by the straight line
            that fits best.
        compared: Messages whose payload was compared with that of the one before.
        repeated: How many of these were equal to it, but for stamp and `seq` of their header.
        seq_missing: Messages missing by ROS 1 `seq`; None where there is no `seq`, or where
            several publishers count on the same topic.
        lost_transport: Messages that the recorder reports lost on their way to it; None where it
            reports nothing.
        lost_recorder: Messages that the recorder reports lost in itself; None likewise.
        bars: Messages in each bar of time, of the whole recording.
        bars_start_ns: When the first bar starts; the same for all topics of a recording.
        bar_s: How long a bar is; likewise.
    """

    messages: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    rate_hz: float | None = None
    period_median_s: float | None = None
    period_p99_s: float | None = None
    gap_s: float | None = None
    gap_start_ns: int | None = None
    times_back: int = 0
    times_repeated: int = 0
    stamped: int | None = None
    delay_median_s: float | None = None
    delay_p99_s: float | None = None
    delay_drift_s: float | None = None
    compared: int = 0
    repeated: int = 0
    seq_missing: int | None = None
    lost_transport: int | None = None
    lost_recorder: int | None = None
    bars: tuple[int, ...] = ()
    bars_start_ns: int = 0
    bar_s: float = 0.0

    @property
    def repeated_share(self) -> float | None:
        """The share of messages equal to the one before; None where none was compared."""
        return self.repeated / self.compared if self.compared else None

    @property
    def lost(self) -> int | None:
        """Messages that the recorder reports lost, wherever; None where it reports nothing."""
        if self.lost_transport is None and self.lost_recorder is None:
            return None
        return (self.lost_transport or 0) + (self.lost_recorder or 0)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> "TopicFigures | None":
        """Read them back from `dataclasses.asdict`."""
        return None if plain is None else cls(**{**plain, "bars": tuple(plain["bars"])})


class FindingKind(StrEnum):
    """What can fall short; named after the setting that is not met."""

    MIN_HZ = "min_hz"
    MAX_GAP = "max_gap_s"
    MAX_DELAY = "max_delay_ms"
    MAX_REPEATED = "max_repeated_share"
    MAX_LOST = "max_lost"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An expectation that a recording does not meet.

    Attributes:
        kind: Which.
        topic: The topic as recorded; for a required one that is not there, its pattern.
        expected: What the settings ask for; 1 for `required`.
        measured: What was found instead, in the unit of the setting.
        text: Both, as a phrase.
    """

    kind: FindingKind
    topic: str
    expected: float
    measured: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingQuality:
    """The figures of a recording as a whole.

    Attributes:
        start_ns: The earliest log time of all topics; None without messages.
        end_ns: The latest.
        findings: The expectations that are not met, in order of the topics.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    findings: tuple[Finding, ...] = ()

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> "RecordingQuality | None":
        """Read it back from `dataclasses.asdict`."""
        if plain is None:
            return None
        findings = tuple(
            Finding(**{**one, "kind": FindingKind(one["kind"])}) for one in plain["findings"]
        )
        return cls(**{**plain, "findings": findings})
