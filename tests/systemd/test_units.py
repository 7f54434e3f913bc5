"""The units, judged by systemd's own tools, which work without a running systemd."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.cli.terminal import Exit
from bridge.config import Settings, load_settings

UNITS = Path(__file__).parent.parent.parent / "systemd"
SERVICES = ("mosaico-bridge.service", "mosaico-bridge@.service")
EXPOSURE_MAX = 1.5
PROGRAM = "/opt/mosaico-bridge/bin/mosaico-bridge"


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
        f"ExecStart={PROGRAM} run --config /etc/mosaico-bridge/bridge.toml",
        "Environment=MOSAICO_BRIDGE_STATE__FOLDER=%S/mosaico-bridge",
        "StateDirectory=mosaico-bridge",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_limits_fit_the_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is time to drain, memory for a worker, and no restart for a wrong setting."""
    lines = _settings((UNITS / name).read_text(encoding="utf-8"))
    given = dict(re.findall(r"^(\w+)=(.*)$", "\n".join(lines), re.MULTILINE))
    defaults = Settings()
    assert int(given["TimeoutStopSec"]) > defaults.workers.drain_timeout_s
    memory_bytes = int(given["MemoryMax"].removesuffix("G")) * 1024**3
    assert memory_bytes > defaults.workers.memory_limit_bytes
    assert int(given["RestartPreventExitStatus"]) == Exit.BAD_CONFIG
    assert given["ExecReload"] == "/bin/kill -HUP $MAINPID"
    for line in lines:
        if line.startswith("Environment=MOSAICO_BRIDGE_"):
            variable, _, value = line.removeprefix("Environment=").partition("=")
            monkeypatch.setenv(variable, value)
    assert load_settings().log.format == "journald"


def test_user_and_folder_are_made(tmp_path: Path) -> None:
    """Systemd makes the service's user, and a folder for settings that only it can read."""
    sysusers, tmpfiles = (shutil.which(f"systemd-{tool}") for tool in ("sysusers", "tmpfiles"))
    if sysusers is None or tmpfiles is None or os.geteuid() != 0:
        pytest.skip("takes root, systemd-sysusers and systemd-tmpfiles")
    for kind in ("sysusers", "tmpfiles"):
        target = tmp_path / "usr/lib" / f"{kind}.d" / "mosaico-bridge.conf"
        target.parent.mkdir(parents=True)
        shutil.copy(UNITS / f"mosaico-bridge.{kind}", target)
    (tmp_path / "etc").mkdir()
    for command in ([sysusers], [tmpfiles, "--create", "--prefix=/etc/mosaico-bridge"]):
        subprocess.run([*command, f"--root={tmp_path}"], check=True, timeout=60)
    users = (tmp_path / "etc/passwd").read_text(encoding="utf-8").splitlines()
    user = next(line.split(":") for line in users if line.startswith("mosaico-bridge:"))
    made = (tmp_path / "etc/mosaico-bridge").stat()

    assert user[6].endswith("/nologin")
    assert (made.st_mode & 0o777, made.st_uid, str(made.st_gid)) == (0o750, 0, user[3])


def _settings(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}
