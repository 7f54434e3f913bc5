"""The Dockerfile: its promises read from its text, and its steps replayed without an engine."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bridge.config import load_settings
from tests.packaging.confined import PROGRAM, USER_ID, Confined, confined
from tests.packaging.conftest import ROOT, Installed, Packages, build, clean_environment

PATIENCE_S = 60.0
Steps = list[tuple[str, str]]


def stages() -> list[Steps]:
    """Parse the Dockerfile into stages of (instruction, rest of its line)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: list[Steps] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, rest))
    return found


def values(steps: Steps, instruction: str) -> list[str]:
    return [rest for name, rest in steps if name == instruction]


def environment() -> dict[str, str]:
    """Give the variables that the image sets."""
    words = [word for line in values(stages()[-1], "ENV") for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


def health_command() -> list[str]:
    (line,) = values(stages()[-1], "HEALTHCHECK")
    command = json.loads(line.partition("CMD ")[2])
    assert isinstance(command, list)
    return command


def context(into: Path, root: Path = ROOT) -> Path:
    """Copy what an engine would be given: everything that .dockerignore lets through."""
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    taken = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert rules[0] == "*", "everything is left out but what is named"
    into.mkdir()
    for name in taken:
        source = root / name
        (into / name).parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into / name)
    return into


def copied(source: Path, into: Path) -> Path:
    """Replay the COPY instructions of the first stage."""
    into.mkdir()
    for line in values(stages()[0], "COPY"):
        *names, target = line.split()
        for name in names:
            if (source / name).is_dir():
                shutil.copytree(source / name, into / target)
            else:
                shutil.copy(source / name, into / target)
    return into


def test_base_is_pinned_and_the_build_is_left_behind() -> None:
    """Both stages name the same exact version; the second takes only the environment over."""
    built, image = stages()
    bases = {line.split()[0] for line in values(built, "FROM") + values(image, "FROM")}
    (base,) = bases
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    (taken,) = values(image, "COPY")
    assert taken == "--from=build /opt/mosaico-bridge /opt/mosaico-bridge"
    assert not values(image, "ADD") + values(built, "ADD")


def test_dependencies_come_as_wheels() -> None:
    """Nothing is compiled, so the same file builds for every architecture that has the wheels.

    Each is one that the lock file names by its hash.
    """
    (run,) = values(stages()[0], "RUN")
    dependencies, own = re.findall(r"pip install ([^&]*)", run)
    for option in ("--only-binary=:all:", "--require-hashes", "--no-deps"):
        assert option in dependencies
    assert dependencies.split()[-2:] == ["--requirement", ".ci/constraints.txt"]
    assert own.split() == ["--no-cache-dir", "--no-deps", "."]
    assert "pip check" in run
    assert not re.search(r"--platform|apt-get|gcc", (ROOT / "Dockerfile").read_text("utf-8"))


def test_image_runs_unprivileged_and_gets_its_signals() -> None:
    """The user is our own, the entry point no shell, and SIGTERM means to drain."""
    image = stages()[-1]
    (user,) = values(image, "USER")
    (create,) = values(image, "RUN")
    assert f"useradd --uid {USER_ID}" in create
    assert user == create.split("&&")[0].split()[-1] != "root"
    assert json.loads(values(image, "ENTRYPOINT")[0]) == ["mosaico-bridge"]
    assert json.loads(values(image, "CMD")[0]) == ["run"]
    assert values(image, "STOPSIGNAL") == ["SIGTERM"]
    order = [name for name, _ in image]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name in {"RUN", "COPY"})


def test_image_settings_fit_its_folders_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the image parses, and names the volume and the port it exposes."""
    for name, value in environment().items():
        if name.startswith("MOSAICO_BRIDGE_"):
            monkeypatch.setenv(name, value)
    settings, image = load_settings(), stages()[-1]
    assert values(image, "VOLUME") == [str(settings.state.folder)]
    assert values(image, "EXPOSE") == [str(settings.http.port)]
    assert str(settings.watch.folder) in values(image, "RUN")[0]


def test_health_is_being_alive_not_being_connected() -> None:
    """The check asks /healthz, which an outage does not touch, and gives up before it is killed."""
    (line,) = values(stages()[-1], "HEALTHCHECK")
    timeout_s = re.search(r"--timeout=(\d+)s", line)
    asked_s = re.search(r"timeout=(\d+)\)", health_command()[-1])
    assert "http://127.0.0.1:9477/healthz" in health_command()[-1]
    assert timeout_s is not None
    assert asked_s is not None
    assert int(asked_s[1]) < int(timeout_s[1])


def test_context_holds_no_more_than_is_copied(tmp_path: Path) -> None:
    """What is let through to the engine is used; no test, key or environment is."""
    given = {path.name for path in context(tmp_path / "context").iterdir()}
    used = {name for line in values(stages()[0], "COPY") for name in line.split()[:-1]}
    assert given == {name.partition("/")[0] for name in used}
    taken = {path.name for path in (tmp_path / "context" / ".ci").iterdir()}
    assert taken == {"constraints.txt", "metadata.py"}
    given.remove(".ci")
    assert not any(fnmatch(name, pattern) for name in given for pattern in ("test*", ".*", "var"))


def test_copied_files_build_the_same_wheel(packages: Packages, tmp_path: Path) -> None:
    """The few files that the image copies are enough for the whole wheel."""
    given = context(tmp_path / "context", packages.unpacked)
    source = copied(given, tmp_path / "source")
    wheel = build(source, "wheel", tmp_path / "wheel")
    listed = [
        subprocess.run(
            [sys.executable, "-m", "zipfile", "-l", str(file)],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.splitlines()
        for file in (wheel, packages.wheel)
    ]  # fmt: skip
    names = [{line.split()[0] for line in lines} for lines in listed]
    assert names[0] == names[1]


@pytest.fixture
def container(installed: Installed, tmp_path: Path) -> Iterator[Confined]:
    """The image's command on a read-only root, without capabilities, in a network of its own."""
    state, recordings = tmp_path / "state", tmp_path / "recordings"
    for folder in (state, recordings):
        folder.mkdir()
        shutil.chown(folder, USER_ID, USER_ID)
    settings = {
        name: value.replace("/recordings", "/mnt/recordings").replace("/state", "/mnt/state")
        for name, value in environment().items()
        if name.startswith(("MOSAICO_", "PYTHON"))
    }
    (entry,), command = (json.loads(values(stages()[-1], key)[0]) for key in ("ENTRYPOINT", "CMD"))
    assert entry == Path(PROGRAM[1]).name
    with confined(
        installed,
        (*PROGRAM, *command),
        log=tmp_path / "log",
        environment=settings,
        mounts={"state+": state, "recordings": recordings},
        own_network=True,
    ) as running:
        yield running


def test_the_health_check_answers_and_the_container_stops_cleanly(container: Confined) -> None:
    """The image's own check passes inside it, fails where no bridge is; SIGTERM ends with 0."""
    program, *rest = health_command()
    assert program == "python"
    inside = ["nsenter", "--net", "--target", str(container.process.pid), sys.executable, *rest]
    give_up_at = time.monotonic() + PATIENCE_S
    while subprocess.run(inside, capture_output=True, timeout=30, check=False).returncode != 0:
        assert container.process.poll() is None, container.said
        assert time.monotonic() < give_up_at, container.said
        time.sleep(0.2)
    facts = container.facts()
    assert (int(facts["CapEff"], 16), int(facts["CapBnd"], 16)) == (0, 0)

    container.process.terminate()
    assert container.process.wait(PATIENCE_S) == 0, container.said
    for line in container.said.splitlines():
        if line.startswith("{"):
            assert json.loads(line)["level"] in {"info", "warning"}, line


@pytest.mark.slow
def test_the_build_steps_run_as_written(tmp_path: Path) -> None:
    """The RUN line of the build stage works on the copied files, with the package index."""
    source = copied(context(tmp_path / "context"), tmp_path / "source")
    (run,) = values(stages()[0], "RUN")
    script = run.replace("/opt/mosaico-bridge", str(tmp_path / "venv"))
    script = re.sub(r"^python ", f"{sys.executable} ", script)
    done = subprocess.run(
        ["sh", "-ec", script], cwd=source, env=clean_environment(),
        capture_output=True, text=True, timeout=290, check=False,
    )  # fmt: skip
    if "NewConnectionError" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    command = [str(tmp_path / "venv" / "bin" / "mosaico-bridge"), "--version"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
