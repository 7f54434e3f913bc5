"""Each metric moves when what it measures happens, and each is documented."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from bridge.daemon.events.events import (
    Disposed,
    GateChanged,
    IngestFailed,
    IngestFinished,
    IngestProgressed,
    Progress,
    RecordingChanged,
    Scanned,
    StageFinished,
    Started,
    Ticked,
    TopicPlanned,
    Troubled,
    WireMoved,
    WorkerLost,
)
from bridge.daemon.events.status import (
    BudgetStatus,
    Gate,
    GateStatus,
    PlatformFacts,
    UplinkStatus,
    WatchStatus,
)
from bridge.daemon.journal.entry import Transition
from bridge.daemon.journal.instance import INSTANCE_FILE
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe.metrics import LABEL_VALUES_MAX, OTHER, Metrics
from bridge.errors import Trouble
from bridge.ingest import IngestReport, TopicOutcome, TopicReport, VerificationLevel
from bridge.model import Loss
from bridge.quality import Finding, FindingKind, RecordingQuality
from tests.daemon.observe.situations import NOW_NS, NOW_S, SECOND_NS, entry, failure, status, worker

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
PREFIX = "mosaico_bridge_"


class Clock:
    """A clock that only moves when told."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), wall=Clock(NOW_S), monotonic=Clock(0))


def samples(metrics: Metrics) -> dict[str, float]:
    """All samples as a scraper sees them, `name{label="value"}` without the common prefix."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            name = sample.name.removeprefix(PREFIX)
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found


def moved(state: State, *, before: State | None = None, at_ns: int = NOW_NS) -> Transition:
    return Transition(entry_id=1, before=before, after=state, at_ns=at_ns, reason="a test")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.own(tmp_path, wall_ns=lambda: NOW_NS) as journal:
        yield journal


def discovered(journal: Journal, path: str, *states: State, size_bytes: int = 100) -> int:
    """Enter a recording and bring it through some states."""
    made = journal.discover(
        Path(path), name=Path(path).name, size_bytes=size_bytes, modified_ns=NOW_NS
    )
    for state in states:
        journal.move(made.id, state, "a test")
    return made.id


def test_recordings_by_state_are_those_of_the_journal(tmp_path: Path, journal: Journal) -> None:
    """Every state has a value at each scrape, and one that empties goes back to 0."""
    with JournalReader(tmp_path) as reader:
        metrics = Metrics(journal=reader)
        number = discovered(journal, "/data/a", State.READY)
        assert samples(metrics)['recordings{state="ready"}'] == 1
        journal.move(number, State.SENDING, "a test")
        found = samples(metrics)
    assert {state: found[f'recordings{{state="{state}"}}'] for state in State} == {
        state: int(state is State.SENDING) for state in State
    }


def test_queue_is_what_is_still_to_be_done(tmp_path: Path, journal: Journal) -> None:
    """The queue has its number, size and age, and ends when recordings leave it."""
    with JournalReader(tmp_path) as reader:
        clock = Clock(NOW_S + 60)
        metrics = Metrics(journal=reader, wall=clock)
        sending = discovered(journal, "/data/a", State.READY, State.SENDING, size_bytes=1_000_000)
        ready = discovered(journal, "/data/b", State.READY, size_bytes=500)
        discovered(journal, "/data/c", State.IGNORED)
        found = samples(metrics)
        assert found["queue_recordings"] == 2
        assert found["queue_bytes"] == 1_000_500
        assert found["queue_oldest_age_seconds"] == 60
        journal.move(ready, State.VANISHED, "a test")
        assert samples(metrics)["queue_bytes"] == 1_000_000
        clock.now_s = NOW_S - 60  # Set back: nothing is found in the future.
        assert samples(metrics)["queue_oldest_age_seconds"] == 0
        clock.now_s = NOW_S + 60
        journal.forget(sending)
        found = samples(metrics)
    assert found["queue_recordings"] == found["queue_bytes"] == 0
    assert found["queue_oldest_age_seconds"] == 0


def test_several_folders_are_told_apart(tmp_path: Path, journal: Journal) -> None:
    """Recordings, queue and steps say which folder they are about; a single one has no label."""
    watched = {"front": Path("/data/front"), "rear": Path("/data/rear")}
    with JournalReader(tmp_path) as reader:
        metrics = Metrics(journal=reader, watched=watched, wall=Clock(NOW_S + 60))
        single = Metrics(journal=reader, watched={"": Path("/data")})
        before = samples(metrics)
        discovered(journal, "/data/front/a", State.READY, size_bytes=7)
        discovered(journal, "/data/front/b", State.EMPTY)
        other = discovered(journal, "/data/rear2/c", State.READY)  # Its folder is watched no more.
        step = moved(State.READY)
        metrics.hear(RecordingChanged(entry=entry(path=Path("/data/rear/x")), transition=step))
        metrics.hear(RecordingChanged(entry=entry(path=Path("/data/rear2/c")), transition=step))
        found = samples(metrics)
        journal.forget(other)
        after, alone = samples(metrics), samples(single)
    for name in watched:
        assert before[f'recordings{{folder="{name}",state="ready"}}'] == 0
        assert before[f'recording_transitions_total{{folder="{name}",state="ready"}}'] == 0
        assert before[f'queue_recordings{{folder="{name}"}}'] == 0
    assert found['recordings{folder="front",state="ready"}'] == 1
    assert found['recordings{folder="front",state="empty"}'] == 1
    assert found['recordings{folder="rear",state="ready"}'] == 0
    assert found['recordings{folder="",state="ready"}'] == 1
    assert found['queue_recordings{folder="front"}'] == found['queue_recordings{folder=""}'] == 1
    assert found['queue_bytes{folder="front"}'] == 7
    assert found['queue_oldest_age_seconds{folder="front"}'] == 60
    assert found['queue_oldest_age_seconds{folder="rear"}'] == 0
    assert found['recording_transitions_total{folder="rear",state="ready"}'] == 1
    assert found['recording_transitions_total{folder="",state="ready"}'] == 1
    assert after['recordings{folder="",state="ready"}'] == 0
    assert after['queue_recordings{folder=""}'] == 0
    assert alone['recordings{state="ready"}'] == alone["queue_recordings"] == 1


def test_restart_forgets_neither_queue_nor_success(tmp_path: Path) -> None:
    """A new process shows the queue and the last success that the journal knows."""
    now_ns = NOW_NS

    with Journal.own(tmp_path, wall_ns=lambda: now_ns) as journal:
        for name, states in (
            ("old", (State.READY, State.SENDING, State.FINALISED, State.DISPOSED)),
            ("torn", (State.READY, State.SENDING, State.PARTIAL)),
            ("next", (State.READY,)),
            ("bad", (State.QUARANTINED,)),
        ):
            made = journal.discover(tmp_path / name, name=name, size_bytes=7, modified_ns=now_ns)
            for state in states:
                now_ns += SECOND_NS
                journal.move(made.id, state, "a test")
        with JournalReader(tmp_path) as reader:
            metrics = Metrics(journal=reader, wall=Clock(NOW_S + 100))
            assert samples(metrics)["last_success_time_seconds"] == 0
            metrics.hear(Started(status=status()))
            found = samples(metrics)
    assert found["last_success_time_seconds"] == NOW_S + 7
    assert found["queue_recordings"] == 1
    assert found["queue_bytes"] == 7
    assert found["queue_oldest_age_seconds"] == pytest.approx(100 - 7)


def test_unreadable_journal_is_counted_not_raised(tmp_path: Path) -> None:
    """An observer never raises, whatever the journal is like."""
    with JournalReader(tmp_path) as reader:
        metrics = Metrics(journal=reader)
        metrics.hear(Started(status=status()))
        assert samples(metrics)['errors_total{error="JournalError"}'] == 2  # This scrape is one.


def test_last_success_moves_with_what_happens(metrics: Metrics) -> None:
    """Arriving whole or in part is a success; other steps are none."""
    for at_s, state in ((1, State.FINALISED), (2, State.PARTIAL), (3, State.QUARANTINED)):
        step = moved(state, at_ns=NOW_NS + at_s * SECOND_NS)
        metrics.hear(RecordingChanged(entry=entry(state=state), transition=step))
    assert samples(metrics)["last_success_time_seconds"] == NOW_S + 2


def test_transitions_and_delay(metrics: Metrics) -> None:
    """Each step is counted; arriving observes the time since the last write."""
    metrics.hear(RecordingChanged(entry=entry(), transition=moved(State.READY)))
    assert samples(metrics)["recording_delay_seconds_count"] == 0
    done = entry(state=State.FINALISED, modified_ns=NOW_NS - 4 * SECOND_NS)
    metrics.hear(RecordingChanged(entry=done, transition=moved(State.FINALISED)))
    found = samples(metrics)
    assert found['recording_transitions_total{state="ready"}'] == 1
    assert found['recording_transitions_total{state="finalised"}'] == 1
    assert found['recording_transitions_total{state="partial"}'] == 0
    assert found["recording_delay_seconds_sum"] == 4
    assert found['recording_delay_seconds_bucket{le="5.0"}'] == 1
    assert found['recording_delay_seconds_bucket{le="2.0"}'] == 0


def test_recording_from_the_future_has_no_delay(metrics: Metrics) -> None:
    """A file stamped by a clock that was ahead does not make durations negative."""
    ahead = entry(state=State.FINALISED, modified_ns=NOW_NS + 99 * SECOND_NS)
    metrics.hear(RecordingChanged(entry=ahead, transition=moved(State.FINALISED)))
    assert samples(metrics)["recording_delay_seconds_sum"] == 0


def test_progress_is_counted_by_class_of_topic(metrics: Metrics) -> None:
    """What is sent counts under mapped or generic, while it happens."""
    for name, outcome in (("/imu", TopicOutcome.MAPPED), ("/diag", TopicOutcome.GENERIC)):
        planned = TopicReport(name=name, msgtype="a/msg/B", outcome=outcome)
        metrics.hear(TopicPlanned(entry=entry(), topic=planned))
    for _ in range(2):
        progress = Progress(
            recorded_bytes=1000,
            messages={"/imu": 10, "/diag": 3, "/unknown": 1},
            arrow_bytes={"/imu": 400, "/diag": 50},
            batches={"/imu": 1},
        )
        metrics.hear(IngestProgressed(entry=entry(), progress=progress))
    found = samples(metrics)
    assert found["read_bytes_total"] == 2000
    assert found['sent_messages_total{topics="mapped"}'] == 20
    assert found['sent_messages_total{topics="generic"}'] == 6
    assert found['sent_messages_total{topics="other"}'] == 2
    assert found['sent_bytes_total{topics="mapped"}'] == 800
    assert found['sent_batches_total{topics="mapped"}'] == 2
    assert found['sent_batches_total{topics="generic"}'] == 0


def test_finished_ingest_is_counted_from_its_report(metrics: Metrics) -> None:
    """Messages, topics, losses and proof come from the report, which is exact."""
    report = IngestReport(
        recording="/data/drive",
        sequence="drive",
        fingerprint="f",
        healthy=False,
        messages_unverifiable=12,
        recorded_bytes=5000,
        seconds=3.0,
        verification=VerificationLevel.RANGE,
        losses=[
            Loss(path=Path("a"), start_bytes=10, end_bytes=30, reason="torn"),
            Loss(path=Path("a"), start_bytes=50, end_bytes=55, reason="checksum"),
        ],
        topics=[
            TopicReport(
                name="/imu", msgtype="a/msg/B", outcome=TopicOutcome.MAPPED, messages_sent=100,
                arrow_bytes=4000, messages_skipped={"too_short": 2},
            ),
            TopicReport(
                name="/diag", msgtype="a/msg/C", outcome=TopicOutcome.GENERIC, messages_sent=7,
                arrow_bytes=70, messages_skipped={"too_short": 1, "too_large": 4},
            ),
            TopicReport(name="/x", msgtype="a/msg/D", outcome=TopicOutcome.SKIPPED, reason="no"),
        ],
    )  # fmt: skip
    metrics.hear(IngestFinished(entry=entry(), report=report))
    found = samples(metrics)
    assert found['ingested_messages_total{topics="mapped"}'] == 100
    assert found['ingested_messages_total{topics="generic"}'] == 7
    assert found['ingested_bytes_total{topics="mapped"}'] == 4000
    assert found["ingested_recorded_bytes_total"] == 5000
    assert found['skipped_messages_total{reason="too_short"}'] == 3
    assert found['skipped_messages_total{reason="too_large"}'] == 4
    assert found['topics_total{outcome="mapped"}'] == 1
    assert found['topics_total{outcome="skipped"}'] == 1
    assert found["ingest_duration_seconds_sum"] == 3
    assert found['verifications_total{level="range"}'] == 1
    assert found["salvaged_recordings_total"] == 1
    assert found["lost_ranges_total"] == 2
    assert found["lost_bytes_total"] == 25
    assert found["unverifiable_messages_total"] == 12


def test_findings_are_counted_once(metrics: Metrics) -> None:
    """By kind, where a recording came to the platform; the gauge is that of the last one read."""
    findings = tuple(
        Finding(kind=kind, topic="/imu", expected=1, measured=0, text="short")
        for kind in (FindingKind.MIN_HZ, FindingKind.MIN_HZ, FindingKind.REQUIRED)
    )
    for quality, already_there, shown in (
        (RecordingQuality(findings=findings), False, 3),
        # Compared once more, with what is there: no recording of its own.
        (RecordingQuality(findings=findings), True, 3),
        # Nothing was read, so nothing is known of it.
        (None, True, 3),
        (RecordingQuality(), False, 0),
    ):
        report = IngestReport(
            recording="/data/drive",
            sequence="drive",
            fingerprint="f",
            quality=quality,
            already_there=already_there,
        )
        metrics.hear(IngestFinished(entry=entry(), report=report))
        found = samples(metrics)
        assert found["last_recording_findings"] == shown
        assert found['expectations_failed_total{kind="min_hz"}'] == 2
        assert found['expectations_failed_total{kind="required"}'] == 1
        assert found['expectations_failed_total{kind="max_gap_s"}'] == 0


def test_healthy_recording_is_not_salvaged(metrics: Metrics) -> None:
    """A report without damage moves none of the loss counters."""
    report = IngestReport(recording="/data/drive", sequence="drive", fingerprint="f")
    metrics.hear(IngestFinished(entry=entry(), report=report))
    found = samples(metrics)
    assert found["salvaged_recordings_total"] == found["lost_bytes_total"] == 0
    assert found['verifications_total{level="none"}'] == 1


def test_stages_are_timed(metrics: Metrics) -> None:
    """Each stage has a histogram of its own."""
    metrics.hear(StageFinished(entry=entry(), stage="convert", seconds=0.2))
    found = samples(metrics)
    assert found['stage_duration_seconds_sum{stage="convert"}'] == pytest.approx(0.2)
    assert found['stage_duration_seconds_count{stage="send"}'] == 0


def test_failures_by_kind(metrics: Metrics) -> None:
    """A failure counts by trouble and error; only one that is tried again is a retry."""
    metrics.hear(IngestFailed(entry=entry(), failure=failure(), retry_in_s=2.0))
    metrics.hear(IngestFailed(entry=entry(), failure=failure(), retry_in_s=None))
    wrong = failure(error="VerificationError")
    metrics.hear(IngestFailed(entry=entry(), failure=wrong, retry_in_s=2.0))
    lost = failure(error="WorkerDied", trouble=Trouble.POISON)
    metrics.hear(WorkerLost(entry=None, failure=lost))
    metrics.hear(Troubled(failure=failure(error="ScratchSpaceError", trouble=Trouble.INTERNAL)))
    found = samples(metrics)
    assert found['failures_total{trouble="transient"}'] == 3
    assert found['failures_total{trouble="poison"}'] == 0
    assert found['retries_total{trouble="transient"}'] == 2
    assert found["verification_failures_total"] == 1
    assert found["workers_lost_total"] == 1
    assert found['errors_total{error="TransientError"}'] == 2
    assert found['errors_total{error="WorkerDied"}'] == 1
    assert found['errors_total{error="ScratchSpaceError"}'] == 1


def test_time_offline_is_counted() -> None:
    """Seconds between turns of the loop count by what kept the gate closed, open ones nowhere."""
    clock = Clock(0)
    metrics = Metrics(CollectorRegistry(), wall=Clock(NOW_S), monotonic=clock)
    course = [
        (0, Gate.OPEN), (10, Gate.OPEN), (20, Gate.OFFLINE), (25, Gate.OFFLINE),
        (27, Gate.REFUSED), (40, Gate.OPEN),
    ]  # fmt: skip
    for now_s, gate in course:
        clock.now_s = now_s
        metrics.hear(Ticked(status=status(gate=GateStatus(gate=gate, reached=True))))
    found = samples(metrics)
    assert found['gate_closed_seconds_total{gate="offline"}'] == 15
    assert found['gate_closed_seconds_total{gate="refused"}'] == 2


@pytest.mark.parametrize(
    ("gate", "reached", "reachable", "accepting"),
    [
        (Gate.OPEN, True, 1, 1),
        (Gate.OPEN, False, 0, 0),
        (Gate.OFFLINE, True, 0, 0),
        (Gate.REFUSED, True, 1, 0),
    ],
)
def test_gate_tells_reachable_from_accepting(
    metrics: Metrics, *, gate: Gate, reached: bool, reachable: int, accepting: int
) -> None:
    """A platform that answers but refuses is reachable, not accepting."""
    metrics.hear(GateChanged(gate=GateStatus(gate=gate, reached=reached)))
    found = samples(metrics)
    assert (found["server_reachable"], found["server_accepting"]) == (reachable, accepting)


def test_platform_is_named(metrics: Metrics) -> None:
    """The platform's address and revision are labels of one sample, also after a change."""
    metrics.hear(Started(status=status(embedded=True)))
    assert samples(metrics)["embedded"] == 1
    known = PlatformFacts(address="mosaico.example:6726", revision="G2d")
    unproven = replace(known, revision="G3b", reservation="experimental, by description")
    for platform, experimental in ((known, "no"), (unproven, "yes")):
        metrics.platform_known(platform)
        found = [name for name in samples(metrics) if name.startswith("server_info")]
        labels = f'address="mosaico.example:6726",experimental="{experimental}"'
        assert found == [f'server_info{{{labels},revision="{platform.revision}"}}']


def test_workers_and_loop(metrics: Metrics) -> None:
    """Workers show their number, memory and longest silence; the loop shows its turns."""
    busy = (worker(), worker(worker=2, memory_bytes=7, idle_s=40.0))
    metrics.hear(Started(status=status(workers=busy)))
    found = samples(metrics)
    assert found["workers"] == 2
    assert found["worker_memory_bytes"] == 123_000_007
    assert found["worker_idle_seconds"] == 40
    assert found["last_tick_time_seconds"] == NOW_S
    assert found["start_time_seconds"] == NOW_S - 3600
    metrics.hear(Ticked(status=status()))
    assert samples(metrics)["workers"] == samples(metrics)["worker_idle_seconds"] == 0


def test_first_start_is_kept_over_restarts(tmp_path: Path) -> None:
    """The age of the state folder's name counts, however often the daemon starts."""
    name = tmp_path / INSTANCE_FILE
    for known in (False, True):
        metrics = Metrics(folders={"state": tmp_path})
        metrics.hear(Started(status=status()))
        wanted_s = NOW_S - 90 * 86400 if known else NOW_S - 3600
        assert samples(metrics)["first_start_time_seconds"] == wanted_s
        name.touch()
        os.utime(name, (NOW_S - 90 * 86400, NOW_S - 90 * 86400))


def test_an_empty_recording_is_no_failure(metrics: Metrics) -> None:
    """It had nothing to send; neither a failure nor an error is counted."""
    metrics.hear(IngestFailed(entry=entry(state=State.EMPTY), failure=failure(), retry_in_s=None))
    found = samples(metrics)
    assert not any(value for name, value in found.items() if name.startswith("failures_total"))
    assert not any(value for name, value in found.items() if name.startswith("errors_total"))


def test_uplink_shows_what_moved_and_what_may_still(metrics: Metrics) -> None:
    """Bytes on the wire count both ways; limit and budgets are infinite where there is none."""
    for _ in range(2):
        metrics.hear(WireMoved(entry=entry(), sent_bytes=1000, received_bytes=30))
    metrics.hear(Ticked(status=status()))
    found = samples(metrics)
    assert found['wire_bytes_total{direction="sent"}'] == 2000
    assert found['wire_bytes_total{direction="received"}'] == 60
    assert found["uplink_limit_bytes_per_second"] == math.inf
    assert found['uplink_budget_left_bytes{period="day"}'] == math.inf
    budget = BudgetStatus(
        period="month", most_bytes=100, used_bytes=120, left_bytes=0, ends_ns=NOW_NS
    )
    held = UplinkStatus(bytes_per_second_max=0, reason="used up", budgets=(budget,))
    metrics.hear(Ticked(status=status(uplink=held)))
    found = samples(metrics)
    assert found["uplink_limit_bytes_per_second"] == 0
    assert found['uplink_budget_left_bytes{period="day"}'] == math.inf
    assert found['uplink_budget_left_bytes{period="month"}'] == 0


def test_watch(metrics: Metrics) -> None:
    """A folder that cannot be read and a watch without events show."""
    watch = WatchStatus(folder=Path("/data"), readable=False, last_scan_ns=NOW_NS, last_scan_s=1.5)
    metrics.hear(Scanned(watch=watch))
    found = samples(metrics)
    assert found["watch_readable"] == found["watch_events"] == 0
    assert found["scans_total"] == 1
    assert found["scan_duration_seconds"] == 1.5
    assert found["last_scan_time_seconds"] == NOW_S
    metrics.hear(Ticked(status=status()))
    assert samples(metrics)["watch_readable"] == samples(metrics)["watch_events"] == 1


def test_disposals(metrics: Metrics) -> None:
    """What is moved or deleted counts with its size."""
    gone = Disposed(entry=entry(), mode="move", target=Path("/b"), size_bytes=77)
    metrics.hear(gone)
    found = samples(metrics)
    assert found['disposals_total{mode="move"}'] == 1
    assert found['disposed_bytes_total{mode="move"}'] == 77
    assert found['disposals_total{mode="delete"}'] == 0
    assert found["disposals_by_remembered_proof_total"] == 0
    metrics.hear(replace(gone, proof="remembered"))
    assert samples(metrics)["disposals_by_remembered_proof_total"] == 1


def test_disks_are_measured_at_each_scrape(tmp_path: Path) -> None:
    """Folders show their disk; one that is gone shows NaN instead of failing the scrape."""
    folders = {"watch": tmp_path, "archive": tmp_path / "missing"}
    found = samples(Metrics(CollectorRegistry(), folders=folders))
    assert 0 < found['disk_free_bytes{folder="watch"}'] <= found['disk_size_bytes{folder="watch"}']
    assert math.isnan(found['disk_free_bytes{folder="archive"}'])


def test_notifications(metrics: Metrics) -> None:
    """New notifications count by type, calls by result, and the sweep has an age."""
    assert math.isnan(samples(metrics)["notification_sweep_age_seconds"])
    metrics.notification_seen(kind="error")
    metrics.notifications_asked(succeeded=True)
    metrics.notifications_asked(succeeded=False)
    metrics.notifications_swept(oldest_asked_s=NOW_S - 30)
    found = samples(metrics)
    assert found['notifications_total{type="error"}'] == 1
    assert found['notification_calls_total{result="ok"}'] == 1
    assert found['notification_calls_total{result="failed"}'] == 1
    assert found["notification_sweep_age_seconds"] == 30


def test_labels_from_outside_are_bounded(metrics: Metrics) -> None:
    """However many reasons there are, the number of series has a bound and no count is lost."""
    for number in range(500):
        topic = TopicReport(
            name="/x", msgtype="a/msg/B", outcome=TopicOutcome.SKIPPED,
            messages_skipped={f"reason {number}": 1},
        )  # fmt: skip
        report = IngestReport(recording="r", sequence="s", fingerprint="f", topics=[topic])
        metrics.hear(IngestFinished(entry=entry(), report=report))
        metrics.hear(Troubled(failure=failure(error=f"Error{number}")))
        metrics.notification_seen(kind=f"kind {number}")
    found = samples(metrics)
    for name in ("skipped_messages_total{reason", "errors_total{error", "notifications_total{type"):
        series = {key: value for key, value in found.items() if key.startswith(name)}
        assert len(series) <= LABEL_VALUES_MAX + 2
        assert sum(series.values()) == 500
        assert series[f'{name}="{OTHER}"}}'] >= 500 - LABEL_VALUES_MAX


def test_two_bridges_do_not_share_metrics(metrics: Metrics) -> None:
    """Each instance has a registry of its own; the library's global one stays untouched."""
    Metrics().notification_seen(kind="error")
    assert samples(metrics)['notifications_total{type="error"}'] == 0


def test_every_metric_is_documented_as_it_is() -> None:
    """`docs/metrics.md` lists exactly the metrics that exist, with their kinds and labels."""
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| ([`\w, ]*)\|", re.MULTILINE)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in row.findall(DOCUMENT.read_text(encoding="utf-8"))
    }
    folders = {"front": Path("/front"), "rear": Path("/rear")}
    metrics = Metrics(CollectorRegistry(), watched=folders)
    actual = {}
    for name, instrument in vars(metrics._on).items():
        if not name.startswith("_"):
            (family,) = instrument.describe()
            actual[family.name] = (family.type, tuple(instrument._labelnames))
    exposed = {
        family.name: family.type
        for family in text_string_to_metric_families(metrics.exposition().decode())
    }
    assert {name for name in exposed if name.startswith(PREFIX)} == set(actual)
    for name, kind in exposed.items():
        full_name = f"{name}_total" if kind == "counter" else name
        assert full_name in documented, f"{full_name} is not in docs/metrics.md"
        labels = actual[name][1] if name in actual else ()
        assert documented.pop(full_name) == (kind, labels)
    assert not documented, "docs/metrics.md describes metrics that do not exist"


def test_names_say_what_they_measure() -> None:
    """Counters end in _total, and whatever has a unit ends in seconds or bytes."""
    text = Metrics(CollectorRegistry()).exposition().decode()
    for family in text_string_to_metric_families(text):
        assert family.name.startswith((PREFIX, "process_"))
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        assert "_created" not in family.name
