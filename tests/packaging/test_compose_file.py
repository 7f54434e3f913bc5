"""compose.yml fits the files, settings and ports of this project."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.config import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compose() -> Any:
    return YAML(typ="safe").load((ROOT / "compose.yml").read_text(encoding="utf-8"))


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
