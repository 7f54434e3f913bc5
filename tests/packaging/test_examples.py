"""The example settings are valid, and do what their first lines say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
