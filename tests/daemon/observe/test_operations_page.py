"""The pages for operators say what is."""

import re
from pathlib import Path

from bridge.cli.terminal import Exit
from bridge.daemon.observe.routes import ASSETS

DOCS = Path(__file__).parents[3] / "docs"
TASKS = ("operations", "install", "run", "watch", "fleet", "fix")
TEXT = "".join((DOCS / f"{task}.md").read_text(encoding="utf-8") for task in TASKS)


def test_every_exit_code_is_in_the_table() -> None:
    """The table of exit codes is complete and has no others."""
    table = TEXT.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(Exit)


def test_every_alert_is_explained() -> None:
    """Each alert that can fire is named where its runbook is, and no others are."""
    rules = (DOCS.parent / "config/prometheus/rules.yml").read_text(encoding="utf-8")
    alerts = set(re.findall(r"alert: (\w+)", rules))
    assert set(re.findall(r"`(MosaicoBridge\w+)`", TEXT)) == alerts


def test_every_path_of_the_port_is_described() -> None:
    """The API table has the paths that the port answers."""
    table = TEXT.partition("## The API")[2].partition("\n## ")[0]
    described = set(re.findall(r"^\| `(/[^`]*)` \|", table, re.MULTILINE))
    assert described == {
        "/healthz", "/readyz", "/api/status", "/api/recordings", "/api/recordings/<id>",
        "/metrics",
    }  # fmt: skip
    assert set(ASSETS) & described == set()
