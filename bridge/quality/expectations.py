"""What is expected of topics, and what of it a recording does not meet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bridge.quality.figures import Finding, FindingKind, RecordingQuality, TopicFigures
from bridge.units import SECOND_NS

MILLISECONDS = 1000

SILENCE_S = 1.0
"""Topics start and end a little apart; what is silent for longer at an end of the recording is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is expected of each topic that a pattern matches; None and False expect nothing.

    Attributes:
        min_hz: The least messages per second.
        max_gap_s: The longest time without a message.
        max_delay_ms: The most that 99 % of the messages come after the stamp in their header.
        max_repeated_share: The largest share of messages that equal the one before.
        max_lost: The most messages that the recorder reports lost.
        required: Whether there must be such a topic, with messages.
    """

    min_hz: float | None = None
    max_gap_s: float | None = None
    max_delay_ms: float | None = None
    max_repeated_share: float | None = None
    max_lost: int | None = None
    required: bool = False


def judge(
    expectations: Mapping[str, Expectation],
    topics: Mapping[str, TopicFigures],
    recording: RecordingQuality,
    *,
    whole: bool = True,
) -> tuple[Finding, ...]:
    """Find what falls short.

    Args:
        expectations: By pattern, shell style, of topics as recorded; the first that matches a
            topic is what is expected of it.
        topics: The figures of all topics of the recording, by name.
        recording: When the recording starts and ends.
        whole: Whether this is all of the recording; of a part nothing is required.
    """
    found: list[Finding] = []
    for name, figures in topics.items():
        pattern = next((one for one in expectations if fnmatchcase(name, one)), None)
        if pattern is not None:
            found += _short_of(expectations[pattern], name, figures, recording)
    for pattern, expected in expectations.items():
        if expected.required and whole:
            found += _missing(pattern, topics)
    return tuple(found)


def _missing(pattern: str, topics: Mapping[str, TopicFigures]) -> Iterator[Finding]:
    matching = {name: each for name, each in topics.items() if fnmatchcase(name, pattern)}
    silent = [name for name, each in matching.items() if not each.messages]
    for name in silent if matching else [pattern]:
        what = "no messages" if matching else "no such topic"
        yield Finding(
            kind=FindingKind.REQUIRED, topic=name, expected=1, measured=0, text=f"required: {what}"
        )


def _short_of(
    expected: Expectation, name: str, figures: TopicFigures, recording: RecordingQuality
) -> Iterator[Finding]:
    if not figures.messages:
        return
    silent_s = _silent_ends_s(figures, recording)
    delay_s, expected_share = figures.delay_p99_s, expected.max_repeated_share
    measured: tuple[tuple[FindingKind, float | None, float | None, str], ...] = (
        (FindingKind.MIN_HZ, expected.min_hz, _rate_hz(figures, silent_s), "{:.4g} Hz"),
        (
            FindingKind.MAX_GAP,
            expected.max_gap_s,
            max(figures.gap_s or 0.0, *silent_s),
            "silent for {:.4g} s",
        ),
        (
            FindingKind.MAX_DELAY,
            expected.max_delay_ms,
            None if delay_s is None else delay_s * MILLISECONDS,
            "{:.4g} ms behind its stamps",
        ),
        (
            FindingKind.MAX_REPEATED,
            expected_share,
            figures.repeated_share,
            "a share of {:.4g} repeats the message before",
        ),
        (FindingKind.MAX_LOST, expected.max_lost, figures.lost, "{:g} lost, says the recorder"),
    )
    for kind, limit, value, text in measured:
        if limit is None or value is None:
            continue
        least = kind is FindingKind.MIN_HZ
        if value < limit if least else value > limit:
            said = f"{text.format(value)}; at {'least' if least else 'most'} {limit:g} expected"
            yield Finding(kind=kind, topic=name, expected=limit, measured=value, text=said)


def _silent_ends_s(figures: TopicFigures, recording: RecordingQuality) -> tuple[float, float]:
    """Give how long a topic is silent before its first and after its last message; 0 for a bit."""
    assert figures.start_ns is not None
    assert figures.end_ns is not None
    assert recording.start_ns is not None
    assert recording.end_ns is not None
    before_s = (figures.start_ns - recording.start_ns) / SECOND_NS
    after_s = (recording.end_ns - figures.end_ns) / SECOND_NS
    return before_s if before_s > SILENCE_S else 0.0, after_s if after_s > SILENCE_S else 0.0


def _rate_hz(figures: TopicFigures, silent_s: tuple[float, float]) -> float | None:
    """Give the rate over the time in which the topic should have been there."""
    assert figures.start_ns is not None
    assert figures.end_ns is not None
    span_s = (figures.end_ns - figures.start_ns) / SECOND_NS + sum(silent_s)
    return (figures.messages - 1) / span_s if span_s > 0 else None
