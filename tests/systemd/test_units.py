"""The units, judged by systemd's own tools, which work without a running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent.parent / "systemd"
SERVICES = ("mosaico-bridge.service", "mosaico-bridge@.service")
EXPOSURE_MAX = 1.5


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(params=SERVICES)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a unit whose program exists here, since the tools look for it."""
    text = (UNITS / request.param).read_text(encoding="utf-8")
    placed = tmp_path / str(request.param).replace("@.", "@front.")
    placed.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text), encoding="utf-8")
    return placed


def test_units_are_clean(unit: Path) -> None:
    """Systemd finds no unknown key and no contradiction."""
    done = analyze("verify", unit)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_units_expose_little(unit: Path) -> None:
    """Systemd's own score of the sandbox stays below the bound."""
    done = analyze("security", "--offline=true", unit)
    score = re.search(r"Overall exposure level .*: ([0-9.]+)", done.stdout)

    assert score is not None
    assert float(score[1]) < EXPOSURE_MAX


def test_the_template_differs_only_where_instances_must() -> None:
    """Both units hold the same sandbox; the template only names its own files."""
    plain, template = (
        (UNITS / name).read_text(encoding="utf-8").split("[Unit]")[1] for name in SERVICES
    )
    assert _settings(plain) - _settings(template) == {
        "Description=Mosaico bridge: puts recordings onto the data platform",
        "ExecStart=/opt/mosaico-bridge/bin/mosaico-bridge run "
        "--config /etc/mosaico-bridge/bridge.toml",
        "Environment=MOSAICO_BRIDGE_STATE__FOLDER=%S/mosaico-bridge",
        "StateDirectory=mosaico-bridge",
    }


def _settings(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}
