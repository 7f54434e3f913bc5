"""The example settings are valid, and do what their first lines say."""

from pathlib import Path

import pytest

from bridge.config import Settings, load_settings

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
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
    assert (car.disposal.mode, car.disposal.verification) == ("move", "range")
