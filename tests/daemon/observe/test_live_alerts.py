"""Every alert in the real thing: a real bridge breaks for real, and a real Prometheus says so.

The rules are the shipped ones with shorter patience; `prometheus_process.impatient` says how much.
"""

import json
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.observe.chromium import chromium
from tests.daemon.observe.live_bridge import FAULTS, Fault, LiveBridge, cut_recording
from tests.daemon.observe.prometheus_process import CONFIG, Prometheus, impatient
from tests.waiting import wait_for

# The faults of the default run, which are over soon: a file, a disk, a key.
QUICK = {"junk", "full_disk", "wrong_key"}
CLEARING_S = 90.0
# After so long an idle bridge asks again; a platform that refuses is given 5 s to come up.
PROBE_S = 20.0

CASES = [
    pytest.param(
        alerts,
        fault,
        id=fault.__name__,
        marks=() if fault.__name__ in QUICK else pytest.mark.slow,
    )
    for alerts, fault in FAULTS
]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBridge]:
    with LiveBridge(tmp_path_factory.mktemp("live")) as bridge:
        yield bridge


@pytest.fixture(scope="module")
def prometheus(
    bridge: LiveBridge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    target = f"127.0.0.1:{bridge.http_port}"
    running = Prometheus(
        tmp_path_factory.mktemp("prometheus"), target, rules=impatient, as_vehicle=True
    )
    try:
        running.wait('up{job="mosaico-bridge"} == 1')
        yield running
    finally:
        running.close()


@pytest.mark.parametrize(("alerts", "fault"), CASES)
def test_an_injected_fault_fires_its_alert_which_clears_after_it(
    bridge: LiveBridge, prometheus: Prometheus, alerts: frozenset[str], fault: Fault
) -> None:
    """The alert is silent before the fault, fires while it lasts, and goes when it is over."""
    names = "|".join(alerts)
    silent = f'absent(ALERTS{{alertname=~"{names}"}}) == 1'
    if alerts != {"MosaicoBridgeNoRecordings"}:  # Which here fires whenever a test takes long.
        prometheus.wait(silent)
    with fault(bridge):
        for alert in alerts:
            prometheus.wait(f'ALERTS{{alertname="{alert}", alertstate="firing"}} == 1')
    prometheus.wait(silent, patience_s=CLEARING_S)


@pytest.mark.slow
def test_a_partial_recording_is_one_alert_that_leads_to_its_runbook(
    bridge: LiveBridge, prometheus: Prometheus
) -> None:
    """Its own note on the platform is no notification, and its salvage no alert of its own."""
    prometheus.wait('absent(ALERTS{alertname!="MosaicoBridgeNoRecordings"}) == 1')
    with cut_recording(bridge):
        name = "MosaicoBridgeRecordingPartial"
        prometheus.wait(f'ALERTS{{alertname="{name}", alertstate="firing"}}')
        url = next(
            alert["annotations"]["runbook_url"]
            for alert in prometheus.ask("alerts")["alerts"]
            if alert["labels"]["alertname"] == name
        )
        # Long enough for the poller to have asked about the sequence and its topics. The alert may
        # be over by then, where the machine is slow.
        prometheus.wait("mosaico_bridge_notification_sweep_age_seconds < 2")
        others = prometheus.firing() - {"MosaicoBridgeNoRecordings", name}
    with urllib.request.urlopen(url, timeout=10) as page:
        text = page.read().decode()

    assert others == set()
    assert f'id="{url.partition("#")[2]}"' in text


@pytest.mark.slow
def test_an_idle_bridge_notices_that_its_platform_died(
    bridge: LiveBridge, prometheus: Prometheus, tmp_path: Path
) -> None:
    """Nothing is sent and nothing asked: `/readyz`, metric, page and alert follow all the same."""
    bridge.stop()
    bridge.configure(probe_s=PROBE_S, notifications_s=3600)
    bridge.start()
    wait_for(bridge.answers)
    wait_for(bridge.is_ready)
    with chromium(tmp_path / "profile") as browser:
        browser.open(bridge.url)
        died_at = time.time()
        bridge.stop_platform(signal.SIGKILL)
        try:
            wait_for(lambda: not bridge.is_ready())
            assert bridge.metric("mosaico_bridge_server_reachable") == 0
            browser.wait("document.querySelector('#headline').textContent === 'Offline'")
            prometheus.wait('ALERTS{alertname="MosaicoBridgeOffline", alertstate="firing"} == 1')
            with urllib.request.urlopen(f"{bridge.url}/api/status", timeout=5) as answer:
                gate = json.load(answer)["daemon"]["gate"]
        finally:
            bridge.start_platform()
        wait_for(bridge.is_ready)
        browser.wait("document.querySelector('#headline').textContent !== 'Offline'")
    prometheus.wait('absent(ALERTS{alertname="MosaicoBridgeOffline"})', patience_s=CLEARING_S)
    bridge.configure()
    bridge.reload()

    assert gate["gate"] == "offline"
    assert 0 <= gate["since"] - died_at < 2 * PROBE_S


def test_every_alert_has_a_fault() -> None:
    """Each alert of the rules is raised by exactly one of the faults above."""
    rules = (CONFIG / "rules.yml").read_text(encoding="utf-8")
    raised = [alert for alerts, _ in FAULTS for alert in alerts]

    assert sorted(raised) == sorted(re.findall(r"alert: (\w+)", rules))


def test_patience_is_all_that_differs_from_the_shipped_rules() -> None:
    """The rules of this test are the shipped ones, durations and ages aside."""
    shipped = (CONFIG / "rules.yml").read_text(encoding="utf-8")

    def timeless(text: str) -> str:
        return re.sub(r"(\d+ \* )?\d+[smhd]?", "T", text)

    assert impatient(shipped) != shipped
    assert timeless(impatient(shipped)) == timeless(shipped)
