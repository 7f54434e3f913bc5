"""Real Prometheus processes, with the shipped rules or with impatient ones."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from tests.waiting import PATIENCE_S, HeldPort

CONFIG = Path(__file__).parents[3] / "config" / "prometheus"

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# What a duration is divided by for the impatient, and the bounds of what comes out.
IMPATIENCE = 240
SHORTEST_S, LONGEST_S = 1, 15
# Thresholds in seconds, as they stand in the rules, and what a test waits for instead. Ages of
# things that happen at least once a second cannot go below three.
THRESHOLDS = {
    "last_tick_time_seconds > 60": "last_tick_time_seconds > 3",
    "worker_idle_seconds > 600": "worker_idle_seconds > 3",
    "queue_oldest_age_seconds) > 7200": "queue_oldest_age_seconds) > 4",
    "queue_oldest_age_seconds > 86400": "queue_oldest_age_seconds > 8",
    "first_start_time_seconds) > 3 * 86400": "first_start_time_seconds) > 6",
    "[6h], 24 * 3600": "[6h], 600",
    "last_seen_time_seconds > 7 * 86400": "last_seen_time_seconds > 8",
    "last_seen_time_seconds > 86400": "last_seen_time_seconds > 4",
}


def program(name: str) -> str:
    """Find a program that comes with Prometheus."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install prometheus")
    return found


def promtool(*arguments: object) -> None:
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def filled(query: str) -> str:
    """Fill in the variables of a dashboard, as Grafana would."""
    everything = dict.fromkeys(("$instance", "$vehicle", "$folder"), ".*")
    times = {"$__rate_interval": "1m", "$__range": "1h"}
    for variable, value in {"$job": "mosaico-bridge", **everything, **times}.items():
        query = query.replace(variable, value)
    return query


def impatient(rules: str) -> str:
    """Shorten what rules wait for and look back at; nothing else about them changes."""
    for patient, hasty in THRESHOLDS.items():
        assert rules.count(patient) == 1, patient
        rules = rules.replace(patient, hasty)

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[2]) * SECONDS[found[3]] / IMPATIENCE
        return f"{found[1]}{round(min(LONGEST_S, max(SHORTEST_S, seconds)))}s{found[4]}"

    return re.sub(r"(for: |interval: |\[)(\d+)([smhd])(\]|$)", shorter, rules, flags=re.MULTILINE)


class PrometheusProcess:
    """A real Prometheus; a context manager.

    Args:
        folder: Where it keeps its files.
        config: Its configuration.
        arguments: What it is started with beyond that.
        environment: Variables for it.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._held = HeldPort()
        self.port = self._held.number
        self.log = folder / "prometheus.log"
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")
        command = [
            program("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn", *arguments,
        ]  # fmt: skip
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """Give the data that a path of its API answers."""
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Give the samples of an expression at this moment."""
        return list(self.ask("query", query=expression)["result"])

    def wait(self, expression: str, *, patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait until an expression has a result."""
        give_up_at = time.monotonic() + patience_s
        while time.monotonic() < give_up_at:
            try:
                if found := self.query(expression):
                    return found
            except OSError:
                pass
            time.sleep(0.2)
        pytest.fail(f"no data for {expression}")

    def firing(self) -> set[str]:
        """Give the names of the alerts that fire at this moment."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {sample["metric"]["alertname"] for sample in found}

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()


class Prometheus(PrometheusProcess):
    """A Prometheus that scrapes one bridge every half second.

    Args:
        folder: Where it keeps its files.
        target: Host and port of the bridge.
        rules: What to make of the shipped rules.
        as_vehicle: Scrape it a second time, labelled as a vehicle that may be switched off.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        *,
        rules: Callable[[str], str] = lambda text: text,
        as_vehicle: bool = False,
    ) -> None:
        text = (CONFIG / "prometheus.yml").read_text(encoding="utf-8")
        assert text.count('"bridge:9477"') == 1
        # The same bridge once more, as a vehicle that may be switched off.
        vehicle = "labels: {vehicle: car-07, switched_off: at-times}"
        text = text.replace('["bridge:9477"]', f'["{target}"]').replace("15s", "500ms")
        if as_vehicle:
            text += f'      - targets: ["{target}"]\n        {vehicle}\n'
        write_rules(folder, rules)
        super().__init__(folder, text, f"--storage.tsdb.path={folder / 'data'}")


def write_rules(folder: Path, change: Callable[[str], str]) -> None:
    """Put the shipped rules into a folder, those of vehicles as soon as Prometheus starts."""
    shipped = change((CONFIG / "rules.yml").read_text(encoding="utf-8"))
    (folder / "rules.yml").write_text(shipped.replace("interval: 1m", "interval: 1s"))
