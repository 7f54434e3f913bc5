"""Every alert in the real thing: a real bridge breaks for real, and a real Prometheus says so.

The rules are the shipped ones with shorter patience; `prometheus_process.impatient` says how much.
"""

import re
import urllib.request
from collections.abc import Iterator

import pytest

from tests.daemon.observe.live_bridge import FAULTS, Fault, LiveBridge, cut_recording
from tests.daemon.observe.prometheus_process import CONFIG, Prometheus, impatient

# The faults of the default run, which are over soon: a file, a disk, a key.
QUICK = {"junk", "full_disk", "wrong_key"}
CLEARING_S = 90.0

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
        prometheus.wait('ALERTS{alertname="MosaicoBridgeRecordingPartial"}')
        # Long enough for the poller to have asked about the sequence and its topics.
        prometheus.wait("mosaico_bridge_notification_sweep_age_seconds < 2")
        firing = prometheus.firing() - {"MosaicoBridgeNoRecordings"}
        url = next(
            alert["annotations"]["runbook_url"]
            for alert in prometheus.ask("alerts")["alerts"]
            if alert["labels"]["alertname"] == "MosaicoBridgeRecordingPartial"
        )
    with urllib.request.urlopen(url, timeout=10) as page:
        text = page.read().decode()

    assert firing == {"MosaicoBridgeRecordingPartial"}
    assert f'id="{url.partition("#")[2]}"' in text


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
