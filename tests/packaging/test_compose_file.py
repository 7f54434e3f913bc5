"""compose.yml fits the files, settings and ports of this project; its services work together."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from ruamel.yaml import YAML

from bridge.config import load_settings
from tests.daemon.observe.live_bridge import CHUNK_BYTES, recording
from tests.daemon.observe.prometheus_process import program
from tests.waiting import PATIENCE_S, HeldPort, wait_for

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yml").read_text(encoding="utf-8")
HOOK = '# webhook_configs: [{url: "http://chat.example/hook"'


@pytest.fixture
def compose() -> Any:
    return YAML(typ="safe").load(TEXT)


def test_bridge_settings_are_valid(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the bridge's service parses to settings that fit its volumes and port."""
    service = compose["services"]["bridge"]
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    mounts = {volume.rpartition(":/")[2].removesuffix(":ro") for volume in service["volumes"]}
    assert {f"/{mount}" for mount in mounts} == {
        str(settings.watch.folder), str(settings.state.folder),
    }  # fmt: skip
    assert settings.server.host in compose["services"]
    assert service["ports"] == [f"127.0.0.1:{settings.http.port}:{settings.http.port}"]
    scrape = (ROOT / "config/prometheus/prometheus.yml").read_text(encoding="utf-8")
    assert f"bridge:{settings.http.port}" in scrape


def test_mounted_files_exist(compose: Any) -> None:
    """Every file or folder of this project that a service mounts is there."""
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("$"):
                assert source in compose["volumes"]


def test_everything_says_whether_it_is_well(compose: Any) -> None:
    """Every service has a check of its health, except one whose image has nothing to ask with."""
    without = {
        name
        for name, service in compose["services"].items()
        if service["healthcheck"].get("disable") or not service["healthcheck"]["test"]
    }
    assert without == {"mosaicod"}


def test_what_it_keeps_beside_itself_is_no_part_of_the_project(compose: Any) -> None:
    """Git leaves out the recordings and the passwords that the first lines of the file make."""
    made = {Path(secret["file"]).parts[0] for secret in compose["secrets"].values()}
    made |= {Path(found).parts[0] for found in re.findall(r"RECORDINGS:-(\S+?)}", TEXT)}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert made == {"recordings", "secrets"}
    assert made <= ignored
    for name in compose["secrets"]:
        assert name.removesuffix("_password") in TEXT.partition("for name in ")[2].partition(";")[0]


def test_nobody_has_a_password_that_everybody_knows(compose: Any) -> None:
    """Grafana's administrator has the one in the file of secrets, and strangers may only look."""
    grafana = compose["services"]["grafana"]
    password = Path(grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"])
    assert password.parent == Path("/run/secrets")
    assert [password.name] == grafana["secrets"]
    assert "GF_AUTH_ANONYMOUS_ORG_ROLE" not in grafana["environment"]


def test_who_must_read_the_recordings_is_named(compose: Any) -> None:
    """The number of the image's user is where one starts."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"useradd --uid (\d+)", image)
    assert f"User {user}, whom the bridge runs as, must be able to read" in TEXT
    assert "user" not in compose["services"]["bridge"]


def test_nothing_is_open_to_the_network(compose: Any) -> None:
    """Ports are published on loopback only, images are pinned, no password is written down."""
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        image = service.get("image", "pinned:by-build")
        assert image.partition(":")[2] not in {"", "latest"}
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("/run/secrets/")


def test_bridge_is_confined(compose: Any) -> None:
    """The bridge runs without privileges, on a read-only root, and cannot touch recordings."""
    bridge = compose["services"]["bridge"]
    assert bridge["read_only"]
    assert bridge["cap_drop"] == ["ALL"]
    assert any(volume.endswith("/recordings:ro") for volume in bridge["volumes"])


def test_alertmanager_accepts_its_configuration(tmp_path: Path) -> None:
    """As shipped, and with each of the receivers that it shows."""
    shipped = (ROOT / "config/alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    variants = [shipped, *(shipped.replace(f"# {one}", one) for one in ("webhook_", "email_"))]
    assert len(set(variants)) == 3
    for text in variants:
        file = tmp_path / "alertmanager.yml"
        file.write_text(text, encoding="utf-8")
        command = [program("amtool"), "check-config", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# -- the services, as far as this machine has them ------------------------------------------------


class Services:
    """What compose.yml starts, with the folders and ports of this test; a context manager."""

    def __init__(self, base: Path, compose: Any) -> None:
        self._base, self._services = base, compose["services"]
        self._held = {name: HeldPort() for name in self._services}
        self.ports = {name: held.number for name, held in self._held.items()}
        self._stack = contextlib.ExitStack()
        for folder in ("recordings", "state", "prometheus-data", "alertmanager-data"):
            (base / folder).mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def here(self, text: str) -> str:
        """Say where something of a container is on this machine."""
        for there, ours in (
            ("/etc/prometheus", self._base / "prometheus"),
            ("/etc/alertmanager", self._base / "alertmanager"),
            ("=/prometheus", f"={self._base / 'prometheus-data'}"),
            ("=/alertmanager", f"={self._base / 'alertmanager-data'}"),
        ):
            text = text.replace(there, str(ours))
        return text

    def start(
        self,
        name: str,
        *words: str,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a program (the bridge unless another is named) with the command of a service."""
        given = self._services[name]["command"] if command is None else command
        start = words or (sys.executable, "-m", "bridge")
        command = [*start, *map(self.here, given)]
        log = self._stack.enter_context((self._base / f"{name}.log").open("w"))
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **(environment or {})}
        )

        def end() -> None:
            process.terminate()
            process.wait(PATIENCE_S)

        self._stack.callback(end)

    def healthy(self, name: str) -> bool:
        """Do what the check of a service does."""
        check = " ".join(self._services[name]["healthcheck"]["test"])
        (url,) = re.findall(r"http://[^'\" ]+", check)
        published = self._services[name]["ports"][0].rpartition(":")[2]
        assert f":{published}/" in url
        try:
            with urllib.request.urlopen(url.replace(published, str(self.ports[name])), timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture
def hook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A place that alerts are sent to, and what came."""
    came: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], came
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_an_alert_gets_from_the_bridge_to_people(
    compose: Any, tmp_path: Path, hook: tuple[int, list[dict[str, Any]]]
) -> None:
    """The services as they are in the file: a cut recording is an alert that somebody is sent."""
    programs = {name: program(name) for name in ("prometheus", "prometheus-alertmanager")}
    with Services(tmp_path, compose) as services:
        ports = services.ports
        for name in ("prometheus", "alertmanager"):
            (tmp_path / name).mkdir()
        for file in ("prometheus.yml", "rules.yml"):
            text = (ROOT / "config/prometheus" / file).read_text(encoding="utf-8")
            for service, port in (("bridge", 9477), ("alertmanager", 9093)):
                text = text.replace(f'"{service}:{port}"', f'"127.0.0.1:{ports[service]}"')
            (tmp_path / "prometheus" / file).write_text(text.replace("15s", "1s"))
        text = (ROOT / "config/alertmanager/alertmanager.yml").read_text(encoding="utf-8")
        assert HOOK in text
        text = text.replace(HOOK, f'webhook_configs: [{{url: "http://127.0.0.1:{hook[0]}/hook"')
        text = text.replace("group_wait: 30s", "group_wait: 1s")
        (tmp_path / "alertmanager" / "alertmanager.yml").write_text(text)

        platform = ["--port", str(ports["mosaicod"]), "--folder", str(tmp_path / "platform")]
        services.start("mosaicod", command=["serve", *platform])
        environment = dict(compose["services"]["bridge"]["environment"])
        environment |= {
            "MOSAICO_BRIDGE_WATCH__FOLDER": str(tmp_path / "recordings"),
            "MOSAICO_BRIDGE_WATCH__STALE_S": "1",
            "MOSAICO_BRIDGE_STATE__FOLDER": str(tmp_path / "state"),
            "MOSAICO_BRIDGE_SERVER__HOST": "127.0.0.1",
            "MOSAICO_BRIDGE_SERVER__PORT": str(ports["mosaicod"]),
            "MOSAICO_BRIDGE_HTTP__HOST": "127.0.0.1",
            "MOSAICO_BRIDGE_HTTP__PORT": str(ports["bridge"]),
        }
        services.start("bridge", environment=environment)
        for name in ("prometheus", "alertmanager"):
            found = programs[name if name == "prometheus" else f"prometheus-{name}"]
            services.start(name, found, f"--web.listen-address=127.0.0.1:{ports[name]}")
        for name in ("bridge", "prometheus", "alertmanager"):
            wait_for(lambda name=name: services.healthy(name))  # type: ignore[misc]

        prometheus = f"http://127.0.0.1:{ports['prometheus']}/api/v1/query?query="
        wait_for(lambda: '"1"' in read(f"{prometheus}up"))
        cut = recording("cut")[: 5 * CHUNK_BYTES + 100]
        (tmp_path / "recordings" / "cut.mcap").write_bytes(cut)
        wait_for(lambda: hook[1])
        shown = json.loads(read(f"http://127.0.0.1:{ports['alertmanager']}/api/v2/alerts"))

    (message, *_) = hook[1]
    names = {alert["labels"]["alertname"] for alert in message["alerts"]}
    assert names == {"MosaicoBridgeRecordingPartial"}
    assert {alert["labels"]["alertname"] for alert in shown} == names


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
