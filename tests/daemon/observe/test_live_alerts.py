"""Every alert in the real thing: a real bridge breaks for real, and a real Prometheus says so.

The rules are the shipped ones with shorter patience; `prometheus_process.impatient` says how much.
"""

import re
from collections.abc import Iterator

import pytest

from tests.daemon.observe.live_bridge import FAULTS, Fault, LiveBridge
from tests.daemon.observe.prometheus_process import CONFIG, Prometheus, impatient

# The faults of the default run, which are over soon: a process, a file, a disk, a key.
QUICK = {"killed", "junk", "full_disk", "wrong_key"}
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
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), target, rules=impatient)
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
