"""The shipped Prometheus and Grafana configuration, judged by Prometheus itself."""

import importlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from bridge.daemon.events.events import (
    Disposed,
    IngestFailed,
    IngestFinished,
    IngestProgressed,
    Progress,
    RecordingChanged,
    StageFinished,
    Started,
    Ticked,
    TopicPlanned,
    WorkerLost,
)
from bridge.daemon.events.status import Gate, GateStatus
from bridge.daemon.journal.entry import Transition
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe.http import HttpServer
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.ingest import IngestReport, TopicOutcome, TopicReport, VerificationLevel
from bridge.model import Loss
from tests.daemon.observe.prometheus_process import Prometheus, filled, promtool
from tests.daemon.observe.situations import entry, failure, status, worker

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "config" / "prometheus"
RULE_TESTS = sorted(PROMETHEUS.glob("rules*_test.yml"))
DASHBOARDS = ROOT / "config" / "grafana" / "dashboards"
DOCS = ROOT / "docs"


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    groups = yaml(PROMETHEUS / "rules.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(params=["mosaico-bridge", "mosaico-fleet"])
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One dashboard after the other."""
    return dashboard(request.param)


def dashboard(name: str) -> dict[str, Any]:
    return dict(json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8")))


def dashboard_queries(board: dict[str, Any]) -> list[str]:
    """Every query of a dashboard with its variables filled in, as Grafana would."""
    found = [target["expr"] for target in targets(board)]
    return [filled(one) for one in found + [one["expr"] for one in board["annotations"]["list"]]]


def targets(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in board["panels"] for target in panel.get("targets", ())]


def metric_names() -> set[str]:
    """Every name that a query may use: those exposed, with the parts of histograms."""
    text = Metrics(CollectorRegistry()).exposition().decode()
    names = set()
    for family in text_string_to_metric_families(text):
        names.add(family.name + ("_total" if family.type == "counter" else ""))
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def is_a_heading(link: str, *, of: str) -> bool:
    """Tell whether a link names a heading of a page that the bridge serves, as code hosts do."""
    page, _, anchor = link.removeprefix(f"http://{of}/docs/").partition("#")
    headings = re.findall(r"^#+ (.+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return anchor in known


def test_promtool_accepts_the_configuration() -> None:
    """Prometheus' own checker finds nothing wrong with scrape configuration and rules."""
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.name)
def test_alerts_fire_and_clear(file: Path) -> None:
    """Each alert fires in its fault and clears after it, as the unit tests of the rules say."""
    promtool("test", "rules", file)


def test_every_rule_has_its_unit_test() -> None:
    """Every alert is tested both firing and silent, every recording rule computed once."""
    outcomes: dict[str, set[bool]] = {}
    computed = ""
    for file in RULE_TESTS:
        for case in yaml(file)["tests"]:
            for alert in case.get("alert_rule_test", ()):
                outcomes.setdefault(alert["alertname"], set()).add(bool(alert["exp_alerts"]))
            for query in case.get("promql_expr_test", ()):
                computed += query["expr"]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert outcomes.keys() == alerts
    assert all(both == {True, False} for both in outcomes.values())
    for rule in rules():
        assert rule.get("record", "") in computed


def test_queries_use_only_metrics_that_exist() -> None:
    """Every metric named in rules, their tests and the dashboard is one the bridge exposes."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = metric_names() | recorded
    texts = [path.read_text(encoding="utf-8") for path in PROMETHEUS.glob("*.yml")]
    texts += [path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")]
    for text in texts:
        used = set(re.findall(r"mosaico_bridge[:_][\w:]+", text))
        assert used <= known, used - known
        assert used or "scrape_configs" in text


def test_every_alert_tells_what_to_do() -> None:
    """Each alert has a severity, a summary and a runbook whose heading exists."""
    for rule in rules():
        if "alert" not in rule:
            continue
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
        runbook = rule["annotations"]["runbook_url"]
        assert is_a_heading(runbook, of="{{ $labels.instance }}"), runbook


def test_every_panel_has_a_unit_and_links_lead_to_headings(board: dict[str, Any]) -> None:
    """No bare numbers; infinite limits are words; a link names a page of the bridge's own."""
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["fieldConfig"]["defaults"].get("unit"), panel["title"]
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            assert is_a_heading(link["url"], of="${__field.labels.instance}"), link
    by_title = {panel["title"]: panel["fieldConfig"]["defaults"] for panel in panels}
    endless = (("Limit now", "no limit"), ("Budget left", "no budget"))
    for title, words in endless if board["uid"] == "mosaico-bridge" else ():
        texts = json.dumps(by_title[title]["mappings"])
        assert words in texts


def test_dashboard_is_laid_out(board: dict[str, Any]) -> None:
    """Panels have titles, descriptions and ids of their own, and do not lie on each other."""
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]


def lost(given: Any, kept: Any, where: str = "") -> list[str]:
    """Name what of some JSON is missing or other in what became of it; more may have come."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            one
            for key, value in given.items()
            for one in lost(value, kept.get(key, "nothing"), f"{where}/{key}")
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [one for at, (old, new) in pairs for one in lost(old, new, f"{where}/{at}")]
    return [] if given == kept else [f"{where}: {given!r} became {kept!r}"]


def test_grafana_knows_everything_in_a_dashboard(board: dict[str, Any]) -> None:
    """Read into the models that Grafana generates from its own schema, nothing is left out.

    A key that they do not have is one that Grafana ignores: a misspelling, or of another version.
    """
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = importlib.import_module("grafana_foundation_sdk.cog.encoder").JSONEncoder
    plugins = importlib.import_module("grafana_foundation_sdk.cog.plugins")
    plugins.register_default_plugins()
    kept = json.loads(encoder().encode(models.Dashboard.from_json(board)))

    # The schema has the annotations of all data sources alike; this one is Prometheus' own.
    found = [one for one in lost(board, kept) if "/titleFormat: " not in one]
    assert found == []


def test_dashboard_finds_its_data_source(board: dict[str, Any]) -> None:
    """The provisioned data source is the one the dashboard asks by default."""
    (source,) = yaml(ROOT / "config/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (variable,) = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    assert variable["current"]["value"] == source["uid"]
    assert variable["query"] == source["type"] == "prometheus"
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"


class Bridge:
    """The metrics of a daemon behind their real port, moved by hand."""

    def __init__(self, folder: Path) -> None:
        with Journal.own(folder) as journal:
            journal.discover(folder / "drive", name="drive", size_bytes=1, modified_ns=1)
        reader = JournalReader(folder)
        self.metrics = Metrics(folders={"watch": folder}, journal=reader)
        self.server = HttpServer(
            "127.0.0.1",
            0,
            metrics=self.metrics,
            status=LiveState(),
            journal=reader,
        )

    def live(self) -> None:
        """Go through everything that a daemon can report, good and bad."""
        now_ns = time.time_ns()
        topic = TopicReport(
            name="/imu", msgtype="sensor_msgs/msg/Imu", outcome=TopicOutcome.MAPPED,
            messages_sent=100, arrow_bytes=4000, messages_skipped={"too short": 1},
        )  # fmt: skip
        report = IngestReport(
            recording="r", sequence="s", fingerprint="f", topics=[topic], healthy=False,
            losses=[Loss(path=Path("a"), start_bytes=0, end_bytes=9, reason="torn")],
            verification=VerificationLevel.RANGE, seconds=1.5,
        )  # fmt: skip
        closed = GateStatus(gate=Gate.OFFLINE, reached=True)
        self.metrics.hear(Ticked(status=status(ticked_ns=now_ns, gate=closed)))
        self.metrics.hear(Ticked(status=status(ticked_ns=now_ns, workers=(worker(idle_s=900.0),))))
        self.metrics.hear(TopicPlanned(entry=entry(), topic=topic))
        sent = {"/imu": 100}
        progress = Progress(recorded_bytes=9, messages=sent, arrow_bytes=sent, batches=sent)
        self.metrics.hear(IngestProgressed(entry=entry(), progress=progress))
        self.metrics.hear(StageFinished(entry=entry(), stage="send", seconds=0.5))
        self.metrics.hear(IngestFinished(entry=entry(), report=report))
        done = Transition(
            entry_id=1, before=None, after=State.PARTIAL, at_ns=now_ns, reason="a test"
        )
        self.metrics.hear(
            RecordingChanged(
                entry=entry(state=State.PARTIAL, modified_ns=now_ns - 10**9), transition=done
            )
        )
        wrong = failure(error="VerificationError")
        self.metrics.hear(IngestFailed(entry=entry(), failure=wrong, retry_in_s=1.0))
        self.metrics.hear(WorkerLost(entry=None, failure=failure(error="WorkerDied")))
        self.metrics.hear(Disposed(entry=entry(), mode="move", target=None, size_bytes=1))
        self.metrics.notification_seen(kind="error")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path_factory.mktemp("bridge"))
    bridge.metrics.hear(Started(status=status(started_ns=time.time_ns())))
    with bridge.server:
        yield bridge


@pytest.fixture(scope="module")
def prometheus(bridge: Bridge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{bridge.server.port}")
    try:
        running.wait('up{job="mosaico-bridge"} == 1')
        bridge.live()
        running.wait("mosaico_bridge_notifications_total == 1")
        running.wait("rate(mosaico_bridge_sent_bytes_total[1m]) > 0")
        yield running
    finally:
        running.close()


def test_prometheus_scrapes_a_bridge(prometheus: Prometheus) -> None:
    """The real Prometheus scrapes everything the bridge exposes, without a complaint."""
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    stored = set(prometheus.ask("label/__name__/values"))
    wanted = {name for name in metric_names() if name.startswith("mosaico_bridge")}
    histograms = {name for name in wanted if f"{name}_bucket" in wanted}
    assert wanted - histograms <= stored, wanted - histograms - stored


def test_rules_run_without_errors(prometheus: Prometheus) -> None:
    """Every shipped rule is evaluated by the real Prometheus without an error."""
    prometheus.wait("mosaico_bridge:sent_bytes:rate1m > 0")
    groups = prometheus.ask("rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    for rule in evaluated:
        assert rule["health"] == "ok", rule


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    """After a life with good and bad days, every query of the dashboard returns data."""
    prometheus.wait("changes(mosaico_bridge_start_time_seconds[1m]) >= 0")
    queries = dashboard_queries(dashboard("mosaico-bridge"))
    empty = [query for query in queries if not prometheus.query(query)]
    # Says when a bridge started again; this one has not.
    expected = [query for query in empty if query.startswith("changes(mosaico_bridge_start_time")]
    assert empty == expected


def test_legends_name_labels_that_the_answers_have(prometheus: Prometheus) -> None:
    """What a legend fills in is there: no series is shown without the name it should have."""
    prometheus.wait("changes(mosaico_bridge_start_time_seconds[1m]) >= 0")
    for target in targets(dashboard("mosaico-bridge")):
        wanted = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        for sample in prometheus.query(filled(target["expr"])):
            if not sample["metric"] and "or vector(0)" in target["expr"]:
                continue  # The flat line where there is nothing to count has no name.
            assert wanted <= sample["metric"].keys(), target


def test_panels_are_what_grafana_takes_them_for(board: dict[str, Any]) -> None:
    """Kinds, units, and identifiers of queries are those that Grafana has; none is misspelt."""
    kinds = {"row", "stat", "timeseries", "bargauge", "table"}
    units = {"s", "decbytes", "Bps", "short", "percentunit", "cps", "ops", "none", "dateTimeAsIso"}
    for panel in board["panels"]:
        assert panel["type"] in kinds
        assert panel.keys() <= {
            "id", "type", "title", "description", "gridPos", "datasource", "targets",
            "fieldConfig", "options", "collapsed", "panels", "transformations",
        }, panel["title"]  # fmt: skip
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"].get("unit", "none") in units, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                assert one["id"] != "unit" or one["value"] in units | {"dateTimeFromNow"}
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
        for target in panel["targets"]:
            assert target["instant"] is not target["range"], panel["title"]
