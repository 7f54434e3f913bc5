"""Every metric changes in a test that is named here, and the process is measured as it is."""

import ast
import os
import re
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from bridge.daemon.events.events import IngestFinished
from bridge.daemon.observe.metrics import Metrics
from bridge.ingest import IngestReport, Removal, Replacement
from bridge.version import __version__
from tests.daemon.observe.situations import entry

HERE = Path(__file__).parent
PREFIX = "mosaico_bridge_"

# Metric -> the test in which what it measures happens, and it moves.
CHANGES_IN = {
    "recordings": "test_recordings_by_state_are_those_of_the_journal",
    "recording_transitions_total": "test_transitions_and_delay",
    "queue_recordings": "test_queue_is_what_is_still_to_be_done",
    "queue_bytes": "test_queue_is_what_is_still_to_be_done",
    "queue_oldest_age_seconds": "test_queue_is_what_is_still_to_be_done",
    "last_success_time_seconds": "test_restart_forgets_neither_queue_nor_success",
    "recording_delay_seconds": "test_transitions_and_delay",
    "ingest_duration_seconds": "test_finished_ingest_is_counted_from_its_report",
    "stage_duration_seconds": "test_stages_are_timed",
    "read_bytes_total": "test_progress_is_counted_by_class_of_topic",
    "sent_messages_total": "test_progress_is_counted_by_class_of_topic",
    "sent_bytes_total": "test_progress_is_counted_by_class_of_topic",
    "sent_batches_total": "test_progress_is_counted_by_class_of_topic",
    "ingested_messages_total": "test_finished_ingest_is_counted_from_its_report",
    "ingested_bytes_total": "test_finished_ingest_is_counted_from_its_report",
    "ingested_recorded_bytes_total": "test_finished_ingest_is_counted_from_its_report",
    "skipped_messages_total": "test_finished_ingest_is_counted_from_its_report",
    "topics_total": "test_finished_ingest_is_counted_from_its_report",
    "superseded_total": "test_replaced_sequences_are_counted",
    "salvaged_recordings_total": "test_finished_ingest_is_counted_from_its_report",
    "unverifiable_messages_total": "test_finished_ingest_is_counted_from_its_report",
    "lost_bytes_total": "test_finished_ingest_is_counted_from_its_report",
    "lost_ranges_total": "test_finished_ingest_is_counted_from_its_report",
    "verifications_total": "test_finished_ingest_is_counted_from_its_report",
    "expectations_failed_total": "test_findings_are_counted_once",
    "last_recording_findings": "test_findings_are_counted_once",
    "verification_failures_total": "test_failures_by_kind",
    "failures_total": "test_failures_by_kind",
    "retries_total": "test_failures_by_kind",
    "errors_total": "test_unreadable_journal_is_counted_not_raised",
    "workers_lost_total": "test_failures_by_kind",
    "server_reachable": "test_gate_tells_reachable_from_accepting",
    "server_accepting": "test_gate_tells_reachable_from_accepting",
    "gate_closed_seconds_total": "test_time_offline_is_counted",
    "embedded": "test_platform_is_named",
    "server_info": "test_platform_is_named",
    "wire_bytes_total": "test_uplink_shows_what_moved_and_what_may_still",
    "uplink_limit_bytes_per_second": "test_uplink_shows_what_moved_and_what_may_still",
    "uplink_budget_left_bytes": "test_uplink_shows_what_moved_and_what_may_still",
    "notifications_total": "test_notifications",
    "notification_calls_total": "test_notifications",
    "notification_sweep_age_seconds": "test_notifications",
    "disposals_by_remembered_proof_total": "test_disposals",
    "disposals_total": "test_disposals",
    "disposed_bytes_total": "test_disposals",
    "disk_free_bytes": "test_disks_are_measured_at_each_scrape",
    "disk_size_bytes": "test_disks_are_measured_at_each_scrape",
    "workers": "test_workers_and_loop",
    "worker_memory_bytes": "test_workers_and_loop",
    "worker_idle_seconds": "test_workers_and_loop",
    "watch_readable": "test_watch",
    "watch_events": "test_watch",
    "scans_total": "test_watch",
    "scan_duration_seconds": "test_watch",
    "last_scan_time_seconds": "test_watch",
    "last_tick_time_seconds": "test_workers_and_loop",
    "start_time_seconds": "test_workers_and_loop",
    "first_start_time_seconds": "test_first_start_is_kept_over_restarts",
    "build_info": "test_versions_are_told",
}


def families() -> dict[str, str]:
    """Give every exposed metric with its type, by the name that a query uses."""
    text = Metrics(CollectorRegistry()).exposition().decode()
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """Give one sample as a scraper sees it."""
    found = [
        one.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for one in family.samples
        if one.name == name and one.labels.items() >= labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


def sources() -> dict[str, str]:
    """Give the source of each test that may stand in the table."""
    found = {}
    for file in (HERE / "test_metrics.py", Path(__file__)):
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = ast.get_source_segment(text, node) or ""
    return found


def test_the_table_has_every_metric_of_ours() -> None:
    """What is exposed and what is in the table is the same; nothing moves untested."""
    ours = {name.removeprefix(PREFIX) for name in families() if name.startswith(PREFIX)}
    assert ours == set(CHANGES_IN)


@pytest.mark.parametrize(("metric", "test"), CHANGES_IN.items(), ids=CHANGES_IN)
def test_the_named_test_reads_the_metric(metric: str, test: str) -> None:
    """The test exists and compares samples of this very metric, by its whole name."""
    source = sources()[test]
    name = rf"[\"'](?:{PREFIX})?{metric}(?:_count|_sum|_bucket)?[\"'{{]"

    assert re.search(name, source), f"{test} does not look at {metric}"
    assert source.count("assert ") > 0


def test_replaced_sequences_are_counted() -> None:
    """A report that names an older sequence moves `superseded_total`, by what became of it."""
    metrics = Metrics(CollectorRegistry())
    name = "mosaico_bridge_superseded_total"
    for removal in Removal:
        assert sample(metrics, name, outcome=removal) == 0
    for removal in (Removal.KEPT, Removal.REMOVED, Removal.REMOVED):
        replaced = Replacement(removal=removal, sequence="old", reason="")
        report = IngestReport(recording="r", sequence="s", fingerprint="f", replaced=replaced)
        metrics.hear(IngestFinished(entry=entry(), report=report))
    metrics.hear(
        IngestFinished(
            entry=entry(), report=IngestReport(recording="r", sequence="s", fingerprint="f")
        )
    )

    assert sample(metrics, "mosaico_bridge_superseded_total", outcome="kept") == 1
    assert sample(metrics, "mosaico_bridge_superseded_total", outcome="removed") == 2
    assert sample(metrics, "mosaico_bridge_superseded_total", outcome="absent") == 0


def test_versions_are_told() -> None:
    """`build_info` has the versions of bridge and Arrow as labels."""
    metrics = Metrics(CollectorRegistry())
    labels = {"version": __version__, "pyarrow": pa.__version__}

    assert sample(metrics, "mosaico_bridge_build_info", **labels) == 1


def test_the_process_is_measured_as_it_is() -> None:
    """Processor time grows with work, descriptors with files, memory is what the kernel says."""
    metrics, process = Metrics(CollectorRegistry()), psutil.Process()
    before_s = sample(metrics, "process_cpu_seconds_total")
    files = sample(metrics, "process_open_fds")
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    try:
        assert sample(metrics, "process_open_fds") == files + 5
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    give_up_at = time.monotonic() + 30
    while sample(metrics, "process_cpu_seconds_total") < before_s + 0.1:
        assert time.monotonic() < give_up_at

    resident = process.memory_info().rss
    assert sample(metrics, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.1)
    assert sample(metrics, "process_virtual_memory_bytes") >= resident
    assert sample(metrics, "process_max_fds") == process.rlimit(psutil.RLIMIT_NOFILE)[0]
    assert sample(metrics, "process_start_time_seconds") == pytest.approx(
        process.create_time(), abs=2
    )
