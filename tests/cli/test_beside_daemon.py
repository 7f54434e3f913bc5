"""Every endpoint and every command against a bridge that really runs: the lists are whole."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client.parser import text_string_to_metric_families

from bridge.cli import app, running
from bridge.daemon.observe.routes import ASSETS
from tests.cli.conftest import JUNK

ROOT = Path(__file__).parents[2]

# Path -> what its answer has to hold on a bridge with one recording that arrived and one refused.
ENDPOINTS: dict[str, tuple[str, ...]] = {
    "/": ("<!doctype html>", "/page.js"),
    "/page.css": ("body",),
    "/page.js": ("/api/status",),
    "/healthz": ('"alive": true',),
    "/readyz": ('"ready": true', '"failing": []'),
    "/api/status": ('"headline": "1 recording needs attention"', '"embedded": true', '"workers"'),
    "/api/recordings": ('"total": 2', '"state": "finalised"', '"state": "quarantined"'),
    "/api/recordings/<id>": ('"story"', '"topics"', '"fingerprint"'),
    "/metrics": ('mosaico_bridge_recordings{state="finalised"} 1.0',),
}

# Command -> its arguments, its exit code, and what it says. `{drive}` and `{base}` are filled in.
COMMANDS: dict[str, tuple[str, int, str]] = {
    "run": ("-c {config}", 1, "another bridge"),
    "once": ("-c {config}", 1, "another bridge"),
    "ingest": ("{drive} -c {config} --json", 0, '"complete": true'),
    "backfill": ("{base}/watched -c {config} --dry-run", 0, "0 of 2 recordings would be sent"),
    "inspect": ("{drive} -c {config}", 0, "sensor_msgs/msg/Imu"),
    "status": ("-c {config}", 3, "from the running bridge"),
    "explain": ("{drive} -c {config}", 0, "story of recording"),
    "retry": ("--all -c {config}", 0, "recording"),
    "forget": ("{junk} -c {config}", 0, "forgotten"),
    "verify": ("--all -c {config}", 0, "as it was sent"),
    "check": ("-c {config}", 0, "the running bridge answers"),
    "notifications list": ("-c {config}", 0, "no notifications"),
    "notifications clear": ("--all -c {config}", 0, "cleared: 0"),
    "config show": ("-c {config}", 0, '"folder": "{base}/watched"'),
    "config default": ("", 0, "[watch]"),
    "config schema": ("", 0, '"WatchSettings"'),
    "config reference": ("", 0, "## [watch]"),
    "install-files": ("--prefix {base}/root", 0, "written"),
}
# They start a bridge or a platform of their own.
ELSEWHERE = {
    "demo": "test_demo_shows_what_arrived_and_where_to_look",
    "serve": "test_serve_keeps_its_data_over_a_restart",
}


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return int(error.code), error.read().decode()


def names(command: Any, prefix: str = "") -> set[str]:
    """Give the full names of all commands, such as `config show`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {prefix}
    return set().union(*(names(below, f"{prefix} {name}".strip()) for name, below in inner.items()))


def test_the_list_of_endpoints_is_whole() -> None:
    """What is tried below is what the documentation lists, and the page."""
    table = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `(/[^`]*)` \|", table.partition("## The API")[2], re.MULTILINE)

    assert set(ENDPOINTS) == set(described) | set(ASSETS)


def test_the_list_of_commands_is_whole() -> None:
    """What is tried below is every command that there is."""
    assert set(COMMANDS) | set(ELSEWHERE) == names(typer.main.get_command(app))
    tests = (Path(__file__).parent / "test_commands.py").read_text(encoding="utf-8")
    for test in ELSEWHERE.values():
        assert f"def {test}(" in tests


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_answers(arrived: Any, path: str) -> None:
    """A running bridge tells the same truth on each path: one arrived, one needs attention."""
    listed = json.loads(get(arrived.http_port, "/api/recordings?state=finalised")[1])
    number = str(listed["recordings"][0]["id"])
    code, text = get(arrived.http_port, path.replace("<id>", number))

    assert code == 200
    for words in ENDPOINTS[path]:
        assert words in text
    if path == "/metrics":
        assert len(list(text_string_to_metric_families(text))) > 50


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_beside_a_running_bridge(
    arrived: Any, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A command does its work, or says why it cannot, and leaves the bridge at work."""
    monkeypatch.setattr(running, "HANDOVER_S", 0.2)
    words, code, said = COMMANDS[name]
    places = {
        "config": arrived.config,
        "drive": arrived.drive,
        "junk": arrived.folder / JUNK,
        "base": tmp_path if name == "install-files" else arrived.folder.parent,
    }
    arguments = [word.format_map(places) for word in words.split()]
    done = command(*name.split(), *arguments)

    assert done.code == code, done.out + done.err
    assert said.replace("{base}", str(places["base"])) in done.out + done.err
    arrived.await_states(command, finalised=1, quarantined=1)
