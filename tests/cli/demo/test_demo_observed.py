"""The demo, watched by everything that would watch a real bridge: Prometheus, a browser, curl."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.observe.chromium import chromium
from tests.daemon.observe.prometheus_process import Prometheus
from tests.daemon.observe.test_prometheus import dashboard, dashboard_queries

PATIENCE_S = 120.0


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "MOSAICO_BRIDGE" not in name}


class Demo:
    """A running `mosaico-bridge demo` that has ingested its drive."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.txt"
        self.errors = folder / "errors.txt"
        environment = clean_environment() | {"MOSAICO_BRIDGE_HTTP__PORT": "0"}
        with self.output.open("w") as output, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "demo", "--folder", str(folder / "var")],
                stdout=output,
                stderr=errors,
                env=environment,
            )
        self.url = self._wait_for(r"(http://127\.0\.0\.1:\d+/)")

    def _wait_for(self, pattern: str) -> str:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            if found := re.search(pattern, self.output.read_text()):
                return found[1]
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.1)
        pytest.fail(f"the demo never got there: {self.output.read_text()}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield demo
    finally:
        demo.close()


def test_running_bridge_is_healthy_and_ready(demo: Demo) -> None:
    """Health, readiness and status of a real daemon agree that all is well."""
    assert demo.get("healthz")["alive"]
    assert demo.get("readyz")["ready"]
    status = demo.get("api/status")
    assert status["verdict"]["headline"] == "All is well"
    assert status["daemon"]["embedded"]
    assert status["daemon"]["counts"] == {"finalised": 1}


def test_recording_tells_topics_and_story(demo: Demo) -> None:
    """The drive's story ends on the platform, and its report accounts for every message."""
    (listed,) = demo.get("api/recordings")["recordings"]
    one = demo.get(f"api/recordings/{listed['id']}")
    assert [step["after"] for step in one["story"]][-1] == "finalised"
    sent = sum(topic["messages_sent"] for topic in one["report"]["topics"])
    assert sent == one["messages_sent"] > 1000


def test_log_has_a_few_lines_that_name_the_recording(demo: Demo, tmp_path: Path) -> None:
    """From found to finalised the log stays short, and each line about the drive names it."""
    (listed,) = demo.get("api/recordings")["recordings"]
    environment = clean_environment() | {
        "MOSAICO_BRIDGE_WATCH__FOLDER": str(Path(listed["path"]).parent),
        "MOSAICO_BRIDGE_STATE__FOLDER": str(tmp_path),
        "MOSAICO_BRIDGE_LOG__FORMAT": "json",
    }
    command = [sys.executable, "-m", "bridge", "once", "--embedded"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    entries = [json.loads(line) for line in lines]
    about = [entry for entry in entries if entry.get("recording") == listed["path"]]
    assert [entry["message"] for entry in about][1:] == ["sending", "on the platform"]
    assert about[0]["message"].startswith("ready: ")
    assert about[-1]["sequence"] == listed["sequence"]
    assert about[-1]["messages"] == listed["messages_sent"]
    assert any("EMBEDDED" in entry["message"] for entry in entries)


def test_dashboard_has_data_after_the_demo(
    demo: Demo, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The real Prometheus scrapes the demo, and every panel of the dashboard has data."""
    target = demo.url.removeprefix("http://").rstrip("/")
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), target)
    try:
        prometheus.wait("mosaico_bridge_last_success_time_seconds > 0")
        prometheus.wait("count_over_time(mosaico_bridge_sent_bytes_total[1m]) > 3")
        queries = dashboard_queries(dashboard("mosaico-bridge"))
        empty = [query for query in queries if not prometheus.query(query)]
        # Marks restarts; there was none.
        assert [query for query in empty if "start_time_seconds" not in query] == []
        firing = prometheus.query('ALERTS{alertstate="firing"}')
        assert firing == [], "a healthy demo raises no alert"
    finally:
        prometheus.close()


def test_page_shows_the_drive(demo: Demo, tmp_path: Path) -> None:
    """The page of the real daemon shouts embedded and unfolds the drive into its topics."""
    with chromium(tmp_path) as browser:
        browser.open(demo.url)
        browser.wait("document.querySelector('#recent-list details')")
        browser.run("document.querySelector('#recent-list summary').click()")
        browser.wait("document.querySelector('#recent-list .story')")
        assert browser.run("document.querySelector('#embedded').checkVisibility()")
        inside = browser.run("document.querySelector('#recent-list .inside').innerText")
        for words in ("/imu/data", "sensor_msgs/msg/Imu", "finalised"):
            assert words in inside
        assert browser.complaints() == []
