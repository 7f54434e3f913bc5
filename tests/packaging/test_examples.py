"""The example settings are valid, and do what their first lines say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.cli.install_files import SCHEMA
from bridge.config import Settings, load_settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "config" / "examples"
FILES = sorted(EXAMPLES.glob("*.toml"))


def test_there_is_one_for_each_kind_of_machine() -> None:
    """A car, a drone and a server that catches up each have theirs."""
    assert [file.stem for file in FILES] == ["backfill", "car", "drone"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_holds_only_settings_that_exist_and_differ(file: Path) -> None:
    """Every example is accepted, and no line of it repeats a default."""
    settings, defaults = load_settings(file), Settings()
    for name in settings.model_fields_set:
        section = getattr(settings, name)
        if not hasattr(section, "model_fields_set"):
            continue
        for key in section.model_fields_set:
            assert getattr(section, key) != getattr(getattr(defaults, name), key), f"{name}.{key}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_safe(file: Path) -> None:
    """The platform is reached encrypted, no key is written down, and nothing is deleted."""
    settings = load_settings(file)

    assert settings.server.tls
    assert settings.server.api_key is None
    assert settings.server.api_key_file is not None
    assert settings.disposal.mode != "delete"


def test_the_drone_sends_less_and_the_car_moves_only_what_is_proven() -> None:
    """The settings that an example exists for are in it."""
    drone = load_settings(EXAMPLES / "drone.toml")
    car = load_settings(EXAMPLES / "car.toml")

    assert (drone.server.compression, drone.topics["/camera/*"].max_hz) == ("zstd", 1.0)
    assert (car.disposal.mode, car.disposal.verification) == ("move", "counts")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema that install-files puts in place."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = [sys.executable, "-m", "bridge", "install-files", "--prefix", str(prefix)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=ROOT)
    return prefix / SCHEMA


def marked_by_an_editor(text: str, schema: Path, tmp_path: Path) -> str:
    """Give what taplo, an engine of editors, has against a settings file; nothing if fine."""
    tool = shutil.which("taplo", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("taplo is not installed")
    guide = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    (line,) = [line for line in guide.splitlines() if line.startswith("#:schema ")]
    assert line.endswith(f"/usr/local/{SCHEMA}")
    file = tmp_path / "bridge.toml"
    file.write_text(f"#:schema {schema}\n{text}", encoding="utf-8")
    done = subprocess.run(
        [tool, "lint", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("file", [ROOT / "config" / "bridge.toml", *FILES], ids=lambda f: f.stem)
def test_an_editor_accepts_what_is_shipped(file: Path, schema: Path, tmp_path: Path) -> None:
    """With the line that the guide shows, an editor finds nothing to mark."""
    assert marked_by_an_editor(file.read_text(encoding="utf-8"), schema, tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[watch]\nfoldr = "/data"', "'foldr' was unexpected"),
        ('[watch]\nsettle_s = "soon"', "is not of type"),
        ('[disposal]\nmode = "shred"', "is not one of"),
    ],
)
def test_an_editor_marks_what_is_wrong(text: str, said: str, schema: Path, tmp_path: Path) -> None:
    """A name that is no setting, and a value that is none of its, are marked while typing."""
    assert said in marked_by_an_editor(text, schema, tmp_path)


def image_user() -> int:
    """The user that the image's bridge runs as."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"useradd --uid (\d+) --user-group", text)
    assert found
    return int(found[1])


@pytest.fixture
def cluster() -> dict[str, Any]:
    """What the example for Kubernetes makes, by its kind."""
    text = (EXAMPLES / "kubernetes.yml").read_text(encoding="utf-8")
    return {one["kind"]: one for one in YAML(typ="safe").load_all(text)}


def test_kubernetes_runs_the_image_as_it_is(cluster: dict[str, Any], tmp_path: Path) -> None:
    """Settings are accepted; user, port, folders and probes are those of the image."""
    file = tmp_path / "bridge.toml"
    file.write_text(cluster["ConfigMap"]["data"]["bridge.toml"], encoding="utf-8")
    settings = load_settings(file)
    deployment = cluster["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (bridge,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in bridge["volumeMounts"]}
    given = {one["name"]: one for one in pod["volumes"]}
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert settings.server.tls
    assert {settings.server.tls_ca_file.parent, settings.server.api_key_file.parent} == {  # type: ignore[union-attr]
        Path(mounts["secrets"])
    }
    assert pod["securityContext"]["runAsUser"] == image_user()
    assert pod["securityContext"]["fsGroup"] == image_user()
    assert f"MOSAICO_BRIDGE_WATCH__FOLDER={mounts['recordings']} " in image
    assert f"MOSAICO_BRIDGE_STATE__FOLDER={mounts['state']} " in image
    assert bridge["args"] == ["run", "--config", f"{mounts['settings']}/bridge.toml"]
    assert bridge["ports"][0]["containerPort"] == Settings().http.port
    for probe in ("startupProbe", "livenessProbe"):
        assert bridge[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert mounts.keys() == given.keys()
    assert given["secrets"]["secret"]["defaultMode"] & 0o007 == 0


def test_kubernetes_runs_one_bridge_on_a_state_that_stays(cluster: dict[str, Any]) -> None:
    """Never two on one state folder, long enough to drain, without privileges."""
    deployment = cluster["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    security = pod["containers"][0]["securityContext"]

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    claim = cluster["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["state"] == {"name": "state", "persistentVolumeClaim": {"claimName": claim}}
    assert pod["terminationGracePeriodSeconds"] > Settings().workers.drain_timeout_s
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_containers_are_started_with_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of the page gives key and certificates from files that it mounts."""
    page = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    command = page.partition("docker run -d")[2].partition("docker exec")[0]
    mounted = set(re.findall(r"-v \S+?:(/[^:\s]+)", command))
    for name, value in re.findall(r"-e (\w+)=(\S+)", command):
        monkeypatch.setenv(name, value)
    server = load_settings().server

    assert server.tls
    assert {str(server.tls_ca_file), str(server.api_key_file)} < mounted
    assert {str(image_user())} == set(re.findall(r"-o (\d+) -m 0400", page))
    for name in re.findall(r"`(MOSAICO_BRIDGE_\w+)`", page):
        section, _, key = name.removeprefix("MOSAICO_BRIDGE_").lower().partition("__")
        assert hasattr(getattr(Settings(), section), key), name


VALIDATE = """
import json, sys
import kubernetes_validate
for each in json.load(sys.stdin):
    kubernetes_validate.validate(each, sys.argv[1], strict=True)
"""


def installed(*command: str, **environment: str) -> None:
    """Install what judges, or skip where that is not to be had."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"{command[-1]} cannot be installed: {done.stderr[-300:]}")


@pytest.mark.slow
def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    """The code that Docker's own command is made of accepts it, and would see a wrong key."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    judge = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
    installed(go, "install", judge, GOBIN=str(tmp_path / "bin"))
    text = (ROOT / "compose.yml").read_text(encoding="utf-8")
    said = {}
    for name, content in (("good", text), ("bad", text.replace("healthcheck:", "helthcheck:", 1))):
        (tmp_path / f"{name}.yml").write_text(content, encoding="utf-8")
        done = subprocess.run(
            [str(tmp_path / "bin" / "cmd"), str(tmp_path / f"{name}.yml")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said[name] = (done.returncode, done.stderr)
    assert said["good"] == (0, "")
    assert said["bad"][0] == 1
    assert "services.bridge.helthcheck" in said["bad"][1]


@pytest.mark.slow
def test_kubernetes_knows_every_key(tmp_path: Path) -> None:
    """The objects of the example, and of the documents, fit old and new schemas strictly."""
    pip = ("-m", "pip", "install", "--quiet", "--target", str(tmp_path))
    installed(sys.executable, *pip, "kubernetes-validate==1.37.0")

    def refused(version: str, *objects: Any) -> str:
        return subprocess.run(
            [sys.executable, "-c", VALIDATE, version], input=json.dumps(objects),
            env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=120,
            check=False,
        ).stderr  # fmt: skip

    loader = YAML(typ="safe")
    objects = list(loader.load_all((EXAMPLES / "kubernetes.yml").read_text(encoding="utf-8")))
    page = (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"```yaml\n(apiVersion.*?)```", page, re.DOTALL)
    objects.append(loader.load(job))
    for version in ("1.29", "1.37"):
        assert refused(version, *objects) == ""
    objects[-1]["spec"]["completionmode"] = "Indexed"
    assert "completionmode" in refused("1.37", objects[-1])
