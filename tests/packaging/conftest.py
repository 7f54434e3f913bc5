"""The packages as a release would make them: sdist from the tree, wheel from the sdist, once."""

import fcntl
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What was built, and the unpacked sdist that the wheel was built from."""

    sdist: Path
    wheel: Path
    unpacked: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A clean environment that has only the wheel and its dependencies."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, with nothing of the checkout in reach."""
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd or self.folder,
            env=clean_environment(),
        )


def clean_environment() -> dict[str, str]:
    """Give the environment without what points into the checkout or sets the bridge's settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MOSAICO_", "PYTHON", "VIRTUAL_ENV", "COVERAGE", "PROJECT_URL"))
    }


def build(source: Path, target: str, into: Path, **variables: str) -> Path:
    """Run the build backend on a folder and give the file it made."""
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=source,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = into.iterdir()
    return made


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Fill a folder once for all processes that share the test run, and give it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Build both packages, without the network."""
    folder = made_once(tmp_path_factory, "packages", _build_both)
    (sdist,) = (folder / "sdist").iterdir()
    (wheel,) = (folder / "wheel").iterdir()
    (unpacked,) = (folder / "unpacked").iterdir()
    return Packages(sdist=sdist, wheel=wheel, unpacked=unpacked)


def _build_both(folder: Path) -> None:
    sdist = build(ROOT, "sdist", folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build(unpacked, "wheel", folder / "wheel")


@pytest.fixture(scope="session")
def installed(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel into a clean environment.

    To save a minute, the dependencies are those of the environment that runs the tests, appended
    to the path; its own editable install of the bridge is not seen through that. The slow test
    installs everything from the package index instead.
    """

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")]
        subprocess.run(command, check=True, timeout=60)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(folder / "venv" / "bin" / "python")),
                *("install", "--quiet", "--no-deps", "--no-index", str(packages.wheel)),
            ],
            check=True,
            timeout=120,
            env=clean_environment(),
        )
        (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
        borrowed = site / "dependencies.pth"
        borrowed.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    return Installed(folder=made_once(tmp_path_factory, "installed", make) / "venv")
