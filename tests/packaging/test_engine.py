"""The image, built from the Dockerfile and run by a real container engine.

Where the registry of the base image cannot be reached, a stand-in takes its name: the same Debian
release with its own Python of the same minor version.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import write_drive
from tests.packaging.confined import USER_ID
from tests.packaging.conftest import ROOT
from tests.packaging.test_dockerfile import context
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

IMAGE = "localhost/mosaico-bridge"
# What the bridge and its dependencies may add to the base.
ADDED_BYTES_MAX = 280 * 1024**2
STAND_IN = "FROM debian-python\nRUN ln -s python3 /usr/bin/python\n"
START_NS = 1_700_000_000_000_000_000
# As the guide has it.
PRECAUTIONS = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9477{}', timeout=4).read())"


class Engine:
    """Podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        runtime = ("--runtime", "runc") if shutil.which("runc") else ()
        self._command = [
            *("podman", "--root", str(folder / "storage"), "--runroot", str(folder / "run")),
            *("--cgroup-manager", "cgroupfs", *runtime),
        ]

    def try_run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=900, check=False
        )

    def run(self, *arguments: str) -> str:
        done = self.try_run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def start(self, *options: str) -> str:
        """Start the image as the guide does; its timer for health checks wants a systemd."""
        limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:2048")
        alone = ("--detach", "--network", "none", "--no-healthcheck")
        return self.run("run", *alone, *limits, *PRECAUTIONS, *options, IMAGE).strip()


def recipe() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def base_name(*, digest: bool = False) -> str:
    (name, *_) = re.findall(r"^FROM (\S+)", recipe(), re.MULTILINE)
    chosen = name if digest else re.sub(r"@.*", "", name)
    return f"docker.io/library/{chosen}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has the base image, or what stands in for it."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("building an image takes root and podman")
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder)
    if engine.try_run("pull", "--quiet", base_name(digest=True)).returncode == 0:
        engine.run("tag", base_name(digest=True), base_name())
    else:
        make_stand_in(engine, folder)
    yield engine
    engine.try_run("rm", "--all", "--force")
    engine.try_run("unmount", "--all")
    # Folders of its overlays are not ours to walk into.
    engine.try_run("system", "reset", "--force")


def make_stand_in(engine: Engine, folder: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("the registry cannot be reached, and there is no mmdebstrap for a stand-in")
    release = base_name().rpartition("-")[2]
    made = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase"),
            *("--include=python3,python3-venv,ca-certificates", release, str(folder / "base.tar")),
        ],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no stand-in for the base image: {made.stderr[-300:]}")
    engine.run("import", "--quiet", str(folder / "base.tar"), "debian-python")
    (folder / "stand-in").mkdir()
    (folder / "stand-in" / "Dockerfile").write_text(STAND_IN, encoding="utf-8")
    engine.run("build", "--quiet", "--tag", base_name(), str(folder / "stand-in"))


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The image, built by the engine from what .dockerignore lets through."""
    folder = tmp_path_factory.mktemp("build")
    given = context(folder / "context")
    # The digest was checked by the pull; a stand-in has another.
    (folder / "Dockerfile").write_text(re.sub(r"@sha256:\w+", "", recipe()), encoding="utf-8")
    authorities = "/etc/ssl/certs:/etc/ssl/certs:ro"
    network = ("--network", "host", "--volume", authorities)
    file = ("--format", "docker", "--file", str(folder / "Dockerfile"))
    engine.run("build", "--quiet", *network, *file, "--tag", IMAGE, str(given))
    return engine


def healthy(engine: Engine, container: str) -> bool:
    """Run the image's own health check inside a container."""
    config = json.loads(engine.run("image", "inspect", IMAGE))[0]
    kind, *command = config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return engine.try_run("exec", container, *command).returncode == 0


def test_the_image_is_small(image: Engine) -> None:
    """Little comes on top of the base, and none of it is a tool for building."""
    sizes = [
        json.loads(image.run("image", "inspect", name))[0]["Size"] for name in (IMAGE, base_name())
    ]
    assert sizes[0] - sizes[1] < ADDED_BYTES_MAX
    found = image.run(
        *("run", "--rm", "--network", "none", "--no-healthcheck", "--ulimit", "nofile=1024:4096"),
        *("--ulimit", "nproc=1024:2048", "--entrypoint", "sh", IMAGE),
        *("-c", "ls /opt/mosaico-bridge/bin"),
    ).split()
    assert "mosaico-bridge" in found
    assert not [name for name in found if name.startswith("pip")]


def test_a_container_ingests_and_stops_cleanly(image: Engine, tmp_path: Path) -> None:
    """Read-only, without capabilities and not root it does its work, and SIGTERM ends it with 0."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    options = ("--volume", f"{folder}:/recordings:ro", "--volume", "one-state:/state")
    quick = ("--env", "MOSAICO_BRIDGE_WATCH__SETTLE_S=1")
    container = image.start(*options, *quick)
    wait_for(lambda: healthy(image, container))
    status = image.run("exec", container, "cat", "/proc/1/status")
    facts = dict(line.split(":", 1) for line in status.splitlines())
    assert set(facts["Uid"].split()) == {str(USER_ID)}
    assert (int(facts["CapEff"], 16), int(facts["CapBnd"], 16)) == (0, 0)
    assert facts["NoNewPrivs"].strip() == "1"
    assert image.try_run("exec", container, "touch", "/opt/mosaico-bridge/x").returncode != 0

    write_drive(folder, name="drive", start_ns=START_NS, duration_s=1.0)
    ask = ("exec", container, "python", "-c", ASK.format("/api/recordings"))
    wait_for(lambda: '"state": "finalised"' in image.run(*ask).replace('":"', '": "'))
    image.run("stop", "--time", "40", container)
    assert image.run("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def test_an_outage_leaves_a_container_healthy(image: Engine) -> None:
    """Without its platform the bridge is not ready, and yet nothing for the engine to restart."""
    server = ("--env", "MOSAICO_BRIDGE_SERVER__HOST=127.0.0.1")
    container = image.start(*server, "--volume", "two-state:/state")
    wait_for(lambda: healthy(image, container))
    ready = ("exec", container, "python", "-c", ASK.format("/readyz"))
    assert "503" in image.try_run(*ready).stderr
    assert healthy(image, container)
